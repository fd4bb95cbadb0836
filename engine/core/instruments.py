"""Perpetual swaps: steps, limits, and the way between coins, contracts and dollars."""

from __future__ import annotations

from decimal import ROUND_CEILING, ROUND_DOWN, ROUND_FLOOR, ROUND_HALF_EVEN, Decimal
from functools import lru_cache

import msgspec

from engine.core.errors import ConfigError


class FeeTier(msgspec.Struct, frozen=True):
    """What trades cost an account, as fractions of notional; positive is charged, negative is a rebate."""

    level: str
    maker: Decimal
    taker: Decimal


USUAL_FEES = FeeTier("usual", Decimal("0.0002"), Decimal("0.0005"))  # OKX, regular user


class Instrument(msgspec.Struct, frozen=True, kw_only=True):
    """One linear USDT-margined swap as the venue lists it.

    Sizes are in contracts; one contract is `contract_value` coins of `base`. `lot_size` and `min_size`
    are contracts, `tick_size` is quote currency. `max_*_size` are contracts, None when the venue names none.
    """

    symbol: str  # the venue's id: BTC-USDT-SWAP
    base: str
    quote: str = "USDT"
    settle: str = "USDT"
    tick_size: Decimal
    lot_size: Decimal
    min_size: Decimal
    contract_value: Decimal
    max_leverage: Decimal = Decimal(100)
    max_limit_size: Decimal | None = None
    max_market_size: Decimal | None = None
    live: bool = True
    inst_id_code: int | None = None  # OKX's numeric id, wanted by order operations over WebSocket

    def floor_size(self, contracts: Decimal) -> Decimal:
        """Largest multiple of the lot that is not above `contracts`: rounding never adds risk."""
        lots = (contracts / self.lot_size).to_integral_value(ROUND_DOWN)
        return (lots * self.lot_size).normalize() + Decimal(0)

    def contracts_for_notional(self, notional: Decimal, price: Decimal) -> Decimal:
        """Whole lots worth at most `notional` quote units at `price`; 0 when even one lot is too large."""
        if notional <= 0 or price <= 0:
            return Decimal(0)
        return self.floor_size(notional / (price * self.contract_value))

    def notional(self, contracts: Decimal, price: Decimal) -> Decimal:
        """Quote value of `contracts` at `price`, with the sign of `contracts`."""
        return contracts * self.contract_value * price

    def coins(self, contracts: Decimal) -> Decimal:
        """Base currency amount of `contracts`."""
        return contracts * self.contract_value

    def round_price(self, price: Decimal, rounding: str = ROUND_HALF_EVEN) -> Decimal:
        """Nearest tick, or the tick below (ROUND_FLOOR) or above (ROUND_CEILING)."""
        ticks = (price / self.tick_size).to_integral_value(rounding)
        return (ticks * self.tick_size).quantize(self.tick_size)

    def price_below(self, price: Decimal) -> Decimal:
        """The tick at or below `price`."""
        return self.round_price(price, ROUND_FLOOR)

    def price_above(self, price: Decimal) -> Decimal:
        """The tick at or above `price`."""
        return self.round_price(price, ROUND_CEILING)


@lru_cache(maxsize=1024)  # the same few names, asked for with every page and frame
def venue_symbol(text: str, quote: str = "USDT") -> str:
    """The swap's venue id from any common spelling: `BTC`, `BTCUSDT`, `BTC/USDT:USDT`, `btc-usdt-swap`.

    Raises ConfigError when the text names no swap.
    """
    name = text.strip().upper()
    pair = name.split(":", 1)[0].removesuffix("-SWAP").replace("/", "-").replace("_", "-")
    parts = pair.split("-")
    if len(parts) == 1:
        parts = [parts[0].removesuffix(quote) or parts[0], quote]
    if len(parts) != 2 or not all(part.isalnum() for part in parts):  # noqa: PLR2004 - base and quote
        raise ConfigError(f"{text!r} names no swap; write BTC, BTC/USDT:USDT or BTC-USDT-SWAP")
    return f"{parts[0]}-{parts[1]}-SWAP"


def coin(symbol: str) -> str:
    """Bare coin of a venue id: `BTC-USDT-SWAP` → `BTC`."""
    return symbol.split("-", 1)[0]
