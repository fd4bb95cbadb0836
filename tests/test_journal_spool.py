"""What is written in bulk while Postgres is there, away and back: every row once, in order, within bounds."""

from __future__ import annotations

import asyncio
import resource
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from decimal import Decimal
from pathlib import Path

import asyncpg
import msgspec
import pytest

from engine.clock import SystemClock, cancelled
from engine.core.errors import InvariantBroken, StoreUnavailable
from engine.core.market import Candle
from engine.core.times import NS_PER_MIN, NS_PER_S
from engine.journal.ports import (
    AccountCheck,
    BacktestRun,
    FeatureRow,
    IntegrityEvent,
    IntegrityKind,
    RiskEvent,
    VenuePositionRow,
)
from engine.journal.postgres.journal import PostgresJournal
from engine.journal.snapshots import BalanceSnapshot, Compression
from engine.journal.spool import Spool
from tests import journal_parts as parts
from tests.journal_parts import ACCOUNT, T0
from tests.postgres_proxy import Proxy, proxied

MB = 2**20


def candle(number: int, *, high: float = 102.0) -> Candle:
    ts = T0 + number * NS_PER_MIN
    return Candle("BTC-USDT-SWAP", "1m", ts, 100.0, high, 99.0, 101.0, float(number), True, ts, ts)


@asynccontextmanager
async def spooled(dsn: str, folder: Path, max_bytes: int = MB) -> AsyncIterator[PostgresJournal]:
    """A journal with a spool that is drained beside it, as in the engine."""
    async with PostgresJournal(dsn, SystemClock(), Spool(folder, max_bytes)) as journal:
        draining = asyncio.create_task(journal.batches.drain(), name="journal spool")
        yield journal
        await cancelled(draining)


async def rows(database: str, sql: str) -> list[asyncpg.Record]:
    connection = await asyncpg.connect(database)
    found: list[asyncpg.Record] = await connection.fetch(sql)
    await connection.close()
    return found


async def volumes(database: str) -> list[float]:
    return [row["volume"] for row in await rows(database, "select volume from klines order by ts_open")]


async def drained(journal: PostgresJournal) -> None:
    async with asyncio.timeout(20):
        while journal.batches.spool_bytes:
            await asyncio.sleep(0.05)


def gone(proxy: Proxy) -> None:
    proxy.refuses = True
    proxy.cut()


async def test_rows_of_an_outage_are_there_exactly_once_and_in_order(database: str, tmp_path: Path) -> None:
    events = [
        RiskEvent(event_id=f"e{n}", trader_id="", symbol="", kind="k", detail="d", ts=n) for n in range(9)
    ]
    async with (
        proxied(database, tmp_path) as proxy,
        spooled(proxy.dsn, tmp_path / "spool") as journal,
    ):
        await journal.record_candles([candle(0)])
        gone(proxy)
        for number in range(1, 9):
            await journal.record_candles([candle(number), candle(0)])  # and one that was there before
            await journal.record_risk_event(events[number])
        await journal.record_performance([parts.view()])
        await journal.record_signals([parts.SIGNAL])
        assert journal.batches.spool_bytes
        assert await volumes(database) == [0]
        proxy.refuses = False
        await drained(journal)
        await journal.record_candles([candle(9)])
        assert await volumes(database) == list(range(10))
        found = await rows(database, "select event_id from risk_events order by seq")
        assert [row["event_id"] for row in found] == [f"e{n}" for n in range(1, 9)]
        (view,) = await rows(database, "select ts, cash, view from trader_performance")
        assert (view["ts"], view["cash"]) == (T0, Decimal("9999.36"))
        assert view["view"] == msgspec.msgpack.encode(parts.view())
        assert len(await rows(database, "select from signals")) == 1
        assert not journal.batches.dropped


async def test_what_a_killed_engine_had_spooled_is_brought_in_by_the_next(
    database: str, tmp_path: Path
) -> None:
    folder = tmp_path / "spool"
    async with PostgresJournal(
        "postgresql://nobody@127.0.0.1:1/x", SystemClock(), Spool(folder, MB)
    ) as dying:
        await dying.record_candles([candle(1)])
        await dying.record_candles([candle(2)])
    (folder / "0000000000000009.tmp").write_bytes(b"half a batch")  # it was killed while it wrote
    async with spooled(database, folder) as journal:
        await journal.record_candles([candle(3)])
        await drained(journal)
    assert await volumes(database) == [1, 2, 3]
    assert list(folder.iterdir()) == []


