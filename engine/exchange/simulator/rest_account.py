"""Account endpoints, and the reading half of trading: query in, rows out, newest first."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal
from typing import Any, Final

from engine.core.times import NS_PER_MS
from engine.exchange.matching.records import Bill
from engine.exchange.matching.types import VenueRefusal
from engine.exchange.ports import PositionMode
from engine.exchange.simulator import parse, rest_market, wire
from engine.exchange.simulator.venue import UID, Venue
from engine.exchange.simulator.world import SetLeverage, SetPositionMode

Query = Mapping[str, str]
Rows = list[Any]
_PAGE: Final = 100


def config(venue: Venue, account: str, query: Query) -> Rows:
    core = venue.world.core
    mode = "net_mode" if core.position_mode(account) is PositionMode.NET else "long_short_mode"
    perm = "read_only" if account in venue.read_only_keys else "read_only,trade"
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
            "level": "Lv1",
            "levelTmp": "",
            "liquidationGear": "-1",
            "mainUid": UID,
            "mgnIsoMode": "automatic",
            "opAuth": "1",
            "perm": perm,
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
            "uid": UID,
        }
    ]


def balance(venue: Venue, account: str, query: Query) -> Rows:
    return [wire.balance(venue.world.core.balance(account))]


def positions(venue: Venue, account: str, query: Query) -> Rows:
    wanted = set(filter(None, query.get("instId", "").split(",")))
    held = venue.world.core.positions(account)
    return [wire.position(each) for each in held if not wanted or each.symbol in wanted]


def positions_history(venue: Venue, account: str, query: Query) -> Rows:
    rows = [wire.closed_position(each) for each in venue.world.core.position_history(account)]
    return _page(_matching(rows, query, ("instId", "mgnMode", "posId")), query, "uTime")


def leverage_info(venue: Venue, account: str, query: Query) -> Rows:
    core, rows = venue.world.core, []
    sides = ("net",) if core.position_mode(account) is PositionMode.NET else ("long", "short")
    for symbol in filter(None, query.get("instId", "").split(",")):
        leverage = wire.num(core.leverage(account, core.instrument(symbol).symbol))
        for side in sides:
            row = {"ccy": "", "instId": symbol, "mgnMode": query.get("mgnMode", "cross")}
            rows.append(row | {"posSide": side, "lever": leverage})
    return rows


def set_leverage(venue: Venue, account: str, body: Mapping[str, Any]) -> Rows:
    symbol, leverage = parse.text(body, "instId"), parse.number(body, "lever")
    mode = parse.text(body, "mgnMode")
    venue.request(account, SetLeverage(symbol, leverage))
    side = str(body.get("posSide") or "")
    return [{"instId": symbol, "lever": wire.num(leverage), "mgnMode": mode, "posSide": side}]


def set_position_mode(venue: Venue, account: str, body: Mapping[str, Any]) -> Rows:
    modes = {"net_mode": PositionMode.NET, "long_short_mode": PositionMode.LONG_SHORT}
    asked = parse.text(body, "posMode")
    if asked not in modes:
        raise VenueRefusal("51000", "Parameter posMode error")
    venue.request(account, SetPositionMode(modes[asked]))
    return [{"posMode": asked}]


def trade_fee(venue: Venue, account: str, query: Query) -> Rows:
    fees = {"maker": "-0.0002", "taker": "-0.0005", "makerU": "-0.0002", "takerU": "-0.0005"}
    return [
        {
            "category": "1",
            "delivery": "",
            "exercise": "",
            "feeGroup": [{"groupId": "1", "maker": "-0.0002", "taker": "-0.0005"}],
            "fiat": [],
            "instType": query.get("instType", "SWAP"),
            "level": "Lv1",
            "makerUSDC": "",
            "takerUSDC": "",
            "ruleType": "normal",
            "ts": wire.ms(venue.now()),
            **fees,
        }
    ]


def max_size(venue: Venue, account: str, query: Query) -> Rows:
    symbol = parse.text(query, "instId")
    buy, sell = venue.world.core.max_size(account, symbol, parse.optional(query, "px"))
    return [{"ccy": "USDT", "instId": symbol, "maxBuy": wire.num(buy), "maxSell": wire.num(sell)}]


def max_avail_size(venue: Venue, account: str, query: Query) -> Rows:
    free = wire.num(venue.world.core.available_margin(account))
    return [{"instId": parse.text(query, "instId"), "availBuy": free, "availSell": free}]


def bills(venue: Venue, account: str, query: Query) -> Rows:
    rows = [wire.bill(each) for each in venue.world.core.bills(account) if _between(each, query)]
    return _page(_matching(rows, query, ("instId", "type", "subType", "mgnMode")), query, "billId")


def _between(bill: Bill, query: Query) -> bool:
    begin, end = query.get("begin"), query.get("end")
    stamp = bill.ts // NS_PER_MS
    return (not begin or stamp >= int(begin)) and (not end or stamp <= int(end))


def instruments(venue: Venue, account: str, query: Query) -> Rows:
    return rest_market.instruments(venue, query)


def currencies(venue: Venue, account: str, query: Query) -> Rows:
    return rest_market.currencies(venue, query)


# -- orders


def order(venue: Venue, account: str, query: Query) -> Rows:
    ids = {"order_id": query.get("ordId", ""), "client_order_id": query.get("clOrdId", "")}
    if not any(ids.values()):
        raise VenueRefusal("51000", "Either parameter ordId or clOrdId is required")
    return [wire.order(venue.world.core.order(account, **ids))]


def orders_pending(venue: Venue, account: str, query: Query) -> Rows:
    rows = [wire.order(each) for each in venue.world.core.pending_orders(account)]
    return _page(_matching(rows, query, ("instId", "ordType", "state")), query, "ordId")


def orders_history(venue: Venue, account: str, query: Query) -> Rows:
    rows = [wire.order(each) for each in venue.world.core.order_history(account)]
    return _page(_matching(rows, query, ("instId", "ordType", "state", "clOrdId")), query, "ordId")


def fills(venue: Venue, account: str, query: Query) -> Rows:
    made = venue.world.core.fills(account)
    begin, end = query.get("begin"), query.get("end")
    chosen = [
        wire.fill(each)
        for each in made
        if (not begin or each.ts // NS_PER_MS >= int(begin)) and (not end or each.ts // NS_PER_MS <= int(end))
    ]
    return _page(_matching(chosen, query, ("instId", "ordId")), query, "billId")


def order_algo(venue: Venue, account: str, query: Query) -> Rows:
    ids = {"algo_id": query.get("algoId", ""), "client_id": query.get("algoClOrdId", "")}
    return [wire.algo(venue.world.core.algo(account, **ids))]


def algos_pending(venue: Venue, account: str, query: Query) -> Rows:
    return _algos([wire.algo(each) for each in venue.world.core.pending_algos(account)], query)


def algos_history(venue: Venue, account: str, query: Query) -> Rows:
    if not query.get("state") and not query.get("algoId"):
        raise VenueRefusal("51000", "Either parameter state or algoId is required")
    return _algos([wire.algo(each) for each in venue.world.core.algo_history(account)], query)


def _algos(rows: list[wire.Row], query: Query) -> Rows:
    kinds = set(parse.text(query, "ordType").split(","))
    chosen = [row for row in rows if row["ordType"] in kinds]
    return _page(_matching(chosen, query, ("instId", "state", "algoId", "algoClOrdId")), query, "algoId")


# -- lists


def _matching(rows: Iterable[wire.Row], query: Query, keys: tuple[str, ...]) -> list[wire.Row]:
    wanted = {key: query[key] for key in keys if query.get(key)}
    return [row for row in rows if all(row[key] == value for key, value in wanted.items())]


def _page(rows: list[wire.Row], query: Query, key: str) -> Rows:
    """Newest first; `after` older than, `before` newer than, both exclusive (okx docs, pagination)."""
    limit = min(_PAGE, int(query.get("limit") or _PAGE))
    if after := query.get("after"):
        rows = [row for row in rows if Decimal(row[key]) < Decimal(after)]
    if before := query.get("before"):
        rows = [row for row in rows if Decimal(row[key]) > Decimal(before)]
        if not after:
            return rows[-limit:]
    return rows[:limit]


READS: Final[dict[str, Callable[[Venue, str, Query], Rows]]] = {
    "account/config": config,
    "account/balance": balance,
    "account/positions": positions,
    "account/positions-history": positions_history,
    "account/leverage-info": leverage_info,
    "account/trade-fee": trade_fee,
    "account/max-size": max_size,
    "account/max-avail-size": max_avail_size,
    "account/bills": bills,
    "account/bills-archive": bills,
    "account/instruments": instruments,
    "asset/currencies": currencies,
    "trade/order": order,
    "trade/orders-pending": orders_pending,
    "trade/orders-history": orders_history,
    "trade/orders-history-archive": orders_history,
    "trade/fills": fills,
    "trade/fills-history": fills,
    "trade/order-algo": order_algo,
    "trade/orders-algo-pending": algos_pending,
    "trade/orders-algo-history": algos_history,
}
WRITES: Final[dict[str, Callable[[Venue, str, Mapping[str, Any]], Rows]]] = {
    "account/set-leverage": set_leverage,
    "account/set-position-mode": set_position_mode,
}
