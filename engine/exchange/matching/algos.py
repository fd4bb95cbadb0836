"""Algos as they are asked for: conditional, oco, trigger and trailing, placed, amended and cancelled.

They hold no margin while they wait; `triggers` fires them. Latency counts for placing only: a cancel or an
amendment of an algo takes effect at once.
"""

from decimal import Decimal

import msgspec

from engine.core.market import Side
from engine.exchange.matching.amend import new_trigger
from engine.exchange.matching.attached import end_algo
from engine.exchange.matching.checks import check_account, check_names, check_size
from engine.exchange.matching.margin import is_exit
from engine.exchange.matching.records import AlgoChanged, VenueAlgo
from engine.exchange.matching.state import Account, Market, Step
from engine.exchange.matching.types import (
    AlgoAmend,
    AlgoRequest,
    AlgoType,
    OrdType,
    TriggerType,
    VenueRefusal,
)
from engine.exchange.ports import PositionMode

AT_MARKET = Decimal(-1)
_MAX_WAITING = 500
_EXITS = frozenset({AlgoType.CONDITIONAL, AlgoType.OCO})
_SIDE_CODES = {TriggerType.LAST: 51277, TriggerType.MARK: 51301, TriggerType.INDEX: 51305}
TRIGGER_PASSED = frozenset(str(first + n) for first in _SIDE_CODES.values() for n in range(4))


def place_algo(step: Step, account: Account, request: AlgoRequest) -> VenueAlgo:
    """Take an algo; it watches from now, or from when it arrives. Raises VenueRefusal."""
    market = step.state.market(request.symbol)
    _check(account, market, request)
    algo = VenueAlgo(
        account=account.name,
        algo_id=step.new_id(),
        request=request,
        leverage=account.leverage(request.symbol, request.td_mode, request.pos_side),
        ts_created=step.ts,
        ts_updated=step.ts,
        ts_armed=step.ts + step.options.latency.place_ns,
        trigger_up=_is_above(market, request),
        active=request.active_price is None,
    )
    account.algos[algo.algo_id] = algo
    step.emit(AlgoChanged(algo))
    return algo


def cancel_algo(step: Step, account: Account, symbol: str, algo: VenueAlgo | None) -> None:
    """Cancel a waiting algo. Raises VenueRefusal 51400 when it is unknown or has ended."""
    if algo is None or algo.state.done or algo.request.symbol != symbol:
        raise VenueRefusal(
            "51400", "Cancellation failed as the order has been triggered, canceled or is gone."
        )
    end_algo(step, account, algo)


def amend_algo(step: Step, account: Account, amend: AlgoAmend) -> None:
    """Change size, triggers or order prices of a waiting algo in place. Raises VenueRefusal."""
    algo = account.algo(amend.algo_id, amend.client_id)
    if algo is None or algo.state.done or algo.request.symbol != amend.symbol:
        raise VenueRefusal("51503", "Your order has already been filled or canceled.")
    if algo.request.algo_type is AlgoType.MOVE_ORDER_STOP:
        raise VenueRefusal("51506", "Order modification unavailable for the order type.")
    market = step.state.market(amend.symbol)
    request = _amended(algo.request, amend)
    try:
        if amend.size is not None:
            check_size(market.instrument, amend.size, OrdType.MARKET)
        _check_prices(market, request)
    except VenueRefusal:
        if not amend.cancel_on_fail:
            raise
        end_algo(step, account, algo)
        return
    changed = msgspec.structs.replace(
        algo,
        request=request,
        trigger_up=algo.trigger_up if amend.trigger_price is None else _is_above(market, request),
        amend_result="0",
        req_id=amend.req_id,
        ts_updated=step.ts,
    )
    account.algos[algo.algo_id] = changed
    step.emit(AlgoChanged(changed))


def price_of(market: Market, trigger: TriggerType) -> Decimal | None:
    """The price that a trigger watches; None while there is none."""
    prices = {TriggerType.LAST: market.last, TriggerType.MARK: market.mark, TriggerType.INDEX: market.index}
    return prices[trigger]


def only_reduces(mode: PositionMode, request: AlgoRequest) -> bool:
    """True when the order that it sends must not open: stops and targets always, in net mode."""
    if mode is PositionMode.LONG_SHORT:
        return is_exit(request.side, request.pos_side)
    return request.reduce_only or request.algo_type in _EXITS


def _is_above(market: Market, request: AlgoRequest) -> bool:
    """Type trigger: whether its price must be reached from below."""
    now = price_of(market, request.trigger_type)
    return request.trigger_price is None or now is None or request.trigger_price >= now


def _check(account: Account, market: Market, request: AlgoRequest) -> None:
    if not market.instrument.live:
        raise VenueRefusal("51022", "Contract suspended")
    check_account(account, request.td_mode, request.pos_side)
    check_names(request.client_id, request.tag)
    if request.client_id and any(
        algo.request.client_id == request.client_id for algo in account.algos.values()
    ):
        raise VenueRefusal("51065", "algoClOrdId already exists.")
    if len(account.algos) >= _MAX_WAITING:
        raise VenueRefusal("51260", "The number of pending algo orders reached the upper limit.")
    if request.close_fraction is not None:
        _check_close_fraction(account, request)
    elif request.size is None:
        raise VenueRefusal("51000", "Parameter sz error")
    else:
        check_size(market.instrument, request.size, OrdType.MARKET)
    _check_prices(market, request)


