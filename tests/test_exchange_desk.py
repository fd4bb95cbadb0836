"""The order desk by itself, on the matching core without a wire: what only exact moments show."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from decimal import Decimal

import pytest
from msgspec.structs import replace

from engine.bus import ORDERS, Message, OrderUpdate
from engine.clock import SimClock, cancelled, settle
from engine.core.books import Books
from engine.core.instruments import Instrument
from engine.core.market import Side
from engine.core.orders import Fill, Order, OrderIntent, OrderState, PositionSide, Purpose
from engine.core.times import NS_PER_S
from engine.exchange.context import ExchangeContext
from engine.exchange.matching.core import MatchingCore
from engine.exchange.matching.types import AccountSpec
from engine.exchange.orders import OrderDesk
from engine.exchange.paper.venue import PaperVenue
from engine.exchange.ports import PositionMode
from engine.exchange.updates import OrderUpdates
from engine.jobs import Jobs
from engine.journal.in_memory.journal import MemoryJournal
from engine.manager.accounts import TraderAccounts
from engine.memory_bus import MemoryBus
from tests.exchange_world import BTC, InstrumentBook
from tests.order_parts import intent_of

D = Decimal
LISTED = Instrument(
    symbol=BTC,
    base="BTC",
    tick_size=D("0.1"),
    lot_size=D("0.01"),
    min_size=D("0.01"),
    contract_value=D("0.01"),
)


class Gated(MemoryJournal):
    """Executions wait at a gate. `asked` are the orders that were read back."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = asyncio.Event()
        self.asked: list[str] = []

    async def order(self, client_order_id: str) -> Order | None:
        self.asked.append(client_order_id)
        return await super().order(client_order_id)

    async def record_execution(self, order: Order, fill: Fill | None, raw: bytes = b"") -> bool:
        await self.gate.wait()
        return await super().record_execution(order, fill, raw)


@dataclass
class World:
    desk: OrderDesk
    venue: PaperVenue
    journal: Gated
    books: Books

    async def pushed(self) -> None:
        """Hand what the venue has pushed to the desk."""
        while not self.venue._events.empty():
            event = self.venue._events.get_nowait()
            await self.desk.report(event)  # type: ignore[arg-type]


@pytest.fixture
async def world() -> AsyncIterator[World]:
    clock, core, journal = SimClock(1_790_000_000 * NS_PER_S), MatchingCore(), Gated()
    core.set_instrument(LISTED)
    now = clock.now_ns()
    core.on_book(BTC, [(D(99_999), D(100))], [(D(100_001), D(100))], now)
    core.on_mark(BTC, D(100_000), now)
    spec = AccountSpec(account="sim", balance=D(100_000), position_mode=PositionMode.LONG_SHORT)
    venue, books = PaperVenue(core, spec, clock), Books("sim", ["a"])
    async with Jobs() as jobs:
        context = ExchangeContext(
            venue=venue,
            journal=journal,
            bus=MemoryBus(clock),
            clock=clock,
            jobs=jobs,
            books=books,
            accounts=TraderAccounts(books, clock.now_ns),
            contracts=InstrumentBook((LISTED,)),
            position_mode=PositionMode.LONG_SHORT,
            trading_enabled=True,
        )
        yield World(OrderDesk(context), venue, journal, books)


def entry(name: str = "one") -> OrderIntent:
    return intent_of(name, contracts=D(2))


def fill_of_one() -> Fill:
    return Fill(
        fill_id="1",
        client_order_id="one",
        venue_order_id="1",
        trader_id="a",
        account_id="sim",
        symbol=BTC,
        side=Side.BUY,
        position_side=PositionSide.LONG,
        purpose=Purpose.ENTRY,
        contracts=D(1),
        price=D(100_001),
        contract_value=D("0.01"),
        fee=D(0),
        maker=False,
        ts_event=1,
    )


async def test_a_report_whose_task_ends_is_applied_by_the_next_one(world: World) -> None:
    """The desk of the start ends where that of the run begins; who waits for an empty queue is not left."""
    await world.desk.accept(entry())
    first = asyncio.create_task(world.desk.run(), name="desk of the start")
    await settle()
    await world.pushed()
    await settle()
    await cancelled(first)  # it stands at the gate with a report in its hands
    world.journal.gate.set()
    second = asyncio.create_task(world.desk.run(), name="desk of the run")
    async with asyncio.timeout(5):
        await world.desk.drained()
    assert world.journal.orders[entry().client_order_id].state is OrderState.FILLED
    assert world.books.account("a").positions[BTC, PositionSide.LONG].contracts == 2
    await cancelled(second)


