"""One scalar of a YAML tree as a value of a type that is no container, and both in words for a person."""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable
from decimal import Decimal, InvalidOperation
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, Final, Literal, get_args, get_origin

import msgspec
from msgspec import Meta

from engine.config.tree import Kind, MappingNode, Node, Scalar, SequenceNode
from engine.config.values import Duration, Secret

_NUMBERS: Final = (Kind.INT, Kind.FLOAT)


class Misfit(ValueError):
    """One scalar does not fit; the text says what was expected."""


def choices(base: Any) -> tuple[Any, ...]:
    """Values of a Literal or an Enum; empty for any other type."""
    if get_origin(base) is Literal:
        return get_args(base)
    if isinstance(base, type) and issubclass(base, Enum):
        return tuple(member.value for member in base)
    return ()


def describe(base: Any) -> str:
    """A type in words of a configuration file."""
    if allowed := choices(base):
        return f"one of {', '.join(repr(value) for value in allowed)}"
    words = {
        str: "text",
        int: "a whole number",
        float: "a number",
        Decimal: "a number",
        bool: "true or false",
        Duration: "a duration such as 15s, 3m or 1h",
        Secret: "text",
        Path: "a path",
        type(None): "nothing (null)",
    }
    origin = get_origin(base) or base
    return words.get(origin) or ("a list" if origin in (list, tuple, set, frozenset) else "a mapping")


def plain(node: Node) -> Any:
    """The node as ordinary Python data."""
    if isinstance(node, MappingNode):
        return {key: plain(entry.value) for key, entry in node.entries.items()}
    if isinstance(node, SequenceNode):
        return [plain(item) for item in node.items]
    match node.kind:
        case Kind.NULL:
            return None
        case Kind.BOOL:
            return node.text.lower() == "true"
        case Kind.INT:
            return _whole(node.text)
        case Kind.FLOAT:
            return float(node.text.replace(".inf", "inf").replace(".nan", "nan"))
        case Kind.STR:
            return node.text


def scalar(node: Scalar, base: Any) -> Any:
    """One scalar as a type that is no container. Raises Misfit."""
    if allowed := choices(base):
        return _choice(node, base, allowed)
    expected = f"expected {describe(base)}, got {shown(node)}"
    if base in (str, Path, Secret):
        if node.kind is Kind.STR or node.from_variable or (base is Secret and node.kind in _NUMBERS):
            return base(node.text)
        raise Misfit(expected + ("; put it in quotes" if node.kind is not Kind.NULL else ""))
    if base is Duration and (node.kind in _NUMBERS or node.kind is Kind.STR):
        try:
            return Duration.parse(node.text)
        except ValueError as error:
            raise Misfit(expected) from error
    if base is type(None) and node.kind is Kind.NULL:
        return None
    if base is bool and node.kind is Kind.BOOL:
        return plain(node)
    if base is int and node.kind is Kind.INT:
        return _whole(node.text)
    if base in (float, Decimal) and (node.kind in _NUMBERS or (base is Decimal and node.kind is Kind.STR)):
        return _number(node, base, expected)
    raise Misfit(expected)


def _number(node: Scalar, base: type[float] | type[Decimal], expected: str) -> float | Decimal:
    """From the text itself: a Decimal never passes through a float."""
    try:
        number = base(_whole(node.text) if node.kind is Kind.INT else node.text)
    except (ValueError, InvalidOperation):
        raise Misfit(expected) from None
    if not math.isfinite(number):
        raise Misfit(expected)
    return number


def _choice(node: Scalar, base: Any, allowed: tuple[Any, ...]) -> Any:
    value = plain(node)
    for candidate in (value, node.text) if node.kind is Kind.STR or node.from_variable else (value,):
        if any(candidate == known and type(candidate) is type(known) for known in allowed):
            return candidate if get_origin(base) is Literal else base(candidate)
    close = difflib.get_close_matches(str(node.text), [str(known) for known in allowed], 1)
    hint = f", did you mean {close[0]!r}?" if close else ""
    raise Misfit(f"{shown(node)} is not one of {', '.join(repr(known) for known in allowed)}{hint}")


def constrain(value: Any, meta: Meta) -> None:
    """Check one annotation; msgspec itself has no bounds for Decimal. Raises Misfit."""
    limits: tuple[tuple[Any, str, Callable[[Any, Any], bool]], ...] = (
        (meta.gt, "above", lambda a, b: a > b),
        (meta.ge, "at least", lambda a, b: a >= b),
        (meta.lt, "below", lambda a, b: a < b),
        (meta.le, "at most", lambda a, b: a <= b),
    )
    for limit, words, holds in limits:
        if limit is not None and not holds(value, limit):
            raise Misfit(f"{value} must be {words} {limit}")
    if isinstance(value, str):
        if meta.min_length is not None and len(value) < meta.min_length:
            raise Misfit(f"{value!r} must have at least {meta.min_length} characters")
        if meta.max_length is not None and len(value) > meta.max_length:
            raise Misfit(f"{value!r} must have at most {meta.max_length} characters")
        if meta.pattern is not None:
            try:
                msgspec.convert(value, Annotated[str, Meta(pattern=meta.pattern)])
            except msgspec.ValidationError:
                raise Misfit(f"{value!r} does not match {meta.pattern}") from None


def _whole(text: str) -> int:
    digits = text.replace("_", "")
    return int(digits, 0 if digits.lstrip("+-")[:2].lower() in ("0x", "0o", "0b") else 10)


def shown(node: Node) -> str:
    """What was found, for a message; what came from a variable may be a secret."""
    if not isinstance(node, Scalar):
        return f"a {shape(node)}"
    if node.kind is Kind.NULL:
        return "nothing"
    return "the variable" if node.from_variable else repr(node.text)


def shape(node: Node) -> str:
    """Which container it is."""
    return "list" if isinstance(node, SequenceNode) else "mapping"
