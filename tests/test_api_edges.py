"""What the API does with bad questions, strangers, and stores that are away."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest
from aiohttp.test_utils import unused_port

from engine.clock import SystemClock
from engine.config.engine import ApiConfig
from engine.embedded import EmbeddedServers, ServerAddresses
from engine.journal.postgres.migrate import migrate
from tests.api_parts import Client, fill_journal, served

NOWHERE_DSN = "postgresql://u:p@127.0.0.1:1/none"
NOWHERE_REDIS = "redis://127.0.0.1:1/0"


@pytest.fixture
async def api(database_ro: str, redis_api_url: str) -> AsyncIterator[Client]:
    config = ApiConfig(cors_origins=("https://ui.example",))
    async with served(database_ro, redis_api_url, config) as client:
        yield client


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("POST", "/api/trades", 405),
        ("DELETE", "/api/nothing", 405),
        ("GET", "/api/nothing", 404),
        ("GET", "/api/cycles/none", 404),
        ("GET", "/api/trades?limit=0", 400),
        ("GET", "/api/trades?limit=many", 400),
        ("GET", "/api/trades?before=-1", 400),
        ("GET", "/api/account-totals?lastHourlyMarker=1.5", 400),
        ("GET", "/api/analytics/" + "x" * 201, 400),
    ],
)
async def test_every_refusal_is_a_problem(api: Client, method: str, path: str, status: int) -> None:
    async with api.request(method, path) as response:
        assert response.status == status
        assert response.content_type == "application/problem+json"
        assert (await response.json())["status"] == status
        assert response.headers["X-Content-Type-Options"] == "nosniff"
        assert response.headers["X-Request-ID"]


async def test_a_client_that_has_the_answer_gets_no_body(api: Client) -> None:
    async with api.get("/api/leaderboard") as response:
        etag = response.headers["ETag"]
    async with api.get("/api/leaderboard", headers={"If-None-Match": etag}) as response:
        assert (response.status, await response.read()) == (304, b"")
    async with api.head("/api/leaderboard") as response:
        assert response.status == 200


async def test_an_answer_is_the_same_however_http_is_spoken(api: Client) -> None:
    """Ready bytes go to who speaks HTTP/1.1 and stays; aiohttp puts the others' answers together."""
    asked = "GET /api/trades {}\r\nHost: x\r\nX-Request-ID: mine\r\n{}\r\n"
    usual, told = asked.format("HTTP/1.1", ""), []
    for request in (
        usual,
        usual + usual,  # pipelined: told one after the other
        asked.format("HTTP/1.1", "Connection: close\r\n"),
        asked.format("HTTP/1.0", ""),
        usual.replace("GET", "HEAD"),
    ):
        reader, writer = await asyncio.open_connection("127.0.0.1", api.port)
        last = (
            ""
            if "close" in request or "1.0" in request
            else asked.format("HTTP/1.1", "Connection: close\r\n")
        )
        writer.write((request + last).encode())
        async with asyncio.timeout(10):
            told.append(await reader.read())
        writer.close()
        await writer.wait_closed()
    first, end, _ = told[0].partition(b"\r\n\r\n")
    assert first.startswith(b"HTTP/1.1 200 OK\r\n")
    assert [answer.count(b"HTTP/1.") for answer in told] == [2, 3, 1, 1, 2]
    assert told[1].startswith(told[0][: told[0].index(b"HTTP/1.1", 1)])
    said = [_lines(answer.partition(end)[0]) for answer in told]
    assert {frozenset(lines) for lines in said} == {said[0]}


def _lines(head: bytes) -> frozenset[bytes]:
    """Headers that say what an answer is, not how or by whom it is sent."""
    of_connections = (b"Date", b"Server", b"Connection", b"HTTP")
    return frozenset(line for line in head.split(b"\r\n") if not line.startswith(of_connections))


async def test_only_configured_origins_may_read_from_a_browser(api: Client) -> None:
    for origin, allowed in (("https://ui.example", "https://ui.example"), ("https://evil.example", None)):
        async with api.get("/api/health", headers={"Origin": origin}) as response:
            assert response.headers.get("Access-Control-Allow-Origin") == allowed
    async with api.get("/api/nothing", headers={"Origin": "https://ui.example"}) as response:
        assert response.headers["Access-Control-Allow-Origin"] == "https://ui.example"


