"""Amendments of pending orders: checked when they are asked for, applied when they arrive."""

from decimal import Decimal

import msgspec

from engine.exchange.matching.checks import check_price, check_size, clamped
from engine.exchange.matching.margin import closable, closes, margins, opening_margin, pending_exits
from engine.exchange.matching.orders import BY_USER, end, enter, finish, leave_book, travel
from engine.exchange.matching.records import OrderChanged, OrdState, VenueOrder
from engine.exchange.matching.state import Account, Step, Travelling
from engine.exchange.matching.types import (
    AmendRequest,
    AttachedAlgo,
    AttachedAmend,
    OrdType,
    VenueRefusal,
)

ZERO = Decimal(0)
_BY_USER = "1"  # OKX amendSource
_DONE, _FAILED_AND_CANCELED = "0", "1"  # OKX amendResult


def amend_order(step: Step, account: Account, request: AmendRequest) -> None:
    """Ask for a change. Raises VenueRefusal, unless `cancel_on_fail`: then the order ends instead."""
    order = account.order(request.order_id, request.client_order_id)
    if order is None or order.state.done or order.symbol != request.symbol:
        raise VenueRefusal("51503", "Your order has already been filled or canceled.")
    if request.clamp_price:
        price = clamped(step, step.state.market(order.symbol), order.side, request.price)
        request = msgspec.structs.replace(request, price=price)
    try:
        _check(step, account, order, request)
    except VenueRefusal:
        if not request.cancel_on_fail:
            raise
        failed = msgspec.structs.replace(order, amend_result=_FAILED_AND_CANCELED, req_id=request.req_id)
        end(step, account, failed, BY_USER)
        return
    delay = step.options.latency.amend_ns
    if delay:
        travel(
            step,
            Travelling(ts=step.ts + delay, account=account.name, order_id=order.order_id, amend=request),
        )
    else:
        apply_amend(step, account, order.order_id, request)


def apply_amend(step: Step, account: Account, order_id: str, request: AmendRequest) -> None:
    """Change a pending order. A new price or a larger size goes to the end of the queue, and may take."""
    order = account.orders.get(order_id)
    if order is None:  # it ended meanwhile
        return
    size = order.size if request.size is None else max(request.size, order.filled)
    price = order.price if request.price is None else request.price
    changed = msgspec.structs.replace(
        order,
        size=size,
        price=price,
        attached=_amended(order.attached, request.attached),
        state=OrdState.FILLED if size == order.filled else order.state,
        amend_source=_BY_USER,
        amend_result=_DONE,
        req_id=request.req_id,
        ts_updated=step.ts,
    )
    account.orders[order_id] = changed
    step.emit(OrderChanged(changed))
    if changed.state.done:
        finish(step, account, changed)
    elif (price != order.price or size > order.size) and leave_book(step, order) is not None:
        enter(step, account, order_id)


def _check(step: Step, account: Account, order: VenueOrder, request: AmendRequest) -> None:
    if request.size is None and request.price is None and not request.attached:
        raise VenueRefusal("51500", "You must enter a new price, quantity or TP/SL.")
    market = step.state.market(order.symbol)
    if request.size is not None:
        check_size(market.instrument, request.size, order.ord_type)
    if request.price is not None:
        if order.price is None:
            raise VenueRefusal("51506", "Order modification unavailable for the order type.")
        check_price(step, market, order.side, request.price)
        if order.ord_type is OrdType.POST_ONLY and market.book.crosses(order.side, request.price):
            raise VenueRefusal("51511", "Operation failed as the order price would violate post-only.")
    for amend in request.attached:
        if not any(_meant(amend, algo) for algo in order.attached):
            raise VenueRefusal(
                "51527", "Order modification failed. At least 1 of the attached TP/SL orders does not exist."
            )
    _check_growth(step, account, order, request)


def _check_growth(step: Step, account: Account, order: VenueOrder, request: AmendRequest) -> None:
    more = ZERO if request.size is None else request.size - order.size
    where = (order.side, order.symbol, order.td_mode, order.pos_side)
    if closes(account.position_mode, order):
        if more > closable(account, *where) - pending_exits(account, *where):
            raise VenueRefusal("51171", "Unable to edit: the order would exceed your position.")
        return
    price = request.price or order.price
    if price is None:
        return
    leverage = account.leverage(order.symbol, order.td_mode, order.pos_side)
    now = opening_margin(step, order.symbol, leverage, order.remaining, order.price or price)
    then = opening_margin(step, order.symbol, leverage, order.remaining + more, price)
    if then > now and then - now > margins(step, account).available:
        raise VenueRefusal("51502", "Order failed to modify: insufficient USDT margin.")


def _meant(amend: AttachedAmend, algo: AttachedAlgo) -> bool:
    if amend.attach_id:
        return amend.attach_id == algo.attach_id
    return amend.client_id != "" and amend.client_id == algo.client_id


def _amended(
    attached: tuple[AttachedAlgo, ...], amends: tuple[AttachedAmend, ...]
) -> tuple[AttachedAlgo, ...]:
    result = []
    for algo in attached:
        for amend in amends:
            if _meant(amend, algo):
                algo = msgspec.structs.replace(  # noqa: PLW2901 - later amendments see the earlier ones
                    algo,
                    tp_trigger=new_trigger(algo.tp_trigger, amend.tp_trigger, amend.tp_price),
                    tp_price=algo.tp_price if amend.tp_price is None else amend.tp_price,
                    sl_trigger=new_trigger(algo.sl_trigger, amend.sl_trigger, amend.sl_price),
                    sl_price=algo.sl_price if amend.sl_price is None else amend.sl_price,
                )
        if algo.tp_trigger is not None or algo.sl_trigger is not None:
            result.append(algo)
    return tuple(result)


def new_trigger(old: Decimal | None, new: Decimal | None, order_price: Decimal | None) -> Decimal | None:
    """Trigger after an amendment: None keeps it, a trigger or order price of 0 removes it."""
    if new == 0 or order_price == 0:
        return None
    return old if new is None else new
