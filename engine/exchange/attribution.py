"""Whose is what the venue reports: an order of its own making gets an intent, an execution becomes a fill."""

from __future__ import annotations

from engine.core.orders import (
    UNATTRIBUTED,
    ExecutionReport,
    Fill,
    Order,
    OrderIntent,
    OrderType,
    PositionSide,
    Purpose,
)
from engine.exchange.context import ContractValues


def venue_made(client_id: str, report: ExecutionReport, owner: Order | None, account_id: str) -> OrderIntent:
    """The intent of an order that nobody here sent: a stop or target that fired (`owner` is its entry's
    order), a liquidation, or somebody else's order; the last two are nobody's until their fills are shared.
    """
    side = report.position_side or PositionSide.closed_by(report.side)
    purpose = report.category or (Purpose.STOP if owner else Purpose.EXTERNAL)
    if owner is not None and purpose is not Purpose.LIQUIDATION:
        side = owner.intent.position_side
    return OrderIntent(
        intent_id=client_id,
        cycle_id=owner.intent.cycle_id if owner else "",
        trader_id=owner.intent.trader_id if owner else UNATTRIBUTED,
        account_id=account_id,
        symbol=report.symbol,
        side=report.side,
        position_side=side,
        purpose=purpose,
        order_type=OrderType.MARKET,
        contracts=report.contracts,
        ts_created=report.ts_event,
    )


def fill_id_of(report: ExecutionReport, venue_order_id: str) -> str:
    """The id of the execution that a report carries, "" when it carries none: the same from every list."""
    return f"{report.symbol}:{venue_order_id}:{report.fill.trade_id}" if report.fill else ""


def fill_of(order: Order, report: ExecutionReport, account_id: str, contracts: ContractValues) -> Fill | None:
    """The execution that a report carries, as its order's; None when it carries none."""
    execution = report.fill
    if execution is None:
        return None
    venue_order_id = report.venue_order_id or order.venue_order_id
    return Fill(
        fill_id=fill_id_of(report, venue_order_id),
        client_order_id=order.client_order_id,
        venue_order_id=venue_order_id,
        trader_id=order.intent.trader_id,
        account_id=account_id,
        symbol=report.symbol,
        side=report.side,
        position_side=order.intent.position_side,
        purpose=order.intent.purpose,
        contracts=execution.contracts,
        price=execution.price,
        contract_value=contracts.contract_value(report.symbol),
        fee=execution.fee,
        maker=execution.maker,
        ts_event=execution.ts_event,
        ts_recv=report.ts_recv,
    )
