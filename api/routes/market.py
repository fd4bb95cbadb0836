"""Prices: from Redis while it is there, else the newest closes of the journal."""

from __future__ import annotations

import msgspec

from api.cache import Price
from api.endpoint import Endpoint, NoQuery, Sources
from api.views import millis
from engine.core.instruments import coin


class CryptoPrices(msgspec.Struct, frozen=True, kw_only=True):
    prices: dict[str, Price]
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


ENDPOINTS = (
    Endpoint(
        path="/api/crypto-prices",
        summary="Newest price of each coin",
        query=NoQuery,
        answer=CryptoPrices,
        make=crypto_prices,
    ),
)
