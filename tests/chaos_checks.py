"""What must be true after any fault: the journal against the venue's own record, and against itself."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Awaitable, Callable
from decimal import Decimal
from pathlib import Path
from typing import Any, Final, TypeVar

import aiohttp
import asyncpg

from engine.core.errors import VenueError
from engine.core.orders import entry_of
from engine.journal.postgres.filing import FilingTables
from engine.journal.postgres.pool import AWAY, Pool
from engine.journal.verify import verify
from tests.chaos_world import World

T = TypeVar("T")
Check = Callable[[World, asyncpg.Connection], Awaitable[str]]
_POLL_S: Final = 0.2


async def ready(world: World, _: asyncpg.Connection) -> str:
    """The engine has recovered and takes entries; the API sees every part of it."""
    engine, api = await world.engine_health(), await world.api_health()
    if not engine["ok"]:
        return f"engine: {engine['detail']}"
    return "" if api["status"] == "ok" else f"API: {api}"


async def fills_once(world: World, journal: asyncpg.Connection) -> str:
    """Each execution of the venue is booked, once, with its size and price; nothing else is."""
    at_venue = Counter(
        (f"{each.symbol}:{each.venue_order_id}:{each.fill.trade_id}", each.fill.contracts, each.fill.price)
        for each in await world.venue.executions_since(0)
        if each.fill
    )
    booked = Counter(
        (row["fill_id"], row["contracts"], row["price"])
        for row in await journal.fetch("select fill_id, contracts, price from trader_fills")
    )
    return _difference("fills", at_venue, booked)


async def orders_once(world: World, journal: asyncpg.Connection) -> str:
    """Each order went out once, each is journalled, each one that the venue has is known to be there."""
    received = await world.orders_received()
    if twice := [name for name, count in received.items() if count > 1]:
        return f"sent twice: {twice}"
    rows = await journal.fetch("select client_order_id, filled, contracts, state from trader_orders")
    known = {row["client_order_id"] for row in rows}
    if lost := received.keys() - known:
        return f"sent and not journalled: {sorted(lost)}"
    odd = [row for row in rows if row["filled"] > row["contracts"]]
    return f"overfilled: {odd}" if odd else ""


async def nothing_in_doubt(world: World, journal: asyncpg.Connection) -> str:
    """The venue has said of every order what became of it."""
    before = world.clock.now_ns() - world.clock.engine_ns(5.0)
    waiting = await journal.fetch(
        "select client_order_id from trader_orders where state = 'PENDING_NEW' and ts_created < $1", before
    )
    return f"in doubt: {[row[0] for row in waiting]}" if waiting else ""


async def positions_agree(world: World, journal: asyncpg.Connection) -> str:
    """The traders' positions add up to the venue's, and are the sum of their fills."""
    at_venue = dict[tuple[str, str], Decimal]()
    for each in await world.venue.positions():
        if each.contracts and each.position_side is not None:
            at_venue[each.symbol, each.position_side.value] = abs(each.contracts)
    sums = {
        "positions": "select symbol, position_side, sum(contracts) from trader_positions group by 1, 2",
        "fills": """select symbol, position_side, sum(case when (side = 'buy') = (position_side = 'long')
            then contracts else -contracts end) from trader_fills group by 1, 2""",
    }
    for name, sql in sums.items():
        ours = {(row[0], row[1]): row[2] for row in await journal.fetch(sql) if row[2]}
        if ours != at_venue:
            return f"{name} {_plain(ours)}, at the venue {_plain(at_venue)}"
    return ""


async def protected(world: World, journal: asyncpg.Connection) -> str:
    """Each position has one stop of its size at the venue, and no other stop rests."""
    resting = Counter(
        (entry_of(each.client_id), each.symbol, each.contracts) for each in await world.venue.protections()
    )
    held = Counter(
        (row["entry_client_order_id"], row["symbol"], row["contracts"])
        for row in await journal.fetch(
            "select entry_client_order_id, symbol, contracts from trader_positions where contracts > 0"
        )
    )
    return _difference("stops", held, resting)


async def balanced(world: World, journal: asyncpg.Connection) -> str:
    """The newest comparison of cash and positions with the venue found no difference."""
    row = await journal.fetchrow("select * from account_checks order by ts desc limit 1")
    if row is None or row["ts"] < world.clock.now_ns() - world.clock.engine_ns(8.0):
        return "the books were not compared lately"
    return "" if row["balanced"] else f"{row['detail']} {row['difference']}"


async def cycles_once(world: World, journal: asyncpg.Connection) -> str:
    """Every cycle of which the engine's log tells is there, and was closed once at most; none hangs."""
    events = _logged(world.home / "logs" / "engine.log")
    rows = {r["cycle_id"]: r["status"] for r in await journal.fetch("select * from decision_cycles")}
    woken = {line["cycle"] for line in events if line["event"] == "trader woken"}
    if lost := woken - rows.keys():
        return f"cycles lost: {sorted(lost)}"
    closed = Counter(line["cycle"] for line in events if line["event"] == "cycle closed")
    if twice := [name for name, count in closed.items() if count > 1]:
        return f"closed twice: {twice}"
    if unknown := [name for name in closed if rows.get(name) in {None, "pending"}]:
        return f"closed, and not in the journal: {unknown}"
    before = world.clock.now_ns() - max(world.clock.engine_ns(10.0), 10 * 60 * 10**9)
    hanging = [name for name, status in rows.items() if status == "pending" and _ts(name) < before]
    return f"never closed: {hanging}" if hanging else ""


