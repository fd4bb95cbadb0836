"""The life of orders: accepted, in the book, executed as taker or maker, ended.

A taker walks the visible depth and fills at the prices it meets. A maker waits behind the contracts that
were visible at its price when it came; it fills when a later trade prints beyond its price (then whole:
the print proves that its price was swept), when trades at its price have used up the queue before it,
or when a later book shows the other side at or beyond its price. Never with anything from before it came.
"""

from decimal import Decimal

import msgspec

from engine.core.market import Side
from engine.exchange.matching.attached import arm_attached, end_orphans
from engine.exchange.matching.checks import MARKET_TYPES, check_names
from engine.exchange.matching.margin import closable, closes, pending_exits
from engine.exchange.matching.positions import Execution, book_execution
from engine.exchange.matching.records import OrderChanged, OrdState, VenueOrder
from engine.exchange.matching.state import Account, Market, Resting, Step, Travelling
from engine.exchange.matching.types import CloseRequest, OrderRequest, OrdType, VenueRefusal
from engine.exchange.ports import PositionMode

ZERO = Decimal(0)
BY_SYSTEM, BY_USER, BY_REDUCE_ONLY, BY_RISK = "0", "1", "2", "3"  # OKX cancelSource
BY_FOK, BY_IOC, BY_SWITCH, BY_POST_ONLY = "13", "14", "20", "31"
_TRIMMED = "4"  # OKX amendSource: the size follows the position


class Origin(msgspec.Struct, frozen=True, kw_only=True):
    """Who sends an order when it is not the user: OKX's source and category, and the algo."""

    source: str = ""
    category: str = "normal"
    algo_id: str = ""
    algo_client_id: str = ""


def accept(step: Step, account: Account, request: OrderRequest, origin: Origin | None = None) -> VenueOrder:
    """Enter a checked request as a live order that is not in the book yet."""
    origin = origin or Origin()
    order_id = step.new_id()
    order = VenueOrder(
        account=account.name,
        order_id=order_id,
        symbol=request.symbol,
        side=request.side,
        pos_side=request.pos_side,
        td_mode=request.td_mode,
        ord_type=request.ord_type,
        size=request.size,
        price=None if request.ord_type in MARKET_TYPES else request.price,
        leverage=account.leverage(request.symbol, request.td_mode, request.pos_side),
        ts_created=step.ts,
        ts_updated=step.ts,
        client_order_id=request.client_order_id,
        tag=request.tag,
        reduce_only=request.reduce_only,
        source=origin.source,
        category=origin.category,
        algo_id=origin.algo_id,
        algo_client_id=origin.algo_client_id,
        attached=tuple(msgspec.structs.replace(algo, attach_id=step.new_id()) for algo in request.attached),
    )
    account.orders[order_id] = order
    if order.client_order_id:
        account.client_orders[order.client_order_id] = order_id
    step.emit(OrderChanged(order))
    return order


def send(step: Step, account: Account, order: VenueOrder) -> None:
    """Let an accepted order reach the book, now or after the latency."""
    delay = step.options.latency.place_ns
    if delay:
        travel(step, Travelling(ts=step.ts + delay, account=account.name, order_id=order.order_id))
    else:
        enter(step, account, order.order_id)


def travel(step: Step, request: Travelling) -> None:
    """Put a request on its way; of two with the same arrival the earlier sent comes first."""
    queue = step.state.travelling
    place = len(queue)
    while place and queue[place - 1].ts > request.ts:
        place -= 1
    queue.insert(place, request)


def cancel(step: Step, account: Account, symbol: str, order: VenueOrder | None) -> None:
    """Cancel a pending order, now or after the latency. Raises VenueRefusal 51400 when there is none."""
    if order is None or order.state.done or order.symbol != symbol:
        raise VenueRefusal("51400", "Cancellation failed as the order has been filled, canceled or is gone.")
    delay = step.options.latency.cancel_ns
    if delay:
        arrival = step.ts + delay
        travel(step, Travelling(ts=arrival, account=account.name, order_id=order.order_id, cancel=True))
    else:
        end(step, account, order, BY_USER)


