"""A fill is booked once, to one owner, with the venue's price and fee, whichever ways it comes."""

from __future__ import annotations

import asyncio
from decimal import Decimal
from typing import Any

from engine.core.orders import (
    ExecutionReport,
    OrderIntent,
    OrderState,
    OrderType,
    PositionSide,
    Purpose,
    VenueFill,
    stop_client_id,
)
from engine.exchange.okx.orders_wire import FillRecord, OrderSums, Origin, fill_report
from engine.exchange.ports import Protection
from tests.exchange_world import Forgetful, Life, Simulator, Wrapped, alarms, life, until_stops
from tests.waiting import until

D = Decimal


async def entered(now: Life, name: str = "one", **more: Any) -> OrderIntent:
    intent = now.intent(name, **more)
    await now.service.desk.accept(intent)
    await now.done(intent)
    return intent


async def fills(now: Life) -> list[Decimal]:
    return [fill.contracts for fill in (await now.journal.bookings("sim")).fills]


async def test_entry_is_filled_protected_and_booked(sim: Simulator, database: str) -> None:
    async with life(sim, database) as now:
        intent = await entered(now)
        order = await now.order(intent)
        assert (order.state, order.filled) == (OrderState.FILLED, D(2))
        assert now.held() == 2
        (stop,) = await now.venue.protections()
        assert stop.client_id == stop_client_id(intent.client_order_id)
        assert (stop.contracts, stop.stop_loss, stop.take_profit) == (D(2), D(95_000), D(110_000))
        await now.balanced()


async def test_A3_the_same_intent_twice_is_one_order(sim: Simulator, database: str) -> None:
    """Whatever delivers it again, and whenever."""
    async with life(sim, database) as now:
        intent = now.intent("one")
        await asyncio.gather(*(now.service.desk.accept(intent) for _ in range(5)))
        await now.done(intent)
        await now.service.desk.accept(intent)
    async with life(sim, database) as now:
        await now.service.desk.accept(intent)
        assert await sim.orders_received() == {intent.client_order_id: 1}
        assert now.held() == 2
        await now.balanced()


async def test_L1_a_fill_that_comes_by_push_and_by_list_is_booked_once(sim: Simulator, database: str) -> None:
    async with life(sim, database) as now:
        await sim.fault("duplicate", path="orders", count=3)
        await entered(now)
        for _ in range(2):
            await now.service.recovery.look_back()
        assert await fills(now) == [D(2)]
        await now.balanced()


async def test_L2_a_fill_is_not_booked_again_after_a_reconnect(sim: Simulator, database: str) -> None:
    async with life(sim, database) as now:
        await entered(now)
        await sim.fault("cut")
        await until(lambda: not now.service.stream_up)
        await until(lambda: now.service.stream_up and now.service.ready, 20)
        assert await fills(now) == [D(2)]
        await now.balanced()


async def test_L3_an_order_that_is_filled_before_its_fill_shows_waits_for_it(
    sim: Simulator, database: str
) -> None:
    """The venue claims it; until the execution is there, the order stays open with its exposure."""
    async with life(sim, database) as now:
        await sim.fault("missing", path="orders", count=3)
        intent = await entered(now)
        order = await now.order(intent)
        assert (order.state, order.filled, order.claimed) == (OrderState.FILLED, D(2), D(2))
        assert now.service.watch.inferred == 0
        await now.balanced()


class NoFills(Forgetful):
    """No list has any execution, and pushes tell states only, until it `remembers`."""

    def _shown(self, event: object) -> bool:
        return self.remembers or not isinstance(event, ExecutionReport) or event.fill is None


async def test_L3_a_fill_that_no_list_ever_shows_is_inferred_and_the_late_one_does_not_add(
    sim: Simulator, database: str
) -> None:
    held: list[NoFills] = []

    def wrap(venue: Any) -> NoFills:
        held.append(NoFills(venue))
        return held[0]

    async with life(sim, database, wrap=wrap) as now:
        intent = await entered(now)
        order = await now.order(intent)
        assert (order.state, order.filled, now.service.watch.inferred) == (OrderState.FILLED, D(2), 1)
        assert order.average_price == D("100000.1")
        held[0].remembers = True
        await now.service.recovery.look_back()
        assert await fills(now) == [D(2)]
        assert now.held() == 2


