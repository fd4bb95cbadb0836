"""What only a real server can do to the bus: die, forget, be full, be slow to come back."""

from __future__ import annotations

import asyncio
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog

from api.cache import LiveCache
from engine.bus import Message, Topic
from engine.clock import SystemClock, cancelled
from engine.core.errors import BusUnavailable
from engine.redis_bus import RedisBus
from engine.redis_link import RedisTiming
from engine.redis_streams import DEAD
from tests.valkey_process import Valkey
from tests.waiting import until

TEXTS = Topic("texts", str)
STREAM = "edgewise:test:texts"
QUICK = RedisTiming(
    block_s=0.1, retry_delay_s=0.01, publish_s=0.5, claim_idle_s=0.2, housekeeping_s=0.05, keep_s=0
)


@pytest.fixture
def valkey() -> Iterator[Valkey]:
    with tempfile.TemporaryDirectory(prefix="ew-") as folder:  # a socket's path is at most 107 bytes
        server = Valkey(Path(folder))
        server.start()
        yield server
        server.kill()
        server.client.close()


@pytest.fixture
async def bus(valkey: Valkey) -> AsyncIterator[RedisBus]:
    bus = RedisBus(valkey.url, "test", SystemClock(), timing=QUICK)
    yield bus
    await bus.aclose()


class Seen(list[str]):
    """A handler that keeps what it got."""

    async def __call__(self, message: Message[str]) -> None:
        self.append(message.body)


async def test_B2_consumer_outlives_the_server_and_publish_says_so(valkey: Valkey, bus: RedisBus) -> None:
    seen = Seen()
    task = asyncio.create_task(bus.consume(TEXTS, "g", seen))
    await bus.publish(TEXTS, "before")
    await until(lambda: seen == ["before"])
    valkey.kill()
    with pytest.raises(BusUnavailable):
        await bus.publish(TEXTS, "lost, and the publisher knows")
    await until(lambda: not bus.up)
    valkey.start()
    await bus.publish(TEXTS, "after")
    await until(lambda: bus.up and seen == ["before", "after"])
    await cancelled(task)


async def test_a_short_absence_is_ridden_out_by_publish(valkey: Valkey) -> None:
    patient = RedisBus(valkey.url, "test", SystemClock(), timing=RedisTiming(publish_s=20))
    valkey.kill()
    publishing = asyncio.create_task(patient.publish(TEXTS, "x"))
    await until(lambda: not patient.up)
    valkey.start()
    await publishing
    assert valkey.client.xlen(STREAM) == 1
    await patient.aclose()


async def test_B2_server_that_comes_back_empty_gets_its_groups_again(valkey: Valkey, bus: RedisBus) -> None:
    seen = Seen()
    task = asyncio.create_task(bus.consume(TEXTS, "g", seen))
    await bus.publish(TEXTS, "before")
    await until(lambda: seen == ["before"])
    valkey.kill()
    valkey.forget()
    valkey.start()
    await bus.publish(TEXTS, "after")
    await until(lambda: seen == ["before", "after"])
    valkey.client.flushall()  # also while a read is waiting
    await bus.publish(TEXTS, "and again")
    await until(lambda: seen == ["before", "after", "and again"])
    await cancelled(task)


async def test_B2_a_full_server_refuses_and_recovers(valkey: Valkey, bus: RedisBus) -> None:
    valkey.client.config_set("maxmemory-policy", "noeviction")
    valkey.client.config_set("maxmemory", "1mb")
    with structlog.testing.capture_logs() as logs:
        for _ in range(2):
            with pytest.raises(BusUnavailable):
                await bus.publish(TEXTS, "x" * 100)
            await bus.cache.get("anything")  # a full server reads: that is no sign of room
            assert not bus.up
        valkey.client.config_set("maxmemory", "0")
        await bus.publish(TEXTS, "y")
        assert bus.up
    assert [entry["event"] for entry in logs] == ["redis takes no writes", "redis takes writes again"]


async def test_B2_a_slow_server_is_waited_for_and_nothing_is_lost_or_twice(valkey: Valkey) -> None:
    bus = RedisBus(
        valkey.url, "test", SystemClock(), timing=RedisTiming(block_s=0.1, publish_s=20, command_s=2)
    )
    seen = Seen()
    task = asyncio.create_task(bus.consume(TEXTS, "g", seen))
    await bus.publish(TEXTS, "before")
    await until(lambda: seen == ["before"])
    for n in range(3):
        valkey.client.client_pause(400)
        await bus.publish(TEXTS, f"while it slept {n}")
    await until(lambda: len(seen) >= 4)
    assert seen == ["before", *(f"while it slept {n}" for n in range(3))]
    await cancelled(task)
    await bus.aclose()


