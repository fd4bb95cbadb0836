"""`/api/stream` and what one client may take, over a real Redis."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
import msgspec
import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from api.cache import LiveCache
from api.limits import SlowClients, TokenBuckets
from api.stream import Broadcast
from engine.bus import CLOSED_CYCLES, ORDERS, SIGNALS, OrderUpdate
from engine.clock import SimClock, SystemClock
from engine.config.engine import ApiConfig
from engine.core.signals import Signal
from engine.redis_bus import RedisBus
from engine.telemetry.spans import Span
from tests import journal_parts as parts
from tests.api_parts import Client, served

Event = tuple[str, str, dict[str, object]]  # id, kind, body


@asynccontextmanager
async def stage(
    database_ro: str, redis_url: str, redis_api_url: str
) -> AsyncIterator[tuple[Client, RedisBus]]:
    """The API over real stores, and the engine's bus beside it."""
    bus = RedisBus(redis_url, "dev", SystemClock())
    async with served(database_ro, redis_api_url, clock=SystemClock()) as api, asyncio.timeout(20):
        await until_live(api)
        yield api, bus
    await bus.aclose()


async def until_live(api: Client) -> None:
    while True:
        async with api.get("/metrics") as response:
            if "edgewise_api_stream_live 1.0" in await response.text():
                return
        await asyncio.sleep(0.02)


async def events(response: aiohttp.ClientResponse, count: int) -> list[Event]:
    """The next `count` events of a stream."""
    found: list[Event] = []
    fields: dict[str, str] = {}
    while len(found) < count:
        line = (await response.content.readline()).decode().rstrip("\n")
        if line:
            name, _, value = line.partition(": ")
            fields[name] = value
            continue
        if "data" in fields:
            found.append((fields["id"], fields["event"], msgspec.json.decode(fields["data"])))
        fields = {}
    return found


def signal(number: int) -> Signal:
    return msgspec.structs.replace(parts.SIGNAL, signal_id=f"s{number}")


async def test_what_happens_is_told_as_it_happens(
    database_ro: str, redis_url: str, redis_api_url: str
) -> None:
    entry = parts.order(parts.intent())
    filled, fill = parts.filled(entry)
    async with stage(database_ro, redis_url, redis_api_url) as (api, bus), api.get("/api/stream") as stream:
        assert stream.headers["Content-Type"].startswith("text/event-stream")
        await bus.publish(SIGNALS, parts.SIGNAL)
        await bus.publish(CLOSED_CYCLES, parts.record().decision)
        await bus.publish(ORDERS, OrderUpdate(order=filled, fill=fill))
        told = {kind: body for _, kind, body in await events(stream, 4)}
    assert told["signal"]["signal_id"] == parts.SIGNAL.signal_id
    assert told["decision"]["cycle_id"] == parts.record().decision.cycle_id
    assert told["order"]["state"] == "FILLED"
    assert told["fill"]["fill_id"] == fill.fill_id
    assert told["fill"]["contracts"] == float(fill.contracts)
    assert told["fill"]["contract_value"] == float(fill.contract_value)


async def test_every_request_is_a_span_under_its_id(database_ro: str, redis_api_url: str) -> None:
    """A stream too, whose headers are out long before it ends."""
    spans: list[Span] = []
    async with served(database_ro, redis_api_url, export=spans.append) as api:
        for path, status in (("/api/signals", 200), ("/api/signals", 200), ("/api/nothing", 404)):
            async with api.get(path, headers={"X-Request-ID": "mine"}) as response:
                assert response.status == status
        async with api.get("/api/stream", headers={"X-Request-ID": "mine"}) as stream:
            await stream.content.readline()
            assert api.app is not None
            await api.app.shutdown()  # which ends streams
            await stream.read()
    told = [(span.trace, span.name, span.attributes["http.response.status_code"]) for span in spans]
    assert told == [
        ("mine", "GET /api/signals", 200),
        ("mine", "GET /api/signals", 200),
        ("mine", "GET unknown", 404),
        ("mine", "GET /api/stream", 200),
    ]


