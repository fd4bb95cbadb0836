"""Public and market endpoints: query in, rows out."""

from __future__ import annotations

from collections.abc import Callable
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from typing import Final

from engine.core.instruments import coin
from engine.core.times import NS_PER_DAY, NS_PER_MS
from engine.exchange.matching.options import TIERS
from engine.exchange.matching.types import VenueRefusal
from engine.exchange.simulator import parse, slow_figures
from engine.exchange.simulator import wire_market as wire
from engine.exchange.simulator.candles import PERIODS
from engine.exchange.simulator.paging import Paged, Query, Rows, limit_of, needed, page, whole
from engine.exchange.simulator.past import Bar
from engine.exchange.simulator.text import ms, num
from engine.exchange.simulator.universe import LISTINGS
from engine.exchange.simulator.venue import Venue
from engine.exchange.simulator.world import FUNDING_NS, FundingCharge

_TRADES: Final = Paged((), "tradeId", before_is_near=False)
_FUNDING: Final = Paged((), "fundingTime", before_is_near=False)
_FUNDING_PAST_NS: Final = 90 * NS_PER_DAY
_KINDS: Final = frozenset(["SPOT", "MARGIN", "SWAP", "FUTURES", "OPTION", "EVENTS"])


def time(venue: Venue, query: Query) -> Rows:
    return [{"ts": ms(venue.told_ns())}]


def instruments(venue: Venue, query: Query) -> Rows:
    """All swaps; the venue has other kinds of instruments, the simulator lists none of them."""
    kind, wanted = needed(query, "instType"), query.get("instId")
    if kind not in _KINDS:
        raise VenueRefusal("51000", "Parameter instType error")
    if kind != "SWAP":
        return []
    rows = [wire.instrument(each, code) for each, code in venue.instruments()]
    if wanted and not any(row["instId"] == wanted for row in rows):
        raise VenueRefusal("51001", f"Instrument ID {wanted} doesn't exist.")
    family = query.get("instFamily") or query.get("uly")
    return [r for r in rows if wanted in {None, "", r["instId"]} and family in {None, "", r["instFamily"]}]


def _symbols(venue: Venue, query: Query) -> list[str]:
    if query.get("instType", "SWAP") != "SWAP":
        return []
    symbol = query.get("instId")
    if symbol:
        venue.quote(symbol)
        return [symbol]
    family = query.get("instFamily") or query.get("uly")
    return [each for each in venue.world.quotes if family in {None, "", each.removesuffix("-SWAP")}]


def tickers(venue: Venue, query: Query) -> Rows:
    core, bars, now = venue.world.core, venue.world.bars, venue.now()
    return [
        wire.ticker(venue.quote(each), core.instrument(each), bars.day(each, now))
        for each in _symbols(venue, query)
    ]


def ticker(venue: Venue, query: Query) -> Rows:
    return tickers(venue, {"instId": needed(query, "instId")})


def books(venue: Venue, query: Query) -> Rows:
    quote = venue.quote(needed(query, "instId"))
    depth = min(400, max(1, whole(query, "sz") or 1))
    return [venue.hub.market.book_row(quote, depth)]


def books_full(venue: Venue, query: Query) -> Rows:
    """As books, with rows of three: price, size, number of orders."""
    quote = venue.quote(needed(query, "instId"))
    row = venue.hub.market.book_row(quote, max(1, whole(query, "sz") or 1))
    sides = {side: [[price, size, count] for price, size, _, count in row[side]] for side in ("asks", "bids")}
    return [sides | {"ts": row["ts"]}]


def books_rpi(venue: Venue, query: Query) -> Rows:
    """As books, with how much of a level is not of retail price improvement: all of it."""
    (row,) = books(venue, query)
    sides = {side: [[px, size, size, count] for px, size, _, count in row[side]] for side in ("asks", "bids")}
    return [row | sides]


# -- bars


def candles(venue: Venue, query: Query) -> Rows:
    """Newest first; the forming bar first of all."""
    symbol = needed(query, "instId")
    listed = venue.world.core.instrument(symbol)
    chosen = _bars(venue, symbol, query, most=300)
    return [wire.candle(each, listed, closed=closed) for each, closed in chosen]


