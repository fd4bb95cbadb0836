"""The journal's database as its operator meets it: commands, addresses, roles, months, a killed server."""

from __future__ import annotations

import asyncio
import os
import signal
from datetime import UTC, datetime
from decimal import Decimal
from importlib.resources import files
from pathlib import Path

import asyncpg
import msgspec
import pytest
from typer.testing import CliRunner

from engine.cli.db import app
from engine.clock import SimClock, SystemClock
from engine.core.errors import ConfigError, StoreUnavailable
from engine.core.times import NS_PER_DAY, NS_PER_HOUR, NS_PER_S
from engine.embedded import EmbeddedServers, ServerAddresses
from engine.journal.postgres.journal import PostgresJournal
from engine.journal.postgres.migrate import PARTITIONED, Migration, migrate, shipped
from engine.journal.postgres.partitions import Partitions
from engine.journal.postgres.pool import Pool
from engine.journal.postgres.reader import JournalReader
from engine.journal.upkeep import Upkeep
from tests import journal_parts as parts
from tests.journal_parts import ACCOUNT, T0

ETC = Path(__file__).parent.parent / "etc"


def run(dsn: str, *words: str) -> str:
    """Output of `edgewise db …` with the database at `dsn`."""
    env = {"EDGEWISE_POSTGRES_DSN": dsn, "EDGEWISE_REDIS_URL": "redis://127.0.0.1:1"}
    done = CliRunner().invoke(app, [*words, "--etc", str(ETC)], env=env)
    assert done.exit_code == 0, done.output
    return done.stdout


def test_commands_tell_what_is_missing_apply_it_and_tell_what_is_there(empty_database: str) -> None:
    before = msgspec.json.decode(run(empty_database, "status", "--json"))
    assert before["tables"] == []
    assert [each["applied_at"] for each in before["migrations"]] == [None] * len(before["migrations"])
    names = [each["name"] for each in before["migrations"]]
    assert names[0] == "0001_init.sql"
    assert "missing" in run(empty_database, "status")

    out = run(empty_database, "migrate", "--json")
    assert msgspec.json.decode(out.splitlines()[-1]) == names
    assert run(empty_database, "migrate") == "nothing to apply\n"

    after = msgspec.json.decode(run(empty_database, "status", "--json"))
    assert all(datetime.fromisoformat(each["applied_at"]) for each in after["migrations"])
    assert {"trader_fills", "klines"} <= {each["table"] for each in after["tables"]}
    assert "klines" in run(empty_database, "status")


@pytest.mark.parametrize(
    "address",
    [
        "nonsense",
        "postgresql://edgewise:se:cr@et@127.0.0.1:x/edgewise",
        "{}_that_is_not_there",
    ],
)
async def test_address_that_cannot_work_is_the_operators_to_change(
    servers: ServerAddresses, address: str
) -> None:
    before, _, query = servers.postgres_dsn.partition("?")
    dsn = f"{address.format(before)}?{query}" if "{}" in address else address
    with pytest.raises(ConfigError) as caught:
        await migrate(dsn)
    assert "et@" not in str(caught.value)  # nothing of the password


async def test_role_without_rights_is_the_operators_to_change(database_ro: str) -> None:
    with pytest.raises(ConfigError, match="Postgres refuses"):
        await migrate(database_ro, (Migration(1, "0001_a.sql", "create table a (x int)"),))


async def test_server_that_is_not_there_is_waited_for() -> None:
    with pytest.raises(StoreUnavailable):
        await migrate("postgresql://a:b@127.0.0.1:1/x")


async def test_states_of_the_only_account_get_its_name(empty_database: str) -> None:
    """A breaker that stands must stand after the update too."""
    await migrate(empty_database, tuple(each for each in shipped() if each.version < 94))
    async with Pool(empty_database) as pool:
        for name, account in (("a", "okx_demo"), ("a.paper", "okx_demo.paper")):
            sql = "insert into traders values ($1, $1, 'model', 'x', $2, '{}', 1, 1)"
            await pool.execute_many(sql, [(name, account)])
        states = [("breaker", "*", b"1"), ("allocation", "*.paper", b"2"), ("breaker", "a", b"3")]
        await pool.execute_many("insert into part_states values ($1, $2, $3, 1)", states)
        await migrate(empty_database)
        rows = await pool.fetch("select trader_id, state from part_states order by state")
        assert [tuple(row) for row in rows] == [
            ("*okx_demo", b"1"),
            ("*okx_demo.paper.paper", b"2"),
            ("a", b"3"),
        ]


