"""Venue records in OKX's words: numbers as strings, "" for what there is not, times in milliseconds.

Shapes: https://www.okx.com/docs-v5 of August 2026 (instruments, tickers, order, position, balance, bills).
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any, Final

from engine.core.instruments import Instrument
from engine.core.times import NS_PER_MS
from engine.exchange.matching.records import (
    Balance,
    Bill,
    BillType,
    ClosedPosition,
    VenueAlgo,
    VenueFill,
    VenueOrder,
    VenuePosition,
)
from engine.exchange.matching.types import AttachedAlgo
from engine.exchange.simulator.source import Bar, Levels, Quote

Row = dict[str, Any]
_BILL_TYPES: Final = {
    BillType.TRANSFER: "1",
    BillType.TRADE: "2",
    BillType.LIQUIDATION: "5",
    BillType.FUNDING: "8",
}
# Of other instrument types or account levels: always empty for a swap in futures mode.
_UNUSED_IN_POSITIONS: Final = (
    *("baseBal", "baseBorrowed", "baseInterest", "bizRefId", "bizRefType", "clSpotInUseAmt", "deltaBS"),
    *("deltaPA", "gammaBS", "gammaPA", "hedgedPos", "liab", "liabCcy", "margin", "maxSpotInUseAmt"),
    *("nonSettleAvgPx", "optVal", "posCcy", "quoteBal", "quoteBorrowed", "quoteInterest", "settledPnl"),
    *("spotInUseAmt", "spotInUseCcy", "thetaBS", "thetaPA", "vegaBS", "vegaPA"),
)
_LISTED_MS: Final = "1606468572000"


def num(value: Decimal | int | None) -> str:
    """A number without an exponent and without trailing zeros; "" for None."""
    if value is None:
        return ""
    text = format(value, "f")
    return (text.rstrip("0").rstrip(".") or "0") if "." in text else text


def ms(ts_ns: int) -> str:
    """Milliseconds; "" for no time."""
    return str(ts_ns // NS_PER_MS) if ts_ns else ""


def truth(value: bool) -> str:
    return "true" if value else "false"


# -- market


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


def ticker(quote: Quote, listed: Instrument, day: tuple[Decimal, Decimal, Decimal, Decimal] | None) -> Row:
    opened, high, low, volume = day or (quote.price, quote.price, quote.price, quote.size)
    return {
        "instType": "SWAP",
        "instId": quote.symbol,
        "last": num(quote.price),
        "lastSz": num(quote.size),
        "askPx": num(quote.asks[0][0]) if quote.asks else "",
        "askSz": num(quote.asks[0][1]) if quote.asks else "",
        "bidPx": num(quote.bids[0][0]) if quote.bids else "",
        "bidSz": num(quote.bids[0][1]) if quote.bids else "",
        "open24h": num(opened),
        "high24h": num(high),
        "low24h": num(low),
        "volCcy24h": num(volume * listed.contract_value),
        "vol24h": num(volume),
        "ts": ms(quote.ts),
        "sodUtc0": num(opened),
        "sodUtc8": num(opened),
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


def levels(side: Levels, depth: int) -> list[list[str]]:
    return [[num(price), num(size), "0", "1"] for price, size in side[:depth]]


def trade(quote: Quote, trade_id: int) -> Row:
    return {
        "instId": quote.symbol,
        "tradeId": str(trade_id),
        "px": num(quote.price),
        "sz": num(quote.size),
        "side": quote.side.value,
        "ts": ms(quote.ts),
        "count": "1",
        "source": "0",
        "seqId": trade_id,
    }


def funding(quote: Quote, next_ns: int, period_ns: int) -> Row:
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
        "ts": ms(quote.ts),
    }


# -- account


def balance(shown: Balance) -> Row:
    detail = {
        "accAvgPx": "",
        "autoLendStatus": "unsupported",
        "autoLendMtAmt": "0",
        "availBal": num(shown.available),
        "availEq": num(shown.available),
        "borrowFroz": "",
        "cashBal": num(shown.cash),
        "ccy": "USDT",
        "clSpotInUseAmt": "",
        "coinUsdPrice": "1",
        "collateralEnabled": False,
        "collateralRestrict": False,
        "colRes": "0",
        "crossLiab": "",
        "disEq": num(shown.equity),
        "eq": num(shown.equity),
        "eqUsd": num(shown.equity),
        "fixedBal": "0",
        "frozenBal": num(shown.equity - shown.available),
        "frpType": "0",
        "imr": num(shown.initial_margin),
        "interest": "",
        "isoEq": "0",
        "isoLiab": "",
        "isoUpl": "0",
        "liab": "",
        "maxLoan": "",
        "maxSpotInUse": "",
        "mgnRatio": num(shown.margin_ratio),
        "mmr": num(shown.maintenance_margin),
        "notionalLever": num(shown.notional / shown.equity if shown.equity else None),
        "openAvgPx": "",
        "ordFrozen": num(shown.order_margin),
        "rewardBal": "0",
        "smtSyncEq": "0",
        "spotBal": "",
        "spotInUseAmt": "",
        "spotIsoBal": "0",
        "spotUpl": "",
        "spotUplRatio": "",
        "stgyEq": "0",
        "totalPnl": "",
        "totalPnlRatio": "",
        "twap": "0",
        "uTime": ms(shown.ts),
        "upl": num(shown.unrealised),
        "uplLiab": "",
    }
    return {
        "adjEq": "",
        "availEq": "",
        "borrowFroz": "",
        "delta": "",
        "deltaLever": "",
        "deltaNeutralStatus": "",
        "details": [detail],
        "imr": "",
        "isoEq": "0",
        "mgnRatio": "",
        "mmr": "",
        "notionalUsd": "",
        "notionalUsdForBorrow": "",
        "notionalUsdForFutures": "",
        "notionalUsdForOption": "",
        "notionalUsdForSwap": "",
        "ordFroz": "",
        "totalEq": num(shown.equity),
        "uTime": ms(shown.ts),
        "upl": "",
    }


def position(shown: VenuePosition) -> Row:
    empty = dict.fromkeys(_UNUSED_IN_POSITIONS, "")
    return empty | {
        "adl": "1",
        "availPos": num(shown.available),
        "avgPx": num(shown.average_price),
        "bePx": num(shown.break_even_price),
        "cTime": ms(shown.ts_created),
        "ccy": "USDT",
        "closeOrderAlgo": [],
        "fee": num(shown.fee),
        "fundingFee": num(shown.funding),
        "idxPx": num(shown.mark_price),
        "imr": num(shown.initial_margin),
        "instId": shown.symbol,
        "instType": "SWAP",
        "interest": "",
        "last": num(shown.last_price),
        "lever": num(shown.leverage),
        "liqPenalty": "0",
        "liqPx": num(shown.liquidation_price),
        "markPx": num(shown.mark_price),
        "mgnMode": shown.td_mode.value,
        "mgnRatio": num(shown.margin_ratio),
        "mmr": num(shown.maintenance_margin),
        "notionalUsd": num(shown.notional),
        "pendingCloseOrdLiabVal": "",
        "pnl": num(shown.pnl),
        "pos": num(shown.contracts if shown.pos_side == "net" else abs(shown.contracts)),
        "posId": shown.pos_id,
        "posSide": shown.pos_side.value,
        "realizedPnl": num(shown.realised),
        "tradeId": shown.trade_id,
        "uTime": ms(shown.ts_updated),
        "upl": num(shown.unrealised),
        "uplLastPx": num(shown.unrealised),
        "uplRatio": num(shown.unrealised_ratio),
        "uplRatioLastPx": num(shown.unrealised_ratio),
    }


def closed_position(shown: ClosedPosition) -> Row:
    return {
        "cTime": ms(shown.ts_created),
        "ccy": "USDT",
        "closeAvgPx": num(shown.close_average),
        "closeTotalPos": num(shown.closed_contracts),
        "direction": shown.direction.value,
        "fee": num(shown.fee),
        "fundingFee": num(shown.funding),
        "instId": shown.symbol,
        "instType": "SWAP",
        "lever": num(shown.leverage),
        "liqPenalty": "0",
        "mgnMode": shown.td_mode.value,
        "nonSettleAvgPx": "",
        "openAvgPx": num(shown.open_average),
        "openMaxPos": num(shown.max_contracts),
        "pnl": num(shown.pnl),
        "pnlRatio": "",
        "posId": shown.pos_id,
        "posSide": shown.pos_side.value,
        "realizedPnl": num(shown.pnl + shown.fee + shown.funding),
        "settledPnl": "",
        "triggerPx": "",
        "type": "3" if shown.liquidated else "2",
        "uTime": ms(shown.ts_updated),
        "uly": shown.symbol.removesuffix("-SWAP"),
    }


def bill(booked: Bill) -> Row:
    return {
        "bal": num(booked.balance),
        "balChg": num(booked.amount),
        "billId": booked.bill_id,
        "ccy": "USDT",
        "clOrdId": booked.client_order_id,
        "earnAmt": "",
        "earnApr": "",
        "execType": booked.exec_type,
        "fee": num(booked.fee),
        "fillFwdPx": "",
        "fillIdxPx": "",
        "fillMarkPx": "",
        "fillMarkVol": "",
        "fillPxUsd": "",
        "fillPxVol": "",
        "fillTime": ms(booked.ts),
        "from": "",
        "instId": booked.symbol,
        "instType": "SWAP" if booked.symbol else "",
        "interest": "0",
        "mgnMode": booked.td_mode.value if booked.symbol else "",
        "notes": "",
        "ordId": booked.order_id,
        "pnl": num(booked.pnl if booked.bill_type is not BillType.FUNDING else booked.amount),
        "posBal": num(booked.position_after),
        "posBalChg": num(booked.position_change),
        "posSide": booked.pos_side.value,
        "px": num(booked.price),
        "subType": booked.sub_type,
        "sz": num(booked.size),
        "tag": booked.tag,
        "to": "",
        "tradeId": booked.trade_id,
        "ts": ms(booked.ts),
        "type": _BILL_TYPES[booked.bill_type],
    }


# -- orders


def order(shown: VenueOrder, last_price: Decimal | None = None, last: VenueFill | None = None) -> Row:
    """A row of orders-pending and -history; with `last_price`, a push of the orders channel."""
    fill = last or shown.last_fill
    first = shown.attached[0] if shown.attached else None
    row = {
        "accFillSz": num(shown.filled),
        "algoClOrdId": shown.algo_client_id,
        "algoId": shown.algo_id,
        "attachAlgoClOrdId": first.client_id if first else "",
        "attachAlgoOrds": [_attached(each) for each in shown.attached],
        "avgPx": num(shown.average_price) if shown.filled else "",
        "cTime": ms(shown.ts_created),
        "cancelSource": shown.cancel_source,
        "cancelSourceReason": "",
        "category": shown.category,
        "ccy": "",
        "clOrdId": shown.client_order_id,
        "fee": num(shown.fee),
        "feeCcy": "USDT",
        "fillPx": num(fill.price) if fill else "",
        "fillSz": num(fill.size) if fill else "0",
        "fillTime": ms(fill.ts) if fill else "",
        "instId": shown.symbol,
        "instType": "SWAP",
        "isTpLimit": "false",
        "lever": num(shown.leverage),
        "linkedAlgoOrd": {"algoId": ""},
        "ordId": shown.order_id,
        "ordType": shown.ord_type.value,
        "pnl": num(shown.pnl),
        "posSide": shown.pos_side.value,
        "px": num(shown.price),
        "pxType": "",
        "pxUsd": "",
        "pxVol": "",
        "quickMgnType": "",
        "rebate": "0",
        "rebateCcy": "USDT",
        "reduceOnly": truth(shown.reduce_only),
        "side": shown.side.value,
        "slOrdPx": num(first.sl_price) if first and first.sl_trigger else "",
        "slTriggerPx": num(first.sl_trigger) if first else "",
        "slTriggerPxType": first.sl_trigger_type.value if first and first.sl_trigger else "",
        "source": shown.source,
        "state": shown.state.value,
        "stpId": "",
        "stpMode": "cancel_maker",
        "sz": num(shown.size),
        "tag": shown.tag,
        "tdMode": shown.td_mode.value,
        "tgtCcy": "",
        "tpOrdPx": num(first.tp_price) if first and first.tp_trigger else "",
        "tpTriggerPx": num(first.tp_trigger) if first else "",
        "tpTriggerPxType": first.tp_trigger_type.value if first and first.tp_trigger else "",
        "tradeId": fill.trade_id if fill else "",
        "tradeQuoteCcy": "USDT",
        "uTime": ms(shown.ts_updated),
    }
    return row if last_price is None else row | _push_extras(shown, last, last_price)


def _push_extras(shown: VenueOrder, fill: VenueFill | None, last_price: Decimal) -> Row:
    liquidation = fill is not None and fill.trade_id.startswith("-")
    return {
        "amendResult": shown.amend_result,
        "amendSource": shown.amend_source,
        "code": "0",
        "execType": fill.exec_type if fill else "",
        "fillFee": num(fill.fee) if fill else "0",
        "fillFeeCcy": "USDT" if fill else "",
        "fillFwdPx": "",
        "fillIdxPx": "",
        "fillMarkPx": num(fill.mark_price) if fill else "",
        "fillMarkVol": "",
        "fillNotionalUsd": num(fill.price * fill.size) if fill else "",
        "fillPnl": num(fill.pnl) if fill else "0",
        "fillPx": num(fill.price) if fill else "",
        "fillPxUsd": "",
        "fillPxVol": "",
        "fillSz": num(fill.size) if fill else "0",
        "fillTime": ms(fill.ts) if fill else "",
        "lastPx": num(last_price),
        "msg": "",
        "notionalUsd": num(shown.size * last_price),
        "reqId": shown.req_id,
        "tradeId": ("0" if liquidation else fill.trade_id) if fill else "",
    }


def _attached(each: AttachedAlgo) -> Row:
    return {
        "amendPxOnTriggerType": "0",
        "attachAlgoClOrdId": each.client_id,
        "attachAlgoId": each.attach_id,
        "callbackRatio": "",
        "callbackSpread": "",
        "activePx": "",
        "failCode": "",
        "failReason": "",
        "slOrdPx": num(each.sl_price) if each.sl_trigger else "",
        "slTriggerPx": num(each.sl_trigger),
        "slTriggerPxType": each.sl_trigger_type.value if each.sl_trigger else "",
        "sz": "",
        "tpOrdKind": "condition",
        "tpOrdPx": num(each.tp_price) if each.tp_trigger else "",
        "tpTriggerPx": num(each.tp_trigger),
        "tpTriggerPxType": each.tp_trigger_type.value if each.tp_trigger else "",
    }


def fill(made: VenueFill) -> Row:
    return {
        "billId": made.bill_id,
        "clOrdId": made.client_order_id,
        "execType": made.exec_type,
        "fee": num(made.fee),
        "feeCcy": "USDT",
        "feeRate": num(made.fee / (made.price * made.size)) if made.fee else "0",
        "fillFwdPx": "",
        "fillIdxPx": "",
        "fillMarkPx": num(made.mark_price),
        "fillMarkVol": "",
        "fillPnl": num(made.pnl),
        "fillPx": num(made.price),
        "fillPxUsd": "",
        "fillPxVol": "",
        "fillSz": num(made.size),
        "fillTime": ms(made.ts),
        "instId": made.symbol,
        "instType": "SWAP",
        "ordId": made.order_id,
        "posSide": made.pos_side.value,
        "side": made.side.value,
        "subType": "",
        "tag": made.tag,
        "tradeId": made.trade_id,
        "tradeQuoteCcy": "USDT",
        "ts": ms(made.ts),
    }


def algo(shown: VenueAlgo) -> Row:
    ask = shown.request
    return {
        "activePx": num(ask.active_price),
        "actualPx": num(shown.actual_price),
        "actualSide": shown.actual_side,
        "actualSz": num(shown.actual_size) if shown.actual_size is not None else "0",
        "advanceOrdType": "",
        "algoClOrdId": ask.client_id,
        "algoId": shown.algo_id,
        "amendPxOnTriggerType": "0",
        "amendResult": shown.amend_result,
        "attachAlgoOrds": [],
        "cTime": ms(shown.ts_created),
        "callbackRatio": num(ask.callback_ratio),
        "callbackSpread": num(ask.callback_spread),
        "ccy": "",
        "chaseType": "",
        "chaseVal": "",
        "clOrdId": "",
        "closeFraction": num(ask.close_fraction),
        "failCode": shown.fail_code,
        "instId": ask.symbol,
        "instType": "SWAP",
        "isTradeBorrowMode": "",
        "last": num(shown.actual_price),
        "lever": num(shown.leverage),
        "linkedOrd": {"ordId": shown.parent_order_id},
        "maxChaseType": "",
        "maxChaseVal": "",
        "moveTriggerPx": num(shown.move_trigger),
        "notionalUsd": "",
        "ordId": shown.order_id,
        "ordIdList": [shown.order_id] if shown.order_id else [],
        "ordPx": num(ask.order_price) if ask.trigger_price is not None else "",
        "ordType": ask.algo_type.value,
        "posSide": ask.pos_side.value,
        "pxLimit": "",
        "pxSpread": "",
        "pxVar": "",
        "quickMgnType": "",
        "reduceOnly": truth(ask.reduce_only),
        "reqId": shown.req_id,
        "side": ask.side.value,
        "slOrdPx": num(ask.sl_price) if ask.sl_trigger is not None else "",
        "slTriggerPx": num(ask.sl_trigger),
        "slTriggerPxType": ask.sl_trigger_type.value if ask.sl_trigger is not None else "",
        "state": shown.state.value,
        "subAlgoIdList": [],
        "sz": num(ask.size),
        "szLimit": "",
        "tag": ask.tag,
        "tdMode": ask.td_mode.value,
        "tgtCcy": "",
        "timeInterval": "",
        "tpOrdPx": num(ask.tp_price) if ask.tp_trigger is not None else "",
        "tpTriggerPx": num(ask.tp_trigger),
        "tpTriggerPxType": ask.tp_trigger_type.value if ask.tp_trigger is not None else "",
        "tradeQuoteCcy": "USDT",
        "triggerPx": num(ask.trigger_price),
        "triggerPxType": ask.trigger_type.value if ask.trigger_price is not None else "",
        "triggerTime": ms(shown.trigger_ts),
        "uTime": ms(shown.ts_updated),
    }


def index_ticker(quote: Quote, day: tuple[Decimal, Decimal, Decimal, Decimal] | None) -> Row:
    opened, high, low, _ = day or (quote.index, quote.index, quote.index, quote.size)
    return {
        "high24h": num(high),
        "idxPx": num(quote.index),
        "instId": quote.symbol.removesuffix("-SWAP"),
        "low24h": num(low),
        "open24h": num(opened),
        "sodUtc0": num(opened),
        "sodUtc8": num(opened),
        "ts": ms(quote.ts),
    }


def open_interest(quote: Quote, listed: Instrument) -> Row:
    """A made-up but steady figure: two hundred times the visible depth."""
    contracts = 200 * sum((size for _, size in (*quote.bids, *quote.asks)), Decimal(0))
    coins = contracts * listed.contract_value
    return {
        "instId": quote.symbol,
        "instType": "SWAP",
        "oi": num(contracts),
        "oiCcy": num(coins),
        "oiUsd": num(coins * quote.mark),
        "ts": ms(quote.ts),
    }
