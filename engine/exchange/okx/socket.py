"""The seam to a WebSocket library: connect, send, recv, close. Another library is another `Connect`.

`websockets` is always there; engine.exchange.okx.fast_socket has picows, where it is installed.
"""

from __future__ import annotations

import asyncio
from typing import Final, Protocol

from aiolimiter import AsyncLimiter
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidURI
from websockets.exceptions import ProxyError as WebsocketProxyError

from engine.core.errors import Unavailable

LARGEST_FRAME: Final = 16 * 1024 * 1024  # the first push of `instruments` has some hundred KB
FRAMES_WAITING: Final = 256  # beyond it the library stops reading, and the venue feels it
CLOSE_TIMEOUT_S: Final = 2.0


class SocketClosed(Unavailable):
    """The connection is gone. `close_code` is the WebSocket close code, 1006 when there was none."""

    def __init__(self, close_code: int, reason: str) -> None:
        super().__init__(f"socket closed {close_code} {reason}".rstrip(), str(close_code))
        self.close_code = close_code
        self.reason = reason


class Socket(Protocol):
    """An open connection. Every method raises SocketClosed once it is gone."""

    async def send(self, frame: bytes) -> None: ...

    async def recv(self) -> list[bytes]:
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
                max_queue=FRAMES_WAITING,
                compression=None,
            )
        except (OSError, InvalidHandshake, InvalidURI, WebsocketProxyError, ConnectionClosed) as error:
            raise SocketClosed(1006, f"{type(error).__name__} {error}") from error
        return _WebsocketsSocket(connection)


class _WebsocketsSocket:
    def __init__(self, connection: ClientConnection) -> None:
        self._connection = connection

    async def send(self, frame: bytes) -> None:
        try:
            await self._connection.send(frame, text=True)
        except ConnectionClosed as error:
            raise _closed(error) from error

    async def recv(self) -> list[bytes]:
        try:
            return [await self._connection.recv(decode=False)]
        except ConnectionClosed as error:
            raise _closed(error) from error

    async def close(self) -> None:
        try:
            async with asyncio.timeout(CLOSE_TIMEOUT_S):
                await self._connection.close()
        except TimeoutError:
            self._connection.transport.abort()


def _closed(error: ConnectionClosed) -> SocketClosed:
    if error.rcvd is None:
        return SocketClosed(1006, "")
    return SocketClosed(error.rcvd.code, error.rcvd.reason)
