"""Bus and journal on the embedded servers, beside the bare drivers on the same servers.

Everybody shares one event loop and one machine, so a hop is what the code and the server cost, not a network.
"""

from __future__ import annotations

import asyncio
import gc
import tempfile
from collections.abc import Awaitable, Callable
from decimal import Decimal
from pathlib import Path
from time import perf_counter_ns
from typing import Any, Final

import asyncpg
import msgspec
import redis.asyncio as redis

from bench.bare_redis import read_group
from bench.bulk import bulk
from bench.measure import Kind, Row, Run, Title, of_items, of_rounds, same
from engine.bus import SIGNALS, Message
from engine.clock import SystemClock, cancelled
from engine.core.market import Side
from engine.core.orders import Fill, Order, OrderIntent, OrderState, OrderType, PositionSide, Purpose
from engine.core.signals import Edge, Signal, signal_id
from engine.core.times import NS_PER_MS, NS_PER_S
from engine.embedded import EmbeddedServers, ServerAddresses
from engine.envelope import EnvelopeCodec
from engine.journal.ports import TraderRecord
from engine.journal.postgres.journal import PostgresJournal
from engine.journal.postgres.migrate import migrate
from engine.redis_bus import RedisBus

_MESSAGES: Final = 5000
_ROUNDS: Final = 5
_HOPS: Final = 600
_ORDERS: Final = 400
_UNTIMED: Final = 50  # of hops and orders, while connections and plans are made
_START: Final = 1_790_000_000 * NS_PER_S
_ACCOUNT: Final = "bench"
_GROUP: Final = "readers"
_PATIENCE_S: Final = 20.0
_CHUNK: Final = 500  # of publish_many


def storage(run: Run) -> list[Row]:
    """Both, on servers that are made for it and gone afterwards."""
    return asyncio.run(_storage(run))


async def _storage(run: Run) -> list[Row]:
    with tempfile.TemporaryDirectory(prefix="edgewise-bench-") as folder:
        async with EmbeddedServers(Path(folder) / "servers") as servers:
            rows = await _bus(run, servers.addresses)
            rows += await _journal(run, servers.addresses)
            return rows + await bulk(run, servers.addresses.postgres_dsn)


# -- bus


def _signals(count: int) -> list[Signal]:
    return [
        Signal(
            signal_id=signal_id("BTC-USDT-SWAP", "rsi", Edge.UP, _START + number),
            symbol="BTC-USDT-SWAP",
            detector="rsi",
            feature="rsi_14",
            timeframe="1m",
            edge=Edge.UP,
            value=71.2,
            threshold=70.0,
            release=65.0,
            score=0.7,
            price=64000.1 + number,
            ts_event=_START + number,
        )
        for number in range(count)
    ]


async def _bus(run: Run, addresses: ServerAddresses) -> list[Row]:
    bus = RedisBus(addresses.redis_url, "bench", SystemClock())
    bare: redis.Redis = redis.Redis.from_url(addresses.redis_url, protocol=3)
    # Its reads block for as long as there is nothing to read.
    reading: redis.Redis = redis.Redis.from_url(addresses.redis_url, protocol=3, socket_timeout=None)
    try:
        return [
            await _publishing(run, bus, bare),
            await _consuming(run, bus, bare, addresses.redis_url),
            await _hops(run, bus, bare, reading),
        ]
    finally:
        await reading.aclose()
        await bare.aclose()
        await bus.aclose()


async def _publishing(run: Run, bus: RedisBus, bare: redis.Redis) -> Row:
    signals = _signals(run.of(_MESSAGES, 100))
    codec = EnvelopeCodec(SIGNALS)
    payloads = [codec.encode(signal, "", _START) for signal in signals]
    pairs = []
    for number in range(_ROUNDS + 1):
        await bare.delete(bus.stream(SIGNALS.name), "bare")
        ours = await _took_us(lambda: bus.publish_many(SIGNALS, signals))
        theirs = await _took_us(lambda: _pipelined(bare, payloads))
        if number:
            pairs.append((ours, theirs))
    same("signals on the stream", await _bodies(bare, bus.stream(SIGNALS.name)), signals)
    same("signals on the bare stream", await _bodies(bare, "bare"), signals)
    await bare.delete(bus.stream(SIGNALS.name), "bare")
    title = Title(
        "Bus on Valkey",
        "publish_many, a message (encoded, all or none)",
        "redis-py pipeline, ready bytes",
        "every message, in order",
        Kind.PEER,
        aim=5.0,
    )
    return of_rounds(title, pairs, len(signals))


