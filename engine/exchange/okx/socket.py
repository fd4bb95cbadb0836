"""The seam to a WebSocket library: connect, send, recv, close. Another library is another `Connect`.

`websockets` is always there; engine.exchange.okx.fast_socket has picows, where it is installed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final, Protocol

from aiolimiter import AsyncLimiter
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidURI
from websockets.exceptions import ProxyError as WebsocketProxyError
from websockets.frames import Frame, Opcode
from websockets.protocol import Event, State

from engine.core.errors import Unavailable
from engine.exchange.okx.cut import cut, is_cut, span

LARGEST_FRAME: Final = 16 * 1024 * 1024  # the first push of `instruments` has some hundred KB
FRAMES_WAITING: Final = 256  # beyond it the library stops reading, and the venue feels it
CLOSE_TIMEOUT_S: Final = 2.0
_DATA: Final = frozenset({Opcode.TEXT, Opcode.BINARY, Opcode.CONT})
_END_OF_HEAD: Final = b"\r\n\r\n"


class SocketClosed(Unavailable):
    """The connection is gone. `close_code` is the WebSocket close code, 1006 when there was none."""

    def __init__(self, close_code: int, reason: str) -> None:
        super().__init__(f"socket closed {close_code} {reason}".rstrip(), str(close_code))
        self.close_code = close_code
        self.reason = reason


class Socket(Protocol):
    """An open connection. Every method raises SocketClosed once it is gone."""

    async def send(self, frame: bytes) -> None: ...

    async def recv(self) -> Sequence[bytes]:
        """Wait for frames; all that are there, oldest first, at least one."""
        ...

    async def close(self) -> None: ...


class Connect(Protocol):
    """Opens a connection within `timeout_s`. Raises SocketClosed or TimeoutError."""

    async def __call__(self, url: str, timeout_s: float) -> Socket: ...


class ConnectGate:
    """At most 3 new connections in any second, as OKX counts them per address. Share one per process."""

    def __init__(self) -> None:
        self._limiter = AsyncLimiter(1.5, 1.0)

    async def wait(self) -> None:
        """Wait for a place."""
        await self._limiter.acquire()


class WebsocketsConnect:
    """`Connect` by the library websockets. Its own ping is off: OKX counts only the text ping."""

    def __init__(self, proxy: str = "") -> None:
        self._proxy = proxy or None

    async def __call__(self, url: str, timeout_s: float) -> Socket:
        try:
            connection = await connect(
                url,
                proxy=self._proxy,
                open_timeout=timeout_s,
                ping_interval=None,
                close_timeout=1.0,
                max_size=LARGEST_FRAME,
                compression=None,
                create_connection=_Connection,
            )
        except (OSError, InvalidHandshake, InvalidURI, WebsocketProxyError, ConnectionClosed) as error:
            raise SocketClosed(1006, f"{type(error).__name__} {error}") from error
        assert isinstance(connection, _Connection)  # noqa: S101 - made by `create_connection`
        return _WebsocketsSocket(connection)


class _Connection(ClientConnection):
    """The library's connection, but for the frames that `cut` takes: these never enter its parser.

    The library does the handshake and gets every other frame whole, so that its rules hold: limits, joining
    of fragments, answers to pings, the closing. Full: reading pauses, and the venue feels it.
    """

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._head = b""  # of the answer to the handshake
        self._rest = b""  # the beginning of a frame
        self._lent = 0  # bytes that come next and are the library's
        self._parts: list[bytes] = []  # of a message that comes in several frames
        self._frames: list[bytes] = []
        self._waiting: asyncio.Future[None] | None = None
        self._paused = self._lost = False

    async def take(self) -> Sequence[bytes]:
        """Wait for frames; all that are there, at least one. Raises ConnectionClosed."""
        while not self._frames:
            if self._lost:
                raise self.protocol.close_exc
            self._waiting = self.loop.create_future()
            try:
                await self._waiting
            finally:
                self._waiting = None
        frames, self._frames = self._frames, []
        self.read_on()
        return frames

    def read_on(self) -> None:
        """Read what the venue held back."""
        if self._paused:
            self._paused = False
            self.transport.resume_reading()

    def data_received(self, data: bytes) -> None:
        if self.protocol.state is State.CONNECTING:
            data = self._shake_hands(data)
        self._split(self._rest + data if self._rest else data)
        if len(self._frames) >= FRAMES_WAITING and not self._paused:
            self._paused = True
            self.transport.pause_reading()
        if self._frames:
            self._wake()

    def process_event(self, event: Event) -> None:
        if isinstance(event, Frame) and event.opcode in _DATA:
            self._parts.append(bytes(event.data))
            if event.fin:
                self._frames.append(b"".join(self._parts))
                self._parts.clear()
        else:
            super().process_event(event)

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._lost = True
        self._wake()

    def _shake_hands(self, data: bytes) -> bytes:
        """Give the library the answer to the handshake; what came behind it is returned."""
        known, self._head = len(self._head), self._head + data
        end = self._head.find(_END_OF_HEAD, max(0, known - len(_END_OF_HEAD)))
        size = len(data) if end < 0 else end + len(_END_OF_HEAD) - known
        super().data_received(data[:size])
        return data[size:]

    def _split(self, data: bytes) -> None:
        """Short texts into the list, everything else to the library."""
        while self.protocol.state is State.OPEN:
            if not self._lent:
                whole = not self._parts  # between two messages
                if whole:
                    data = data[cut(data, self._frames) :]
                if data and not (whole and is_cut(data)):
                    self._lent = span(data)
                if not self._lent:
                    self._rest = data
                    return
            given = data[: self._lent]
            data = data[self._lent :]
            self._lent -= len(given)
            super().data_received(given)
            if not data:
                self._rest = b""
                return
        self._rest = b""
        if data:
            super().data_received(data)

    def _wake(self) -> None:
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(None)


class _WebsocketsSocket:
    def __init__(self, connection: _Connection) -> None:
        self._connection = connection

    async def send(self, frame: bytes) -> None:
        try:
            await self._connection.send(frame, text=True)
        except ConnectionClosed as error:
            raise _closed(error) from error

    async def recv(self) -> Sequence[bytes]:
        try:
            return await self._connection.take()
        except ConnectionClosed as error:
            raise _closed(error) from error

    async def close(self) -> None:
        self._connection.read_on()
        try:
            async with asyncio.timeout(CLOSE_TIMEOUT_S):
                await self._connection.close()
        except TimeoutError:
            self._connection.transport.abort()


def _closed(error: ConnectionClosed) -> SocketClosed:
    if error.rcvd is None:
        return SocketClosed(1006, "")
    return SocketClosed(error.rcvd.code, error.rcvd.reason)
