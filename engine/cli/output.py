"""What commands print: tables for people, JSON for machines."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from rich.console import Console


_WIDE: Final = 250


def wide_console() -> Console:
    """A console that cuts no column off where there is no terminal to fit: in a pipe or a file."""
    from rich.console import Console

    return Console(width=None if sys.stdout.isatty() else _WIDE)


def print_json(value: object) -> None:
    """One JSON document on standard output."""
    import msgspec

    print(msgspec.json.encode(value).decode())
