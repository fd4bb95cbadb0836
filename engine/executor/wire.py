"""The JSON that a model answers with: its schema, and the way from text to typed wire actions.

The fields are those of nof0; the spellings of nof1 (`coin`, `profit_target`, `quantity`, one object per
coin) are read too. What is read is JSON and nothing else: prose, a code fence, a cut or ambiguous text is
refused, never searched for something that looks like a trade.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from decimal import Decimal
from typing import Any, Final, Literal

import msgspec

from engine.core.decisions import Act
from engine.core.errors import DecisionRefused

SCHEMA_NAME: Final = "edgewise.decision/1"
Signal = Literal["buy_to_enter", "sell_to_enter", "hold", "close_position", "reduce_position", "move_stop"]

_MOST_ACTIONS: Final = 50
_LONGEST_NUMBER: Final = 40
_SIGNALS: Final = {"open_long": "buy_to_enter", "open_short": "sell_to_enter", "close": "close_position"}
_ACTION_KEYS: Final = {
    "action": "signal",
    "coin": "symbol",
    "profit_target": "take_profit",
    "justification": "reasoning",
}
_LIST_KEYS: Final = frozenset({"decisions", "actions"})
_THOUGHT_KEYS: Final = frozenset({"reasoning", "justification", "analysis", "cot_trace"})


class WireAction(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One symbol's part of an answer, as it was written: nothing is checked but the types."""

    symbol: str
    signal: Signal
    reasoning: str | None = None
    leverage: Decimal | None = None
    position_size_usd: Decimal | None = None
    entry_price: Decimal | None = None
    stop_loss: Decimal | None = None
    take_profit: Decimal | None = None
    risk_usd: Decimal | None = None
    confidence: Decimal | None = None
    close_fraction: Decimal | None = None
    invalidation_condition: str | None = None
    quantity: Decimal | None = None  # nof1: coins
    is_add: bool | None = None  # nof1

    @property
    def act(self) -> Act:
        return Act(self.signal)


class WireAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """A whole answer."""

    reasoning: str = ""
    decisions: tuple[WireAction, ...]


_UNASKED: Final = frozenset({"quantity", "is_add"})  # read when given, not offered in the schema


def answer_schema(symbols: Sequence[str]) -> bytes:
    """JSON Schema of an answer about `symbols`, made from WireAction.

    In the subset that strict structured output takes: every property required, no others allowed, unknown
    values null, no keywords beyond types and enums.
    """
    _, components = msgspec.json.schema_components([WireAction])
    fields = components["WireAction"]["properties"]
    action = {name: _strict(field) for name, field in fields.items() if name not in _UNASKED}
    action["symbol"] = {"type": "string", "enum": list(symbols)}
    root = {
        "reasoning": {"type": "string"},
        "decisions": {"type": "array", "items": _object(action)},
    }
    return msgspec.json.encode(_object(root))


def read_answer(text: str) -> WireAnswer:
    """The wire actions in `text`. Raises DecisionRefused with a code for what is wrong with it."""
    root = _json(text)
    thought = ""
    if isinstance(root, list):
        items = root
    elif isinstance(root, dict):
        items, thought = _items(root)
    else:
        raise DecisionRefused("not_an_answer", "expected a JSON object with `decisions`")
    if len(items) > _MOST_ACTIONS:
        raise DecisionRefused("too_many_actions", f"{len(items)} decisions, at most {_MOST_ACTIONS}")
    problems: list[DecisionRefused] = []
    actions = [_action(item, f"decisions[{i}]", problems) for i, item in enumerate(items)]
    raise_together(problems)
    return WireAnswer(reasoning=clean(thought), decisions=tuple(a for a in actions if a is not None))


def raise_together(problems: Sequence[DecisionRefused]) -> None:
    """Raise the problems as one refusal: the code of the first, the texts of all."""
    if problems:
        raise DecisionRefused(problems[0].reason, "; ".join(str(problem) for problem in problems[:10]))


def clean(text: str, longest: int = 4000) -> str:
    """Text that UTF-8 and the database take: no NUL, no half of a surrogate pair, not too long."""
    return text[:longest].encode(errors="replace").decode().replace("\x00", "?")


