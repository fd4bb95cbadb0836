"""From a model's answer to the order on the wire, through every part and both stores, at the simulated venue.

The clock starts when the bytes of the answer are there and stops when the order is handed to the socket:
parse, journal, gate, sizing, journal, order in the journal, two hops over Valkey. All writes are durable.
"""

from __future__ import annotations

import asyncio
import gc
import shutil
import socket
import sys
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from decimal import Decimal
from pathlib import Path
from time import perf_counter_ns
from typing import Final

import asyncpg
import msgspec

from bench.measure import Row, Run, Title, of_items, same
from engine.bus import WAKEUPS
from engine.clock import SystemClock, cancelled
from engine.config.settings import Settings, load_settings
from engine.core.decisions import CycleMode, WakeKind, WakeReason, Wakeup
from engine.core.times import NS_PER_MS, NS_PER_S
from engine.embedded import EmbeddedServers, ServerAddresses
from engine.exchange.okx.feed import OkxMarketFeed
from engine.exchange.okx.links import Network
from engine.exchange.okx.sign import Credentials, rest_headers
from engine.exchange.okx.socket import Connect, Socket
from engine.exchange.okx.venue import OkxVenue
from engine.exchange.ports import PositionMode
from engine.executor.asking import ModelReply, ModelRequest
from engine.jobs import Jobs
from engine.journal.postgres.journal import PostgresJournal
from engine.journal.postgres.migrate import migrate
from engine.redis_bus import RedisBus
from engine.wiring.listing import InstrumentBook, restrict
from engine.wiring.parts import Parts, Surroundings, build_parts

_DECISIONS: Final = 400
_UNTIMED: Final = 20
_SYMBOL: Final = "BTC-USDT-SWAP"
_TRADER: Final = "bench"
_KEYS: Final = ("bench-key", "bench-secret", "bench-pass")
_PATIENCE_S: Final = 20.0
_THINKS_S: Final = 0.02
_OVER_US: Final = (2000.0, 10_000.0)  # over a durable insert: at the median, at the p99
_MANAGER: Final = f"""
manager: {{ total_equity_usd: 100000 }}
traders:
  - id: {_TRADER}
    model: demo
    symbols: [BTC]
    allocation_pct: 50
    auto_start: false
    risk_params:
      {{ max_positions: 1, max_position_size_usd: 9000, max_margin_usage_pct: 90, major_coin_leverage: 5,
        stop_loss_enabled: false, max_losses_in_row: 0, max_spread_bps: 1000, max_slippage_bps: 1000,
        cooldown_after_close: 0s, max_entries_per_hour: 100000 }}
"""


def decision(run: Run) -> list[Row]:
    """Entries and closes in turns, one decision at a time."""
    return asyncio.run(_decision(run))


async def _decision(run: Run) -> list[Row]:
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="edgewise-bench-")))
        servers = await stack.enter_async_context(EmbeddedServers(folder / "servers"))
        url = await stack.enter_async_context(_simulator())
        settings = _settings(folder / "etc", servers.addresses, url)
        await migrate(servers.addresses.postgres_dsn)
        engine = await stack.enter_async_context(_engine(settings, servers.addresses))
        count = run.of(_DECISIONS, 4) + _UNTIMED
        took = [await engine.decide(number) for number in range(count)]
        floor = await _floor(servers.addresses.postgres_dsn, count)
        orders = await _orders(servers.addresses.postgres_dsn)
        same("orders in the journal", orders, count)
    title = Title(
        "Decision to order",
        "a model's answer to the order on the socket",
        "asyncpg: insert and commit one row; sign, send",
        "every order filled",
        over_us=_OVER_US,
    )
    return [of_items(title, took[_UNTIMED:], floor[_UNTIMED:])]


class _Engine:
    """The parts of an engine, and its model."""

    def __init__(self, model: _Model, sent: asyncio.Queue[int], around: Surroundings) -> None:
        self._model, self._sent, self._around = model, sent, around
        self.parts: Parts

    async def decide(self, number: int) -> int:
        """Nanoseconds from the answer to the order; returns once the order is filled."""
        self._model.enters = not number % 2
        clock, parts = self._around.clock, self.parts
        now = clock.now_ns()
        wakeup = Wakeup(
            cycle_id=f"{_TRADER}-{now // NS_PER_MS}",
            trader_id=_TRADER,
            ts=now,
            mode=CycleMode.SHORT,
            reasons=(WakeReason(WakeKind.OPERATOR, now),),
            account=parts.accounts.view(_TRADER),
            market=tuple(parts.view.snapshots.values()),
            deadline_ns=now + 60 * NS_PER_S,
        )
        await self._around.journal.record_wakeup(wakeup)
        gc.collect()
        async with asyncio.timeout(_PATIENCE_S):
            await self._around.bus.publish(WAKEUPS, wakeup)
            sent_ns = await self._sent.get()
            while bool(parts.accounts.view(_TRADER).positions) is not self._model.enters:  # noqa: ASYNC110
                await asyncio.sleep(0.002)
        return sent_ns - self._model.answered_ns


class _Model:
    """Implements ModelClient: it thinks for as long as the fastest might."""

    def __init__(self) -> None:
        self.enters, self.answered_ns = True, 0

    async def ask(self, request: ModelRequest) -> ModelReply:
        decision: dict[str, object] = {"symbol": _SYMBOL, "signal": "close_position"}
        if self.enters:
            decision |= {
                "signal": "buy_to_enter",
                "leverage": 2,
                "position_size_usd": 5000,
                "confidence": 0.9,
            }
        text = msgspec.json.encode({"reasoning": "It rises.", "decisions": [decision]}).decode()
        await asyncio.sleep(_THINKS_S)
        self.answered_ns = perf_counter_ns()
        return ModelReply(
            alias=request.alias,
            model="bench",
            text=text,
            reasoning="",
            cut=None,
            tokens_in=1000,
            tokens_out=50,
            tokens_cached=0,
            cost_usd=Decimal(0),
            latency_ms=1,
        )


