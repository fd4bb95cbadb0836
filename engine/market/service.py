"""The market part at work: feed in, signals and snapshots out.

The feed is never kept waiting: what leaves (signals, snapshots, candles) goes through bounded buffers and
tasks of its own, so an outage of the journal or the bus costs nothing but delay.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from functools import partial
from typing import Final, Protocol

import structlog

from engine.bus import SIGNALS, SNAPSHOTS, Bus
from engine.clock import Clock
from engine.config.market import MarketConfig
from engine.core.errors import BusUnavailable
from engine.core.instruments import Instrument
from engine.core.market import Candle, MarketEvent
from engine.core.signals import MarketSnapshot, Signal
from engine.exchange.ports import MarketFeed
from engine.journal.ports import FeatureRow, IntegrityEvent, KeepState
from engine.market.history import CandleHistory
from engine.market.outbox import SignalOutbox
from engine.market.pipeline import MarketPipeline
from engine.market.records import ClosedCandle
from engine.retry import patiently

log = structlog.get_logger()

_SIGNAL_BATCH: Final = 100
_CANDLE_BATCH: Final = 500
_CANDLE_PAUSE_S: Final = 1.0
_TICK_S: Final = 0.25


class MarketJournal(Protocol):
    """What of the journal the market part uses."""

    async def record_candles(self, candles: Sequence[Candle]) -> None: ...
    async def record_signals(self, signals: Sequence[Signal]) -> None: ...
    async def record_features(self, rows: Sequence[FeatureRow]) -> None: ...
    async def record_integrity(self, events: Sequence[IntegrityEvent]) -> None: ...
    async def save_state(self, kind: KeepState, trader_id: str, state: bytes, ts: int) -> None: ...
    async def load_states(self, kind: KeepState) -> dict[str, bytes]: ...


class MarketService:
    """Owns the feed and the pipeline. `run` ends only with an error.

    Start: the feed connects; each symbol goes on where its kept state ended, or all its timeframes are
    warmed up by REST; then the feed's events are worked through in order. `warm` is set before them.
    """

    name = "market"

    def __init__(
        self, config: MarketConfig, feed: MarketFeed, bus: Bus, journal: MarketJournal, clock: Clock
    ) -> None:
        self._config = config
        self._feed = feed
        self._bus = bus
        self._journal = journal
        self._clock = clock
        self.pipeline = MarketPipeline(config)
        self.outbox = SignalOutbox()
        self.warm = asyncio.Event()
        self.tap: Callable[[MarketEvent], None] | None = None  # hears each event before the pipeline
        self.events = 0
        self.snapshots_lost = 0
        self._history = CandleHistory(config, self.pipeline, feed, clock, self._made)
        self._news = asyncio.Event()

    async def run(self) -> None:
        """Work until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._feed.run(), name="market feed")
            tasks.create_task(self._follow(), name="market events")
            tasks.create_task(self._publish_signals(), name="market signals")
            tasks.create_task(self._publish_snapshots(), name="market snapshots")
            tasks.create_task(self._record_candles(), name="market candles")
            tasks.create_task(self._fill_gaps(), name="market gaps")
            if self._config.keep_every:
                tasks.create_task(self._keep_states(), name="market states")
            if self._config.candles == "trades":
                tasks.create_task(self._tick(), name="market tick")

    def snapshot(self, symbol: str) -> MarketSnapshot:
        """What may be known about the symbol now. Raises KeyError for one that is not watched."""
        return self.pipeline.snapshot(symbol, self._clock.now_ns())

    def note_listed(self, instruments: Sequence[Instrument]) -> None:
        """What a contract is worth at the venue, from now on."""
        self.pipeline.set_contract_values({i.symbol: float(i.contract_value) for i in instruments})

    async def _follow(self) -> None:
        await self._warm_up()
        self.warm.set()
        log.info("market warmed up", symbols=len(self._config.symbols))
        async for events in self._feed.events():
            self.take(events)

    def take(self, events: Sequence[MarketEvent]) -> bool:
        """Work through events at once, after the warm-up; True when they made signals."""
        self.events += len(events)
        if self.tap is not None:
            for event in events:
                self.tap(event)
        signals = self.pipeline.update_all(events)
        if self.pipeline.moved and not self._news.is_set():
            self._news.set()
        self._emit(signals)
        return bool(signals)

    def _emit(self, signals: Sequence[Signal]) -> None:
        """Pass on what the pipeline has made; never waits."""
        if signals:
            self.outbox.put(signals)
            for signal in signals:
                log.info(
                    "edge detected",
                    symbol=signal.symbol,
                    detector=signal.detector,
                    edge=signal.edge,
                    value=signal.value,
                    score=round(signal.score, 3),
                )
        for gap in self.pipeline.take_gaps():
            self._history.note(gap)

    def _made(self, symbol: str, signals: Sequence[Signal]) -> None:
        """Candles came by REST."""
        self.pipeline.moved[symbol] = None
        self._news.set()
        self._emit(signals)

    async def _warm_up(self) -> None:
        if self._config.candles == "trades":
            self.note_listed(await self._feed.instruments())
        kept = await patiently(partial(self._journal.load_states, KeepState.MARKET))
        async with asyncio.TaskGroup() as tasks:
            for symbol in self._config.symbols:
                tasks.create_task(self._history.begin(symbol, kept.get(symbol)), name=f"warm up {symbol}")

    async def _publish_signals(self) -> None:
        """Journal first, then bus: whoever is woken by a signal finds it written down."""
        while True:
            signals = await self.outbox.take(_SIGNAL_BATCH)
            await patiently(partial(self._journal.record_signals, signals))
            await patiently(partial(self._bus.publish_many, SIGNALS, signals))
            self.outbox.delivered()

    async def _publish_snapshots(self) -> None:
        """The newest state of what has moved, at once, then at most so often as the configuration says.

        While the bus is away they are lost; the newest of then follows when it is back.
        """
        await self.warm.wait()
        clock, next_s = self._clock, 0.0
        while True:
            await self._news.wait()
            if (left_s := next_s - clock.real_s()) > 0:
                await clock.sleep_real(left_s)
            self._news.clear()
            moved = self.pipeline.take_moved()
            snapshots = [self.snapshot(symbol) for symbol in moved]
            try:
                if snapshots:
                    await self._bus.publish_many(SNAPSHOTS, snapshots)
            except BusUnavailable:
                self.snapshots_lost += len(snapshots)
                self.pipeline.moved |= dict.fromkeys(moved)
                self._news.set()
            next_s = clock.real_s() + 1.0 / self._config.snapshots_per_s

    async def _fill_gaps(self) -> None:
        await self.warm.wait()
        await self._history.fill_gaps()

    async def _keep_states(self) -> None:
        """Keep each symbol's state, so that a restart goes on where the candles were.

        Only while no signal is on its way: what the detectors of a kept state have said is journalled.
        """
        await self.warm.wait()
        while True:
            for symbol in self._config.symbols:
                await self.outbox.drained()
                state, now = self.pipeline.state(symbol), self._clock.now_ns()
                await patiently(partial(self._journal.save_state, KeepState.MARKET, symbol, state, now))
            await self._clock.sleep(self._config.keep_every)

    async def _record_candles(self) -> None:
        """Closed candles and their features in batches; they wait in the pipeline's bounded buffer."""
        while True:
            closed = self.pipeline.take_closed()
            for start in range(0, len(closed), _CANDLE_BATCH):
                batch = closed[start : start + _CANDLE_BATCH]
                await patiently(partial(self._journal.record_candles, [item.candle for item in batch]))
                await patiently(partial(self._journal.record_features, [_features(item) for item in batch]))
            if flaws := self._history.take_flaws():
                await patiently(partial(self._journal.record_integrity, flaws))
            await self._clock.sleep_real(_CANDLE_PAUSE_S)

    async def _tick(self) -> None:
        """Candles made of trades end by time when no trade comes."""
        await self.warm.wait()
        while True:
            self._emit(self.pipeline.advance(self._clock.now_ns()))
            await self._clock.sleep_real(_TICK_S)


def _features(closed: ClosedCandle) -> FeatureRow:
    candle = closed.candle
    return FeatureRow(
        symbol=candle.symbol, timeframe=candle.timeframe, ts_open=candle.ts_open, values=closed.features
    )
