"""Recordings as an outside market: they move the paper venue and, as feed, what the traders see."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from typing import Final

from engine.clock import SimClock
from engine.core.instruments import Instrument
from engine.core.market import (
    BookTop,
    Candle,
    FundingRate,
    IndexPrice,
    Level,
    MarketEvent,
    MarkPrice,
    Ticker,
    Trade,
)
from engine.core.times import NEVER_NS, NS_PER_MIN, timeframe_ns
from engine.exchange.matching.options import MatchingOptions
from engine.exchange.matching.records import Event
from engine.exchange.simulator.bar_columns import Calm
from engine.exchange.simulator.candles import PERIODS, Period
from engine.exchange.simulator.joint import JointMarket
from engine.exchange.simulator.past import Bar
from engine.exchange.simulator.recorded import Recording
from engine.exchange.simulator.replay import CandleRun, RecordedMarket
from engine.exchange.simulator.source import Quote
from engine.exchange.simulator.world import World

_FUNDING_EVERY_NS: Final = NS_PER_MIN  # as OKX pushes it
_CLOSES: Final = 1_000
_FIRST_RUN, _LONGEST_RUN = 4, 256  # candles looked at together
Told = tuple[int, bool, Sequence[MarketEvent]]  # when, whether a candle is over with it, what is told
_PERIOD_NAMES: Final = {"1h": "1H", "2h": "2H", "4h": "4H", "1d": "1Dutc"}


class ReplayedMarket:
    """`recordings` that move at their own times; implements MarketFeed, and moves the core of `world`.

    Candles are told of one `timeframe`; longer ones are to be made of them.

    The traders' time begins when all recordings have begun; what lies before is their past. `on_events`
    hears what the market caused at the venue. Nothing waits in the queue longer than a moment of the market:
    time stands still until its reader has taken all.

    `take` reads an event at once, and says whether it made a signal; while it is set, nothing is queued, and
    `leap` passes over whole candles in which nobody would do anything. Of those it takes the ends alone, or
    with `moments_matter` all that is told.
    """

    def __init__(self, recordings: Sequence[Recording], timeframe: str, clock: SimClock) -> None:
        self.start_ns = max(each.first_ns for each in recordings)
        self.end_ns = max(each.first_ns + each.points[-1].after_ns for each in recordings)
        self.on_events: Callable[[list[Event]], None] = lambda _: None
        self._sources = [RecordedMarket(each, each.first_ns, strict=True) for each in recordings]
        source, options = JointMarket(*self._sources), MatchingOptions(tells_standing=False)
        self.world = World(source, (), None, self.start_ns, options)
        self.world.seconds.wanted = False  # nobody asks for bars so short
        self._heard = False
        self._step(self.start_ns)
        self._clock = clock
        self._timeframe = timeframe
        self._queue: asyncio.Queue[MarketEvent] = asyncio.Queue()
        self._funding_told: dict[str, int] = {}
        self.moments = 0
        self._close_every_ns = (self.end_ns - self.start_ns) // _CLOSES
        self._recordings = recordings
        self._period = _period(timeframe)
        self._period_ns = max(each.period_ns for each in recordings)
        self._symbols = [each.listing.instrument.symbol for each in recordings]
        # some of them, evenly over the run
        self.closes: dict[str, list[tuple[int, float]]] = {symbol: [] for symbol in self._symbols}
        self.take: Callable[[Sequence[MarketEvent]], bool] | None = None
        self.moments_matter = False
        self._moving = False
        self.ended = asyncio.Event()

    async def run(self) -> None:
        """From now on the market moves, to its end, as the loop plays it."""
        world = self.world
        world.on_quote, world.on_bar = self._on_quote, self._on_minute
        for quote in world.quotes.values():  # what stands already, as a venue tells it to who subscribes
            self._on_quote(quote)
        self._moving = True
        await asyncio.get_running_loop().create_future()

    def next_ns(self) -> int:
        """The next moment of a recording, or the end of a minute before it: its candles end by time."""
        return min(self._moment_ns, self._minute_end_ns) if self._moving else NEVER_NS

    def play(self) -> None:
        """Step to the next moment; the last one is the end of the minute after all recordings."""
        over = self._moment_ns == NEVER_NS
        self._step(self.next_ns())
        if over:
            self._moving = False
            self.ended.set()

    def _step(self, ts: int, *, heard: bool = False) -> None:
        """Let the venue come to `ts`; what its moments tell was `heard` before, or is told."""
        self._heard = heard
        self.on_events(self.world.step(ts))
        self._minute_end_ns = (ts // NS_PER_MIN + 1) * NS_PER_MIN
        moments = (due for source in self._sources if (due := source.next_ns()) is not None)
        self._moment_ns = min(moments, default=NEVER_NS)

    @property
    def candles_alone(self) -> bool:
        """All is played by candles of the timeframe that is told."""
        period = timeframe_ns(self._timeframe)
        return all(recording.period_ns == period for recording in self._recordings)

    def leap(self, until_ns: int) -> bool:
        """Pass over the candles that end by `until_ns` and bring nobody to act; True when there was one.

        In them no price reaches what waits at the venue, no funding is charged, and but for the last moment
        no detector has an edge. The market then stands there: at the open of the candle after them, or where
        a detector had an edge within one.
        """
        now, take = self._clock.now_ns(), self.take
        ts_open = now - (now - self.start_ns) % self._period_ns
        latest = min(until_ns, self.world.next_funding - 1)  # funding is charged
        most = (latest - ts_open) // self._period_ns
        if most < 1 or take is None or not all(source.within_candle for source in self._sources):
            return False
        if (calm := self._calm()) is None:
            return False
        edge, ahead, ts = False, _FIRST_RUN, now
        while not edge and most and (runs := self._calm_runs(ts_open, min(most, ahead), calm)):
            count, ahead = 0, min(2 * ahead, _LONGEST_RUN)
            for ts, over, events in self._moments(runs) if self.moments_matter else self._ends(runs):
                self._clock.set(ts)
                count += over
                edge = take(events)
                if edge:
                    break
            self._pass_over(runs, count)
            most, ts_open = most - count, ts
        if ts == now:
            return False
        self._step(ts, heard=self.moments_matter)
        return True

    def _calm_runs(self, ts_open: int, most: int, calm: Sequence[Calm]) -> list[CandleRun]:
        """Candles of every market from the one that opened then; nothing where one of them has none."""
        runs: list[CandleRun] = []
        for source, between in zip(self._sources, calm, strict=True):
            if (run := source.calm_run(ts_open, most, between)) is None:
                return []
            most = len(run)
            runs.append(run)
        return runs

    def _ends(self, runs: Sequence[CandleRun]) -> Iterator[Told]:
        """What the ends of candles tell, as long as every market has one."""
        for candles in zip(*(run.candles(self._timeframe) for run in runs), strict=False):
            yield candles[0].ts_event, True, candles

    def _moments(self, runs: Sequence[CandleRun]) -> Iterator[Told]:
        """What every moment of candles tells, likewise, from the next one to the open of the candle after."""
        ends = self._ends(runs)
        for quotes in zip(*(run.quotes() for run in runs), strict=False):
            ts = quotes[0].ts
            if over := not (ts - self.start_ns) % self._period_ns:
                told = zip(quotes, next(ends)[2], strict=True)
                yield ts, over, [event for quote, end in told for event in (end, *self._told(quote))]
            else:
                yield ts, over, [event for quote in quotes for event in self._told(quote)]

    def _pass_over(self, runs: Sequence[CandleRun], count: int) -> None:
        """The first ones were: keep their bars, and go on after them."""
        for run in runs if count else ():
            minutes = run.minutes(count)
            self.world.bars.pass_over(run.symbol, minutes)
            self._picture(run.symbol, minutes)
            self.moments += run.pass_over(count)

    def _calm(self) -> list[Calm] | None:
        """Prices that nobody at the venue waits for, in each market; None when one of them is not calm."""
        ranges: list[Calm] = []
        for symbol in self._symbols:
            if (between := self.world.core.calm(symbol)) is None:
                return None
            ranges.append(between)
        return ranges

    # -- the feed

    async def events(self) -> AsyncIterator[Sequence[MarketEvent]]:
        """Everything that happens, in order and one by one."""
        while True:
            yield (await self._queue.get(),)

    async def instruments(self) -> tuple[Instrument, ...]:
        """What the recordings are of."""
        return tuple(listing.instrument for listing in self.world.source.listings)

    async def candles(self, symbol: str, timeframe: str, limit: int) -> tuple[Candle, ...]:
        """The newest `limit` closed candles, oldest first."""
        bars = self.world.bars.bars(symbol, _period(timeframe))
        closed = [bar for bar, done in bars if done]
        return tuple(self._candle(symbol, timeframe, bar) for bar in closed[-limit:])

    def _on_quote(self, quote: Quote) -> None:
        self.moments += 1
        if not self._heard:
            for event in self._told(quote):
                self._tell(event)

    def _told(self, quote: Quote) -> Iterator[MarketEvent]:
        """What a venue's channels would say of it."""
        symbol, ts = quote.symbol, quote.ts
        price = float(quote.price)
        bids = tuple(Level(float(at), float(size)) for at, size in quote.bids)
        asks = tuple(Level(float(at), float(size)) for at, size in quote.asks)
        yield BookTop(symbol, bids, asks, ts, ts)
        if quote.size:
            yield Trade(symbol, price, float(quote.size), quote.side, str(ts), ts, ts)
        bid, ask = bids[0], asks[0]
        yield Ticker(symbol, price, bid.price, ask.price, bid.size, ask.size, None, None, ts, ts)
        yield IndexPrice(symbol, float(quote.index), ts, ts)
        yield MarkPrice(symbol, float(quote.mark), ts, ts)
        if ts - self._funding_told.get(symbol, 0) >= _FUNDING_EVERY_NS:
            self._funding_told[symbol] = ts
            yield FundingRate(symbol, float(quote.funding_rate), self.world.next_funding, ts, ts)

    def _tell(self, event: MarketEvent) -> None:
        if self.take is None:
            self._queue.put_nowait(event)
        else:
            self.take((event,))

    def _on_minute(self, symbol: str, minute: Bar) -> None:
        self._picture(symbol, [minute])
        if (bar := self.world.bars.just_closed(symbol, minute, self._period)) is not None:
            self._tell(self._candle(symbol, self._timeframe, bar))

    def _picture(self, symbol: str, minutes: Sequence[Bar]) -> None:
        closes = self.closes[symbol]
        if closes and minutes[-1].ts_open - closes[-1][0] < self._close_every_ns:
            return
        for minute in minutes:
            if not closes or minute.ts_open - closes[-1][0] >= self._close_every_ns:
                closes.append((minute.ts_open, float(minute.close)))

    def _candle(self, symbol: str, timeframe: str, bar: Bar) -> Candle:
        """Volume in coins, as everywhere but at the venue."""
        instrument = self.world.core.instrument(symbol)
        now = self._clock.now_ns()
        return Candle(
            symbol=symbol,
            timeframe=timeframe,
            ts_open=bar.ts_open,
            open=float(bar.open),
            high=float(bar.high),
            low=float(bar.low),
            close=float(bar.close),
            volume=float(instrument.coins(bar.volume)),
            closed=True,
            ts_event=now,
            ts_recv=now,
        )


def _period(timeframe: str) -> Period:
    return PERIODS[_PERIOD_NAMES.get(timeframe, timeframe)]
