"""Margin, valuation and settings of an account beyond what trading needs: query or body in, rows out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from engine.core.instruments import coin
from engine.exchange.matching.types import MarginRequest, PosSide, TdMode, VenueRefusal
from engine.exchange.simulator import parse
from engine.exchange.simulator.paging import Query, Rows, needed
from engine.exchange.simulator.text import ms, num
from engine.exchange.simulator.venue import Venue

Body = Mapping[str, Any]
_SUBTYPES: Final = (
    ("1", "Transfer", (("11", "Transfer in"), ("12", "Transfer out"))),
    ("2", "Trade", (("1", "Buy"), ("2", "Sell"), ("3", "Open long"), ("4", "Open short"))),
    ("2", "Trade", (("5", "Close long"), ("6", "Close short"))),
    ("5", "Liquidation", (("104", "Liquidation close long"), ("105", "Liquidation close short"))),
    ("8", "Funding fee", (("173", "Funding fee expense"), ("174", "Funding fee income"))),
)


def adjust_leverage_info(venue: Venue, account: str, query: Query) -> Rows:
    """What a leverage would mean for the margin of a position and for new orders."""
    core, symbol = venue.world.core, needed(query, "instId")
    listed, leverage = core.instrument(symbol), parse.number(query, "lever")
    if not 1 <= leverage <= listed.max_leverage:
        raise VenueRefusal("59102", "Leverage exceeds the maximum limit. Please lower the leverage.")
    held = [each for each in core.positions(account) if each.symbol == symbol]
    margin = sum((each.notional for each in held), leverage * 0) / leverage
    buy, _ = core.max_size(account, symbol)
    free = core.available_margin(account)
    row = {
        "estAvailQuoteTrans": "",
        "estAvailTrans": num(free),
        "estLiqPx": num(held[0].liquidation_price) if held else "",
        "estMgn": num(margin),
        "estQuoteMgn": "",
        "estMaxAmt": num(listed.floor_size(buy * leverage / core.leverage(account, symbol))),
        "estQuoteMaxAmt": "",
        "existOrd": any(order.symbol == symbol for order in core.pending_orders(account)),
        "maxLever": num(listed.max_leverage),
        "minLever": "0.01",
    }
    return [row]


def max_withdrawal(venue: Venue, account: str, query: Query) -> Rows:
    free = num(venue.world.core.available_margin(account))
    if query.get("ccy", "USDT") != "USDT":
        return []
    return [{"ccy": "USDT", "maxWd": free, "maxWdEx": "", "spotOffsetMaxWd": "", "spotOffsetMaxWdEx": ""}]


def risk_state(venue: Venue, account: str, query: Query) -> Rows:
    """Of portfolio margin accounts, which there are none of here."""
    raise VenueRefusal("51010", "Request unsupported under current account mode")


def greeks(venue: Venue, account: str, query: Query) -> Rows:
    names = [f"{greek}{kind}" for greek in ("delta", "gamma", "theta", "vega") for kind in ("BS", "PA")]
    coins = sorted({coin(each.symbol) for each in venue.world.core.positions(account)})
    return [dict.fromkeys(names, "0") | {"ccy": each, "ts": ms(venue.now())} for each in coins]


def subtypes(venue: Venue, account: str, query: Query) -> Rows:
    """The kinds of bills that this venue books."""
    wanted = set(filter(None, query.get("type", "").split(",")))
    found: dict[str, dict[str, Any]] = {}
    for kind, meaning, subs in _SUBTYPES:
        row = found.setdefault(kind, {"type": kind, "typeDesc": meaning, "subTypeDetails": []})
        row["subTypeDetails"] += [{"subType": code, "subTypeDesc": text} for code, text in subs]
    return [row for kind, row in found.items() if not wanted or kind in wanted]


def interest_rate(venue: Venue, account: str, query: Query) -> Rows:
    rows = [{"ccy": "USDT", "interestRate": "0.0000040833333333"}]
    return [row for row in rows if query.get("ccy", "") in {"", row["ccy"]}]


def interest_limits(venue: Venue, account: str, query: Query) -> Rows:
    record = {"ccy": "USDT", "rate": "0.0001", "loanQuota": "0", "usedLoan": "0", "usedLmt": "0"}
    record |= {"surplusLmt": "0", "interest": "0", "posLoan": "0", "availLoan": "0"}
    row = {"debt": "0", "interest": "0", "loanAlloc": "", "nextDiscountTime": "", "nextInterestTime": ""}
    return [row | {"records": [record]}]


def valuation(venue: Venue, account: str, query: Query) -> Rows:
    """In the asked currency, which is dollars or something like them here."""
    equity = num(venue.world.core.balance(account).equity)
    parts = {"funding": "0", "trading": equity, "classic": "0", "earn": "0"}
    return [{"details": parts, "totalBal": equity, "ts": ms(venue.now())}]


def precheck(venue: Venue, account: str, body: Body) -> Rows:
    """What an order would do to the margin, or why it would be refused; it is not sent."""
    venue.step()
    asked = parse.place(body)
    initial, maintenance = venue.world.core.margin_of(account, asked)
    shown = venue.world.core.balance(account)
    row = {
        "adjEq": num(shown.equity),
        "availBal": num(shown.available),
        "availBalChg": num(-initial),
        "imr": num(shown.initial_margin),
        "imrChg": num(initial),
        "mgnRatio": num(shown.margin_ratio),
        "mmr": num(shown.maintenance_margin),
        "mmrChg": num(maintenance),
        **dict.fromkeys(("adjEqChg", "liab", "liabChg", "mgnRatioChg"), "0"),
        **dict.fromkeys(("liabChgCcy", "liqPx", "liqPxDiff", "liqPxDiffRatio"), ""),
        **dict.fromkeys(("posBal", "posBalChg", "type"), ""),
    }
    return [row]


def margin_balance(venue: Venue, account: str, body: Body) -> Rows:
    """Add to the margin of an isolated position, or take from it."""
    symbol, side = parse.text(body, "instId"), parse.word(body, "posSide", PosSide)
    venue.world.core.instrument(symbol)
    kind, amount = parse.text(body, "type"), parse.number(body, "amt")
    if kind not in {"add", "reduce"} or amount <= 0:
        raise VenueRefusal("51000", "Parameter type error" if amount > 0 else "Parameter amt error")
    signed = amount if kind == "add" else -amount
    venue.request(account, MarginRequest(symbol=symbol, pos_side=side, amount=signed))
    leverage = venue.world.core.leverage(account, symbol, TdMode.ISOLATED, side)
    row = {"instId": symbol, "posSide": side.value, "type": kind, "amt": num(amount)}
    return [row | {"leverage": num(leverage), "ccy": "USDT"}]


def _kept(key: str, *known: str) -> Callable[[Venue, str, Body], Rows]:
    """A setting with one value here: taken when it is that one, and told back."""

    def setting(venue: Venue, account: str, body: Body) -> Rows:
        asked = parse.text(body, key)
        if asked not in known:
            raise VenueRefusal("51000", f"Parameter {key} error")
        return [{key: asked}]

    return setting


def set_level(venue: Venue, account: str, body: Body) -> Rows:
    level = parse.text(body, "acctLv")
    if level != str(venue.world.core.account_level(account)):
        raise VenueRefusal("59004", "The account level can't be changed here.")
    return [{"acctLv": level}]


READS: Final[dict[str, Callable[[Venue, str, Query], Rows]]] = {
    "account/adjust-leverage-info": adjust_leverage_info,
    "account/max-withdrawal": max_withdrawal,
    "account/risk-state": risk_state,
    "account/greeks": greeks,
    "account/subtypes": subtypes,
    "account/interest-rate": interest_rate,
    "account/interest-limits": interest_limits,
    "asset/asset-valuation": valuation,
}
WRITES: Final[dict[str, Callable[[Venue, str, Body], Rows]]] = {
    "trade/order-precheck": precheck,
    "account/position/margin-balance": margin_balance,
    "account/set-isolated-mode": _kept("isoMode", "automatic"),
    "account/set-greeks": _kept("greeksType", "PA", "BS"),
    "account/set-fee-type": _kept("feeType", "0"),
    "account/set-settle-currency": _kept("settleCcy", "USDT"),
    "account/set-account-level": set_level,
}
