"""Figures of the simulated markets that move slowly: the same whenever they are asked for, and not kept."""

from __future__ import annotations

from decimal import Decimal
from math import sin, tau
from typing import Final
from zlib import crc32

from engine.core.market import exact
from engine.core.times import NS_PER_HOUR
from engine.exchange.simulator.universe import Listing

_DEPTHS: Final = 200
_WAVES: Final = ((1, 7 * NS_PER_HOUR), (2, 61 * NS_PER_HOUR))  # weight, period


def open_interest(listing: Listing, ts_ns: int) -> Decimal:
    """Contracts at a time: worth about two hundred times the market's depth at its start price."""
    usd = Decimal(listing.character.depth_usd * _DEPTHS * (1 + 0.03 * _wave(listing, ts_ns)))
    return listing.instrument.contracts_for_notional(usd, exact(listing.character.start))


def funding_rate(listing: Listing, ts_ns: int) -> Decimal:
    """What a charge of before the simulator began may have been."""
    return Decimal(f"{0.0001 + 0.00004 * _wave(listing, ts_ns):.8f}")


def _wave(listing: Listing, ts_ns: int) -> float:
    """Between -3 and 3; a wave of a few hours on one of days."""
    phase = crc32(listing.instrument.symbol.encode()) / 2**32
    return sum(weight * sin(tau * (ts_ns / period + phase)) for weight, period in _WAVES)
