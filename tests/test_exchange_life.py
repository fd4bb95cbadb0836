"""Orders from intent to books, on a real simulator and a real Postgres, whatever goes wrong on the way."""

from __future__ import annotations

import asyncio
from decimal import Decimal
from typing import Any

import asyncpg
import pytest

from engine.core.market import Side
from engine.core.orders import (
    Order,
    OrderIntent,
    OrderState,
    OrderType,
    PositionSide,
    Purpose,
    stop_client_id,
)
from engine.exchange.ports import Protection
from tests.exchange_world import BTC, ETH, Life, Simulator, aclosing_venue, life, until, venue_of

D = Decimal
FINAL = {OrderState.FILLED, OrderState.REJECTED}


async def stops(now: Life) -> list[Protection]:
    return list(await now.venue.protections())


async def test_entry_is_filled_protected_and_booked(sim: Simulator, database: str) -> None:
    async with life(sim, database) as now:
        intent = now.intent("one")
        await now.service.desk.accept(intent)
        order = await now.done(intent)
        assert (order.state, order.filled) == (OrderState.FILLED, D(2))
        assert now.held() == 2
        (stop,) = await stops(now)
        assert stop.client_id == stop_client_id(intent.client_order_id)
        assert (stop.contracts, stop.stop_loss, stop.take_profit) == (D(2), D(95_000), D(110_000))
        await now.balanced()


async def test_the_same_intent_twice_is_one_order(sim: Simulator, database: str) -> None:
    """A3: whatever delivers it again, and whenever."""
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


async def test_stop_fires_at_the_venue_and_its_trader_is_flat(sim: Simulator, database: str) -> None:
    async with life(sim, database) as now:
        intent = now.intent("one")
        await now.service.desk.accept(intent)
        await now.done(intent)
        await sim.price("94000")
        await until(lambda: not now.held())
        await now.service.desk.drained()
        (trade,) = await now.journal.recent_trades("a", 5)
        assert (trade.exit_purpose, trade.side) == (Purpose.STOP, PositionSide.LONG)
        assert trade.net == trade.gross + trade.entry_fees + trade.exit_fees
        assert trade.net < 0
        assert await stops(now) == []
        await now.balanced()


async def test_two_traders_hold_opposite_sides_and_close_only_their_own(
    sim: Simulator, database: str
) -> None:
    """S14: their sum is the venue's, and one's stop is not the other's."""
    async with life(sim, database) as now:
        long = now.intent("long")
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
        assert (now.held("a"), now.held("b")) == (D(2), D(-3))
        await now.balanced()
        close = now.exit("close long")
        await now.service.desk.accept(close)
        await now.done(close)
        assert (now.held("a"), now.held("b")) == (D(0), D(-3))
        (left,) = await stops(now)
        assert left.client_id == stop_client_id(short.client_order_id)
        await now.balanced()


async def test_part_that_stays_has_a_stop_of_its_size(sim: Simulator, database: str) -> None:
    """P6."""
    async with life(sim, database) as now:
        intent = now.intent("one")
        await now.service.desk.accept(intent)
        await now.done(intent)
        part = now.exit("half", contracts="0.5")
        await now.service.desk.accept(part)
        await now.done(part)
        assert now.held() == D("1.5")
        await until_stop(now, D("1.5"))
        await now.balanced()


async def alarms(now: Life) -> int:
    """Risk events in the journal."""
    connection = await asyncpg.connect(now.dsn)
    try:
        return int(await connection.fetchval("select count(*) from risk_events"))
    finally:
        await connection.close()


async def until_stop(now: Life, contracts: Decimal) -> None:
    async with asyncio.timeout(10):
        while [stop.contracts for stop in await stops(now)] != [contracts]:
            await asyncio.sleep(0.05)


async def test_a_close_larger_than_the_position_does_not_flip_it(sim: Simulator, database: str) -> None:
    """R3."""
    async with life(sim, database) as now:
        intent = now.intent("one")
        await now.service.desk.accept(intent)
        await now.done(intent)
        close = now.exit("too much", contracts="50")
        await now.service.desk.accept(close)
        order = await now.done(close)
        assert order.filled == 2
        assert now.held() == 0
        await now.balanced()


FAULTS: dict[str, tuple[dict[str, Any], OrderState]] = {
    "F1 the connection broke after acceptance": ({"kind": "drop_after"}, OrderState.FILLED),
    "F2 the connection broke before acceptance": ({"kind": "drop_before"}, OrderState.REJECTED),
    "F9 50004 although it was taken": ({"kind": "code_after", "code": "50004"}, OrderState.FILLED),
    "F9 503 and not taken": ({"kind": "http", "status": 503}, OrderState.REJECTED),
    "refused for load": ({"kind": "code", "code": "50011"}, OrderState.REJECTED),
    "O7 no margin": ({"kind": "code", "code": "51008"}, OrderState.REJECTED),
}


