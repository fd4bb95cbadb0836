"""What happens to every request, whatever it asks: checked, answered, counted; each error is a problem+json.

It stands before the application, not among its middlewares: an address that was asked for before needs no
routing, and each middleware costs a request as much as finding its answer does.
"""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from itertools import count, repeat
from typing import Final, cast

import structlog
from aiohttp import web
from aiohttp.typedefs import Handler
from aiohttp.web_request import BaseRequest

from api.endpoint import Meaning
from api.http import CORS, Check, problem
from api.limits import SlowClients
from api.metrics import ApiMetrics
from api.sending import HEADERS, Ready
from api.tracing import span_of
from engine.clock import Clock
from engine.core.errors import StoreUnavailable
from engine.telemetry.spans import Export

log = structlog.get_logger()

_Handler = Callable[[BaseRequest], Awaitable[web.StreamResponse]]

_SENT: Final = "Authorization, If-None-Match, Last-Event-ID"
_REQUEST_ID_LENGTH: Final = 64
_PROBLEM: Final = "application/problem+json"
_ids: Final = map("{}{:08x}".format, repeat(secrets.token_hex(6)), count())  # of requests that bring none


@dataclass(frozen=True, slots=True, kw_only=True)
class Front:
    """Stands before the application. `checks` in their order: the first that objects gives the answer."""

    app: web.Application
    known: Mapping[str, Meaning]  # addresses that need no routing
    clock: Clock
    metrics: ApiMetrics
    slow: SlowClients
    checks: tuple[Check, ...]
    origins: tuple[str, ...]  # that may read from a browser, errors too
    export: Export | None  # gets a span of each request

    def stand_before(self, runner: web.BaseRunner) -> None:
        """Be asked first on every connection that comes from now on. Raises RuntimeError before its setup."""
        server = runner.server
        if server is None:
            raise RuntimeError("a runner has a server once it is set up")
        routed = cast(Handler, server.request_handler)  # an application's requests are web.Request

        async def handler(request: web.Request) -> web.StreamResponse:
            return await self._serve(request, routed)

        server.request_handler = cast(_Handler, handler)

    async def _serve(self, request: web.Request, routed: Handler) -> web.StreamResponse:
        began_s, status = self.clock.real_s(), 500
        began_ns = self.clock.now_ns() if self.export is not None else 0
        meaning = self.known.get(request.raw_path) if request.method == "GET" else None
        request_id, allowed = _id_of(request), _cors(request, self.origins)
        response = self._at_once(request, is_allowed=bool(allowed))
        is_routed = response is None and meaning is None
        self.slow.busy(request.protocol)
        try:
            if response is None:
                response = await _answered(request, routed if meaning is None else meaning.answer, request_id)
            status = response.status
        finally:
            self.slow.idle(request.protocol)
            route = meaning.route if meaning is not None else await self._route(request, is_routed=is_routed)
            self.metrics.count(route, status, self.clock.real_s() - began_s)
        if not response.prepared:  # that of a stream is: its headers are out
            _finish(response, request_id, allowed)
        if self.export is not None:
            times = began_ns, self.clock.now_ns()
            self.export(span_of(request, route, response, request_id, times))
        return response

    def _at_once(self, request: web.Request, *, is_allowed: bool) -> web.StreamResponse | None:
        """The answer to a browser that asks whether it may, or the first objection; None: go on."""
        if is_allowed and request.method == "OPTIONS":
            return _preflight()
        for check in self.checks:
            if (objection := check(request)) is not None:
                return objection
        return None

    async def _route(self, request: web.Request, *, is_routed: bool) -> str:
        """The pattern, never the address that was asked for."""
        found = request.match_info if is_routed else await self.app.router.resolve(request)
        resource = found.route.resource
        return resource.canonical if resource is not None else "unknown"


async def _answered(request: web.Request, handler: Handler, request_id: str) -> web.StreamResponse:
    """The handler's answer; what went wrong in words."""
    try:
        return await handler(request)
    except web.HTTPException as error:
        if error.content_type == _PROBLEM:
            return web.Response(status=error.status, text=error.text, content_type=_PROBLEM)
        response = problem(error.status, error.reason)
        response.headers.extend({k: v for k, v in error.headers.items() if k == "Allow"})
    except StoreUnavailable:
        log.warning("answer without the database refused", path=request.path)
        response = problem(503, "Database unavailable", "Try again; the engine is not affected.")
        response.headers["Retry-After"] = "2"
    except Exception:
        log.exception("request failed", path=request.path, request=request_id)
        response = problem(500, "Internal error", f"It was logged as {request_id}.")
    return response


def _id_of(request: web.Request) -> str:
    """The id that the client gave its request, if it is one; else one of ours."""
    given = request.headers.get("X-Request-ID")
    if given is None:
        return next(_ids)
    given = given[:_REQUEST_ID_LENGTH]
    return given if given.isascii() and given.replace("-", "").isalnum() else next(_ids)


def _cors(request: web.Request, origins: tuple[str, ...]) -> dict[str, str]:
    """Headers for a browser that asks from an allowed page, which a stream sends itself; none for others."""
    origin = request.headers.get("Origin")
    if not origin or not ("*" in origins or origin in origins):
        return {}
    request[CORS] = {"Access-Control-Allow-Origin": "*" if "*" in origins else origin, "Vary": "Origin"}
    return request[CORS]


def _preflight() -> web.Response:
    allowed = {"Access-Control-Allow-Methods": "GET, HEAD", "Access-Control-Allow-Headers": _SENT}
    return web.Response(status=204, headers=allowed)


def _finish(response: web.StreamResponse, request_id: str, allowed: dict[str, str]) -> None:
    """The headers of every answer; those of a ready one are in its bytes."""
    headers = response.headers
    headers["X-Request-ID"] = request_id
    if allowed:
        headers.extend(allowed)
    if not isinstance(response, Ready):
        for name, value in HEADERS.items():
            headers.setdefault(name, value)