async def test_L5_an_execution_without_a_trade_id_has_the_same_name_every_time() -> None:
    record = FillRecord(
        instId="BTC-USDT-SWAP", ordId="7", tradeId="", side="buy", fillSz="1", fillPx="5", billId="99", ts="1"
    )
    told = [fill_report(record, Origin("", None), OrderSums(D(1), D(1)), 0) for _ in range(2)]
    assert told[0] == told[1]
    assert told[0].fill is not None
    assert told[0].fill.trade_id == "99"


def report_of(intent: OrderIntent, trade_id: str, contracts: str, fee: str = "-0.1") -> ExecutionReport:
    """A push that the venue could send for an order."""
    return ExecutionReport(
        client_order_id=intent.client_order_id,
        venue_order_id="1",
        symbol=intent.symbol,
        side=intent.side,
        position_side=intent.position_side,
        state=OrderState.PARTIALLY_FILLED,
        contracts=intent.contracts,
        filled=D(contracts),
        fill=VenueFill(
            trade_id=trade_id, contracts=D(contracts), price=D(99_000), fee=D(fee), maker=True, ts_event=1
        ),
        ts_event=1,
    )


async def test_L6_an_overfill_is_refused_and_alarmed(sim: Simulator, database: str) -> None:
    async with life(sim, database) as now:
        intent = await entered(now)
        await now.service.desk.report(report_of(intent, "invented", "3"))
        await now.service.desk.drained()
        assert now.held() == 2
        assert await alarms(database) == ["overfill"]
        await now.balanced()


async def test_L7_a_rebate_adds_to_cash_and_a_charge_takes_from_it(sim: Simulator, database: str) -> None:
    """The venue's sign: negative is a charge."""
    async with life(sim, database) as now:
        resting = now.intent("one", order_type=OrderType.LIMIT, price=D(99_000))
        await now.service.desk.accept(resting)
        name = resting.client_order_id
        await until(lambda: name in now.service.desk.open)
        before = now.books.account("a").cash
        await now.service.desk.report(report_of(resting, "x1", "1", fee="0.25"))
        await now.service.desk.report(report_of(resting, "x2", "0.5", fee="-0.75"))
        await now.service.desk.drained()
        assert now.books.account("a").cash - before == D("-0.5")
        assert (await now.order(resting)).fees == D("-0.5")


async def test_L8_a_stop_that_fires_is_a_trade_with_the_venues_price_and_reason(
    sim: Simulator, database: str
) -> None:
    async with life(sim, database) as now:
        await entered(now)
        await sim.price("94000")
        await until(lambda: not now.held())
        await now.service.desk.drained()
        (trade,) = await now.journal.recent_trades("a", 5)
        assert (trade.exit_purpose, trade.side) == (Purpose.STOP, PositionSide.LONG)
        executions = await now.venue.executions_since(0)
        sold = [each.fill for each in executions if each.fill is not None][-1]
        assert trade.exit_price == sold.price
        assert trade.exit_price != trade.stop_loss
        assert trade.gross == trade.coins * (sold.price - trade.entry_price)
        assert trade.exit_fees == sold.fee
        assert trade.net == trade.gross + trade.entry_fees + trade.exit_fees
        assert await now.venue.protections() == ()
        await now.balanced()


async def test_L8_a_target_is_told_from_a_stop(sim: Simulator, database: str) -> None:
    async with life(sim, database) as now:
        await entered(now)
        await sim.price("111000")
        await until(lambda: not now.held())
        await now.service.desk.drained()
        (trade,) = await now.journal.recent_trades("a", 5)
        assert trade.exit_purpose is Purpose.TARGET
        assert trade.net > 0


async def test_R3_a_close_larger_than_the_position_does_not_flip_it(sim: Simulator, database: str) -> None:
    async with life(sim, database) as now:
        await entered(now)
        close = now.exit("too much", contracts="50")
        await now.service.desk.accept(close)
        reduced = await now.done(close)
        assert (reduced.filled, reduced.reason) == (D(2), "close_reduced: 2 of 50 contracts were left")
        assert now.held() == 0
        await now.balanced()


