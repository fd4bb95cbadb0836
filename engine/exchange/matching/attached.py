"""Stops and targets that belong to an order or a position: they come with it and go with it."""

import msgspec

from engine.exchange.matching.margin import closable
from engine.exchange.matching.records import AlgoChanged, AlgoState, VenueAlgo, VenueOrder
from engine.exchange.matching.state import Account, Step
from engine.exchange.matching.types import AlgoRequest, AlgoType, AttachedAlgo


def arm_attached(step: Step, account: Account, order: VenueOrder) -> None:
    """Bring an ended order's attached algos to life, for what was filled; nothing filled, nothing armed.

    OKX creates them when the parent has filled completely; that a parent cancelled after a partial fill
    also leaves them for its filled part is unconfirmed and assumed here.
    """
    if not order.filled:
        return
    for attached in order.attached:
        if attached.fail_code:
            continue
        algo = VenueAlgo(
            account=account.name,
            algo_id=step.new_id(),
            request=_request(order, attached),
            leverage=order.leverage,
            ts_created=step.ts,
            ts_updated=step.ts,
            parent_order_id=order.order_id,
        )
        account.algos[algo.algo_id] = algo
        step.emit(AlgoChanged(algo))


def _request(order: VenueOrder, attached: AttachedAlgo) -> AlgoRequest:
    both = attached.tp_trigger is not None and attached.sl_trigger is not None
    return AlgoRequest(
        symbol=order.symbol,
        side=order.side.opposite,
        algo_type=AlgoType.OCO if both else AlgoType.CONDITIONAL,
        size=order.filled,
        td_mode=order.td_mode,
        pos_side=order.pos_side,
        client_id=attached.client_id,
        reduce_only=True,
        tag=order.tag,
        tp_trigger=attached.tp_trigger,
        tp_price=attached.tp_price,
        tp_trigger_type=attached.tp_trigger_type,
        sl_trigger=attached.sl_trigger,
        sl_price=attached.sl_price,
        sl_trigger_type=attached.sl_trigger_type,
    )


def end_algo(step: Step, account: Account, algo: VenueAlgo) -> None:
    """Cancel a waiting algo."""
    ended = msgspec.structs.replace(
        algo, state=AlgoState.CANCELED, amend_result="", req_id="", ts_updated=step.ts
    )
    step.archive_algo(account, ended)
    step.emit(AlgoChanged(ended))


def end_orphans(step: Step, account: Account, symbol: str) -> None:
    """Cancel the algos whose position is gone: attached ones, closeFraction ones, cxlOnClosePos ones."""
    for algo in tuple(account.algos.values()):
        request = algo.request
        bound = (
            request.close_fraction is not None
            or request.cancel_on_close
            or (algo.parent_order_id != "" and step.options.cancel_attached_when_flat)
        )
        if request.symbol != symbol or not bound:
            continue
        if not closable(account, request.side, symbol, request.td_mode, request.pos_side):
            end_algo(step, account, algo)
