"""Firing: a price reaches what an algo waits for, and the algo sends its order.

The order is matched at once, against the book as it is after that price: a gap through a stop fills beyond
the stop, never at it. Stops and targets are clamped to the position and fail (51169) when there is none.
"""

from decimal import Decimal

import msgspec

from engine.core.market import Side
from engine.exchange.matching.algos import AT_MARKET, only_reduces
from engine.exchange.matching.checks import check_order
from engine.exchange.matching.margin import closable
from engine.exchange.matching.orders import Origin, accept, enter
from engine.exchange.matching.records import AlgoChanged, AlgoState, VenueAlgo
from engine.exchange.matching.state import Account, Market, Step
from engine.exchange.matching.types import (
    AlgoRequest,
    AlgoType,
    OrderRequest,
    OrdType,
    TriggerType,
    VenueRefusal,
)
from engine.exchange.ports import PositionMode

ZERO = Decimal(0)
_SOURCES = {AlgoType.TRIGGER: "6", AlgoType.MOVE_ORDER_STOP: "25"}
_STOP_OR_TARGET = "7"


class _Shot(msgspec.Struct, frozen=True):
    """An algo that fires: at which price, which of its halves, and the price of the order it sends."""

    price: Decimal
    half: str  # tp, sl or ""
    order_price: Decimal


def watch(step: Step, market: Market, kind: TriggerType, price: Decimal) -> None:
    """Show a new price of one kind to every algo that waits for it."""
    symbol = market.instrument.symbol
    for account in step.state.accounts.values():
        for algo in tuple(account.algos.values()):
            if algo.request.symbol != symbol or step.ts < algo.ts_armed or algo.algo_id not in account.algos:
                continue
            if algo.request.algo_type is AlgoType.MOVE_ORDER_STOP:
                shot = _trail(account, algo, price) if kind is TriggerType.LAST else None
            else:
                shot = _reached(algo, kind, price)
            if shot is not None:
                _fire(step, account, algo, shot)


def _reached(algo: VenueAlgo, kind: TriggerType, price: Decimal) -> _Shot | None:
    request = algo.request
    if request.algo_type is AlgoType.TRIGGER:
        level, direction = request.trigger_price, 1 if algo.trigger_up else -1
        if kind is request.trigger_type and level is not None and (price - level) * direction >= 0:
            return _Shot(price, "", request.order_price)
        return None
    gains = -request.side.sign  # a closing sell gains as the price rises
    stop, target = request.sl_trigger, request.tp_trigger
    if stop is not None and kind is request.sl_trigger_type and (price - stop) * gains <= 0:
        return _Shot(price, "sl", request.sl_price)
    if stop is not None and request.algo_type is AlgoType.CONDITIONAL:
        return None  # given both, a conditional is its stop
    if target is not None and kind is request.tp_trigger_type and (price - target) * gains >= 0:
        return _Shot(price, "tp", request.tp_price)
    return None


def _trail(account: Account, algo: VenueAlgo, price: Decimal) -> _Shot | None:
    """Follow the best price since activation; fire when the price comes back by the callback."""
    request, falling = algo.request, algo.request.side is Side.SELL
    active_at = request.active_price
    if not algo.active and active_at is not None:
        if price < active_at if falling else price > active_at:
            return None
        algo = msgspec.structs.replace(algo, active=True)
    best = price if algo.extreme is None else (max if falling else min)(algo.extreme, price)
    algo = msgspec.structs.replace(algo, extreme=best)
    account.algos[algo.algo_id] = algo
    trigger = algo.move_trigger
    if trigger is None or (price > trigger if falling else price < trigger):
        return None
    return _Shot(price, "", AT_MARKET)


def _fire(step: Step, account: Account, algo: VenueAlgo, shot: _Shot) -> None:
    request = algo.request
    fired = msgspec.structs.replace(
        account.algos[algo.algo_id],
        trigger_ts=step.ts,
        actual_price=shot.price,
        actual_side=shot.half,
        amend_result="",
        req_id="",
        ts_updated=step.ts,
    )
    origin = Origin(
        source=_SOURCES.get(request.algo_type, _STOP_OR_TARGET),
        algo_id=algo.algo_id,
        algo_client_id=request.client_id,
    )
    try:
        wanted = _order_of(step, account, request, shot)
    except VenueRefusal as refusal:
        failed = msgspec.structs.replace(fired, state=AlgoState.ORDER_FAILED, fail_code=refusal.code)
        step.archive_algo(account, failed)
        step.emit(AlgoChanged(failed))
        return
    order = accept(step, account, wanted, origin)
    fired = msgspec.structs.replace(
        fired, state=AlgoState.EFFECTIVE, actual_size=order.size, order_id=order.order_id
    )
    step.archive_algo(account, fired)
    step.emit(AlgoChanged(fired))
    enter(step, account, order.order_id)


def _order_of(step: Step, account: Account, request: AlgoRequest, shot: _Shot) -> OrderRequest:
    """The order that an algo sends. Raises VenueRefusal when there is nothing to reduce, or no margin."""
    where = (request.side, request.symbol, request.td_mode, request.pos_side)
    reduces = only_reduces(account.position_mode, request)
    held = closable(account, *where)
    size = held if request.size is None else request.size
    if reduces:
        size = min(size, held)
        if not size:
            raise VenueRefusal("51169", "You don't have any positions in this direction to reduce or close.")
    at_market = shot.order_price == AT_MARKET
    wanted = OrderRequest(
        symbol=request.symbol,
        side=request.side,
        size=size,
        ord_type=OrdType.MARKET if at_market else OrdType.LIMIT,
        price=None if at_market else shot.order_price,
        td_mode=request.td_mode,
        pos_side=request.pos_side,
        reduce_only=reduces and account.position_mode is PositionMode.NET,
        tag=request.tag,
    )
    return wanted if reduces else check_order(step, account, wanted)
