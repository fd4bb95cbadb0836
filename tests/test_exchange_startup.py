"""An engine that starts finds out what happened while there was none, changes nothing else, then trades."""

from __future__ import annotations

import asyncio
from decimal import Decimal
from typing import Any

import msgspec
import pytest

from engine.core.errors import Rejected
from engine.core.instruments import USUAL_FEES, FeeTier
from engine.core.market import Side
from engine.core.orders import OrderState, OrderType, PositionSide, Purpose, stop_client_id
from engine.core.times import NS_PER_DAY
from engine.exchange.okx.venue import OkxVenue
from engine.exchange.thresholds import Thresholds
from engine.journal.ports import KeepState
from tests.exchange_world import (
    BTC,
    CLOCK,
    ETH,
    HASTY,
    Deaf,
    Life,
    Mute,
    Simulator,
    Wrapped,
    aclosing_venue,
    alarms,
    by_hand,
    life,
    rows,
    until_stops,
    venue_of,
)
from tests.waiting import until

D = Decimal
RESTING = {"order_type": OrderType.LIMIT, "price": D(99_000)}


async def rested(now: Life, contracts: str = "5", **more: object) -> str:
    """Client id of a limit order that the venue has taken."""
    intent = now.intent("resting", "a", contracts, **(RESTING | more))
    await now.service.desk.accept(intent)
    name = intent.client_order_id
    await until(lambda: name in now.service.desk.open and now.service.desk.open[name].state is OrderState.NEW)
    return name


async def test_S1_an_order_that_the_venue_never_took_is_rejected(sim: Simulator, database: str) -> None:
    async with life(sim, database, wrap=Mute, thresholds=Thresholds()) as now:
        intent = now.intent("one")
        await now.service.desk.accept(intent)
        await until(lambda: now.service.desk.open[intent.client_order_id].ts_sent > 0)
    async with life(sim, database) as now:
        order = await now.order(intent)
        assert (order.state, order.open_contracts) == (OrderState.REJECTED, D(0))
        assert now.service.desk.open == {}
        assert now.held() == 0
        assert await sim.orders_received() == {}
        await now.balanced()


async def test_S2_a_fill_during_downtime_is_booked_once_as_the_venue_has_it(
    sim: Simulator, database: str
) -> None:
    async with life(sim, database) as now:
        name = await rested(now)
    await sim.price("98000")
    for _ in range(2):
        async with life(sim, database) as now:
            order = await now.journal.order(name)
            assert order is not None
            assert (order.state, order.filled) == (OrderState.FILLED, D(5))
            (position,) = await now.venue.positions()
            assert (now.held(), order.average_price) == (position.contracts, position.average_price)
            fills = (await rows(database))["trader_fills"]
            assert len(fills) == len({fill[0] for fill in fills})
            await until_stops(now, "5")
            await now.balanced()


async def test_S3_partial_fills_of_which_some_were_missed_add_up(sim: Simulator, database: str) -> None:
    async with life(sim, database) as now:
        name = await rested(now)
        await sim.price("99000", size="1", side="sell", depth="1")
        await until(lambda: now.held() > 0)
    for _ in range(2):
        await sim.price("99000", size="1", side="sell", depth="1")
    async with life(sim, database) as now:
        order = await now.journal.order(name)
        (position,) = await now.venue.positions()
        assert order is not None
        assert order.filled == order.claimed == now.held() == position.contracts
        assert 1 < order.filled <= 5
        bookings = await now.journal.bookings("sim")
        assert sum(fill.contracts for fill in bookings.fills) == order.filled
        assert len({fill.fill_id for fill in bookings.fills}) == len(bookings.fills)
        await now.balanced()


async def test_S4_a_part_that_filled_before_a_cancel_while_down_is_kept(
    sim: Simulator, database: str
) -> None:
    other: dict[str, Any] = {"symbol": ETH, "price": D(3_960), "stop_loss": D(3_800), "take_profit": D(4_400)}
    async with life(sim, database) as now:
        name = await rested(now, **other)
    await sim.price("3960", ETH, size="1", side="sell", depth="1")
    venue = venue_of(sim)
    async with aclosing_venue(venue):
        async with asyncio.timeout(10):
            while not (await venue.open_orders())[0].filled:
                await asyncio.sleep(0.02)
        async with life(sim, database, wrap=Mute) as now:
            order = now.service.desk.open[name]
            assert order.state is OrderState.PARTIALLY_FILLED
        await venue.cancel(order)
    async with life(sim, database) as now:
        ended = await now.journal.order(name)
        assert ended is not None
        assert (ended.state, ended.filled) == (OrderState.CANCELED, now.held(symbol=ETH))
        await until_stops(now, str(ended.filled))
        await now.balanced()


