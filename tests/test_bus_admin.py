"""What an operator sees of the bus, and can put back."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from engine.bus import COMMANDS, Command, Message, Topic
from engine.bus_admin import dead_messages, overview, requeue, watch_bus
from engine.cli.bus import app
from engine.clock import SystemClock, cancelled
from engine.redis_bus import RedisBus
from engine.redis_link import RedisTiming
from engine.telemetry.metrics import Metrics

PAUSE = Command(command_id="c-1", name="pause", trader_id="t")
TEXTS = Topic("texts", str)


@pytest.fixture
async def bus(redis_url: str) -> AsyncIterator[RedisBus]:
    bus = RedisBus(redis_url, "dev", SystemClock(), timing=RedisTiming(block_s=0.05, retry_delay_s=0.01))
    yield bus
    await bus.aclose()


class Flaky:
    """Refuses everything until it is repaired."""

    def __init__(self) -> None:
        self.repaired = False
        self.seen: list[Command] = []

    async def __call__(self, message: Message[Command]) -> None:
        if not self.repaired:
            raise LookupError("no such trader")
        self.seen.append(message.body)


async def _until_dead(bus: RedisBus) -> None:
    async with asyncio.timeout(20):
        while not await dead_messages(bus, COMMANDS):
            await asyncio.sleep(0.01)


async def test_a_dead_letter_is_shown_with_its_error_and_can_be_put_back(bus: RedisBus) -> None:
    handler = Flaky()
    task = asyncio.create_task(bus.consume(COMMANDS, "manager", handler))
    message_id = await bus.publish(COMMANDS, PAUSE, trace_id="trace-1")
    await _until_dead(bus)
    (letter,) = await dead_messages(bus, COMMANDS)
    assert (letter.message_id, letter.group, letter.trace_id) == (message_id, "manager", "trace-1")
    assert letter.error == "LookupError: no such trader"
    assert json.loads(letter.body)["command_id"] == "c-1"
    (info,) = [each for each in await overview(bus) if each.topic == "commands"]
    assert (info.dead, info.groups[0].name, info.groups[0].pending) == (1, "manager", 0)
    handler.repaired = True
    assert await requeue(bus, COMMANDS, letter.id) not in {None, message_id}
    async with asyncio.timeout(20):
        while handler.seen != [PAUSE]:
            await asyncio.sleep(0.01)
    assert await dead_messages(bus, COMMANDS) == []
    assert await requeue(bus, COMMANDS, letter.id) is None
    await cancelled(task)


async def test_a_letter_of_a_version_that_reads_it_again_is_shown_and_put_back(bus: RedisBus) -> None:
    """A body that changed its type dies under the old code; the new one shows all messages of the entry."""
    old, seen = Topic("texts", int), list[str]()

    async def read(message: Message[str]) -> None:
        seen.append(message.body)

    await bus.publish_many(TEXTS, ["x", "y"])
    task = asyncio.create_task(bus.consume(old, "group", Flaky()))  # type: ignore[arg-type] # never called
    async with asyncio.timeout(20):
        while not (letters := await dead_messages(bus, TEXTS)):
            await asyncio.sleep(0.01)
    await cancelled(task)
    assert [letter.body for letter in letters] == ['"x"\n"y"']
    assert bytes.fromhex((await dead_messages(bus, old))[0].body)
    task = asyncio.create_task(bus.consume(TEXTS, "group", read))
    assert await requeue(bus, TEXTS, letters[0].id) is not None
    async with asyncio.timeout(20):
        while seen != ["x", "y"]:
            await asyncio.sleep(0.01)
    await cancelled(task)


@pytest.mark.parametrize("name", ["", "abc", "-", "+", "(0-0", "1", "1-x", "99999999999999999999-0"])
async def test_no_letter_has_a_name_that_is_no_id(bus: RedisBus, name: str) -> None:
    assert await requeue(bus, COMMANDS, name) is None


async def test_metrics_say_how_far_a_group_is_behind(bus: RedisBus) -> None:
    await bus.streams.make_group(bus.stream("commands"), "manager")
    for _ in range(3):
        await bus.publish(COMMANDS, PAUSE)
    metrics = Metrics()
    task = asyncio.create_task(watch_bus(bus, metrics, SystemClock()))

    def lag() -> float | None:
        labels = {"topic": "commands", "group": "manager"}
        return metrics.registry.get_sample_value("edgewise_stream_lag_messages", labels)

    async with asyncio.timeout(20):
        while lag() != 3:
            await asyncio.sleep(0.01)
    await cancelled(task)


async def test_the_command_line_shows_and_requeues(
    bus: RedisBus, servers_environment: None, etc: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = asyncio.create_task(bus.consume(COMMANDS, "manager", Flaky()))
    await bus.publish(COMMANDS, PAUSE)
    await _until_dead(bus)
    await cancelled(task)

    async def run(*words: str) -> tuple[int, str]:
        result = await asyncio.to_thread(CliRunner().invoke, app, [*words, "--etc", str(etc)])
        return result.exit_code, result.output

    code, output = await run("show", "--json")
    assert code == 0
    topics = {info["topic"]: info for info in json.loads(output)}
    assert topics["commands"]["dead"] == 1
    assert not topics["snapshots"]["durable"]
    code, output = await run("show")
    assert (code, "manager" in output) == (0, True)
    monkeypatch.chdir(etc.parent)
    bare = await asyncio.to_thread(CliRunner().invoke, app, [])
    assert (bare.exit_code, "manager" in bare.output) == (0, True)
    code, output = await run("dead", "commands", "--json")
    (letter,) = json.loads(output)
    assert (await run("dead"))[0] == 0
    code, output = await run("requeue", "commands", letter["id"])
    assert (code, letter["id"] in output) == (0, True)
    assert (await run("requeue", "commands", letter["id"]))[0] == 1
    code, output = await run("dead", "command")
    assert (code, "no topic" in output) == (2, True)


@pytest.fixture
def servers_environment(monkeypatch: pytest.MonkeyPatch, redis_url: str) -> None:
    monkeypatch.setenv("EDGEWISE_POSTGRES_DSN", "postgresql://nobody@127.0.0.1:1/none")
    monkeypatch.setenv("EDGEWISE_REDIS_URL", redis_url)