async def test_handled_messages_are_not_handled_again_when_the_acknowledgement_was_lost(
    valkey: Valkey, bus: RedisBus
) -> None:
    seen = Seen()

    async def handle(message: Message[str]) -> None:
        await seen(message)
        if message.body == "b":
            valkey.kill()

    await bus.publish_many(TEXTS, ["a", "b", "c"])
    task = asyncio.create_task(bus.consume(TEXTS, "g", handle))
    await until(lambda: len(seen) == 3 and not bus.up)
    valkey.start()
    await bus.publish(TEXTS, "d")
    await until(lambda: "d" in seen)
    await cancelled(task)
    assert seen == ["a", "b", "c", "d"]
    assert valkey.client.xpending(STREAM, "g")["pending"] == 0


async def test_trim_keeps_what_a_group_has_not_acknowledged(valkey: Valkey, bus: RedisBus) -> None:
    hold, quick = asyncio.Event(), Seen()
    slow = Seen()

    async def wait(message: Message[str]) -> None:
        if message.body == "150":
            await hold.wait()
        await slow(message)

    names = [str(number) for number in range(1000)]
    tasks = [
        asyncio.create_task(bus.consume(TEXTS, group, handler))
        for group, handler in (("slow", wait), ("quick", quick))
    ]
    await until(lambda: bool(valkey.client.exists(STREAM)) and len(valkey.client.xinfo_groups(STREAM)) == 2)
    for name in names:
        await bus.publish(TEXTS, name)
    await until(lambda: quick == names)
    await until(lambda: valkey.client.xlen(STREAM) < 1000)  # trimmed up to the slow group's oldest
    assert valkey.client.xlen(STREAM) >= 850
    hold.set()
    await until(lambda: slow == names)
    await until(lambda: valkey.client.xlen(STREAM) < 250)  # the rest of one node stays
    for task in tasks:
        await cancelled(task)


async def test_a_topic_that_nobody_reads_is_bounded(valkey: Valkey, bus: RedisBus) -> None:
    with valkey.client.pipeline() as pipeline:
        for _ in range(11_000):
            pipeline.xadd(STREAM, {"m": b""})
        pipeline.execute()
    for _ in range(1000):
        await bus.publish(TEXTS, "x")
    assert 10_000 <= valkey.client.xlen(STREAM) <= 11_200


async def test_bytes_that_are_no_message_go_to_the_dead_letters(valkey: Valkey, bus: RedisBus) -> None:
    dead, seen = list[str](), Seen()
    bus.on_dead = lambda topic, message_id, error: dead.append(error)
    valkey.client.xadd(STREAM, {"m": b"\xc1garbage"})
    await bus.publish(TEXTS, "sound")
    task = asyncio.create_task(bus.consume(TEXTS, "g", seen))
    await until(lambda: seen == ["sound"] and bool(dead))
    assert dead[0].startswith("CodecError")
    letters: Any = valkey.client.xrange(STREAM + DEAD)
    ((_, fields),) = letters
    assert (fields[b"m"], fields[b"group"], fields[b"consumer"]) == (b"\xc1garbage", b"g", b"0")
    assert valkey.client.xpending(STREAM, "g")["pending"] == 0
    await cancelled(task)


_CONSUMER = """
import asyncio, sys
from engine.bus import Topic
from engine.clock import SystemClock
from engine.redis_bus import RedisBus
from tests.waiting import until

async def handle(message):
    print(message.body, flush=True)
    await asyncio.Event().wait()

asyncio.run(RedisBus(sys.argv[1], "test", SystemClock()).consume(Topic("texts", str), "g", handle))
"""


async def test_B1_killed_after_the_read_the_message_comes_again(valkey: Valkey, bus: RedisBus) -> None:
    await bus.publish_many(TEXTS, ["first", "second"])
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", _CONSUMER, valkey.url, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    assert await process.stdout.readline() == b"first\n"
    process.kill()
    await process.wait()
    assert valkey.client.xpending(STREAM, "g")["pending"] == 1  # what was published together is one entry
    seen = Seen()
    task = asyncio.create_task(bus.consume(TEXTS, "g", seen))
    await until(lambda: seen == ["first", "second"])
    await cancelled(task)
    assert valkey.client.xpending(STREAM, "g")["pending"] == 0