async def test_S5_an_order_of_somebody_else_is_known_and_left_alone(sim: Simulator, database: str) -> None:
    foreign = await by_hand(sim, Side.BUY, "3", order_type=OrderType.LIMIT, price=D(98_000))
    for _ in range(2):
        async with life(sim, database) as now:
            (known,) = now.service.desk.open.values()
            assert (known.intent.purpose, known.open_contracts) == (Purpose.EXTERNAL, D(3))
            assert [report.contracts for report in await now.venue.open_orders()] == [D(3)]
            await now.balanced()
    async with life(sim, database) as now:
        await now.venue.cancel(foreign)
        await until(lambda: not now.service.desk.open)


async def test_O6_leverage_that_cannot_be_set_stops_entries_in_its_symbol_only(
    sim: Simulator, database: str
) -> None:
    """OKX refuses while an order rests; the engine starts all the same and tries again."""
    foreign = await by_hand(sim, Side.BUY, "3", order_type=OrderType.LIMIT, price=D(98_000))
    async with life(sim, database) as now:
        assert now.service.refusal(BTC) == "leverage_not_set"
        assert now.service.refusal(ETH) == ""
        await now.venue.cancel(foreign)
        await now.service.set_leverage()
        assert now.service.refusal(BTC) == ""


async def test_S6_a_position_from_before_is_adopted_and_stops_entries(sim: Simulator, database: str) -> None:
    """It is nobody's, it is counted at the venue's average, and it is not touched."""
    await by_hand(sim, Side.BUY, "5")
    for _ in range(2):
        async with life(sim, database) as now:
            assert now.books.remainder.lots[BTC, PositionSide.LONG].contracts == 5
            assert now.service.refusal(BTC) == "unattributed_position"
            assert now.service.refusal(ETH) == ""
            check = await now.service.auditor.look()
            assert check is not None
            assert (check.detail, check.difference) == ("", D(0))
            assert not check.balanced


async def test_S10_an_order_older_than_the_venues_lists_still_rests(sim: Simulator, database: str) -> None:
    old = CLOCK.now_ns() - 120 * NS_PER_DAY
    async with life(sim, database, limit_timeout_s=1e9) as now:
        name = await rested(now, ts_created=old)
    async with life(sim, database, limit_timeout_s=1e9) as now:
        assert now.service.desk.open[name].state is OrderState.NEW
        await now.balanced()


async def test_S11_a_second_start_without_news_changes_nothing(sim: Simulator, database: str) -> None:
    async with life(sim, database) as now:
        for name, contracts in (("one", "2"), ("two", "3")):
            intent = now.intent(name, "a", contracts)
            await now.service.desk.accept(intent)
            await now.done(intent)
        await rested(now)
        await until_stops(now, "5")
        await now.service.desk.drained()
    kept = []
    for _ in range(3):
        async with life(sim, database) as now:
            books = [(a.trader_id, a.cash, a.fees, a.cost) for a in now.books.traders()]
            kept.append((books, await rows(database)))
            await now.balanced()
    assert kept[0] == kept[1] == kept[2]


async def test_S13_an_account_that_cannot_be_seen_is_not_an_empty_one(sim: Simulator, database: str) -> None:
    async with life(sim, database) as now:
        intent = now.intent("one")
        await now.service.desk.accept(intent)
        await now.done(intent)
    before = await rows(database)
    await sim.fault("http", path="account/positions", count=1_000_000)
    starting = asyncio.create_task(hold(sim, database), name="a start")
    await asyncio.sleep(1.0)
    assert not starting.done()
    assert await rows(database) == before
    await sim.healthy()
    assert await starting == 2
    assert await rows(database) == before


async def hold(sim: Simulator, database: str) -> Decimal:
    async with life(sim, database) as now:
        await now.balanced()
        return now.held()


