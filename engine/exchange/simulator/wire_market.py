"""Instruments, quotes and bars in OKX's words.

Shapes: https://www.okx.com/docs-v5 of August 2026 (instruments, tickers, candles,
trades, funding rate, open interest).
"""

from __future__ import annotations

from decimal import Decimal
from typing import Final

from engine.core.instruments import Instrument
from engine.exchange.simulator import slow_figures
from engine.exchange.simulator.past import Bar
from engine.exchange.simulator.source import Levels, Print, Quote
from engine.exchange.simulator.text import Row, ms, num
from engine.exchange.simulator.universe import LISTINGS

_LISTED_MS: Final = "1606468572000"


def instrument(listed: Instrument, code: int) -> Row:
    coin = listed.base
    limits = {
        key: num(listed.max_limit_size) for key in ("maxLmtSz", "maxTwapSz", "maxIcebergSz", "maxTriggerSz")
    }
    return {
        "alias": "",
        "auctionEndTime": "",
        "baseCcy": "",
        "category": "1",
        "contTdSwTime": "",
        "ctMult": "1",
        "ctType": "linear",
        "ctVal": num(listed.contract_value),
        "ctValCcy": coin,
        "expTime": "",
        "futureSettlement": False,
        "groupId": "1",
        "instCategory": "1",
        "instFamily": f"{coin}-USDT",
        "instId": listed.symbol,
        "instIdCode": code,
        "instType": "SWAP",
        "lever": num(listed.max_leverage),
        "listTime": _LISTED_MS,
        "lotSz": num(listed.lot_size),
        "maxLmtAmt": "20000000",
        "maxMktAmt": "",
        "maxMktSz": num(listed.max_market_size),
        "maxStopSz": num(listed.max_market_size),
        "minSz": num(listed.min_size),
        "openType": "",
        "optType": "",
        "preMktSwTime": "",
        "quoteCcy": "",
        "ruleType": "normal",
        "settleCcy": "USDT",
        "state": "live" if listed.live else "suspend",
        "stk": "",
        "tickSz": num(listed.tick_size),
        "tradeQuoteCcyList": [],
        "uly": f"{coin}-USDT",
        "upcChg": [],
        "initPxLmtPct": "0.05",
        "floatPxLmtPct": "0.03",
        "maxPxLmtPct": "0.15",
        **limits,
    }


def ticker(quote: Quote, listed: Instrument, day: Bar | None) -> Row:
    whole = day or Bar(0, quote.price, quote.price, quote.price, quote.price, quote.size)
    return {
        "instType": "SWAP",
        "instId": quote.symbol,
        "last": num(quote.price),
        "lastSz": num(quote.size),
        "askPx": num(quote.asks[0][0]) if quote.asks else "",
        "askSz": num(quote.asks[0][1]) if quote.asks else "",
        "bidPx": num(quote.bids[0][0]) if quote.bids else "",
        "bidSz": num(quote.bids[0][1]) if quote.bids else "",
        "open24h": num(whole.open),
        "high24h": num(whole.high),
        "low24h": num(whole.low),
        "volCcy24h": num(whole.volume * listed.contract_value),
        "vol24h": num(whole.volume),
        "ts": ms(quote.ts),
        "sodUtc0": num(whole.open),
        "sodUtc8": num(whole.open),
    }


def candle(bar: Bar, listed: Instrument, *, closed: bool) -> list[str]:
    coins = bar.volume * listed.contract_value
    prices = [num(price) for price in bar[1:5]]
    return [
        ms(bar.ts_open),
        *prices,
        num(bar.volume),
        num(coins),
        num(coins * bar.close),
        "1" if closed else "0",
    ]


def price_candle(bar: Bar, *, closed: bool) -> list[str]:
    """A bar of the mark or the index: without volumes."""
    return [ms(bar.ts_open), *(num(price) for price in bar[1:5]), "1" if closed else "0"]


def levels(side: Levels, depth: int) -> list[list[str]]:
    return [[num(price), num(size), "0", "1"] for price, size in side[:depth]]


def trade(symbol: str, made: Print) -> Row:
    """A print as REST and trades-all show it; the trades channel adds count and seqId."""
    return {
        "instId": symbol,
        "tradeId": str(made.trade_id),
        "px": num(made.price),
        "sz": num(made.size),
        "side": made.side.value,
        "ts": ms(made.ts),
        "source": "0",
    }


def mark_price(quote: Quote, now_ns: int) -> Row:
    return {"instType": "SWAP", "instId": quote.symbol, "markPx": num(quote.mark), "ts": ms(now_ns)}


def price_limit(symbol: str, limits: tuple[Decimal, Decimal] | None, now_ns: int) -> Row:
    buy, sell = limits or (None, None)
    return {
        "instType": "SWAP",
        "instId": symbol,
        "buyLmt": num(buy),
        "sellLmt": num(sell),
        "ts": ms(now_ns),
        "enabled": limits is not None,
    }


def funding(quote: Quote, next_ns: int, period_ns: int, now_ns: int) -> Row:
    return {
        "formulaType": "noRate",
        "fundingRate": num(quote.funding_rate),
        "fundingTime": ms(next_ns),
        "impactValue": "",
        "instId": quote.symbol,
        "instType": "SWAP",
        "interestRate": "0.0001",
        "maxFundingRate": "0.00375",
        "method": "current_period",
        "minFundingRate": "-0.00375",
        "nextFundingRate": "",
        "nextFundingTime": ms(next_ns + period_ns),
        "premium": num(quote.funding_rate),
        "prevFundingTime": ms(next_ns - period_ns),
        "settFundingRate": "",
        "settState": "settled",
        "ts": ms(now_ns),
    }


def index_ticker(quote: Quote, day: Bar | None, now_ns: int) -> Row:
    whole = day or Bar(0, quote.index, quote.index, quote.index, quote.index, quote.size)
    return {
        "high24h": num(whole.high),
        "idxPx": num(quote.index),
        "instId": quote.symbol.removesuffix("-SWAP"),
        "low24h": num(whole.low),
        "open24h": num(whole.open),
        "sodUtc0": num(whole.open),
        "sodUtc8": num(whole.open),
        "ts": ms(now_ns),
    }


def open_interest(quote: Quote, listed: Instrument, now_ns: int) -> Row:
    contracts = slow_figures.open_interest(LISTINGS[quote.symbol], now_ns)
    coins = listed.coins(contracts)
    return {
        "instId": quote.symbol,
        "instType": "SWAP",
        "oi": num(contracts),
        "oiCcy": num(coins),
        "oiUsd": num(coins * quote.mark),
        "ts": ms(now_ns),
    }
