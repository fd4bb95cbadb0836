"""The demo as a newcomer runs it, with its engine killed in the middle: everything real, nothing lost."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import redis

from engine.embedded import known_addresses
from tests.demo_process import DEADLINE_S, demo, engine_of
from tests.processes import is_gone


async def get(session: aiohttp.ClientSession, url: str) -> dict[str, Any]:
    try:
        async with session.get(url) as response:
            body: dict[str, Any] = await response.json()
            return body
    except aiohttp.ClientError:
        return {}


async def count(session: aiohttp.ClientSession, api: str, name: str) -> int:
    health = await get(session, f"{api}/api/health")
    return int(health.get("counts", {}).get(name, 0))


async def wait_for(session: aiohttp.ClientSession, api: str, name: str, least: int) -> None:
    async with asyncio.timeout(DEADLINE_S):
        while await count(session, api, name) < least:
            await asyncio.sleep(0.2)


SHOWN = {
    *("market:prices", "market:assets", "market:snapshot:BTC-USDT-SWAP"),
    *("exchange:okx_simulator:account", "exchange:okx_simulator:positions", "cycle:trend-majors"),
    *(f"trader:trend-majors:{what}" for what in ("equity", "margin_used", "positions")),
}


def shown(home: Path) -> set[str]:
    """Names of what the engine keeps in Redis for others to read."""
    addresses = known_addresses(home / "servers")
    assert addresses is not None
    with redis.Redis.from_url(addresses.redis_url, decode_responses=True) as client:
        return set(client.scan_iter())


@pytest.mark.timeout(240)
async def test_demo_trades_through_the_death_of_its_engine_and_continues_later(tmp_path: Path) -> None:
    home = tmp_path / "demo"
    running = await demo(home, "--fresh", "--for", "45s")
    api = await running.api()
    children = running.children()
    async with aiohttp.ClientSession() as session:
        await wait_for(session, api, "fills", 2)
        os.kill(engine_of(running), signal.SIGKILL)
        before = await count(session, api, "fills")
        await wait_for(session, api, "fills", before + 1)
        for route in ("leaderboard", "positions", "trades", "crypto-prices", "conversations"):
            assert await get(session, f"{api}/api/{route}"), route
    assert await running.end() == 0, running.lines[-30:]
    assert any("balance" in line for line in running.lines)
    assert all(is_gone(pid) for pid in children)

    again = await demo(home)
    api = await again.api()
    children = again.children()
    async with aiohttp.ClientSession() as session:
        await wait_for(session, api, "fills", before + 1)
        accounts = await get(session, f"{api}/api/since-inception-values")
        assert len(accounts["sinceInceptionValues"]) == 5
    assert not SHOWN - shown(home)
    again.process.send_signal(signal.SIGTERM)
    async with asyncio.timeout(DEADLINE_S):
        assert await again.end() == 0
    assert all(is_gone(pid) for pid in children)