def history_candles(venue: Venue, query: Query) -> Rows:
    """As candles, without the forming bar; and bars of one second, which only this endpoint has."""
    if query.get("bar") != "1s":
        return [row for row in candles(venue, query) if row[-1] == "1"]
    symbol = needed(query, "instId")
    listed = venue.world.core.instrument(symbol)
    seconds = [(bar, True) for bar in venue.world.seconds.closed(symbol)]
    return [wire.candle(bar, listed, closed=True) for bar, _ in _page(seconds, query, most=300)]


def price_candles(venue: Venue, query: Query) -> Rows:
    """Mark and index bars. They are made of the last prices, from which the mark is never far."""
    name = needed(query, "instId")
    symbol = name if name.endswith("-SWAP") else f"{name}-SWAP"
    venue.world.core.instrument(symbol)
    return [wire.price_candle(bar, closed=closed) for bar, closed in _bars(venue, symbol, query, most=100)]


def price_history(venue: Venue, query: Query) -> Rows:
    """As price_candles, without the forming bar."""
    return [row for row in price_candles(venue, query) if row[-1] == "1"]


def _bars(venue: Venue, symbol: str, query: Query, most: int) -> list[tuple[Bar, bool]]:
    name = query.get("bar") or "1m"
    if name not in PERIODS:
        raise VenueRefusal("51000", "Parameter bar error")
    return _page(venue.world.bars.bars(symbol, PERIODS[name]), query, most)


def _page(bars: list[tuple[Bar, bool]], query: Query, most: int) -> list[tuple[Bar, bool]]:
    after, before = whole(query, "after"), whole(query, "before")
    if after is not None:
        bars = [each for each in bars if each[0].ts_open < after * NS_PER_MS]
    if before is not None:
        bars = [each for each in bars if each[0].ts_open > before * NS_PER_MS]
    return bars[::-1][: limit_of(query, 100, most)]


# -- trades, prices, funding


def trades(venue: Venue, query: Query) -> Rows:
    """The newest prints."""
    symbol = needed(query, "instId")
    venue.quote(symbol)
    prints = venue.world.tape.newest_first(symbol)[: limit_of(query, 100, 500)]
    return [wire.trade(symbol, made) for made in prints]


def history_trades(venue: Venue, query: Query) -> Rows:
    symbol = needed(query, "instId")
    venue.quote(symbol)
    rows = [wire.trade(symbol, made) for made in venue.world.tape.newest_first(symbol)]
    if query.get("type") == "2":
        if query.get("before"):
            raise VenueRefusal("50039", "Before parameter is not available for type=2")
        return page(rows, query, Paged((), "ts"))
    return page(rows, query, _TRADES)


def mark_price(venue: Venue, query: Query) -> Rows:
    return [wire.mark_price(venue.quote(each), venue.now()) for each in _symbols(venue, query)]


def index_tickers(venue: Venue, query: Query) -> Rows:
    named, now = query.get("instId"), venue.now()
    symbols = [f"{named}-SWAP"] if named else list(venue.world.quotes)
    return [wire.index_ticker(venue.quote(s), venue.world.bars.day(s, now), now) for s in symbols]


def funding_rate(venue: Venue, query: Query) -> Rows:
    symbol = needed(query, "instId")
    wanted = list(venue.world.quotes) if symbol == "ANY" else [symbol]
    due = venue.world.next_funding
    return [wire.funding(venue.quote(each), due, FUNDING_NS, venue.now()) for each in wanted]


def funding_rate_history(venue: Venue, query: Query) -> Rows:
    """What was charged, newest first; before the simulator began, what may have been."""
    symbol = needed(query, "instId")
    venue.quote(symbol)
    charged = venue.world.funding.get(symbol, [])
    first = charged[0].ts if charged else venue.world.next_funding
    earlier = range(first - FUNDING_NS, first - _FUNDING_PAST_NS, -FUNDING_NS)
    made_up = [FundingCharge(ts, slow_figures.funding_rate(LISTINGS[symbol], ts)) for ts in earlier]
    rows = [
        {
            "instId": symbol,
            "instType": "SWAP",
            "fundingRate": num(charge.rate),
            "realizedRate": num(charge.rate),
            "fundingTime": ms(charge.ts),
            "method": "current_period",
            "formulaType": "noRate",
        }
        for charge in (*reversed(charged), *made_up)
    ]
    return page(rows, query, _FUNDING)


