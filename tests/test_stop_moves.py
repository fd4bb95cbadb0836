"""A stop that is moved: amended where it rests, never away, and still there after a restart."""

from __future__ import annotations

import asyncio
from decimal import Decimal

from engine.core.errors import Rejected, TriggerPassed
from engine.core.orders import StopMove, stop_client_id
from engine.exchange.okx.venue import OkxVenue
from engine.exchange.ports import Protection, ProtectionRequest
from tests.exchange_world import BTC, CLOCK, Life, Simulator, Wrapped, alarms, life, stops
from tests.waiting import until

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


async def entered(now: Life) -> None:
    """Trader `a` holds two contracts."""
    intent = now.intent("one")
    await now.service.desk.accept(intent)
    await now.done(intent)


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
        await entered(now)
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
    """A venue that amends no stop, and tells how many rested whenever one is cancelled."""

    def __init__(self, venue: OkxVenue) -> None:
        super().__init__(venue)
        self.rested: list[int] = []

    async def amend_protection(self, protection: Protection, request: ProtectionRequest) -> None:
        raise Rejected("no", "51000")

    async def cancel_protection(self, protection: Protection) -> bool:
        self.rested.append(len(await self.venue.protections()))
        return await self.venue.cancel_protection(protection)


class Stubborner(Stubborn):
    """And takes no new one below 98,000."""

    refusal: type[Rejected] = Rejected

    async def protect(self, request: ProtectionRequest) -> Protection:
        if request.stop_loss is not None and request.stop_loss < D(98_000):
            raise self.refusal("no", "51000")
        return await self.venue.protect(request)


class Passed(Stubborner):
    """Says of those that it does not take that they would fire at once."""

    refusal = TriggerPassed


async def test_I7_a_stop_that_cannot_be_amended_goes_when_its_successor_rests(
    sim: Simulator, database: str
) -> None:
    venues: list[Stubborn] = []

    def wrap(venue: OkxVenue) -> Stubborn:
        venues.append(Stubborn(venue))
        return venues[-1]

    async with life(sim, database, wrap=wrap) as now:
        await entered(now)
        await until_stops_at(now, "95000")
        now.service.guard.move(moved(now, "97500"))
        await until_stops_at(now, "97500")
        now.service.guard.move(moved(now, "98500"))
        await until_stops_at(now, "98500")
        assert venues[-1].rested == [2, 2]
        assert now.held() == 2


async def test_I7_where_the_new_stop_is_refused_the_old_one_stays(sim: Simulator, database: str) -> None:
    async with life(sim, database, wrap=Stubborner) as now:
        await entered(now)
        (before,) = await until_stops_at(now, "95000")
        now.service.guard.move(moved(now, "97500"))
        looks = now.service.guard.looks
        await until(lambda: now.service.guard.looks > looks)
        now.service.guard.look_soon()
        await until(lambda: now.service.guard.looks > looks + 1)
        assert await stops(now) == [before]
        assert now.held() == 2
        assert await alarms(database) == ["stop_not_moved"]
        now.service.guard.move(moved(now, "98000"))
        await until_stops_at(now, "98000")


async def test_I7_a_new_stop_that_the_price_has_passed_closes_the_position(
    sim: Simulator, database: str
) -> None:
    async with life(sim, database, wrap=Passed) as now:
        await entered(now)
        await until_stops_at(now, "95000")
        now.service.guard.move(moved(now, "97500"))
        await until(lambda: now.held() == 0)
        await until_stops_at(now)
        assert await alarms(database) == ["unprotected"]
        await now.balanced()


async def test_of_two_stops_that_a_life_left_behind_the_newer_one_stays(
    sim: Simulator, database: str
) -> None:
    """It ended between placing the new one and cancelling the old one."""
    async with life(sim, database) as now:
        await entered(now)
        (old,) = await until_stops_at(now, "95000")
        move = moved(now, "97500")
        await now.journal.record_stop_moves([move])
        (held,) = now.books.account("a").positions.values()
        new = ProtectionRequest(
            client_id=stop_client_id(held.entry_client_order_id, 1),
            symbol=BTC,
            position_side=held.side,
            contracts=held.contracts,
            stop_loss=D(97_500),
            take_profit=D(110_000),
        )
        await now.venue.protect(new)
    async with life(sim, database) as now:
        (left,) = await until_stops_at(now, "97500")
        assert left.client_id == new.client_id
        assert left.venue_id != old.venue_id