@pytest.mark.parametrize("left", [True, False], ids=["left by a former life", "new"])
async def test_a_consumer_that_is_stopped_leaves_nothing_that_it_has_handled(
    valkey: Valkey, bus: RedisBus, left: bool
) -> None:
    for turns in range(12):  # of the loop, between the end of the handler and the stop
        valkey.client.flushall()
        valkey.client.xgroup_create(STREAM, "g", id="0", mkstream=True)
        seen = Seen()
        await bus.publish(TEXTS, "x")
        if left:
            valkey.client.xreadgroup("g", "0", {STREAM: ">"})
        task = asyncio.create_task(bus.consume(TEXTS, "g", seen))
        while not seen:
            await asyncio.sleep(0)
        for _ in range(turns):
            await asyncio.sleep(0)
        await cancelled(task)
        assert valkey.client.xpending(STREAM, "g")["pending"] == 0


async def test_a_message_that_ends_the_process_every_time_is_put_aside(valkey: Valkey, bus: RedisBus) -> None:
    for body in ("deadly", "sound"):
        await bus.publish(TEXTS, body)
    ten_lives(valkey)
    seen = Seen()
    task = asyncio.create_task(bus.consume(TEXTS, "g", seen))
    await until(lambda: seen == ["sound"])
    await cancelled(task)
    assert valkey.client.xlen(STREAM + DEAD) == 1


async def test_messages_in_which_the_process_ends_every_time_are_taken_apart(
    valkey: Valkey, bus: RedisBus
) -> None:
    """Nobody knows which of them is deadly: from here on each has lives of its own, and none is lost."""
    await bus.publish_many(TEXTS, ["one", "two", "three"])
    ten_lives(valkey)
    seen = Seen()
    task = asyncio.create_task(bus.consume(TEXTS, "g", seen))
    await until(lambda: seen == ["one", "two", "three"])
    await cancelled(task)
    assert valkey.client.xlen(STREAM) == 4  # theirs, and the one that they came in
    assert valkey.client.xlen(STREAM + DEAD) == 0
    assert valkey.client.xpending(STREAM, "g")["pending"] == 0


def ten_lives(valkey: Valkey) -> None:
    """Of a process that ended while it handled the first entry."""
    valkey.client.xgroup_create(STREAM, "g", id="0")
    valkey.client.xreadgroup("g", "0", {STREAM: ">"}, count=2)
    for _ in range(10):
        valkey.client.xreadgroup("g", "0", {STREAM: "0"}, count=1)


async def test_cancelled_consumers_end_at_any_moment(valkey: Valkey, bus: RedisBus) -> None:
    for pause_ms in range(60):
        task = asyncio.create_task(bus.consume(TEXTS, "g", Seen(), consumer=str(pause_ms)))
        await bus.publish(TEXTS, "x")
        await asyncio.sleep(pause_ms / 4000)
        task.cancel()
        done, _ = await asyncio.wait({task}, timeout=5)
        assert done


# -- the cache


async def test_cache_keeps_values_and_never_raises(valkey: Valkey, bus: RedisBus) -> None:
    await bus.cache.set_hash("market:prices", {"BTC": b"1.5", "ETH": b"2"})
    await bus.cache.set_hash("market:prices", {"BTC": b"1.6"})
    await bus.cache.set_json("api:x", b"{}", ttl_s=100)
    assert valkey.client.hgetall("market:prices") == {b"BTC": b"1.6", b"ETH": b"2"}
    assert await bus.cache.get("api:x") == b"{}"
    assert 0 < valkey.client.pttl("api:x") <= 100_000
    assert await bus.cache.get("nothing") is None
    valkey.kill()
    await bus.cache.set_json("api:x", b"[]")
    await bus.cache.set_hash("market:prices", {"BTC": b"1.7"})
    assert await bus.cache.get("api:x") is None
    assert bus.cache.writes_dropped == 2


async def test_a_slow_command_is_named_with_its_key_and_without_its_value(
    valkey: Valkey, capsys: pytest.CaptureFixture[str]
) -> None:
    clock = SystemClock()
    quick = RedisBus(valkey.url, "test", clock, timing=RedisTiming(slow_s=0.15))
    await quick.cache.set_json("trader:a:equity", b"known before")
    assert "redis command was slow" not in capsys.readouterr().out
    valkey.client.client_pause(300, all=False)
    await quick.cache.set_json("trader:a:equity", b"a secret")
    valkey.client.client_pause(300, all=False)
    await quick.publish(TEXTS, "a secret")
    valkey.client.client_pause(300, all=False)
    async with LiveCache(valkey.url, "dev", clock, slow_s=0.15) as cache:
        await cache.keep_copy("leaderboard", b"a secret", 10)
    await quick.aclose()
    said = capsys.readouterr().out
    assert said.count("redis command was slow") == 3
    for key in ("trader:a:equity", STREAM, "api:answer:leaderboard"):
        assert key in said
    assert "a secret" not in said
