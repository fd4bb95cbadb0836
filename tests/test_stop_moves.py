"""A stop that is moved: amended where it rests, never away, and still there after a restart."""

from __future__ import annotations

import asyncio
from decimal import Decimal

from engine.core.errors import Rejected
from engine.core.orders import StopMove
from engine.exchange.ports import Protection, ProtectionRequest
from tests.exchange_world import BTC, CLOCK, Life, Simulator, Wrapped, life, stops, until

D = Decimal


def moved(now: Life, stop: str, number: int = 1) -> StopMove:
    """Trader `a` moves the stop of its long."""
    (held,) = now.books.account("a").positions.values()
    return StopMove(
        move_id=f"move {number}",
        cycle_id="",
        trader_id="a",
        account_id="sim",
        symbol=BTC,
        position_side=held.side,
        entry_client_order_id=held.entry_client_order_id,
        stop_loss=D(stop),
        ts_created=CLOCK.now_ns(),
    )


async def until_stops_at(now: Life, *prices: str) -> list[Protection]:
    """Wait until stops at exactly these prices rest."""
    async with asyncio.timeout(10):
        while True:
            found = await stops(now)
            if sorted(str(stop.stop_loss) for stop in found) == sorted(prices):
                return found
            await asyncio.sleep(0.05)


async def test_a_moved_stop_is_amended_where_it_rests_and_survives_a_restart(
    sim: Simulator, database: str
) -> None:
    async with life(sim, database) as now:
        intent = now.intent("one")
        await now.service.desk.accept(intent)
        await now.done(intent)
        (before,) = await until_stops_at(now, "95000")
        move = moved(now, "97500")
        await now.journal.record_stop_moves([move])
        now.service.guard.move(move)
        (after,) = await until_stops_at(now, "97500")
        assert after.venue_id == before.venue_id, "amended in place"
        assert (after.contracts, after.take_profit) == (D(2), D(110_000))
        later = moved(now, "98000", 2)
        await now.journal.record_stop_moves([later, later])  # journalled, and then the engine ends
    async with life(sim, database) as now:
        await until_stops_at(now, "98000")
        await sim.price("97900")
        await until(lambda: now.held() == 0)
        await now.balanced()


class Stubborn(Wrapped):
    """A venue that amends no stop."""

    async def amend_protection(self, protection: Protection, request: ProtectionRequest) -> None:
        raise Rejected("no", "51000")


async def test_I7_where_the_venue_does_not_amend_the_stop_is_replaced(sim: Simulator, database: str) -> None:
    async with life(sim, database, wrap=Stubborn) as now:
        intent = now.intent("one")
        await now.service.desk.accept(intent)
        await now.done(intent)
        await until_stops_at(now, "95000")
        now.service.guard.move(moved(now, "97500"))
        await until_stops_at(now, "97500")
        assert now.held() == 2