async def _pipelined(bare: redis.Redis, payloads: list[bytes]) -> None:
    for start in range(0, len(payloads), _CHUNK):
        pipeline = bare.pipeline(transaction=False)
        for payload in payloads[start : start + _CHUNK]:
            pipeline.xadd("bare", {"m": payload})
        await pipeline.execute()


async def _consuming(run: Run, bus: RedisBus, bare: redis.Redis, url: str) -> Row:
    """Messages that wait on the stream, by a consumer of the bus and by a blocking socket."""
    signals, pairs = _signals(run.of(_MESSAGES, 200)), []
    for number in range(_ROUNDS + 1):
        await bare.delete(bus.stream(SIGNALS.name))
        await bus.publish_many(SIGNALS, signals)
        got, done = list[Signal](), asyncio.Event()

        async def handle(message: Message[Signal]) -> None:
            got.append(message.body)  # noqa: B023 - consumed at once
            if len(got) == len(signals):  # noqa: B023
                done.set()  # noqa: B023

        reader = asyncio.create_task(bus.consume(SIGNALS, _GROUP, handle), name="consumer")
        async with asyncio.timeout(_PATIENCE_S):
            ours = await _took_us(done.wait)
        await cancelled(reader)
        same("messages consumed", got, signals)
        await bare.xgroup_create(bus.stream(SIGNALS.name), "bare", id="0")
        began = perf_counter_ns()
        found = read_group(url, bus.stream(SIGNALS.name), "bare", len(signals))
        theirs = (perf_counter_ns() - began) / 1000
        same("messages read", found, signals)
        if number:
            pairs.append((ours, theirs))
    await bare.delete(bus.stream(SIGNALS.name))
    title = Title(
        "Bus on Valkey",
        "consume what waits, a message",
        "blocking socket, hiredis, msgspec, XACK",
        "every message, in order",
        aim=0.7,
    )
    return of_rounds(title, pairs, len(signals))


async def _bodies(bare: redis.Redis, stream: str) -> list[Signal]:
    codec = EnvelopeCodec(SIGNALS)
    entries: Any = await bare.xrange(stream)
    return [message.body for _, fields in entries for message in codec.decode(fields[b"m"], "0-0")]


async def _hops(run: Run, bus: RedisBus, bare: redis.Redis, reading: redis.Redis) -> Row:
    """From before the publication to inside the handler, one message at a time, the two in turns."""
    ours, theirs = asyncio.Queue[Signal](1), asyncio.Queue[Signal](1)

    async def handle(message: Message[Signal]) -> None:
        ours.put_nowait(message.body)

    codec = EnvelopeCodec(SIGNALS)
    await bare.xgroup_create("bare", _GROUP, id="0", mkstream=True)
    readers = [
        asyncio.create_task(bus.consume(SIGNALS, _GROUP, handle), name="consumer"),
        asyncio.create_task(_read_bare(reading, theirs), name="bare consumer"),
    ]
    times, bare_times = list[int](), list[int]()
    signals, got, bare_got = _signals(run.of(_HOPS, 10) + _UNTIMED), list[Signal](), list[Signal]()
    async with asyncio.timeout(_PATIENCE_S):
        for signal in signals:
            began = perf_counter_ns()
            await bus.publish(SIGNALS, signal)
            got.append(await ours.get())
            times.append(perf_counter_ns() - began)
            began = perf_counter_ns()
            await bare.xadd("bare", {"m": codec.encode(signal, "", _START)})
            bare_got.append(await theirs.get())
            bare_times.append(perf_counter_ns() - began)
    for reader in readers:
        await cancelled(reader)
    same("messages that the handler saw", got, signals)
    same("messages that the bare reader saw", bare_got, signals)
    title = Title(
        "Bus on Valkey",
        "one hop, publish to handler",
        "redis-py XADD to XREADGROUP, XACK",
        "every message once",
        aim=1 / 3,
        aim_at_p99=True,
    )
    return of_items(title, times[_UNTIMED:], bare_times[_UNTIMED:])


async def _read_bare(client: redis.Redis, out: asyncio.Queue[Signal]) -> None:
    codec = EnvelopeCodec(SIGNALS)
    while True:
        reply: Any = await client.xreadgroup(_GROUP, "0", {"bare": ">"}, count=64, block=0)
        for message_id, fields in reply[b"bare"][0]:
            for message in codec.decode(fields[b"m"], "0-0"):
                out.put_nowait(message.body)
            await client.xack("bare", _GROUP, message_id)


