"""How a count is said to a person."""

from __future__ import annotations


def counted(number: int, thing: str, things: str = "") -> str:
    """`1 wakeup`, `1,200 wakeups`; `things` where the plural is another word than `thing` with an s."""
    return f"{number:,} {thing if number == 1 else things or f'{thing}s'}"
