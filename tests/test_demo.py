"""The demo as a newcomer runs it, with its engine killed in the middle: everything real, nothing lost."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.processes import is_gone, until

DEADLINE_S = 100.0


class Demo:
    """`edgewise demo` as a process; `lines` is what it has printed."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.lines: list[str] = []
        self._reading = asyncio.create_task(self._read(), name="demo output")

    async def _read(self) -> None:
        assert self.process.stdout is not None
        async for line in self.process.stdout:
            self.lines.append(line.decode().rstrip())

    async def api(self) -> str:
        """Address of its API, once it says so."""
        await until(lambda: any(line.startswith("API on ") for line in self.lines), DEADLINE_S)
        return next(line.split()[2].rstrip(",") for line in self.lines if line.startswith("API on "))

    async def end(self) -> int:
        code = await self.process.wait()
        await self._reading
        return code

    def children(self) -> dict[int, str]:
        """Its child processes: pid → command line."""
        pid = self.process.pid
        found = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        return {int(child): _command(int(child)) for child in found}


def _command(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
    except FileNotFoundError:
        return ""


async def demo(home: Path, *options: str) -> Demo:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "engine.cli.main", "demo", "--speed", "30", "--seed", "7", "--port", "0"),
        *("--home", str(home), *options),
        stdout=asyncio.subprocess.PIPE,
        env=os.environ | {"COLUMNS": "200"},
    )
    return Demo(process)


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


@pytest.mark.timeout(240)
async def test_demo_trades_through_the_death_of_its_engine_and_continues_later(tmp_path: Path) -> None:
    home = tmp_path / "demo"
    running = await demo(home, "--fresh", "--for", "45s")
    api = await running.api()
    children = running.children()
    async with aiohttp.ClientSession() as session:
        await wait_for(session, api, "fills", 2)
        engine = next(pid for pid, command in children.items() if "engine.cli.main engine" in command)
        os.kill(engine, signal.SIGKILL)
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
    again.process.send_signal(signal.SIGTERM)
    async with asyncio.timeout(DEADLINE_S):
        assert await again.end() == 0
    assert all(is_gone(pid) for pid in children)
