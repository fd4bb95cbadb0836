"""What the venue publishes about its markets besides prices: query in, rows out, newest first.

Taker volumes and long/short ratios are made of the bars, so that they belong to what the market did.
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Final

from engine.core.times import NS_PER_MS
from engine.exchange.matching.types import VenueRefusal
from engine.exchange.simulator.candles import PERIODS
from engine.exchange.simulator.paging import Query, Rows, limit_of, needed, whole
from engine.exchange.simulator.past import Bar
from engine.exchange.simulator.slow_figures import open_interest
from engine.exchange.simulator.text import Row, ms, num
from engine.exchange.simulator.universe import LISTINGS
from engine.exchange.simulator.venue import Venue

_MOST: Final = 100


def open_interest_history(venue: Venue, query: Query) -> Rows:
    """Contracts, coins and dollars at the end of each period."""
    symbol = needed(query, "instId")
    listed = venue.world.core.instrument(symbol)
    rows: Rows = []
    for bar in _window(venue, symbol, query):
        contracts = open_interest(LISTINGS[symbol], bar.ts_open)
        coins = listed.coins(contracts)
        rows.append([ms(bar.ts_open), num(contracts), num(coins), num(coins * bar.open)])
    return rows


def interest_and_volume(venue: Venue, query: Query) -> Rows:
    """Dollars of open interest and of volume, of a coin."""
    symbol = f"{needed(query, 'ccy')}-USDT-SWAP"
    listed = venue.world.core.instrument(symbol)
    return [
        [
            ms(bar.ts_open),
            num(listed.notional(open_interest(LISTINGS[symbol], bar.ts_open), bar.open)),
            num(listed.notional(bar.volume, bar.close)),
        ]
        for bar in _window(venue, symbol, query)
    ]


def ratio_of_contract(venue: Venue, query: Query) -> Rows:
    """Accounts that are long for each that is short: above 1 where the price rose."""
    return _ratios(venue, needed(query, "instId"), query)


def ratio_of_coin(venue: Venue, query: Query) -> Rows:
    return _ratios(venue, f"{needed(query, 'ccy')}-USDT-SWAP", query)


def _ratios(venue: Venue, symbol: str, query: Query) -> Rows:
    return [
        [ms(bar.ts_open), num((bar.close / bar.open).quantize(Decimal("0.0001")))]
        for bar in _window(venue, symbol, query)
    ]


def taker_volume(venue: Venue, query: Query) -> Rows:
    """Time, sold, bought: the part of a bar's volume that its direction says."""
    symbol = query.get("instId") or f"{needed(query, 'ccy')}-USDT-SWAP"
    rows: Rows = []
    for bar in _window(venue, symbol, query):
        span = bar.high - bar.low
        share = (bar.close - bar.low) / span if span else Decimal("0.5")
        bought = (bar.volume * share).quantize(Decimal("0.01"))
        rows.append([ms(bar.ts_open), num(bar.volume - bought), num(bought)])
    return rows


def _window(venue: Venue, symbol: str, query: Query) -> list[Bar]:
    """Bars of the asked period, newest first; `begin` and `end` in ms, exclusive."""
    venue.world.core.instrument(symbol)
    name = query.get("period") or "5m"
    if name not in PERIODS:
        raise VenueRefusal("51000", "Parameter period error")
    begin, end = whole(query, "begin"), whole(query, "end")
    bars = [bar for bar, closed in venue.world.bars.bars(symbol, PERIODS[name]) if closed]
    if begin is not None:
        bars = [bar for bar in bars if bar.ts_open > begin * NS_PER_MS]
    if end is not None:
        bars = [bar for bar in bars if bar.ts_open < end * NS_PER_MS]
    return bars[::-1][: limit_of(query, _MOST, _MOST)]


def support_coin(venue: Venue, query: Query) -> Rows:
    coins = [each.instrument.base for each in venue.world.source.listings]
    row: Row = {"contract": coins, "option": [], "spot": []}
    return [row]


def underlying(venue: Venue, query: Query) -> Rows:
    if needed(query, "instType") != "SWAP":
        return [[]]
    return [[each.instrument.symbol.removesuffix("-SWAP") for each in venue.world.source.listings]]


def platform_volume(venue: Venue, query: Query) -> Rows:
    now, total = venue.now(), Decimal(0)
    for symbol in venue.world.quotes:
        if day := venue.world.bars.day(symbol, now):
            total += venue.world.core.instrument(symbol).notional(day.volume, day.close)
    return [{"volCny": num(total * _CNY), "volUsd": num(total), "ts": ms(now)}]


def exchange_rate(venue: Venue, query: Query) -> Rows:
    return [{"usdCny": num(_CNY)}]


def index_components(venue: Venue, query: Query) -> Row:
    """One venue, with all the weight. The only answer whose data is no list."""
    name = needed(query, "index")
    price = num(venue.quote(f"{name}-SWAP").index)
    part = {"symbol": name.replace("-", "/"), "symPx": price, "cnvPx": price, "wgt": "1", "exch": "OKX"}
    return {"components": [part], "last": price, "index": name, "ts": ms(venue.now())}


def insurance_fund(venue: Venue, query: Query) -> Rows:
    if needed(query, "instType") != "SWAP":
        return []
    entry = {
        "amt": "",
        "balance": "1000000000",
        "ccy": "USDT",
        "type": "regular_update",
        "ts": ms(venue.now()),
    }
    family = query.get("instFamily") or query.get("uly") or ""
    return [{"instType": "SWAP", "instFamily": family, "total": "1000000000", "details": [entry]}]


def premium_history(venue: Venue, query: Query) -> Rows:
    """The newest premium; earlier ones are not kept."""
    quote = venue.quote(needed(query, "instId"))
    premium = (quote.mark - quote.index) / quote.index
    row: Row = {"instId": quote.symbol, "premium": num(premium.quantize(Decimal("1e-8"))), "ts": ms(quote.ts)}
    return [row]


_CNY: Final = Decimal("7.1")
ROUTES: Final[dict[str, Callable[[Venue, Query], Rows | Row]]] = {
    "rubik/stat/trading-data/support-coin": support_coin,
    "rubik/stat/contracts/open-interest-history": open_interest_history,
    "rubik/stat/contracts/open-interest-volume": interest_and_volume,
    "rubik/stat/contracts/long-short-account-ratio": ratio_of_coin,
    "rubik/stat/contracts/long-short-account-ratio-contract": ratio_of_contract,
    "rubik/stat/contracts/long-short-account-ratio-contract-top-trader": ratio_of_contract,
    "rubik/stat/contracts/long-short-position-ratio-contract-top-trader": ratio_of_contract,
    "rubik/stat/taker-volume": taker_volume,
    "rubik/stat/taker-volume-contract": taker_volume,
    "public/underlying": underlying,
    "public/insurance-fund": insurance_fund,
    "public/premium-history": premium_history,
    "market/platform-24-volume": platform_volume,
    "market/exchange-rate": exchange_rate,
    "market/index-components": index_components,
}
