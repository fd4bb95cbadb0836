"""Backtests that were recorded."""

from __future__ import annotations

from typing import Annotated

import msgspec
from aiohttp import web
from msgspec import Meta

from api.endpoint import SHORT_S, Endpoint, Id, Sources
from engine.journal.views_market import BacktestDetail, BacktestRow


class BacktestsQuery(msgspec.Struct, frozen=True, kw_only=True):
    limit: Annotated[int, Meta(ge=1, le=1000)] = 100


class BacktestQuery(msgspec.Struct, frozen=True, kw_only=True):
    run_id: Id = msgspec.field(name="id")


class Backtests(msgspec.Struct, frozen=True, kw_only=True):
    backtests: list[BacktestRow]
    serverTime: int


async def backtests(sources: Sources, query: BacktestsQuery) -> Backtests:
    rows = await sources.reader.backtests(query.limit)
    return Backtests(backtests=rows, serverTime=sources.server_time())


async def backtest(sources: Sources, query: BacktestQuery) -> BacktestDetail:
    found = await sources.reader.backtest(query.run_id)
    if found is None:
        raise web.HTTPNotFound(reason="There is no such backtest")
    return found


ENDPOINTS = (
    Endpoint(
        path="/api/backtests",
        summary="Recorded backtests, newest first",
        query=BacktestsQuery,
        answer=Backtests,
        make=backtests,
        ttl_s=SHORT_S,
    ),
    Endpoint(
        path="/api/backtests/{id}",
        summary="A recorded backtest with its configuration and curves",
        query=BacktestQuery,
        answer=BacktestDetail,
        make=backtest,
        ttl_s=SHORT_S,
    ),
)
