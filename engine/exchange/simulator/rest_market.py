"""Public and market endpoints: query in, rows out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from engine.core.instruments import coin
from engine.core.times import NS_PER_MS, timeframe_ns
from engine.exchange.matching.types import VenueRefusal
from engine.exchange.simulator import wire
from engine.exchange.simulator.pushes import CANDLES
from engine.exchange.simulator.venue import Venue
from engine.exchange.simulator.world import FUNDING_NS

Query = Mapping[str, str]
Rows = list[Any]
_BARS: Final = {channel.removeprefix("candle"): name for channel, name in CANDLES.items()}


def time(venue: Venue, query: Query) -> Rows:
    return [{"ts": wire.ms(venue.now())}]


def instruments(venue: Venue, query: Query) -> Rows:
    if query.get("instType", "SWAP") != "SWAP":
        return []
    wanted = query.get("instId")
    rows = [wire.instrument(each, code) for each, code in venue.instruments()]
    if wanted and not any(row["instId"] == wanted for row in rows):
        raise VenueRefusal("51001", f"Instrument ID {wanted} doesn't exist.")
    return [row for row in rows if wanted in {None, row["instId"]}]


def _symbols(venue: Venue, query: Query) -> list[str]:
    symbol = query.get("instId")
    if symbol:
        venue.quote(symbol)
        return [symbol]
    return list(venue.world.quotes)


def tickers(venue: Venue, query: Query) -> Rows:
    return [
        wire.ticker(
            venue.quote(symbol),
            venue.world.core.instrument(symbol),
            venue.world.bars.day(symbol, venue.now()),
        )
        for symbol in _symbols(venue, query)
    ]


def ticker(venue: Venue, query: Query) -> Rows:
    return tickers(venue, {"instId": _needed(query, "instId")})


def books(venue: Venue, query: Query) -> Rows:
    quote = venue.quote(_needed(query, "instId"))
    depth = min(400, max(1, int(query.get("sz") or 1)))
    return [venue.hub.book(quote, depth)]


def candles(venue: Venue, query: Query) -> Rows:
    """Newest first; the forming bar first of all. `after` older than, `before` newer than, exclusive."""
    symbol, bar = _needed(query, "instId"), query.get("bar") or "1m"
    if bar not in _BARS:
        raise VenueRefusal("51000", "Parameter bar error")
    listed = venue.world.core.instrument(symbol)
    bars = venue.world.bars.bars(symbol, timeframe_ns(_BARS[bar]))
    if after := query.get("after"):
        bars = [each for each in bars if each[0].ts_open < int(after) * NS_PER_MS]
    if before := query.get("before"):
        bars = [each for each in bars if each[0].ts_open > int(before) * NS_PER_MS]
    newest = bars[::-1][: min(300, int(query.get("limit") or 100))]
    return [wire.candle(each, listed, closed=closed) for each, closed in newest]


def history_candles(venue: Venue, query: Query) -> Rows:
    """As candles, without the forming bar."""
    return [row for row in candles(venue, query) if row[-1] == "1"]


def trades(venue: Venue, query: Query) -> Rows:
    quote = venue.quote(_needed(query, "instId"))
    return [wire.trade(quote, quote.ts // 10_000)]


def mark_price(venue: Venue, query: Query) -> Rows:
    return [
        {
            "instId": symbol,
            "instType": "SWAP",
            "markPx": wire.num(venue.quote(symbol).mark),
            "ts": wire.ms(venue.quote(symbol).ts),
        }
        for symbol in _symbols(venue, query)
    ]


def index_tickers(venue: Venue, query: Query) -> Rows:
    named = query.get("instId")
    symbols = [f"{named}-SWAP"] if named else list(venue.world.quotes)
    return [wire.index_ticker(venue.quote(each), venue.world.bars.day(each, venue.now())) for each in symbols]


def funding_rate(venue: Venue, query: Query) -> Rows:
    quote = venue.quote(_needed(query, "instId"))
    return [wire.funding(quote, venue.world.next_funding, FUNDING_NS)]


def funding_rate_history(venue: Venue, query: Query) -> Rows:
    """What was charged, newest first, as far back as the longest-lived bill remembers."""
    symbol = _needed(query, "instId")
    quote = venue.quote(symbol)
    seen: dict[int, str] = {}
    for account in venue.world.core.accounts():
        for bill in venue.world.core.bills(account):
            if bill.symbol == symbol and bill.bill_type == "funding":
                seen.setdefault(bill.ts, wire.num(quote.funding_rate))
    limit = int(query.get("limit") or 100)
    return [
        {
            "instId": symbol,
            "instType": "SWAP",
            "fundingRate": rate,
            "realizedRate": rate,
            "fundingTime": wire.ms(ts),
            "method": "current_period",
            "formulaType": "noRate",
        }
        for ts, rate in sorted(seen.items(), reverse=True)[:limit]
    ]


def open_interest(venue: Venue, query: Query) -> Rows:
    return [
        wire.open_interest(venue.quote(symbol), venue.world.core.instrument(symbol))
        for symbol in _symbols(venue, query)
    ]


def price_limit(venue: Venue, query: Query) -> Rows:
    symbol = _needed(query, "instId")
    limits = venue.world.core.price_limits(symbol)
    buy, sell = limits if limits else (None, None)
    row = {"buyLmt": wire.num(buy), "sellLmt": wire.num(sell), "enabled": limits is not None}
    return [{"instId": symbol, "instType": "SWAP", "ts": wire.ms(venue.now()), **row}]


def status(venue: Venue, query: Query) -> Rows:
    return []


def currencies(venue: Venue, query: Query) -> Rows:
    coins = ["USDT", *(coin(each.instrument.symbol) for each in venue.world.source.listings)]
    return [{"ccy": each, "name": each, "chain": each, "canDep": False, "canWd": False} for each in coins]


def _needed(query: Query, key: str) -> str:
    value = query.get(key)
    if not value:
        raise VenueRefusal("50014", f"Parameter {key} can not be empty")
    return value


ROUTES: Final[dict[str, Callable[[Venue, Query], Rows]]] = {
    "public/time": time,
    "public/instruments": instruments,
    "public/mark-price": mark_price,
    "public/funding-rate": funding_rate,
    "public/funding-rate-history": funding_rate_history,
    "public/open-interest": open_interest,
    "public/price-limit": price_limit,
    "market/ticker": ticker,
    "market/tickers": tickers,
    "market/books": books,
    "market/candles": candles,
    "market/history-candles": history_candles,
    "market/trades": trades,
    "market/index-tickers": index_tickers,
    "system/status": status,
}
