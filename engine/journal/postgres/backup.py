"""The whole journal in one file, and back: every table as of one moment, counted and checked both ways.

The file is a tar, compressed by zstd: `manifest.json`, then one member a table in Postgres' binary COPY
format. Nothing but this version or a later one is needed to read it; the server's version does not matter.
"""

from __future__ import annotations

import asyncio
import hashlib
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Final

import asyncpg
import msgspec
import structlog
import zstandard

from engine.core.errors import ConfigError
from engine.files import writing
from engine.journal.postgres.migrate import PARTITIONED, connected, migrate, shipped
from engine.journal.postgres.pool import LONG_TIMEOUT_S

log = structlog.get_logger()

_MANIFEST: Final = "manifest.json"
_LEVEL: Final = 6
_HOURS_S: Final = 6 * 3600.0  # for one table
_PIECE: Final = 2**20
# Tables that are no partition of another, with the columns that are not computed.
_TABLES: Final = """
select c.oid::regclass::text as name, array_agg(a.attname::text order by a.attnum) as columns,
  array_remove(array_agg(case when a.attidentity <> '' then a.attname::text end), null) as counters
from pg_class c join pg_attribute a on a.attrelid = c.oid
where c.relnamespace = 'public'::regnamespace and c.relkind in ('r', 'p') and not c.relispartition
  and a.attnum > 0 and not a.attisdropped and a.attgenerated = '' and c.relname <> 'edgewise_migrations'
group by c.oid order by 1
"""
_REFERENCES: Final = """
select conrelid::regclass::text as child, confrelid::regclass::text as parent
from pg_constraint where contype = 'f' and conparentid = 0
"""
_TIME_COLUMNS: Final = {"klines": "ts_open", "indicators": "ts_open", "signals": "ts_event"}


class Table(msgspec.Struct, frozen=True, kw_only=True):
    """One table of a backup. `first_ns` and `last_ns` bound the time of one that is divided by months."""

    name: str
    columns: tuple[str, ...]
    counters: tuple[str, ...]  # columns that number the rows
    rows: int
    sha256: str
    first_ns: int | None = None
    last_ns: int | None = None


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """What a backup holds; tables in an order in which none refers to a later one."""

    migrations: tuple[str, ...]
    tables: tuple[Table, ...]

    @property
    def rows(self) -> int:
        return sum(table.rows for table in self.tables)


async def backup(dsn: str, path: Path) -> Manifest:
    """Write the journal as it is at this moment; the engine may go on meanwhile.

    Raises ConfigError when the file is there already or cannot be written, and StoreUnavailable.
    """
    with _new_beside(path) as folder:
        async with (
            connected(dsn) as connection,
            connection.transaction(isolation="repeatable_read", readonly=True),
        ):
            names = await connection.fetch("select name from edgewise_migrations order by version")
            rows = _ordered(await connection.fetch(_TABLES), await connection.fetch(_REFERENCES))
            tables = [await _save(connection, row, folder) for row in rows]
        manifest = Manifest(migrations=tuple(row["name"] for row in names), tables=tuple(tables))
        (folder / _MANIFEST).write_bytes(msgspec.json.format(msgspec.json.encode(manifest)))
        await asyncio.to_thread(_pack, folder, manifest, path)
    return manifest


@contextmanager
def _new_beside(path: Path) -> Iterator[Path]:
    """A folder for the pieces of a new file. Raises ConfigError when the file is there already."""
    if path.exists():
        raise ConfigError(f"{path} is there already")
    with (
        writing(path),
        tempfile.TemporaryDirectory(dir=path.absolute().parent, prefix=".edgewise-backup-") as folder,
    ):
        yield Path(folder)


async def _save(connection: asyncpg.Connection[asyncpg.Record], row: asyncpg.Record, folder: Path) -> Table:
    name, columns = row["name"], tuple(row["columns"])
    file = folder / name
    query = f"select {', '.join(columns)} from {name}"  # noqa: S608 - names of the database's own catalogue
    status = await connection.copy_from_query(query, output=file, format="binary", timeout=_HOURS_S)
    first = last = None
    if name in PARTITIONED:
        time = _TIME_COLUMNS.get(name, "ts")
        query = f"select min({time}) as first, max({time}) as last from {name}"  # noqa: S608 - as above
        bounds = (await connection.fetch(query))[0]
        first, last = bounds["first"], bounds["last"]
    return Table(
        name=name,
        columns=columns,
        counters=tuple(row["counters"]),
        rows=int(status.split()[-1]),
        sha256=await asyncio.to_thread(_digest, file),
        first_ns=first,
        last_ns=last,
    )


