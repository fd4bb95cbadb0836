"""Reads what nof1.ai and nof0 serve, so that anyone can recompute their tables from a capture.

Lenient in form, strict in numbers: a bare array or any wrapper around it, numbers or strings, keys that are
missing where others say the same, keys that nobody knows. A row whose figures cannot be told is an error.

A trade as `/api/trades` has it (keys that are not read left out):
    {"id": "gpt-5_c1a9…", "model_id": "gpt-5", "side": "long", "quantity": 1818, "leverage": 1,
     "entry_price": 2.499, "entry_time": 1761314029.249, "entry_commission_dollars": 1.817272,
     "entry_closed_pnl": -1.817272, "exit_price": 2.6463, "exit_time": 1761418991.842,
     "exit_commission_dollars": 1.924439, "exit_closed_pnl": 265.994061, "realized_gross_pnl": 267.7914,
     "realized_net_pnl": 264.176789, "total_commission_dollars": 3.741711}
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from engine.core.decisions import Act
from engine.core.errors import CodecError
from engine.journal.stats import SignalFigures, TradeFigures

_S_PER_MIN: Final = 60.0
_SAID: Final = {
    "buy_to_enter": Act.BUY_TO_ENTER,
    "sell_to_enter": Act.SELL_TO_ENTER,
    "hold": Act.HOLD,
    "close_position": Act.CLOSE,
    "close": Act.CLOSE,
}


class CapturedTrade(msgspec.Struct, frozen=True, kw_only=True):
    """A closed trade of somebody. Times are epoch seconds."""

    trade_id: str
    model_id: str
    symbol: str
    entry_s: float
    exit_s: float
    figures: TradeFigures


class CapturedCycle(msgspec.Struct, frozen=True, kw_only=True):
    """One invocation of a model and what it said of each coin; `timestamp_s` is epoch seconds."""

    convo_id: str
    model_id: str
    timestamp_s: float
    coins: tuple[str, ...]
    signals: tuple[SignalFigures, ...]


def trades_of(raw: bytes) -> list[CapturedTrade]:
    """The trades of a capture, a repeated `id` once. Raises CodecError that names the row and the key."""
    found: dict[str, CapturedTrade] = {}
    for row in rows_of(raw, "trades"):
        trade = _trade(row)
        found[trade.trade_id or row.name] = trade
    return list(found.values())


def cycles_of(raw: bytes) -> list[CapturedCycle]:
    """The invocations of `/api/conversations` in nof1's shape, a repeated `id` once. Raises CodecError."""
    found: dict[str, CapturedCycle] = {}
    for row in rows_of(raw, "conversations"):
        if row.value.get("timestamp") is not None:  # nof0's other shape is a list of messages: no invocation
            cycle = _cycle(row)
            found[cycle.convo_id or row.name] = cycle
    return list(found.values())


class Row:
    """One object of a capture; what is asked of it and not there is an error that says where."""

    def __init__(self, name: str, value: Mapping[str, Any]) -> None:
        self.name, self.value = name, value

    def text(self, key: str) -> str:
        found = self.value.get(key)
        return "" if found is None else str(found)

    def maybe(self, key: str) -> float | None:
        """A number; None when the key is missing or null."""
        found = self.value.get(key)
        if found is None or found == "":
            return None
        try:
            number = math.nan if isinstance(found, bool) else float(found)
        except (TypeError, ValueError):
            number = math.nan
        if not math.isfinite(number):
            raise CodecError(f"{self.name}: {key} is no number: {found!r}")
        return number

    def number(self, key: str) -> float:
        found = self.maybe(key)
        if found is None:
            raise CodecError(f"{self.name}: {key} is missing")
        return found

    def inner(self, key: str) -> Row:
        """An object within this one; empty when there is none."""
        found = self.value.get(key)
        return Row(f"{self.name}, {key}", found if isinstance(found, dict) else {})

    def total(self, *keys: str) -> float | None:
        """Sum of all the keys; None when one is missing."""
        found = [self.maybe(key) for key in keys]
        known = [each for each in found if each is not None]
        return math.fsum(known) if len(known) == len(found) else None

    def seconds(self, side: str) -> float:
        """When a trade was entered or left; `2025-10-24 13:53:49.249000` is UTC."""
        found, human = self.maybe(f"{side}_time"), self.text(f"{side}_human_time")
        if found is not None or not human:
            return self.number(f"{side}_time")
        try:
            return datetime.fromisoformat(human).replace(tzinfo=UTC).timestamp()
        except ValueError as error:
            raise CodecError(f"{self.name}: {side}_human_time is no time: {human!r}") from error


