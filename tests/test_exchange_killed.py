"""SIGKILL at every await of an order's life (C1, B1, and the table in section 7 of the design).

Whatever the point: at most one venue order an intent, no fill lost or booked twice, what is held has a
stop of its size and nothing else rests, the books equal the venue's, ready to trade within ten seconds.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import signal
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from decimal import Decimal
from itertools import product
from multiprocessing.context import ForkServerContext

import pytest

from engine.core.orders import Purpose
from engine.redis_bus import RedisBus
from tests.exchange_world import CLOCK, Life, Simulator, life, until_stops
from tests.killed_engine import Plan, Point, be_killed
from tests.waiting import until

D = Decimal
READY_S = 10.0
WHENS = ("before", "after")


def points(*calls: str) -> Iterator[Point]:
    """Both ends of each; `call 2` is its second call."""
    for text, when in product(calls, WHENS):
        call, _, nth = text.partition(" ")
        yield Point(call, when, int(nth or 1))


# What the act leaves behind when it goes through, when it never left, and at which points it never left.
# The order of calls is that of an undisturbed life; `record_execution` 1 is the acknowledgement, 2 the fill.
TABLE: dict[str, tuple[Decimal, Decimal, set[str], list[Point]]] = {
    "entry": (
        D(2),
        D(0),
        {
            *("before journal.record_gate", "after journal.insert_order", "after bus.handler"),
            *("before venue.submit",),
        },
        [
            *points("journal.record_gate", "bus.publish", "bus.handler", "journal.insert_order"),
            *points("venue.submit", "journal.record_execution", "journal.record_execution 2"),
            *points("journal.record_position", "bus.publish 2", "bus.publish 3", "venue.protections"),
        ],
    ),
    "exit": (
        D(0),
        D(2),
        {
            *("after journal.insert_order", "after bus.handler", "before venue.submit"),
            *map(str, points("venue.protections", "venue.cancel_protection")),
        },
        [
            *points("bus.handler", "journal.insert_order", "venue.protections", "venue.cancel_protection"),
            *points("venue.submit", "journal.record_execution", "journal.record_execution 2"),
            *points("journal.record_position"),
        ],
    ),
    "part": (
        D("1.5"),
        D(2),
        {*map(str, points("venue.amend_protection")), "before venue.submit"},
        list(points("venue.amend_protection", "venue.submit")),
    ),
    "stop": (
        D(0),
        D(2),
        set(),
        list(points("journal.record_execution", "journal.record_position")),
    ),
    "naked": (D(2), D(0), set(), list(points("venue.protect"))),
}
CASES = [(act, point) for act, (_, _, _, found) in TABLE.items() for point in found]


@pytest.fixture(scope="module")
def nursery() -> ForkServerContext:
    """Children that start at once: the modules are loaded in the process that they are forked from."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.killed_engine"])
    return context


@pytest.fixture
async def bus(redis_url: str) -> AsyncIterator[RedisBus]:
    """As the next life of the engine opens it."""
    opened = RedisBus(redis_url, "test", CLOCK)
    yield opened
    await opened.aclose()


@dataclass(frozen=True)
class Killing:
    """Where a child lives and dies."""

    sim: Simulator
    database: str
    redis_url: str
    nursery: ForkServerContext


@pytest.fixture
def killing(sim: Simulator, database: str, redis_url: str, nursery: ForkServerContext) -> Killing:
    return Killing(sim, database, redis_url, nursery)


async def killed(where: Killing, act: str, point: Point) -> None:
    """Run a child until it has killed itself."""
    plan = Plan(where.sim.url, where.sim.keys, where.database, where.redis_url, act, point)
    child = where.nursery.Process(target=be_killed, args=(plan,))
    child.start()
    try:
        await asyncio.to_thread(child.join, 20)
        assert child.exitcode == -signal.SIGKILL, f"never got to the point: {child.exitcode}"
    finally:
        child.kill()
        await asyncio.to_thread(child.join)
        child.close()


async def settled(now: Life, held: Decimal) -> None:
    """All that must be true after any death."""
    await until(lambda: now.held() == held and not now.service.desk.open)
    await now.service.desk.drained()
    await until_stops(now, *([str(held)] if held else []))
    venue = [position.contracts for position in await now.venue.positions() if position.contracts]
    assert venue == ([held] if held else [])
    fills = (await now.journal.bookings("sim")).fills
    executions = await now.venue.executions_since(0)
    assert sorted(fill.contracts for fill in fills) == sorted(e.fill.contracts for e in executions if e.fill)
    assert len({fill.fill_id for fill in fills}) == len(fills)
    await now.balanced()


@pytest.mark.parametrize(("act", "point"), CASES, ids=[f"{act}: {point}" for act, point in CASES])
async def test_C1_a_kill_loses_nothing_and_repeats_nothing(
    killing: Killing, bus: RedisBus, act: str, point: Point
) -> None:
    done, undone, never_left, _ = TABLE[act]
    sim, database = killing.sim, killing.database
    await killed(killing, act, point)
    await sim.healthy()
    began = CLOCK.real_s()
    async with life(sim, database, bus=bus) as now:
        assert CLOCK.real_s() - began < READY_S
        assert now.service.refusal("BTC-USDT-SWAP") == ""
        await settled(now, undone if str(point) in never_left else done)
        assert all(count == 1 for count in (await sim.orders_received()).values())
        if act == "stop":
            (trade,) = await now.journal.recent_trades("a", 5)
            assert trade.exit_purpose is Purpose.STOP
