"""Account endpoints: query or body in, rows out, newest first."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from engine.exchange.matching.types import LeverageRequest, PosSide, TdMode, VenueRefusal
from engine.exchange.ports import PositionMode
from engine.exchange.simulator import parse, rest_market
from engine.exchange.simulator import wire_account as wire
from engine.exchange.simulator.paging import Paged, Query, Rows, needed, page
from engine.exchange.simulator.requests import SetPositionMode
from engine.exchange.simulator.text import ms, num
from engine.exchange.simulator.venue import Venue

_CLOSED: Final = Paged(("instType", "instId", "mgnMode", "posId", "type"), "uTime", before_is_near=False)
_BILLS: Final = Paged(("instType", "instId", "ccy", "mgnMode", "type", "subType"), "billId", "ts")


def config(venue: Venue, account: str, query: Query) -> Rows:
    core = venue.world.core
    mode = "net_mode" if core.position_mode(account) is PositionMode.NET else "long_short_mode"
    return [
        {
            "acctLv": str(core.account_level(account)),
            "acctStpMode": "cancel_maker",
            "autoLoan": False,
            "ctIsoMode": "automatic",
            "enableSpotBorrow": False,
            "greeksType": "PA",
            "feeType": "0",
            "ip": "",
            "kycLv": "3",
            "label": "simulator",
            "level": "VIP5" if venue.vip else "Lv1",
            "levelTmp": "",
            "liquidationGear": "-1",
            "mainUid": wire.MAIN_UID,
            "mgnIsoMode": "automatic",
            "opAuth": "1",
            "perm": ",".join(venue.gatekeeper.permissions(account)),
            "posMode": mode,
            "roleType": "0",
            "spotBorrowAutoRepay": False,
            "spotOffsetType": "",
            "spotRoleType": "0",
            "spotTraderInsts": [],
            "settleCcy": "USDT",
            "settleCcyList": ["USDT"],
            "stgyType": "0",
            "traderInsts": [],
            "type": "0",
            "uid": wire.uid(account),
        }
    ]


def balance(venue: Venue, account: str, query: Query) -> Rows:
    row = wire.balance(venue.world.core.balance(account))
    asked = query.get("ccy", "")
    return [row if not asked or "USDT" in asked.split(",") else row | {"details": []}]


def positions(venue: Venue, account: str, query: Query) -> Rows:
    if query.get("instType", "SWAP") != "SWAP":
        return []
    wanted = set(filter(None, query.get("instId", "").split(",")))
    held = venue.world.core.positions(account)
    return [wire.position(each) for each in held if not wanted or each.symbol in wanted]


def position_risk(venue: Venue, account: str, query: Query) -> Rows:
    """Balance and positions of one moment."""
    shown = venue.world.core.balance(account)
    keys = ("instType", "mgnMode", "posId", "instId", "pos", "posSide", "posCcy", "ccy", "notionalUsd")
    held = [wire.position(each) for each in venue.world.core.positions(account)]
    equity = num(shown.equity)
    return [
        {
            "ts": ms(venue.now()),
            "adjEq": "",
            "balData": [{"ccy": "USDT", "eq": equity, "disEq": equity}],
            "posData": [
                {key: row[key] for key in keys} | {"notionalCcy": "", "baseBal": "", "quoteBal": ""}
                for row in held
            ],
        }
    ]


def positions_history(venue: Venue, account: str, query: Query) -> Rows:
    rows = [wire.closed_position(each) for each in venue.world.core.position_history(account)]
    return page(rows, query, _CLOSED)


def leverage_info(venue: Venue, account: str, query: Query) -> Rows:
    core, rows = venue.world.core, []
    mode = parse.word(query, "mgnMode", TdMode, TdMode.CROSS)
    sides = ("net",) if core.position_mode(account) is PositionMode.NET else ("long", "short")
    for symbol in filter(None, query.get("instId", "").split(",")):
        core.instrument(symbol)
        for side in sides:
            leverage = num(core.leverage(account, symbol, mode, PosSide(side)))
            row = {"ccy": "", "instId": symbol, "mgnMode": mode.value}
            rows.append(row | {"posSide": side, "lever": leverage})
    return rows


def set_leverage(venue: Venue, account: str, body: Mapping[str, Any]) -> Rows:
    symbol, leverage = parse.text(body, "instId"), parse.number(body, "lever")
    mode, side = parse.word(body, "mgnMode", TdMode), str(body.get("posSide") or "")
    pos_side = parse.word({"posSide": side or "net"}, "posSide", PosSide)
    venue.request(account, LeverageRequest(symbol=symbol, leverage=leverage, td_mode=mode, pos_side=pos_side))
    return [{"instId": symbol, "lever": num(leverage), "mgnMode": mode.value, "posSide": side}]


def set_position_mode(venue: Venue, account: str, body: Mapping[str, Any]) -> Rows:
    modes = {"net_mode": PositionMode.NET, "long_short_mode": PositionMode.LONG_SHORT}
    asked = parse.text(body, "posMode")
    if asked not in modes:
        raise VenueRefusal("51000", "Parameter posMode error")
    venue.request(account, SetPositionMode(modes[asked]))
    return [{"posMode": asked}]


def trade_fee(venue: Venue, account: str, query: Query) -> Rows:
    fees = venue.world.core.fees
    maker, taker = num(0 - fees.maker), num(0 - fees.taker)
    return [
        {
            "category": "1",
            "delivery": "",
            "exercise": "",
            "feeGroup": [{"groupId": "1", "maker": maker, "taker": taker}],
            "fiat": [],
            "instType": query.get("instType", "SWAP"),
            "level": "VIP5" if venue.vip else "Lv1",
            "makerUSDC": "",
            "takerUSDC": "",
            "ruleType": "normal",
            "ts": ms(venue.now()),
            **{"maker": maker, "taker": taker, "makerU": maker, "takerU": taker},
        }
    ]


def max_size(venue: Venue, account: str, query: Query) -> Rows:
    symbol = needed(query, "instId")
    buy, sell = venue.world.core.max_size(account, symbol, parse.optional(query, "px"))
    return [{"ccy": "USDT", "instId": symbol, "maxBuy": num(buy), "maxSell": num(sell)}]


def max_avail_size(venue: Venue, account: str, query: Query) -> Rows:
    free = num(venue.world.core.available_margin(account))
    return [{"instId": needed(query, "instId"), "availBuy": free, "availSell": free}]


def bills(venue: Venue, account: str, query: Query) -> Rows:
    return page([wire.bill(each) for each in venue.world.core.bills(account)], query, _BILLS)


def instruments(venue: Venue, account: str, query: Query) -> Rows:
    return rest_market.instruments(venue, query)


def currencies(venue: Venue, account: str, query: Query) -> Rows:
    return rest_market.currencies(venue, query)


def order_rate(venue: Venue, account: str, query: Query) -> Rows:
    """The limit of new and amended orders in two seconds."""
    row = {"accRateLimit": "1000", "fillRatio": "", "mainFillRatio": "", "nextAccRateLimit": "1000"}
    return [row | {"ts": ms(venue.now())}]


READS: Final[dict[str, Callable[[Venue, str, Query], Rows]]] = {
    "account/config": config,
    "account/balance": balance,
    "account/positions": positions,
    "account/positions-history": positions_history,
    "account/account-position-risk": position_risk,
    "account/leverage-info": leverage_info,
    "account/trade-fee": trade_fee,
    "account/max-size": max_size,
    "account/max-avail-size": max_avail_size,
    "account/bills": bills,
    "account/bills-archive": bills,
    "account/instruments": instruments,
    "asset/currencies": currencies,
    "trade/account-rate-limit": order_rate,
}
WRITES: Final[dict[str, Callable[[Venue, str, Mapping[str, Any]], Rows]]] = {
    "account/set-leverage": set_leverage,
    "account/set-position-mode": set_position_mode,
}