async def _took_us(work: Callable[[], Awaitable[object]]) -> float:
    gc.collect()
    began = perf_counter_ns()
    await work()
    return (perf_counter_ns() - began) / 1000


# -- journal


async def _journal(run: Run, addresses: ServerAddresses) -> list[Row]:
    dsn = addresses.postgres_dsn
    await migrate(dsn)
    bare = await asyncpg.connect(dsn)
    try:
        durable = [str(await bare.fetchval(f"show {name}")) for name in ("fsync", "synchronous_commit")]
        same("fsync and synchronous_commit", durable, ["on", "on"])
        await bare.execute("create table bench_floor (id bigint primary key, body bytea)")
        async with PostgresJournal(dsn, SystemClock()) as journal:
            await journal.record_traders([_TRADER])
            return await _durable(run, journal, bare)
    finally:
        await bare.close()


async def _durable(run: Run, journal: PostgresJournal, bare: asyncpg.Connection[asyncpg.Record]) -> list[Row]:
    """An order before it is sent, its fill, and a bare row, in turns."""
    inserts, executions, floors = list[int](), list[int](), list[int]()
    wanted = []
    gc.collect()
    for number in range(run.of(_ORDERS, 10) + _UNTIMED):
        order = _order(number)
        after, fill = _filled(order, number)
        began = perf_counter_ns()
        await journal.insert_order(order)
        inserts.append(perf_counter_ns() - began)
        began = perf_counter_ns()
        await journal.record_execution(after, fill)
        executions.append(perf_counter_ns() - began)
        body = msgspec.msgpack.encode(fill)
        began = perf_counter_ns()
        await bare.execute("insert into bench_floor values ($1, $2)", number, body)
        floors.append(perf_counter_ns() - began)
        wanted.append((after, fill))
    booked = await journal.bookings(_ACCOUNT)
    same("fills in the journal", booked.fills, tuple(fill for _, fill in wanted))
    after, fill = wanted[-1]
    same("the last order", await journal.order(after.client_order_id), after)
    same("a fill that comes again", await journal.record_execution(after, fill), False)
    section, floor = "Journal on Postgres, durable", "asyncpg: insert and commit one row"
    return [
        of_items(
            Title(section, "insert_order (before the send)", floor, "the order, read back"),
            inserts[_UNTIMED:],
            floors[_UNTIMED:],
        ),
        of_items(
            Title(section, "record_execution, with a fill", floor, "every fill; none twice"),
            executions[_UNTIMED:],
            floors[_UNTIMED:],
        ),
    ]


_TRADER: Final = TraderRecord(
    trader_id="bench", name="Bench", kind="model", model="", account_id=_ACCOUNT, config=b"{}", ts=_START
)


def _order(number: int) -> Order:
    intent = OrderIntent(
        intent_id=f"bench:{number}",
        cycle_id="",
        trader_id=_TRADER.trader_id,
        account_id=_ACCOUNT,
        symbol="BTC-USDT-SWAP",
        side=Side.BUY,
        position_side=PositionSide.LONG,
        purpose=Purpose.ENTRY,
        order_type=OrderType.MARKET,
        contracts=Decimal(2),
        leverage=Decimal(3),
        stop_loss=Decimal(63_000),
        ts_created=_START + number * NS_PER_MS,
    )
    return Order(client_order_id=intent.client_order_id, intent=intent)


def _filled(order: Order, number: int) -> tuple[Order, Fill]:
    intent, price, fee = order.intent, Decimal(64_000) + number, Decimal("-0.64")
    fill = Fill(
        fill_id=f"BTC-USDT-SWAP:v{number}:{number}",
        client_order_id=order.client_order_id,
        venue_order_id=f"v{number}",
        trader_id=intent.trader_id,
        account_id=intent.account_id,
        symbol=intent.symbol,
        side=intent.side,
        position_side=intent.position_side,
        purpose=intent.purpose,
        contracts=intent.contracts,
        price=price,
        contract_value=Decimal("0.01"),
        fee=fee,
        maker=False,
        ts_event=intent.ts_created,
        ts_recv=intent.ts_created,
    )
    after = msgspec.structs.replace(
        order,
        state=OrderState.FILLED,
        venue_state=OrderState.FILLED,
        venue_order_id=fill.venue_order_id,
        filled=fill.contracts,
        claimed=fill.contracts,
        average_price=price,
        fees=fee,
        ts_acked=intent.ts_created,
        ts_updated=intent.ts_created,
    )
    return after, fill
