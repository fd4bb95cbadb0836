"""A recorded market, played: it keeps its own rhythm and gets new times.

Its first played moment is when the simulator starts, or up to a bar before: as far into a bar as it was when
it was recorded, so that bars of the recording's own length come out as they were. Played faster or slower
only as engine time runs. A simulator that was away longer than ten minutes of engine time goes on where it
stopped. When a recording ends, the market holds still and `status` says so, or it starts over (`loop`) with
its prices scaled so that there is no jump.
"""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from typing import Final

import msgspec

from engine.core.market import Candle, Side, exact
from engine.core.times import NS_PER_MIN
from engine.exchange.simulator.bar_columns import Calm
from engine.exchange.simulator.past import NO_PAST, Bar, Past
from engine.exchange.simulator.recorded import Point, Recording
from engine.exchange.simulator.recorded_candles import CandlePath, minutes_of
from engine.exchange.simulator.source import Levels, Quote
from engine.exchange.simulator.universe import Listing

_LEVELS: Final = 5
_LONGEST_PAUSE_NS: Final = 10 * NS_PER_MIN


class _State(msgspec.Struct):
    start_ns: int  # engine time of the first played moment
    index: int  # of the next point
    ts: int  # that was advanced to
    scale: Decimal  # of prices, other than 1 after a loop