async def test_a_listener_continues_where_it_was_cut_off(
    database_ro: str, redis_url: str, redis_api_url: str
) -> None:
    async with stage(database_ro, redis_url, redis_api_url) as (api, bus):
        async with api.get("/api/stream?kinds=signal") as stream:
            await bus.publish_many(SIGNALS, [signal(1), signal(2)])
            seen = await events(stream, 2)
        await bus.publish_many(SIGNALS, [signal(3), signal(4)])
        async with api.get("/api/stream", headers={"Last-Event-ID": seen[0][0]}) as stream:
            missed = await events(stream, 3)
        assert [body["signal_id"] for _, _, body in missed] == ["s2", "s3", "s4"]
        async with api.get("/api/stream", headers={"Last-Event-ID": "another-7"}) as stream:
            assert [kind for _, kind, _ in await events(stream, 1)] == ["gap"]


async def test_a_write_changes_the_next_answer(database_ro: str, redis_url: str, redis_api_url: str) -> None:
    async with stage(database_ro, redis_url, redis_api_url) as (api, bus):

        async def made() -> float:
            async with api.get("/api/signals"):
                pass
            async with api.get("/metrics") as response:
                lines = (await response.text()).splitlines()
            return next((float(x.split()[1]) for x in lines if 'answers_total{outcome="made"}' in x), 0.0)

        first = await made()
        assert await made() == first
        async with api.get("/api/stream?kinds=signal") as stream:
            await bus.publish(SIGNALS, parts.SIGNAL)
            await events(stream, 1)
        assert await made() == first + 1


async def test_wrong_kinds_are_refused_with_those_there_are(database_ro: str, redis_api_url: str) -> None:
    async with served(database_ro, redis_api_url) as api, api.get("/api/stream?kinds=signals") as response:
        assert response.status == 400
        assert "signal, wakeup" in (await response.json())["detail"]


async def test_a_listener_that_does_not_read_is_let_go_and_others_notice_nothing(redis_api_url: str) -> None:
    async def nobody() -> tuple[str, ...]:
        return ()

    async with LiveCache(redis_api_url, "dev", SimClock()) as cache:
        broadcast = Broadcast(cache, SimClock(), "dev", lambda _: None, nobody)
        slow, quick = broadcast.join(frozenset(), ""), broadcast.join(frozenset(), "")
        assert slow is not None
        assert quick is not None
        read = 0
        for number in range(1_000):
            broadcast.publish("signal", {"n": number})
            while not quick.queue.empty():
                read += quick.queue.get_nowait() is not None
        assert (slow.behind, quick.behind, read) == (True, False, 1_000)
        assert slow.queue.qsize() == 1  # the end: what waited is not kept
        broadcast.leave(slow)
        assert (broadcast.clients, broadcast.let_go) == (1, 1)


def test_a_client_has_a_burst_and_a_rate_of_its_own() -> None:
    buckets = TokenBuckets(per_s=2.0, burst=3)
    assert [buckets.wait_s("a", 0.0) for _ in range(4)] == [0.0, 0.0, 0.0, 0.5]
    assert buckets.wait_s("b", 0.0) == 0.0
    assert buckets.wait_s("a", 0.5) == 0.0
    assert buckets.wait_s("a", 0.5) == 0.5
    for n in range(20_000):
        buckets.wait_s(f"c{n}", 1.0)
    assert buckets.remembered == 10_000


async def test_too_many_requests_are_told_when_to_come_back(database_ro: str, redis_api_url: str) -> None:
    config = ApiConfig(rate_limit_per_s=0.1, rate_limit_burst=1)
    async with served(database_ro, redis_api_url, config) as api:
        for _ in range(5):  # this machine is not counted
            async with api.get("/api/health") as response:
                assert response.status == 200


@pytest.mark.parametrize("said", [b"", b"GET /slow HTTP/1.1\r\nHost: x\r\nX-A: "])
async def test_a_connection_that_never_says_what_it_wants_is_closed(said: bytes) -> None:
    clock = SimClock(10)
    slow = SlowClients(clock, 15.0)
    gate = asyncio.Event()

    async def handler(request: web.Request) -> web.Response:
        slow.busy(request.protocol)
        await gate.wait()
        return web.Response(text="late, but asked for")

    app = web.Application()
    app.router.add_get("/busy", handler)
    server = TestServer(app)
    async with TestClient(server) as client, asyncio.timeout(10):
        runner = server.runner
        assert runner is not None
        assert runner.server is not None
        busy = asyncio.ensure_future(client.get("/busy"))
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(said)
        while len(runner.server.connections) < 2:
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.05)  # the busy request has reached its handler
        slow.look(runner.server.connections)
        await clock.advance(16.0)
        slow.look(runner.server.connections)
        assert await reader.read() == b""
        assert slow.closed == 1
        gate.set()
        async with await busy as response:
            assert await response.text() == "late, but asked for"
        writer.close()
