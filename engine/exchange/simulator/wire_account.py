"""Balances, positions and bills in OKX's words.

Shapes: https://www.okx.com/docs-v5 of August 2026 (balance, positions,
positions history, bills, balance_and_position).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from hashlib import blake2b
from typing import Final

from engine.exchange.matching.records import (
    Balance,
    Bill,
    BillType,
    ClosedPosition,
    VenueFill,
    VenuePosition,
)
from engine.exchange.simulator.text import Row, ms, num

_BILL_TYPES: Final = {
    BillType.TRANSFER: "1",
    BillType.TRADE: "2",
    BillType.LIQUIDATION: "5",
    BillType.FUNDING: "8",
}
# Of other instrument types or account levels: always empty for a swap in futures mode.
_UNUSED_IN_POSITIONS: Final = (
    *("baseBal", "baseBorrowed", "baseInterest", "bizRefId", "bizRefType", "clSpotInUseAmt", "deltaBS"),
    *("deltaPA", "gammaBS", "gammaPA", "hedgedPos", "liab", "liabCcy", "maxSpotInUseAmt"),
    *("nonSettleAvgPx", "optVal", "posCcy", "quoteBal", "quoteBorrowed", "quoteInterest", "settledPnl"),
    *("spotInUseAmt", "spotInUseCcy", "thetaBS", "thetaPA", "vegaBS", "vegaPA"),
)

MAIN_UID: Final = "614488474791936"


def uid(account: str) -> str:
    """The venue's number of an account: each its own, the same after every restart."""
    return f"6{int.from_bytes(blake2b(account.encode(), digest_size=6).digest()):015d}"


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
        "isoEq": num(shown.isolated + shown.isolated_unrealised),
        "isoLiab": "",
        "isoUpl": num(shown.isolated_unrealised),
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
        "isoEq": num(shown.isolated + shown.isolated_unrealised),
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
        "availPos": "" if shown.pos_side == "net" else num(shown.available),
        "avgPx": num(shown.average_price),
        "bePx": num(shown.break_even_price),
        "cTime": ms(shown.ts_created),
        "ccy": "USDT",
        "closeOrderAlgo": [],
        "fee": num(shown.fee),
        "fundingFee": num(shown.funding),
        "idxPx": num(shown.mark_price),
        "imr": num(shown.initial_margin) if shown.margin is None else "",
        "instId": shown.symbol,
        "instType": "SWAP",
        "interest": "",
        "last": num(shown.last_price),
        "lever": num(shown.leverage),
        "liqPenalty": "0",
        "liqPx": num(shown.liquidation_price),
        "margin": num(shown.margin),
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


_POSITION_HALF: Final = (
    *("posId", "tradeId", "instId", "instType", "mgnMode", "avgPx", "ccy", "posSide", "pos", "posCcy"),
    *("nonSettleAvgPx", "settledPnl", "uTime", "baseBal", "quoteBal"),
)


def balance_and_position(
    reason: str, shown: Balance | None, held: Iterable[VenuePosition], fills: Sequence[VenueFill], now_ns: int
) -> Row:
    """What one happening changed; the half that it did not touch is empty."""
    cash = [{"ccy": "USDT", "cashBal": num(shown.cash), "uTime": ms(shown.ts)}] if shown else []
    rows = [position(each) for each in held]
    return {
        "pTime": ms(now_ns),
        "eventType": reason,
        "balData": cash,
        "posData": [{key: row[key] for key in _POSITION_HALF} for row in rows],
        "trades": [{"instId": each.symbol, "tradeId": each.trade_id} for each in fills],
    }