def _ordered(tables: list[asyncpg.Record], references: list[asyncpg.Record]) -> list[asyncpg.Record]:
    """Parents before children."""
    waiting = {row["name"]: row for row in tables}
    found: list[asyncpg.Record] = []
    while waiting:
        blocked = {r["child"] for r in references if r["parent"] in waiting and r["parent"] != r["child"]}
        free = [name for name in waiting if name not in blocked]
        found += [waiting.pop(name) for name in free or list(waiting)]
    return found


def _digest(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def _pack(folder: Path, manifest: Manifest, path: Path) -> None:
    unfinished = folder / "packed"
    with (
        unfinished.open("wb") as raw,
        zstandard.ZstdCompressor(level=_LEVEL, write_checksum=True, threads=-1).stream_writer(raw) as packed,
        tarfile.open(fileobj=packed, mode="w|") as tar,
    ):
        for name in (_MANIFEST, *(table.name for table in manifest.tables)):
            tar.add(folder / name, arcname=name)
    unfinished.rename(path)


# -- back


async def restore(dsn: str, path: Path) -> Manifest:
    """Fill an empty database from a backup, in one transaction: all of it or nothing.

    The tables are made as the backup knew them, filled, then brought to this version. Raises ConfigError
    when the database has rows or the backup is damaged or of a later version, and StoreUnavailable.
    """
    with _unpacked(path) as folder:
        manifest = _read_manifest(folder, path)
        known = {migration.name: migration for migration in shipped()}
        if later := set(manifest.migrations) - known.keys():
            raise ConfigError(
                f"the backup has migrations {sorted(later)} of a later version; upgrade edgewise"
            )
        await migrate(dsn, tuple(known[name] for name in manifest.migrations))
        async with connected(dsn) as connection, connection.transaction():
            for table in manifest.tables:
                if await connection.fetchval(f"select exists (select from {table.name})"):  # noqa: S608
                    raise ConfigError(f"the database is not empty: {table.name} has rows")
            for table in manifest.tables:
                await _load(connection, table, folder / table.name)
        await migrate(dsn)
    return manifest


async def _load(connection: asyncpg.Connection[asyncpg.Record], table: Table, file: Path) -> None:
    if await asyncio.to_thread(_digest, file) != table.sha256:
        raise ConfigError(f"the backup is damaged: {table.name} is not what was written")
    if table.first_ns is not None and table.last_ns is not None:
        months = (table.last_ns - table.first_ns) // _SHORTEST_MONTH_NS + 1
        await connection.execute("select ensure_partitions($1, $2, $3)", table.name, table.first_ns, months)
    await connection.copy_to_table(
        table.name, source=file, columns=table.columns, format="binary", timeout=_HOURS_S
    )
    count = await connection.fetchval(f"select count(*) from {table.name}", timeout=LONG_TIMEOUT_S)  # noqa: S608
    if count != table.rows:
        raise ConfigError(f"{table.name} has {count} rows, the backup {table.rows}")
    for column in table.counters:
        await connection.execute(
            f"select setval(pg_get_serial_sequence($1, $2), max({column})) from {table.name} "  # noqa: S608
            f"having max({column}) is not null",
            table.name,
            column,
        )


_SHORTEST_MONTH_NS: Final = 28 * 86_400 * 10**9


@contextmanager
def _unpacked(path: Path) -> Iterator[Path]:
    """The members of a backup as files. Raises ConfigError for a file that is none."""
    with tempfile.TemporaryDirectory(dir=path.absolute().parent, prefix=".edgewise-restore-") as folder:
        try:
            with path.open("rb") as raw, zstandard.ZstdDecompressor().stream_reader(raw) as packed:
                _unpack(packed, Path(folder))
        except (OSError, tarfile.TarError, zstandard.ZstdError) as error:
            raise ConfigError(f"{path} cannot be read as a backup: {error}") from error
        yield Path(folder)


def _unpack(packed: IO[bytes], folder: Path) -> None:
    with tarfile.open(fileobj=packed, mode="r|") as tar:
        for member in tar:
            if not member.isfile() or "/" in member.name or member.name.startswith("."):
                raise tarfile.TarError(f"it has a strange member {member.name!r}")
            source = tar.extractfile(member)
            with (folder / member.name).open("wb") as out:
                while source is not None and (piece := source.read(_PIECE)):
                    out.write(piece)


def _read_manifest(folder: Path, path: Path) -> Manifest:
    try:
        manifest = msgspec.json.decode((folder / _MANIFEST).read_bytes(), type=Manifest)
    except (OSError, msgspec.MsgspecError) as error:
        raise ConfigError(f"{path} has no manifest: {error}") from error
    if missing := [table.name for table in manifest.tables if not (folder / table.name).exists()]:
        raise ConfigError(f"the backup is damaged: {missing} are missing")
    if strange := [t.name for t in manifest.tables if not (t.name + "".join(t.columns)).isidentifier()]:
        raise ConfigError(f"the backup names strange tables: {strange}")
    return manifest
