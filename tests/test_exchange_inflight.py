"""Requests whose answer is lost, late or wrong: the order ends as the venue has it, sent once at most."""

from __future__ import annotations

import asyncio
from decimal import Decimal
from typing import Any

import pytest

from engine.core.orders import Order, OrderIntent, OrderState, OrderType
from engine.core.times import NS_PER_HOUR
from engine.exchange.thresholds import Thresholds
from tests.exchange_world import BTC, Life, Mute, Simulator, life, until_stops
from tests.waiting import until

D = Decimal
PLACE = "trade/order"


async def ends(sim: Simulator, database: str, fault: dict[str, Any], state: OrderState) -> Order:
    """I2: never two orders, never a lost one, and books that say what the venue says."""
    async with life(sim, database) as now:
        await sim.fault(path=PLACE, **fault)
        intent = now.intent("one")
        await now.service.desk.accept(intent)
        order = await now.done(intent)
        assert order.state is state
        assert now.held() == (2 if state is OrderState.FILLED else 0)
        assert sum((await sim.orders_received()).values()) <= 1
        await now.balanced()
        return order


async def test_F1_an_order_that_reached_the_venue_unheard_is_found_not_repeated(
    sim: Simulator, database: str
) -> None:
    await ends(sim, database, {"kind": "drop_after"}, OrderState.FILLED)


async def test_F2_an_order_that_never_reached_the_venue_is_rejected_after_asking(
    sim: Simulator, database: str
) -> None:
    order = await ends(sim, database, {"kind": "drop_before"}, OrderState.REJECTED)
    assert order.open_contracts == 0
    assert "never sent" in order.reason


async def test_F2_a_new_intent_is_a_new_order(sim: Simulator, database: str) -> None:
    async with life(sim, database) as now:
        await sim.fault("drop_before", path=PLACE)
        lost, again = now.intent("one"), now.intent("one, once more")
        await now.service.desk.accept(lost)
        assert (await now.done(lost)).state is OrderState.REJECTED
        await now.service.desk.accept(again)
        assert (await now.done(again)).state is OrderState.FILLED
        assert await sim.orders_received() == {again.client_order_id: 1}


async def test_F3_L4_an_order_that_its_push_confirms_is_not_asked_for(sim: Simulator, database: str) -> None:
    """And L4: the fill comes before the acknowledgement, which then undoes nothing."""
    async with life(sim, database, thresholds=Thresholds(in_flight_s=0.5, between_looks_s=0.02)) as now:
        await sim.fault("delay", path=PLACE, seconds=1.5)
        intent = now.intent("one")
        await now.service.desk.accept(intent)
        submitting = f"submit:{intent.client_order_id}"
        await until(lambda: now.held() == 2)
        assert (await now.order(intent)).state is OrderState.FILLED
        await until(lambda: not now.jobs.running(submitting))
        await now.service.desk.drained()
        assert (await now.order(intent)).state is OrderState.FILLED
        assert now.service.watch.queries == 0
        await now.balanced()


async def test_F4_an_order_without_an_answer_is_asked_for_five_times_then_final(
    sim: Simulator, database: str
) -> None:
    async with life(sim, database, wrap=Mute) as now:
        intent = now.intent("one")
        await now.service.desk.accept(intent)
        order = await now.done(intent)
        assert (order.state, now.service.watch.queries) == (OrderState.REJECTED, 5)


async def test_F4_no_answer_to_a_query_says_nothing_of_the_order(sim: Simulator, database: str) -> None:
    async with life(sim, database, wrap=Mute) as now:
        await sim.fault("code", path=PLACE, code="50001", count=1_000_000)
        intent = now.intent("one")
        await now.service.desk.accept(intent)
        await until(lambda: now.service.watch.queries > 5, 30)
        assert now.service.desk.open[intent.client_order_id].state is OrderState.PENDING_NEW
        await sim.healthy()
        assert (await now.done(intent)).state is OrderState.REJECTED


async def placed(now: Life, **more: Any) -> OrderIntent:
    more |= {"order_type": OrderType.LIMIT, "price": D(99_000)}
    intent = now.intent("one", **more)
    await now.service.desk.accept(intent)
    return intent


async def rested(now: Life) -> OrderIntent:
    intent = await placed(now)
    name = intent.client_order_id
    await until(lambda: name in now.service.desk.open and now.service.desk.open[name].state is OrderState.NEW)
    return intent


async def test_F5_a_cancel_that_crosses_a_fill_ends_filled(sim: Simulator, database: str) -> None:
    async with life(sim, database) as now:
        intent = await rested(now)
        await sim.fault("drop_before", path="trade/cancel-order")
        await sim.fault("missing", path="orders", count=5)
        await sim.price("98000")
        await now.service.desk.cancel(now.service.desk.open[intent.client_order_id])
        order = await now.done(intent)
        assert (order.state, order.filled) == (OrderState.FILLED, D(2))
        assert now.held() == 2
        await until_stops(now, "2")
        await now.balanced()


