"""Orders, amendments and cancels by socket and by REST: which way they go, and whose verdict is whose."""

from __future__ import annotations

import asyncio
import json
import random
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import msgspec
import pytest

from engine.clock import SystemClock
from engine.config.values import Duration
from engine.core.errors import OutcomeUnknown, Rejected, Unavailable, VenueError
from engine.core.orders import (
    ExecutionReport,
    Order,
    OrderState,
    OrderType,
)
from engine.exchange.okx.venue import OkxVenue
from engine.exchange.ports import Amendment
from tests.fixtures.okx.scripted import QUICK, ScriptedVenue, item, listed, ok, running, scripted
from tests.order_parts import order_of
from tests.test_okx_simulator import World, world
from tests.waiting import until

BTC = "BTC-USDT-SWAP"
D = Decimal


def order(number: int = 1, **changes: Any) -> Order:
    given: dict[str, Any] = {
        "intent_id": f"entry {number}",
        "cycle_id": "c",
        "trader_id": "t",
        "account_id": "okx",
        "order_type": OrderType.LIMIT,
        "price": D(40_000),
        "contracts": D("1.20"),
        "ts_created": SystemClock().now_ns(),
    }
    return order_of(**(given | changes))


def verdict(code: str = "0", **fields: str) -> dict[str, str]:
    return {"sCode": code, "sMsg": "", "ts": "1700000000900", **fields}


def answer(*verdicts: dict[str, str], code: str = "0") -> dict[str, Any]:
    return {"code": code, "data": list(verdicts)}


@dataclass
class Scene:
    server: ScriptedVenue
    venue: OkxVenue

    @property
    def operations(self) -> list[dict[str, Any]]:
        heard = (json.loads(text) for path, text in self.server.heard if path == "private" and text != "ping")
        return [frame for frame in heard if frame["op"] not in {"login", "subscribe"}]

    def by_rest(self, endpoint: str = "trade/order") -> list[Any]:
        return [body for _, body in self.server.sent(f"POST {endpoint}")]


@asynccontextmanager
async def connected(**changes: Any) -> AsyncIterator[Scene]:
    async with scripted() as server:
        server.answers["GET public/instruments"] = ok(listed())
        server.answers["POST trade/order"] = item("0", ordId="REST", ts="1700000000900")
        venue = OkxVenue(server.config(**changes), SystemClock())
        await venue.instruments()
        async with running(venue.run()):
            await until(lambda: venue.stream.operations.ready)
            yield Scene(server, venue)


@pytest.fixture
async def scene() -> AsyncIterator[Scene]:
    async with connected() as here:
        yield here


async def test_order_goes_over_the_socket_with_the_instruments_number(scene: Scene) -> None:
    scene.server.operations["order"] = lambda _: answer(verdict(ordId="7"))
    report = await scene.venue.submit(order())
    assert (report.venue_order_id, report.state) == ("7", OrderState.NEW)
    (frame,) = scene.operations
    assert frame["args"] == [
        {
            "instIdCode": 10459,
            "tdMode": "cross",
            "side": "buy",
            "posSide": "long",
            "ordType": "limit",
            "sz": "1.2",
            "px": "40000",
            "clOrdId": order().client_order_id,
        }
    ]
    assert scene.by_rest() == []


async def test_answers_are_told_apart_by_their_id(scene: Scene) -> None:
    held: list[tuple[str, dict[str, Any]]] = []

    def hold(args: list[Any]) -> None:
        held.append((args[0]["clOrdId"], args[0]))

    scene.server.operations["order"] = hold
    async with asyncio.TaskGroup() as tasks:
        sent = [tasks.create_task(scene.venue.submit(order(number))) for number in range(5)]
        await until(lambda: len(scene.operations) == 5)
        for frame in reversed(scene.operations):
            mine = verdict(ordId=f"of {frame['args'][0]['clOrdId']}")
            await scene.server.push("private", {"id": frame["id"], "op": "order", "msg": "", **answer(mine)})
    assert [task.result().venue_order_id for task in sent] == [
        f"of {order(number).client_order_id}" for number in range(5)
    ]


