"""A whole edgewise under trading, each process of it real, of which any can be stopped, frozen or killed."""

from __future__ import annotations

import asyncio
import os
import resource
import shutil
import signal
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import Any, Final

import aiohttp
import asyncpg
import redis.asyncio as redis

from engine.clock import Clock
from engine.config.exchange import OkxConfig
from engine.demo.plan import DemoOptions, Ports, choose_ports, next_epoch, prepare_home, processes
from engine.embedded import EmbeddedServers, ServerAddresses
from engine.exchange.okx.venue import OkxVenue
from engine.supervise import Supervisor

ETC: Final = Path(__file__).parents[1] / "etc"
ACCOUNT: Final = "okx_simulator"
# They enter and leave every few minutes, with stops near enough to be hit: something is always under way.
_TRADER: Final = """
  - id: {name}
    strategy:
      name: ema_trend
      params:
        {{ timeframe: 1m, enter_gap: 0.02, most_gap: 90, exit_gap: 0, rsi_most: 100,
          size_pct: 40, stop_atr: 1.2, min_stop_pct: 0.05, reward: 1.5 }}
    symbols: [{symbols}]
    allocation_pct: 20
    rhythm: {{ long_cycle: 2m, short_cycle: 2m, grace: 5s, cooldown: 30s, min_salience: 0.2, jitter: 20s }}
    risk_params:
      {{ max_positions: 3, max_position_size_usd: 15000, max_margin_usage_pct: 60, major_coin_leverage: 10,
        altcoin_leverage: 5, min_risk_reward_ratio: 0, max_daily_loss_pct: 90, max_drawdown_pct: 90,
        max_losses_in_row: 0, max_entries_per_hour: 900, min_edge_fees: 0, max_price_band_bps: 900,
        cooldown_after_close: 1s, cooldown_after_stop: 1s }}
"""
_TRADERS: Final = {"one": "BTC, ETH", "two": "ETH, SOL", "three": "BTC, DOGE, XRP", "four": "BTC, SOL, XRP"}


def configuration(folder: Path) -> Path:
    """The shipped configuration with four restless traders."""
    shutil.copytree(ETC, folder)
    traders = "".join(_TRADER.format(name=name, symbols=symbols) for name, symbols in _TRADERS.items())
    (folder / "manager.yaml").write_text(f"manager: {{ total_equity_usd: 100000 }}\ntraders:{traders}")
    return folder


class Server:
    """One of the two stores; the other half of its pair idles. It comes back to the same address."""

    def __init__(self, name: str, folder: Path) -> None:
        self.name = name
        self._servers = EmbeddedServers(folder)
        self._keeping: asyncio.Task[None] | None = None

    async def start(self) -> ServerAddresses:
        addresses = await self._servers.start()
        self._keeping = asyncio.create_task(self._servers.run(), name=f"keep {self.name}")
        return addresses

    async def stop(self) -> None:
        if self._keeping is not None:
            self._keeping.cancel()
            with suppress(asyncio.CancelledError):
                await self._keeping
            self._keeping = None
        await self._servers.stop()

    @property
    def pid(self) -> int:
        return self._servers.pids()[self.name]


