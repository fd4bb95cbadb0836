"""FastAPI and uvicorn with the same answers: ready bytes, and pages from the database typed by pydantic.

`python -m bench.fastapi_peer PORT CPU`. Written as FastAPI's documentation does it: a pool of asyncpg, a
model for the answer, one query a request, and uvicorn with uvloop and httptools where they are installed.
"""

from __future__ import annotations

import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated

import asyncpg
import uvicorn
from fastapi import FastAPI, Query, Request, Response
from pydantic import BaseModel

from bench.serving import JSON, READERS, bodies, reader_dsn

_SECONDS = "({} / 1000)::float8 / 1e6 as timestamp"
_FILLS = f"""
select seq, fill_id, client_order_id, venue_order_id, trader_id, account_id, symbol, side, position_side,
       purpose, contracts, price, contract_value, fee, maker, {_SECONDS.format("ts_event")}
from trader_fills where seq < $1 order by seq desc limit $2"""  # noqa: S608 - constants only
_SIGNALS = f"""
select seq, signal_id, symbol, detector, feature, timeframe, edge, value, threshold, release, score, price,
       {_SECONDS.format("ts_event")}
from signals where seq < $1 order by seq desc limit $2"""  # noqa: S608 - constants only
_CANDLES = """
select ts_open / 1000000 as timestamp, open, high, low, close, volume from klines
where symbol = $1 and timeframe = $2 and ts_open < $3::bigint * 1000000 order by ts_open desc limit $4"""


class Fill(BaseModel):
    seq: int
    fill_id: str
    client_order_id: str
    venue_order_id: str
    trader_id: str
    account_id: str
    symbol: str
    side: str
    position_side: str
    purpose: str
    contracts: float
    price: float
    contract_value: float
    fee: float
    maker: bool
    timestamp: float


class Fills(BaseModel):
    fills: list[Fill]
    nextBefore: int | None


class Signal(BaseModel):
    seq: int
    signal_id: str
    symbol: str
    detector: str
    feature: str
    timeframe: str
    edge: str
    value: float
    threshold: float
    release: float
    score: float
    price: float | None
    timestamp: float


class Signals(BaseModel):
    signals: list[Signal]
    nextBefore: int | None


class Candle(BaseModel):
    timestamp: int
    open: float
    high: float
    low: float
    close: float
    volume: float


class Candles(BaseModel):
    symbol: str
    timeframe: str
    candles: list[Candle]
    nextBefore: int | None


Limit = Annotated[int, Query(ge=1, le=1000)]


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    async with asyncpg.create_pool(reader_dsn(), min_size=READERS, max_size=READERS) as pool:
        app.state.pool = pool
        yield


app = FastAPI(lifespan=_lifespan)
_ready = bodies()


@app.get("/api/fills")
async def fills(request: Request, before: int, limit: Limit = 100) -> Fills:
    rows = [dict(row) for row in await request.app.state.pool.fetch(_FILLS, before, limit)]
    return Fills.model_validate(
        {"fills": rows, "nextBefore": rows[-1]["seq"] if len(rows) == limit else None}
    )


@app.get("/api/signals")
async def signals(request: Request, before: int, limit: Limit = 100) -> Signals:
    rows = [dict(row) for row in await request.app.state.pool.fetch(_SIGNALS, before, limit)]
    return Signals.model_validate(
        {"signals": rows, "nextBefore": rows[-1]["seq"] if len(rows) == limit else None}
    )


@app.get("/api/market/candles")
async def candles(
    request: Request, symbol: str, before: int, timeframe: str = "1m", limit: Limit = 500
) -> Candles:
    found = await request.app.state.pool.fetch(_CANDLES, symbol, timeframe, before, limit)
    rows = [dict(row) for row in reversed(found)]
    more = rows[0]["timestamp"] if len(rows) == limit else None
    return Candles.model_validate(
        {"symbol": symbol, "timeframe": timeframe, "candles": rows, "nextBefore": more}
    )


@app.get("/ready/{path:path}")
async def ready(path: str) -> Response:
    return Response(_ready[path], media_type=JSON)


if __name__ == "__main__":
    os.sched_setaffinity(0, {int(sys.argv[2])})
    uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[1]), log_level="error", access_log=False)
