"""Backup and restore: what comes back is what was there, or nothing at all."""

from __future__ import annotations

import asyncio
from pathlib import Path

import asyncpg
import msgspec
import pytest
import zstandard
from typer.testing import CliRunner

from engine.cli.db import app
from engine.clock import SystemClock
from engine.core.errors import ConfigError
from engine.core.times import NS_PER_DAY
from engine.journal.postgres.backup import backup, restore
from engine.journal.postgres.journal import PostgresJournal
from engine.journal.postgres.migrate import shipped
from tests import journal_parts as parts
from tests.journal_parts import ACCOUNT, T0, TRADER

ETC = Path(__file__).parent.parent / "etc"


async def lived(database: str) -> None:
    """A cycle with its order, fill and funding, and performance over five months."""
    entry = parts.order(parts.intent())
    async with PostgresJournal(database, SystemClock()) as journal:
        await journal.record_traders([TRADER])
        await journal.record_signals([parts.SIGNAL])
        await journal.record_wakeup(parts.wakeup())
        await journal.record_cycle(parts.record())
        await journal.record_gate([parts.verdict()])
        await journal.insert_order(entry)
        await journal.record_execution(*parts.filled(entry), raw=b"\x00raw")
        await journal.record_funding([parts.funding()])
        await journal.record_performance([parts.view(T0 + month * 30 * NS_PER_DAY) for month in range(5)])


async def contents(database: str) -> dict[str, list[str]]:
    """Every row of every table as text."""
    connection = await asyncpg.connect(database)
    names = await connection.fetch(
        "select relname from pg_class where relnamespace = 'public'::regnamespace and relkind in ('r', 'p') "
        "and not relispartition and relname <> 'edgewise_migrations'"
    )
    found = {}
    for (name,) in names:
        rows = await connection.fetch(f"select t::text as row from {name} t order by 1")  # noqa: S608 - catalogue
        found[name] = [row["row"] for row in rows]
    await connection.close()
    return found


async def test_what_comes_back_is_what_was_there_and_work_goes_on(
    database: str, empty_database: str, tmp_path: Path
) -> None:
    await lived(database)
    saved = await backup(database, tmp_path / "a.tar.zst")
    assert saved.rows > 10
    assert await restore(empty_database, tmp_path / "a.tar.zst") == saved
    assert await contents(empty_database) == await contents(database)
    assert [path.name for path in tmp_path.iterdir()] == ["a.tar.zst"]
    closing = parts.order(parts.close_intent())
    async with PostgresJournal(empty_database, SystemClock()) as journal:  # and new rows get new numbers
        assert await journal.insert_order(closing)
        assert await journal.record_execution(*parts.filled(closing, price="64100.5"))
        assert len((await journal.bookings(ACCOUNT)).fills) == 2


async def test_backup_is_of_one_moment_while_the_engine_writes(
    database: str, empty_database: str, tmp_path: Path
) -> None:
    async with PostgresJournal(database, SystemClock()) as journal:
        await journal.record_traders([TRADER])
        await journal.record_wakeup(parts.wakeup())
        stop = asyncio.Event()

        async def write() -> None:
            number = 0
            while not stop.is_set():
                entry = parts.order(parts.intent(f"i{number}"))
                await journal.insert_order(entry)
                await journal.record_execution(*parts.filled(entry))
                number += 1

        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(write(), name="engine")
            await backup(database, tmp_path / "a.tar.zst")
            stop.set()
    await restore(empty_database, tmp_path / "a.tar.zst")  # every fill has its order, or a key would refuse
    async with PostgresJournal(empty_database, SystemClock()) as journal:
        fills = (await journal.bookings(ACCOUNT)).fills
        for fill in fills:
            order = await journal.order(fill.client_order_id)
            assert order is not None
            assert order.filled == fill.contracts


async def test_nothing_is_overwritten_and_no_damage_gets_in(
    database: str, empty_database: str, tmp_path: Path
) -> None:
    path = tmp_path / "a.tar.zst"
    await lived(database)
    await backup(database, path)
    with pytest.raises(ConfigError, match="there already"):
        await backup(database, path)
    with pytest.raises(ConfigError, match="not empty"):
        await restore(database, path)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ConfigError, match="cannot be read"):
        await restore(empty_database, path)
    plain = zstandard.ZstdDecompressor().decompressobj().decompress(whole)
    path.write_bytes(zstandard.ZstdCompressor().compress(plain.replace(b"You trade.", b"You steal.")))
    with pytest.raises(ConfigError, match="llm_conversations is not what was written"):
        await restore(empty_database, path)
    assert all(rows == [] for rows in (await contents(empty_database)).values())
    newest = shipped()[-1].name.encode()
    path.write_bytes(zstandard.ZstdCompressor().compress(plain.replace(newest, b"9" + newest[1:])))
    with pytest.raises(ConfigError, match="later version"):
        await restore(empty_database, path)


async def test_commands_say_what_they_did(database: str, empty_database: str, tmp_path: Path) -> None:
    async def run(dsn: str, *words: str) -> tuple[int, str]:
        env = {"EDGEWISE_POSTGRES_DSN": dsn, "EDGEWISE_REDIS_URL": "redis://127.0.0.1:1"}
        done = await asyncio.to_thread(CliRunner().invoke, app, [*words, "--etc", str(ETC)], env=env)
        return done.exit_code, done.output

    await lived(database)
    file = str(tmp_path / "a.tar.zst")
    code, said = await run(database, "backup", file)
    assert (code, said.endswith(", counted and checked\n")) == (0, True)
    code, said = await run(empty_database, "restore", file, "--json")
    rows = {table["name"]: table["rows"] for table in msgspec.json.decode(said.splitlines()[-1])["tables"]}
    assert (code, rows["trader_fills"], rows["trader_performance"]) == (0, 1, 5)
    assert (await run(empty_database, "restore", file))[0] == 2
    code, said = await run(database, "stats", "--json")
    assert code == 0
    assert next(t for t in msgspec.json.decode(said) if t["table"] == "trader_performance")["months"] > 4
    assert "last vacuum" in (await run(database, "stats"))[1]
