"""Orders, fills and algos in OKX's words.

Shapes: https://www.okx.com/docs-v5 of August 2026 (order, orders channel, fills, algo orders).
"""

from __future__ import annotations

from decimal import Decimal

from engine.core.market import Side
from engine.exchange.matching.records import VenueAlgo, VenueFill, VenueOrder
from engine.exchange.matching.types import AttachedAlgo
from engine.exchange.simulator.text import Row, ms, num, truth


def order(shown: VenueOrder, fill: VenueFill | None = None) -> Row:
    """A row as REST shows an order; `fill` instead of its newest execution."""
    fill = fill or shown.last_fill
    first = shown.attached[0] if shown.attached else None
    return {
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


def order_push(
    shown: VenueOrder, fill: VenueFill | None, last_price: Decimal, contract_value: Decimal
) -> Row:
    """A row of the orders channel: `fill` is what this very push is about, None when it is about no fill."""
    liquidation = fill is not None and fill.trade_id.startswith("-")
    return order(shown, fill) | {
        "avgPx": num(shown.average_price or Decimal(0)),
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
        "fillNotionalUsd": num(fill.price * fill.size * contract_value) if fill else "",
        "fillPnl": num(fill.pnl) if fill else "0",
        "fillPx": num(fill.price) if fill else "",
        "fillPxUsd": "",
        "fillPxVol": "",
        "fillSz": num(fill.size) if fill else "0",
        "fillTime": ms(fill.ts) if fill else "",
        "lastPx": num(last_price),
        "msg": "",
        "notionalUsd": num(shown.size * last_price * contract_value),
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
        "failCode": each.fail_code,
        "failReason": "On demand" if each.fail_code else "",
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
        "feeRate": "",
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


def fill_push(made: VenueFill) -> Row:
    """A row of the fills channel, which is for VIPs; its clOrdId is only for ids that are numbers."""
    number = made.client_order_id if made.client_order_id.isdigit() else "0"
    return {
        "instId": made.symbol,
        "fillSz": num(made.size),
        "fillPx": num(made.price),
        "side": made.side.value,
        "ts": ms(made.ts),
        "ordId": made.order_id,
        "clOrdId": number,
        "tradeId": made.trade_id,
        "execType": made.exec_type,
        "count": "1",
    }


def liquidation(order: VenueOrder) -> Row:
    """A forced order as the public sees it."""
    detail = {
        "side": order.side.value,
        "posSide": "long" if order.side is Side.SELL else "short",
        "bkPx": num(order.average_price),
        "sz": num(order.filled),
        "bkLoss": "0",
        "ccy": "",
        "ts": ms(order.ts_updated),
    }
    family = order.symbol.removesuffix("-SWAP")
    names = {"instType": "SWAP", "instId": order.symbol, "instFamily": family, "uly": family}
    return names | {"details": [detail]}


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