def close_position(step: Step, account: Account, request: CloseRequest) -> VenueOrder:
    """Send a market order for a whole position. Raises VenueRefusal."""
    check_names(request.client_order_id, request.tag)
    holding = account.holding(request.symbol, request.td_mode, request.pos_side)
    if holding is None or not holding.contracts:
        raise VenueRefusal("51023", "Position doesn't exist.")
    where = (holding.exit_side, request.symbol, request.td_mode, request.pos_side)
    if pending_exits(account, *where):
        if not request.auto_cancel:
            raise VenueRefusal("51115", "Cancel all pending close-orders before liquidation.")
        for order in tuple(account.orders.values()):
            same = (order.side, order.symbol, order.td_mode, order.pos_side) == where
            if same and closes(account.position_mode, order):
                end(step, account, order, BY_USER)
    wanted = OrderRequest(
        symbol=request.symbol,
        side=holding.exit_side,
        size=abs(holding.contracts),
        ord_type=OrdType.MARKET,
        td_mode=request.td_mode,
        pos_side=request.pos_side,
        client_order_id=request.client_order_id,
        reduce_only=account.position_mode is PositionMode.NET,
        tag=request.tag,
    )
    order = accept(step, account, wanted)
    send(step, account, order)
    return order


def enter(step: Step, account: Account, order_id: str) -> None:
    """Match an order that arrives at the book (again, after an amendment of its price)."""
    order = account.orders.get(order_id)
    if order is None:  # cancelled on its way
        return
    market = step.state.market(order.symbol)
    if order.ord_type is OrdType.POST_ONLY and order.price is not None:
        if market.book.crosses(order.side, order.price):
            end(step, account, order, BY_POST_ONLY)
            return
    elif order.ord_type is OrdType.FOK and not _fills_whole(step, market, order):
        end(step, account, order, BY_FOK)
        return
    else:
        order = _take(step, account, market, order)
    _settle_entry(step, account, market, order)
    settle(step, account, order.symbol)


def _fills_whole(step: Step, market: Market, order: VenueOrder) -> bool:
    offered = market.book.available(order.side, order.price)
    return offered >= order.remaining and not step.state.partial_fills


def _settle_entry(step: Step, account: Account, market: Market, order: VenueOrder) -> None:
    """What becomes of an order after its time as a taker."""
    if order.state.done:
        finish(step, account, order)
    elif order.price is not None and order.ord_type in {OrdType.LIMIT, OrdType.POST_ONLY}:
        market.resting.append(
            Resting(
                account=account.name,
                order_id=order.order_id,
                side=order.side,
                price=order.price,
                queue_ahead=market.book.queue_at(order.side, order.price),
            )
        )
    else:
        end(step, account, order, BY_IOC)


def _take(step: Step, account: Account, market: Market, order: VenueOrder) -> VenueOrder:
    left = _portion(step, account, order)
    for price, size in market.book.take(order.side, left, order.price):
        order = book_execution(step, account, order, Execution(price=price, size=size))
        left -= size
    bps = step.options.beyond_depth_bps
    if left <= 0 or order.price is not None or bps is None:
        return order
    price_behind = market.book.beyond_depth(order.side, bps)
    if price_behind is None:
        return order
    worse = market.instrument.price_above if order.side is Side.BUY else market.instrument.price_below
    return book_execution(step, account, order, Execution(price=worse(price_behind), size=left))


def executable(account: Account, order: VenueOrder) -> Decimal:
    """Contracts that may still be executed: an exit never more than the position has."""
    if not closes(account.position_mode, order):
        return order.remaining
    held = closable(account, order.side, order.symbol, order.td_mode, order.pos_side)
    return min(order.remaining, held)


def _portion(step: Step, account: Account, order: VenueOrder) -> Decimal:
    """What one execution may take: everything, or half where fills are partial on demand, at least a lot."""
    wanted = executable(account, order)
    if not step.state.partial_fills:
        return wanted
    instrument = step.state.market(order.symbol).instrument
    return min(wanted, max(instrument.floor_size(wanted / 2), instrument.lot_size))


