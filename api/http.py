"""What every answer has in common: JSON, ETag, problem+json errors, request ids, security headers."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from typing import Final, TypeVar

import msgspec
import structlog
from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from engine.core.errors import StoreUnavailable

log = structlog.get_logger()
T = TypeVar("T", bound=msgspec.Struct)

_ENCODER: Final = msgspec.json.Encoder(decimal_format="number")
_HEADERS: Final = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
}
_OPEN_PATHS: Final = frozenset({"/api/health", "/healthz"})
_REQUEST_ID_LENGTH: Final = 64


class Problem(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An error as RFC 9457 writes it."""

    title: str
    status: int
    detail: str = ""
    instance: str = ""


def encode(body: object) -> bytes:
    """JSON bytes; Decimals become JSON numbers with all their digits."""
    return _ENCODER.encode(body)


def json_response(request: web.Request, body: bytes, *, max_age_s: int = 0) -> web.Response:
    """Bytes that are JSON already, with an ETag; 304 without a body when the client has them."""
    etag = hashlib.blake2b(body, digest_size=12).hexdigest()
    headers = {"ETag": f'"{etag}"', "Cache-Control": f"private, max-age={max_age_s}"}
    if request.if_none_match and any(match.value in {etag, "*"} for match in request.if_none_match):
        return web.Response(status=304, headers=headers)
    response = web.Response(body=body, content_type="application/json", headers=headers)
    response.enable_compression()
    return response


def problem(status: int, title: str, detail: str = "") -> web.Response:
    """An error answer."""
    body = encode(Problem(title=title, status=status, detail=detail))
    return web.Response(status=status, body=body, content_type="application/problem+json")


def query_of(request: web.Request, type_: type[T]) -> T:
    """Query string and path as a Struct. Raises HTTPException 400 (problem+json) that names what is wrong."""
    try:
        return msgspec.convert({**request.query, **request.match_info}, type_, strict=False)
    except msgspec.ValidationError as error:
        body = encode(Problem(title="Bad query", status=400, detail=str(error)))
        raise web.HTTPBadRequest(text=body.decode(), content_type="application/problem+json") from error


@web.middleware
async def answers(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Request id and security headers on every answer; every error is a problem+json."""
    request_id = request.headers.get("X-Request-ID", "")[:_REQUEST_ID_LENGTH]
    if not request_id.isascii() or not request_id.replace("-", "").isalnum():
        request_id = secrets.token_hex(8)
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
    response.headers["X-Request-ID"] = request_id
    for name, value in _HEADERS.items():
        response.headers.setdefault(name, value)
    return response


def only_reads() -> Middleware:
    """Refuse every method that could change something."""

    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        if request.method not in {"GET", "HEAD", "OPTIONS"}:
            raise web.HTTPMethodNotAllowed(request.method, ["GET", "HEAD", "OPTIONS"])
        return await handler(request)

    return middleware


def bearer(tokens: tuple[str, ...]) -> Middleware:
    """Ask for one of `tokens`, compared in constant time, on every route but health (M4)."""
    digests = [hashlib.sha256(token.encode()).digest() for token in tokens]

    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        if digests and request.path not in _OPEN_PATHS and request.method != "OPTIONS":
            given = request.headers.get("Authorization", "").removeprefix("Bearer ")
            digest = hashlib.sha256(given.encode()).digest()
            if not any([hmac.compare_digest(digest, known) for known in digests]):
                response = problem(401, "Unauthorized", "Send Authorization: Bearer with a valid token.")
                response.headers["WWW-Authenticate"] = "Bearer"
                return response
        return await handler(request)

    return middleware


def cors(origins: tuple[str, ...]) -> Middleware:
    """Allow the configured origins to read from a browser; none by default."""

    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        origin = request.headers.get("Origin", "")
        allowed = origin and ("*" in origins or origin in origins)
        preflight = request.method == "OPTIONS"
        response = web.Response(status=204) if preflight and allowed else await handler(request)
        if allowed:
            response.headers["Access-Control-Allow-Origin"] = "*" if "*" in origins else origin
            response.headers["Vary"] = "Origin"
            if preflight:
                response.headers["Access-Control-Allow-Methods"] = "GET, HEAD"
                response.headers["Access-Control-Allow-Headers"] = "Authorization, If-None-Match"
        return response

    return middleware
