"""The least that reading a consumer group can cost: a blocking socket, hiredis, msgspec."""

from __future__ import annotations

import socket
from typing import Any, Final
from urllib.parse import unquote, urlsplit

import hiredis

from engine.bus import SIGNALS
from engine.core.signals import Signal
from engine.envelope import EnvelopeCodec

_READ: Final = 256 * 1024
_COUNT: Final = 64


def read_group(url: str, stream: str, group: str, count: int) -> list[Signal]:
    """Read, decode and acknowledge `count` signals."""
    codec, found, reader = EnvelopeCodec(SIGNALS), list[Signal](), hiredis.Reader()
    with _connection(url) as connection:
        address = urlsplit(url)
        if address.password:
            user = unquote(address.username or "default")
            _ask(connection, reader, "AUTH", user, unquote(address.password))
        while len(found) < count:
            asked = ("XREADGROUP", "GROUP", group, "0", "COUNT", _COUNT, "STREAMS", stream, ">")
            ((_, entries),) = _ask(connection, reader, *asked)
            for entry_id, fields in entries:
                found += [message.body for message in codec.decode(fields[1], entry_id.decode())]
            _ask(connection, reader, "XACK", stream, group, *(entry_id for entry_id, _ in entries))
    return found


def _connection(url: str) -> socket.socket:
    address = urlsplit(url)
    if address.hostname is None:
        made = socket.socket(socket.AF_UNIX)
        made.connect(address.path)
        return made
    return socket.create_connection((address.hostname, address.port))


def _ask(connection: socket.socket, reader: hiredis.Reader, *command: str | bytes | int) -> Any:
    connection.sendall(hiredis.pack_command(command))  # type: ignore[arg-type] # its stub wants one part
    while (reply := reader.gets()) is False:
        reader.feed(connection.recv(_READ))
    if isinstance(reply, Exception):
        raise reply
    return reply
