"""OKX writes every number as a string, and "" for none. Here they become numbers, or CodecError."""

from __future__ import annotations

from decimal import Decimal, InvalidOperation
from typing import Final

from engine.core.errors import CodecError, Defect
from engine.core.times import NS_PER_MS

_LONGEST: Final = 128  # characters; balances have about 35
_LARGEST_EXPONENT: Final = 30
LAST_MS: Final = 9_223_372_036_000  # still fits 64 bits as nanoseconds


def decimal(text: str | None) -> Decimal | None:
    """The number, None for "" and for a missing field. Raises CodecError."""
    if not text:
        return None
    try:
        value = Decimal(text) if len(text) <= _LONGEST else None
    except InvalidOperation:
        value = None
    if value is None or not value.is_finite() or abs(value.adjusted()) > _LARGEST_EXPONENT:
        raise CodecError(f"{text[:_LONGEST]!r} is no number", text.encode(errors="replace"), Defect.VALUE)
    return value


def required(text: str | None, name: str) -> Decimal:
    """The number of a field that must have one. Raises CodecError."""
    value = decimal(text)
    if value is None:
        raise CodecError(f"{name} is empty", defect=Defect.VALUE)
    return value


def or_zero(text: str | None) -> Decimal:
    """The number, or 0 where the venue leaves out what is nothing."""
    return decimal(text) or Decimal(0)


def ms_to_ns(text: str | None) -> int:
    """A time in milliseconds as nanoseconds, 0 when there is none. Raises CodecError."""
    if not text:
        return 0
    try:
        return ns(int(text)) if len(text) <= _LONGEST else ns(-1)
    except ValueError as error:
        raise CodecError(f"{text[:_LONGEST]!r} is no time", defect=Defect.VALUE) from error


def ns(ms: int) -> int:
    """Nanoseconds of a time in milliseconds. Raises CodecError when it is out of any calendar."""
    if 0 <= ms <= LAST_MS:
        return ms * NS_PER_MS
    raise CodecError(f"{ms} is no time in milliseconds", defect=Defect.VALUE)


def plain(value: Decimal) -> str:
    """A number as OKX takes it: no exponent, no trailing zeros."""
    text = format(value, "f")
    return text.rstrip("0").rstrip(".") if "." in text else text
