"""What a trader may know of a market right now: each value with its age, null where it is unknown."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from api.endpoint import Endpoint, Sources
from api.routes.market import SymbolQuery, live_prices, symbol_of
from api.views import millis
from engine.core.market import Levels
from engine.core.signals import MarketSnapshot, TimeframeView
from engine.core.times import NS_PER_S

Age = Annotated[float | None, Meta(description="Seconds since it was told; null: never.")]


class Known(msgspec.Struct, frozen=True, kw_only=True):
    value: float | None
    age: Age


class FrameNow(msgspec.Struct, frozen=True, kw_only=True):
    """Features of the newest closed candle, which ended `age` seconds ago; `forming` of the one after it."""

    timeframe: str
    age: float
    features: dict[str, float | None]
    forming: dict[str, float | None] | None


class Snapshot(msgspec.Struct, frozen=True, kw_only=True):
    """A market as of `timestamp` (ms). Ages run on: those of an engine that ended grow.

    Levels are [price, contracts], best first. `fundingRate` is charged at `fundingAt` (ms). `live` are the
    features between candles. `silent` are the channels and timeframes that wait for data.
    """

    symbol: str
    timestamp: int
    last: Known
    bid: Known
    ask: Known
    mark: Known
    index: Known
    reference: Known
    fundingRate: Known
    openInterest: Known
    highestBuy: Known
    lowestSell: Known
    volume24h: Known
    change24hPct: Known
    fundingAt: int | None
    bids: Levels
    asks: Levels
    bookAge: Age
    live: dict[str, Known]
    timeframes: list[FrameNow]
    silent: tuple[str, ...]


class Snapshots(msgspec.Struct, frozen=True, kw_only=True):
    snapshots: list[Snapshot]
    serverTime: int


async def snapshots(sources: Sources, query: SymbolQuery) -> Snapshots:
    """Empty while Redis is away: the journal has candles, not the moment."""
    wanted = symbol_of(query.symbol) if query.symbol else ""
    symbols = [wanted] if wanted else [f"{name}-USDT-SWAP" for name in sorted(await live_prices(sources))]
    now_ns = sources.clock.now_ns()
    found = [shown(each, now_ns) for each in await sources.cache.snapshots(symbols)]
    return Snapshots(snapshots=found, serverTime=millis(now_ns))


def shown(snapshot: MarketSnapshot, now_ns: int) -> Snapshot:
    """The snapshot with ages as of now."""

    def age(ts: int) -> float | None:
        return round((now_ns - ts) / NS_PER_S, 3) if ts else None

    def known(value: float | None, ts: int) -> Known:
        return Known(value=value, age=age(ts))

    def frame(view: TimeframeView) -> FrameNow:
        ended = round((now_ns - view.ts_close) / NS_PER_S, 3)
        return FrameNow(timeframe=view.timeframe, age=ended, features=view.features, forming=view.forming)

    return Snapshot(
        symbol=snapshot.symbol,
        timestamp=millis(snapshot.ts),
        last=known(snapshot.last, snapshot.ts_price),
        bid=known(snapshot.bid, snapshot.ts_quotes),
        ask=known(snapshot.ask, snapshot.ts_quotes),
        mark=known(snapshot.mark, snapshot.ts_mark),
        index=known(snapshot.index, snapshot.ts_index),
        reference=known(snapshot.reference_px, snapshot.ts_reference),
        fundingRate=known(snapshot.funding_rate, snapshot.ts_funding_seen),
        openInterest=known(snapshot.open_interest, snapshot.ts_open_interest),
        highestBuy=known(snapshot.highest_buy, snapshot.ts_limits),
        lowestSell=known(snapshot.lowest_sell, snapshot.ts_limits),
        volume24h=known(snapshot.volume_24h, snapshot.ts_24h),
        change24hPct=known(snapshot.change_24h_pct, snapshot.ts_24h),
        fundingAt=None if snapshot.ts_funding is None else millis(snapshot.ts_funding),
        bids=snapshot.bids,
        asks=snapshot.asks,
        bookAge=age(snapshot.ts_book),
        live={name: known(value, snapshot.ts_live.get(name, 0)) for name, value in snapshot.live.items()},
        timeframes=[frame(view) for view in snapshot.timeframes],
        silent=snapshot.stale,
    )


ENDPOINTS = (
    Endpoint(
        path="/api/market/snapshots",
        summary="What may be known of each market now, each value with its age",
        query=SymbolQuery,
        answer=Snapshots,
        make=snapshots,
    ),
)
