"""Ways in which endpoints and models misbehave, asked for by model name: `rules-only-demo+nan`.

Several may follow each other (`+no-schema+bad-once`), and some take a number (`+slow:2`, `+status:503`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import msgspec

from engine.core.errors import CodecError

_BAD_SYMBOL: Final = '{"reasoning": "x", "decisions": [{"symbol": "NOSUCHCOIN", "signal": "hold"}]}'


class Fault(msgspec.Struct, frozen=True):
    """One fault with its number, None when it was given none."""

    name: str
    number: float | None = None


def _entry(symbol: str = "BTC", **fields: str) -> str:
    """A one-action answer, with fields as raw JSON: what no encoder would write can be written."""
    given = {"signal": '"buy_to_enter"', "leverage": "3", "position_size_usd": "1000", "confidence": "0.8"}
    body = ", ".join(f'"{key}": {value}' for key, value in (given | fields).items())
    return f'{{"reasoning": "a fault on demand", "decisions": [{{"symbol": "{symbol}", {body}}}]}}'


# What becomes of the content of an answer.
CONTENT: Final[dict[str, Callable[[str], str]]] = {
    "prose": lambda _: "I would buy BTC here with 10x leverage and a stop at 1% below. Strong conviction!",
    "fence": lambda content: f"```json\n{content}\n```",
    "preamble": lambda content: f"Here is my decision:\n{content}",
    "cut": lambda content: content[: len(content) * 2 // 3],
    "empty": lambda _: "",
    "nan": lambda _: _entry(stop_loss="NaN"),
    "string-nan": lambda _: _entry(stop_loss='"NaN"'),
    "infinity": lambda _: _entry(position_size_usd="Infinity"),
    "wrong-enum": lambda _: _entry(signal='"yolo"'),
    "unknown-symbol": lambda _: _BAD_SYMBOL,
    "leverage": lambda _: _entry(leverage="500", stop_loss="1"),
    "stop-side": lambda _: _entry(stop_loss="99999999"),
    "macd-array": lambda _: "[0.1, 0.2, 0.3]",
    "think": lambda content: f"<think>\nlet me see\n</think>\n{content}",
}
# What becomes of the request or of the connection: see engine.modelserver.app.
TRANSPORT: Final = frozenset(
    {
        "slow",  # number: seconds, 30 when not given
        "status",  # number: the HTTP status
        "flaky",  # number: how many requests are answered 429 before one is served
        "garbage",  # 200 with a page of HTML
        "other-json",  # 200 with JSON that is no completion
        "no-choices",
        "drop",  # the connection is closed without an answer
        "no-schema",  # 400 for response_format json_schema
        "no-format",  # 400 for any response_format
        "truncated",  # cut, and said so by finish_reason
        "bad-once",  # the first answer of a conversation is prose
        "echo-key",  # 401 that repeats the key
    }
)


def parse_model(name: str) -> tuple[str, tuple[Fault, ...]]:
    """Model name and faults of `model+fault:number+fault`. Raises CodecError for a fault that is none."""
    model, *parts = name.split("+")
    return model, tuple(_fault(part) for part in parts)


def _fault(text: str) -> Fault:
    name, _, number = text.partition(":")
    if name not in CONTENT and name not in TRANSPORT:
        known = ", ".join(sorted({*CONTENT, *TRANSPORT}))
        raise CodecError(f"no fault {name!r}; known: {known}")
    try:
        return Fault(name, float(number) if number else None)
    except ValueError as error:
        raise CodecError(f"fault {name}: {number!r} is not a number") from error
