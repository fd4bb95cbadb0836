"""What the matching core tells, in the words of the Venue port. Pure."""

from __future__ import annotations

from typing import Final

from engine.core.cash import VenueFunding, VenueTransfer
from engine.core.orders import (
    ZERO,
    ExecutionReport,
    OrderState,
    PositionSide,
    Purpose,
    VenueFill,
)
from engine.exchange.matching import records
from engine.exchange.matching.records import Bill, OrdState, VenueAlgo, VenueOrder
from engine.exchange.matching.types import AlgoType, PosSide
from engine.exchange.ports import Protection, VenueBalance, VenuePosition

_STATES: Final = {
    OrdState.LIVE: OrderState.NEW,
    OrdState.PARTIALLY_FILLED: OrderState.PARTIALLY_FILLED,
    OrdState.FILLED: OrderState.FILLED,
    OrdState.CANCELED: OrderState.CANCELED,
}
_SIDES: Final = {PosSide.LONG: PositionSide.LONG, PosSide.SHORT: PositionSide.SHORT, PosSide.NET: None}
_FIRED: Final = {"sl": Purpose.STOP, "tp": Purpose.TARGET}
_AMENDED: Final = {"0": True, "-1": False}
_NORMAL: Final = "normal"


def execution_report(
    order: VenueOrder, fill: records.VenueFill | None, algo: VenueAlgo | None, ts_recv: int
) -> ExecutionReport:
    """An order as it stands. `algo`: the stop or target that sent it, if one did."""
    client_id, category = order.client_order_id, None
    if order.category != _NORMAL:
        client_id, category = "", Purpose.LIQUIDATION
    elif algo is not None:
        client_id, category = algo.request.client_id, _FIRED.get(algo.actual_side, Purpose.STOP)
    return ExecutionReport(
        client_order_id=client_id,
        venue_order_id=order.order_id,
        symbol=order.symbol,
        side=order.side,
        position_side=_SIDES[order.pos_side],
        state=_STATES[order.state],
        contracts=order.size,
        price=order.price,
        request_id=order.req_id,
        amended=_AMENDED.get(order.amend_result),
        filled=order.filled,
        average_price=order.average_price,
        fill=None if fill is None else _execution(fill),
        reason=f"cancelled by the venue: {order.cancel_source}" if order.cancel_source else "",
        category=category,
        ts_event=order.ts_updated,
        ts_recv=ts_recv,
    )


def _execution(fill: records.VenueFill) -> VenueFill:
    return VenueFill(
        trade_id=fill.trade_id,
        contracts=fill.size,
        price=fill.price,
        fee=fill.fee,
        maker=fill.exec_type == "M",
        ts_event=fill.ts,
    )


def funding(bill: Bill) -> VenueFunding:
    """A funding bill."""
    return VenueFunding(
        bill_id=bill.bill_id,
        symbol=bill.symbol,
        position_side=_SIDES[bill.pos_side],
        amount=bill.amount,
        contracts=bill.size,
        mark_price=bill.price,
        ts_event=bill.ts,
    )


def transfer(bill: Bill) -> VenueTransfer:
    """A bill of neither a trade nor funding."""
    return VenueTransfer(bill_id=bill.bill_id, amount=bill.amount, ts_event=bill.ts)


def position(held: records.VenuePosition) -> VenuePosition:
    """An open position."""
    return VenuePosition(
        symbol=held.symbol,
        position_side=_SIDES[held.pos_side],
        contracts=held.contracts,
        average_price=held.average_price or ZERO,
        mark_price=held.mark_price,
        unrealised=held.unrealised,
        leverage=held.leverage,
        liquidation_price=held.liquidation_price,
        margin=held.initial_margin,
        ts_event=held.ts_updated,
    )


def balance(of: records.Balance, currency: str) -> VenueBalance:
    """The account's money."""
    return VenueBalance(
        currency=currency, cash=of.cash, equity=of.equity, available=of.available, ts_event=of.ts
    )


def protection(algo: VenueAlgo) -> Protection:
    """A stop or target that rests; a trailing one with the price that would fire it now."""
    request = algo.request
    return Protection(
        client_id=request.client_id,
        venue_id=algo.algo_id,
        symbol=request.symbol,
        position_side=_SIDES[request.pos_side],
        contracts=request.size or ZERO,
        stop_loss=request.sl_trigger or algo.move_trigger,
        take_profit=request.tp_trigger,
        trailing=request.algo_type is AlgoType.MOVE_ORDER_STOP,
    )
