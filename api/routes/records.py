"""The journal's rows as they are: signals, decisions, orders, fills, alarms, and how they hang together."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import msgspec
from aiohttp import web

from api.endpoint import LONG_S, SHORT_S, Endpoint, Id, NoQuery, RowsQuery, Sources
from api.views import seconds
from engine.bus import CLOSED_CYCLES, COMMANDS, ORDERS, SIGNALS, WAKEUPS
from engine.journal.views import JsonRows, TraderRow
from engine.journal.views_market import WakeupRow
from engine.journal.views_records import CycleChain, DecisionRow, FillRow, OrderRow, RiskEventRow, SignalRow


class _Rows(msgspec.Struct, frozen=True, kw_only=True):
    serverTime: int
    nextBefore: int | None  # pass back as `before` for the next page; null on the last one


class SignalRows(_Rows, frozen=True, kw_only=True):
    signals: list[SignalRow]


class WakeupRows(_Rows, frozen=True, kw_only=True):
    wakeups: list[WakeupRow]


class DecisionRows(_Rows, frozen=True, kw_only=True):
    decisions: list[DecisionRow]


class OrderRows(_Rows, frozen=True, kw_only=True):
    orders: list[OrderRow]


class FillRows(_Rows, frozen=True, kw_only=True):
    fills: list[FillRow]


class RiskEventRows(_Rows, frozen=True, kw_only=True):
    riskEvents: list[RiskEventRow]


class TraderShown(msgspec.Struct, frozen=True, kw_only=True):
    """A configured trader; `inception_date` is when its capital came in, else when it was configured."""

    trader_id: str
    name: str
    kind: str
    model: str
    account_id: str
    config: dict[str, Any]  # as configured, without secrets
    capital: Decimal
    inception_date: float
    invocations: int


class TraderRows(msgspec.Struct, frozen=True, kw_only=True):
    traders: list[TraderShown]
    serverTime: int


class CycleQuery(msgspec.Struct, frozen=True, kw_only=True):
    cycle_id: Id = msgspec.field(name="id")


Body = dict[str, object]


def _page(name: str, rows: JsonRows, sources: Sources, query: RowsQuery) -> Body:
    """A page as the endpoint's answer has it: a _Rows whose rows are JSON already."""
    following = rows.last if rows.count == query.limit else None
    return {"serverTime": sources.server_time(), "nextBefore": following, name: rows.json}


async def signals(sources: Sources, query: RowsQuery) -> Body:
    return _page("signals", await sources.reader.signals(query.page()), sources, query)


async def wakeups(sources: Sources, query: RowsQuery) -> WakeupRows:
    rows = await sources.reader.wakeups(query.page())
    following = rows[-1].seq if len(rows) == query.limit else None
    return WakeupRows(wakeups=rows, serverTime=sources.server_time(), nextBefore=following)


async def decisions(sources: Sources, query: RowsQuery) -> DecisionRows:
    rows = await sources.reader.decisions(query.page())
    following = rows[-1].seq if len(rows) == query.limit else None
    return DecisionRows(decisions=rows, serverTime=sources.server_time(), nextBefore=following)


async def orders(sources: Sources, query: RowsQuery) -> Body:
    return _page("orders", await sources.reader.orders(query.page()), sources, query)


async def fills(sources: Sources, query: RowsQuery) -> Body:
    return _page("fills", await sources.reader.fills(query.page()), sources, query)


async def risk_events(sources: Sources, query: RowsQuery) -> Body:
    return _page("riskEvents", await sources.reader.risk_events(query.page()), sources, query)


async def traders(sources: Sources, _: NoQuery) -> TraderRows:
    rows = await sources.reader.traders()
    return TraderRows(traders=[_shown(row) for row in rows], serverTime=sources.server_time())


def _shown(row: TraderRow) -> TraderShown:
    return TraderShown(
        trader_id=row.trader_id,
        name=row.name,
        kind=row.kind,
        model=row.model,
        account_id=row.account_id,
        config=row.config,
        capital=row.capital,
        inception_date=seconds(row.ts_inception),
        invocations=row.invocations,
    )


async def cycle(sources: Sources, query: CycleQuery) -> CycleChain:
    found = await sources.reader.chain(query.cycle_id)
    if found is None:
        raise web.HTTPNotFound(reason="There is no such cycle")
    return found


ENDPOINTS = (
    Endpoint(
        path="/api/signals",
        summary="Signals, newest first",
        query=RowsQuery,
        answer=SignalRows,
        make=signals,
        ttl_s=SHORT_S,
        topics=frozenset({SIGNALS.name}),
    ),
    Endpoint(
        path="/api/wakeups",
        summary="Wakeups with their reasons, newest first",
        query=RowsQuery,
        answer=WakeupRows,
        make=wakeups,
        ttl_s=SHORT_S,
        topics=frozenset({WAKEUPS.name, CLOSED_CYCLES.name}),
    ),
    Endpoint(
        path="/api/decisions",
        summary="Decision cycles, newest first",
        query=RowsQuery,
        answer=DecisionRows,
        make=decisions,
        ttl_s=SHORT_S,
        topics=frozenset({WAKEUPS.name, CLOSED_CYCLES.name}),
    ),
    Endpoint(
        path="/api/orders",
        summary="Orders, newest first",
        query=RowsQuery,
        answer=OrderRows,
        make=orders,
        ttl_s=SHORT_S,
        topics=frozenset({ORDERS.name}),
    ),
    Endpoint(
        path="/api/fills",
        summary="Executions, newest first",
        query=RowsQuery,
        answer=FillRows,
        make=fills,
        ttl_s=SHORT_S,
        topics=frozenset({ORDERS.name}),
    ),
    Endpoint(
        path="/api/risk-events",
        summary="Breakers and alarms, newest first",
        query=RowsQuery,
        answer=RiskEventRows,
        make=risk_events,
        ttl_s=SHORT_S,
        topics=frozenset({ORDERS.name, COMMANDS.name}),
    ),
    Endpoint(
        path="/api/traders",
        summary="The traders and their configuration",
        query=NoQuery,
        answer=TraderRows,
        make=traders,
        ttl_s=LONG_S,
    ),
    Endpoint(
        path="/api/cycles/{id}",
        summary="One decision, from the signals that woke it to the cents it made",
        query=CycleQuery,
        answer=CycleChain,
        make=cycle,
        ttl_s=SHORT_S,
        topics=frozenset({WAKEUPS.name, CLOSED_CYCLES.name, ORDERS.name}),
    ),
)
