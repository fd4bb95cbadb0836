"""The read-only HTTP application: its routes, and what stands before them. Nothing of it trades."""

from __future__ import annotations

from contextlib import suppress
from importlib.metadata import version
from typing import Any, Final, NamedTuple

from aiohttp import web

from api import openapi
from api.answers import Answers
from api.endpoint import Endpoint, Meaning, Sources, mount
from api.front import Front
from api.http import Check, bearer, only_reads
from api.limits import SlowClients, rate_limit
from api.metrics import ApiMetrics, Counted
from api.routes import (
    accounts,
    allocation,
    analytics,
    backtests,
    described,
    health,
    market,
    money,
    probes,
    records,
    shadow,
    snapshots,
    stream,
    trades,
)
from api.routes import (
    web as page,
)
from api.stream import Broadcast
from engine.clock import Clock
from engine.config.engine import ApiConfig, EngineConfig
from engine.core.errors import StoreUnavailable
from engine.telemetry.spans import Export

ENDPOINTS: Final[tuple[Endpoint[Any], ...]] = (
    *health.ENDPOINTS,
    *market.ENDPOINTS,
    *snapshots.ENDPOINTS,
    *money.ENDPOINTS,
    *allocation.ENDPOINTS,
    *accounts.ENDPOINTS,
    *trades.ENDPOINTS,
    *analytics.ENDPOINTS,
    *records.ENDPOINTS,
    *backtests.ENDPOINTS,
    *shadow.ENDPOINTS,
)
_OPEN_PATHS: Final = frozenset({"/api/health", "/healthz", "/readyz", *page.PATHS})  # without a token
_LONGEST_BODY: Final = 1024  # nobody has a reason to send one


class Service(NamedTuple):
    """The application, what stands before it, and what works beside it while it is served."""

    app: web.Application
    front: Front
    broadcast: Broadcast
    slow: SlowClients


def make_app(sources: Sources, engine: EngineConfig, export: Export | None = None) -> Service:
    """The application over sources that the caller has opened and will close. `export` gets its spans."""
    clock, slow = sources.clock, SlowClients(sources.clock, engine.api.header_timeout)
    answers = Answers(clock, sources.cache, lambda: broadcast.live)

    async def names() -> tuple[str, ...]:
        with suppress(StoreUnavailable):
            return tuple(await sources.reader.trader_ids())
        return ()

    broadcast = Broadcast(sources.cache, clock, engine.env, answers.wrote, names)
    metrics = ApiMetrics(Counted(answers, broadcast, slow))
    known: dict[str, Meaning] = {}
    app = _routed(sources, answers, broadcast, known)
    app.router.add_get("/metrics", metrics.page)
    front = Front(
        app=app,
        known=known,
        clock=clock,
        metrics=metrics,
        slow=slow,
        checks=_checks(engine.api, clock),
        origins=engine.api.cors_origins,
        export=export,
    )
    return Service(app, front, broadcast, slow)


def _routed(
    sources: Sources, answers: Answers, broadcast: Broadcast, known: dict[str, Meaning]
) -> web.Application:
    """All routes; what they have begun ends with the application."""
    app = web.Application(client_max_size=_LONGEST_BODY)
    for endpoint in ENDPOINTS:
        mount(app, endpoint, sources, answers, known)
    stream.mount(app, broadcast)
    described.mount(app, openapi.document(ENDPOINTS, version("edgewise")))
    probes.mount(app, sources.reader)
    page.mount(app)

    async def end(_: web.Application) -> None:
        broadcast.close()

    async def stop(_: web.Application) -> None:
        await answers.aclose()

    app.on_shutdown.append(end)
    app.on_cleanup.append(stop)
    return app


def _checks(config: ApiConfig, clock: Clock) -> tuple[Check, ...]:
    """Who may ask, and how often."""
    return (
        only_reads,
        rate_limit(config.rate_limit_per_s, config.rate_limit_burst, clock),
        bearer(config.tokens, _OPEN_PATHS),
    )
