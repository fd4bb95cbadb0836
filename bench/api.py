"""The API on a journal of years, beside a handler that only returns the same bytes, and beside FastAPI.

Three servers, one busy at a time, share one processor; the load and Postgres have the other. Every endpoint
is asked as fast as it answers: its answer comes from the cache, which makes it anew when its time is over.
Then pages that nobody has asked for before, each a query; and last, what an engine feels of all that.
"""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from http import HTTPStatus
from pathlib import Path
from time import perf_counter
from typing import Any, Final, NamedTuple
from urllib.request import urlopen

import msgspec

from api.app import ENDPOINTS
from bench.history import SYMBOLS, Size, fill
from bench.load import Job, Seen
from bench.measure import Kind, Row, Run, Title, Unequal, of_items, of_loads, same
from bench.peers import missing
from bench.serving import BODIES
from engine.clock import SystemClock
from engine.embedded import EmbeddedServers, ServerAddresses

_SERVER_CPU: Final = 0
_LOAD_CPU: Final = 1
_CONNECTIONS: Final = 8
_SECONDS: Final = 0.8
_ROUNDS: Final = 2
_CACHED, _QUERIES = 2.0, 1.6  # times FastAPI and uvicorn
_TAIL: Final = 2.5  # p99 over p50
_FRAMES_A_SECOND: Final = 2000
_PACED_MINUTES: Final = 12
_UNFELT: Final = 0.8  # p99 of an engine beside an idle API over that beside a busy one
_PATIENCE_S: Final = 60.0
_COUNTED_S: Final = 300.0  # the first answer of statistics counts the whole journal
_FILLED: Final[dict[str, str]] = {
    "/api/analytics/{modelId}": "/api/analytics/trader-001",
    "/api/cycles/{id}": "/api/cycles/cycle-1",
    "/api/backtests/{id}": "",
    "/api/market/candles": "/api/market/candles?symbol=COIN1",
    "/api/data-health/coverage": "/api/data-health/coverage?symbol=COIN1",
}
_PAGES: Final = 200_000
_QUERIED: Final = ("/api/fills", "/api/signals", "/api/market/candles")


class Server(NamedTuple):
    """One that listens."""

    name: str
    port: int

    def get(self, path: str) -> bytes:
        """One answer. Raises OSError for a status that is not 200."""
        with urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=_COUNTED_S) as answer:
            body: bytes = answer.read()
            return body


def api(run: Run) -> list[Row]:
    """On servers and a database of its own, which stay in `run.folder` where there is one."""
    return asyncio.run(_api(run))


async def _api(run: Run) -> list[Row]:
    async with AsyncExitStack() as stack:
        temporary = stack.enter_context(tempfile.TemporaryDirectory(prefix="edgewise-bench-"))
        folder = Path(run.folder or temporary)
        addresses = (await stack.enter_async_context(EmbeddedServers(folder / "servers"))).addresses
        await fill(addresses.postgres_dsn, Size(run.scale), SystemClock().now_ns())
        (bodies := Path(temporary) / "bodies").mkdir()
        return await _Bench(run, addresses, bodies).rows()