def open_interest(venue: Venue, query: Query) -> Rows:
    core = venue.world.core
    return [
        wire.open_interest(venue.quote(each), core.instrument(each), venue.now())
        for each in _symbols(venue, query)
    ]


def price_limit(venue: Venue, query: Query) -> Rows:
    symbol = needed(query, "instId")
    return [wire.price_limit(symbol, venue.world.core.price_limits(symbol), venue.now())]


# -- rules


def position_tiers(venue: Venue, query: Query) -> Rows:
    """The tiers of the core, whose bounds are dollars, in contracts at the current mark."""
    needed(query, "tdMode")
    if needed(query, "instType") != "SWAP":
        return []
    rows: Rows = []
    for family in needed(query, "instFamily" if query.get("instFamily") else "uly").split(","):
        symbol = f"{family}-SWAP"
        listed, mark, least = venue.world.core.instrument(symbol), venue.quote(symbol).mark, Decimal(0)
        for number, tier in enumerate(TIERS, 1):
            worth = Decimal(10**12) if tier.max_notional is None else tier.max_notional
            most = listed.contracts_for_notional(worth, mark)
            rows.append(
                {
                    "uly": family,
                    "instFamily": family,
                    "instId": "",
                    "tier": str(number),
                    "minSz": num(least),
                    "maxSz": num(most),
                    "mmr": num(tier.maintenance_rate),
                    "imr": num((1 / tier.max_leverage).quantize(Decimal("0.0001"))),
                    "maxLever": num(min(tier.max_leverage, listed.max_leverage)),
                    "optMgnFactor": "0",
                    "quoteMaxLoan": "",
                    "baseMaxLoan": "",
                }
            )
            least = most + listed.lot_size
    return rows


def convert(venue: Venue, query: Query) -> Rows:
    """Coins or dollars into contracts (type 1, the default) and back (type 2)."""
    symbol, kind, unit = needed(query, "instId"), query.get("type") or "1", query.get("unit") or "coin"
    listed, size = venue.world.core.instrument(symbol), parse.number(query, "sz")
    price = parse.optional(query, "px") or venue.quote(symbol).price
    value = listed.contract_value * (price if unit == "usds" else 1)
    if kind == "2":
        result = size * value
    else:
        rounding = ROUND_CEILING if query.get("opType") == "open" else ROUND_FLOOR
        result = (size / value / listed.lot_size).to_integral_value(rounding) * listed.lot_size
    row = {"type": kind, "instId": symbol, "px": num(price), "sz": num(result), "unit": unit}
    return [row]


def currencies(venue: Venue, query: Query) -> Rows:
    coins = ["USDT", *(coin(each.instrument.symbol) for each in venue.world.source.listings)]
    return [{"ccy": each, "name": each, "chain": each, "canDep": False, "canWd": False} for each in coins]


ROUTES: Final[dict[str, Callable[[Venue, Query], Rows]]] = {
    "public/time": time,
    "public/instruments": instruments,
    "public/mark-price": mark_price,
    "public/funding-rate": funding_rate,
    "public/funding-rate-history": funding_rate_history,
    "public/open-interest": open_interest,
    "public/price-limit": price_limit,
    "public/position-tiers": position_tiers,
    "public/convert-contract-coin": convert,
    "market/ticker": ticker,
    "market/tickers": tickers,
    "market/books": books,
    "market/books-full": books_full,
    "market/books-lite": books,
    "market/books-rpi": books_rpi,
    "market/candles": candles,
    "market/history-candles": history_candles,
    "market/mark-price-candles": price_candles,
    "market/history-mark-price-candles": price_history,
    "market/index-candles": price_candles,
    "market/history-index-candles": price_history,
    "market/trades": trades,
    "market/history-trades": history_trades,
    "market/index-tickers": index_tickers,
}
