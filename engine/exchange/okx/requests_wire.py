"""What is sent to trade: typed bodies, by position mode. Pure.

https://www.okx.com/docs-v5/en/#order-book-trading-trade-post-place-order and, for stops and targets,
https://www.okx.com/docs-v5/en/#order-book-trading-algo-trading-post-place-algo-order

    mode        side of the order   posSide      reduceOnly
    net         buy or sell         not sent     true where asked for
    long_short  buy or sell         long/short   not sent (a close is reduce-only by itself)

REST names the instrument by `instId`, the socket by `instIdCode` (see `for_socket`).
"""

from __future__ import annotations

from typing import Final

import msgspec

from engine.core.orders import Order, OrderType, Purpose, stop_client_id
from engine.exchange.okx.numbers import plain
from engine.exchange.ports import Amendment, PositionMode, Protection, ProtectionRequest

_AT_MARKET: Final = "-1"
_REMOVE: Final = "0"


class TradeTerms(msgspec.Struct, frozen=True):
    """What is the same for every order of an account."""

    position_mode: PositionMode
    margin_mode: str
    trigger_price: str  # last, mark or index
    tag: str = ""
    clamp: bool = False  # a price beyond the limits becomes the limit (pxAmendType 1), else it is refused


class AttachedBody(msgspec.Struct, omit_defaults=True):
    attachAlgoClOrdId: str
    slTriggerPx: str = ""
    slTriggerPxType: str = ""
    slOrdPx: str = ""
    tpTriggerPx: str = ""
    tpTriggerPxType: str = ""
    tpOrdPx: str = ""