class _Bench:
    """The servers, the load, and what was seen."""

    def __init__(self, run: Run, addresses: ServerAddresses, folder: Path) -> None:
        self._run, self._folder = run, folder
        self._environment = {**os.environ, **addresses.environment(), BODIES: str(folder)}

    async def rows(self) -> list[Row]:
        async with AsyncExitStack() as stack:
            ours = await stack.enter_async_context(self._server("bench.serving", "edgewise"))
            paths = [path for each in ENDPOINTS if (path := _FILLED.get(each.path, each.path))]
            self._keep(ours, paths)
            peers = [await stack.enter_async_context(self._server("bench.serving", "aiohttp"))]
            if missing("fastapi") or missing("uvicorn"):
                self._run.notes.append("fastapi and uvicorn are not installed, so they have no rows")
            else:
                peers.append(await stack.enter_async_context(self._server("bench.fastapi_peer")))
            load = await stack.enter_async_context(_loading())
            rows = [
                row
                for number, path in enumerate(paths)
                for row in await self._cached(load, [ours, *peers], path, number)
            ]
            for peer in peers[1:]:
                rows += [await self._queried(load, ours, peer, path) for path in _QUERIED]
            return rows if missing("picows") else [*rows, await self._felt(load)]

    async def _felt(self, load: _Load) -> Row:
        """What an engine beside it feels of an API that is asked as fast as it answers."""
        idle, busy = list[int](), list[int]()
        async with self._server("bench.serving", "edgewise", cpu=_LOAD_CPU) as api:
            pages = _pages(api, _QUERIED[0])
            for _ in range(self._run.of(_ROUNDS, 1)):
                idle += await self._lateness()
                engine = asyncio.create_task(self._lateness(), name="engine")
                while not engine.done():
                    await load.of(api, pages, self._seconds)
                busy += await engine
        title = Title(
            "Engine beside the API, on the other processor",
            f"lateness of signals at {_FRAMES_A_SECOND:,} frames/s, the API hammered",
            "the same, the API idle",
            "every frame once",
            aim=_UNFELT,
            aim_at_p99=True,
        )
        return of_items(title, busy, idle)

    async def _lateness(self) -> list[int]:
        minutes = self._run.of(_PACED_MINUTES, 2)
        command = ("-m", "bench.lateness", str(minutes), str(_FRAMES_A_SECOND), str(_SERVER_CPU))
        process = await asyncio.create_subprocess_exec(sys.executable, *command, stdout=subprocess.PIPE)
        async with asyncio.timeout(_PATIENCE_S):
            said, _ = await process.communicate()
        return msgspec.json.decode(said, type=list[int])

    def _keep(self, ours: Server, paths: Sequence[str]) -> None:
        """Every answer, made for the first time, as a file; how long that took is noted."""
        took = []
        for number, path in enumerate(paths):
            began = perf_counter()
            body = ours.get(path)
            took.append((perf_counter() - began, path))
            (self._folder / str(number)).write_bytes(body)
        slowest = ", ".join(
            f"{path} {seconds * 1000:.0f}" for seconds, path in sorted(took, reverse=True)[:8]
        )
        self._run.notes.append(f"answers made for the first time, ms, the slowest: {slowest}")

    async def _cached(self, load: _Load, servers: Sequence[Server], path: str, number: int) -> list[Row]:
        ready = (self._folder / str(number)).read_bytes()
        ours, *peers = servers
        for peer in peers:
            same(f"bytes of {peer.name}", peer.get(f"/ready/{number}") == ready, True)
        seen = {server.name: list[Seen]() for server in servers}
        for _ in range(self._run.of(_ROUNDS, 1)):
            for server in servers:
                asked = path if server is ours else f"/ready/{number}"
                seen[server.name].append(await load.of(server, [asked], self._seconds))
        equal = f"the same {len(ready):,} bytes"
        section = f"API, {_CONNECTIONS} connections, answers from the cache"
        titles = (
            Title(section, path, "plain aiohttp handler", equal, p99_within=_TAIL),
            Title(section, path, "FastAPI, uvicorn", equal, Kind.PEER, aim=_CACHED),
        )
        return [
            of_loads(title, seen[ours.name], seen[peer.name])
            for title, peer in zip(titles, peers, strict=False)
        ]

    async def _queried(self, load: _Load, ours: Server, peer: Server, path: str) -> Row:
        """Pages that were never asked for: a query each."""
        pages = _pages(ours, path)
        for page in (pages[0], pages[-1]):
            same(f"rows of {page}", _values(peer.get(page)), _values(ours.get(page)))
        seen, others = list[Seen](), list[Seen]()
        for number in range(self._run.of(_ROUNDS, 1) + 1):
            some = pages[1 + number :: _ROUNDS + 2]
            seen.append(await load.of(ours, some, self._seconds))
            others.append(await load.of(peer, some, self._seconds))
        title = Title(
            f"API, {_CONNECTIONS} connections, a query each",
            f"{path}, a page",
            "FastAPI, pydantic, asyncpg",
            "every value",
            Kind.PEER,
            aim=_QUERIES,
        )
        return of_loads(title, seen[1:], others[1:])

    @property
    def _seconds(self) -> float:
        return _SECONDS if not self._run.quick else 0.05

    @asynccontextmanager
    async def _server(self, module: str, *kind: str, cpu: int = _SERVER_CPU) -> AsyncIterator[Server]:
        """A server on a free port, once it answers."""
        port = _free_port()
        command = (sys.executable, "-m", module, *kind, str(port), str(cpu))
        process = await asyncio.create_subprocess_exec(
            *command, env=self._environment, stdout=subprocess.DEVNULL
        )
        try:
            async with asyncio.timeout(_PATIENCE_S):
                while not await _listens(port):
                    if process.returncode is not None:
                        raise RuntimeError(f"{' '.join(command[2:])} ended with {process.returncode}")
                    await asyncio.sleep(0.05)
            yield Server((*kind, module)[0], port)
        finally:
            if process.returncode is None:
                process.terminate()
            await process.wait()


class _Load:
    """The process that asks."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def of(self, server: Server, paths: list[str], seconds: float) -> Seen:
        """What this server answers. Raises Unequal for an answer that is none."""
        job = Job(port=server.port, paths=paths, connections=_CONNECTIONS, seconds=seconds, cpu=_LOAD_CPU)
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(msgspec.json.encode(job) + b"\n")
        async with asyncio.timeout(_PATIENCE_S):
            seen = msgspec.json.decode(await self._process.stdout.readline(), type=Seen)
        if set(seen.statuses) != {HTTPStatus.OK}:
            raise Unequal(f"{server.name} answers {paths[0]} with {seen.statuses}")
        return seen


@asynccontextmanager
async def _loading() -> AsyncIterator[_Load]:
    command = (sys.executable, "-m", "bench.load")
    process = await asyncio.create_subprocess_exec(*command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        yield _Load(process)
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()


def _pages(ours: Server, path: str) -> list[str]:
    """Addresses of pages, each of which begins somewhere else."""
    if path == "/api/market/candles":
        newest = msgspec.json.decode(ours.get(f"{path}?symbol=COIN1-USDT-SWAP&limit=1"))["candles"][0][
            "timestamp"
        ]
        return [
            f"{path}?symbol=COIN{number % SYMBOLS}-USDT-SWAP&limit=100&before={newest - number * 60_000}"
            for number in range(_PAGES)
        ]
    newest = msgspec.json.decode(ours.get(f"{path}?limit=1"))["nextBefore"]
    return [f"{path}?limit=100&before={newest - number % (newest // 2)}" for number in range(_PAGES)]


def _values(body: bytes) -> dict[str, Any]:
    """Of an answer, without the time of its making."""
    found: dict[str, Any] = msgspec.json.decode(body)
    found.pop("serverTime", None)
    return found


def _free_port() -> int:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        port: int = listening.getsockname()[1]
        return port


async def _listens(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    writer.close()
    return True
