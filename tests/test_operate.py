"""What an operator types reaches the engine, and its answer the operator: real Postgres and Valkey."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from pathlib import Path

import pytest
from typer.testing import CliRunner

from engine.bus import COMMANDS, Command, Message
from engine.bus_owner import BusClaim, claim
from engine.cli.main import app
from engine.clock import SystemClock
from engine.journal.ports import RiskEvent
from engine.journal.postgres.journal import PostgresJournal
from engine.redis_bus import RedisBus

ETC = Path(__file__).parents[1] / "etc"
CLOCK = SystemClock()


async def test_commands_are_sent_and_their_answers_shown(
    database: str, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDGEWISE_POSTGRES_DSN", database)
    monkeypatch.setenv("EDGEWISE_REDIS_URL", redis_url)
    seen: list[Command] = []
    bus = RedisBus(redis_url, "dev", CLOCK)
    async with PostgresJournal(database, CLOCK) as journal:

        async def answer(message: Message[Command]) -> None:
            command = message.body
            seen.append(command)
            known = command.trader_id != "nobody"
            event = RiskEvent(
                event_id=f"command:{command.command_id}",
                trader_id="",
                symbol="",
                kind="command_applied" if known else "command_refused",
                detail=f"{command.name} done" if known else "no trader 'nobody'",
                ts=CLOCK.now_ns(),
            )
            await journal.record_risk_event(event)

        task = asyncio.create_task(bus.consume(COMMANDS, "manager", answer))
        told = {}
        for words in ("trader flatten t1 --reason tired", "trader close nobody", "halt", "resume"):
            command = [*words.split(), "--etc", str(ETC)]
            result = await asyncio.to_thread(CliRunner().invoke, app, command)
            told[words] = (result.exit_code, result.output.strip())
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
    await bus.aclose()
    assert told == {
        "trader flatten t1 --reason tired": (0, "t1: flatten done"),
        "trader close nobody": (2, "no trader 'nobody'"),
        "halt": (0, "halt done"),
        "resume": (0, "resume_all done"),
    }
    assert [(each.name, each.trader_id, each.reason) for each in seen] == [
        ("flatten", "t1", "tired"),
        ("close", "nobody", ""),
        ("halt", "", ""),
        ("resume_all", "", ""),
    ]


@pytest.mark.parametrize(
    ("account", "same_database", "words"),
    [
        ("okx_sub", True, "the bus 'dev' is that of account okx_sub, and the configuration is for okx_demo"),
        ("okx_demo", False, "Redis is that of a database of okx-demo-global, and the database that is set"),
    ],
)
async def test_a_command_for_another_engine_is_not_sent(
    database: str, redis_url: str, account: str, same_database: bool, words: str
) -> None:
    bus = RedisBus(redis_url, "dev", CLOCK)
    async with PostgresJournal(database, CLOCK) as journal:
        owner = await journal.ownership.claim("okx-demo-global", 1)
    named = owner.database_id if same_database else "another"
    await claim(bus, BusClaim(database_id=named, environment=owner.environment, account_id=account))
    servers = {"EDGEWISE_POSTGRES_DSN": database, "EDGEWISE_REDIS_URL": redis_url}
    command = ["trader", "flatten", "t1", "--etc", str(ETC)]
    result = await asyncio.to_thread(CliRunner().invoke, app, command, env=servers)
    assert (result.exit_code, words in result.output) == (2, True), result.output
    assert await bus.streams.newest_id(bus.stream(COMMANDS.name)) == "0-0", "nothing was sent"
    await bus.aclose()
