"""Postgres is killed again and again under trading. Afterwards everything is there, exactly once."""

from __future__ import annotations

import asyncio
import os
import signal
from decimal import Decimal
from pathlib import Path

import asyncpg
import msgspec

from engine.clock import SystemClock, cancelled
from engine.core.market import Candle
from engine.core.orders import OrderState
from engine.core.times import NS_PER_MIN
from engine.embedded import EmbeddedServers
from engine.journal.postgres.journal import PostgresJournal
from engine.journal.postgres.migrate import migrate
from engine.journal.spool import Spool
from engine.retry import patiently
from tests import journal_parts as parts
from tests.exchange_world import Life, Simulator, life
from tests.journal_parts import T0, TRADER
from tests.waiting import until

_KILLS = 3


async def trade(now: Life, trader: str, ids: list[str], stop: asyncio.Event) -> None:
    """In and out again, one order after the other; the client ids of all orders go to `ids`."""
    number = 0
    while not stop.is_set():
        number += 1
        for intent in (
            now.intent(f"{trader}{number}", trader, "1"),
            now.exit(f"{trader}{number}x", trader, "1"),
        ):
            await now.service.desk.accept(intent)
            order = await patiently(lambda intent=intent: now.done(intent, 60.0))  # type: ignore[misc]
            assert order.state is OrderState.FILLED
            ids.append(intent.client_order_id)


async def decide(journal: PostgresJournal, stop: asyncio.Event) -> int:
    """Cycles and candles beside the trading; how many of each."""
    count = 0
    await patiently(lambda: journal.record_traders([TRADER]))
    while not stop.is_set():
        name, ts = f"alice-{count}", T0 + count * NS_PER_MIN
        candle = Candle("BTC-USDT-SWAP", "1m", ts, 1.0, 1.0, 1.0, 1.0, 1.0, True, ts, ts)
        await patiently(lambda name=name: journal.record_wakeup(parts.wakeup(name)))  # type: ignore[misc]
        await patiently(lambda name=name: journal.record_cycle(parts.record(name)))  # type: ignore[misc]
        await patiently(lambda name=name: journal.record_gate([parts.verdict(name)]))  # type: ignore[misc]
        await journal.record_candles([candle])
        await journal.record_performance([msgspec.structs.replace(parts.view(), ts=ts)])
        count += 1
        await asyncio.sleep(0.02)
    return count


async def kill_postgres(servers: EmbeddedServers) -> None:
    """kill -9, then wait until another one answers."""
    before = servers.pids()["postgres"]
    os.kill(before, signal.SIGKILL)
    async with asyncio.timeout(30):
        while servers.pids().get("postgres") == before or not await answers(servers.addresses.postgres_dsn):
            await asyncio.sleep(0.1)


async def five_more(ordered: list[str]) -> None:
    wanted = len(ordered) + 5
    await until(lambda: len(ordered) >= wanted, 60.0)


async def answers(dsn: str) -> bool:
    try:
        connection = await asyncpg.connect(dsn, timeout=1.0)
    except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError):
        return False
    await connection.close()
    return True


async def test_C8_every_fill_order_and_cycle_is_there_exactly_once(sim: Simulator, home: Path) -> None:
    async with EmbeddedServers(home) as servers, asyncio.TaskGroup() as tasks:
        running = tasks.create_task(servers.run(), name="servers")
        dsn = servers.addresses.postgres_dsn
        await migrate(dsn)
        async with (
            PostgresJournal(dsn, SystemClock(), Spool(home / "spool", 2**20)) as journal,
            life(sim, dsn) as now,
            asyncio.timeout(120),
        ):
            draining = asyncio.create_task(journal.batches.drain(), name="spool")
            stop = asyncio.Event()
            deciding = tasks.create_task(decide(journal, stop), name="decide")
            ordered: list[str] = []
            traders = [
                tasks.create_task(trade(now, name, ordered, stop), name=f"trade {name}")
                for name in ("a", "b")
            ]
            for _ in range(_KILLS):
                await five_more(ordered)
                await kill_postgres(servers)
            await five_more(ordered)
            stop.set()
            for trader in traders:
                await trader
            cycles = await deciding
            while journal.batches.spool_bytes:
                await asyncio.sleep(0.05)
            await now.balanced()
            assert now.held("a") == now.held("b") == 0
            await cancelled(draining)
        await check(dsn, sim, ordered, cycles)
        running.cancel()


async def check(dsn: str, sim: Simulator, ordered: list[str], cycles: int) -> None:
    connection = await asyncpg.connect(dsn)
    orders = await connection.fetch("select client_order_id, contracts, filled, state from trader_orders")
    ours = {row["client_order_id"]: row for row in orders if row["client_order_id"] in set(ordered)}
    assert len(ordered) == len(set(ordered)) == len(ours)
    received = await sim.orders_received()
    assert {name: received[name] for name in ordered} == dict.fromkeys(ordered, 1)
    fills = await connection.fetch(
        "select client_order_id, sum(contracts) as filled from trader_fills group by 1"
    )
    filled: dict[str, Decimal] = {row["client_order_id"]: row["filled"] for row in fills}
    assert {name: row["contracts"] for name, row in ours.items()} == {n: filled[n] for n in ordered}
    assert await connection.fetchval("select count(*) from closed_trades") == len(ordered) // 2
    for table in ("decision_cycles", "llm_conversations", "decision_validations", "klines"):
        assert await connection.fetchval(f"select count(*) from {table}") == cycles, table  # noqa: S608
    assert await connection.fetchval("select count(*) from trader_performance") >= cycles
    await connection.close()
