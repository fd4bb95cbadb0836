"""Prices, funding and candles: from Redis what is live, from the journal what has closed."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from api.cache import Price
from api.endpoint import SHORT_S, Endpoint, NoQuery, Sources
from api.http import bad_query
from api.views import millis
from engine.config.market import Timeframe
from engine.core.errors import ConfigError
from engine.core.instruments import coin, venue_symbol
from engine.core.times import NS_PER_MS, timeframe_ns
from engine.journal.views_market import CandleRow

NEWEST_MS = 1 << 43  # a time before which everything is
_SYMBOL = r"[A-Za-z0-9]{1,16}([-/_][A-Za-z0-9]{1,8})?(:[A-Za-z0-9]{1,8})?(-(SWAP|swap))?"
Symbol = Annotated[str, Meta(pattern=f"^{_SYMBOL}$", description="BTC, BTC/USDT:USDT or BTC-USDT-SWAP.")]
SymbolOrAll = Annotated[str, Meta(pattern=f"^({_SYMBOL})?$", description="This market only.")]
BeforeMs = Annotated[int, Meta(ge=0, le=NEWEST_MS, description="Only what came before this time, ms.")]


class CryptoPrices(msgspec.Struct, frozen=True, kw_only=True):
    prices: dict[str, Price]
    serverTime: int


class CandlesQuery(msgspec.Struct, frozen=True, kw_only=True):
    symbol: Symbol
    timeframe: Timeframe = "1m"
    limit: Annotated[int, Meta(ge=1, le=5000, description="At most so many candles.")] = 500
    before: BeforeMs = NEWEST_MS


class Candles(msgspec.Struct, frozen=True, kw_only=True):
    """Closed candles, oldest first; pass `nextBefore` back as `before` for the page before."""

    symbol: str
    timeframe: str
    candles: list[CandleRow]
    nextBefore: int | None
    serverTime: int


class SymbolQuery(msgspec.Struct, frozen=True, kw_only=True):
    symbol: SymbolOrAll = ""


class Funding(msgspec.Struct, frozen=True, kw_only=True):
    """`rate` is charged at `timestamp` (ms), a fraction of notional; null while it is not known."""

    symbol: str
    rate: float | None
    timestamp: int | None
    seen: int | None


class FundingRates(msgspec.Struct, frozen=True, kw_only=True):
    funding: list[Funding]
    serverTime: int


class Coverage(msgspec.Struct, frozen=True, kw_only=True):
    """What there is of one timeframe; `missing` candles between the first and the last (ms)."""

    timeframe: str
    first: int
    last: int
    count: int
    missing: int


class Coverages(msgspec.Struct, frozen=True, kw_only=True):
    symbol: str
    coverage: list[Coverage]
    serverTime: int


class CoverageQuery(msgspec.Struct, frozen=True, kw_only=True):
    symbol: Symbol
    timeframe: Annotated[str, Meta(max_length=4, description="This one only.")] = ""


class IntegrityQuery(msgspec.Struct, frozen=True, kw_only=True):
    symbol: SymbolOrAll = ""
    limit: Annotated[int, Meta(ge=1, le=1000)] = 100
    before: BeforeMs = NEWEST_MS


class IntegrityEvent(msgspec.Struct, frozen=True, kw_only=True):
    """A gap, duplicate or repair of candles from `first` to `last`, noted at `timestamp` (ms)."""

    symbol: str
    timeframe: str
    kind: str
    first: int
    last: int
    timestamp: int


class IntegrityEvents(msgspec.Struct, frozen=True, kw_only=True):
    events: list[IntegrityEvent]
    nextBefore: int | None
    serverTime: int


async def live_prices(sources: Sources) -> dict[str, Price]:
    """Newest price by coin. Raises StoreUnavailable when Redis has none and Postgres is away."""
    live = await sources.cache.prices()
    if live:
        return live
    closes = await sources.reader.last_closes()
    return {
        coin(symbol): Price(symbol=coin(symbol), price=close, timestamp=millis(ts))
        for symbol, (close, ts) in closes.items()
    }


async def crypto_prices(sources: Sources, _: NoQuery) -> CryptoPrices:
    prices = await live_prices(sources)
    return CryptoPrices(prices=dict(sorted(prices.items())), serverTime=sources.server_time())


async def candles(sources: Sources, query: CandlesQuery) -> Candles:
    symbol = symbol_of(query.symbol)
    rows = await sources.reader.candles(symbol, query.timeframe, query.before * NS_PER_MS, query.limit)
    return Candles(
        symbol=symbol,
        timeframe=query.timeframe,
        candles=rows,
        nextBefore=rows[0].timestamp if len(rows) == query.limit else None,
        serverTime=sources.server_time(),
    )


async def funding(sources: Sources, query: SymbolQuery) -> FundingRates:
    """Empty while Redis is away: the journal has charges, not rates."""
    wanted = symbol_of(query.symbol) if query.symbol else ""
    symbols = [wanted] if wanted else [f"{name}-USDT-SWAP" for name in sorted(await live_prices(sources))]
    snapshots = await sources.cache.snapshots(symbols)
    found = [
        Funding(
            symbol=each.symbol,
            rate=each.funding_rate,
            timestamp=millis(each.ts_funding) if each.ts_funding else None,
            seen=millis(each.ts_funding_seen) if each.ts_funding_seen else None,
        )
        for each in snapshots
    ]
    return FundingRates(funding=found, serverTime=sources.server_time())


async def coverage(sources: Sources, query: CoverageQuery) -> Coverages:
    symbol = symbol_of(query.symbol)
    rows = await sources.reader.coverage(symbol, query.timeframe)
    found = [
        Coverage(
            timeframe=row.timeframe,
            first=millis(row.ts_first),
            last=millis(row.ts_last),
            count=row.count,
            missing=(row.ts_last - row.ts_first) // timeframe_ns(row.timeframe) + 1 - row.count,
        )
        for row in rows
    ]
    return Coverages(symbol=symbol, coverage=found, serverTime=sources.server_time())


async def integrity_events(sources: Sources, query: IntegrityQuery) -> IntegrityEvents:
    symbol = symbol_of(query.symbol) if query.symbol else ""
    rows = await sources.reader.integrity_events(symbol, query.before * NS_PER_MS, query.limit)
    found = [
        IntegrityEvent(
            symbol=row.symbol,
            timeframe=row.timeframe,
            kind=row.kind,
            first=millis(row.ts_from),
            last=millis(row.ts_to),
            timestamp=millis(row.ts),
        )
        for row in rows
    ]
    return IntegrityEvents(
        events=found,
        nextBefore=found[-1].timestamp if len(found) == query.limit else None,
        serverTime=sources.server_time(),
    )


def symbol_of(text: str) -> str:
    """The venue's id. Raises HTTPBadRequest for what names no swap."""
    try:
        return venue_symbol(text)
    except ConfigError as error:
        raise bad_query(str(error)) from error


ENDPOINTS = (
    Endpoint(
        path="/api/crypto-prices",
        summary="Newest price of each coin",
        query=NoQuery,
        answer=CryptoPrices,
        make=crypto_prices,
    ),
    Endpoint(
        path="/api/market/prices",
        summary="Newest price of each coin",
        query=NoQuery,
        answer=CryptoPrices,
        make=crypto_prices,
    ),
    Endpoint(
        path="/api/market/candles",
        summary="Closed candles of a market, oldest first",
        query=CandlesQuery,
        answer=Candles,
        make=candles,
        ttl_s=SHORT_S,
    ),
    Endpoint(
        path="/api/market/funding",
        summary="The coming funding rates",
        query=SymbolQuery,
        answer=FundingRates,
        make=funding,
    ),
    Endpoint(
        path="/api/data-health/coverage",
        summary="Which candles of a market there are",
        query=CoverageQuery,
        answer=Coverages,
        make=coverage,
        ttl_s=SHORT_S,
    ),
    Endpoint(
        path="/api/data-health/integrity-events",
        summary="Gaps, duplicates and repairs of candles, newest first",
        query=IntegrityQuery,
        answer=IntegrityEvents,
        make=integrity_events,
        ttl_s=SHORT_S,
    ),
)
