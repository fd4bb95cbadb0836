"""Keeps the frames of public channels as they come, for `--replay`.

One JSON line a frame, `{"recv":"<seconds>","frame":{…}}`, and a line when a connection is lost and back,
so that a silence can be told from a gap. Between the sockets and the disk at most `_BUFFER` bytes wait;
beyond that the newest frames are dropped and counted.
"""

from __future__ import annotations

import asyncio
from typing import Final

import msgspec
import structlog

from engine.clock import Clock
from engine.config.exchange import OkxConfig
from engine.core.errors import CodecError, VenueMisconfigured
from engine.core.times import NS_PER_S
from engine.exchange.okx.dispatch import FrameReader
from engine.exchange.okx.frames import Arg
from engine.exchange.okx.link import Link
from engine.exchange.okx.links import BUSINESS, PUBLIC, Network, build
from engine.exchange.okx.session import Refused
from engine.recordings import RecordingFolder

DEFAULT_CHANNELS: Final = (
    *("trades", "tickers", "books", "bbo-tbt", "mark-price", "index-tickers", "funding-rate"),
    *("open-interest", "candle1m"),
)
_BUFFER: Final = 64 << 20
_FLUSH_S: Final = 1.0
_OF_TYPE: Final = frozenset(["instruments", "liquidation-orders", "adl-warning"])
log = structlog.get_logger()


class Progress(msgspec.Struct):
    """What has been done so far."""

    frames: int = 0
    dropped: int = 0  # for want of a disk that is quick enough
    bad: int = 0  # that were no frames of OKX
    gaps: int = 0  # lost connections
    refused: int = 0  # subscriptions
    up: int = 0  # connections at the moment


class Recorder:
    """Records `channels` of `symbols`; implements LinkHandler."""

    def __init__(
        self, config: OkxConfig, args: tuple[Arg, ...], folder: RecordingFolder, clock: Clock
    ) -> None:
        self._folder, self._clock = folder, clock
        self._args = args
        self._lines: list[bytes] = []
        self._waiting = 0
        self._useless = asyncio.Event()
        self.progress = Progress()
        make = build(config, Network.of(config), clock, self)
        self._links: list[Link] = []
        for name in (PUBLIC, BUSINESS):
            if asked := tuple(arg for arg in args if _link_of(arg) == name):
                self._links.append(make(name, asked, None))

    async def run(self) -> None:
        """Record until cancelled; what came is on disk then. Raises VenueMisconfigured, ConfigError."""
        try:
            async with asyncio.TaskGroup() as tasks:
                for link in self._links:
                    tasks.create_task(link.run(), name=f"record {link.plan.name}")
                tasks.create_task(self._write(), name="recording")
                tasks.create_task(self._give_up(), name="recording refused")
        finally:
            if lines := self._taken():
                self._folder.append(lines, self._clock.now_ns())
            self._folder.close()

    async def _write(self) -> None:
        while True:
            await self._clock.sleep_real(_FLUSH_S)
            if lines := self._taken():
                await asyncio.to_thread(self._folder.append, lines, self._clock.now_ns())

    async def _give_up(self) -> None:
        await self._useless.wait()
        raise VenueMisconfigured("the venue refused every channel; see the log for its reasons")

    def _taken(self) -> bytes:
        """What waits for the disk, which waits no more."""
        lines, self._lines, self._waiting = b"".join(self._lines), [], 0
        return lines

    def _keep(self, line: bytes) -> None:
        if self._waiting + len(line) > _BUFFER:
            self.progress.dropped += 1
            return
        self._lines.append(line)
        self._waiting += len(line)

    # -- of the links

    def reader(self, link: str, arg: Arg) -> FrameReader:
        """What a frame holds is not looked at."""
        return self._keep_frame

    def _keep_frame(self, frame: bytes, ts_recv: int) -> None:
        if b"\n" in frame:  # no line then; the venue writes none
            self.progress.bad += 1
            return
        seconds, rest = divmod(ts_recv, NS_PER_S)
        self.progress.frames += 1
        self._keep(b'{"recv":"%d.%09d","frame":%b}\n' % (seconds, rest, frame))

    def on_up(self, link: str) -> None:
        self.progress.up += 1
        self._mark(link, "up")

    def on_down(self, link: str, reason: str) -> None:
        self.progress.up -= 1
        self.progress.gaps += 1
        self._mark(link, "down")

    def on_refused(self, link: str, refused: Refused) -> None:
        log.error("channel refused", arg=refused.arg.key, code=refused.code, reason=refused.message)
        self.progress.refused += 1
        if self.progress.refused >= len(self._args):
            self._useless.set()

    def on_bad_frame(self, link: str, error: CodecError) -> None:
        self.progress.bad += 1

    def _mark(self, link: str, state: str) -> None:
        seconds, rest = divmod(self._clock.now_ns(), NS_PER_S)
        event = msgspec.json.encode({"event": state, "msg": link})
        self._keep(b'{"recv":"%d.%09d","frame":%b}\n' % (seconds, rest, event))


def args_of(symbols: tuple[str, ...], channels: tuple[str, ...]) -> tuple[Arg, ...]:
    """One subscription a channel and symbol; channels of a whole kind of instruments once."""
    args: dict[Arg, None] = {}
    for channel in channels:
        for symbol in symbols:
            if channel in _OF_TYPE:
                args[Arg(channel, instType="SWAP")] = None
            else:
                name = symbol.removesuffix("-SWAP") if channel.startswith("index-") else symbol
                args[Arg(channel, instId=name)] = None
    return tuple(args)


def _link_of(arg: Arg) -> str:
    return BUSINESS if "candle" in arg.channel or arg.channel == "trades-all" else PUBLIC