async def test_a_token_opens_everything_but_health_which_needs_none(
    database_ro: str, redis_api_url: str
) -> None:
    async with served(database_ro, redis_api_url, ApiConfig(tokens=("open", "sesame"))) as api:
        statuses = []
        for path, token in (
            ("/api/health", ""),
            ("/healthz", ""),
            ("/api/trades", ""),
            ("/api/trades", "Bearer wrong"),
            ("/metrics", ""),
            ("/api/trades", "Bearer sesame"),
        ):
            async with api.get(path, headers={"Authorization": token} if token else {}) as response:
                statuses.append(response.status)
        assert statuses == [200, 200, 401, 401, 401, 200]


async def test_without_redis_everything_comes_from_postgres(database: str, database_ro: str) -> None:
    await fill_journal(database)
    async with served(database_ro, NOWHERE_REDIS) as api:
        async with api.get("/api/crypto-prices") as response:
            assert (await response.json())["prices"]["BTC"]["price"] == 64123.5
        async with api.get("/api/health") as response:
            health = await response.json()
    assert (health["status"], health["redis"], health["database"]) == ("degraded", "down", "ok")
    assert health["counts"]["fills"] == 2


async def test_without_a_database_health_says_so_and_the_rest_is_503(redis_api_url: str) -> None:
    async with served(NOWHERE_DSN, redis_api_url) as api:
        async with api.get("/api/health") as response:
            assert response.status == 200
            health = await response.json()
        async with api.get("/api/trades") as response:
            assert (response.status, response.headers["Retry-After"]) == (503, "2")
            assert (await response.json())["title"] == "Database unavailable"
        async with api.get("/healthz") as response:
            assert response.status == 200
    assert (health["status"], health["database"], health["redis"]) == ("degraded", "down", "ok")


async def test_requests_are_counted_by_route_and_status(api: Client) -> None:
    for path in ("/api/analytics/a", "/api/analytics/b", "/api/nothing"):
        async with api.get(path) as response:
            await response.read()
    async with api.get("/metrics") as response:
        page = await response.text()
    assert 'edgewise_api_requests_total{route="/api/analytics/{modelId}",status="200"} 2.0' in page
    assert 'edgewise_api_requests_total{route="unknown",status="404"} 1.0' in page


async def test_it_comes_back_when_the_database_was_killed_and_restarted(home: Path) -> None:
    async with EmbeddedServers(home) as servers:
        await migrate(servers.addresses.postgres_dsn)
        async with asyncio.TaskGroup() as tasks:
            watch = tasks.create_task(servers.run(), name="servers")
            async with served(
                servers.addresses.postgres_ro_dsn, servers.addresses.redis_api_url, clock=SystemClock()
            ) as api:
                await _answers(api, 200)
                for pid in servers.pids().values():
                    os.kill(pid, signal.SIGKILL)
                await _answers(api, 200)
            watch.cancel()


async def _answers(api: Client, status: int) -> None:
    async with asyncio.timeout(30):
        while True:
            async with api.get("/api/orders") as response:
                if response.status == status:
                    return
            await asyncio.sleep(0.05)


async def test_the_process_says_ready_serves_and_stops_at_once(
    servers: ServerAddresses, database_ro: str, redis_api_url: str, tmp_path: Path
) -> None:
    port = unused_port()
    etc = Path(__file__).parent.parent / "etc"
    program = f"""
import os
from pathlib import Path
from api.serve import run_api
from engine.config.settings import load_settings
settings = load_settings(Path({str(etc)!r}), os.environ)
run_api(settings.engine, settings.home)
"""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        program,
        stdout=asyncio.subprocess.PIPE,
        env=servers.environment()
        | {
            "EDGEWISE_POSTGRES_RO_DSN": database_ro,
            "EDGEWISE_API_PORT": str(port),
            "PATH": "",
        },
        cwd=etc.parent,
    )
    assert process.stdout is not None
    async with asyncio.timeout(20):
        line = await process.stdout.readline()
    assert b"ready" in line
    assert f"http://127.0.0.1:{port}".encode() in line
    async with aiohttp.ClientSession() as session, session.get(f"http://127.0.0.1:{port}/api/health") as got:
        assert (await got.json())["database"] == "ok"
    process.send_signal(signal.SIGTERM)
    async with asyncio.timeout(2):
        assert await process.wait() == 0


async def test_a_long_header_or_body_is_refused(api: Client) -> None:
    with socket.create_connection((api.host, api.port)):  # one who says nothing disturbs nobody
        async with api.get("/healthz", headers={"X-Long": "x" * 10_000}) as response:
            assert response.status == 400
