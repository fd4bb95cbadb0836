"""How the venue charges, waits and slips: everything about it that a user may configure."""

from decimal import Decimal

import msgspec


class Fees(msgspec.Struct, frozen=True, kw_only=True):
    """Rates as a fraction of notional; positive is a charge, negative a rebate."""

    maker: Decimal = Decimal("0.0002")
    taker: Decimal = Decimal("0.0005")


class Latency(msgspec.Struct, frozen=True, kw_only=True):
    """How long requests travel, ns. An accepted order shows as live at once and reaches the book later.

    A cancel or an amendment that arrives too late does nothing, as at the venue.
    """

    place_ns: int = 0
    cancel_ns: int = 0
    amend_ns: int = 0


class Tier(msgspec.Struct, frozen=True, kw_only=True):
    """A row of the position tiers, valid for the whole position. `max_notional` is USDT, None without end."""

    max_notional: Decimal | None
    maintenance_rate: Decimal
    max_leverage: Decimal


def _tier(max_notional: int | None, rate: str, leverage: int) -> Tier:
    limit = None if max_notional is None else Decimal(max_notional)
    return Tier(max_notional=limit, maintenance_rate=Decimal(rate), max_leverage=Decimal(leverage))


TIERS = (
    _tier(1_000_000, "0.004", 100),
    _tier(5_000_000, "0.006", 75),
    _tier(20_000_000, "0.01", 50),
    _tier(100_000_000, "0.025", 20),
    _tier(None, "0.05", 10),
)


class MatchingOptions(msgspec.Struct, frozen=True, kw_only=True):
    """Everything here has a default that resembles OKX.

    `price_band` is the largest distance of a limit price from mark on the aggressive side, as a fraction
    (51006). `beyond_depth_bps`: what a market order finds after the last visible level, that much worse
    than it, without end; None cancels the rest instead. `liquidation_penalty` is how far beyond mark a
    liquidation may have to go, as a fraction.
    """

    fees: Fees = Fees()
    latency: Latency = Latency()
    tiers: tuple[Tier, ...] = TIERS
    price_band: Decimal = Decimal("0.05")
    beyond_depth_bps: Decimal | None = Decimal(10)
    liquidation_penalty: Decimal = Decimal("0.005")
    cancel_attached_when_flat: bool = True  # False leaves attached algos behind, as some reports say of OKX
    tells_standing: bool = True  # after an execution, how position and balance stand; False where nobody asks
    history_limit: int = 10_000  # newest kept per account and kind
    first_id: int = 1_000_000_000_000_000_000  # orders, algos, bills and positions count up from here
    first_trade_id: int = 1_000_000
