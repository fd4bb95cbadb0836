"""`Connect` by the library picows (extra `fast`): frames are cut in C, and one that waits costs no switch."""

from __future__ import annotations

import asyncio
from typing import Final, cast

from picows import (
    WSCloseCode,
    WSError,
    WSFrame,
    WSListener,
    WSMsgType,
    WSTransport,
    ws_connect,
)

from engine.exchange.okx.socket import (
    CLOSE_TIMEOUT_S,
    FRAMES_WAITING,
    LARGEST_FRAME,
    Socket,
    SocketClosed,
)

_LOST: Final = 1006  # the connection ended without a close frame
_NO_CODE: Final = 1005  # a close frame without one
_GRACE_S: Final = 0.5
_DATA: Final = (WSMsgType.TEXT, WSMsgType.BINARY, WSMsgType.CONTINUATION)
_LONGEST_CONTROL: Final = 125  # bytes of a ping, a pong, a close (RFC 6455, 5.5)


class PicowsConnect:
    """`Connect` by picows. As with websockets, its own ping is off: OKX counts only the text ping."""

    def __init__(self, proxy: str = "") -> None:
        self._proxy = proxy or None

    async def __call__(self, url: str, timeout_s: float) -> Socket:
        listener = _Listener()
        try:
            async with asyncio.timeout(timeout_s + _GRACE_S):  # of the connection; the handshake has its own
                await ws_connect(
                    lambda: listener,
                    url,
                    websocket_handshake_timeout=timeout_s,
                    max_frame_size=LARGEST_FRAME,
                    max_redirects=0,
                    proxy=self._proxy,
                )
        except asyncio.CancelledError:
            listener.abandoned = True  # the library would complete the handshake all the same
            raise
        except (OSError, WSError) as error:
            raise SocketClosed(_LOST, f"{type(error).__name__} {error}") from error
        return listener


class _Listener(WSListener):
    """Keeps frames until they are read. Full: reading pauses, and the venue feels it."""

    __slots__ = ("_end", "_frames", "_parts", "_paused", "_transport", "_waiting", "_writable", "abandoned")

    def __init__(self) -> None:
        self._transport: WSTransport | None = None
        self._frames: list[bytes] = []
        self._parts: list[bytes] = []  # of a message that comes in several frames
        self._waiting: asyncio.Future[None] | None = None  # of the reader, until something came
        self._writable = asyncio.Event()
        self._writable.set()
        self._paused = False
        self._end: SocketClosed | None = None
        self.abandoned = False  # nobody waits for the handshake any more

    # -- Socket

    async def send(self, frame: bytes) -> None:
        transport = self._open()
        transport.send(WSMsgType.TEXT, frame)
        await self._writable.wait()

    async def recv(self) -> list[bytes]:
        while not self._frames:
            self._open()
            self._waiting = asyncio.get_running_loop().create_future()
            await self._waiting
        frames, self._frames = self._frames, []
        self._resume()
        return frames

    async def close(self) -> None:
        transport = self._transport
        if transport is None or self._end is not None:
            return
        self._resume()
        transport.send_close(WSCloseCode.OK)
        try:
            async with asyncio.timeout(CLOSE_TIMEOUT_S):
                await transport.wait_disconnected()
        except TimeoutError:
            transport.disconnect(False)

    # -- WSListener

    def on_ws_connected(self, transport: WSTransport) -> None:
        self._transport = transport
        if self.abandoned:
            transport.disconnect(False)

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        data = frame.get_payload_as_bytes()
        # To ask for the type takes as long as all else here, and what is so long is no control frame.
        if len(data) > _LONGEST_CONTROL and frame.fin and not self._parts:
            self._frames.append(data)
            if self._waiting is not None or frame.last_in_buffer:
                self._kept(transport)
            return
        kind = frame.msg_type
        if kind in _DATA:
            self._join(transport, data, fin=frame.fin)
        elif kind == WSMsgType.CLOSE:
            code = cast("int", frame.get_close_code())  # 0 without one; its stub knows only the usual codes
            reason = cast("str | None", frame.get_close_reason())  # the stub forgets the None
            self._ended(SocketClosed(code or _NO_CODE, reason or ""))
            transport.send_close(frame.get_close_code() if code else WSCloseCode.OK)
            transport.disconnect()

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        self._ended(SocketClosed(_LOST, ""))

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    # -- inside

    def _join(self, transport: WSTransport, data: bytes, *, fin: bool) -> None:
        """A message that is short, or cut into frames."""
        self._parts.append(data)
        if sum(map(len, self._parts)) > LARGEST_FRAME:
            transport.send_close(WSCloseCode.MESSAGE_TOO_BIG)
            transport.disconnect()
        elif fin:
            self._frames.append(b"".join(self._parts))
            self._parts.clear()
            self._kept(transport)

    def _kept(self, transport: WSTransport) -> None:
        """The first frame wakes the reader; too many of them stop the venue."""
        self._wake()
        if len(self._frames) >= FRAMES_WAITING and not self._paused:
            self._paused = True
            transport.underlying_transport.pause_reading()

    def _resume(self) -> None:
        if self._paused and self._end is None:
            self._paused = False
            self._open().underlying_transport.resume_reading()

    def _open(self) -> WSTransport:
        if self._end is not None:
            raise self._end
        assert self._transport is not None  # noqa: S101 - ws_connect returns after on_ws_connected
        return self._transport

    def _ended(self, end: SocketClosed) -> None:
        if self._end is None:
            self._end = end
        self._writable.set()
        self._wake()

    def _wake(self) -> None:
        if self._waiting is not None:
            if not self._waiting.done():
                self._waiting.set_result(None)
            self._waiting = None