def match_book(step: Step, market: Market) -> None:
    """Fill resting orders that the new book crosses, at their own price, with what it offers there."""
    if not market.resting:
        return
    for resting in market.resting:
        visible = market.book.queue_at(resting.side, resting.price)
        if visible is not None:
            ahead = resting.queue_ahead
            resting.queue_ahead = visible if ahead is None else min(ahead, visible)
    for resting in _by_priority(market):
        if market.book.crosses(resting.side, resting.price):
            account, order = _resting_order(step, resting)
            if order is not None:
                offered = market.book.take(resting.side, _portion(step, account, order), resting.price)
                _fill_maker(step, account, order, sum((size for _, size in offered), ZERO))


def match_trade(step: Step, market: Market, print_: Execution, taker: Side) -> None:
    """Fill resting orders that a trade of the outside market reaches."""
    if not market.resting:
        return
    traded = print_.size  # at its own price, to those who wait there
    for resting in _by_priority(market):
        distance = (resting.price - print_.price) * resting.side.sign
        if distance < 0 or (distance == 0 and taker is resting.side):
            continue
        account, order = _resting_order(step, resting)
        if order is None:
            continue
        size = _portion(step, account, order)
        if distance == 0:
            if resting.queue_ahead is None:
                continue
            passed = min(resting.queue_ahead, traded)
            resting.queue_ahead -= passed
            size = min(size, traded - passed)
            traded -= size
        _fill_maker(step, account, order, size)


def _by_priority(market: Market) -> list[Resting]:
    """Best price first, then by time; a copy, since fills change the list."""
    return sorted(market.resting, key=lambda resting: -resting.price * resting.side.sign)


def _resting_order(step: Step, resting: Resting) -> tuple[Account, VenueOrder | None]:
    account = step.state.account(resting.account)
    return account, account.orders.get(resting.order_id)


def _fill_maker(step: Step, account: Account, order: VenueOrder, size: Decimal) -> None:
    if size <= 0 or order.price is None:
        return
    order = book_execution(step, account, order, Execution(price=order.price, size=size, maker=True))
    if order.state.done:
        finish(step, account, order)
    settle(step, account, order.symbol)


def settle(step: Step, account: Account, symbol: str) -> None:
    """After executions: pending exits shrink to the position, algos of a position that is gone end."""
    left: dict[tuple[str, ...], Decimal] = {}
    for order in tuple(account.orders.values()):
        if order.symbol != symbol or not closes(account.position_mode, order):
            continue
        key = (order.side, order.td_mode, order.pos_side)
        if key not in left:
            left[key] = closable(account, order.side, symbol, order.td_mode, order.pos_side)
        if left[key] <= 0:
            end(step, account, order, BY_REDUCE_ONLY)
        elif order.remaining > left[key]:
            trimmed = order.filled + left[key]
            _change(step, account, msgspec.structs.replace(order, size=trimmed, amend_source=_TRIMMED))
        left[key] -= order.remaining
    end_orphans(step, account, symbol)


def end(step: Step, account: Account, order: VenueOrder, source: str) -> None:
    """Cancel what is left of a pending order; `source` is OKX's cancelSource."""
    ended = msgspec.structs.replace(
        order,
        state=OrdState.CANCELED,
        cancel_source=source,
        amend_source="",
        amend_result="",
        req_id="",
        ts_updated=step.ts,
    )
    step.emit(OrderChanged(ended))
    finish(step, account, ended)


def finish(step: Step, account: Account, order: VenueOrder) -> None:
    """Take an ended order out of the book and arm what was attached to it."""
    leave_book(step, order)
    step.archive_order(account, order)
    arm_attached(step, account, order)


def leave_book(step: Step, order: VenueOrder) -> Resting | None:
    """Remove an order from the book and return its place there, if it had one."""
    market = step.state.market(order.symbol)
    for place, resting in enumerate(market.resting):
        if resting.order_id == order.order_id:
            return market.resting.pop(place)
    return None


def _change(step: Step, account: Account, order: VenueOrder) -> None:
    account.orders[order.order_id] = msgspec.structs.replace(order, ts_updated=step.ts)
    step.emit(OrderChanged(account.orders[order.order_id]))
