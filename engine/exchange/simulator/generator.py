"""A made-up market: correlated, with trends, changing volatility and jumps; the same for the same seed.

Log price of a swap: r = beta·(common move) + own move, both normal, times a volatility that itself wanders
(log-Ornstein-Uhlenbeck) and a drift that wanders over half an hour, so that trends and ranges alternate.
Jumps come on average every two hours. Index = fair price; mark = index with a slow basis; the book stands
around the mark, wider when volatility is high.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from decimal import Decimal
from itertools import pairwise
from random import Random
from typing import Final

import msgspec

from engine.core.market import Side
from engine.core.times import NS_PER_HOUR, NS_PER_MIN, NS_PER_S
from engine.exchange.simulator.past import Bar, Past, past_of
from engine.exchange.simulator.source import Levels, Quote
from engine.exchange.simulator.universe import LISTINGS, Listing

STEP_NS: Final = NS_PER_S
HISTORY_MINUTES: Final = 1_600
_HISTORY_STEP_S: Final = 5
_LEVELS: Final = 10
_MARKET_VOLATILITY: Final = 0.00045  # per square root of a minute, of the common move
_VOL_PULL, _VOL_NOISE = 0.02, 0.12  # per minute: log volatility returns with 1/50 and wanders
_DRIFT_PULL, _DRIFT_NOISE = 1 / 30, 0.00003  # per minute
_JUMPS_PER_MIN: Final = 1 / 120
_LONGEST_CATCH_UP: Final = 2 * 24 * 60  # minutes


class _Walk(msgspec.Struct):
    """One market's hidden state; `log_price` is of the index."""

    log_price: float
    log_vol: float = 0.0
    drift: float = 0.0
    basis: float = 0.0


class _State(msgspec.Struct):
    seed: int
    next_ts: int
    common: _Walk
    walks: list[_Walk]


class GeneratedMarket:
    """See the module. `start_ns` is when the first quote comes; the past before it is generated too."""

    def __init__(self, listings: tuple[Listing, ...], seed: int, start_ns: int) -> None:
        self.listings = listings
        self.name = f"generated {' '.join(each.instrument.symbol for each in listings)}"
        walks = [_Walk(math.log(listing.character.start)) for listing in listings]
        first = start_ns - HISTORY_MINUTES * NS_PER_MIN
        first -= first % NS_PER_HOUR
        self._state = _State(seed, first, _Walk(0.0), walks)
        self._past = self._make_bars(start_ns - start_ns % STEP_NS)

    def take_bars(self) -> dict[str, list[Bar]]:
        past, self._past = self._past, {}
        return past

    def older(self, symbol: str, first: Bar) -> Past:
        return past_of(LISTINGS[symbol], first, self._state.seed)

    def status(self) -> str:
        return f"generated, seed {self._state.seed}"

    def state(self) -> bytes:
        return msgspec.msgpack.encode(self._state)

    def restore(self, state: bytes) -> None:
        """The seed comes with it: a market does not change its character in the middle."""
        self._state = msgspec.msgpack.decode(state, type=_State)
        self._past = {}

    def advance(self, ts_ns: int) -> list[Quote]:
        """Quotes in steps of a second; after a long pause the market first walks on in coarse steps."""
        if ts_ns - self._state.next_ts > 10 * NS_PER_MIN:
            earliest = ts_ns - _LONGEST_CATCH_UP * NS_PER_MIN
            self._state.next_ts = max(self._state.next_ts, earliest - earliest % STEP_NS)
            self._past = self._make_bars(ts_ns - ts_ns % STEP_NS)
        quotes: list[Quote] = []
        while self._state.next_ts <= ts_ns:
            random = self._step(1.0 / 60)
            for listing, walk in zip(self.listings, self._state.walks, strict=True):
                quotes.append(_quote(listing, walk, self._state.next_ts, random))
            self._state.next_ts += STEP_NS
        return quotes

    def _step(self, minutes: float) -> Random:
        """Move every hidden state on; randomness depends on the seed and the time alone."""
        state = self._state
        random = Random(f"{state.seed}:{state.next_ts}")  # noqa: S311 - a simulation
        root = math.sqrt(minutes)
        gauss = random.gauss
        common = _moved(state.common, gauss, minutes, root) * _MARKET_VOLATILITY
        for listing, walk in zip(self.listings, state.walks, strict=True):
            character = listing.character
            own = _moved(walk, gauss, minutes, root) * character.volatility
            jump = 0.0
            if random.random() < _JUMPS_PER_MIN * minutes:
                jump = gauss(0.0, 12.0 * character.volatility)
            walk.log_price += character.beta * common + own + jump + walk.drift * minutes
            walk.basis += -0.05 * minutes * walk.basis + 0.00004 * root * gauss(0.0, 1.0)
        return random

    def _make_bars(self, end_ns: int) -> dict[str, list[Bar]]:
        """Walk to `end_ns` in coarse steps and keep only the minutes that are over."""
        bars: dict[str, list[Bar]] = {listing.instrument.symbol: [] for listing in self.listings}
        for minute_ns in self._minutes(end_ns):
            ticks: list[list[float]] = [[] for _ in self.listings]
            while self._state.next_ts < minute_ns + NS_PER_MIN:
                self._step(_HISTORY_STEP_S / 60)
                self._state.next_ts += _HISTORY_STEP_S * NS_PER_S
                for walk, seen in zip(self._state.walks, ticks, strict=True):
                    seen.append(math.exp(walk.log_price + walk.basis))
            for listing, seen in zip(self.listings, ticks, strict=True):
                bars[listing.instrument.symbol].append(_bar(listing, minute_ns, seen))
        self._state.next_ts = max(self._state.next_ts, end_ns)
        return bars

    def _minutes(self, end_ns: int) -> Iterator[int]:
        minute = self._state.next_ts - self._state.next_ts % NS_PER_MIN
        while minute + NS_PER_MIN <= end_ns:
            yield minute
            minute += NS_PER_MIN


