"""What every answer has in common: JSON, ETag, compression, problem+json, request ids, security headers."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Callable
from itertools import count, repeat
from typing import Final, TypeVar

import msgspec
import structlog
from aiohttp import web
from aiohttp.typedefs import Handler, Middleware
from multidict import CIMultiDict

from api.answers import Answer
from engine.core.errors import StoreUnavailable

log = structlog.get_logger()
T = TypeVar("T", bound=msgspec.Struct)

_ENCODER: Final = msgspec.json.Encoder(decimal_format="number")
HEADERS: Final = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
}
CORS: Final = web.RequestKey("cors", dict[str, str])  # headers of answers to an allowed origin
_SENT: Final = "Authorization, If-None-Match, Last-Event-ID"
_REQUEST_ID_LENGTH: Final = 64
_READS: Final = ("GET", "HEAD", "OPTIONS")
_ids: Final = map("{}{:08x}".format, repeat(secrets.token_hex(6)), count())  # of requests that bring none

Check = Callable[[web.Request], web.Response | None]


class Problem(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An error as RFC 9457 writes it."""

    title: str
    status: int
    detail: str = ""
    instance: str = ""


def encode(body: object) -> bytes:
    """JSON bytes; Decimals become JSON numbers with all their digits."""
    return _ENCODER.encode(body)


def respond(request: web.Request, answer: Answer, wrong_for_s: float = 0.0) -> web.Response:
    """An answer as the client takes it: compressed if it can, 304 without a body when it has it already.

    `wrong_for_s`: how old it is although something newer may have been written (the database is away).
    """
    headers = CIMultiDict(answer.headers)
    if wrong_for_s:
        headers["X-Stale-Seconds"] = f"{wrong_for_s:.3f}"
        headers["Warning"] = '110 - "Response is Stale"'  # RFC 7234, which clients still know
    if "If-None-Match" in request.headers and _has_it(request, answer):
        return web.Response(status=304, headers=headers)
    body, encoding = answer.encoded(request.headers.get("Accept-Encoding", ""))
    if encoding:
        headers["Content-Encoding"] = encoding
    headers["Content-Type"] = "application/json"
    return web.Response(body=body, headers=headers)


def _has_it(request: web.Request, answer: Answer) -> bool:
    return any(each.value in {answer.etag, "*"} for each in request.if_none_match or ())


def problem(status: int, title: str, detail: str = "") -> web.Response:
    """An error answer."""
    body = encode(Problem(title=title, status=status, detail=detail))
    return web.Response(status=status, body=body, content_type="application/problem+json")


def query_of(request: web.Request, type_: type[T]) -> T:
    """Query string and path as a Struct. Raises HTTPException 400 (problem+json) that names what is wrong."""
    try:
        return msgspec.convert({**request.query, **request.match_info}, type_, strict=False)
    except msgspec.ValidationError as error:
        raise bad_query(str(error)) from error


def bad_query(detail: str) -> web.HTTPBadRequest:
    """What is wrong with a query, to be raised."""
    body = encode(Problem(title="Bad query", status=400, detail=detail))
    return web.HTTPBadRequest(text=body.decode(), content_type="application/problem+json")


@web.middleware
async def finished(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Request id and security headers on every answer; every error is a problem+json."""
    request_id = request.headers.get("X-Request-ID", "")[:_REQUEST_ID_LENGTH]
    if not request_id or not request_id.isascii() or not request_id.replace("-", "").isalnum():
        request_id = next(_ids)
    response: web.StreamResponse
    try:
        response = await handler(request)
    except web.HTTPException as error:
        if error.content_type == "application/problem+json":
            response = web.Response(status=error.status, text=error.text, content_type=error.content_type)
        else:
            response = problem(error.status, error.reason)
            response.headers.extend({k: v for k, v in error.headers.items() if k == "Allow"})
    except StoreUnavailable:
        log.warning("answer without the database refused", path=request.path)
        response = problem(503, "Database unavailable", "Try again; the engine is not affected.")
        response.headers["Retry-After"] = "2"
    except Exception:
        log.exception("request failed", path=request.path, request=request_id)
        response = problem(500, "Internal error", f"It was logged as {request_id}.")
    if response.prepared:  # a stream: its headers are out
        return response
    response.headers["X-Request-ID"] = request_id
    for name, value in HEADERS.items():
        response.headers.setdefault(name, value)
    return response


def allowed(*checks: Check) -> Middleware:
    """Let through what no check objects to; the first objection is the answer."""

    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        for check in checks:
            if (objection := check(request)) is not None:
                return objection
        return await handler(request)

    return middleware


def only_reads(request: web.Request) -> web.Response | None:
    """Refuse every method that could change something."""
    if request.method not in _READS:
        raise web.HTTPMethodNotAllowed(request.method, _READS)
    return None


def bearer(tokens: tuple[str, ...], open_paths: frozenset[str]) -> Check:
    """Ask for one of `tokens`, compared in constant time, on every route that is not open (M4)."""
    digests = [hashlib.sha256(token.encode()).digest() for token in tokens]

    def check(request: web.Request) -> web.Response | None:
        if digests and request.path not in open_paths and request.method != "OPTIONS":
            given = request.headers.get("Authorization", "").removeprefix("Bearer ")
            digest = hashlib.sha256(given.encode()).digest()
            if not any([hmac.compare_digest(digest, known) for known in digests]):
                response = problem(401, "Unauthorized", "Send Authorization: Bearer with a valid token.")
                response.headers["WWW-Authenticate"] = "Bearer"
                return response
        return None

    return check


def cors(origins: tuple[str, ...]) -> Middleware:
    """Allow the configured origins to read from a browser; none by default."""

    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        origin = request.headers.get("Origin", "")
        allowed = origin and ("*" in origins or origin in origins)
        preflight = request.method == "OPTIONS"
        if allowed:
            shown = "*" if "*" in origins else origin
            request[CORS] = {"Access-Control-Allow-Origin": shown, "Vary": "Origin"}
        response = web.Response(status=204) if preflight and allowed else await handler(request)
        if allowed and not response.prepared:
            response.headers.extend(request[CORS])
            if preflight:
                response.headers["Access-Control-Allow-Methods"] = "GET, HEAD"
                response.headers["Access-Control-Allow-Headers"] = _SENT
        return response

    return middleware
