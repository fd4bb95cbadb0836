"""Trading endpoints: bodies in, one verdict an item out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import msgspec

from engine.core.times import NS_PER_MS
from engine.exchange.matching.records import VenueAlgo, VenueOrder
from engine.exchange.matching.types import AlgoRequest, OrderRequest, VenueRefusal
from engine.exchange.simulator import parse, text
from engine.exchange.simulator.faults import Fault, FaultKind
from engine.exchange.simulator.requests import CancelAllAfter
from engine.exchange.simulator.venue import Venue

Body = dict[str, Any]
_PARSERS: Final[dict[str, Callable[[Body], msgspec.Struct]]] = {
    "order": parse.place,
    "batch-orders": parse.place,
    "cancel-order": parse.cancel,
    "cancel-batch-orders": parse.cancel,
    "amend-order": parse.amend,
    "amend-batch-orders": parse.amend,
    "order-algo": parse.place_algo,
    "cancel-algos": parse.cancel_algo,
    "amend-algos": parse.amend_algo,
}
ITEM_ENDPOINTS: Final = frozenset(_PARSERS)
_PLACING: Final = frozenset(["order", "batch-orders"])
_MOST_ITEMS: Final = 20
_MOST_ALGOS: Final = 10  # that are cancelled in one request
_TOO_MANY: Final = {"cancel-batch-orders": "51406", "amend-batch-orders": "51501"}


def check_life(venue: Venue, until: str) -> None:
    """The optional expTime: a request that comes later than its sender wished is dropped."""
    if until.isdigit() and int(until) * NS_PER_MS < venue.told_ns():
        raise VenueRefusal("50036", "The expTime can't be earlier than the current system time.")


def items(venue: Venue, account: str, endpoint: str, bodies: list[Any]) -> list[text.Row]:
    """Carry out each item; its verdict is in sCode and sMsg. Raises VenueRefusal for the whole request."""
    if not bodies or not all(isinstance(body, dict) for body in bodies):
        raise VenueRefusal("50014" if not bodies else "50002", "Parameter can not be empty or is no object")
    most = _MOST_ALGOS if endpoint == "cancel-algos" else _MOST_ITEMS
    if len(bodies) > most:
        raise VenueRefusal(_TOO_MANY.get(endpoint, "51111"), f"Maximum {most} orders in one request")
    scope = str(bodies[0].get("instId") or "")
    scope = scope if scope in venue.world.quotes else ""
    venue.limiter.count(venue.clock.real_s(), f"trade/{endpoint}", account, scope, len(bodies))
    return [_item(venue, account, endpoint, body) for body in bodies]


def _item(venue: Venue, account: str, endpoint: str, body: Body) -> text.Row:
    algo = "algo" in endpoint
    client_key = "algoClOrdId" if algo else "clOrdId"
    row: text.Row = {
        "algoId" if algo else "ordId": str(body.get("algoId" if algo else "ordId") or ""),
        client_key: str(body.get(client_key) or ""),
        "sCode": "0",
        "sMsg": "",
        "subCode": "",
        "tag": str(body.get("tag") or ""),
        "ts": text.ms(venue.told_ns()),
    }
    if algo:
        row["clOrdId"] = ""
    if "amend" in endpoint:
        row["reqId"] = str(body.get("reqId") or "")
    try:
        result = _carry_out(venue, account, _PARSERS[endpoint](body))
    except VenueRefusal as refusal:
        return row | {"sCode": refusal.code, "sMsg": refusal.message}
    match result:
        case VenueOrder(order_id=order_id, client_order_id=client_id):
            row |= {"ordId": order_id, "clOrdId": client_id}
        case VenueAlgo(algo_id=algo_id):
            row |= {"algoId": algo_id, "algoClOrdId": result.request.client_id}
    if endpoint in _PLACING:
        row["sMsg"] = "Order placed"
    return row


def _carry_out(venue: Venue, account: str, request: msgspec.Struct) -> object:
    if isinstance(request, OrderRequest):
        venue.orders_received[f"{account}:{request.client_order_id}"] += 1
        if fault := venue.faults.take("order", FaultKind.REFUSE_ORDER):
            raise VenueRefusal(fault.code, "Refused on demand")
        if request.attached and (fault := venue.faults.take("order", FaultKind.REFUSE_ATTACHED)):
            failed = tuple(msgspec.structs.replace(a, fail_code=fault.code) for a in request.attached)
            request = msgspec.structs.replace(request, attached=failed)
    elif isinstance(request, AlgoRequest) and (
        fault := venue.faults.take("order-algo", FaultKind.REFUSE_ALGO)
    ):
        raise VenueRefusal(fault.code, "Refused on demand")
    return venue.request(account, request).result


async def hindered(venue: Venue, path: str, *kinds: FaultKind) -> Fault | None:
    """The fault of `kinds` that a request of `path` meets now, after the delay that it meets."""
    late = FaultKind.DELAY if FaultKind.DROP_AFTER in kinds else FaultKind.DELAY_BEFORE
    if delay := venue.faults.take(path, late):
        await venue.clock.sleep_real(delay.seconds)
    return venue.faults.take(path, *kinds)


def summary(rows: list[text.Row]) -> tuple[str, str]:
    """Top-level code and text of per-item verdicts: all well, all failed, or some."""
    failed = sum(row.get("sCode", "0") != "0" for row in rows)
    if not failed:
        return "0", ""
    if failed == len(rows):
        return "1", "All operations failed"
    return "2", "Bulk operation partially succeeded."


def close_position(venue: Venue, account: str, body: Body) -> list[text.Row]:
    request = parse.close_position(body)
    venue.request(account, request)
    return [
        {
            "instId": request.symbol,
            "posSide": request.pos_side.value,
            "clOrdId": request.client_order_id,
            "tag": request.tag,
        }
    ]


def cancel_all_after(venue: Venue, account: str, body: Body) -> list[text.Row]:
    seconds = parse.number(body, "timeOut")
    if seconds and not 10 <= seconds <= 120:  # noqa: PLR2004 - the venue's bounds
        raise VenueRefusal("51000", "Parameter timeOut error")
    until = venue.request(account, CancelAllAfter(int(seconds))).result
    stamp = text.ms(until) if isinstance(until, int) and until else "0"
    return [{"triggerTime": stamp, "tag": str(body.get("tag") or ""), "ts": text.ms(venue.now())}]