async def filed_once(world: World, _: asyncpg.Connection) -> str:
    """The decision files have an unbroken chain that the database confirms, with each cycle once."""
    async with Pool(world.addresses.postgres_dsn) as pool:
        tables = FilingTables(pool)
        for folder in sorted((world.home / "decisions").iterdir()):
            anchors = await tables.anchors(folder.name, 1)
            verdict = await asyncio.to_thread(verify, folder, anchors)
            if verdict.problems:
                return f"{folder.name}: {[problem.what for problem in verdict.problems]}"
            if verdict.records != verdict.anchored or verdict.records != verdict.last:
                return f"{folder.name}: {verdict}"
    return ""


# In this order: what is asked first names the cause.
CHECKS: Final[dict[str, Check]] = {
    "ready": ready,
    "fills once": fills_once,
    "orders once": orders_once,
    "none in doubt": nothing_in_doubt,
    "positions": positions_agree,
    "protected": protected,
    "books": balanced,
    "cycles once": cycles_once,
    "files": filed_once,
}


async def problems(world: World, deadline_s: float) -> dict[str, str]:
    """What is still wrong at the deadline. The traders trade on, so each look is at a moving thing."""
    wrong = dict.fromkeys(CHECKS, "not looked at")
    until_s = world.clock.real_s() + deadline_s
    while wrong and world.clock.real_s() < until_s:
        for name in list(wrong):
            wrong[name] = await _asked(world, CHECKS[name])
            if not wrong[name]:
                del wrong[name]
        await asyncio.sleep(_POLL_S)
    return wrong


async def _asked(world: World, check: Check) -> str:
    try:
        async with asyncio.timeout(10), world.database() as journal, journal.transaction():
            return await check(world, journal)
    except (VenueError, aiohttp.ClientError, OSError, TimeoutError, *AWAY) as error:
        return f"{type(error).__name__}: {error}"


async def fills_booked(world: World) -> int:
    """How many fills the journal has."""
    async with world.database() as journal:
        return int(await journal.fetchval("select count(*) from trader_fills"))


def _logged(path: Path) -> list[dict[str, Any]]:
    lines = path.read_text().splitlines()
    return [json.loads(line) for line in lines if line.startswith("{") and '"cycle"' in line]


def _ts(cycle_id: str) -> int:
    return int(cycle_id.rpartition("-")[2]) * 10**6


def _difference(what: str, wanted: Counter[T], found: Counter[T]) -> str:
    missing, extra = wanted - found, found - wanted
    if not missing and not extra:
        return ""
    return f"{what} missing {_plain(missing)}, too many {_plain(extra)}"


def _plain(found: object) -> str:
    return str(found).replace("Decimal", "").replace("Counter", "")[:400]
