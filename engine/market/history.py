"""Candles that the feed did not bring: before the start, over a restart, and in gaps. All come by REST."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final

import structlog

from engine.clock import Clock
from engine.config.market import MarketConfig
from engine.core.errors import CodecError, OutcomeUnknown, Rejected, Unavailable
from engine.core.market import Candle
from engine.core.signals import Signal
from engine.core.times import NS_PER_DAY, timeframe_ns
from engine.exchange.ports import MarketFeed
from engine.journal.ports import IntegrityEvent, IntegrityKind
from engine.market.pipeline import MarketPipeline
from engine.market.records import Gap

log = structlog.get_logger()

_FETCH_TIMEOUT_S: Final = 15.0
_FIRST_WAIT_S: Final = 0.5
_LONGEST_WAIT_S: Final = 10.0
_UNCLOSED_PAUSE_S: Final = 1.0
_MARGIN: Final = 5  # candles that close while others are fetched
_FILL_TRIES: Final = 5
_MAX_FLAWS: Final = 10_000


class CandleHistory:
    """Brings the pipeline's candles up to date. `made` takes the signals of each symbol that this causes."""

    def __init__(
        self,
        config: MarketConfig,
        pipeline: MarketPipeline,
        feed: MarketFeed,
        clock: Clock,
        made: Callable[[str, Sequence[Signal]], None],
    ) -> None:
        self._config = config
        self._pipeline = pipeline
        self._feed = feed
        self._clock = clock
        self._made = made
        self._gaps: set[tuple[str, str]] = set()  # being filled, at most one a timeframe
        self._found: asyncio.Queue[tuple[str, str]] = asyncio.Queue()  # bounded by what may be in `_gaps`
        self._flaws: deque[IntegrityEvent] = deque(maxlen=_MAX_FLAWS)  # full: the oldest is forgotten

    async def begin(self, symbol: str, state: bytes | None) -> None:
        """Go on where `state` was kept, or begin with the venue's history. Raises Rejected."""
        if state is not None and self._pipeline.restore(symbol, state):
            self._pipeline.reopen(symbol)
            if await self._catch_up(symbol):
                log.info("market state continued", symbol=symbol)
                return
        for timeframe in reversed(self._config.timeframes):  # the base last: the others continue from it
            candles = await self._fetch(symbol, timeframe, self._enough(timeframe))
            self._made(symbol, self._pipeline.warm_up(symbol, timeframe, candles))

    def _enough(self, timeframe: str) -> int:
        """How many of its newest closed candles a timeframe begins with.

        Of the base as many as the longest timeframe holds, so that what is in the making there is made from
        its open on; and a day of all where VWAP wants to see a midnight.
        """
        config, whole_ns = self._config, 0
        if config.aggregate and timeframe == config.timeframes[0]:
            whole_ns = timeframe_ns(config.timeframes[-1])
        if "vwap" in config.indicators:
            whole_ns = max(whole_ns, NS_PER_DAY)
        return max(config.warm_up, whole_ns // timeframe_ns(timeframe) + _MARGIN)

    async def _catch_up(self, symbol: str) -> bool:
        """Work through what closed since the state was kept; False when that is more than a warm-up."""
        timeframes = self._config.timeframes[:1] if self._config.aggregate else self._config.timeframes
        for timeframe in timeframes:
            asked: int | None = None
            signals: Sequence[Signal] | None = None
            while signals is None:
                missing = self._pipeline.missing(symbol, timeframe, self._clock.now_ns())
                if missing is None or missing == asked or missing + _MARGIN > self._enough(timeframe):
                    return False  # asked already: the venue does not reach back so far
                asked = missing  # more by the time that a venue which was away answers
                candles = await self._fetch(symbol, timeframe, missing + _MARGIN)
                signals = self._pipeline.catch_up(symbol, timeframe, candles, self._clock.now_ns())
            self._made(symbol, signals)
        return True

    def note(self, gap: Gap) -> None:
        """A gap was found; `fill_gaps` sees to it."""
        log.warning("candles missing", symbol=gap.symbol, timeframe=gap.timeframe, ts_from=gap.ts_from)
        self._note_flaw(gap, IntegrityKind.GAP)
        if (key := (gap.symbol, gap.timeframe)) not in self._gaps:
            self._gaps.add(key)
            self._found.put_nowait(key)

    async def fill_gaps(self) -> None:
        """Fill until cancelled, each timeframe by itself: one that cannot be filled holds up no other."""
        async with asyncio.TaskGroup() as tasks:
            while True:
                symbol, timeframe = await self._found.get()
                tasks.create_task(self._fill(symbol, timeframe), name=f"candles {symbol} {timeframe}")

    async def _fill(self, symbol: str, timeframe: str) -> None:
        """Fetch what is missing; what cannot be filled is built anew from the venue's history."""
        tries, repaired, enough = 0, self._pipeline.gap(symbol, timeframe), self._enough(timeframe)
        while (gap := self._pipeline.gap(symbol, timeframe)) is not None:
            tries += 1
            behind = self._pipeline.missing(symbol, timeframe, self._clock.now_ns()) or 0
            reach = max(gap.reach, behind + _MARGIN)  # what closed since may not have come by the feed either
            anew = reach > enough or tries > _FILL_TRIES
            try:
                candles = await self._fetch(symbol, timeframe, enough if anew else reach)
            except Rejected as error:  # as of a market that ended: it stays blind, the others go on
                log.warning("candles refused", symbol=symbol, timeframe=timeframe, error=str(error))
                await self._clock.sleep_real(_LONGEST_WAIT_S)
                continue
            if anew:
                self._made(symbol, self._pipeline.warm_up(symbol, timeframe, candles))
                log.warning("candles built anew", symbol=symbol, timeframe=timeframe)
            else:
                self._made(symbol, self._pipeline.backfill(symbol, timeframe, candles))
            if self._pipeline.gap(symbol, timeframe) is not None:  # the venue has not closed it yet
                await self._clock.sleep_real(_UNCLOSED_PAUSE_S if tries < _FILL_TRIES else _LONGEST_WAIT_S)
        self._gaps.discard((symbol, timeframe))
        if repaired is not None:
            self._note_flaw(repaired, IntegrityKind.REPAIRED)
        log.info("candles complete", symbol=symbol, timeframe=timeframe)

    def take_flaws(self) -> list[IntegrityEvent]:
        """What was found wrong with the candles since the last call, for the journal."""
        return [self._flaws.popleft() for _ in range(len(self._flaws))]

    def _note_flaw(self, gap: Gap, kind: IntegrityKind) -> None:
        self._flaws.append(
            IntegrityEvent(
                symbol=gap.symbol,
                timeframe=gap.timeframe,
                kind=kind,
                ts_from=gap.ts_from,
                ts_to=gap.ts_to,
                ts=self._clock.now_ns(),
            )
        )

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