async def test_R3_closes_under_way_count_so_that_a_second_one_takes_from_no_other_trader(
    net_sim: Simulator, database: str
) -> None:
    """The venue nets: it would gladly fill both closes, the second out of the other trader's part."""
    async with life(net_sim, database, position_mode="net") as now:
        for trader in ("a", "b"):
            await entered(now, trader, trader=trader)
        first, second, third = (
            now.exit(name, contracts=size) for name, size in (("1", "1.5"), ("2", "2"), ("3", "2"))
        )
        for close in (first, second, third):
            await now.service.desk.accept(close)
        assert [(await now.done(close)).filled for close in (first, second)] == [D("1.5"), D("0.5")]
        refused = await now.done(third)
        assert refused.state is OrderState.REJECTED
        assert refused.reason.startswith("already_closing")
        assert (now.held(), now.held("b")) == (D(0), D(2))
        assert len(await net_sim.orders_received()) == 4
        await now.balanced()


async def test_D8_D9_a_cut_stream_is_caught_up(sim: Simulator, database: str) -> None:
    """And D9 for orders and fills: what happened while the socket was away is asked for, once."""
    async with life(sim, database) as now:
        await entered(now)
        resting = now.intent("two", order_type=OrderType.LIMIT, price=D(99_000))
        await now.service.desk.accept(resting)
        name = resting.client_order_id
        await until(lambda: now.service.desk.open[name].state is OrderState.NEW)
        await sim.fault("refuse_socket", status=503, count=4)
        await sim.fault("cut")
        await sim.price("98000")
        await sim.price("94000")
        await until(lambda: now.service.stream_up and now.service.ready and not now.held(), 30)
        assert len(await now.journal.recent_trades("a", 5)) == 1
        assert sorted(await fills(now)) == [D(2)] * 4
        await now.balanced()


async def test_O4_a_refused_stop_is_placed_alone(sim: Simulator, database: str) -> None:
    """The position does not stay naked."""
    async with life(sim, database) as now:
        await sim.fault("refuse_attached")
        await entered(now)
        await until_stops(now, "2")
        assert now.held() == 2
        await now.balanced()


async def test_I7_a_position_that_cannot_be_protected_is_closed(sim: Simulator, database: str) -> None:
    async with life(sim, database) as now:
        await sim.fault("refuse_attached")
        await sim.fault("refuse_algo", code="51000", count=20)
        await entered(now)
        await until(lambda: not now.held(), 15)
        await now.service.desk.drained()
        (trade,) = await now.journal.recent_trades("a", 5)
        assert trade.exit_purpose is Purpose.EXIT
        await now.balanced()


async def test_O5_a_stop_that_fired_unseen_is_followed_to_its_order_before_a_close(
    net_sim: Simulator, database: str
) -> None:
    """In a netting account a close that comes too late would open the other side."""
    async with life(net_sim, database, position_mode="net") as now:
        await entered(now)
        await until_stops(now, "2")
        await net_sim.fault("missing", path="orders", count=5)
        await net_sim.price("94000")
        await until_stops(now)
        close = now.exit("too late")
        await now.service.desk.accept(close)
        order = await now.done(close)
        assert (order.state, now.held()) == (OrderState.REJECTED, D(0))
        assert close.client_order_id not in await net_sim.orders_received()
        (trade,) = await now.journal.recent_trades("a", 5)
        assert trade.exit_purpose is Purpose.STOP
        await now.balanced()


class FiresWhileLooking(Wrapped):
    """Between two looks at what rests, the market goes through the stop."""

    sim: Simulator
    armed = False

    async def protections(self) -> tuple[Protection, ...]:
        if self.armed:
            self.armed = False
            await self.sim.price("94000")
        return tuple(await self.venue.protections())


async def test_a_stop_that_fires_while_it_is_looked_for_is_not_replaced(
    sim: Simulator, database: str
) -> None:
    """The position is gone by then: nothing is placed for it, and nothing is closed once more."""
    held: list[FiresWhileLooking] = []

    def wrap(venue: Any) -> FiresWhileLooking:
        held.append(FiresWhileLooking(venue))
        held[0].sim = sim
        return held[0]

    async with life(sim, database, wrap=wrap) as now:
        intent = await entered(now)
        await until_stops(now, "2")
        await sim.fault("missing", path="orders", count=5)
        held[0].armed = True
        await now.service.guard.check()
        assert now.held() == 0
        assert list(await sim.orders_received()) == [intent.client_order_id]
        assert await now.venue.protections() == ()
        await now.balanced()