async def test_order_that_comes_too_late_is_dropped_by_the_venue() -> None:
    async with world() as here:
        await here.venue.instruments()
        life = {"order_type": OrderType.LIMIT, "price": D(40_000), "ts_expires": SystemClock().now_ns() - 1}
        for stop in (None, D(39_000)):  # over the socket and by REST
            with pytest.raises(Rejected) as caught:
                await here.venue.submit(here.order(**life, stop_loss=stop))
            assert caught.value.code == "50036"
        assert await here.venue.open_orders() == ()
        in_time = SystemClock().now_ns() + 10_000_000_000
        await here.venue.submit(here.order(**(life | {"ts_expires": in_time})))


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"stop_loss": D(39_000)}, "stops are attached by REST only"),
        ({"symbol": "ETH-USDT-SWAP"}, "an instrument without a number"),
    ],
)
async def test_order_that_the_socket_cannot_carry_goes_by_rest(
    scene: Scene, changes: dict[str, Any], why: str
) -> None:
    assert (await scene.venue.submit(order(**changes))).venue_order_id == "REST", why
    assert scene.operations == []


async def test_order_goes_by_rest_while_the_socket_is_down_or_not_wanted() -> None:
    async with connected() as scene:
        scene.server.login_code = "60014"  # nobody gets in again
        await scene.server.cut("private")
        await until(lambda: not scene.venue.stream.operations.ready)
        assert (await scene.venue.submit(order())).venue_order_id == "REST"
    async with connected(order_entry="rest") as scene:
        assert (await scene.venue.submit(order())).venue_order_id == "REST"
        assert scene.operations == []


async def test_missing_answer_is_unknown_and_nothing_is_sent_twice() -> None:
    hasty = msgspec.structs.replace(QUICK, operation=Duration(0.1))
    async with connected(timeouts=hasty) as scene:
        scene.server.operations["order"] = lambda _: None
        with pytest.raises(OutcomeUnknown):
            await scene.venue.submit(order())
        assert len(scene.operations) == 1
        assert scene.by_rest() == []


async def test_connection_lost_before_the_answer_is_unknown_at_once(scene: Scene) -> None:
    scene.server.operations["order"] = lambda _: None
    async with asyncio.TaskGroup() as tasks:
        sending = tasks.create_task(_error_of(scene.venue.submit(order())))
        await until(lambda: len(scene.operations) == 1)
        await scene.server.cut("private")
        assert isinstance(await sending, OutcomeUnknown)
    assert scene.by_rest() == []


async def test_D7_answer_on_a_connection_that_is_being_replaced_is_not_lost(scene: Scene) -> None:
    scene.server.operations["order"] = lambda _: None
    (old,) = scene.server.sockets["private"]
    async with asyncio.TaskGroup() as tasks:
        sending = tasks.create_task(scene.venue.submit(order()))
        await until(lambda: len(scene.operations) == 1)
        await old.send_json({"event": "notice", "code": "64008", "msg": "upgrade", "connId": "c"})
        await until(lambda: len(scene.server.sockets["private"]) == 2)
        second = Order(client_order_id="second", intent=order(2).intent)
        scene.server.operations["order"] = lambda _: answer(verdict(ordId="2"))
        await until(lambda: any('"subscribe"' in text for path, text in scene.server.heard[-1:]))
        assert (await scene.venue.submit(second)).venue_order_id == "2"
        mine = answer(verdict(ordId="1"))
        await old.send_json({"id": scene.operations[0]["id"], "op": "order", "msg": "", **mine})
        assert (await sending).venue_order_id == "1"
    await until(lambda: scene.server.open["private"] == 1)
    assert scene.by_rest() == []


async def _error_of(work: Any) -> VenueError | None:
    try:
        await work
    except VenueError as error:
        return error
    return None


async def test_number_that_the_socket_does_not_know_sends_the_order_by_rest(scene: Scene) -> None:
    """The demo environment refuses its own numbers; the refusal proves that nothing was taken."""
    scene.server.operations["order"] = lambda _: answer(verdict("51001"), code="1")
    assert (await scene.venue.submit(order())).venue_order_id == "REST"
    await scene.venue.submit(order(2))
    assert len(scene.operations) == 1  # learned
    assert len(scene.by_rest()) == 2


async def test_operation_refused_for_its_way_goes_by_rest(scene: Scene) -> None:
    scene.server.operations["order"] = lambda _: {"code": "60011", "data": []}
    assert (await scene.venue.submit(order())).venue_order_id == "REST"


@pytest.mark.parametrize(
    ("code", "expected"), [("50011", Unavailable), ("64007", OutcomeUnknown), ("51008", Rejected)]
)
async def test_refused_operation_means_what_its_code_says(
    scene: Scene, code: str, expected: type[VenueError]
) -> None:
    scene.server.operations["order"] = lambda _: {"code": code, "data": []}
    with pytest.raises(expected):
        await scene.venue.submit(order())
    assert scene.by_rest() == []


