"""Request bodies into the matching core's requests, with the venue's words for what is wrong."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from enum import StrEnum
from typing import Any, TypeVar

from engine.core.market import Side
from engine.exchange.matching.types import (
    AlgoAmend,
    AlgoRequest,
    AlgoType,
    AmendRequest,
    AttachedAlgo,
    AttachedAmend,
    CloseRequest,
    OrderRequest,
    OrdType,
    PosSide,
    TdMode,
    TriggerType,
    VenueRefusal,
)
from engine.exchange.simulator.requests import Cancel, CancelAlgo

E = TypeVar("E", bound=StrEnum)
Body = Mapping[str, Any]
_LONGEST_ID = 32
_LARGEST = Decimal(10**15)  # beyond it, steps of a tick can no longer be counted exactly


def place(body: Body) -> OrderRequest:
    attached = objects(body, "attachAlgoOrds")
    if not attached and (body.get("tpTriggerPx") or body.get("slTriggerPx")):
        attached = [body]
    return OrderRequest(
        symbol=text(body, "instId"),
        side=word(body, "side", Side),
        size=number(body, "sz"),
        ord_type=word(body, "ordType", OrdType),
        price=optional(body, "px"),
        td_mode=word(body, "tdMode", TdMode),
        pos_side=word(body, "posSide", PosSide, PosSide.NET),
        client_order_id=client_id(body, "clOrdId"),
        reduce_only=flag(body, "reduceOnly"),
        tag=str(body.get("tag") or ""),
        clamp_price=_clamps(body),
        attached=tuple(_attached(each) for each in attached),
    )


def _attached(body: Body) -> AttachedAlgo:
    return AttachedAlgo(
        client_id=client_id(body, "attachAlgoClOrdId"),
        tp_trigger=optional(body, "tpTriggerPx"),
        tp_price=optional(body, "tpOrdPx") or Decimal(-1),
        tp_trigger_type=word(body, "tpTriggerPxType", TriggerType, TriggerType.LAST),
        sl_trigger=optional(body, "slTriggerPx"),
        sl_price=optional(body, "slOrdPx") or Decimal(-1),
        sl_trigger_type=word(body, "slTriggerPxType", TriggerType, TriggerType.LAST),
    )


def cancel(body: Body) -> Cancel:
    _one_id(body, "ordId", "clOrdId")
    return Cancel(text(body, "instId"), str(body.get("ordId") or ""), str(body.get("clOrdId") or ""))


def amend(body: Body) -> AmendRequest:
    _one_id(body, "ordId", "clOrdId")
    return AmendRequest(
        symbol=text(body, "instId"),
        order_id=str(body.get("ordId") or ""),
        client_order_id=str(body.get("clOrdId") or ""),
        size=optional(body, "newSz"),
        price=optional(body, "newPx"),
        cancel_on_fail=flag(body, "cxlOnFail"),
        req_id=str(body.get("reqId") or ""),
        clamp_price=_clamps(body),
        attached=tuple(
            AttachedAmend(
                client_id=str(each.get("attachAlgoClOrdId") or ""),
                attach_id=str(each.get("attachAlgoId") or ""),
                tp_trigger=optional(each, "newTpTriggerPx"),
                tp_price=optional(each, "newTpOrdPx"),
                sl_trigger=optional(each, "newSlTriggerPx"),
                sl_price=optional(each, "newSlOrdPx"),
            )
            for each in objects(body, "attachAlgoOrds")
        ),
    )


def place_algo(body: Body) -> AlgoRequest:
    return AlgoRequest(
        symbol=text(body, "instId"),
        side=word(body, "side", Side),
        algo_type=word(body, "ordType", AlgoType),
        size=optional(body, "sz"),
        close_fraction=optional(body, "closeFraction"),
        td_mode=word(body, "tdMode", TdMode),
        pos_side=word(body, "posSide", PosSide, PosSide.NET),
        client_id=client_id(body, "algoClOrdId"),
        reduce_only=flag(body, "reduceOnly"),
        cancel_on_close=flag(body, "cxlOnClosePos"),
        tag=str(body.get("tag") or ""),
        tp_trigger=optional(body, "tpTriggerPx"),
        tp_price=optional(body, "tpOrdPx") or Decimal(-1),
        tp_trigger_type=word(body, "tpTriggerPxType", TriggerType, TriggerType.LAST),
        sl_trigger=optional(body, "slTriggerPx"),
        sl_price=optional(body, "slOrdPx") or Decimal(-1),
        sl_trigger_type=word(body, "slTriggerPxType", TriggerType, TriggerType.LAST),
        trigger_price=optional(body, "triggerPx"),
        trigger_type=word(body, "triggerPxType", TriggerType, TriggerType.LAST),
        order_price=optional(body, "orderPx") or Decimal(-1),
        callback_ratio=optional(body, "callbackRatio"),
        callback_spread=optional(body, "callbackSpread"),
        active_price=optional(body, "activePx"),
    )


def cancel_algo(body: Body) -> CancelAlgo:
    _one_id(body, "algoId", "algoClOrdId")
    return CancelAlgo(text(body, "instId"), str(body.get("algoId") or ""), str(body.get("algoClOrdId") or ""))


def amend_algo(body: Body) -> AlgoAmend:
    _one_id(body, "algoId", "algoClOrdId")
    tp_type, sl_type = body.get("newTpTriggerPxType"), body.get("newSlTriggerPxType")
    return AlgoAmend(
        symbol=text(body, "instId"),
        algo_id=str(body.get("algoId") or ""),
        client_id=str(body.get("algoClOrdId") or ""),
        size=optional(body, "newSz"),
        tp_trigger=optional(body, "newTpTriggerPx"),
        tp_price=optional(body, "newTpOrdPx"),
        tp_trigger_type=word(body, "newTpTriggerPxType", TriggerType) if tp_type else None,
        sl_trigger=optional(body, "newSlTriggerPx"),
        sl_price=optional(body, "newSlOrdPx"),
        sl_trigger_type=word(body, "newSlTriggerPxType", TriggerType) if sl_type else None,
        trigger_price=optional(body, "newTriggerPx"),
        order_price=optional(body, "newOrdPx"),
        cancel_on_fail=flag(body, "cxlOnFail"),
        req_id=str(body.get("reqId") or ""),
    )


def close_position(body: Body) -> CloseRequest:
    return CloseRequest(
        symbol=text(body, "instId"),
        td_mode=word(body, "mgnMode", TdMode),
        pos_side=word(body, "posSide", PosSide, PosSide.NET),
        auto_cancel=flag(body, "autoCxl"),
        client_order_id=client_id(body, "clOrdId"),
        tag=str(body.get("tag") or ""),
    )


# -- values


def text(body: Body, key: str) -> str:
    """A text that must be there. Raises VenueRefusal 50014."""
    value = body.get(key)
    if not isinstance(value, str) or not value:
        raise VenueRefusal("50014", f"Parameter {key} can not be empty")
    return value


def word(body: Body, key: str, kind: type[E], default: E | None = None) -> E:
    """One of the words of `kind`. Raises VenueRefusal 51000."""
    value = body.get(key) or default
    if value is None:
        raise VenueRefusal("50014", f"Parameter {key} can not be empty")
    try:
        return kind(value)
    except ValueError as error:
        raise VenueRefusal("51000", f"Parameter {key} error") from error


def number(body: Body, key: str) -> Decimal:
    value = optional(body, key)
    if value is None:
        raise VenueRefusal("50014", f"Parameter {key} can not be empty")
    return value


def optional(body: Body, key: str) -> Decimal | None:
    """A decimal; None when absent or empty. Raises VenueRefusal 51000 for what is no plain number."""
    value = body.get(key)
    if value is None or value == "":
        return None
    try:
        found = Decimal(str(value))
    except InvalidOperation as error:
        raise VenueRefusal("51000", f"Parameter {key} error") from error
    if not found.is_finite() or abs(found) >= _LARGEST or "e" in str(value).lower():
        raise VenueRefusal("51000", f"Parameter {key} error")
    return found


def flag(body: Body, key: str) -> bool:
    """A boolean, which some clients send as a string."""
    return body.get(key) in (True, "true")  # a tuple: what comes may not be hashable


def _clamps(body: Body) -> bool:
    """Whether a price beyond the limits is to become the limit. Raises VenueRefusal 51000."""
    kind = str(body.get("pxAmendType") or "0")
    if kind not in {"0", "1"}:
        raise VenueRefusal("51000", "Parameter pxAmendType error")
    return kind == "1"


def objects(body: Body, key: str) -> list[Body]:
    """A list of objects; empty when absent. Raises VenueRefusal 51000."""
    value = body.get(key) or []
    if not isinstance(value, list) or not all(isinstance(each, dict) for each in value):
        raise VenueRefusal("51000", f"Parameter {key} error")
    return value


def client_id(body: Body, key: str) -> str:
    """Case-sensitive letters and digits, at most 32. Raises VenueRefusal 51000."""
    value = str(body.get(key) or "")
    if value and not (value.isascii() and value.isalnum() and len(value) <= _LONGEST_ID):
        raise VenueRefusal("51000", f"Parameter {key} error")
    return value


def _one_id(body: Body, *keys: str) -> None:
    if not any(body.get(key) for key in keys):
        raise VenueRefusal("51000", f"Either parameter {' or '.join(keys)} is required")