def _moved(walk: _Walk, gauss: Callable[[float, float], float], minutes: float, root: float) -> float:
    """A normal move times the wandering volatility, which moves too; in units of the volatility."""
    normal = gauss(0.0, 1.0)
    walk.log_vol += -_VOL_PULL * minutes * walk.log_vol + _VOL_NOISE * root * gauss(0.0, 1.0)
    walk.drift += -_DRIFT_PULL * minutes * walk.drift + _DRIFT_NOISE * root * gauss(0.0, 1.0)
    return normal * root * math.exp(min(1.5, max(-1.5, walk.log_vol)))


def _on_tick(listing: Listing, price: float) -> Decimal:
    tick = listing.instrument.tick_size
    return round(price / float(tick)) * tick


def _lots(listing: Listing, usd: float, price: float) -> Decimal:
    """Contracts worth about `usd`, at least one lot."""
    instrument = listing.instrument
    lots = usd / (price * float(instrument.contract_value) * float(instrument.lot_size))
    return max(1, round(lots)) * instrument.lot_size


def _bar(listing: Listing, minute_ns: int, seen: list[float]) -> Bar:
    first, high, low, last = (_on_tick(listing, p) for p in (seen[0], max(seen), min(seen), seen[-1]))
    travelled = sum(abs(b - a) for a, b in pairwise(seen)) / seen[0]
    usd = listing.character.depth_usd * (0.05 + 40 * travelled)
    return Bar(minute_ns, first, high, low, last, _lots(listing, usd, seen[0]))


def _quote(listing: Listing, walk: _Walk, ts: int, random: Random) -> Quote:
    fair = math.exp(walk.log_price)
    middle = fair * (1 + walk.basis)
    volatility = math.exp(min(1.5, max(-1.5, walk.log_vol)))
    half = max(
        0.5 * float(listing.instrument.tick_size), middle * listing.character.spread_bps / 20_000 * volatility
    )
    buys = random.random() < 0.5 + max(-0.3, min(0.3, walk.drift * 600))
    bids = _side(listing, middle - half, -1, random)
    asks = _side(
        listing, max(middle + half, float(bids[0][0]) + float(listing.instrument.tick_size)), 1, random
    )
    usd = min(listing.character.depth_usd / 2, 3_000 * math.exp(random.gauss(0.0, 1.2)) * volatility)
    premium = max(-0.0005, min(0.0005, walk.basis))
    return Quote(
        symbol=listing.instrument.symbol,
        ts=ts,
        bids=bids,
        asks=asks,
        price=asks[0][0] if buys else bids[0][0],
        size=_lots(listing, usd, middle),
        side=Side.BUY if buys else Side.SELL,
        mark=_on_tick(listing, middle),
        index=_on_tick(listing, fair),
        funding_rate=Decimal(f"{0.0001 + premium:.8f}"),
    )


def _side(listing: Listing, best: float, sign: int, random: Random) -> Levels:
    """Levels away from `best`, sizes growing with the distance."""
    tick = listing.instrument.tick_size
    ticks = math.ceil(best / float(tick)) if sign > 0 else math.floor(best / float(tick))
    gap = max(1, round(best * listing.character.spread_bps / 10_000 / float(tick)))
    per_level = listing.character.depth_usd / _LEVELS
    levels = []
    for i in range(_LEVELS):
        usd = per_level * (0.3 + 0.14 * i) * (0.5 + random.random())
        levels.append((ticks * tick, _lots(listing, usd, best)))
        ticks += sign * gap
    return tuple(levels)