async def test_F6_a_cancel_for_an_order_that_is_gone_asks_once(sim: Simulator, database: str) -> None:
    async with life(sim, database) as now:
        intent = await rested(now)
        name = intent.client_order_id
        await sim.fault("missing", path="orders", count=1)
        await now.venue.cancel(now.service.desk.open[name])
        await now.service.desk.cancel(now.service.desk.open[name])
        assert (await now.done(intent)).state is OrderState.CANCELED
        assert now.service.watch.queries == 0
        await now.balanced()


@pytest.mark.parametrize("answer", [{"kind": "http", "status": 500}, {"kind": "http", "status": 502}])
async def test_F9_a_broken_server_proves_nothing(
    sim: Simulator, database: str, answer: dict[str, Any]
) -> None:
    await ends(sim, database, answer, OrderState.REJECTED)


@pytest.mark.parametrize("code", ["50001", "50004", "50013"])
async def test_F9_an_unclear_code_on_a_taken_order_is_not_a_refusal(
    sim: Simulator, database: str, code: str
) -> None:
    await ends(sim, database, {"kind": "code_after", "code": code}, OrderState.FILLED)


async def test_F9_refused_for_load_is_surely_not_taken(sim: Simulator, database: str) -> None:
    order = await ends(sim, database, {"kind": "code", "code": "50011"}, OrderState.REJECTED)
    assert order.reason.startswith("not taken")


async def test_F10_an_outage_of_the_venue_loses_no_order(sim: Simulator, database: str) -> None:
    """Entries wait, the stop rests, and what happened meanwhile is found on return."""
    async with life(sim, database) as now:
        first = now.intent("held")
        await now.service.desk.accept(first)
        await now.done(first)
        await until_stops(now, "2")
        resting = await rested(now)
        for kind in ("http", "refuse_socket"):
            await sim.fault(kind, status=503, count=1_000_000)
        await sim.fault("cut")
        await until(lambda: not now.service.stream_up)
        assert now.service.refusal(BTC) != ""
        lost = now.intent("sent into the outage")
        await now.service.desk.accept(lost)
        await asyncio.sleep(1.5)
        assert set(now.service.desk.open) == {resting.client_order_id, lost.client_order_id}
        await sim.price("94000")  # fills what rests, then fires every stop
        await sim.healthy()
        await until(lambda: now.service.stream_up and now.service.ready, 30)
        assert (await now.done(lost)).state is OrderState.REJECTED
        assert (await now.done(resting)).state is OrderState.FILLED
        await until(lambda: not now.held())
        await now.balanced()
        assert now.service.refusal(BTC) == ""


async def test_O7_too_little_margin_is_one_refusal(sim: Simulator, database: str) -> None:
    async with life(sim, database) as now:
        intent = now.intent("too much", contracts="2000")
        await now.service.desk.accept(intent)
        order = await now.done(intent)
        assert (order.state, order.reason[:5]) == (OrderState.REJECTED, "51008")
        assert now.service.desk.rejects == {"51008": 1}
        assert sum((await sim.orders_received()).values()) <= 1


async def test_an_expired_intent_is_journalled_and_not_sent(sim: Simulator, database: str) -> None:
    async with life(sim, database) as now:
        intent = now.intent("old", ts_expires=1)
        await now.service.desk.accept(intent)
        assert (await now.done(intent)).state is OrderState.EXPIRED
        assert await sim.orders_received() == {}


async def test_nothing_is_sent_while_trading_is_disabled(sim: Simulator, database: str) -> None:
    async with life(sim, database, trading_enabled=False) as now:
        assert now.service.refusal(BTC) == "trading_disabled"
        intent = now.intent("one")
        await now.service.desk.accept(intent)
        assert (await now.done(intent)).state is OrderState.REJECTED
        assert await sim.orders_received() == {}


async def test_an_entry_that_rests_too_long_is_cancelled(sim: Simulator, database: str) -> None:
    async with life(sim, database) as now:
        intent = await placed(now, ts_created=now.intent("x").ts_created - NS_PER_HOUR)
        order = await now.done(intent)  # in the next round: nobody may see it rest
        assert (order.state, order.filled) == (OrderState.CANCELED, D(0))
        assert order.venue_order_id
        await now.balanced()


async def test_a_resting_order_that_vanished_unseen_is_found_by_the_open_order_check(
    sim: Simulator, database: str
) -> None:
    async with life(sim, database) as now:
        intent = await rested(now)
        await sim.fault("missing", path="orders", count=1)
        await now.venue.cancel(now.service.desk.open[intent.client_order_id])
        assert (await now.done(intent)).state is OrderState.CANCELED
        assert now.service.watch.queries == 1