class RecordedMarket:
    """Plays one recording from `start_ns` on. `loop`: it starts over at its end. `strict`: every moment has
    its recorded distance from the first, however long nobody asked."""

    def __init__(
        self, recording: Recording, start_ns: int, *, loop: bool = False, strict: bool = False
    ) -> None:
        self.listings: tuple[Listing, ...] = (recording.listing,)
        self.name = f"recorded {recording.name} {recording.listing.instrument.symbol}"
        self._recording = recording
        self._loop, self._strict = loop, strict
        points = recording.points
        self._count = len(points)
        # what may be passed over: candles of which nothing but the corners is played, once
        self._path = points if isinstance(points, CandlePath) and points.corners and not loop else None
        character = recording.listing.character
        self._spread = exact(character.spread_bps) / 10_000  # of the price
        self._level_usd = Decimal(int(character.depth_usd)) / _LEVELS
        late = (start_ns - recording.first_ns) % recording.period_ns
        self._state = _State(start_ns - late, 0, start_ns, Decimal(1))
        self._untold = True  # nobody has asked for the past yet

    def take_bars(self) -> dict[str, list[Bar]]:
        if not self._untold:
            return {}
        self._untold = False
        start = self._state.start_ns
        bars = [bar._replace(ts_open=bar.ts_open + start) for bar in self._recording.history]
        return {self._recording.listing.instrument.symbol: bars}

    def older(self, symbol: str, first: Bar) -> Past:
        return NO_PAST

    def status(self) -> str:
        points, index = len(self._recording.points), self._state.index
        played = f"{index:,} of {points:,} moments of {self._recording.name}"
        return f"{played}; ended, the market holds still" if self._ended else played

    def state(self) -> bytes:
        return msgspec.msgpack.encode(self._state)

    def restore(self, state: bytes) -> None:
        self._state = msgspec.msgpack.decode(state, type=_State)
        self._untold = False

    def advance(self, ts_ns: int) -> list[Quote]:
        state = self._state
        pause = ts_ns - state.ts
        if state.index and pause > _LONGEST_PAUSE_NS and not self._strict:
            state.start_ns += pause - pause % self._recording.period_ns
        state.ts = max(state.ts, ts_ns)
        quotes: list[Quote] = []
        while True:
            if self._ended and self._loop:
                self._start_over()
            if self._ended:
                return quotes
            point = self._recording.points[state.index]
            if state.start_ns + point.after_ns > ts_ns:
                return quotes
            quotes.append(self._quote(point, state.index))
            state.index += 1

    # -- whole candles, passed over by a backtest

    @property
    def within_candle(self) -> bool:
        """A candle has opened, and not all of its moments were played."""
        return self._path is not None and self._state.index % self._path.moments > 0

    def calm_run(self, ts_open: int, most: int, calm: Calm) -> CandleRun | None:
        """At most so many candles that stay within `calm`, from that of the next moment on.

        None where that one does not open at `ts_open`, or where more than corners is played. A candle without
        another right after it is played, since the market stays as its last moments left it, and so is one of
        fewer lots than it has moments, each of which trades one.
        """
        path, state = self._path, self._state
        if path is None:
            return None
        first = state.index // path.moments
        if state.start_ns + path.bars.ts[first] != ts_open:
            return None
        numbers = range(first, min(first + most, len(path.bars) - 1))
        count = path.bars.calm(numbers, self._recording.period_ns, calm, path.moments)
        return CandleRun(self, path, numbers[:count]) if count else None

    def go_on(self, index: int) -> int:
        """The next moment is that number; how many were left out."""
        before, self._state.index = self._state.index, index
        return index - before

    def quotes(self, last: int) -> Iterator[Quote]:
        """What the moments from the next one to that number will be."""
        points = self._recording.points
        return (self._quote(points[index], index) for index in range(self._state.index, last + 1))

    @property
    def recording(self) -> Recording:
        return self._recording

    @property
    def start_ns(self) -> int:
        """When the first moment was played: the time 0 of the recording."""
        return self._state.start_ns

    def next_ns(self) -> int | None:
        """When the next moment is; None when the recording has ended and does not start over."""
        if self._ended and self._loop:
            self._start_over()
        state = self._state
        return None if self._ended else state.start_ns + self._recording.points[state.index].after_ns

    @property
    def _ended(self) -> bool:
        return self._state.index == self._count

    def _start_over(self) -> None:
        points, state, period = self._recording.points, self._state, self._recording.period_ns
        state.start_ns += (points[-1].after_ns // period + 1) * period
        state.scale *= points[-1].price / points[0].price
        state.index = 0

    def _quote(self, point: Point, index: int) -> Quote:
        instrument, state = self._recording.listing.instrument, self._state
        price = point.price if state.scale == 1 else instrument.round_price(point.price * state.scale)
        before = self._recording.points[max(0, index - 1)].price
        up = point.side is Side.BUY if point.side else point.price >= before
        gap = max(instrument.tick_size, instrument.round_price(price * self._spread))
        bid = instrument.round_price(point.bid * state.scale) if point.bid else price - gap * up
        ask = instrument.round_price(point.ask * state.scale) if point.ask else bid + gap
        return Quote(
            symbol=instrument.symbol,
            ts=state.start_ns + point.after_ns,
            bids=self._levels(bid, -gap),
            asks=self._levels(max(ask, bid + instrument.tick_size), gap),
            price=price,
            size=point.contracts,
            side=Side.BUY if up else Side.SELL,
            mark=price if point.contracts else instrument.round_price((bid + ask) / 2),
            index=price,
            funding_rate=self._recording.funding_at(point.after_ns),
        )

    def _levels(self, best: Decimal, step: Decimal) -> Levels:
        """Depth is not in a recording of prices: the same dollars on each level."""
        instrument = self._recording.listing.instrument
        size = max(instrument.lot_size, instrument.contracts_for_notional(self._level_usd, best))
        return tuple([(best + step * i, size) for i in range(_LEVELS)])


class CandleRun:
    """Candles of a recorded market that may be passed over, from that of its next moment on."""

    def __init__(self, market: RecordedMarket, path: CandlePath, numbers: range) -> None:
        self._market, self._path, self._numbers = market, path, numbers
        self._period = market.recording.period_ns
        self.symbol = market.recording.listing.instrument.symbol

    def __len__(self) -> int:
        return len(self._numbers)

    def candles(self, timeframe: str) -> Iterator[Candle]:
        """As a feed tells them when they end."""
        return self._path.bars.candles(self._numbers, timeframe, self._period, self._market.start_ns)

    def quotes(self) -> Iterator[Quote]:
        """Moment by moment, from the next one to the open of the candle after them."""
        return self._market.quotes(self._numbers.stop * self._path.moments)

    def minutes(self, count: int) -> list[Bar]:
        """The first ones of them, as bars of a minute."""
        bars = self._path.bars.bars(self._numbers[:count], self._market.start_ns)
        if self._period == NS_PER_MIN:
            return list(bars)
        return [minute for bar in bars for minute in minutes_of(bar, self._period)]

    def pass_over(self, count: int) -> int:
        """Go on at the open of the candle after the first ones; how many moments were left out."""
        return self._market.go_on((self._numbers.start + count) * self._path.moments)