async def test_shipped_role_reads_and_cannot_write(home: Path) -> None:
    sql = files("engine.journal").joinpath("roles.sql").read_text()
    sql = sql.replace("edgewise_api", "reader").replace(":password", "'secret'")
    async with EmbeddedServers(home) as servers:
        dsn = servers.addresses.postgres_dsn
        await migrate(dsn)
        passwords = msgspec.json.decode((home / "passwords.json").read_bytes(), type=dict[str, str])
        admin = await asyncpg.connect(dsn, user="postgres", password=passwords["postgres_superuser"])
        await admin.execute(sql)
        await admin.close()
        reader = await asyncpg.connect(dsn, user="reader", password="secret")
        assert await reader.fetchval("select count(*) from trader_fills") == 0
        with pytest.raises(asyncpg.ReadOnlySQLTransactionError):
            await reader.execute("delete from trader_fills")
        await reader.execute("set default_transaction_read_only = off")
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await reader.execute("delete from trader_fills")
        await reader.close()


async def test_months_are_made_ahead_and_old_ones_dropped(database: str) -> None:
    async with Pool(database) as pool, PostgresJournal(database, SystemClock()) as journal:
        assert await journal.partitions.ensure_ahead(SystemClock().now_ns()) == 0  # the migration made them
        partitions = Partitions(pool)
        later = int(datetime(2041, 11, 21, tzinfo=UTC).timestamp()) * 10**9
        assert await partitions.ensure_ahead(later) == 3 * len(PARTITIONED)
        assert await partitions.ensure_ahead(later) == 0
        december = int(datetime(2041, 12, 1, tzinfo=UTC).timestamp()) * 10**9
        views = [parts.view(december - 1), parts.view(december)]
        await journal.record_performance(views)
        assert await partitions.drop_before("trader_performance", december - 1) > 0  # all before November
        assert await pool.fetch("select from trader_performance") != []
        assert await partitions.drop_before("trader_performance", december) == 1
        left = await pool.fetch("select ts from trader_performance")
        assert [row["ts"] for row in left] == [views[1].ts]
        with pytest.raises(ValueError, match="not dropped by the month"):
            await partitions.drop_before("trader_fills", T0)


async def test_last_moment_of_a_month_has_its_month(database: str) -> None:
    april = int(datetime(2040, 4, 1, tzinfo=UTC).timestamp()) * 10**9
    async with PostgresJournal(database, SystemClock()) as journal, Pool(database) as pool:
        await journal.record_performance([parts.view(april - 1)])
        assert len(await pool.fetch("select from trader_performance")) == 1


async def test_journal_goes_on_after_its_server_was_killed(home: Path) -> None:
    order = parts.order(parts.intent(cycle_id=""))
    after, fill = parts.filled(order)
    async with EmbeddedServers(home) as servers, asyncio.TaskGroup() as tasks:
        running = tasks.create_task(servers.run(), name="servers")
        dsn = servers.addresses.postgres_dsn
        await migrate(dsn)
        async with PostgresJournal(dsn, SystemClock()) as journal, asyncio.timeout(30):
            assert await journal.insert_order(order)
            os.kill(servers.pids()["postgres"], signal.SIGKILL)
            failed = 0
            while not failed:
                try:
                    await journal.order(order.client_order_id)
                except StoreUnavailable:
                    failed += 1
            while True:
                try:
                    assert await journal.record_execution(after, fill)
                    break
                except StoreUnavailable:
                    await asyncio.sleep(0.01)
            assert await journal.order(order.client_order_id) == after
            assert (await journal.bookings(ACCOUNT)).fills == (fill,)
        running.cancel()


async def test_counts_of_very_many_rows_are_estimates_and_cost_no_scan(database: str) -> None:
    async with PostgresJournal(database, SystemClock()) as journal, JournalReader(database) as reader:
        await journal.record_traders([parts.TRADER])
        for number in range(3):
            await journal.record_wakeup(parts.wakeup(f"alice-{number}"))
        await journal.record_cycle(parts.record("alice-0"))
        assert (await reader.counts()).cycles == {"pending": 2, "decided": 1}
        owner = await asyncpg.connect(database)
        await owner.execute(
            "insert into decision_cycles (cycle_id, trader_id, mode, status, wakeup, reasons, ts_created) "
            "select 'many-' || n, 'alice', 'long', case when n % 5 = 0 then 'refused' else 'decided' end, "
            "'', '[]', n from generate_series(1, 120000) n"
        )
        await owner.execute("analyze decision_cycles")
        await owner.close()
        counts = await reader.counts()
    assert (counts.fills, counts.signals) == (0, 1)
    assert counts.cycles["decided"] == pytest.approx(96_000, rel=0.05)
    assert counts.cycles["refused"] == pytest.approx(24_000, rel=0.05)