class OrderBody(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    instId: str = ""
    instIdCode: int | None = None
    tdMode: str
    side: str
    ordType: str
    sz: str
    clOrdId: str
    px: str = ""
    pxAmendType: str = ""
    posSide: str = ""
    reduceOnly: bool = False
    tag: str = ""
    attachAlgoOrds: tuple[AttachedBody, ...] = ()


def order_body(order: Order, terms: TradeTerms, *, reduce_only: bool) -> OrderBody:
    """Body of trade/order. `reduce_only` is heeded in net mode only."""
    intent = order.intent
    net = terms.position_mode is PositionMode.NET
    return OrderBody(
        instId=intent.symbol,
        tdMode=terms.margin_mode,
        side=intent.side.value,
        ordType=intent.order_type.value,
        sz=plain(intent.contracts),
        clOrdId=order.client_order_id,
        px=plain(intent.price)
        if intent.price is not None and intent.order_type is not OrderType.MARKET
        else "",
        pxAmendType="1" if terms.clamp and intent.price is not None else "",
        posSide="" if net else intent.position_side.value,
        reduceOnly=net and reduce_only,
        tag=terms.tag,
        attachAlgoOrds=_attached(order, terms),
    )


def _attached(order: Order, terms: TradeTerms) -> tuple[AttachedBody, ...]:
    """Stop and target of an entry in one element, so that the one cancels the other."""
    intent = order.intent
    if intent.purpose is not Purpose.ENTRY or (intent.stop_loss is None and intent.take_profit is None):
        return ()
    body = AttachedBody(attachAlgoClOrdId=stop_client_id(order.client_order_id))
    if intent.stop_loss is not None:
        body.slTriggerPx, body.slOrdPx = plain(intent.stop_loss), _AT_MARKET
        body.slTriggerPxType = terms.trigger_price
    if intent.take_profit is not None:
        body.tpTriggerPx, body.tpOrdPx = plain(intent.take_profit), _AT_MARKET
        body.tpTriggerPxType = terms.trigger_price
    return (body,)


class CancelBody(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    instId: str = ""
    instIdCode: int | None = None
    ordId: str = ""
    clOrdId: str = ""


def cancel_body(order: Order) -> CancelBody:
    """Body of trade/cancel-order; by venue id when it is known (an algo's order has no client id)."""
    if order.venue_order_id:
        return CancelBody(instId=order.intent.symbol, ordId=order.venue_order_id)
    return CancelBody(instId=order.intent.symbol, clOrdId=order.client_order_id)


class AmendBody(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    instId: str = ""
    instIdCode: int | None = None
    ordId: str = ""
    clOrdId: str = ""
    reqId: str = ""
    newSz: str = ""
    newPx: str = ""
    pxAmendType: str = ""


def amend_body(order: Order, change: Amendment, terms: TradeTerms) -> AmendBody:
    """Body of trade/amend-order. A refused amendment leaves the order as it is (cxlOnFail is not sent)."""
    known = order.venue_order_id
    return AmendBody(
        instId=order.intent.symbol,
        ordId=known,
        clOrdId="" if known else order.client_order_id,
        reqId=change.request_id,
        newSz="" if change.contracts is None else plain(change.contracts),
        newPx="" if change.price is None else plain(change.price),
        pxAmendType="1" if terms.clamp and change.price is not None else "",
    )


Body = OrderBody | CancelBody | AmendBody


def for_socket(body: Body, code: int) -> Body:
    """The same request as the socket takes it: the instrument by its number."""
    return msgspec.structs.replace(body, instId="", instIdCode=code)


class AlgoBody(msgspec.Struct, omit_defaults=True):
    instId: str
    tdMode: str
    side: str
    ordType: str
    sz: str
    algoClOrdId: str
    posSide: str = ""
    reduceOnly: bool = False
    tag: str = ""
    slTriggerPx: str = ""
    slTriggerPxType: str = ""
    slOrdPx: str = ""
    tpTriggerPx: str = ""
    tpTriggerPxType: str = ""
    tpOrdPx: str = ""
    callbackRatio: str = ""
    callbackSpread: str = ""
    activePx: str = ""


def algo_body(request: ProtectionRequest, terms: TradeTerms, *, reduce_only: bool) -> bytes:
    """Body of trade/order-algo: `oco` for a stop with a target, `move_order_stop` for a trailing one.

    Sized by contracts, never by closeFraction: other traders may hold the rest of the position.
    """
    kind = "conditional"
    if request.trailing is not None:
        kind = "move_order_stop"
    elif request.stop_loss is not None and request.take_profit is not None:
        kind = "oco"
    net = terms.position_mode is PositionMode.NET
    body = AlgoBody(
        instId=request.symbol,
        tdMode=terms.margin_mode,
        side=request.position_side.exit_side.value,
        ordType=kind,
        sz=plain(request.contracts),
        algoClOrdId=request.client_id,
        posSide="" if net else request.position_side.value,
        reduceOnly=net and reduce_only,
        tag=terms.tag,
    )
    if request.stop_loss is not None:
        body.slTriggerPx, body.slOrdPx = plain(request.stop_loss), _AT_MARKET
        body.slTriggerPxType = terms.trigger_price
    if request.take_profit is not None:
        body.tpTriggerPx, body.tpOrdPx = plain(request.take_profit), _AT_MARKET
        body.tpTriggerPxType = terms.trigger_price
    if (trailing := request.trailing) is not None:
        body.callbackRatio = "" if trailing.ratio is None else plain(trailing.ratio)
        body.callbackSpread = "" if trailing.distance is None else plain(trailing.distance)
        body.activePx = "" if trailing.activation is None else plain(trailing.activation)
    return msgspec.json.encode(body)


class AmendAlgoBody(msgspec.Struct, omit_defaults=True):
    instId: str
    algoId: str
    newSz: str = ""
    newSlTriggerPx: str = ""
    newSlOrdPx: str = ""
    newTpTriggerPx: str = ""
    newTpOrdPx: str = ""


def amend_algo_body(protection: Protection, request: ProtectionRequest) -> bytes:
    """Body of trade/amend-algos with what differs; a trigger price of 0 takes that leg away."""
    body = AmendAlgoBody(protection.symbol, protection.venue_id)
    if request.contracts != protection.contracts:
        body.newSz = plain(request.contracts)
    if request.stop_loss != protection.stop_loss:
        body.newSlTriggerPx = _REMOVE if request.stop_loss is None else plain(request.stop_loss)
        body.newSlOrdPx = "" if request.stop_loss is None else _AT_MARKET
    if request.take_profit != protection.take_profit:
        body.newTpTriggerPx = _REMOVE if request.take_profit is None else plain(request.take_profit)
        body.newTpOrdPx = "" if request.take_profit is None else _AT_MARKET
    return msgspec.json.encode(body)


class CancelAlgoBody(msgspec.Struct):
    instId: str
    algoId: str


def cancel_algo_body(protection: Protection) -> bytes:
    """Body of trade/cancel-algos: an array of one."""
    return msgspec.json.encode([CancelAlgoBody(protection.symbol, protection.venue_id)])


class LeverageBody(msgspec.Struct):
    instId: str
    lever: str
    mgnMode: str


def leverage_body(symbol: str, lever: str, margin_mode: str) -> bytes:
    """Body of account/set-leverage; cross margin has one leverage for both sides."""
    return msgspec.json.encode(LeverageBody(symbol, lever, margin_mode))
