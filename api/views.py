"""Domain values in the wire shapes of nof1.ai: every key always there, money as JSON numbers.

Times of trades and positions are seconds since the epoch, prices' `timestamp` and `serverTime` are
milliseconds; a short has a negative quantity. Integer ids below 2^53 are derived from ours, because a
JavaScript client would round OKX's 19 digits; the real ids stand beside them as strings.
"""

from __future__ import annotations

import hashlib
from decimal import Decimal
from typing import Final

import msgspec

from engine.core.decisions import PositionView
from engine.core.instruments import coin
from engine.core.ledger import ClosedTrade
from engine.core.times import NS_PER_MS, NS_PER_S, to_datetime

_SAFE_INTEGER: Final = (1 << 53) - 1
_PLACES: Final = 8


def number(value: Decimal | float | None) -> float | int:
    """A JSON number: whole ones without a fraction, others rounded to 8 places; unknown is 0 on this wire."""
    if value is None:
        return 0
    rounded = round(float(value), _PLACES)
    return int(rounded) if rounded.is_integer() else rounded


def seconds(ts_ns: int) -> float:
    """Epoch seconds with the microseconds that a float keeps."""
    return ts_ns // 1000 / 1_000_000


def millis(ts_ns: int) -> int:
    """Epoch milliseconds."""
    return ts_ns // NS_PER_MS


def human_time(ts_ns: int) -> str:
    """`2025-10-24 13:53:49.249000`, UTC."""
    return to_datetime(ts_ns).strftime("%Y-%m-%d %H:%M:%S.%f")


def safe_id(text: str) -> int:
    """An integer below 2^53 that is always the same for the same id; 0 for none."""
    if not text:
        return 0
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big") & _SAFE_INTEGER


class ExitPlan(msgspec.Struct, frozen=True, kw_only=True):
    profit_target: float
    stop_loss: float
    invalidation_condition: str


class Position(msgspec.Struct, frozen=True, kw_only=True):
    """The 21 keys of nof1, and the real order id."""

    entry_oid: int
    risk_usd: float
    confidence: float
    index_col: int | None
    exit_plan: ExitPlan
    entry_time: float
    symbol: str
    entry_price: float
    tp_oid: int
    margin: float
    wait_for_fill: bool
    sl_oid: int
    oid: int
    current_price: float
    closed_pnl: float
    liquidation_price: float
    commission: float
    leverage: float
    slippage: float
    quantity: float
    unrealized_pnl: float
    client_order_id: str


def position(view: PositionView) -> Position:
    """An open position. `closed_pnl` is what its entry has cost in fees, as nof1 counts it."""
    oid = safe_id(view.entry_client_order_id)
    return Position(
        entry_oid=oid,
        risk_usd=number(view.risk_usd),
        confidence=number(view.confidence),
        index_col=None,
        exit_plan=ExitPlan(
            profit_target=number(view.take_profit),
            stop_loss=number(view.stop_loss),
            invalidation_condition=view.invalidation,
        ),
        entry_time=seconds(view.ts_opened),
        symbol=coin(view.symbol),
        entry_price=number(view.entry_price),
        tp_oid=safe_id(view.entry_client_order_id + "s") if view.take_profit is not None else -1,
        margin=number(view.margin),
        wait_for_fill=False,
        sl_oid=safe_id(view.entry_client_order_id + "s") if view.stop_loss is not None else -1,
        oid=oid,
        current_price=number(view.mark_price),
        closed_pnl=number(view.realised + view.fees),
        liquidation_price=number(view.liquidation_price),
        commission=number(-view.fees),
        leverage=number(view.leverage),
        slippage=0,
        quantity=number(view.coins * view.side.sign),
        unrealized_pnl=number(view.unrealised),
        client_order_id=view.entry_client_order_id,
    )


class Trade(msgspec.Struct, frozen=True, kw_only=True):
    """The 33 keys of nof1, and how the position was closed, its funding and the real order ids."""

    id: str
    model_id: str
    symbol: str
    side: str
    trade_type: str
    trade_id: str
    quantity: float
    leverage: float
    confidence: float
    entry_price: float
    entry_time: float
    entry_human_time: str
    entry_sz: float
    entry_tid: int
    entry_oid: int
    entry_crossed: bool
    entry_liquidation: None
    entry_commission_dollars: float
    entry_closed_pnl: float
    exit_price: float
    exit_time: float
    exit_human_time: str
    exit_sz: float
    exit_tid: int
    exit_oid: int
    exit_crossed: bool
    exit_liquidation: bool | None
    exit_commission_dollars: float
    exit_closed_pnl: float
    exit_plan: dict[str, float | str]
    realized_gross_pnl: float
    realized_net_pnl: float
    total_commission_dollars: float
    exit_reason: str
    funding_dollars: float
    entry_client_order_id: str
    exit_client_order_id: str
    entry_venue_order_id: str
    exit_venue_order_id: str
    cycle_id: str


def trade(closed: ClosedTrade) -> Trade:
    """A closed trade. Funding is part of the exit's profit, so that net = entry + exit stays exact."""
    symbol, size = coin(closed.symbol), number(closed.coins)
    entered, left = seconds(closed.ts_entry), seconds(closed.ts_exit)
    exit_pnl = closed.gross + closed.exit_fees + closed.funding
    return Trade(
        id=closed.trade_id,
        model_id=closed.trader_id,
        symbol=symbol,
        side=closed.side.value,
        trade_type=closed.side.value,
        trade_id=f"{entered}_{symbol}_{left}_{closed.trader_id}",
        quantity=number(closed.coins * closed.side.sign),
        leverage=number(closed.leverage),
        confidence=number(closed.confidence),
        entry_price=number(closed.entry_price),
        entry_time=entered,
        entry_human_time=human_time(closed.ts_entry),
        entry_sz=size,
        entry_tid=safe_id(closed.entry_fill_id),
        entry_oid=safe_id(closed.entry_client_order_id),
        entry_crossed=not closed.entry_maker,
        entry_liquidation=None,
        entry_commission_dollars=number(-closed.entry_fees),
        entry_closed_pnl=number(closed.entry_fees),
        exit_price=number(closed.exit_price),
        exit_time=left,
        exit_human_time=human_time(closed.ts_exit),
        exit_sz=size,
        exit_tid=safe_id(closed.exit_fill_id),
        exit_oid=safe_id(closed.exit_client_order_id),
        exit_crossed=not closed.exit_maker,
        exit_liquidation=True if closed.exit_purpose == "liquidation" else None,
        exit_commission_dollars=number(-closed.exit_fees),
        exit_closed_pnl=number(exit_pnl),
        exit_plan={},
        realized_gross_pnl=number(closed.gross),
        realized_net_pnl=number(closed.net),
        total_commission_dollars=number(-closed.entry_fees - closed.exit_fees),
        exit_reason=closed.exit_purpose.value,
        funding_dollars=number(closed.funding),
        entry_client_order_id=closed.entry_client_order_id,
        exit_client_order_id=closed.exit_client_order_id,
        entry_venue_order_id=closed.entry_venue_order_id,
        exit_venue_order_id=closed.exit_venue_order_id,
        cycle_id=closed.entry_cycle_id,
    )


def markers(ts_ns: int, inception_ns: int) -> tuple[int, int]:
    """Hours and minutes since inception: nof1's cursors."""
    minutes = max(0, ts_ns - inception_ns) // (60 * NS_PER_S)
    return minutes // 60, minutes


def percent(part: Decimal, whole: Decimal) -> float:
    """100 · part / whole; 0 where there is nothing to divide by."""
    return float(round(part / whole * 100, 6)) if whole else 0.0