def _json(text: str) -> Any:
    stripped = text.strip()
    if not stripped:
        raise DecisionRefused("empty", "the answer is empty")
    if stripped.startswith("```"):
        raise DecisionRefused("fenced", "the answer is in a code fence; send the bare JSON object")
    if stripped[0] not in "{[":
        raise DecisionRefused("not_json", f"the answer is not JSON; it begins with {clean(stripped, 40)!r}")
    try:
        return _DECODER.decode(stripped)
    except json.JSONDecodeError as error:
        cut = error.pos >= len(stripped) or error.msg.startswith("Unterminated string")
        code = "truncated" if cut else "not_json"
        raise DecisionRefused(code, f"not JSON at character {error.pos}: {error.msg}") from error
    except RecursionError as error:
        raise DecisionRefused("not_json", "nested too deep") from error


def _object_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise DecisionRefused("duplicate_key", "a key stands twice in one object")
    return found


def _number(text: str) -> Decimal:
    if len(text) > _LONGEST_NUMBER:
        raise DecisionRefused("bad_number", f"{text[:_LONGEST_NUMBER]}... has too many digits")
    return Decimal(text)


def _not_finite(text: str) -> Any:
    raise DecisionRefused("not_finite", f"{text} is not a number of JSON")


_DECODER: Final = json.JSONDecoder(
    object_pairs_hook=_object_once, parse_float=_number, parse_int=_number, parse_constant=_not_finite
)


def _items(root: dict[str, Any]) -> tuple[list[Any], str]:
    """The list of actions of any of the shapes, and the reasoning beside it."""
    lists = [key for key in root if key in _LIST_KEYS]
    if len(lists) == 1:
        if unknown := sorted(set(root) - set(lists) - _THOUGHT_KEYS):
            raise DecisionRefused(
                "unknown_field", f"unknown field {clean(unknown[0], 60)!r} beside {lists[0]}"
            )
        if not isinstance(root[lists[0]], list):
            raise DecisionRefused("not_an_answer", f"{lists[0]} must be a list")
        thoughts = [value for key, value in root.items() if key in _THOUGHT_KEYS and isinstance(value, str)]
        return root[lists[0]], "\n".join(thoughts)
    if "signal" in root or "action" in root:
        return [root], ""
    if root and not lists and all(isinstance(value, dict) for value in root.values()):
        return [_per_coin(coin, value) for coin, value in root.items()], ""
    raise DecisionRefused("not_an_answer", "expected a JSON object with one list `decisions`")


def _per_coin(coin: str, value: dict[str, Any]) -> dict[str, Any]:
    """nof1's shape: coin → arguments, or coin → {trade_signal_args: arguments}."""
    args = value.get("trade_signal_args", value)
    if not isinstance(args, dict):
        raise DecisionRefused("not_an_answer", f"{clean(coin, 60)}: expected an object")
    if args.get("coin", args.get("symbol", coin)) != coin:
        raise DecisionRefused("ambiguous", f"{clean(coin, 60)}: the symbol inside is another one")
    return args if "coin" in args or "symbol" in args else {"symbol": coin} | args


def _action(item: Any, where: str, problems: list[DecisionRefused]) -> WireAction | None:
    if not isinstance(item, dict):
        problems.append(DecisionRefused("not_an_answer", f"{where}: expected an object"))
        return None
    fields: dict[str, Any] = {}
    for key, value in item.items():
        name = _ACTION_KEYS.get(key, str(key))
        if name in fields:
            problems.append(DecisionRefused("ambiguous", f"{where}: {name} is given under two names"))
        fields[name] = value
    signal = fields.get("signal")
    if isinstance(signal, str):
        fields["signal"] = _SIGNALS.get(signal, signal)
    try:
        return msgspec.convert(fields, WireAction)
    except msgspec.ValidationError as error:
        problems.append(DecisionRefused(_code(str(error)), f"{where}: {clean(str(error), 300)}"))
        return None


def _code(message: str) -> str:
    if "unknown field" in message:
        return "unknown_field"
    if "missing required" in message:
        return "missing_field"
    if "enum value" in message:
        return "wrong_enum"
    return "wrong_type"


def _strict(field: dict[str, Any]) -> dict[str, Any]:
    """A field's schema without defaults; exact decimals are plain numbers on the wire."""
    if "anyOf" in field:
        return {"anyOf": [_strict(member) for member in field["anyOf"]]}
    if field.get("format") == "decimal":
        return {"type": "number"}
    if "enum" in field:
        return {"type": "string", "enum": list(field["enum"])}
    return {"type": field["type"]}


def _object(properties: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }
