"""What the engine says of itself, once a second: one JSON document in Redis, read by the API and the demo."""

from __future__ import annotations

from typing import Final

import msgspec

STATUS_TTL_S: Final = 15.0


def status_key(env: str) -> str:
    """Where the engine on the bus `env` tells its status: several accounts may share a Redis."""
    return f"edgewise:{env}:status"


class BooksStatus(msgspec.Struct, frozen=True, kw_only=True):
    """The newest comparison of the books with the venue; amounts in the settle currency."""

    balanced: bool
    difference: float
    venue_equity: float
    traders_equity: float
    reserve: float
    detail: str
    ts: int


class EngineStatus(msgspec.Struct, frozen=True, kw_only=True):
    """Counts since this engine started; times in engine nanoseconds, ages in real seconds."""

    account_id: str
    provider: str
    trading_enabled: bool
    speed: float
    ts: int
    ts_started: int
    connections: dict[str, str]  # stream or server → live, stale, down …
    counts: dict[str, int]
    refusals: dict[str, int]  # reason code → count
    entries_refused: str  # why entries wait in every symbol; "" when they do not
    books: BooksStatus | None
