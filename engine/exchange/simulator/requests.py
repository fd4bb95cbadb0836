"""What can be asked of the simulated venue, as it stands in the journal, and how the core does it."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from engine.core.instruments import Instrument
from engine.exchange.matching.core import MatchingCore
from engine.exchange.matching.records import Event, VenueAlgo, VenueOrder
from engine.exchange.matching.types import (
    AlgoAmend,
    AlgoRequest,
    AmendRequest,
    CloseRequest,
    LeverageRequest,
    MarginRequest,
    OrderRequest,
    VenueRefusal,
)
from engine.exchange.ports import PositionMode
from engine.exchange.simulator.manual import Nudge


class Cancel(msgspec.Struct, frozen=True):
    symbol: str
    order_id: str = ""
    client_order_id: str = ""


class CancelAlgo(msgspec.Struct, frozen=True):
    symbol: str
    algo_id: str = ""
    client_id: str = ""


class SetPositionMode(msgspec.Struct, frozen=True):
    mode: PositionMode


class CancelAllAfter(msgspec.Struct, frozen=True):
    timeout_s: int


class ChangeInstrument(msgspec.Struct, frozen=True):
    """A fault: the venue changes the steps of a market."""

    instrument: Instrument


class PartialFills(msgspec.Struct, frozen=True):
    """A fault: executions never take the whole of an order."""

    on: bool


class Outcome(msgspec.Struct, frozen=True):
    """What an input did. `result` is what the request returns, if it returns anything."""

    events: list[Event]
    result: VenueOrder | VenueAlgo | int | None = None


REQUESTS: Final[dict[str, type[Any]]] = {
    kind.__name__: kind
    for kind in (
        OrderRequest,
        AmendRequest,
        Cancel,
        AlgoRequest,
        AlgoAmend,
        CancelAlgo,
        LeverageRequest,
        MarginRequest,
        SetPositionMode,
        CloseRequest,
        CancelAllAfter,
        Nudge,
        ChangeInstrument,
        PartialFills,
    )
}


def perform(core: MatchingCore, account: str, body: object, ts: int) -> Outcome:  # noqa: C901, PLR0911, PLR0912 - a line a request
    """Raises VenueRefusal; nothing changed then."""
    match body:
        case OrderRequest():
            order, events = core.place(account, body, ts)
            return Outcome(events, order)
        case AmendRequest():
            ids = {"order_id": body.order_id, "client_order_id": body.client_order_id}
            return Outcome(core.amend(account, body, ts), core.order(account, **ids))
        case Cancel(symbol, order_id, client_order_id):
            ids = {"order_id": order_id, "client_order_id": client_order_id}
            return Outcome(core.cancel(account, symbol, ts, **ids), core.order(account, **ids))
        case AlgoRequest():
            algo, events = core.place_algo(account, body, ts)
            return Outcome(events, algo)
        case AlgoAmend():
            events = core.amend_algo(account, body, ts)
            return Outcome(events, core.algo(account, algo_id=body.algo_id, client_id=body.client_id))
        case CancelAlgo(symbol, algo_id, client_id):
            ids = {"algo_id": algo_id, "client_id": client_id}
            return Outcome(core.cancel_algo(account, symbol, ts, **ids), core.algo(account, **ids))
        case LeverageRequest():
            return Outcome(core.set_leverage(account, body, ts))
        case MarginRequest():
            return Outcome(core.adjust_margin(account, body, ts))
        case SetPositionMode(mode):
            return Outcome(core.set_position_mode(account, mode, ts))
        case CloseRequest():
            order, events = core.close_position(account, body, ts)
            return Outcome(events, order)
        case CancelAllAfter(timeout_s):
            return Outcome([], core.cancel_all_after(account, timeout_s, ts))
        case ChangeInstrument(instrument):
            core.change_instrument(instrument)
            return Outcome([])
        case PartialFills(on):
            core.set_partial_fills(on=on)
            return Outcome([])
    raise VenueRefusal("51000", "Parameter error")
