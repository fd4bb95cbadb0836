"""Brings a database to this version: numbered SQL files, each applied once, under an advisory lock."""

from __future__ import annotations

import hashlib
from importlib.resources import files
from typing import Final

import asyncpg
import msgspec
import structlog

from engine.core.errors import ConfigError, StoreUnavailable
from engine.journal.postgres_pool import TIMEOUT_S

log = structlog.get_logger()

_LOCK: Final = 0x65646765
PARTITIONED: Final = ("klines", "indicators", "trader_performance", "account_checks", "balance_snapshots")
_MONTHS_BEHIND: Final = 3
_MONTHS_AHEAD: Final = 3
_AWAY: Final = (
    OSError,
    TimeoutError,
    asyncpg.PostgresConnectionError,
    asyncpg.exceptions.CannotConnectNowError,
)
_TABLE: Final = """
create table if not exists edgewise_migrations (
  version int primary key, name text not null, sha256 text not null,
  applied_at timestamptz not null default now())
"""


class Migration(msgspec.Struct, frozen=True):
    version: int
    name: str
    sql: str

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.sql.encode()).hexdigest()


def shipped() -> tuple[Migration, ...]:
    """The migrations of this version, in order."""
    found = [
        each
        for each in files("engine.journal").joinpath("migrations").iterdir()
        if each.name.endswith(".sql")
    ]
    made = [Migration(int(each.name.split("_")[0]), each.name, each.read_text()) for each in found]
    return tuple(sorted(made, key=lambda migration: migration.version))


async def migrate(dsn: str, migrations: tuple[Migration, ...] | None = None) -> list[str]:
    """Apply what is missing and return its names; several processes may call it at once.

    Raises ConfigError when an applied file was edited or the database is newer than this version, and
    StoreUnavailable when the server is away.
    """
    wanted = shipped() if migrations is None else migrations
    try:
        connection = await asyncpg.connect(dsn, timeout=TIMEOUT_S)
        try:
            await connection.execute("select pg_advisory_lock($1)", _LOCK)
            names = await _apply(connection, wanted)
            if migrations is None:
                await ensure_ahead(connection)
            return names
        finally:
            await connection.close(timeout=TIMEOUT_S)
    except _AWAY as error:
        raise StoreUnavailable(f"Postgres is away: {error}") from error


async def _apply(connection: asyncpg.Connection[asyncpg.Record], wanted: tuple[Migration, ...]) -> list[str]:
    await connection.execute(_TABLE)
    rows = await connection.fetch("select version, name, sha256 from edgewise_migrations")
    applied = {int(row["version"]): str(row["sha256"]) for row in rows}
    if newer := sorted(set(applied) - {migration.version for migration in wanted}):
        raise ConfigError(
            f"the database has migrations {newer} that this version does not know; upgrade edgewise"
        )
    names: list[str] = []
    for migration in wanted:
        if migration.version in applied:
            if applied[migration.version] != migration.sha256:
                raise ConfigError(f"{migration.name} was changed after it had been applied")
            continue
        if migration.version < max(applied, default=0):
            raise ConfigError(f"{migration.name} is older than the newest applied migration")
        async with connection.transaction():
            await connection.execute(migration.sql)
            await connection.execute(
                "insert into edgewise_migrations (version, name, sha256) values ($1, $2, $3)",
                migration.version,
                migration.name,
                migration.sha256,
            )
        names.append(migration.name)
        log.info("migration applied", name=migration.name)
    return names


_AHEAD: Final = """
select ensure_partitions(name, (extract(epoch from now() - make_interval(months => $2)) * 1e9)::bigint, $3)
from unnest($1::text[]) as name
"""


async def ensure_ahead(connection: asyncpg.Connection[asyncpg.Record]) -> None:
    """Make the partitions of the months around now that are missing; at every start and once a day."""
    await connection.execute(_AHEAD, list(PARTITIONED), _MONTHS_BEHIND, _MONTHS_BEHIND + _MONTHS_AHEAD)


class TableSize(msgspec.Struct, frozen=True):
    """Estimated rows and megabytes on disk, indexes included; partitions are counted with their parent."""

    table: str
    rows: int
    megabytes: float


_SIZES: Final = """
select coalesce(p.relname, c.relname) as name, sum(greatest(c.reltuples, 0))::bigint as rows,
  sum(pg_total_relation_size(c.oid)) / 1e6 as megabytes
from pg_class c left join pg_inherits i on i.inhrelid = c.oid left join pg_class p on p.oid = i.inhparent
where c.relkind = 'r' and c.relnamespace = 'public'::regnamespace
group by 1 order by 3 desc, 1
"""


async def table_sizes(dsn: str) -> list[TableSize]:
    """Every table, largest first. Raises StoreUnavailable."""
    try:
        connection = await asyncpg.connect(dsn, timeout=TIMEOUT_S)
        try:
            rows = await connection.fetch(_SIZES)
        finally:
            await connection.close(timeout=TIMEOUT_S)
    except _AWAY as error:
        raise StoreUnavailable(f"Postgres is away: {error}") from error
    return [TableSize(row["name"], row["rows"], float(row["megabytes"])) for row in rows]