async def test_commit_that_nobody_confirmed_is_not_written_twice(database: str, tmp_path: Path) -> None:
    async with (
        proxied(database, tmp_path) as proxy,
        spooled(proxy.dsn, tmp_path / "spool") as journal,
    ):
        await journal.record_candles([candle(0)])  # the month's partition is there now
        proxy.swallow_commits = True
        await journal.record_candles([candle(1), candle(2)])  # committed, and spooled: nobody could know
        assert journal.batches.spool_bytes
        proxy.swallow_commits = False
        await drained(journal)
    assert await volumes(database) == [0, 1, 2]


async def test_full_spool_drops_the_newest_counts_them_and_goes_on(database: str, tmp_path: Path) -> None:
    async with (
        proxied(database, tmp_path) as proxy,
        spooled(proxy.dsn, tmp_path / "spool", max_bytes=600) as journal,
    ):
        gone(proxy)
        for number in range(20):
            await journal.record_candles([candle(number)])
        assert journal.batches.spool_bytes <= 600
        kept = 20 - journal.batches.dropped["klines"]
        assert 0 < kept < 20
        proxy.refuses = False
        await drained(journal)
        await journal.record_candles([candle(20)])
    assert await volumes(database) == [*range(kept), 20]


@contextmanager
def full_disk(most_bytes: int) -> Iterator[None]:
    """No file of this process grows beyond `most_bytes`: a write ends in the middle with an error."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (most_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


async def test_full_disk_drops_and_counts_and_nothing_half_written_stays(
    database: str, tmp_path: Path
) -> None:
    folder = tmp_path / "spool"
    async with (
        proxied(database, tmp_path) as proxy,
        spooled(proxy.dsn, folder) as journal,
    ):
        gone(proxy)
        await journal.record_candles([candle(0)])
        many = [candle(number) for number in range(1000, 6000)]
        with full_disk(200_000):
            await journal.record_candles(many)
        await journal.record_candles([candle(2)])
        assert journal.batches.dropped == {"klines": len(many)}
        assert len(list(folder.iterdir())) == 2
        proxy.refuses = False
        await drained(journal)
    assert await volumes(database) == [0, 2]


async def test_batch_that_cannot_be_used_is_set_aside_for_a_person(database: str, tmp_path: Path) -> None:
    folder = tmp_path / "spool"
    spool = Spool(folder, MB)
    await spool.append(b"\xc1 nonsense")
    await spool.append(msgspec.msgpack.encode({"table": "trader_fills", "rows": []}))
    async with spooled(database, folder) as journal:
        await journal.record_candles([candle(1)])
        await drained(journal)
    assert await volumes(database) == [1]
    assert sorted(path.suffix for path in folder.iterdir()) == [".unreadable", ".unreadable"]


async def test_writers_at_once_share_transactions_and_only_the_refused_one_hears_of_it(database: str) -> None:
    async with PostgresJournal(database, SystemClock()) as journal:
        await journal.record_candles([candle(0)])
        bad = candle(50, high=1.0)  # a high below the close
        done = await asyncio.gather(
            *[journal.record_candles([bad if number == 50 else candle(number)]) for number in range(1, 101)],
            return_exceptions=True,
        )
        assert [type(each) for each in done if each is not None] == [InvariantBroken]
        assert isinstance(done[49], InvariantBroken)
    assert await volumes(database) == [number for number in range(101) if number != 50]


async def test_writer_that_gives_up_takes_nobody_with_it(database: str) -> None:
    blocker = await asyncpg.connect(database)
    async with PostgresJournal(database, SystemClock()) as journal, asyncio.timeout(20):
        await journal.record_candles([candle(0)])
        async with blocker.transaction():
            await blocker.execute("lock table klines in access exclusive mode")
            first = asyncio.create_task(journal.record_candles([candle(1)]))
            second = asyncio.create_task(journal.record_candles([candle(2)]))
            while not await blocker.fetchval("select count(*) from pg_locks where not granted"):
                await asyncio.sleep(0.01)
            await cancelled(first)
        await second
    assert 2 in await volumes(database)
    await blocker.close()


async def test_without_a_spool_the_caller_waits_for_the_database() -> None:
    async with PostgresJournal("postgresql://nobody@127.0.0.1:1/x", SystemClock()) as journal:
        with pytest.raises(StoreUnavailable):
            await journal.record_candles([candle(1)])


async def test_every_table_of_record_has_its_rows(database: str) -> None:
    check = AccountCheck(
        account_id=ACCOUNT,
        ts=T0,
        balanced=True,
        venue_equity=Decimal(10),
        traders_equity=Decimal(7),
        reserve=Decimal(3),
        difference=Decimal(0),
        detail="",
    )
    held = VenuePositionRow(
        symbol="BTC-USDT-SWAP",
        position_side="net",
        contracts=Decimal(-2),
        average_price=Decimal("64000.5"),
        unrealised=Decimal("-1.5"),
        leverage=Decimal(3),
        liquidation_price=None,
    )
    gap = IntegrityEvent(
        symbol="BTC-USDT-SWAP", timeframe="1m", kind=IntegrityKind.GAP, ts_from=T0, ts_to=T0 + 1, ts=T0
    )
    run = BacktestRun(
        run_id="r",
        name="n",
        config=b"{}",
        digest="d",
        metrics=b'{"sharpe": 1}',
        equity_curve=b"[1]",
        ts_from=1,
        ts_to=2,
        ts_created=3,
    )
    features = FeatureRow(
        symbol="BTC-USDT-SWAP", timeframe="1m", ts_open=T0, values={"ema_20": 1.5, "rsi": None}
    )
    balance = BalanceSnapshot(
        account_id=ACCOUNT, ts=T0, cash=Decimal(1), equity=Decimal("2.5"), available=Decimal(1)
    )
    async with PostgresJournal(database, SystemClock()) as journal:
        for _ in range(2):  # at least once is enough: the second changes nothing
            await journal.record_check(check)
            await journal.record_venue_positions(ACCOUNT, [held], T0)
            await journal.record_integrity([gap])
            await journal.record_backtest(run)
            await journal.record_features([features])
            await journal.record_balance(balance)
            await journal.record_initial_equity(ACCOUNT, Decimal(30000), T0)
        await journal.record_initial_equity(ACCOUNT, Decimal(40000), T0 + 1)
        await journal.record_initial_equity("another", Decimal(5), T0)
    told = await rows(database, "select account_id, amount, ts from initial_equities order by amount desc")
    assert [tuple(row) for row in told] == [(ACCOUNT, Decimal(40000), T0 + 1), ("another", Decimal(5), T0)]
    (indicator,) = await rows(database, "select features from indicators")
    assert msgspec.json.decode(indicator["features"]) == {"ema_20": 1.5, "rsi": None}
    for table in ("account_checks", "exchange_positions", "candle_integrity_events", "backtest_runs"):
        assert len(await rows(database, f"select from {table}")) == 1
    (kept,) = await rows(database, "select equity from balance_snapshots")
    assert kept["equity"] == Decimal("2.5")


async def test_performance_rows_tell_win_rate_and_sharpe_ratio_across_a_restart(database: str) -> None:
    hour = 3600 * NS_PER_S
    start = T0 - T0 % hour

    async def told(journal: PostgresJournal, hours: int, equity: str) -> tuple[float | None, float | None]:
        view = msgspec.structs.replace(parts.view(start + hours * hour), equity=Decimal(equity))
        await journal.record_performance([view])
        sql = "select sharpe_ratio, win_rate, pnl from trader_performance order by ts desc limit 1"
        (row,) = await rows(database, sql)
        assert row["pnl"] == Decimal(equity) - 10000
        return row["sharpe_ratio"], row["win_rate"]

    trade = parts.closed()
    orders = [parts.order(parts.intent(cycle_id="")), parts.order(parts.close_intent())]
    orders[1] = msgspec.structs.replace(
        orders[1], intent=msgspec.structs.replace(orders[1].intent, cycle_id="")
    )
    async with PostgresJournal(database, SystemClock()) as journal:
        assert await told(journal, 0, "10000") == (None, None)
        assert await told(journal, 1, "11000") == (None, None)
        for order in orders:
            await journal.insert_order(order)
        await journal.record_position(parts.view(), [trade])
    async with PostgresJournal(database, SystemClock()) as journal:  # +10 %, -10 %, +10 %, as in test_stats
        assert await told(journal, 2, "9900") == (None, 100)
        await told(journal, 3, "10890")
        assert (await told(journal, 4, "1"))[0] == pytest.approx(0.288675, abs=1e-6)


def test_S1_51_balance_is_skipped_only_below_both_thresholds() -> None:
    rule = Compression(Decimal(10), Decimal("0.001"))

    def keeps(equity: str) -> bool:
        return rule.keeps(
            BalanceSnapshot(
                account_id="a", ts=0, cash=Decimal(0), equity=Decimal(equity), available=Decimal(0)
            )
        )

    assert keeps("5000")  # the first
    assert not keeps("5004.99")  # below 10 dollars and below 0.1 % of 5000
    assert keeps("5005")  # 0.1 %
    assert not keeps("5002")
    assert keeps("4999")  # compared with what was kept, so that small moves add up
    assert keeps("100000")
    assert keeps("100010")  # 10 dollars, though only 0.01 %
    assert not keeps("100001")
