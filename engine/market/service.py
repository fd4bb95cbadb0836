"""The market part at work: feed in, signals and snapshots out.

The feed is never kept waiting: what leaves (signals, snapshots, candles) goes through bounded buffers and
tasks of its own, so an outage of the journal or the bus costs nothing but delay.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from functools import partial
from typing import Final, Protocol

import structlog

from engine.bus import SIGNALS, SNAPSHOTS, Bus
from engine.clock import Clock
from engine.config.market import MarketConfig
from engine.core.errors import BusUnavailable, CodecError, OutcomeUnknown, Unavailable
from engine.core.instruments import Instrument
from engine.core.market import Candle
from engine.core.signals import MarketSnapshot, Signal
from engine.exchange.ports import MarketFeed
from engine.market.outbox import SignalOutbox
from engine.market.pipeline import MarketPipeline
from engine.retry import patiently

log = structlog.get_logger()

_FETCH_TIMEOUT_S: Final = 15.0
_FIRST_WAIT_S: Final = 0.5
_LONGEST_WAIT_S: Final = 10.0
_SIGNAL_BATCH: Final = 100
_CANDLE_BATCH: Final = 500
_CANDLE_PAUSE_S: Final = 1.0
_TICK_S: Final = 0.25
_FILL_TRIES: Final = 5


class MarketJournal(Protocol):
    """What of the journal the market part writes."""

    async def record_candles(self, candles: Sequence[Candle]) -> None: ...
    async def record_signals(self, signals: Sequence[Signal]) -> None: ...


class MarketService:
    """Owns the feed and the pipeline. `run` ends only with an error.

    Start: the feed connects, all timeframes are warmed up by REST, then the feed's events are worked
    through in order; nothing fires before. `warm` is set when that is done.
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
        self.events = 0
        self.snapshots_lost = 0
        self._moved: dict[str, None] = {}  # symbols with news since their last snapshot
        self._gaps: dict[tuple[str, str], None] = {}  # at most one a timeframe
        self._gap_found = asyncio.Event()
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
        async for event in self._feed.events():
            self.events += 1
            if event.symbol in self._config.symbols:
                self._moved[event.symbol] = None
                self._news.set()
            self._emit(self.pipeline.update(event))

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
            log.warning("candles missing", symbol=gap.symbol, timeframe=gap.timeframe, ts_from=gap.ts_from)
            self._gaps[(gap.symbol, gap.timeframe)] = None
            self._gap_found.set()

    async def _warm_up(self) -> None:
        if self._config.candles == "trades":
            self.note_listed(await self._feed.instruments())
        async with asyncio.TaskGroup() as tasks:
            for symbol in self._config.symbols:
                tasks.create_task(self._warm_up_symbol(symbol), name=f"warm up {symbol}")

    async def _warm_up_symbol(self, symbol: str) -> None:
        for timeframe in reversed(self._config.timeframes):  # the base last: the others continue from it
            candles = await self._fetch(symbol, timeframe, self._config.warm_up)
            self._emit(self.pipeline.warm_up(symbol, timeframe, candles))
        self._moved[symbol] = None
        self._news.set()

    async def _fetch(self, symbol: str, timeframe: str, limit: int) -> Sequence[Candle]:
        """The newest closed candles, asked for until the venue gives them. Raises Rejected."""
        wait_s = _FIRST_WAIT_S
        while True:
            try:
                async with asyncio.timeout(_FETCH_TIMEOUT_S):
                    return await self._feed.candles(symbol, timeframe, limit)
            except (Unavailable, OutcomeUnknown, CodecError, TimeoutError) as error:
                log.warning("candles not fetched", symbol=symbol, timeframe=timeframe, error=str(error))
            await self._clock.sleep_real(wait_s)
            wait_s = min(_LONGEST_WAIT_S, wait_s * 2)

    async def _fill_gaps(self) -> None:
        """One gap after the other; a timeframe is in the list at most once."""
        await self.warm.wait()
        while True:
            await self._gap_found.wait()
            while self._gaps:
                symbol, timeframe = next(iter(self._gaps))
                await self._fill(symbol, timeframe)
                del self._gaps[(symbol, timeframe)]
            self._gap_found.clear()

    async def _fill(self, symbol: str, timeframe: str) -> None:
        """Fetch what is missing; what cannot be filled is built anew from the venue's history."""
        tries = 0
        while (gap := self.pipeline.gap(symbol, timeframe)) is not None:
            tries += 1
            if gap.reach > self._config.warm_up or tries > _FILL_TRIES:
                candles = await self._fetch(symbol, timeframe, self._config.warm_up)
                self._emit(self.pipeline.warm_up(symbol, timeframe, candles))
                log.warning("candles built anew", symbol=symbol, timeframe=timeframe)
            else:
                candles = await self._fetch(symbol, timeframe, gap.reach)
                self._emit(self.pipeline.backfill(symbol, timeframe, candles))
            self._moved[symbol] = None
            self._news.set()
            if self.pipeline.gap(symbol, timeframe) is not None:  # the venue has not closed it yet
                await self._clock.sleep_real(_CANDLE_PAUSE_S)
        log.info("candles complete", symbol=symbol, timeframe=timeframe)

    async def _publish_signals(self) -> None:
        """Journal first, then bus: whoever is woken by a signal finds it written down."""
        while True:
            signals = await self.outbox.take(_SIGNAL_BATCH)
            await patiently(partial(self._journal.record_signals, signals))
            await patiently(partial(self._bus.publish_many, SIGNALS, signals))

    async def _publish_snapshots(self) -> None:
        """The newest state of what has moved, at once, then at most so often as the configuration says.

        While the bus is away they are lost, and newer ones follow.
        """
        await self.warm.wait()
        while True:
            await self._news.wait()
            self._news.clear()
            moved, self._moved = self._moved, {}
            snapshots = [self.snapshot(symbol) for symbol in moved]
            try:
                if snapshots:
                    await self._bus.publish_many(SNAPSHOTS, snapshots)
            except BusUnavailable:
                self.snapshots_lost += len(snapshots)
            await self._clock.sleep_real(1.0 / self._config.snapshots_per_s)

    async def _record_candles(self) -> None:
        """Closed candles in batches; they wait in the pipeline's bounded buffer meanwhile."""
        while True:
            closed = [item.candle for item in self.pipeline.take_closed()]
            for start in range(0, len(closed), _CANDLE_BATCH):
                batch = closed[start : start + _CANDLE_BATCH]
                await patiently(partial(self._journal.record_candles, batch))
            await self._clock.sleep_real(_CANDLE_PAUSE_S)

    async def _tick(self) -> None:
        """Candles made of trades end by time when no trade comes."""
        await self.warm.wait()
        while True:
            self._emit(self.pipeline.advance(self._clock.now_ns()))
            await self._clock.sleep_real(_TICK_S)
