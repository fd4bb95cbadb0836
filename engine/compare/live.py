"""The engine itself over a recording: sockets and REST to the simulator, Postgres, Valkey, scaled time."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from decimal import Decimal
from pathlib import Path
from typing import Final

import msgspec

from engine.app import serve
from engine.backtest.paced import PacedModel
from engine.clock import Clock
from engine.compare.clock import HeldClock
from engine.compare.pairs import Execution, executions
from engine.config.engine import ClockConfig, MetricsConfig, ServersConfig
from engine.config.settings import Settings
from engine.core.errors import Unavailable
from engine.core.times import NS_PER_S
from engine.embedded import EmbeddedServers, ServerAddresses
from engine.exchange.matching.types import AccountSpec
from engine.exchange.ports import PositionMode
from engine.exchange.simulator.auth import WINDOW_S, Credentials, Gatekeeper
from engine.exchange.simulator.faults import Faults
from engine.exchange.simulator.joint import JointMarket
from engine.exchange.simulator.limits import Limiter
from engine.exchange.simulator.recorded import Recording
from engine.exchange.simulator.recorded_candles import CandlePath
from engine.exchange.simulator.replay import RecordedMarket
from engine.exchange.simulator.server import Server
from engine.exchange.simulator.venue import Hub, Venue
from engine.exchange.simulator.world import World
from engine.executor.asking import ModelClient
from engine.journal.postgres.journal import PostgresJournal
from engine.journal.postgres.reader import JournalReader
from engine.redis_bus import RedisBus
from engine.telemetry.status import EngineStatus, status_key

_READY_S: Final = 60.0
_ENDING_S: Final = 60.0  # of engine time after the last moment, as in a backtest
_SETTLE_S: Final = 3.0  # of real time, for what is on its way to the journal
_LOOK_S: Final = 0.1
_PRINTS_SPEED: Final = 2.0


class LiveRun(msgspec.Struct, frozen=True, kw_only=True):
    """What the engine did: its executions, oldest first, and each trader's equity at the end."""

    executions: tuple[Execution, ...]
    equities: dict[str, Decimal | None]


def usual_speed(recordings: Sequence[Recording], candle_s: float) -> float:
    """How fast a recording can be played so that real delays do not matter: a candle of `candle_s` a second.

    Between prints every moment counts: the simulator's pushes are a tenth of a real second apart.
    """
    return candle_s if all(isinstance(each.points, CandlePath) for each in recordings) else _PRINTS_SPEED


async def run_live(
    settings: Settings,
    recordings: Sequence[Recording],
    speed: float,
    model: ModelClient,
    home: Path,
    progress: Callable[[float], None] = lambda _: None,
) -> LiveRun:
    """Play the recordings to their end. `settings` as engine.backtest.run.prepared gives them.

    `model` answers every trader, each answer after the engine time that it took, as in a backtest.
    home: an empty folder for the servers; it may be deleted afterwards. Raises StoreUnavailable,
    BusUnavailable or Unavailable when a server or the engine does not come up.
    """
    start_ns = max(each.first_ns for each in recordings)
    end_ns = max(each.first_ns + each.points[-1].after_ns for each in recordings)
    clock = HeldClock(start_ns, speed)
    async with EmbeddedServers(home / "servers") as servers:
        addresses = servers.addresses
        async with _simulated(settings, recordings, clock) as on_simulator:
            live = _on_servers(on_simulator, addresses, speed, home)
            async with asyncio.TaskGroup() as tasks:
                engine = tasks.create_task(serve(live, clock, PacedModel(model, clock)), name="engine")
                await _ready(addresses, live.engine.env, clock)
                clock.release()
                await _play(clock, start_ns, end_ns, progress)
                engine.cancel()
        return await _result(settings.provider_id, addresses, clock)