async def test_error_event_that_names_the_operation_is_its_answer(scene: Scene) -> None:
    scene.server.operations["order"] = lambda _: {"event": "error", "code": "51008", "op": None}
    with pytest.raises(Rejected):
        await scene.venue.submit(order())


async def test_F8_every_order_of_a_batch_has_its_own_verdict(scene: Scene) -> None:
    def judge(args: list[Any]) -> dict[str, Any]:
        codes = ["0", "51008", "51016", "50004"][: len(args)]
        return answer(*(verdict(code, ordId="1") for code in codes), code="2")

    scene.server.operations["batch-orders"] = judge
    found = await scene.venue.submit_many([order(number) for number in range(4)])
    assert isinstance(found[0], ExecutionReport)
    assert [type(each) for each in found[1:]] == [Rejected, OutcomeUnknown, OutcomeUnknown]
    assert [each.code for each in found[1:] if isinstance(each, VenueError)] == ["51008", "51016", "50004"]


async def test_F8_batch_without_a_verdict_for_each_is_unknown(scene: Scene) -> None:
    scene.server.operations["batch-orders"] = lambda _: answer(verdict(ordId="1"))
    found = await scene.venue.submit_many([order(1), order(2)])
    assert [type(each) for each in found] == [OutcomeUnknown, OutcomeUnknown]


async def test_batch_is_cut_into_requests_of_twenty_and_keeps_its_order(scene: Scene) -> None:
    def judge(args: list[Any]) -> dict[str, Any]:
        return answer(*(verdict(ordId=arg["clOrdId"]) for arg in args))

    def by_rest(_: object, bodies: Any) -> dict[str, Any]:
        return {"code": "0", "msg": "", "data": [verdict(ordId=f"R{each['clOrdId']}") for each in bodies]}

    scene.server.operations["batch-orders"] = judge
    scene.server.answers["POST trade/batch-orders"] = by_rest
    orders = [order(number, stop_loss=D(39_000) if number % 10 == 0 else None) for number in range(45)]
    found = await scene.venue.submit_many(orders)
    expected = [f"{'R' if each.intent.stop_loss else ''}{each.client_order_id}" for each in orders]
    assert [each.venue_order_id for each in found if isinstance(each, ExecutionReport)] == expected
    assert sorted(len(frame["args"]) for frame in scene.operations) == [20, 20]
    assert [len(bodies) for bodies in scene.by_rest("trade/batch-orders")] == [5]


BEHAVIOURS: dict[str, tuple[bool, type[VenueError] | None]] = {  # carried out; what a socket's sender is told
    "0": (True, None),
    "silent": (True, OutcomeUnknown),
    "cut": (True, OutcomeUnknown),
    "50004": (True, OutcomeUnknown),
    "51008": (False, Rejected),
    "50011": (False, Unavailable),
    "51001": (False, None),  # goes by REST
}


@pytest.mark.parametrize("seed", range(3))
async def test_no_order_is_carried_out_twice_whatever_the_socket_does(seed: int) -> None:
    """Sockets that answer, refuse, fall silent and break at random, with many orders under way at once."""
    chance, taken = random.Random(seed), Counter[str]()  # noqa: S311 - no secret
    fate = {order(n).client_order_id: chance.choice(list(BEHAVIOURS)) for n in range(60)}
    hasty = msgspec.structs.replace(QUICK, operation=Duration(0.2))
    async with connected(timeouts=hasty, rate_limits=False) as scene:

        def by_socket(args: list[Any]) -> dict[str, Any] | None:
            name = args[0]["clOrdId"]
            kind = fate[name]
            taken[name] += BEHAVIOURS[kind][0]
            if kind == "cut":
                cuts.create_task(scene.server.cut("private"))
            return None if kind in {"silent", "cut"} else answer(verdict(kind, ordId="1"))

        def by_rest(_: object, body: Any) -> dict[str, Any]:
            taken[body["clOrdId"]] += 1
            return item("0", ordId="REST", ts="1700000000900")

        scene.server.operations["order"] = by_socket
        scene.server.answers["POST trade/order"] = by_rest
        results: dict[str, VenueError | None] = {}

        async def send(given: Order) -> None:
            await asyncio.sleep(chance.random() * 0.5)
            results[given.client_order_id] = await _error_of(scene.venue.submit(given))

        async with asyncio.TaskGroup() as cuts, asyncio.TaskGroup() as tasks:
            for number in range(60):
                tasks.create_task(send(order(number)))
    for name, error in results.items():
        assert taken[name] <= 1, (name, fate[name])
        if error is None:
            assert taken[name] == 1
        elif not isinstance(error, OutcomeUnknown):
            assert taken[name] == 0