class World:
    """What the faults happen to, and the ways to look at it from outside."""

    def __init__(self, home: Path, clock: Clock, venue: OkxVenue, ports: Ports) -> None:
        self.home, self.clock, self.venue, self._ports = home, clock, venue, ports
        self.postgres = Server("postgres", home / "pg")
        self.redis = Server("valkey", home / "vk")
        self.addresses = ServerAddresses("", "", "", "")
        self._received = Counter[str]()
        self.supervisor = Supervisor(clock)
        self.http = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=5))

    def pid(self, name: str) -> int:
        """Process id of a server, or of one of edgewise's own processes."""
        for server in (self.postgres, self.redis):
            if server.name == name:
                return server.pid
        return self.supervisor.pids()[name]

    def kill(self, name: str) -> None:
        os.kill(self.pid(name), signal.SIGKILL)

    def freeze(self, name: str) -> None:
        _tell_family(self.pid(name), signal.SIGSTOP)

    def thaw(self, name: str) -> None:
        _tell_family(self.pid(name), signal.SIGCONT)

    def bound_files(self, name: str, most_bytes: int) -> None:
        """No file of the process may grow beyond so much: its disk is full (-1: there is room)."""
        hard = resource.prlimit(self.pid(name), resource.RLIMIT_FSIZE)[1]
        resource.prlimit(self.pid(name), resource.RLIMIT_FSIZE, (most_bytes, hard))

    @asynccontextmanager
    async def redis_client(self) -> AsyncIterator[redis.Redis]:
        async with redis.Redis.from_url(self.addresses.redis_url) as client:
            yield client

    @asynccontextmanager
    async def database(self) -> AsyncIterator[asyncpg.Connection]:
        connection = await asyncpg.connect(self.addresses.postgres_dsn, timeout=5)
        try:
            yield connection
        finally:
            connection.terminate()

    async def fault(self, kind: str, **more: object) -> None:
        """Ask the simulated venue to misbehave."""
        async with self.http.post(
            f"{_url(self._ports.simulator)}/sim/faults", json={"kind": kind, **more}
        ) as response:
            assert response.status == 200, await response.text()

    async def healthy(self) -> None:
        """The venue does nothing wrong any more."""
        async with self.http.delete(f"{_url(self._ports.simulator)}/sim/faults") as response:
            assert response.status == 200, await response.text()

    async def note_orders(self) -> None:
        """Remember the orders that came in: the simulator counts them anew in its next life."""
        self._received = await self.orders_received()

    async def orders_received(self) -> Counter[str]:
        """How often an order with each client id has come in."""
        async with self.http.get(f"{_url(self._ports.simulator)}/sim/state") as response:
            state: dict[str, dict[str, int]] = await response.json()
        now = Counter({name.partition(":")[2]: n for name, n in state["orders_received"].items()})
        return self._received + now

    async def engine_health(self) -> dict[str, Any]:
        """What the engine says of itself. Raises aiohttp.ClientError when it is not there."""
        async with self.http.get(f"{_url(self._ports.metrics)}/healthz") as response:
            health: dict[str, Any] = await response.json()
            return health

    async def api_health(self) -> dict[str, Any]:
        """What the API says of everything. Raises aiohttp.ClientError when it is not there."""
        async with self.http.get(f"{_url(self._ports.api)}/api/health") as response:
            health: dict[str, Any] = await response.json()
            return health


@asynccontextmanager
async def world(home: Path, speed: float) -> AsyncIterator[World]:
    """Start it all below `home` (a short path: sockets), trade, and leave no process behind."""
    options = DemoOptions(
        home=home / "demo",
        etc=configuration(home / "etc"),
        port=0,
        speed=speed,
        run_for_s=0,
        seed=11,
        replay=None,
        fresh=False,
    )
    prepare_home(options)
    ports, epoch = choose_ports(options), next_epoch(options)
    clock = epoch.clock()
    empty = ServerAddresses("", "", "", "")
    env = processes(options, ports, epoch, empty)[0].env
    venue = OkxVenue(_okx(env, _url(ports.simulator)), clock)
    made = World(options.home, clock, venue, ports)
    async with AsyncExitStack() as stack:
        stack.push_async_callback(made.http.close)
        stack.push_async_callback(venue.close)
        for server in (made.postgres, made.redis):
            stack.push_async_callback(server.stop)
        of_postgres, of_redis = await made.postgres.start(), await made.redis.start()
        made.addresses = ServerAddresses(
            of_postgres.postgres_dsn,
            of_postgres.postgres_ro_dsn,
            of_redis.redis_url,
            of_redis.redis_api_url,
        )
        await stack.enter_async_context(made.supervisor)
        for spec in processes(options, ports, epoch, made.addresses):
            spec.env.pop("PYTHONASYNCIODEBUG", None)  # as fast as users run them
            await made.supervisor.start(spec)
        yield made


def _url(port: int) -> str:
    return f"http://127.0.0.1:{port}"


def _okx(env: dict[str, str], simulator: str) -> OkxConfig:
    """The engine's account, seen by somebody else: the venue's own record of what was done."""
    sockets = simulator.replace("http", "ws")
    return OkxConfig(
        account_id=ACCOUNT,
        api_key=env["EDGEWISE_SIMULATOR_KEY"],
        secret=env["EDGEWISE_SIMULATOR_SECRET"],
        passphrase=env["EDGEWISE_SIMULATOR_PASSPHRASE"],
        rest_url=simulator,
        ws_public_url=f"{sockets}/ws/v5/public",
        ws_private_url=f"{sockets}/ws/v5/private",
        ws_business_url=f"{sockets}/ws/v5/business",
        rate_limits=False,
    )


def _tell_family(pid: int, number: signal.Signals) -> None:
    """A signal to a process and all below it; Postgres' have groups of their own."""
    family = [pid]
    for member in family:
        for children in Path(f"/proc/{member}/task").glob("*/children"):
            with suppress(OSError):
                family += map(int, children.read_text().split())
    for member in family:
        with suppress(ProcessLookupError):
            os.kill(member, number)