class _Noted:
    """A socket that notes when an order is handed over."""

    def __init__(self, inner: Socket, note: Callable[[int], None]) -> None:
        self._inner, self._note = inner, note
        self.recv, self.close = inner.recv, inner.close

    async def send(self, frame: bytes) -> None:
        await self._inner.send(frame)
        if b'"op":"order"' in frame:
            self._note(perf_counter_ns())


def _noting(connect: Connect, note: Callable[[int], None]) -> Connect:
    async def connected(url: str, timeout_s: float) -> Socket:
        return _Noted(await connect(url, timeout_s), note)

    return connected


@asynccontextmanager
async def _engine(settings: Settings, addresses: ServerAddresses) -> AsyncIterator[_Engine]:
    """The parts as the engine runs them, ready to trade."""
    clock, sent, model = SystemClock(), asyncio.Queue[int](), _Model()
    okx = msgspec.structs.replace(settings.provider.okx, account_id=settings.provider_id)
    made = Network.of(okx)
    network = Network(_noting(made.connect, sent.put_nowait), made.gate)
    async with AsyncExitStack() as stack:
        venue = OkxVenue(okx, clock, network)
        stack.push_async_callback(venue.close)
        journal = await stack.enter_async_context(PostgresJournal(addresses.postgres_dsn, clock))
        bus = RedisBus(addresses.redis_url, "bench", clock)
        stack.push_async_callback(bus.aclose)
        listed = await venue.instruments()
        settings = restrict(settings, listed, partly=True)
        feed = OkxMarketFeed(okx, settings.market.symbols, ("1m",), clock, network)
        stack.push_async_callback(feed.close)
        jobs = await stack.enter_async_context(Jobs())
        around = Surroundings(
            venue=venue, feed=feed, journal=journal, bus=bus, clock=clock, jobs=jobs, model=model
        )
        engine = _Engine(model, sent, around)
        parts = await build_parts(settings, InstrumentBook(listed), PositionMode(okx.position_mode), around)
        engine.parts = parts
        await parts.exchange.start()
        await parts.manager.start()
        running = [
            asyncio.create_task(part.run(), name=type(part).__name__)
            for part in (parts.exchange, parts.market, parts.manager, parts.executor)
        ]
        try:
            async with asyncio.timeout(_PATIENCE_S):
                while _SYMBOL not in parts.view.snapshots or parts.exchange.refusal(_SYMBOL):  # noqa: ASYNC110
                    await asyncio.sleep(0.05)
            yield engine
        finally:
            for task in running:
                await cancelled(task)


@asynccontextmanager
async def _simulator() -> AsyncIterator[str]:
    """The address of a fresh simulator."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "engine.cli.main", "simulator", "--port", "0", "--no-rate-limit"),
        *("--symbol", "BTC", "--seed", "1", "--account", ":".join((*_KEYS, "100000"))),
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    try:
        async with asyncio.timeout(_PATIENCE_S):
            url = ""
            while b"ready" not in (line := await process.stdout.readline()):
                assert line, "the simulator ended"
                url = line.split()[1].decode() if line.startswith(b"REST") else url
        yield url
    finally:
        process.terminate()
        await process.wait()


def _settings(folder: Path, addresses: ServerAddresses, url: str) -> Settings:
    """The shipped configuration with one trader, at the simulator."""
    shutil.copytree(Path(__file__).parents[1] / "etc", folder)
    (folder / "manager.yaml").write_text(_MANAGER)
    key, secret, passphrase = _KEYS
    environment = {
        **addresses.environment(),
        "EDGEWISE_HOME": str(folder),
        "EDGEWISE_EXCHANGE": "okx_simulator",
        "EDGEWISE_SIMULATOR_URL": url,
        "EDGEWISE_SIMULATOR_WS": url.replace("http", "ws", 1),
        "EDGEWISE_SIMULATOR_KEY": key,
        "EDGEWISE_SIMULATOR_SECRET": secret,
        "EDGEWISE_SIMULATOR_PASSPHRASE": passphrase,
        "EDGEWISE_SIMULATOR_LIMITS": "false",
    }
    return load_settings(folder, environment)


async def _floor(dsn: str, count: int) -> list[int]:
    """The least there is to do: one row is durable, then a signed order goes into a socket."""
    credentials, body = Credentials(*_KEYS), '{"instId":"BTC-USDT-SWAP","sz":"5","side":"buy"}'
    bare, (near, far), took = await asyncpg.connect(dsn), socket.socketpair(), list[int]()
    near.setblocking(False)
    loop, clock = asyncio.get_running_loop(), SystemClock()
    try:
        await bare.execute("create table bench_floor (id bigint primary key, body text)")
        for number in range(count):
            began = perf_counter_ns()
            await bare.execute("insert into bench_floor values ($1, $2)", number, body)
            headers = rest_headers(credentials, clock.now_ns(), "POST", "/api/v5/trade/order", body)
            await loop.sock_sendall(near, (str(headers) + body).encode())
            took.append(perf_counter_ns() - began)
            far.recv(4096)
    finally:
        near.close()
        far.close()
        await bare.close()
    return took


async def _orders(dsn: str) -> int:
    bare = await asyncpg.connect(dsn)
    try:
        return int(await bare.fetchval("select count(*) from trader_orders where state = 'FILLED'"))
    finally:
        await bare.close()
