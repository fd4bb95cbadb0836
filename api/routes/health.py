"""Is everything there, and do the books balance. Health never fails: it says what does."""

from __future__ import annotations

from typing import Final, Literal

import msgspec

from api.endpoint import Endpoint, NoQuery, Sources
from api.views import seconds
from engine.core.errors import StoreUnavailable
from engine.journal.postgres.owner import Owner
from engine.journal.views import Counts
from engine.journal.views_records import CheckRow
from engine.telemetry.status import EngineStatus

UpDown = Literal["ok", "down"]
_THESE_MINUTES_S: Final = 600.0


class HealthCounts(msgspec.Struct, frozen=True, kw_only=True):
    """Frames and wakeups since the engine started, the others in the journal."""

    frames: int
    signals: int
    wakeups: int
    decisions: int
    orders: int
    fills: int


class HealthBooks(msgspec.Struct, frozen=True, kw_only=True):
    """The newest comparison of the traders' books with the venue; `balanced` null: not compared yet."""

    balanced: bool | None = None
    difference: float = 0
    venue_equity: float = 0
    traders_equity: float = 0
    reserve: float = 0
    detail: str = ""
    timestamp: float = 0


class EngineNow(msgspec.Struct, frozen=True, kw_only=True):
    """What the engine says of itself: counts since it started, times in seconds of engine time."""

    account_id: str
    provider: str
    trading_enabled: bool
    speed: float
    timestamp: float
    started_at: float
    connections: dict[str, str]
    counts: dict[str, int]
    refusals: dict[str, int]  # reason code → count
    entries_refused: str  # why entries wait in every symbol; "" when they do not


class Health(msgspec.Struct, frozen=True, kw_only=True):
    """`environment`: to whom the database belongs, such as `okx-live-global`; "" while nobody knows.

    `redis` foreign: it belongs to another database, so its prices and its engine are not those of this one.
    """

    status: Literal["ok", "degraded"]
    environment: str
    serverTime: int
    database: UpDown
    redis: Literal["ok", "down", "foreign"]
    counts: HealthCounts
    connections: dict[str, str]
    books: HealthBooks
    engine: EngineNow | None


class Integrity(msgspec.Struct, frozen=True, kw_only=True):
    """`balanced` null while no account was compared."""

    balanced: bool | None
    accounts: list[CheckRow]
    serverTime: int


async def health(sources: Sources, _: NoQuery) -> Health:
    """Always an answer: `degraded` when a store, the engine or the balance is missing."""
    engine = await sources.cache.status()
    counts: Counts | None = None
    checks: list[CheckRow] = []
    owner: Owner | None = None
    try:
        owner = await sources.reader.owner()
        counts = await sources.reader.counts()
        checks = await sources.reader.newest_checks()
    except StoreUnavailable:
        counts = None
    books = _books(engine, checks)
    whose = await sources.cache.belongs_to()
    is_foreign = owner is not None and whose not in {"", owner.database_id}
    is_whole = counts is not None and sources.cache.is_up and not is_foreign and engine is not None
    return Health(
        status="ok" if is_whole and books.balanced is not False else "degraded",
        environment=owner.environment if owner else "",
        serverTime=sources.server_time(),
        database="down" if counts is None else "ok",
        redis="foreign" if is_foreign else "ok" if sources.cache.is_up else "down",
        counts=_counts(engine, counts),
        connections=engine.connections if engine else {},
        books=books,
        engine=_now(engine) if engine else None,
    )


def _now(engine: EngineStatus) -> EngineNow:
    return EngineNow(
        account_id=engine.account_id,
        provider=engine.provider,
        trading_enabled=engine.trading_enabled,
        speed=engine.speed,
        timestamp=seconds(engine.ts),
        started_at=seconds(engine.ts_started),
        connections=engine.connections,
        counts=engine.counts,
        refusals=engine.refusals,
        entries_refused=engine.entries_refused,
    )


def _counts(engine: EngineStatus | None, counts: Counts | None) -> HealthCounts:
    live = engine.counts if engine else {}
    return HealthCounts(
        frames=live.get("frames", 0),
        wakeups=live.get("wakeups", sum(counts.cycles.values()) if counts else 0),
        signals=counts.signals if counts else live.get("signals", 0),
        decisions=counts.decisions if counts else live.get("decisions", 0),
        orders=counts.orders if counts else live.get("orders", 0),
        fills=counts.fills if counts else live.get("fills", 0),
    )


def _books(engine: EngineStatus | None, checks: list[CheckRow]) -> HealthBooks:
    """What the engine says now, else the journal; of several accounts the one that is wrong.

    Of another account than the engine's only a check of these minutes counts: its engine may have ended.
    """
    if engine is not None and engine.books is not None:
        now, since = engine.books, seconds(engine.ts) - _THESE_MINUTES_S
        others = [row for row in checks if row.account_id != engine.account_id and row.timestamp > since]
        wrong = [row for row in others if not row.balanced]
        if wrong and now.balanced:
            return _checked(wrong[0])
        return HealthBooks(
            balanced=now.balanced,
            difference=now.difference,
            venue_equity=now.venue_equity,
            traders_equity=now.traders_equity,
            reserve=now.reserve,
            detail=now.detail,
            timestamp=seconds(now.ts),
        )
    return _checked(min(checks, key=lambda row: (row.balanced, -row.timestamp))) if checks else HealthBooks()


def _checked(check: CheckRow) -> HealthBooks:
    return HealthBooks(
        balanced=check.balanced,
        difference=float(check.difference),
        venue_equity=float(check.venue_equity),
        traders_equity=float(check.traders_equity),
        reserve=float(check.reserve),
        detail=check.detail,
        timestamp=check.timestamp,
    )


async def integrity(sources: Sources, _: NoQuery) -> Integrity:
    checks = await sources.reader.newest_checks()
    balanced = all(check.balanced for check in checks) if checks else None
    return Integrity(balanced=balanced, accounts=checks, serverTime=sources.server_time())


ENDPOINTS = (
    Endpoint(
        path="/api/health",
        summary="State of the stores, the engine and the books",
        query=NoQuery,
        answer=Health,
        make=health,
    ),
    Endpoint(
        path="/api/integrity",
        summary="The newest comparison of the books with each venue account",
        query=NoQuery,
        answer=Integrity,
        make=integrity,
    ),
)
