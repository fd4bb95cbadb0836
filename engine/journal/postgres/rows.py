"""Rows of the order and book tables to domain values, and back."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final, TypeVar

import asyncpg
import msgspec

from engine.core.cash import CashFlow, FlowKind, FundingPayment
from engine.core.decisions import WakeReason
from engine.core.ledger import ClosedTrade
from engine.core.market import Side
from engine.core.orders import (
    Fill,
    Order,
    OrderIntent,
    OrderState,
    OrderType,
    PositionSide,
    Purpose,
    StopMove,
)
from engine.core.signals import Signal
from engine.core.times import NS_PER_S
from engine.journal.views_records import ReasonRow, ReasonSignal

INTENT_COLUMNS = tuple(OrderIntent.__struct_fields__)
FILL_COLUMNS = tuple(Fill.__struct_fields__)
TRADE_COLUMNS = tuple(ClosedTrade.__struct_fields__)


T = TypeVar("T")


def insert(table: str, columns: tuple[str, ...], more: str = "") -> str:
    """An insert of every column in order; `more` is what follows the values."""
    marks = ", ".join(f"${i}" for i in range(1, len(columns) + 1))
    return f"insert into {table} ({', '.join(columns)}) values ({marks}) {more}"  # noqa: S608 - names of ours


def row_of(record: msgspec.Struct, columns: tuple[str, ...]) -> tuple[object, ...]:
    """Fields by name; words of an enumeration as text."""
    found = (getattr(record, name) for name in columns)
    return tuple(str(value) if isinstance(value, str) else value for value in found)


def json_text(value: object) -> str:
    """JSON for a jsonb column, which takes no NUL; a model may well send one."""
    return msgspec.json.encode(value).decode().replace("\\u0000", "\\ufffd")


def intent_of(row: asyncpg.Record) -> OrderIntent:
    """An intent from a row with all its columns."""
    values = {name: row[name] for name in INTENT_COLUMNS}
    values |= {
        "cycle_id": row["cycle_id"] or "",
        "side": Side(row["side"]),
        "position_side": PositionSide(row["position_side"]),
        "purpose": Purpose(row["purpose"]),
        "order_type": OrderType(row["order_type"]),
    }
    return OrderIntent(**values)


def intent_values(intent: OrderIntent) -> list[object]:
    """Values of INTENT_COLUMNS; a missing cycle is NULL."""
    return [
        getattr(intent, name) if name != "cycle_id" else intent.cycle_id or None for name in INTENT_COLUMNS
    ]


# One row of an order with its intent; both tables have some names in common.
ORDER_QUERY = f"""
select i.{", i.".join(INTENT_COLUMNS)}, o.client_order_id, o.state, o.venue_state, o.venue_order_id,
  o.contracts as order_contracts, o.filled, o.claimed, o.average_price, o.fees, o.reason as order_reason,
  o.ts_sent, o.ts_acked, o.ts_updated
from trader_orders o join order_intents i using (client_order_id)
"""  # noqa: S608 - names of ours


def order_of(row: asyncpg.Record) -> Order:
    """An order from a row of ORDER_QUERY. The order's size counts: a close may have been clamped."""
    return Order(
        client_order_id=row["client_order_id"],
        intent=msgspec.structs.replace(intent_of(row), contracts=row["order_contracts"]),
        state=OrderState(row["state"]),
        venue_state=OrderState(row["venue_state"]),
        venue_order_id=row["venue_order_id"],
        filled=row["filled"],
        claimed=row["claimed"],
        average_price=row["average_price"],
        fees=row["fees"],
        reason=row["order_reason"],
        ts_sent=row["ts_sent"],
        ts_acked=row["ts_acked"],
        ts_updated=row["ts_updated"],
    )


def fill_of(row: asyncpg.Record) -> Fill:
    values = {name: row[name] for name in FILL_COLUMNS}
    values |= {
        "side": Side(row["side"]),
        "position_side": PositionSide(row["position_side"]),
        "purpose": Purpose(row["purpose"]),
    }
    return Fill(**values)


def trade_of(row: asyncpg.Record) -> ClosedTrade:
    values = {name: row[name] for name in TRADE_COLUMNS}
    values |= {"side": PositionSide(row["side"]), "exit_purpose": Purpose(row["exit_purpose"])}
    return ClosedTrade(**values)


def cash_flow_of(row: asyncpg.Record) -> CashFlow:
    values = {name: row[name] for name in CashFlow.__struct_fields__}
    return CashFlow(**(values | {"kind": FlowKind(row["kind"])}))


def stop_move_of(row: asyncpg.Record) -> StopMove:
    """A stop's move from a row with all its columns."""
    values = {name: row[name] for name in StopMove.__struct_fields__}
    return StopMove(**(values | {"position_side": PositionSide(row["position_side"])}))


def funding_of(row: asyncpg.Record) -> FundingPayment:
    values = {name: row[name] for name in FundingPayment.__struct_fields__}
    return FundingPayment(**(values | {"position_side": PositionSide(row["position_side"])}))


def typed(type_: type[T], rows: Sequence[asyncpg.Record]) -> list[T]:
    """Rows as Structs. Raises msgspec.ValidationError when the query and the type do not fit."""
    if not rows:
        return []
    json_columns = _json_columns(type_)
    return [msgspec.convert(_plain(row, json_columns), type_, strict=False) for row in rows]


def in_order(type_: Callable[..., T], rows: Iterable[asyncpg.Record]) -> list[T]:
    """Rows of plain values as Structs whose fields are the columns in their order; nothing is converted."""
    return [type_(*row) for row in rows]


def _json_columns(type_: Any) -> frozenset[str]:
    return _JSON_COLUMNS & frozenset(type_.__struct_fields__)


_JSON_COLUMNS: Final = frozenset(
    {"config", "reasons", "decisions", "prices", "checks", "actions", "metrics", "equity_curve"}
)


def _plain(row: asyncpg.Record, json_columns: frozenset[str]) -> dict[str, Any]:
    return {
        name: _JSON_READERS.get(name, msgspec.json.decode)(value) if name in json_columns else value
        for name, value in row.items()
    }


def _reasons(text: str) -> tuple[ReasonRow, ...]:
    """Reasons of a wakeup as they are shown; in the journal they are the domain's own, in nanoseconds."""
    return tuple(
        ReasonRow(
            kind=reason.kind.value,
            signal=_seen(reason.signal) if reason.signal is not None else None,
            timestamp=reason.ts / NS_PER_S,
        )
        for reason in _wake_reasons.decode(text)
    )


def _seen(signal: Signal) -> ReasonSignal:
    return ReasonSignal(
        signal_id=signal.signal_id,
        symbol=signal.symbol,
        detector=signal.detector,
        feature=signal.feature,
        timeframe=signal.timeframe,
        edge=signal.edge.value,
        value=signal.value,
        threshold=signal.threshold,
        score=signal.score,
        price=signal.price,
        timestamp=signal.ts_event / NS_PER_S,
    )


_wake_reasons: Final = msgspec.json.Decoder(tuple[WakeReason, ...])
_JSON_READERS: Final[dict[str, Callable[[str], Any]]] = {"reasons": _reasons}