def _check_close_fraction(account: Account, request: AlgoRequest) -> None:
    if request.close_fraction != 1 or request.algo_type not in _EXITS:
        raise VenueRefusal("51000", "Parameter closeFraction error")
    if account.position_mode is PositionMode.NET and not request.reduce_only:
        raise VenueRefusal("51328", "closeFraction is only available for reduceOnly orders.")
    if not only_reduces(account.position_mode, request):
        raise VenueRefusal("51331", "closeFraction is only limited to close position orders.")
    if (request.tp_trigger is not None and request.tp_price != AT_MARKET) or (
        request.sl_trigger is not None and request.sl_price != AT_MARKET
    ):
        raise VenueRefusal("51330", "closeFraction is only available for stop market orders.")
    where = (request.symbol, request.td_mode, request.pos_side, request.side)
    for algo in account.algos.values():
        other = algo.request
        same = (other.symbol, other.td_mode, other.pos_side, other.side) == where
        if other.close_fraction is not None and same:
            raise VenueRefusal("51088", "You can only place one TP/SL order to close an entire position.")


def _check_prices(market: Market, request: AlgoRequest) -> None:
    """What the type needs is there, positive, and not already reached."""
    for price in (request.tp_trigger, request.sl_trigger, request.trigger_price, request.active_price):
        if price is not None and price <= 0:
            raise VenueRefusal("51000", "Parameter trigger price error")
    for price in (request.tp_price, request.sl_price, request.order_price):
        if price != AT_MARKET and (price <= 0 or price % market.instrument.tick_size):
            raise VenueRefusal("51000", "Parameter order price error")
    if request.algo_type is AlgoType.TRIGGER:
        if request.trigger_price is None:
            raise VenueRefusal("51000", "Parameter triggerPx error")
    elif request.algo_type is AlgoType.MOVE_ORDER_STOP:
        _check_callback(request)
    else:
        _check_exit_triggers(market, request)


def _check_callback(request: AlgoRequest) -> None:
    if (request.callback_ratio is None) == (request.callback_spread is None):
        raise VenueRefusal("50015", "Either parameter callbackRatio or callbackSpread is required")
    ratio, spread = request.callback_ratio, request.callback_spread
    if (ratio is not None and not 0 < ratio <= 1) or (spread is not None and spread <= 0):
        raise VenueRefusal("51000", "Parameter callback error")


def _check_exit_triggers(market: Market, request: AlgoRequest) -> None:
    missing = [trigger is None for trigger in (request.tp_trigger, request.sl_trigger)]
    if all(missing) or (request.algo_type is AlgoType.OCO and any(missing)):
        raise VenueRefusal("51000", "Parameter tpTriggerPx or slTriggerPx error")
    gains = -request.side.sign  # a closing sell gains as the price rises
    for name, trigger, watched, direction in (
        ("TP", request.tp_trigger, request.tp_trigger_type, gains),
        ("SL", request.sl_trigger, request.sl_trigger_type, -gains),
    ):
        now = price_of(market, watched)
        if trigger is None or now is None or (trigger - now) * direction > 0:
            continue
        code = _SIDE_CODES[watched] + (0 if request.side is Side.BUY else 2) + (name == "SL")
        word = "lower" if direction > 0 else "higher"
        raise VenueRefusal(str(code), f"{name} trigger price cannot be {word} than the {watched} price")


def _amended(request: AlgoRequest, amend: AlgoAmend) -> AlgoRequest:
    changed = msgspec.structs.replace(
        request,
        tp_trigger=new_trigger(request.tp_trigger, amend.tp_trigger, amend.tp_price),
        sl_trigger=new_trigger(request.sl_trigger, amend.sl_trigger, amend.sl_price),
        trigger_price=new_trigger(request.trigger_price, amend.trigger_price, amend.order_price),
        tp_trigger_type=amend.tp_trigger_type or request.tp_trigger_type,
        sl_trigger_type=amend.sl_trigger_type or request.sl_trigger_type,
        trigger_type=amend.trigger_type or request.trigger_type,
        size=request.size if amend.size is None else amend.size,
        tp_price=amend.tp_price or request.tp_price,
        sl_price=amend.sl_price or request.sl_price,
        order_price=amend.order_price or request.order_price,
    )
    if changed.algo_type not in _EXITS:
        return changed
    both = changed.tp_trigger is not None and changed.sl_trigger is not None
    had_both = request.tp_trigger is not None and request.sl_trigger is not None
    stop_counts = request.algo_type is AlgoType.CONDITIONAL and had_both
    kind = AlgoType.OCO if both and not stop_counts else AlgoType.CONDITIONAL
    return msgspec.structs.replace(changed, algo_type=kind)
