"""Postgres or Redis goes away while orders live: nothing is sent unrecorded, stops rest, no fact is lost."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator, Iterator
from decimal import Decimal
from pathlib import Path

import msgspec
import pytest

from engine.bus import INTENTS, ORDERS, Message, OrderUpdate
from engine.core.orders import OrderState, Purpose
from engine.redis_bus import RedisBus
from engine.redis_link import RedisTiming
from tests.exchange_world import CLOCK, HASTY, Life, Simulator, life, until_stops
from tests.postgres_proxy import proxied
from tests.valkey_process import Valkey
from tests.waiting import until

D = Decimal


async def held(now: Life) -> None:
    intent = now.intent("held")
    await now.service.desk.accept(intent)
    await now.done(intent)
    await until_stops(now, "2")


async def test_C2_without_postgres_nothing_is_sent_and_stops_rest_at_the_venue(
    sim: Simulator, database: str, tmp_path: Path
) -> None:
    """I1 and I3: the order goes out only when it is on disk; what happened meanwhile is booked after."""
    async with proxied(database, tmp_path) as proxy, life(sim, proxy.dsn) as now:
        await held(now)
        proxy.refuses = True
        proxy.cut()
        entry = now.intent("while it is away", stop_loss=D(80_000))
        accepting = asyncio.create_task(now.service.desk.accept(entry), name="an entry")
        await sim.price("94000")
        await until_stops(now)
        assert not accepting.done()
        assert entry.client_order_id not in await sim.orders_received()
        proxy.refuses = False
        await accepting
        assert (await now.done(entry, 30.0)).state is OrderState.FILLED
        await until(lambda: now.held() == 2, 30.0)
        await now.service.desk.drained()
        (trade,) = await now.journal.recent_trades("a", 5)
        assert trade.exit_purpose is Purpose.STOP
        await now.balanced()


@pytest.fixture
def valkey() -> Iterator[Valkey]:
    with tempfile.TemporaryDirectory(prefix="ew-") as folder:
        server = Valkey(Path(folder))
        server.start()
        yield server
        server.kill()
        server.client.close()


@pytest.fixture
async def bus(valkey: Valkey) -> AsyncIterator[RedisBus]:
    opened = RedisBus(valkey.url, "test", CLOCK, timing=RedisTiming(block_s=0.1, retry_delay_s=0.01))
    yield opened
    await opened.aclose()


async def test_B2_without_redis_fills_are_booked_and_the_news_of_them_comes_later(
    sim: Simulator, database: str, valkey: Valkey, bus: RedisBus
) -> None:
    heard: list[OrderUpdate] = []

    async def on_order(message: Message[OrderUpdate]) -> None:
        heard.append(message.body)
        assert message.trace_id == message.body.order.intent.intent_id  # no cycle asked for it

    async with life(sim, database, bus=bus) as now:
        listening = asyncio.create_task(bus.consume(ORDERS, "test", on_order), name="listener")
        await held(now)
        valkey.kill()
        await sim.price("94000")
        await until(lambda: not now.held())
        await now.service.desk.drained()
        (trade,) = await now.journal.recent_trades("a", 5)
        assert trade.exit_purpose is Purpose.STOP
        valkey.start()
        again = now.intent("after it came back", stop_loss=D(80_000))
        await bus.publish(INTENTS, again)
        await until(lambda: now.held() == 2, 30.0)
        await until(
            lambda: {update.order.intent.purpose for update in heard} == {Purpose.ENTRY, Purpose.STOP}, 30.0
        )
        listening.cancel()
        await now.balanced()


async def test_B2_an_intent_whose_message_redis_lost_is_carried_out_once(
    sim: Simulator, database: str
) -> None:
    async with life(sim, database, thresholds=msgspec.structs.replace(HASTY, intents_s=0.05)) as now:
        await held(now)
        close = now.exit("lost with its message")
        await now.journal.record_gate((), [close])
        await until(lambda: not now.held())
        assert (await now.done(close)).state is OrderState.FILLED
        assert (await sim.orders_received())[close.client_order_id] == 1
        await now.balanced()