async def test_what_is_said_again_of_an_order_that_has_just_ended_asks_no_database(world: World) -> None:
    """The acknowledgement of a market order may come after its fill."""
    world.journal.gate.set()
    await world.desk.accept(entry())
    running = asyncio.create_task(world.desk.run(), name="desk")
    await settle()
    await world.pushed()
    async with asyncio.timeout(5):
        await world.desk.drained()
    done = world.journal.orders[entry().client_order_id]
    late = await world.venue.query(done)
    assert late is not None
    assert done.state is OrderState.FILLED
    await world.desk.report(late)
    async with asyncio.timeout(5):
        await world.desk.drained()
    assert world.journal.asked == []
    assert world.journal.orders[entry().client_order_id] == done
    await cancelled(running)


async def test_of_what_waits_for_the_bus_a_change_without_a_fill_makes_room_for_the_next() -> None:
    bus = MemoryBus(SimClock(1))
    updates, told = OrderUpdates(bus), []

    async def hear(message: Message[OrderUpdate]) -> None:
        told.append((message.body.order.client_order_id, message.body.order.state))

    def change(name: str, state: OrderState, fill: Fill | None = None) -> None:
        order = Order(client_order_id=name, intent=entry(name), state=state)
        updates.put(OrderUpdate(order=order, fill=fill))

    change("one", OrderState.NEW)
    change("one", OrderState.PARTIALLY_FILLED, fill_of_one())
    change("one", OrderState.FILLED, fill_of_one())
    change("two", OrderState.NEW)
    change("three", OrderState.NEW)
    tasks = [
        asyncio.create_task(work, name=name)
        for name, work in (("hear", bus.consume(ORDERS, "test", hear)), ("publish", updates.publish()))
    ]
    await settle()
    change("three", OrderState.CANCELED)  # the former has left
    await settle()
    assert told == [
        ("one", OrderState.PARTIALLY_FILLED),
        ("one", OrderState.FILLED),
        ("two", OrderState.NEW),
        ("three", OrderState.NEW),
        ("three", OrderState.CANCELED),
    ]
    for task in tasks:
        await cancelled(task)


async def test_a_fill_that_closes_what_was_never_opened_waits_for_a_look_back(world: World) -> None:
    """Its entry's push was lost: the executions are asked for, and the two are booked in their order."""
    world.journal.gate.set()
    running = asyncio.create_task(world.desk.run(), name="desk")

    async def look_back() -> None:
        for report in await world.venue.executions_since(0):
            await world.desk.report(report)
        await world.desk.drained()

    world.desk.look_back = look_back
    await world.desk.accept(entry())
    await settle()
    world.venue._events = asyncio.Queue()  # lost
    leave = intent_of("leave", side=Side.SELL, purpose=Purpose.STOP, contracts=D(2), ts_created=2)
    await world.desk.accept(leave)
    await settle()
    await world.pushed()
    await settle(200)
    assert not world.books.remainder.lots
    assert world.books.account("a").positions == {}
    assert [trade.exit_purpose for trade in world.journal.trades.values()] == [Purpose.STOP]
    await cancelled(running)


async def test_R3_a_close_whose_position_shrinks_while_its_stops_are_freed_closes_what_is_left(
    world: World,
) -> None:
    world.journal.gate.set()
    running = asyncio.create_task(world.desk.run(), name="desk")
    await world.desk.accept(entry())
    await settle()
    await world.pushed()
    await world.desk.drained()
    close = replace(entry("close"), side=Side.SELL, purpose=Purpose.EXIT)

    async def release(_: OrderIntent) -> bool:
        """The first time, somebody closes one by hand meanwhile."""
        if world.books.account("a").positions[BTC, PositionSide.LONG].contracts == 2:
            by_hand = replace(close, intent_id="by hand", contracts=D(1))
            await world.venue.submit(Order(client_order_id="byhand", intent=by_hand))
            await world.pushed()
            await world.desk.drained()
        return True

    world.desk.release = release
    await world.desk.accept(close)
    await settle(200)
    await world.pushed()
    await settle()
    assert world.books.account("a").positions == {}
    refused = world.journal.orders[close.client_order_id]
    assert (refused.state, refused.reason) == (OrderState.REJECTED, "already_closing: 1 contracts left")
    left = replace(close, intent_id="close:left")
    assert world.journal.orders[left.client_order_id].filled == 1
    assert not world.books.remainder.lots
    await cancelled(running)
