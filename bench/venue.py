"""A venue for the bench in a process of its own: takes subscriptions, then sends frames as fast as asked.

`python -m bench.venue MINUTES RATE` prints its port. Whoever subscribes on /public gets the whole tape, RATE
frames a second, or as fast as it reads when RATE is 0. A paced frame carries `sent`, the nanoseconds of its
sending by the monotonic clock. On /business there is nothing but answers.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence
from time import monotonic_ns
from typing import Final

import msgspec
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed

from bench.frames import Frame, Market

SYMBOLS: Final = tuple(f"COIN{number}-USDT-SWAP" for number in range(20))
STAMP: Final = b'"sent":"'
_DIGITS: Final = 19
_PAUSE_S: Final = 0.3  # after the subscriptions: the reader is ready, and its start is not measured
_BURST: Final = 64 * 1024  # bytes handed over at once
_TICK_S: Final = 0.002
_SHORT: Final = 126  # lengths from here on take two bytes, in a frame of WebSocket
_NS_PER_S: Final = 1_000_000_000


class _Arg(msgspec.Struct):
    channel: str
    instId: str = ""


class _Request(msgspec.Struct):
    op: str
    args: list[_Arg]


def tape(minutes: int) -> list[Frame]:
    """All channels of twenty symbols, minute by minute; the candles of a minute close at its end."""
    markets = [Market(symbol, seed) for seed, symbol in enumerate(SYMBOLS)]
    return [
        frame
        for minute in range(minutes)
        for together in zip(*(list(market.minute(minute)) for market in markets), strict=True)
        for frame in together
    ]


def stamped(data: bytes) -> bytes:
    """With room for the time of sending, where no decoder looks."""
    return data[:-1] + b"," + STAMP + b"0" * _DIGITS + b'"}'


def sent_ns(frame: bytes) -> int:
    """The time of sending."""
    return int(frame[-2 - _DIGITS : -2])


def wire(frame: bytes) -> bytes:
    """As it travels: header and text, unmasked (RFC 6455, 5.2)."""
    size = len(frame)
    head = bytes((0x81, size)) if size < _SHORT else bytes((0x81, _SHORT)) + size.to_bytes(2)
    return head + frame


async def _blast(connection: ServerConnection, frames: Sequence[bytes]) -> None:
    """As fast as the reader reads: the socket's buffer is full all the time."""
    burst = bytearray()
    for frame in frames:
        burst += wire(frame)
        if len(burst) >= _BURST:
            await _write(connection, bytes(burst))
            burst.clear()
    await _write(connection, bytes(burst))


async def _write(connection: ServerConnection, data: bytes) -> None:
    connection.transport.write(data)
    while connection.transport.get_write_buffer_size() > _BURST:  # noqa: ASYNC110 - it tells nobody
        await asyncio.sleep(0)


async def _pace(connection: ServerConnection, frames: Sequence[bytes], rate: int) -> None:
    """Every frame at its time, and with it."""
    began = monotonic_ns()
    for number, frame in enumerate(frames):
        while (ahead := began + number * _NS_PER_S // rate - monotonic_ns()) > 0:  # noqa: ASYNC110 - a clock
            await asyncio.sleep(min(_TICK_S, ahead / _NS_PER_S))
        stamp = str(monotonic_ns()).rjust(_DIGITS, "0").encode()
        connection.transport.write(wire(frame[: -2 - _DIGITS] + stamp + frame[-2:]))


async def _run(minutes: int, rate: int) -> None:
    frames = [stamped(frame.data) for frame in tape(minutes)]

    async def serving(connection: ServerConnection) -> None:
        path = connection.request.path if connection.request is not None else ""
        try:
            asked = msgspec.json.decode(await connection.recv(), type=_Request)
        except ConnectionClosed:  # a client that looked whether somebody listens
            return
        for arg in asked.args:
            await connection.send(msgspec.json.encode({"event": "subscribe", "arg": arg}).decode())
        await asyncio.sleep(_PAUSE_S)
        if path == "/public":
            await (_pace(connection, frames, rate) if rate else _blast(connection, frames))
        await connection.wait_closed()

    async with serve(serving, "127.0.0.1", 0, compression=None) as server:
        print(next(iter(server.sockets)).getsockname()[1], flush=True)
        await asyncio.get_running_loop().create_future()


if __name__ == "__main__":
    asyncio.run(_run(int(sys.argv[1]), int(sys.argv[2])))
