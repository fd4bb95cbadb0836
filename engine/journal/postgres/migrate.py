"""Brings a database to this version: numbered SQL files, each applied once, under an advisory lock."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.resources import files
from typing import Final

import asyncpg
import msgspec
import structlog

from engine.core.errors import ConfigError, StoreUnavailable
from engine.journal.postgres.pool import AWAY, LONG_TIMEOUT_S, TIMEOUT_S

log = structlog.get_logger()

_LOCK: Final = 0x65646765
PARTITIONED: Final = (
    *("klines", "indicators", "signals", "trader_performance", "account_checks", "balance_snapshots"),
)
_MONTHS_BEHIND: Final = 3
_MONTHS_AHEAD: Final = 3
_REFUSED: Final = (  # a person must change the address, the role or its rights
    asyncpg.InvalidAuthorizationSpecificationError,
    asyncpg.InvalidCatalogNameError,
    asyncpg.InsufficientPrivilegeError,
    asyncpg.ReadOnlySQLTransactionError,
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

    Raises ConfigError when an applied file was edited, the database is newer than this version or does not
    let us in, and StoreUnavailable when the server is away.
    """
    wanted = shipped() if migrations is None else migrations
    async with connected(dsn) as connection:
        await connection.execute("select pg_advisory_lock($1)", _LOCK, timeout=LONG_TIMEOUT_S)
        names = await _apply(connection, wanted)
        if migrations is None:
            await _ensure_ahead(connection)
        return names


@asynccontextmanager
async def connected(dsn: str) -> AsyncIterator[asyncpg.Connection[asyncpg.Record]]:
    """A connection of an operator's command. Raises ConfigError when we are not let in, StoreUnavailable."""
    try:
        connection = await _connect(dsn)
        try:
            yield connection
        finally:
            await connection.close(timeout=TIMEOUT_S)
    except _REFUSED as error:
        raise ConfigError(f"Postgres refuses: {error}") from error
    except AWAY as error:
        raise StoreUnavailable(f"Postgres is away: {str(error) or type(error).__name__}") from error


async def _connect(dsn: str) -> asyncpg.Connection[asyncpg.Record]:
    try:
        return await asyncpg.connect(dsn, timeout=TIMEOUT_S)
    except ValueError:  # its text may quote a piece of the password
        raise ConfigError(
            "the database's address is not of the form postgresql://user:password@host:port/name"
            " (special characters of a password are written %XX)"
        ) from None


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


async def _ensure_ahead(connection: asyncpg.Connection[asyncpg.Record]) -> None:
    """Make the months around now, by the server's clock, that are missing; at every start."""
    await connection.execute(_AHEAD, list(PARTITIONED), _MONTHS_BEHIND, _MONTHS_BEHIND + _MONTHS_AHEAD)


class MigrationState(msgspec.Struct, frozen=True):
    """A migration that this version ships or the database has; `applied_at` is ISO 8601, None: not yet."""

    name: str
    applied_at: str | None


async def migration_states(dsn: str) -> list[MigrationState]:
    """Every migration in order. Raises StoreUnavailable, or ConfigError when we are not let in."""
    async with connected(dsn) as connection:
        rows: list[asyncpg.Record] = []
        if await connection.fetchval("select to_regclass('edgewise_migrations') is not null"):
            rows = await connection.fetch(
                "select name, applied_at from edgewise_migrations order by version", timeout=TIMEOUT_S
            )
    applied = {str(row["name"]): row["applied_at"].isoformat(timespec="seconds") for row in rows}
    missing = [each.name for each in shipped() if each.name not in applied]
    return [MigrationState(name, applied.get(name)) for name in (*applied, *missing)]


_LOSSY: Final = """
select name || ' ' || setting from pg_settings
where name in ('fsync', 'full_page_writes', 'synchronous_commit') and setting = 'off' order by 1
"""


async def lossy_settings(dsn: str) -> list[str]:
    """Settings of the server with which a committed order can be lost. Raises as `migration_states`."""
    async with connected(dsn) as connection:
        return [str(row[0]) for row in await connection.fetch(_LOSSY, timeout=TIMEOUT_S)]


class TableSize(msgspec.Struct, frozen=True):
    """Estimated rows and megabytes on disk, indexes included; partitions are counted with their parent.

    `dead_rows` wait for the next vacuum; `months` are partitions.
    """

    table: str
    rows: int
    megabytes: float
    index_megabytes: float
    dead_rows: int
    months: int
    last_vacuum: str | None


_SIZES: Final = """
select coalesce(p.relname, c.relname) as name, sum(greatest(c.reltuples, s.n_live_tup, 0))::bigint as rows,
  sum(pg_total_relation_size(c.oid)) / 1e6 as megabytes, sum(pg_indexes_size(c.oid)) / 1e6 as index_megabytes,
  coalesce(sum(s.n_dead_tup), 0)::bigint as dead_rows, count(p.oid) as months,
  to_char(max(greatest(s.last_vacuum, s.last_autovacuum)) at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"')
    as last_vacuum
from pg_class c left join pg_inherits i on i.inhrelid = c.oid left join pg_class p on p.oid = i.inhparent
left join pg_stat_user_tables s on s.relid = c.oid
where c.relkind = 'r' and c.relnamespace = 'public'::regnamespace
group by 1 order by 3 desc, 1
"""


async def table_sizes(dsn: str) -> list[TableSize]:
    """Every table, largest first. Raises StoreUnavailable, or ConfigError when we are not let in."""
    async with connected(dsn) as connection:
        rows = await connection.fetch(_SIZES, timeout=LONG_TIMEOUT_S)
    return [
        TableSize(
            row["name"],
            row["rows"],
            float(row["megabytes"]),
            float(row["index_megabytes"]),
            row["dead_rows"],
            row["months"],
            row["last_vacuum"],
        )
        for row in rows
    ]