# -- against the simulator


@pytest.mark.parametrize(
    ("order_type", "price", "filled", "reason"),
    [
        (OrderType.POST_ONLY, "51000", "0", "post-only would have taken"),
        (OrderType.FOK, "50000.1", "0", "fill-or-kill could not be filled whole"),
        (OrderType.IOC, "50000.1", "100", "immediate-or-cancel remainder"),
    ],
)
async def test_what_cannot_be_done_as_asked_ends_with_the_reason(
    order_type: OrderType, price: str, filled: str, reason: str
) -> None:
    """`market_ioc` is such an IOC: its price is the most that it may slip."""
    async with world() as here:
        await here.venue.instruments()
        await here.market("50000", depth="100")  # contracts at each tick from 50000.1
        given = here.order(order_type=order_type, price=D(price), contracts=D(500))
        await here.venue.submit(given)
        ended = await here.report(given.client_order_id, lambda report: report.state is OrderState.CANCELED)
        assert (ended.filled, ended.reason) == (D(filled), reason)


async def resting(here: World, **changes: Any) -> Order:
    given = here.order(order_type=OrderType.LIMIT, price=D(40_000), contracts=D(2), **changes)
    report = await here.venue.submit(given)
    return Order(
        client_order_id=given.client_order_id, intent=given.intent, venue_order_id=report.venue_order_id
    )


async def test_amended_order_tells_its_new_price_and_size_and_the_request() -> None:
    async with world() as here:
        await here.venue.instruments()
        given = await resting(here)
        await here.venue.amend(given, Amendment(request_id="r1", price=D(41_000), contracts=D(3)))
        told = await here.report(given.client_order_id, lambda report: report.request_id == "r1")
        assert (told.amended, told.price, told.contracts) == (True, D(41_000), D(3))
        await here.venue.cancel(given)
        await here.report(given.client_order_id, lambda report: report.state is OrderState.CANCELED)
        with pytest.raises(Rejected):
            await here.venue.amend(given, Amendment(request_id="r2", price=D(42_000)))
        known = await here.venue.query(given)
        assert known is not None
        assert (known.price, known.contracts) == (D(41_000), D(3))
        assert here.venue.stream.operations.sent == 4
        assert here.venue.rest.failures == {}


@pytest.mark.parametrize(("fault", "price"), [("drop_before", D(40_000)), ("drop_after", D(41_000))])
async def test_F7_lost_amendment_is_sent_once_and_the_venue_says_what_became_of_it(
    fault: str, price: Decimal
) -> None:
    async with world() as here:
        await here.venue.instruments()
        given = await resting(here)
        await here.fault(kind=fault, path="trade/amend-order")
        sent = here.venue.stream.operations.sent
        with pytest.raises(OutcomeUnknown):
            await here.venue.amend(given, Amendment(request_id="r1", price=D(41_000)))
        assert here.venue.stream.operations.sent == sent + 1
        assert given.intent.price == D(40_000)  # as it was, until the venue says otherwise
        known = await here.venue.query(given)
        assert known is not None
        assert (known.state, known.price) == (OrderState.NEW, price)


async def test_F8_batches_place_amend_and_cancel_each_by_its_own_code() -> None:
    async with world() as here:
        await here.venue.instruments()
        orders = [
            here.order(order_type=OrderType.LIMIT, price=D(40_000), contracts=contracts)
            for contracts in (D(1), D("0.001"), D(3))
        ]
        first, small, last = await here.venue.submit_many(orders)
        assert isinstance(first, ExecutionReport)
        assert isinstance(last, ExecutionReport)
        assert isinstance(small, Rejected)
        changes = [(each, Amendment(request_id="r", contracts=D(2))) for each in orders]
        amended = await here.venue.amend_many(changes)
        assert [error is None for error in amended] == [True, False, True]
        assert {report.contracts for report in await here.venue.open_orders()} == {D(2)}
        cancelled = await here.venue.cancel_many(orders)
        assert [error is None for error in cancelled] == [True, False, True]
        assert await here.venue.open_orders() == ()


async def test_F1_socket_cut_after_the_order_arrived_is_found_by_asking() -> None:
    async with world() as here:
        await here.venue.instruments()
        given = here.order(order_type=OrderType.LIMIT, price=D(40_000))
        await here.fault(kind="drop_after", path="trade/order")
        with pytest.raises(OutcomeUnknown):
            await here.venue.submit(given)
        known = await here.venue.query(given)
        assert known is not None
        assert known.state is OrderState.NEW
        assert (await here.received())[given.client_order_id] == 1
