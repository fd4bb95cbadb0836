"""The reading half of trading: query in, rows out, newest first."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final

from engine.core.times import NS_PER_HOUR
from engine.exchange.matching.records import VenueAlgo, VenueOrder
from engine.exchange.matching.types import VenueRefusal
from engine.exchange.simulator import wire_orders as wire
from engine.exchange.simulator.paging import Paged, Query, Rows, needed, page
from engine.exchange.simulator.text import Row
from engine.exchange.simulator.venue import Venue

_UNFILLED_KEPT_NS: Final = 2 * NS_PER_HOUR  # cancelled without a fill: gone from queries afterwards
_ORDERS: Final = Paged(("instType", "instId", "ordType", "state"), "ordId")
_ENDED: Final = Paged(("instType", "instId", "ordType", "state", "category"), "ordId", "cTime")
_FILLS: Final = Paged(("instType", "instId", "ordId"), "billId", "ts")
_ALGOS: Final = Paged(("instType", "instId", "ordType", "state", "algoId", "algoClOrdId"), "algoId")


def order(venue: Venue, account: str, query: Query) -> Rows:
    """One order in any state."""
    symbol = needed(query, "instId")
    ids = {"order_id": query.get("ordId", ""), "client_order_id": query.get("clOrdId", "")}
    if not any(ids.values()):
        raise VenueRefusal("51000", "Either parameter ordId or clOrdId is required")
    found = venue.world.core.order(account, **ids)
    if found.symbol != symbol or not _kept(venue, found):
        raise VenueRefusal("51603", "Order does not exist")
    return [wire.order(found)]


def orders_pending(venue: Venue, account: str, query: Query) -> Rows:
    return page(_rows(venue.world.core.pending_orders(account)), query, _ORDERS)


def orders_history(venue: Venue, account: str, query: Query) -> Rows:
    needed(query, "instType")
    ended = [each for each in venue.world.core.order_history(account) if _kept(venue, each)]
    return page(_rows(ended), query, _ENDED)


def orders_archive(venue: Venue, account: str, query: Query) -> Rows:
    """As the history, without those that were cancelled unfilled."""
    needed(query, "instType")
    return page(_rows(o for o in venue.world.core.order_history(account) if o.filled), query, _ENDED)


def fills(venue: Venue, account: str, query: Query) -> Rows:
    return page([wire.fill(each) for each in venue.world.core.fills(account)], query, _FILLS)


def fills_history(venue: Venue, account: str, query: Query) -> Rows:
    needed(query, "instType")
    return fills(venue, account, query)


def order_algo(venue: Venue, account: str, query: Query) -> Rows:
    ids = {"algo_id": query.get("algoId", ""), "client_id": query.get("algoClOrdId", "")}
    if not any(ids.values()):
        raise VenueRefusal("50015", "Either parameter algoId or algoClOrdId is required")
    return [wire.algo(venue.world.core.algo(account, **ids))]


def algos_pending(venue: Venue, account: str, query: Query) -> Rows:
    return _algos(venue.world.core.pending_algos(account), query)


def algos_history(venue: Venue, account: str, query: Query) -> Rows:
    if not query.get("state") and not query.get("algoId"):
        raise VenueRefusal("50015", "Either parameter state or algoId is required")
    return _algos(venue.world.core.algo_history(account), query)


def _algos(found: Iterable[VenueAlgo], query: Query) -> Rows:
    needed(query, "ordType")
    return page([wire.algo(each) for each in found], query, _ALGOS)


def _rows(found: Iterable[VenueOrder]) -> list[Row]:
    return [wire.order(each) for each in found]


def _kept(venue: Venue, found: VenueOrder) -> bool:
    return bool(found.filled) or not found.state.done or venue.now() - found.ts_updated < _UNFILLED_KEPT_NS


READS: Final[dict[str, Callable[[Venue, str, Query], Rows]]] = {
    "trade/order": order,
    "trade/orders-pending": orders_pending,
    "trade/orders-history": orders_history,
    "trade/orders-history-archive": orders_archive,
    "trade/fills": fills,
    "trade/fills-history": fills_history,
    "trade/order-algo": order_algo,
    "trade/orders-algo-pending": algos_pending,
    "trade/orders-algo-history": algos_history,
}
