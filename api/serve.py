"""The process that serves the application: its own, with its own database role."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Callable
from contextlib import AsyncExitStack, suppress
from importlib import import_module
from pathlib import Path
from typing import Final

import structlog
from aiohttp import web

from api.app import Service, make_app
from api.cache import LiveCache
from api.endpoint import Sources
from api.kept_tallies import KeptTallies
from api.tallies import Tallies
from engine import build, garbage
from engine.clock import Clock, ScaledClock, SystemClock
from engine.config.engine import ClockConfig, EngineConfig
from engine.core.errors import StoreUnavailable
from engine.embedded import known_addresses
from engine.journal.postgres.reader import JournalReader
from engine.listen import listen
from engine.log import configure
from engine.telemetry.spans import Export

log = structlog.get_logger()

_LONGEST_LINE: Final = 4096
_SHUTDOWN_S: Final = 1.0
_LOOK_FOR_SERVERS_S: Final = 0.5


def run_api(config: EngineConfig, home: Path) -> None:
    """Serve until SIGINT or SIGTERM. `home`: where embedded servers would run.

    A database or Redis that is away is waited for, by answering 503. Raises ConfigError for a taken port.
    """
    with asyncio.Runner(loop_factory=_fastest_loop()) as runner:
        runner.run(_serve(config, home))


async def _serve(config: EngineConfig, home: Path) -> None:
    clock = clock_of(config.clock)
    configure(clock, config.log_level, "api")
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stopped.set)
    found = await _addresses(config, home, clock, stopped)
    if found is None:
        return
    async with AsyncExitStack() as stack:
        reader = await stack.enter_async_context(JournalReader(found[0], slow_s=config.slow_log.sql))
        cache = await stack.enter_async_context(
            LiveCache(found[1], config.env, clock, slow_s=config.slow_log.redis)
        )
        tallies = Tallies(reader, KeptTallies(home))
        sources = Sources(reader=reader, cache=cache, clock=clock, tallies=tallies)
        service = make_app(sources, config, await _export(stack, config))
        runner = await _listening(stack, service, config)
        log.info("api started", build=build.described())
        garbage.settle()
        host, port = runner.addresses[0][:2]
        sys.stdout.write(f"api ready http://{host}:{port}/api/health\n")
        sys.stdout.flush()
        async with asyncio.TaskGroup() as tasks:
            beside = [
                tasks.create_task(service.broadcast.run(), name="broadcast"),
                tasks.create_task(_count(tallies), name="statistics"),
                tasks.create_task(service.slow.run(lambda: _connections(runner)), name="slow clients"),
            ]
            await stopped.wait()
            for task in beside:
                task.cancel()
        tallies.keep()
        log.info("api stopped")


async def _export(stack: AsyncExitStack, config: EngineConfig) -> Export | None:
    """Where spans go; None where tracing is off."""
    if not config.tracing.otlp_endpoint:
        return None
    from engine.telemetry.otlp import exporting

    return await stack.enter_async_context(exporting(config.tracing, f"{config.name}-api", config.env))


async def _listening(stack: AsyncExitStack, service: Service, config: EngineConfig) -> web.AppRunner:
    """The service on its port until the stack closes. Raises ConfigError for a taken one."""
    runner = web.AppRunner(
        service.app,
        access_log=None,
        shutdown_timeout=_SHUTDOWN_S,
        keepalive_timeout=config.api.header_timeout,
        max_line_size=_LONGEST_LINE,
        max_field_size=_LONGEST_LINE,
    )
    await runner.setup()
    stack.push_async_callback(runner.cleanup)
    service.front.stand_before(runner)
    remedy = "api.port of engine.yaml (EDGEWISE_API_PORT)"
    await listen(runner, config.api.host, config.api.port, remedy)
    return runner


async def _count(tallies: Tallies) -> None:
    """Count the journal before anybody asks: years take seconds."""
    with suppress(StoreUnavailable):  # who asks will count it
        await tallies.refresh()


def _connections(runner: web.AppRunner) -> list[web.RequestHandler]:
    return runner.server.connections if runner.server is not None else []


def _fastest_loop() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """uvloop's where the extra `fast` is installed, else (None) asyncio's own."""
    try:
        module = import_module("uvloop")
    except ImportError:
        return None
    loop_of: Callable[[], asyncio.AbstractEventLoop] = module.new_event_loop
    return loop_of


def clock_of(config: ClockConfig) -> Clock:
    """Engine time as the engine's configuration has it."""
    if config.epoch_ns == 0 and config.speed == 1:
        return SystemClock()
    return ScaledClock(config.speed, config.epoch_ns, config.wall_epoch_ns)


async def _addresses(
    config: EngineConfig, home: Path, clock: Clock, stopped: asyncio.Event
) -> tuple[str, str] | None:
    """Database and Redis: the API's own, else the engine's, else the embedded ones once they have started.

    None when it was stopped while it waited.
    """
    postgres = config.api.postgres_dsn or config.servers.postgres_dsn
    redis = config.api.redis_url or config.servers.redis_url
    if postgres and redis:
        return postgres, redis
    if known_addresses(home) is None:
        log.info("waiting for the embedded servers to be started", home=str(home))
    while not stopped.is_set():
        known = known_addresses(home)
        if known is not None:
            return postgres or known.postgres_ro_dsn, redis or known.redis_api_url
        await clock.sleep_real(_LOOK_FOR_SERVERS_S)
    return None