async def _play(clock: Clock, start_ns: int, end_ns: int, progress: Callable[[float], None]) -> None:
    whole = max(1, end_ns - start_ns)
    while (now := clock.now_ns()) < end_ns + int(_ENDING_S * NS_PER_S):
        progress(min(1.0, (now - start_ns) / whole))
        await clock.sleep_real(_LOOK_S)
    await clock.sleep_real(_SETTLE_S)
    progress(1.0)


async def _ready(addresses: ServerAddresses, env: str, clock: Clock) -> None:
    """Until the engine would take entries. Raises Unavailable when it does not come to that."""
    bus = RedisBus(addresses.redis_url, env, clock)
    detail = "it said nothing"
    try:
        async with asyncio.timeout(_READY_S):
            while True:
                if (told := await bus.cache.get(status_key(env))) is not None:
                    status = msgspec.json.decode(told, type=EngineStatus)
                    detail = status.entries_refused or status.connections.get("market", "")
                    if not status.entries_refused and detail == "ready":
                        return
                await clock.sleep_real(_LOOK_S)
    except TimeoutError as error:
        raise Unavailable(f"the engine was not ready after {_READY_S:g} s: {detail}") from error
    finally:
        await bus.aclose()


async def _result(account_id: str, addresses: ServerAddresses, clock: Clock) -> LiveRun:
    async with (
        PostgresJournal(addresses.postgres_dsn, clock) as journal,
        JournalReader(addresses.postgres_dsn) as reader,
    ):
        booked = await journal.bookings(account_id)
        newest = await reader.newest_performance()
    return LiveRun(
        executions=executions(booked.fills),
        equities={name: performance.view.equity for name, performance in newest.items()},
    )


@asynccontextmanager
async def _simulated(
    settings: Settings, recordings: Sequence[Recording], clock: Clock
) -> AsyncIterator[Settings]:
    """The settings with a simulator as venue that plays the recordings at their own times."""
    mode = PositionMode(settings.provider.okx.position_mode)
    keys = Credentials(secrets.token_hex(12), secrets.token_hex(12), secrets.token_hex(12))
    balance = Decimal(settings.manager.manager.total_equity_usd)
    account = AccountSpec(account=keys.key, balance=balance, position_mode=mode)
    market = JointMarket(*(RecordedMarket(each, each.first_ns, strict=True) for each in recordings))
    world = World(market, (account,), None, clock.now_ns())
    venue = Venue(
        world=world,
        clock=clock,
        gatekeeper=Gatekeeper((keys,), clock.engine_ns(WINDOW_S)),
        faults=Faults(),
        limiter=Limiter(on=False),
        hub=Hub(world),
    )
    server = Server(venue, 0)
    async with server.running():
        host = f"127.0.0.1:{server.port}"
        okx = msgspec.structs.replace(
            settings.provider.okx,
            environment="demo",
            rest_url=f"http://{host}",
            ws_public_url=f"ws://{host}/ws/v5/public",
            ws_private_url=f"ws://{host}/ws/v5/private",
            ws_business_url=f"ws://{host}/ws/v5/business",
            api_key=keys.key,
            secret=keys.secret,
            passphrase=keys.passphrase,
            rate_limits=False,
            proxy="",
        )
        provider = msgspec.structs.replace(settings.provider, type="okx", okx=okx)
        providers = {**settings.exchange.providers, settings.provider_id: provider}
        yield msgspec.structs.replace(
            settings, exchange=msgspec.structs.replace(settings.exchange, providers=providers)
        )


def _on_servers(settings: Settings, addresses: ServerAddresses, speed: float, home: Path) -> Settings:
    engine = msgspec.structs.replace(
        settings.engine,
        servers=ServersConfig(
            postgres_dsn=addresses.postgres_dsn, redis_url=addresses.redis_url, home=str(home.absolute())
        ),
        metrics=MetricsConfig(port=0),
        clock=ClockConfig(speed=speed),
        journal=msgspec.structs.replace(settings.engine.journal, decisions_mb=0),
    )
    return msgspec.structs.replace(settings, engine=engine)
