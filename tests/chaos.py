"""Faults one after the other under trading, and what is true afterwards: `make chaos`.

    make chaos                                              # every fault for two real minutes: half an hour
    make chaos ARGS="--hold 20 postgres-stopped disk-full"

Exit code 0: after every fault each fill, order and cycle is there exactly once, the books balance, each
position has its stop, and trading goes on.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from engine.clock import SystemClock
from engine.journal.postgres.pool import AWAY
from engine.log import configure
from tests.chaos_checks import fills_booked, problems
from tests.chaos_world import World, world

Outage = Callable[[World], AbstractAsyncContextManager[None]]


@dataclass(frozen=True)
class Fault:
    """`outage` begins at the start of its block and is over at the end.

    trades_on: traders trade while it lasts. sends_nothing: no order may go out while it lasts.
    """

    outage: Outage
    trades_on: bool = False
    sends_nothing: bool = False


@asynccontextmanager
async def postgres_stopped(of: World) -> AsyncIterator[None]:
    await of.postgres.stop()
    try:
        yield
    finally:
        await of.postgres.start()


def frozen(name: str) -> Outage:
    """Every process of it stands still, and says nothing to those who wait."""

    @asynccontextmanager
    async def outage(of: World) -> AsyncIterator[None]:
        of.freeze(name)
        try:
            yield
        finally:
            of.thaw(name)

    return outage


def killed(name: str) -> Outage:
    """SIGKILL; whoever supervises it starts it again."""

    @asynccontextmanager
    async def outage(of: World) -> AsyncIterator[None]:
        if name == "simulator":
            await of.note_orders()
        of.kill(name)
        yield

    return outage


@asynccontextmanager
async def redis_flushed(of: World) -> AsyncIterator[None]:
    async with of.redis_client() as client:
        await client.flushall()
    yield


@asynccontextmanager
async def redis_full(of: World) -> AsyncIterator[None]:
    async with of.redis_client() as client:
        was = (await client.config_get("maxmemory"))["maxmemory"] or 0
        await client.config_set("maxmemory", 1)
        try:
            yield
        finally:
            await client.config_set("maxmemory", was)


@asynccontextmanager
async def disk_full(of: World) -> AsyncIterator[None]:
    """Neither log nor spool nor decision file of the engine takes another byte."""
    of.bound_files("engine", 0)
    try:
        yield
    finally:
        of.bound_files("engine", -1)


def venue(*faults: dict[str, object]) -> Outage:
    """What the simulated venue does wrong meanwhile."""

    @asynccontextmanager
    async def outage(of: World) -> AsyncIterator[None]:
        for fault in faults:
            await of.fault(**fault)  # type: ignore[arg-type]
        try:
            yield
        finally:
            await of.healthy()

    return outage


FAULTS: Final[dict[str, Fault]] = {
    "postgres-stopped": Fault(postgres_stopped, sends_nothing=True),
    "postgres-frozen": Fault(frozen("postgres"), sends_nothing=True),
    "postgres-killed": Fault(killed("postgres"), trades_on=True),
    "redis-flushed": Fault(redis_flushed, trades_on=True),
    "redis-killed": Fault(killed("valkey"), trades_on=True),
    "redis-frozen": Fault(frozen("valkey")),
    "redis-full": Fault(redis_full),
    "disk-full": Fault(disk_full, trades_on=True),
    "api-killed": Fault(killed("api"), trades_on=True),
    "engine-killed": Fault(killed("engine"), trades_on=True),
    "engine-frozen": Fault(frozen("engine"), sends_nothing=True),
    "simulator-killed": Fault(killed("simulator"), trades_on=True),
    "venue-silent": Fault(frozen("simulator")),
    "venue-answers-lost": Fault(
        venue({"kind": "drop_after", "path": "trade/order", "count": 3}, {"kind": "cut"}), trades_on=True
    ),
}


@dataclass(frozen=True)
class Result:
    """One row of the table. `wrong`: check → what it found at its deadline."""

    name: str
    held_s: float
    healed_s: float
    fills_before: int
    fills_during: int
    fills_after: int
    wrong: dict[str, str]

    def cells(self) -> tuple[str, ...]:
        """As the table shows it."""
        fills = map(str, (self.fills_before, self.fills_during, self.fills_after))
        wrong = "\n".join(f"{check}: {what}" for check, what in self.wrong.items())
        return self.name, f"{self.held_s:.1f} s", f"{self.healed_s:.1f} s", *fills, wrong or "nothing"


async def suffer(of: World, name: str, hold_s: float, heal_s: float) -> Result:
    """One fault, then every check, and one more fill: trading goes on."""
    fault, began_s = FAULTS[name], of.clock.real_s()
    before = await fills_booked(of)
    during, wrong = before, dict[str, str]()
    async with fault.outage(of):
        if fault.sends_nothing:
            wrong |= await _sends_nothing(of, hold_s)
        else:
            await asyncio.sleep(hold_s)
        if fault.trades_on:
            during = await _more_fills(of, before, heal_s)
            if during == before:
                wrong["trading"] = "no fill while it lasted"
    over_s = of.clock.real_s()
    wrong |= await problems(of, heal_s)
    healed_s = of.clock.real_s() - over_s
    settled = await fills_booked(of)
    after = await _more_fills(of, settled, heal_s)
    if after == settled:
        wrong["trading"] = "no fill afterwards"
    return Result(
        name, over_s - began_s, healed_s, before, max(during, settled) - before, after - settled, wrong
    )


async def _sends_nothing(of: World, hold_s: float) -> dict[str, str]:
    """What was under way may arrive in the first two seconds; nothing after them."""
    await asyncio.sleep(min(2.0, hold_s / 2))
    early = await of.orders_received()
    await asyncio.sleep(max(0.0, hold_s - 2.0))
    late = await of.orders_received()
    sent = late.keys() - early.keys()
    return {"sends nothing": f"sent meanwhile: {sorted(sent)}"} if sent else {}


async def _more_fills(of: World, than: int, deadline_s: float) -> int:
    """The number of fills once it is larger, or at the deadline."""
    until_s, found = of.clock.real_s() + deadline_s, than
    while found <= than and of.clock.real_s() < until_s:
        try:
            found = await fills_booked(of)
        except AWAY:
            found = than
        await asyncio.sleep(0.1)
    return found


async def run(home: Path, names: Sequence[str], speed: float, hold_s: float, heal_s: float) -> int:
    """Each fault in turn; prints a row for each, returns how many left something wrong."""
    console = Console()
    table = Table(title=f"chaos at speed {speed:g}", box=SIMPLE_HEAD)
    table.add_column("fault", no_wrap=True)
    for column in ("lasted", "healed after", "fills before", "during", "after", "wrong"):
        table.add_column(column)
    failed = 0
    with (home / "chaos.log").open("ab") as out:
        configure(SystemClock(), "info", "chaos", out)
        async with world(home, speed) as of:
            await _more_fills(of, 3, heal_s)
            for name in names:
                console.print(f"{name} …")
                result = await suffer(of, name, hold_s, heal_s)
                failed += bool(result.wrong)
                table.add_row(*result.cells())
    console.print(table)
    return failed


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("fault", nargs="*", help=f"of: {', '.join(FAULTS)}; all when none is named")
    parser.add_argument("--hold", type=float, default=120.0, help="real seconds that each fault lasts")
    parser.add_argument("--heal", type=float, default=60.0, help="real seconds until all must be well")
    parser.add_argument("--home", type=Path, help="keep everything here, a short path; else it is deleted")
    parser.add_argument("--speed", type=float, default=20.0, help="engine time beside real time")
    given = parser.parse_args()
    unknown = set(given.fault) - FAULTS.keys()
    if unknown:
        parser.error(f"no such fault: {', '.join(sorted(unknown))}")
    names = given.fault or list(FAULTS)
    with tempfile.TemporaryDirectory(prefix="ew-") as deleted:
        home = given.home or Path(deleted)
        home.mkdir(parents=True, exist_ok=True)
        failed = asyncio.run(run(home, names, given.speed, given.hold, given.heal))
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
