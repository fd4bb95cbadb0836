"""How large an entry may be: code decides, the decider only proposes. Pure."""

from __future__ import annotations

from decimal import Decimal
from typing import Final

import msgspec

from engine.config.manager import RiskConfig
from engine.core.decisions import AccountView, Action
from engine.core.instruments import USUAL_FEES, Instrument

_BUFFER: Final = Decimal("0.99")  # the price moves between sizing and fill


class Room(msgspec.Struct, frozen=True, kw_only=True):
    """What the venue account leaves for a trader's entry: notional in quote currency, and what it charges.

    `pending_margin`: of the trader's own entries that are under way, taken but not yet in its account.
    `taker_fee`: a fraction of notional, kept free for both sides of a trade.
    """

    symbol_usd: Decimal
    gross_usd: Decimal
    pending_margin: Decimal = Decimal(0)
    taker_fee: Decimal = USUAL_FEES.taker


class Sized(msgspec.Struct, frozen=True, kw_only=True):
    """Contracts to trade, and which limit set them. 0 contracts: too small, `detail` has the numbers."""

    contracts: Decimal
    limited_by: str
    detail: str


def size_entry(
    action: Action,
    account: AccountView,
    instrument: Instrument,
    price: Decimal,
    limits: RiskConfig,
    room: Room,
) -> Sized:
    """The largest size that the proposal and every cap allow, rounded down to whole lots."""
    equity = account.equity or Decimal(0)
    leverage = max(action.leverage, Decimal(1))
    free = account.available - room.pending_margin
    caps = {
        "max_position_size_usd": limits.max_position_size_usd,
        "concentration": equity * limits.max_concentration_pct / 100,
        "margin_usage": _margin_room(account, equity, limits, room) * leverage,
        "available_margin": free * _BUFFER / (1 / leverage + 2 * room.taker_fee),
        "symbol_exposure": room.symbol_usd,
        "gross_exposure": room.gross_usd,
    }
    if action.notional_usd is not None:
        caps["proposal"] = action.notional_usd
    if action.stop_loss is not None and (distance := abs(price - action.stop_loss) / price) > 0:
        caps["risk_per_trade"] = equity * limits.risk_per_trade_pct / 100 / distance
        if action.risk_usd is not None and action.notional_usd is None:
            caps["proposal"] = action.risk_usd / distance
    if "proposal" not in caps:
        return Sized(contracts=Decimal(0), limited_by="no_size", detail="neither notional nor risk was given")
    limit, notional = min(caps.items(), key=lambda item: item[1])
    contracts = instrument.contracts_for_notional(notional, price)
    most = instrument.max_market_size
    if most is not None and contracts > most:
        limit, contracts = "venue_max_size", instrument.floor_size(most)
    needed = instrument.notional(instrument.min_size, price)
    detail = f"{notional:.2f} USD by {limit}; the smallest order is {needed:.2f} USD"
    if contracts < instrument.min_size:
        return Sized(contracts=Decimal(0), limited_by=limit, detail=detail)
    return Sized(contracts=contracts, limited_by=limit, detail=detail)


def _margin_room(account: AccountView, equity: Decimal, limits: RiskConfig, room: Room) -> Decimal:
    used = account.margin_used + room.pending_margin
    return max(Decimal(0), equity * limits.max_margin_usage_pct / 100 - used)
