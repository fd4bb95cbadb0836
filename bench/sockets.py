"""From the socket to events and to signals, beside the least that reading the same socket can cost.

The venue is a process of its own. What is timed is the processor time of this process, from the first frame
that arrives to the last one that is handled.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from time import monotonic_ns, process_time_ns
from typing import Final

from bench.bare import Decoders, Note, by_picows, by_recv
from bench.frames import Frame, Market
from bench.market import Warm, warmed
from bench.measure import Kind, Row, Run, Title, of_items, of_rounds, same
from bench.peers import missing
from bench.socket_nautilus import by_nautilus
from bench.venue import SYMBOLS, sent_ns, tape
from bench.wire import bare_decoder
from engine.clock import SystemClock, cancelled
from engine.config.exchange import OkxConfig
from engine.config.market import MarketConfig
from engine.core.market import FeedStatus, MarketEvent
from engine.core.signals import Signal
from engine.exchange.okx.feed import OkxMarketFeed
from engine.exchange.okx.links import Network
from engine.exchange.okx.socket import Connect, Socket
from engine.garbage import settle

_SECTION: Final = "Socket, 20 symbols"
_MINUTES: Final = 60
_PACED_MINUTES: Final = 12
_RATE: Final = 5000
_ROUNDS: Final = 3
_TIMEFRAMES: Final = ("1m", "3m", "5m", "15m")
_PER_MINUTE: Final = 31 * len(SYMBOLS)  # frames of the tape
_INDICATORS: Final = (
    *("ema_12", "ema_26", "sma_20", "rsi_14", "macd", "atr_14"),
    *("bb_20", "adx_14", "cci_20", "donchian_20", "volume_ratio_20", "realised_vol_20"),
)
_PATIENCE_S: Final = 120.0
_NS_PER_US: Final = 1000.0
_LATEST_US: Final = 1000.0

Handler = Callable[[Sequence[MarketEvent]], object]


def sockets(run: Run) -> list[Row]:
    """Socket to events, socket to signals, and how late a signal is at 5,000 frames a second."""
    if missing("picows"):
        run.notes.append("picows is not installed, so sockets are not measured (make bench installs it)")
        return []
    return asyncio.run(_sockets(run))


async def _sockets(run: Run) -> list[Row]:
    frames = tape(run.of(_MINUTES, 2))
    decoders = [bare_decoder(frame.channel) for frame in frames]
    warm, wanted = _signals_of(frames)
    return [
        *await _to_events(run, frames, decoders),
        await _to_signals(run, frames, decoders, (warm, wanted)),
        await _lateness(run, warm),
    ]


async def _to_events(run: Run, frames: Sequence[Frame], decoders: Decoders) -> list[Row]:
    events: list[MarketEvent] = []
    await _ours(frames, events.extend)
    told = [_content(event) for event in events if not isinstance(event, FeedStatus)]
    same("events of the socket", told, [_content(frame.event) for frame in frames])
    ours, recv, nautilus = list[float](), list[float](), list[float]()
    for _ in range(run.of(_ROUNDS, 1)):
        ours.append(await _ours(frames, len))
        recv.append(await _bare(decoders, recv=True))
        if not missing("nautilus_trader"):
            nautilus.append(await _nautilus(decoders))
    limit = Title(_SECTION, "to events", "recv, walk of frames, msgspec", "every event", aim=0.8)
    rows = [of_rounds(limit, list(zip(ours, recv, strict=True)), len(frames))]
    if not nautilus:
        run.notes.append("nautilus_trader is not installed, so it has no row (make bench installs it)")
        return rows
    words = (_SECTION, "to events", "nautilus_trader, msgspec in its callback", "every event")
    pairs = list(zip(ours, nautilus, strict=True))
    return [*rows, of_rounds(Title(*words, Kind.PEER, 10.0), pairs, len(frames))]


async def _to_signals(
    run: Run, frames: Sequence[Frame], decoders: Decoders, expected: tuple[Warm, list[tuple[object, ...]]]
) -> Row:
    pairs = list[tuple[float, float]]()
    for _ in range(run.of(_ROUNDS, 1)):
        warm, wanted = expected
        signals: list[Signal] = []
        ours = await _ours(frames, _signalling(warm, signals))
        same("signals of the socket", [_words(signal) for signal in signals], wanted)
        pairs.append((ours, await _bare(decoders)))
    path = "to signals, 4 timeframes x 12 indicators"
    return of_rounds(Title(_SECTION, path, "picows, msgspec", "every signal", aim=0.5), pairs, len(frames))


def _signalling(warm: Warm, signals: list[Signal]) -> Handler:
    """A pipeline at work, whose signals are kept."""
    pipeline = warm.made()

    def handle(events: Sequence[MarketEvent]) -> None:
        signals.extend(pipeline.update_all(events))

    return handle


async def _lateness(run: Run, warm: Warm) -> Row:
    """From the venue's sending to the end of the pipeline's work on the frame."""
    frames, bare_late = tape(run.of(_PACED_MINUTES, 2)), list[int]()
    late = await _late(frames, warm, _RATE)
    decoders = [bare_decoder(frame.channel) for frame in frames]
    await _bare(decoders, _RATE, lambda frame: bare_late.append(monotonic_ns() - sent_ns(frame)))
    same("frames that were timed", (len(late), len(bare_late)), (len(frames), len(frames)))
    title = Title(
        _SECTION,
        f"lateness of signals at {_RATE:,} frames/s",
        "picows, msgspec",
        "every frame once",
        p99_below_us=_LATEST_US,
    )
    return of_items(title, late, bare_late)


async def late_signals(minutes: int, rate: int) -> list[int]:
    """Nanoseconds from the sending of each frame, `rate` a second, to the end of the work on it."""
    frames = tape(minutes)
    return await _late(frames, _signals_of(frames)[0], rate)


async def _late(frames: Sequence[Frame], warm: Warm, rate: int) -> list[int]:
    pipeline, taken, late = warm.made(), deque[int](), list[int]()

    def handle(events: Sequence[MarketEvent]) -> None:
        for event in events:
            pipeline.update(event)
            if not isinstance(event, FeedStatus):
                late.append(monotonic_ns() - taken.popleft())

    await _ours(frames, handle, rate, taken.append)
    return late


class _Stamps:
    """A socket that also notes when each data frame was sent."""

    def __init__(self, inner: Socket, note: Callable[[int], None]) -> None:
        self._inner, self._note = inner, note
        self.send, self.close = inner.send, inner.close

    async def recv(self) -> list[bytes]:
        frames = await self._inner.recv()
        for frame in frames:
            if frame.startswith(b'{"arg"'):
                self._note(sent_ns(frame))
        return frames


def _noting(connect: Connect, note: Callable[[int], None]) -> Connect:
    async def connected(url: str, timeout_s: float) -> Socket:
        return _Stamps(await connect(url, timeout_s), note)

    return connected


async def _ours(
    frames: Sequence[object],
    handle: Handler,
    rate: int = 0,
    note: Callable[[int], None] | None = None,
) -> float:
    """Microseconds of this process for all frames, through the feed of the engine."""
    async with _venue(len(frames) // _PER_MINUTE, rate) as url:
        config = OkxConfig(ws_public_url=f"{url}/public", ws_business_url=f"{url}/business")
        network = Network.of(config)
        if note is not None:
            network = Network(_noting(network.connect, note), network.gate)
        feed = OkxMarketFeed(config, SYMBOLS, _TIMEFRAMES, SystemClock(), network)
        running = asyncio.create_task(feed.run(), name="feed")
        try:
            async with asyncio.timeout(_PATIENCE_S):
                took = await _drain(feed, len(frames), handle)
        finally:
            await cancelled(running)
    return took


async def _drain(feed: OkxMarketFeed, count: int, handle: Handler) -> float:
    settle()
    began = 0
    async for events in feed.events():
        began = began or process_time_ns()
        handle(events)
        if sum(feed.pushes.values()) == count:
            break
    return (process_time_ns() - began) / _NS_PER_US


async def _bare(decoders: Decoders, rate: int = 0, note: Note | None = None, *, recv: bool = False) -> float:
    """The same frames by `recv` of the socket, or by picows."""
    async with _venue(len(decoders) // _PER_MINUTE, rate) as url, asyncio.timeout(_PATIENCE_S):
        if recv:
            return by_recv(f"{url}/public", decoders)
        return await by_picows(f"{url}/public", decoders, note)


async def _nautilus(decoders: Decoders) -> float:
    """The same frames by the client of nautilus_trader."""
    async with _venue(len(decoders) // _PER_MINUTE, 0) as url, asyncio.timeout(_PATIENCE_S):
        return await by_nautilus(f"{url}/public", decoders)


@asynccontextmanager
async def _venue(minutes: int, rate: int) -> AsyncIterator[str]:
    """The address of a fresh venue."""
    command = (sys.executable, "-m", "bench.venue", str(minutes), str(rate))
    venue = await asyncio.create_subprocess_exec(*command, stdout=subprocess.PIPE)
    try:
        assert venue.stdout is not None
        port = int(await venue.stdout.readline())
        yield f"ws://127.0.0.1:{port}"
    finally:
        venue.terminate()
        await venue.wait()


def _signals_of(frames: Sequence[Frame]) -> tuple[Warm, list[tuple[object, ...]]]:
    """A warm pipeline, and the signals that it makes of events which never were frames."""
    config = MarketConfig(symbols=SYMBOLS, timeframes=_TIMEFRAMES, indicators=_INDICATORS)
    warm = warmed(config, [Market(symbol, seed) for seed, symbol in enumerate(SYMBOLS)])
    pipeline, signals = warm.made(), list[Signal]()
    for frame in frames:
        signals += pipeline.update(frame.event)
    same("whether there were signals", bool(signals), True)
    return warm, [_words(signal) for signal in signals]


def _words(signal: Signal) -> tuple[object, ...]:
    """What does not depend on when a frame was received."""
    return signal.symbol, signal.detector, signal.edge, signal.value, signal.threshold


def _content(event: MarketEvent) -> tuple[object, ...]:
    """All but the times, which for a forming candle are those of its receipt."""
    return tuple(
        getattr(event, name) for name in event.__struct_fields__ if name not in {"ts_event", "ts_recv"}
    )