@pytest.mark.parametrize("mode", ["net", "long_short"])
async def test_S14_traders_on_both_sides_add_up_to_the_net_position(
    sim: Simulator, net_sim: Simulator, database: str, mode: str
) -> None:
    """And one's close is not the other's: it neither takes his contracts nor his stop."""
    async with life(net_sim if mode == "net" else sim, database, position_mode=mode) as now:
        long = now.intent("long", "a", "2")
        short = now.intent(
            "short",
            "b",
            "3",
            side=Side.SELL,
            position_side=PositionSide.SHORT,
            stop_loss=D(105_000),
            take_profit=D(90_000),
        )
        for intent in (long, short):
            await now.service.desk.accept(intent)
            await now.done(intent)
        net = sum(position.contracts for position in await now.venue.positions())
        assert (now.held("a"), now.held("b"), net) == (D(2), D(-3), D(-1))
        await now.balanced()
        close = now.exit("close long")
        await now.service.desk.accept(close)
        await now.done(close)
        assert (now.held("a"), now.held("b")) == (D(0), D(-3))
        await until_stops(now, "3")
        await now.balanced()


async def test_an_answer_that_nobody_heard_is_asked_for(sim: Simulator, database: str) -> None:
    """The engine ended between sending and reading."""
    async with life(sim, database, wrap=Deaf) as now:
        intent = now.intent("one")
        await now.service.desk.accept(intent)
        await until(lambda: now.held() == 2)
    async with life(sim, database) as now:
        assert (await now.order(intent)).state is OrderState.FILLED
        assert await sim.orders_received() == {intent.client_order_id: 1}
        await until_stops(now, "2")
        await now.balanced()


async def test_a_naked_position_is_protected_within_a_second_of_the_start(
    sim: Simulator, database: str
) -> None:
    async with life(sim, database) as now:
        intent = now.intent("one")
        await now.service.desk.accept(intent)
        await now.done(intent)
        await until_stops(now, "2")
    venue = venue_of(sim)
    async with aclosing_venue(venue):
        (stop,) = await venue.protections()
        assert await venue.cancel_protection(stop)
    began = CLOCK.real_s()
    async with life(sim, database) as now:
        await until_stops(now, "2")
        assert CLOCK.real_s() - began < 10
        (stop,) = await now.venue.protections()
        assert stop.client_id != stop_client_id(intent.client_order_id)


async def test_stops_of_a_position_that_died_while_down_are_removed(sim: Simulator, database: str) -> None:
    async with life(sim, database) as now:
        intent = now.intent("one")
        await now.service.desk.accept(intent)
        await now.done(intent)
        await until_stops(now, "2")
    await by_hand(sim, Side.SELL, "2")
    async with life(sim, database) as now:
        assert now.held() == 0
        await until_stops(now)
        assert await alarms(database) == ["closed_externally"]
        await now.balanced()


async def test_capital_that_the_account_does_not_hold_is_refused(sim: Simulator, database: str) -> None:
    with pytest.raises(ExceptionGroup) as refused:
        async with life(sim, database, capital={"a": D(900_000)}):
            pass
    assert "lower total_equity_usd" in str(refused.value.exceptions)


def test_hasty_thresholds_are_the_defaults_but_faster() -> None:
    """The tests count as NautilusTrader does and only wait less."""
    usual = Thresholds()
    assert (usual.in_flight_s, usual.queries, usual.differing_looks, usual.quiet_s) == (5.0, 5, 3, 5.0)
    assert (HASTY.queries, HASTY.differing_looks, HASTY.single_queries) == (5, 3, 10)


class Secretive(Wrapped):
    """A venue that does not say what it charges, until it does."""

    told: FeeTier | None = None

    async def fees(self) -> FeeTier:
        if self.told is None:
            raise Rejected("no", "51000")
        return self.told


async def test_an_account_that_hides_its_fees_trades_by_the_usual_ones(sim: Simulator, database: str) -> None:
    venues: list[Secretive] = []

    def wrap(venue: OkxVenue) -> Secretive:
        venues.append(Secretive(venue))
        return venues[0]

    async with life(sim, database, wrap=wrap) as now:
        assert now.service.taker_fee == USUAL_FEES.taker
        assert now.service.refusal(BTC) == ""
        venues[0].told = FeeTier("VIP1", D("0.00015"), D("0.0004"))
        await now.service.fees.read()
        assert now.service.taker_fee == D("0.0004")
        kept = (await now.journal.load_states(KeepState.FEES))["sim"]
        assert msgspec.msgpack.decode(kept, type=FeeTier) == venues[0].told
