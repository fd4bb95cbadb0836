"""The swaps that the simulator lists, with steps as OKX has them, and how each market behaves."""

from __future__ import annotations

from decimal import Decimal
from typing import Final

import msgspec

from engine.core.errors import ConfigError
from engine.core.instruments import Instrument, venue_symbol


class Character(msgspec.Struct, frozen=True, kw_only=True):
    """How a generated market moves. Volatilities are per square root of a minute, as a fraction."""

    start: float
    beta: float  # share of the common move
    volatility: float  # of its own
    spread_bps: float
    depth_usd: float  # on each side, all levels


class Listing(msgspec.Struct, frozen=True):
    instrument: Instrument
    character: Character


def _list(  # noqa: PLR0913, PLR0917 - a row of the table below
    coin: str, value: str, tick: str, lot: str, start: float, beta: float, volatility: float, spread: float
) -> Listing:
    instrument = Instrument(
        symbol=f"{coin}-USDT-SWAP",
        base=coin,
        tick_size=Decimal(tick),
        lot_size=Decimal(lot),
        min_size=Decimal(lot),
        contract_value=Decimal(value),
        max_leverage=Decimal(100 if coin in {"BTC", "ETH"} else 50),
        max_limit_size=Decimal(100_000_000),
        max_market_size=Decimal(1_000_000),
    )
    return Listing(
        instrument,
        Character(start=start, beta=beta, volatility=volatility, spread_bps=spread, depth_usd=2_000_000),
    )


# Steps: GET /api/v5/public/instruments of OKX, autumn 2026; start prices are of that time's order.
_TABLE: Final = (
    _list("BTC", "0.01", "0.1", "0.01", 98_000, 1.0, 0.00025, 0.15),
    _list("ETH", "0.1", "0.01", "0.01", 3_400, 1.1, 0.00040, 0.25),
    _list("SOL", "1", "0.01", "0.01", 190, 1.3, 0.00060, 0.8),
    _list("DOGE", "1000", "0.00001", "0.01", 0.24, 1.3, 0.00070, 1.0),
    _list("XRP", "100", "0.0001", "0.01", 1.9, 1.1, 0.00060, 0.9),
    _list("ADA", "100", "0.0001", "0.1", 0.75, 1.2, 0.00060, 1.5),
    _list("AVAX", "1", "0.01", "0.1", 28, 1.3, 0.00065, 1.5),
    _list("DOT", "1", "0.001", "0.1", 4.6, 1.2, 0.00065, 1.8),
    _list("POL", "10", "0.0001", "0.1", 0.19, 1.2, 0.00065, 1.8),  # its steps are assumed
    _list("LTC", "1", "0.01", "0.1", 95, 1.0, 0.00050, 1.2),
    _list("LINK", "1", "0.001", "0.1", 17, 1.2, 0.00060, 1.2),
)
LISTINGS: Final = {listing.instrument.symbol: listing for listing in _TABLE}
DEFAULT_SYMBOLS: Final = tuple(LISTINGS)[:10]  # those of etc/market.yaml


def listings(names: tuple[str, ...]) -> tuple[Listing, ...]:
    """The listed swaps by any spelling, in the order given. Raises ConfigError for one that is not listed."""
    symbols = [venue_symbol(name) for name in names]
    for symbol in symbols:
        if symbol not in LISTINGS:
            known = ", ".join(sorted(listing.instrument.base for listing in _TABLE))
            raise ConfigError(f"the simulator does not list {symbol}; it has {known}")
    return tuple(LISTINGS[symbol] for symbol in symbols)
