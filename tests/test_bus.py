"""The contract of engine.bus, on the bus in memory, on a real Valkey and, for what it can, on fakeredis."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from decimal import Decimal
from typing import Any
from uuid import uuid4

import fakeredis
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from engine.bus import MAX_DELIVERIES, Bus, Message, Topic
from engine.clock import SimClock, SystemClock, cancelled
from engine.core.errors import BusUnavailable, CodecError, StoreUnavailable
from engine.core.orders import OrderIntent
from engine.envelope import EnvelopeCodec
from engine.log import TRACE
from engine.memory_bus import MemoryBus
from engine.redis_bus import RedisBus
from engine.redis_link import RedisTiming
from engine.redis_streams import Reach
from tests.order_parts import intent_of

TEXTS = Topic("texts", str)
PRICES = Topic("prices", Decimal)
INTENTS = Topic("intents", OrderIntent)
NEWEST = Topic("newest", int, durable=False, max_len=100)
QUICK = RedisTiming(publish_s=0.3, block_s=0.05, retry_delay_s=0.01, claim_idle_s=0.2, housekeeping_s=0.05)

Dead = list[tuple[str, str, str]]


class PollingLine:
    """fakeredis answers a blocking stream read at once; over this line it waits as a server does."""

    def __init__(self, client: Any) -> None:
        self._client = client

    async def ask(self, *commands: tuple[Any, ...]) -> Any:
        for command in commands:
            reply = await self._one(command)
        return reply

    async def _one(self, command: tuple[Any, ...]) -> Any:
        if "BLOCK" in command:
            at = command.index("BLOCK")
            blocks_ms, command = command[at + 1], (*command[:at], *command[at + 2 :])
            for _ in range(blocks_ms // 10):
                if reply := await self._client.execute_command(*command):
                    return reply
                await asyncio.sleep(0.01)
        return await self._client.execute_command(*command)


class Reader:
    """A handler that keeps what it saw, and can be waited for."""

    def __init__(self, fails: dict[Any, int] | None = None, error: Exception | None = None) -> None:
        self.seen: list[Message[Any]] = []
        self.handled: list[Any] = []
        self._fails = dict(fails or {})  # body → how often
        self._error = error or LookupError("not this time")

    async def __call__(self, message: Message[Any]) -> None:
        self.seen.append(message)
        if self._fails.get(message.body, 0) > 0:
            self._fails[message.body] -= 1
            raise self._error
        self.handled.append(message.body)

    async def until(self, condition: Callable[[], bool], timeout_s: float = 20) -> None:
        async with asyncio.timeout(timeout_s):
            while not condition():
                await asyncio.sleep(0.005)

    async def handles(self, *bodies: Any) -> None:
        """Wait until exactly these have been handled, in this order."""
        await self.until(lambda: len(self.handled) >= len(bodies))
        assert self.handled == list(bodies)


@pytest.fixture(params=["memory", "valkey", "fakeredis"])
def address(request: pytest.FixtureRequest) -> str:
    """Which bus; for the real one, where it is. Only that one needs a server."""
    kind: str = request.param
    return request.getfixturevalue("redis_url") if kind == "valkey" else kind


@asynccontextmanager
async def bus_at(address: str, **options: Any) -> AsyncIterator[Bus]:
    clock = SystemClock()
    if address == "memory":
        yield MemoryBus(clock, retry_delay_s=0.01, **options)
        return
    if address != "fakeredis":
        redis_bus = RedisBus(address, "test", clock, timing=QUICK, **options)
    else:
        server = fakeredis.FakeServer(server_type="valkey")
        redis_bus = RedisBus(
            "",
            "test",
            clock,
            timing=QUICK,
            reach=Reach(
                lambda timeout_s: fakeredis.FakeAsyncRedis(server=server, socket_timeout=timeout_s),
                PollingLine,
            ),
            **options,
        )
    yield redis_bus
    await redis_bus.aclose()


@pytest.fixture
async def bus(address: str) -> AsyncIterator[Bus]:
    async with bus_at(address) as bus:
        yield bus


@pytest.fixture
async def consume(bus: Bus) -> AsyncIterator[Callable[..., asyncio.Task[None]]]:
    """Start a consumer; it ends with the test at the latest."""
    tasks: list[asyncio.Task[None]] = []

    def start(
        topic: Topic[Any], handler: Reader, group: str = "g", consumer: str = "0"
    ) -> asyncio.Task[None]:
        tasks.append(
            asyncio.create_task(
                bus.consume(topic, group, handler, consumer=consumer), name=f"consume {group}"
            )
        )
        return tasks[-1]

    yield start
    for task in tasks:
        await cancelled(task)


Consume = Callable[..., asyncio.Task[None]]


async def test_messages_arrive_in_order_and_once(bus: Bus, consume: Consume) -> None:
    await bus.publish(TEXTS, "before anybody reads")
    reader = Reader()
    consume(TEXTS, reader)
    await bus.publish(TEXTS, "a")
    await bus.publish_many(TEXTS, ["b", "c", "d"])
    await reader.handles("before anybody reads", "a", "b", "c", "d")
    assert len({message.id for message in reader.seen}) == 5


async def test_each_group_gets_every_message_and_its_consumers_share(bus: Bus, consume: Consume) -> None:
    one, left, right = Reader(), Reader(), Reader()
    consume(TEXTS, one, "one")
    consume(TEXTS, left, "shared", "left")
    consume(TEXTS, right, "shared", "right")
    names = [str(number) for number in range(200)]
    for start in range(0, 200, 10):
        await bus.publish_many(TEXTS, names[start : start + 10])
    await one.handles(*names)
    await one.until(lambda: len(left.handled) + len(right.handled) >= 200)
    assert sorted(left.handled + right.handled) == sorted(names)


async def test_envelope_carries_trace_time_and_exact_decimals(bus: Bus, consume: Consume) -> None:
    reader, values = Reader(), ["0.1", "1E+3", "-0.000000000000000000000001", "12345678901234567890.10"]
    consume(PRICES, reader)
    before = SystemClock().now_ns()
    for value in values:
        await bus.publish(PRICES, Decimal(value), trace_id="cycle-1")
    await reader.until(lambda: len(reader.handled) == 4)
    assert [str(value) for value in reader.handled] == [str(Decimal(value)) for value in values]
    assert {message.trace_id for message in reader.seen} == {"cycle-1"}
    assert all(before <= message.ts_published <= SystemClock().now_ns() for message in reader.seen)
    published = await bus.publish(PRICES, Decimal(1))
    await reader.until(lambda: len(reader.handled) == 5)
    assert (reader.seen[-1].id, reader.seen[-1].trace_id) == (published, published)


async def test_what_is_logged_about_a_message_carries_its_trace(bus: Bus, consume: Consume) -> None:
    carried: list[str] = []

    async def note() -> None:
        carried.append(TRACE.get())

    async def handler(_: Message[Decimal]) -> None:
        await note()
        await asyncio.create_task(note())  # a job that is begun here

    consume(PRICES, handler)
    await bus.publish(PRICES, Decimal(1), trace_id="cycle-1")
    async with asyncio.timeout(20):
        while len(carried) < 2:
            await asyncio.sleep(0.005)
    assert carried == ["cycle-1", "cycle-1"]
    assert not TRACE.get()


async def test_an_intent_survives_the_wire(bus: Bus, consume: Consume) -> None:
    reader = Reader()
    consume(INTENTS, reader)
    intent = _intent()
    await bus.publish(INTENTS, intent, trace_id=intent.cycle_id)
    await reader.handles(intent)


async def test_failure_is_retried_and_the_third_goes_to_the_dead_letters(bus: Bus, consume: Consume) -> None:
    dead = Dead()
    bus.on_dead = lambda *letter: dead.append(letter)  # type: ignore[attr-defined]
    reader = Reader(fails={"recovers": 2, "poison": MAX_DELIVERIES})
    consume(TEXTS, reader)
    await bus.publish_many(TEXTS, ["recovers", "poison", "next"])
    await reader.handles("recovers", "next")
    assert [(m.body, m.deliveries) for m in reader.seen] == [
        ("recovers", 1),
        ("recovers", 2),
        ("recovers", 3),
        ("poison", 1),
        ("poison", 2),
        ("poison", 3),
        ("next", 1),
    ]
    assert dead == [("texts", reader.seen[3].id, "LookupError: not this time")]


@pytest.mark.parametrize("outage", [BusUnavailable("redis"), StoreUnavailable("postgres")])
async def test_an_outage_in_a_handler_never_kills_a_message(
    bus: Bus, consume: Consume, outage: Exception
) -> None:
    dead = Dead()
    bus.on_dead = lambda *letter: dead.append(letter)  # type: ignore[attr-defined]
    reader = Reader(fails={"patient": MAX_DELIVERIES + 2}, error=outage)
    consume(TEXTS, reader)
    await bus.publish(TEXTS, "patient")
    await reader.handles("patient")
    assert dead == []


async def test_a_consumer_that_dies_while_handling_gets_the_message_again(bus: Bus, consume: Consume) -> None:
    """B1: the process ends after the message was read and before it was acknowledged."""
    entered = asyncio.Event()

    async def hang(_: Message[str]) -> None:
        entered.set()
        await asyncio.Event().wait()

    dying = asyncio.create_task(bus.consume(TEXTS, "g", hang, consumer="a"))
    await bus.publish_many(TEXTS, ["first", "second"])
    await entered.wait()
    await cancelled(dying)
    reader = Reader()
    consume(TEXTS, reader, consumer="a")
    await bus.publish(TEXTS, "third")
    await reader.handles("first", "second", "third")
    assert reader.seen[0].deliveries <= 2


async def test_what_a_dead_consumer_left_goes_to_a_live_one(bus: Bus, consume: Consume) -> None:
    entered = asyncio.Event()

    async def hang(_: Message[str]) -> None:
        entered.set()
        await asyncio.Event().wait()

    dying = asyncio.create_task(bus.consume(TEXTS, "g", hang, consumer="dead"))
    await bus.publish(TEXTS, "left over")
    await entered.wait()
    await cancelled(dying)
    reader = Reader()
    consume(TEXTS, reader, consumer="heir")
    await reader.handles("left over")


async def test_B2_a_topic_whose_reader_is_behind_takes_no_more_until_it_is_read(address: str) -> None:
    go, reader = asyncio.Event(), Reader()

    async def slow(message: Message[Any]) -> None:
        await go.wait()
        await reader(message)

    async with bus_at(address, max_backlog=8) as bus:
        task = asyncio.create_task(bus.consume(TEXTS, "g", slow))
        published = [str(number) for number in range(8)]
        for text in published:
            await bus.publish(TEXTS, text)
            await asyncio.sleep(0)
        with pytest.raises(BusUnavailable, match="unread"):
            await bus.publish(TEXTS, "too much")
        await bus.publish(PRICES, Decimal(1))
        go.set()
        await reader.handles(*published)
        async with asyncio.timeout(20):
            while len(published) < 30:
                with suppress(BusUnavailable):  # not acknowledged yet
                    await bus.publish(TEXTS, str(len(published)))
                    published.append(str(len(published)))
                await asyncio.sleep(0)
        await reader.handles(*published)
        await cancelled(task)


async def test_messages_that_are_published_together_find_room_together_or_not_at_all(address: str) -> None:
    reader = Reader()
    go = asyncio.Event()

    async def slow(message: Message[Any]) -> None:
        await go.wait()
        await reader(message)

    async with bus_at(address, max_backlog=2) as bus:
        task = asyncio.create_task(bus.consume(TEXTS, "g", slow))
        await asyncio.sleep(0)
        await bus.publish(TEXTS, "first")
        await bus.publish_many(TEXTS, ["a", "b", "c"])
        with pytest.raises(BusUnavailable):
            await bus.publish_many(TEXTS, ["d", "e"])
        go.set()
        await reader.handles("first", "a", "b", "c")
        await cancelled(task)


async def test_cancellation_passes_through_a_busy_consumer(bus: Bus) -> None:
    entered = asyncio.Event()

    async def hang(_: Message[str]) -> None:
        entered.set()
        await asyncio.Event().wait()

    task = asyncio.create_task(bus.consume(TEXTS, "g", hang))
    await bus.publish(TEXTS, "x")
    await entered.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_live_topic_begins_with_the_next_message_and_survives_a_failure(
    bus: Bus, consume: Consume
) -> None:
    await bus.publish(NEWEST, 1)
    reader = Reader(fails=dict.fromkeys(range(100, 200), 1))
    consume(NEWEST, reader)
    number = 100
    while not reader.seen:  # published until the consumer has begun
        await bus.publish(NEWEST, number)
        number += 1
        await asyncio.sleep(0.01)
    await bus.publish(NEWEST, 7)
    await reader.until(lambda: 7 in reader.handled)
    assert 1 not in reader.handled
    assert reader.handled == [7]


def _intent() -> OrderIntent:
    return intent_of(
        "i",
        account_id="okx",
        trader_id="t",
        cycle_id="t-1",
        contracts=Decimal("0.01"),
        leverage=Decimal(3),
        stop_loss=Decimal("99.5"),
    )


# -- the bus in memory


async def test_memory_bus_delivers_in_the_same_order_in_every_run() -> None:
    async def run() -> list[tuple[str, str]]:
        clock, log = SimClock(), list[tuple[str, str]]()
        bus = MemoryBus(clock)

        def handler(name: str) -> Callable[[Message[str]], Awaitable[None]]:
            async def handle(message: Message[str]) -> None:
                log.append((name, message.body))
                if len(message.body) < 4:
                    await bus.publish(TEXTS, message.body + name)

            return handle

        tasks = [
            asyncio.create_task(bus.consume(TEXTS, group, handler(consumer), consumer=consumer))
            for group, consumer in (("g", "a"), ("g", "b"), ("h", "c"))
        ]
        await asyncio.sleep(0)
        await bus.publish_many(TEXTS, ["x", "y"])
        await bus.drained()
        for task in tasks:
            await cancelled(task)
        return log

    first = await run()
    assert len(first) > 20
    assert await run() == first


async def test_memory_bus_refuses_two_consumers_of_one_name() -> None:
    bus = MemoryBus(SystemClock())
    task = asyncio.create_task(bus.consume(TEXTS, "g", Reader()))
    await asyncio.sleep(0)
    with pytest.raises(ValueError, match="reads texts already"):
        await bus.consume(TEXTS, "g", Reader())
    await cancelled(task)


# -- the envelope


@given(value=st.decimals(allow_nan=False), trace=st.text(max_size=40), ts=st.integers(0, 2**63 - 1))
def test_envelope_round_trip_is_the_identity(value: Decimal, trace: str, ts: int) -> None:
    codec = EnvelopeCodec(PRICES)
    (message,) = codec.decode(codec.encode(value, trace, ts), "1-0", 2)
    assert (str(message.body), message.trace_id, message.ts_published) == (str(value), trace or "1-0", ts)


@given(values=st.lists(st.decimals(allow_nan=False), max_size=5), trace=st.text(max_size=4))
def test_messages_that_share_an_envelope_come_out_in_order(values: list[Decimal], trace: str) -> None:
    codec = EnvelopeCodec(PRICES)
    messages = codec.decode(codec.encode_together(values, trace, 7), "1-0", 2)
    assert [str(message.body) for message in messages] == [str(value) for value in values]
    assert [message.id for message in messages] == [f"1-0.{number}" for number in range(len(values))]
    assert all(message.trace_id == (trace or message.id) for message in messages)
    assert all((message.ts_published, message.deliveries) == (7, 2) for message in messages)


@given(st.binary(max_size=64))
@example(b"\x94\x00\xa2\x00\x80")  # text that is no UTF-8
@example(b"\x94\x01\xa0\x01" + b"\x91" * 100_000)  # nested without end
def test_bytes_that_are_no_envelope_raise_codec_error_only(payload: bytes) -> None:
    codec = EnvelopeCodec(INTENTS)
    with pytest.raises(CodecError):
        codec.decode(payload, uuid4().hex)


def test_an_envelope_of_another_version_is_refused() -> None:
    codec = EnvelopeCodec(TEXTS)
    payload = bytearray(codec.encode("x", "", 1))
    payload[1] = 3
    with pytest.raises(CodecError, match="version 3"):
        codec.decode(bytes(payload), "1-0")