async def test_upkeep_drops_what_is_too_old_and_keeps_what_a_cycle_came_from(database: str) -> None:
    clock = SimClock(T0)
    keep_s = {"trader_performance": 90 * 86400.0, "signals": 86400.0, "klines": 0.0}
    other = msgspec.structs.replace(parts.SIGNAL, signal_id="nobody's")
    async with PostgresJournal(database, clock) as journal, Pool(database) as pool:
        await journal.record_traders([parts.TRADER])
        await journal.record_wakeup(parts.wakeup())
        await journal.record_signals([parts.SIGNAL, other])
        await journal.record_performance([parts.view(T0)])
        upkeep = Upkeep(journal.partitions, journal.thinning, clock, keep_s, 0)
        await upkeep.once()
        assert len(await pool.fetch("select from trader_performance")) == 1
        clock.set(T0 + 200 * NS_PER_DAY)
        await upkeep.once()
        assert await pool.fetch("select from trader_performance") == []
        (kept,) = await pool.fetch("select signal_id from signals")
        assert kept["signal_id"] == parts.SIGNAL.signal_id
        await journal.record_performance([parts.view(clock.now_ns())])  # its month is there


async def test_old_performance_keeps_the_ends_and_extremes_of_its_hours(database: str) -> None:
    hour = T0 // NS_PER_HOUR * NS_PER_HOUR
    equities = [100, 140, 60, None, 90, None] + [100 + n for n in range(50)]
    views = [
        msgspec.structs.replace(parts.view(hour + n * 600 * NS_PER_S), equity=equity and Decimal(equity))
        for n, equity in enumerate(equities)
    ]
    clock = SimClock(hour + 7 * NS_PER_DAY + 8 * NS_PER_HOUR + 1)
    async with PostgresJournal(database, clock) as journal, Pool(database) as pool:
        await journal.record_traders([parts.TRADER])
        await journal.record_performance(views)
        upkeep = Upkeep(journal.partitions, journal.thinning, clock, {}, 7 * 86400.0)
        for _ in range(2):
            await upkeep.once()
            rows = await pool.fetch("select ts, equity from trader_performance order by ts")
            kept = [((row["ts"] - hour) // (600 * NS_PER_S), row["equity"]) for row in rows]
            thin = [n for n, _ in kept if n < 48]
            assert thin == [1, 2, 4, 5] + [n for n in range(6, 48) if n % 6 in {0, 5}]
            assert [n for n, _ in kept if n >= 48] == list(range(48, 56))  # younger than a week
        assert kept[:4] == [(1, 140), (2, 60), (4, 90), (5, None)]


async def test_signals_of_an_older_version_move_into_months_with_their_numbers(empty_database: str) -> None:
    before = tuple(each for each in shipped() if each.version < 91)
    await migrate(empty_database, before)
    owner = await asyncpg.connect(empty_database)
    last_moment = int(datetime(2026, 5, 1, tzinfo=UTC).timestamp()) * 10**9 - 1
    columns = "symbol, detector, feature, timeframe, edge, value, threshold, release, score, ts_recv"
    for name, ts in (("woke", T0), ("last of April", last_moment), ("nobody's", T0)):
        await owner.execute(
            f"insert into signals (signal_id, ts_event, {columns}) "  # noqa: S608
            "values ($1, $2, 'BTC-USDT-SWAP', 'd', 'f', '', 'UP', 1, 1, 1, 0.5, 0)",
            name,
            ts,
        )
    await owner.execute(
        "insert into traders (trader_id, name, kind, model, account_id, config, ts_created, ts_updated) "
        "values ('t', 't', 'strategy', '', 'a', '{}', 0, 0)"
    )
    await owner.execute(
        "insert into decision_cycles (cycle_id, trader_id, mode, status, wakeup, reasons, ts_created) "
        "values ('c', 't', 'long', 'pending', '', '[]', 0)"
    )
    await owner.execute("insert into cycle_signals values ('c', 'woke')")
    await migrate(empty_database)
    rows = await owner.fetch("select signal_id, seq from signals order by seq")
    assert [tuple(row) for row in rows] == [("woke", 1), ("last of April", 2), ("nobody's", 3)]
    assert await owner.fetchval("select count(*) from signals_202604") == 1
    assert await owner.fetchval("select ts_event from cycle_signals") == T0
    with pytest.raises(asyncpg.ForeignKeyViolationError):
        await owner.execute("delete from signals where signal_id = 'woke'")
    async with Pool(empty_database) as pool, PostgresJournal(empty_database, SystemClock()) as journal:
        await journal.record_signals([parts.SIGNAL])
        assert await pool.fetch("select from signals where seq = 4")
        assert await Partitions(pool).forget_signals(last_moment + 400 * NS_PER_DAY) == 3
        months = await pool.fetch("select from pg_inherits where inhparent = 'signals'::regclass")
        assert [tuple(row) for row in await pool.fetch("select signal_id from signals")] == [("woke",)]
        assert await owner.fetchval("select to_regclass('signals_202604')") is None
        assert months
    await owner.close()
