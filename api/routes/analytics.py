"""The six tables of statistics, by trader."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import msgspec

from api.endpoint import MEDIUM_S, Endpoint, Id, NoQuery, Sources
from api.routes.trades import conversation_id
from api.tallies import Tally
from api.views import seconds
from engine.bus import CLOSED_CYCLES, ORDERS
from engine.journal.tables import TraderTables
from engine.journal.views import OpenPosition, TraderRow

_MOST_POSITIONS = 10_000


class Analytics(msgspec.Struct, frozen=True, kw_only=True):
    analytics: list[TraderTables]
    serverTime: int


class OneAnalytics(msgspec.Struct, frozen=True, kw_only=True):
    """An array of one item; of none for a model that there is not."""

    analytics: list[TraderTables]


class OneQuery(msgspec.Struct, frozen=True, kw_only=True):
    model_id: Id = msgspec.field(name="modelId")


async def analytics(sources: Sources, _: NoQuery) -> Analytics:
    traders = await sources.reader.traders()
    return Analytics(analytics=await _items(sources, traders), serverTime=sources.server_time())


async def one(sources: Sources, query: OneQuery) -> OneAnalytics:
    traders = [t for t in await sources.reader.traders() if t.trader_id == query.model_id]
    return OneAnalytics(analytics=await _items(sources, traders))


async def _items(sources: Sources, traders: Sequence[TraderRow]) -> list[TraderTables]:
    if not traders:
        return []
    await sources.tallies.refresh()
    now_ns, held = sources.clock.now_ns(), defaultdict[str, list[OpenPosition]](list)
    for row in await sources.reader.open_positions(_MOST_POSITIONS):
        held[row.trader_id].append(row)
    return [
        _item(trader, sources.tallies.of(trader.trader_id), held[trader.trader_id], now_ns)
        for trader in traders
    ]


def _item(trader: TraderRow, tally: Tally, held: Sequence[OpenPosition], now_ns: int) -> TraderTables:
    trade, cycle = tally.last_trade, tally.last_cycle
    last_ns = cycle.ts_created if cycle is not None else 0
    return TraderTables(
        id=trader.trader_id,
        model_id=trader.trader_id,
        updated_at=seconds(now_ns),
        last_trade_exit_time=seconds(trade.ts_exit) if trade is not None else 0,
        last_trade_doc_id=trade.trade_id if trade is not None else "",
        last_convo_doc_id=conversation_id(trader.trader_id, last_ns) if cycle is not None else "",
        last_convo_timestamp=seconds(last_ns),
        **msgspec.structs.asdict(tally.tables(trader, held, now_ns)),
    )


ENDPOINTS = (
    Endpoint(
        path="/api/analytics",
        summary="Statistics of all traders",
        query=NoQuery,
        answer=Analytics,
        make=analytics,
        ttl_s=MEDIUM_S,
        topics=frozenset({ORDERS.name, CLOSED_CYCLES.name}),
    ),
    Endpoint(
        path="/api/analytics/{modelId}",
        summary="Statistics of one trader",
        query=OneQuery,
        answer=OneAnalytics,
        make=one,
        ttl_s=MEDIUM_S,
        topics=frozenset({ORDERS.name, CLOSED_CYCLES.name}),
    ),
)
