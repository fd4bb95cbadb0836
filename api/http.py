"""What answers have in common: JSON, ETag, compression, problem+json; and who may ask."""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Callable
from decimal import Decimal
from http import HTTPStatus
from typing import Final, TypeVar

import msgspec
from aiohttp import web

from api.answers import Answer
from api.sending import Ready, takes_ready

T = TypeVar("T", bound=msgspec.Struct)
Check = Callable[[web.Request], web.Response | None]  # what it objects to a request with

_ENCODER: Final = msgspec.json.Encoder(decimal_format="number")
_TOKEN: Final = re.compile(rb'"(?:[^"\\]|\\.)*"|-?[0-9.]+E[+-][0-9]+')  # a text, or a power of ten
CORS: Final = web.RequestKey("cors", dict[str, str])  # headers of answers to an allowed origin
_READS: Final = ("GET", "HEAD", "OPTIONS")


class Problem(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An error as RFC 9457 writes it."""

    title: str
    status: int
    detail: str = ""
    instance: str = ""


def encode(body: object) -> bytes:
    """JSON bytes; Decimals become JSON numbers with all their digits, never as powers of ten."""
    text = _ENCODER.encode(body)
    return _TOKEN.sub(_plain, text) if b"E+" in text or b"E-" in text else text


def _plain(token: re.Match[bytes]) -> bytes:
    found = token[0]
    return found if found.startswith(b'"') else f"{Decimal(found.decode()):f}".encode()


def respond(request: web.Request, answer: Answer, wrong_for_s: float = 0.0) -> web.StreamResponse:
    """An answer as the client takes it: compressed if it can, 304 without a body when it has it already.

    `wrong_for_s`: how old it is although something newer may have been written (the database is away).
    """
    has_it = "If-None-Match" in request.headers and _has_it(request, answer)
    form = answer.nothing if has_it else answer.form(request.headers.get("Accept-Encoding", ""))
    status = HTTPStatus.NOT_MODIFIED if has_it else HTTPStatus.OK
    response: web.StreamResponse
    if takes_ready(request):
        response = Ready(status, form.head, form.body)
    else:
        response = web.Response(status=status, body=form.body, headers=form.headers)
    if wrong_for_s:
        response.headers["X-Stale-Seconds"] = f"{wrong_for_s:.3f}"
        response.headers["Warning"] = '110 - "Response is Stale"'  # RFC 7234, which clients still know
    return response


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


def only_reads(request: web.Request) -> web.Response | None:
    """Refuse every method that could change something."""
    if request.method in _READS:
        return None
    response = problem(405, "Method Not Allowed")
    response.headers["Allow"] = ",".join(_READS)
    return response


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