def _trade(row: Row) -> CapturedTrade:
    quantity, entry, exit_ = row.number("quantity"), row.number("entry_price"), row.maybe("exit_price")
    side = (row.text("side") or row.text("trade_type")).lower()
    if side not in {"", "long", "short"}:
        raise CodecError(f"{row.name}: side is neither long nor short: {side!r}")
    is_long = side == "long" if side else quantity > 0
    signed = abs(quantity) if is_long else -abs(quantity)
    gross = row.maybe("realized_gross_pnl")
    if gross is None:
        gross = signed * ((row.number("exit_price") if exit_ is None else exit_) - entry)
    fees = _first(
        row.maybe("total_commission_dollars"),
        row.total("entry_commission_dollars", "exit_commission_dollars"),
    )
    net = _first(row.maybe("realized_net_pnl"), row.total("entry_closed_pnl", "exit_closed_pnl"))
    if fees is None:
        fees = 0.0 if net is None else gross - net
    entry_s, exit_s = row.seconds("entry"), row.seconds("exit")
    return CapturedTrade(
        trade_id=row.text("id") or row.text("trade_id"),
        model_id=row.text("model_id"),
        symbol=row.text("symbol"),
        entry_s=entry_s,
        exit_s=exit_s,
        figures=TradeFigures(
            gross=gross,
            net=gross - fees if net is None else net,
            fees=fees,
            notional=abs(quantity) * entry,
            holding_mins=(exit_s - entry_s) / _S_PER_MIN,
            is_long=is_long,
            leverage=_first(row.maybe("leverage"), 1.0) or 1.0,
        ),
    )


def _first(*candidates: float | None) -> float | None:
    return next((each for each in candidates if each is not None), None)


def _cycle(row: Row) -> CapturedCycle:
    said = row.value.get("llm_response")
    rows = said.items() if isinstance(said, dict) else ()
    found = [
        (str(coin), _signal(Row(f"{row.name}, {coin}", each)))
        for coin, each in rows
        if isinstance(each, dict)
    ]
    return CapturedCycle(
        convo_id=row.text("id"),
        model_id=row.text("model_id"),
        timestamp_s=row.number("timestamp"),
        coins=tuple(coin for coin, _ in found),
        signals=tuple(signal for _, signal in found),
    )


def _signal(row: Row) -> SignalFigures:
    act = _SAID.get(row.text("signal").lower())
    if act is None:
        raise CodecError(f"{row.name}: no known signal: {row.text('signal')!r}")
    return SignalFigures(
        act=act, confidence=row.maybe("confidence") or 0.0, leverage=row.maybe("leverage") or 1.0
    )


def rows_of(raw: bytes, name: str) -> list[Row]:
    """The objects of the array `name`. Raises CodecError."""
    try:
        rows = _rows(msgspec.json.decode(raw), name)
    except msgspec.DecodeError as error:
        raise CodecError(f"not JSON: {error}") from error
    if rows is None:
        raise CodecError(f"no array of {name} in it")
    found = []
    for number, row in enumerate(rows, 1):
        if not isinstance(row, dict):
            raise CodecError(f"{name} {number} is no object")
        found.append(Row(f"{name} {number} ({row.get('id', 'no id')})", row))
    return found


def _rows(value: Any, name: str) -> Sequence[Any] | None:
    """The array: bare, under its name, or inside whatever was wrapped around it."""
    if isinstance(value, list):
        return value
    if not isinstance(value, dict):
        return None
    if name in value:
        return _rows(value[name], name)
    inner = [_rows(each, name) for each in value.values() if isinstance(each, dict)]
    arrays = [each for each in value.values() if isinstance(each, list)]
    return next((rows for rows in inner if rows is not None), arrays[0] if len(arrays) == 1 else None)
