"""REST: paths, signatures, faults and the envelope around every answer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import msgspec
from aiohttp import web

from engine.exchange.matching.types import VenueRefusal
from engine.exchange.simulator import (
    rest_absent,
    rest_account,
    rest_margin,
    rest_market,
    rest_orders,
    rest_statistics,
    rest_trade,
)
from engine.exchange.simulator.faults import Fault, FaultKind
from engine.exchange.simulator.paging import Query, Rows
from engine.exchange.simulator.venue import Venue

_UNAUTHORISED: Final = frozenset(str(code) for code in range(50101, 50115))
_STATUSES: Final = {
    **dict.fromkeys(_UNAUTHORISED, 401),
    **dict.fromkeys(("50000", "50002", "50004", "50006", "50014", "51000"), 400),
    **{"50001": 503, "50011": 429, "50013": 429, "50026": 500, "50115": 405, "404": 404},
}
_NOT_CARRIED_OUT: Final = (FaultKind.DROP_BEFORE, FaultKind.HTTP, FaultKind.CODE)
_CARRIED_OUT: Final = (FaultKind.DROP_AFTER, FaultKind.CODE_AFTER, FaultKind.GARBAGE)


def _none(venue: Venue, query: Query) -> Rows:
    return []


def _none_of_account(venue: Venue, account: str, query: Query) -> Rows:
    return []


def _refusing(code: str, message: str) -> Callable[[Venue, str, dict[str, Any]], Rows]:
    def refuse(venue: Venue, account: str, body: dict[str, Any]) -> Rows:
        raise VenueRefusal(code, message)

    return refuse


_PUBLIC: Final = {**rest_market.ROUTES, **rest_statistics.ROUTES, **dict.fromkeys(rest_absent.PUBLIC, _none)}
_READS: Final = {
    **dict.fromkeys(rest_absent.PRIVATE, _none_of_account),
    **rest_account.READS,
    **rest_margin.READS,
    **rest_orders.READS,
}
_POSTS: Final[dict[str, Callable[[Venue, str, dict[str, Any]], list[Any]]]] = {
    "trade/close-position": rest_trade.close_position,
    "trade/cancel-all-after": rest_trade.cancel_all_after,
    **rest_account.WRITES,
    **rest_margin.WRITES,
    **{path: _refusing(*refusal) for path, refusal in rest_absent.REFUSED.items()},
}
_ITEMS: Final = frozenset(f"trade/{endpoint}" for endpoint in rest_trade.ITEM_ENDPOINTS)


class Rest:
    """Answers /api/v5/…"""

    def __init__(self, venue: Venue) -> None:
        self._venue = venue

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """One request. Every answer has the venue's envelope, whatever happens."""
        path = request.match_info["path"]
        raw = await request.read()
        self._venue.requests[path] += 1
        started_us = self._venue.told_ns() // 1000
        try:
            method = _method(path, request.method)
            account = self._account(request, path, raw)
            if method == "GET" or path not in _ITEMS:  # items are counted where they are carried out
                self._count(request, path, account)
            fault = await rest_trade.hindered(self._venue, path, *_NOT_CARRIED_OUT)
            if fault is not None:
                return self._broken(request, fault)
            if method == "GET":
                answer = self._get(request, path, account)
            else:
                answer = self._post(request, account, raw)
        except VenueRefusal as refusal:
            return _refused(refusal)
        fault = await rest_trade.hindered(self._venue, path, *_CARRIED_OUT)
        if fault is not None:
            return self._broken(request, fault)
        if method == "POST" and path in _ITEMS:
            answer |= {"inTime": str(started_us), "outTime": str(self._venue.told_ns() // 1000)}
        return _json(answer)

    def _account(self, request: web.Request, path: str, raw: bytes) -> str:
        """Key of a signed request; "" for public paths, which need none."""
        if path in _PUBLIC:
            return ""
        prehash = request.method + request.raw_path + raw.decode(errors="replace")
        return self._venue.gatekeeper.check_request(request.headers, prehash, self._venue.told_ns())

    def _count(self, request: web.Request, path: str, account: str) -> None:
        who, scope = account or request.remote or "", request.query.get("instId", "")
        scope = scope if scope in self._venue.world.quotes and path.startswith("public/") else ""
        name = f"query {path}" if path in _ITEMS else path
        self._venue.limiter.count(self._venue.clock.real_s(), name, who, scope)

    def _get(self, request: web.Request, path: str, account: str) -> dict[str, Any]:
        self._venue.step()
        query = {str(key): str(value) for key, value in request.query.items()}
        if path in _PUBLIC:
            return _envelope(_PUBLIC[path](self._venue, query))
        return _envelope(_READS[path](self._venue, account, query))

    def _post(self, request: web.Request, account: str, raw: bytes) -> dict[str, Any]:
        path = request.match_info["path"]
        needed = "withdraw" if path.startswith("asset/withdrawal") else "trade"
        self._venue.gatekeeper.check_permission(account, needed)
        body = _body(request, raw)
        rest_trade.check_life(self._venue, request.headers.get("expTime", ""))
        if path in _POSTS:
            if not isinstance(body, dict):
                raise VenueRefusal("50002", "JSON syntax error")
            return _envelope(_POSTS[path](self._venue, account, body))
        bodies = body if isinstance(body, list) else [body]
        rows = rest_trade.items(self._venue, account, path.removeprefix("trade/"), bodies)
        code, message = rest_trade.summary(rows)
        return {"code": code, "msg": message, "data": rows}

    @staticmethod
    def _broken(request: web.Request, fault: Fault) -> web.StreamResponse:
        if fault.kind in {FaultKind.DROP_BEFORE, FaultKind.DROP_AFTER}:
            if request.transport is not None:
                request.transport.abort()
            return web.Response(status=499)
        if fault.kind is FaultKind.HTTP:
            return web.Response(status=fault.status, text="<html>upstream</html>", content_type="text/html")
        if fault.kind is FaultKind.GARBAGE:
            return web.Response(body=b'{"code":"0","data":[{"\xff\x00', content_type="application/json")
        return _refused(VenueRefusal(fault.code, "On demand"))


def _method(path: str, method: str) -> str:
    """The method of a path. Raises VenueRefusal 404 for none, 50115 for another one than was used."""
    if path in _PUBLIC or path in _READS:
        methods = {"GET", "POST"} if path in _ITEMS else {"GET"}
    elif path in _POSTS or path in _ITEMS:
        methods = {"POST"}
    else:
        raise VenueRefusal("404", "Not Found")
    if method not in methods:
        raise VenueRefusal("50115", "Invalid request method.")
    return method


def _envelope(rows: object) -> dict[str, Any]:
    return {"code": "0", "msg": "", "data": rows}


def _body(request: web.Request, raw: bytes) -> Any:
    if not raw:
        raise VenueRefusal("50000", "Body for POST request can not be empty.")
    if request.content_type != "application/json":
        raise VenueRefusal("50006", "Invalid Content-Type, please use the 'application/json' format.")
    try:
        return msgspec.json.decode(raw)
    except msgspec.DecodeError as error:
        raise VenueRefusal("50002", "JSON syntax error") from error


def _refused(refusal: VenueRefusal) -> web.Response:
    status = _STATUSES.get(refusal.code, 200)
    return _json({"code": refusal.code, "msg": refusal.message, "data": []}, status)


def _json(body: dict[str, Any], status: int = 200) -> web.Response:
    return web.Response(body=msgspec.json.encode(body), status=status, content_type="application/json")