@pytest.mark.timeout(90)
@pytest.mark.parametrize("name", FAULTS)
async def test_an_unclear_answer_ends_in_the_truth(sim: Simulator, database: str, name: str) -> None:
    """I2: never two orders, never a lost one, and the exposure counts until the venue has said what is."""
    fault, state = FAULTS[name]
    async with life(sim, database) as now:
        await sim.fault(path="trade/order", **fault)
        intent = now.intent("one")
        await now.service.desk.accept(intent)
        order = await now.done(intent, 60.0)
        assert order.state is state
        assert now.held() == (2 if state is OrderState.FILLED else 0)
        assert sum((await sim.orders_received()).values()) <= 1
        await now.balanced()


async def test_a_refused_stop_is_placed_alone(sim: Simulator, database: str) -> None:
    """O4: the position does not stay naked."""
    async with life(sim, database) as now:
        await sim.fault("refuse_attached")
        intent = now.intent("one")
        await now.service.desk.accept(intent)
        await now.done(intent)
        await until_stop(now, D(2))
        assert now.held() == 2
        await now.balanced()


async def test_a_position_that_cannot_be_protected_is_closed(sim: Simulator, database: str) -> None:
    """I7: protected or closed."""
    async with life(sim, database) as now:
        await sim.fault("refuse_attached")
        await sim.fault("refuse_algo", code="51000", count=20)
        intent = now.intent("one")
        await now.service.desk.accept(intent)
        await now.done(intent)
        await until(lambda: not now.held(), 15)
        await now.service.desk.drained()
        (trade,) = await now.journal.recent_trades("a", 5)
        assert trade.exit_purpose is Purpose.EXIT
        await now.balanced()


async def test_fills_during_downtime_are_booked_once(sim: Simulator, database: str) -> None:
    """S2, S3, L1, L2: the stop fires while nobody looks."""
    async with life(sim, database) as now:
        intent = now.intent("one")
        await now.service.desk.accept(intent)
        await now.done(intent)
    await sim.price("94000")
    for _ in range(2):  # S11: a second start changes nothing
        async with life(sim, database) as now:
            assert now.held() == 0
            assert await alarms(now) == 0
            trades = await now.journal.recent_trades("a", 5)
            assert [trade.exit_purpose for trade in trades] == [Purpose.STOP]
            await now.balanced()


async def test_a_cut_stream_is_caught_up(sim: Simulator, database: str) -> None:
    """D8: what happened while the socket was away is asked for; nothing is booked twice."""
    async with life(sim, database) as now:
        intent = now.intent("one")
        await now.service.desk.accept(intent)
        await now.done(intent)
        await sim.fault("cut")
        await sim.price("94000")
        await until(lambda: now.service.stream_up and not now.held(), 20)
        assert len(await now.journal.recent_trades("a", 5)) == 1
        await now.balanced()


async def test_limit_order_rests_and_is_cancelled(sim: Simulator, database: str) -> None:
    async with life(sim, database) as now:
        intent = now.intent("one", order_type=OrderType.LIMIT, price=D(99_000))
        await now.service.desk.accept(intent)
        await until(lambda: any(o.state is OrderState.NEW for o in now.service.desk.open.values()))
        await now.service.desk.cancel(now.service.desk.open[intent.client_order_id])
        order = await now.done(intent)
        assert (order.state, order.filled) == (OrderState.CANCELED, D(0))
        await now.balanced()


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


async def test_a_position_from_before_is_adopted_and_stops_entries(sim: Simulator, database: str) -> None:
    """S5, S6: it is nobody's, it is counted, and it is not touched."""
    venue = venue_of(sim)
    async with aclosing_venue(venue):
        foreign = OrderIntent(
            intent_id="by hand",
            cycle_id="",
            trader_id="",
            account_id="sim",
            symbol=BTC,
            side=Side.BUY,
            position_side=PositionSide.LONG,
            purpose=Purpose.ENTRY,
            order_type=OrderType.MARKET,
            contracts=D(5),
            ts_created=1,
        )
        await venue.submit(Order(client_order_id="byhand", intent=foreign))
    for _ in range(2):
        async with life(sim, database) as now:
            assert now.books.remainder.lots[BTC, PositionSide.LONG].contracts == 5
            assert now.service.refusal(BTC) == "unattributed_position"
            assert now.service.refusal(ETH) == ""
            check = await now.service.auditor.look()
            assert check is not None
            assert (check.detail, check.difference) == ("", D(0))
            assert not check.balanced


async def test_capital_that_the_account_does_not_hold_is_refused(sim: Simulator, database: str) -> None:
    with pytest.raises(ExceptionGroup) as refused:
        async with life(sim, database, capital={"a": D(900_000)}):
            pass
    assert "lower total_equity_usd" in str(refused.value.exceptions)
