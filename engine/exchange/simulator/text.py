"""How OKX writes values: numbers as strings, "" for what there is not, times in milliseconds."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from engine.core.times import NS_PER_MS

Row = dict[str, Any]


def num(value: Decimal | int | None) -> str:
    """A number without an exponent and without trailing zeros; "" for None."""
    if value is None:
        return ""
    text = format(value, "f")
    return (text.rstrip("0").rstrip(".") or "0") if "." in text else text


def ms(ts_ns: int) -> str:
    """Milliseconds; "" for no time."""
    return str(ts_ns // NS_PER_MS) if ts_ns else ""


def truth(value: bool) -> str:
    """The venue's booleans that are strings."""
    return "true" if value else "false"
