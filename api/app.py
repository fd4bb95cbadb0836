"""The read-only HTTP service: its own process, its own database role, nothing that trades."""

from __future__ import annotations

import asyncio
import signal
import sys
from contextlib import AsyncExitStack
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import structlog
from aiohttp import web

from api import openapi
from api.cache import LiveCache
from api.endpoint import Endpoint, Sources, mount
from api.http import answers, bearer, cors, encode, json_response, only_reads
from api.metrics import ApiMetrics
from api.routes import accounts, analytics, health, market, records, trades
from api.single_flight import SingleFlight
from engine.clock import Clock, ScaledClock, SystemClock
from engine.config.engine import ApiConfig, ClockConfig, EngineConfig
from engine.config.settings import Settings
from engine.embedded import known_addresses
from engine.journal.postgres_reader import JournalReader
from engine.log import configure

log = structlog.get_logger()

ENDPOINTS: Final[tuple[Endpoint[Any], ...]] = (
    *health.ENDPOINTS,
    *market.ENDPOINTS,
    *accounts.ENDPOINTS,
    *trades.ENDPOINTS,
    *analytics.ENDPOINTS,
    *records.ENDPOINTS,
)
_LONGEST_BODY: Final = 1024  # nobody has a reason to send one
_LONGEST_LINE: Final = 4096
_KEEP_ALIVE_S: Final = 15.0
_SHUTDOWN_S: Final = 1.0
_LOOK_FOR_SERVERS_S: Final = 0.5


def make_app(reader: JournalReader, cache: LiveCache, config: ApiConfig, clock: Clock) -> web.Application:
    """The application over stores that the caller has opened and will close."""
    metrics = ApiMetrics(clock)
    app = web.Application(
        middlewares=[
            metrics.middleware(),
            cors(config.cors_origins),  # outside of the answers: a browser may read errors too
            answers,
            only_reads(),
            bearer(config.tokens),
        ],
        client_max_size=_LONGEST_BODY,
    )
    sources, flights = Sources(reader=reader, cache=cache, clock=clock), SingleFlight(clock)
    for endpoint in ENDPOINTS:
        mount(app, endpoint, sources, flights)
    described = encode(openapi.document(ENDPOINTS, version("edgewise")))

    async def description(request: web.Request) -> web.Response:
        return json_response(request, described, max_age_s=60)

    async def alive(_: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    app.router.add_get("/api/openapi.json", description)
    app.router.add_get("/healthz", alive)
    app.router.add_get("/metrics", metrics.page)
    return app


def run_api(settings: Settings) -> None:
    """Serve until SIGINT or SIGTERM; a database or Redis that is away is waited for, by answering 503.

    Raises OSError when the address is taken.
    """
    asyncio.run(_serve(settings.engine))


async def _serve(config: EngineConfig) -> None:
    clock = _clock(config.clock)
    configure(clock, config.log_level, "api")
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stopped.set)
    found = await _addresses(config, clock, stopped)
    if found is None:
        return
    async with AsyncExitStack() as stack:
        reader = await stack.enter_async_context(JournalReader(found[0]))
        cache = await stack.enter_async_context(LiveCache(found[1], clock))
        runner = web.AppRunner(
            make_app(reader, cache, config.api, clock),
            access_log=None,
            shutdown_timeout=_SHUTDOWN_S,
            keepalive_timeout=_KEEP_ALIVE_S,
            max_line_size=_LONGEST_LINE,
            max_field_size=_LONGEST_LINE,
        )
        await runner.setup()
        stack.push_async_callback(runner.cleanup)
        await web.TCPSite(runner, config.api.host, config.api.port).start()
        host, port = runner.addresses[0][:2]
        sys.stdout.write(f"api ready http://{host}:{port}/api/health\n")
        sys.stdout.flush()
        await stopped.wait()
        log.info("api stopped")


def _clock(config: ClockConfig) -> Clock:
    if config.epoch_ns == 0 and config.speed == 1:
        return SystemClock()
    return ScaledClock(config.speed, config.epoch_ns, config.wall_epoch_ns)


async def _addresses(config: EngineConfig, clock: Clock, stopped: asyncio.Event) -> tuple[str, str] | None:
    """Database and Redis: the API's own, else the engine's, else the embedded ones once they have started.

    None when it was stopped while it waited.
    """
    postgres = config.api.postgres_dsn or config.servers.postgres_dsn
    redis = config.api.redis_url or config.servers.redis_url
    if postgres and redis:
        return postgres, redis
    home = Path(config.servers.home)
    if known_addresses(home) is None:
        log.info("waiting for the embedded servers to be started", home=str(home))
    while not stopped.is_set():
        known = known_addresses(home)
        if known is not None:
            return postgres or known.postgres_ro_dsn, redis or known.redis_api_url
        await clock.sleep_real(_LOOK_FOR_SERVERS_S)
    return None
