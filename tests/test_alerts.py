"""Alerts reach a webhook and a chat, say what was left out, and never hold the engine back."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from importlib.util import find_spec

import msgspec
import pytest
from aiohttp import web

from engine.clock import SimClock, SystemClock
from engine.config.manager import MonitoringConfig
from engine.config.values import Duration, Secret
from engine.journal.ports import RiskEvent
from engine.telemetry.alerts import Alerts
from tests.waiting import until

Received = list[tuple[str, dict[str, object]]]


@asynccontextmanager
async def listener(status: int = 200) -> AsyncIterator[tuple[str, Received]]:
    """An HTTP server that keeps what it is told."""
    received: Received = []

    async def take(request: web.Request) -> web.Response:
        received.append((request.path, await request.json()))
        return web.Response(status=status)

    app = web.Application()
    app.router.add_post("/{path:.*}", take)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield site.name.removeprefix("http://"), received
    finally:
        await runner.cleanup()


@asynccontextmanager
async def running(alerts: Alerts) -> AsyncIterator[None]:
    task = asyncio.create_task(alerts.run())
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


def event(kind: str = "daily_loss", trader: str = "t1") -> RiskEvent:
    return RiskEvent(event_id="e", trader_id=trader, symbol="", kind=kind, detail="lost 10 %", ts=5)


def config(address: str, **changes: object) -> MonitoringConfig:
    return msgspec.structs.replace(
        MonitoringConfig(alert_webhook=Secret(f"http://{address}/hook?key=k")), **changes
    )


async def test_a_webhook_gets_json_and_what_the_operator_did_is_not_told() -> None:
    async with listener() as (address, received):
        alerts = Alerts(config(address), "okx", SystemClock())
        async with running(alerts):
            alerts.take(event("command_applied"))
            alerts.take(event())
            await until(lambda: bool(received))
    assert received == [
        (
            "/hook",
            {
                "account": "okx",
                "kind": "daily_loss",
                "trader": "t1",
                "symbol": "",
                "detail": "lost 10 %",
                "ts": 5,
                "left_out": 0,
            },
        )
    ]


async def test_repetitions_are_left_out_and_counted() -> None:
    clock = SimClock(1)
    async with listener() as (address, received):
        alerts = Alerts(config(address), "okx", clock)
        async with running(alerts):
            for _ in range(5):
                alerts.take(event())
            alerts.take(event(trader="t2"))
            clock.set(clock.now_ns() + 61 * 10**9)
            alerts.take(event())
            await until(lambda: len(received) == 3)
    assert [(body["trader"], body["left_out"]) for _, body in received] == [("t1", 0), ("t2", 0), ("t1", 4)]


async def test_an_hour_holds_so_many_and_a_full_queue_drops() -> None:
    few = Alerts(config("127.0.0.1:9", alerts_per_hour=2), "okx", SimClock(1))
    many = Alerts(config("127.0.0.1:9", alerts_per_hour=1000), "okx", SimClock(1))
    for number in range(300):
        few.take(event(trader=str(number)))
        many.take(event(trader=str(number)))
    assert few._queue.qsize() == 2
    assert (many._queue.qsize(), many.dropped) == (200, 100)


@pytest.mark.parametrize("status", [404, 500])
async def test_a_webhook_that_refuses_is_counted_and_the_next_is_sent(status: int) -> None:
    async with listener(status) as (address, received):
        alerts = Alerts(config(address, alert_min_interval=Duration(0)), "okx", SystemClock())
        async with running(alerts):
            alerts.take(event())
            alerts.take(event("drawdown"))
            await until(lambda: alerts.failed == 2)
    assert len(received) == 2


@pytest.mark.skipif(find_spec("apprise") is None, reason="needs the extra `alerts`")
@pytest.mark.filterwarnings("ignore:'imghdr'")  # imported by apprise
async def test_a_chat_is_told_in_one_line() -> None:
    async with listener() as (address, received):
        chat = MonitoringConfig(alerts=(Secret(f"json://{address}/chat"),))
        alerts = Alerts(chat, "okx", SystemClock())
        async with running(alerts):
            alerts.take(event())
            await until(lambda: bool(received))
    ((path, body),) = received
    assert path.startswith("/chat")
    assert (body["title"], body["message"]) == ("edgewise okx", "daily_loss t1: lost 10 %")


async def test_without_an_address_nothing_is_queued() -> None:
    alerts = Alerts(MonitoringConfig(), "okx", SystemClock())
    alerts.take(event())
    assert alerts._queue.empty()
