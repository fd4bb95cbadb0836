"""The least that reading a socket can cost: no session, no states, no events, only bytes to typed rows."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Sequence
from time import process_time_ns
from typing import Any, Final
from urllib.parse import urlsplit

from picows import WSFrame, WSListener, WSMsgType, WSTransport, ws_connect

from engine.garbage import settle

Decoders = Sequence[Callable[[bytes], object]]
Note = Callable[[bytes], object]

ASKED: Final = b'{"op":"subscribe","args":[{"channel":"all"}]}'
_UPGRADE: Final = (
    "GET {path} HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)
_READ: Final = 256 * 1024
_TWO_BYTES: Final = 126  # a length of two bytes follows (RFC 6455, 5.2)
NS_PER_US: Final = 1000.0


def by_recv(url: str, decoders: Decoders) -> float:
    """Blocking recv, a walk over the frames, msgspec. Microseconds of this process."""
    address = urlsplit(url)
    with socket.create_connection((address.hostname, address.port)) as connection:
        connection.sendall(_UPGRADE.format(path=address.path, host=address.netloc).encode())
        # A client's frame is masked; with a mask of zeros it reads as it is written.
        connection.sendall(bytes((0x81, 0x80 | len(ASKED))) + bytes(4) + ASKED)
        waiting = b""
        while b"\r\n\r\n" not in waiting:
            waiting += connection.recv(_READ)
        waiting = waiting.partition(b"\r\n\r\n")[2]
        while not waiting:
            waiting = connection.recv(_READ)
        assert waiting[1] < _TWO_BYTES  # the answer to the subscription
        waiting = waiting[2 + waiting[1] :] or connection.recv(_READ)
        settle()
        began = process_time_ns()
        _walk(connection, waiting, decoders)
        return (process_time_ns() - began) / NS_PER_US


def _walk(connection: socket.socket, data: bytes, decoders: Decoders) -> None:
    at, end = 0, len(data)
    for decode in decoders:
        while True:  # until the buffer holds a whole frame
            start, size = at + 2, data[at + 1] if end - at >= 2 else 0  # noqa: PLR2004 - the shortest header
            if size == _TWO_BYTES:
                start, size = at + 4, int.from_bytes(data[at + 2 : at + 4])
            if start <= end and size and start + size <= end:
                break
            data = data[at:] + connection.recv(_READ)
            at, end = 0, len(data)
        decode(data[start : start + size])
        at = start + size


class _Reader(WSListener):
    """Decodes in the callback, in the order of the tape."""

    def __init__(self, decoders: Decoders, note: Note | None) -> None:
        self._decoders, self._left, self._note = iter(decoders), len(decoders), note
        self._answered = False
        self._began = 0
        self.took_us = 0.0
        self.done = asyncio.Event()

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        if frame.msg_type != WSMsgType.TEXT:
            return
        if not self._answered:
            self._answered, self._began = True, process_time_ns()
            return
        data = frame.get_payload_as_bytes()
        next(self._decoders)(data)
        if self._note is not None:
            self._note(data)
        self._left -= 1
        if not self._left:
            self.took_us = (process_time_ns() - self._began) / NS_PER_US
            self.done.set()


async def by_picows(url: str, decoders: Decoders, note: Note | None = None) -> float:
    """picows, msgspec in its callback. Microseconds of this process; `note` is shown each frame."""
    reader: Any
    transport, reader = await ws_connect(lambda: _Reader(decoders, note), url)
    settle()
    transport.send(WSMsgType.TEXT, ASKED)
    await reader.done.wait()
    transport.disconnect()
    took_us: float = reader.took_us
    return took_us
