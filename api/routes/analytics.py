"""The six tables of statistics, by trader."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Sequence

import msgspec

from api.endpoint import MEDIUM_S, Endpoint, Id, NoQuery, Sources
from api.routes.trades import conversation_id
from api.views import seconds
from engine.bus import DECISIONS, ORDERS
from engine.core.orders import PositionSide
from engine.core.times import NS_PER_MIN
from engine.journal.postgres_reader import Page
from engine.journal.stats import Activity, SignalFigures, tables
from engine.journal.tables import TraderTables
from engine.journal.views import CycleActions, OpenPosition, TraderRow

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
    held = await sources.reader.open_positions(_MOST_POSITIONS) if traders else []
    return [
        await _item(sources, trader, [row for row in held if row.trader_id == trader.trader_id])
        for trader in traders
    ]


async def _item(sources: Sources, trader: TraderRow, held: Sequence[OpenPosition]) -> TraderTables:
    reader, now_ns = sources.reader, sources.clock.now_ns()
    trades = await reader.trade_figures(trader.trader_id)
    newest = await reader.closed_trades(Page(limit=1, trader=trader.trader_id))
    cycles = await reader.cycle_actions(trader.trader_id)
    last_ns = cycles[-1].ts_created if cycles else 0
    # A long history takes milliseconds: not in the loop that answers everybody else.
    found = await asyncio.to_thread(tables, trades, _activity(trader, cycles, held, now_ns))
    return TraderTables(
        id=trader.trader_id,
        model_id=trader.trader_id,
        updated_at=seconds(now_ns),
        last_trade_exit_time=seconds(newest[0].trade.ts_exit) if newest else 0,
        last_trade_doc_id=newest[0].trade.trade_id if newest else "",
        last_convo_doc_id=conversation_id(trader.trader_id, last_ns) if cycles else "",
        last_convo_timestamp=seconds(last_ns),
        **msgspec.structs.asdict(found),
    )


def _activity(
    trader: TraderRow, cycles: Sequence[CycleActions], held: Sequence[OpenPosition], now_ns: int
) -> Activity:
    actions = [action for cycle in cycles for action in cycle.actions]
    symbols = {action.symbol for action in actions} | {row.view.symbol for row in held}

    def open_mins(side: PositionSide) -> float:
        return math.fsum((now_ns - row.view.ts_opened) / NS_PER_MIN for row in held if row.view.side is side)

    return Activity(
        signals=tuple(
            SignalFigures(act=a.act, confidence=float(a.confidence), leverage=float(a.leverage))
            for a in actions
        ),
        invocations=tuple(cycle.ts_created for cycle in cycles),
        open_long_mins=open_mins(PositionSide.LONG),
        open_short_mins=open_mins(PositionSide.SHORT),
        alive_mins=max(0, now_ns - trader.ts_inception) / NS_PER_MIN,
        coins=len(symbols),
    )


ENDPOINTS = (
    Endpoint(
        path="/api/analytics",
        summary="Statistics of all traders",
        query=NoQuery,
        answer=Analytics,
        make=analytics,
        ttl_s=MEDIUM_S,
        topics=frozenset({ORDERS.name, DECISIONS.name}),
    ),
    Endpoint(
        path="/api/analytics/{modelId}",
        summary="Statistics of one trader",
        query=OneQuery,
        answer=OneAnalytics,
        make=one,
        ttl_s=MEDIUM_S,
        topics=frozenset({ORDERS.name, DECISIONS.name}),
    ),
)
