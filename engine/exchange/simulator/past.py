"""The past before a market's first minute: longer bars, made up backwards from the price it began with.

Made when somebody asks for it, and the same whenever that is: it depends on the seed, the market, and its
first minute alone.
"""

from __future__ import annotations

import math
from decimal import Decimal
from itertools import pairwise
from random import Random
from typing import Final, NamedTuple

from engine.core.times import NS_PER_HOUR, NS_PER_MIN
from engine.exchange.simulator.universe import Listing

FINE_NS: Final = 5 * NS_PER_MIN
COARSE_NS: Final = NS_PER_HOUR
_FINE: Final = 5 * 24 * 12  # five days
_COARSE: Final = 365 * 24
_STEPS: Final = 3  # of a bar
_COMMON: Final = 0.00045  # volatility of all markets, as in the generator


class Bar(NamedTuple):
    """One minute, or any multiple of it; `volume` in contracts."""

    ts_open: int
    open: Decimal
    high: Decimal
    low: Decimal
    close: Decimal
    volume: Decimal


class Past(NamedTuple):
    """Bars of five minutes, and before them bars of an hour, without a hole; oldest first."""

    coarse: list[Bar]
    fine: list[Bar]


NO_PAST: Final = Past([], [])


def past_of(listing: Listing, first: Bar, seed: int | None) -> Past:
    """What came before `first`, which begins with an hour; flat without a seed."""
    random = Random(f"{seed}:{listing.instrument.symbol}:{first.ts_open}")  # noqa: S311 - a simulation
    own = listing.character
    moves = 0.0 if seed is None else math.hypot(own.beta * _COMMON, own.volatility)
    fine, price = _back(listing, first.ts_open, float(first.open), (FINE_NS, _FINE, moves), random)
    start = fine[0].ts_open
    coarse, _ = _back(listing, start, price, (COARSE_NS, _COARSE, moves), random)
    return Past(coarse, fine)


def _back(
    listing: Listing, end_ns: int, price: float, plan: tuple[int, int, float], random: Random
) -> tuple[list[Bar], float]:
    """Bars that end at a time with a price, and the price that they begin with."""
    length_ns, count, moves = plan
    instrument = listing.instrument
    tick = float(instrument.tick_size)
    step = moves * math.sqrt(length_ns / NS_PER_MIN / _STEPS)
    usd = listing.character.depth_usd * 0.05 * length_ns / NS_PER_MIN
    bars: list[Bar] = []
    for i in range(1, count + 1):
        path = [price]
        for _ in range(_STEPS):
            path.append(path[-1] * math.exp(random.gauss(0.0, step)))
        price = path[-1]
        marks = [round(at / tick) * instrument.tick_size for at in (path[-1], max(path), min(path), path[0])]
        travelled = sum(abs(a / b - 1) for a, b in pairwise(path))
        lots = round(usd * (1 + 800 * travelled) / (price * float(instrument.contract_value)))
        volume = instrument.floor_size(Decimal(max(1, lots)))
        bars.append(Bar(end_ns - i * length_ns, marks[0], marks[1], marks[2], marks[3], volume))
    return bars[::-1], price
