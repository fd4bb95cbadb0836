"""The scheduler's state on real servers, through kill -9 at moments that nobody chose."""

from __future__ import annotations

import asyncio
import random
import sys
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg
import msgspec

from engine.bus import SIGNALS
from engine.clock import SystemClock
from engine.core.decisions import WakeReason
from engine.core.signals import Edge, Signal, signal_id
from engine.redis_bus import RedisBus
from tests.test_manager_service import BTC, TRADERS

LIVES = 5
SIGNALS_A_LIFE = 12


def edge(number: int) -> Signal:
    detector, ts = f"d{number}", SystemClock().now_ns()
    return Signal(
        signal_id=signal_id(BTC, detector, Edge.UP, ts),
        symbol=BTC,
        detector=detector,
        feature="rsi_14",
        timeframe="1m",
        edge=Edge.UP,
        value=75.0,
        threshold=70.0,
        release=65.0,
        score=0.6,
        price=1e5,
        ts_event=ts,
    )


@asynccontextmanager
async def a_life(database: str, redis_url: str) -> AsyncIterator[None]:
    """A manager that is killed in the end."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.manager_process", database, redis_url, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    try:
        while (await process.stdout.readline()).strip() != b"running":
            assert process.returncode is None
        yield
    finally:
        process.kill()
        await process.communicate()


async def wakings(connection: asyncpg.Connection[asyncpg.Record]) -> tuple[Counter[str], Counter[str]]:
    """`trader signal` → wakeups that carry it: all, and those that were not cut off."""
    rows = await connection.fetch("select trader_id, status, reasons from decision_cycles")
    told, whole = Counter[str](), Counter[str]()
    for row in rows:
        for reason in msgspec.json.decode(row["reasons"], type=list[WakeReason]):
            if reason.signal is not None:
                key = f"{row['trader_id']} {reason.signal.signal_id}"
                told[key] += 1
                whole[key] += row["status"] != "abandoned"
    return told, whole


async def test_B1_killed_at_any_moment_each_signal_is_looked_at_by_each_trader(
    database: str, redis_url: str
) -> None:
    choose, sent = random.Random(4), list[Signal]()  # noqa: S311 - moments, not secrets
    bus = RedisBus(redis_url, "test", SystemClock())
    connection = await asyncpg.connect(database)
    for life in range(LIVES):
        async with a_life(database, redis_url):
            for _ in range(SIGNALS_A_LIFE):
                sent.append(edge(len(sent)))
                await bus.publish(SIGNALS, sent[-1])
                await asyncio.sleep(choose.uniform(0, 0.03))
            wanted = {f"{trader} {signal.signal_id}" for trader in TRADERS for signal in sent}
            async with asyncio.timeout(30):
                while life == LIVES - 1 and wanted - (await wakings(connection))[0].keys():
                    await asyncio.sleep(0.05)
    told, whole = await wakings(connection)
    assert told.keys() == wanted
    assert max(whole.values()) == 1, "no trader decides twice about one signal"
    await connection.close()
    await bus.aclose()
