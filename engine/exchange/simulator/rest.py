"""REST: paths, signatures, faults and the envelope around every answer."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any, Final

import msgspec
from aiohttp import web

from engine.exchange.matching.types import VenueRefusal
from engine.exchange.simulator import rest_account, rest_market, rest_trade
from engine.exchange.simulator.faults import Fault, FaultKind
from engine.exchange.simulator.venue import Venue

# Requests per window of two seconds, as the endpoint pages of docs-v5 say; others are not counted.
_LIMITS: Final = {
    "trade/order": 60,
    "trade/batch-orders": 300,
    "trade/cancel-order": 60,
    "trade/amend-order": 60,
    "trade/order-algo": 20,
    "trade/cancel-algos": 20,
    "trade/orders-pending": 60,
    "trade/orders-history": 40,
    "trade/fills": 60,
    "trade/fills-history": 10,
    "trade/orders-algo-pending": 20,
    "account/balance": 10,
    "account/positions": 10,
    "account/config": 5,
    "account/bills": 10,
    "account/set-leverage": 20,
    "public/instruments": 20,
    "public/time": 10,
    "market/candles": 40,
    "market/history-candles": 20,
    "market/books": 40,
    "market/tickers": 20,
    "market/ticker": 20,
}
_WINDOW_S: Final = 2.0
_UNAUTHORISED: Final = frozenset(str(code) for code in (*range(50100, 50120), 50102))
_NOT_CARRIED_OUT: Final = (FaultKind.DROP_BEFORE, FaultKind.HTTP, FaultKind.CODE)
_POSTS: Final[dict[str, Callable[[Venue, str, dict[str, Any]], list[Any]]]] = {
    "trade/close-position": rest_trade.close_position,
    "trade/cancel-all-after": rest_trade.cancel_all_after,
    **rest_account.WRITES,
}


class Rest:
    """Answers /api/v5/…"""

    def __init__(self, venue: Venue) -> None:
        self._venue = venue
        self._seen: dict[tuple[str, str], deque[float]] = {}

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """One request. Every answer has the venue's envelope, whatever happens."""
        path = request.match_info["path"]
        raw = await request.read()
        started_us = self._venue.now() // 1000
        try:
            account = self._account(request, path, raw)
            self._count(account or request.remote or "", path)
            fault = self._venue.faults.take(path, *_NOT_CARRIED_OUT)
            if fault is not None:
                return self._broken(request, fault)
            answer = self._answer(request, path, account, raw)
        except VenueRefusal as refusal:
            return _refused(refusal)
        fault = self._venue.faults.take(path, FaultKind.DROP_AFTER, FaultKind.CODE_AFTER)
        if fault is not None:
            return self._broken(request, fault)
        if delay := self._venue.faults.take(path, FaultKind.DELAY):
            await self._venue.clock.sleep_real(delay.seconds)
        if path.startswith("trade/"):
            answer |= {"inTime": str(started_us), "outTime": str(self._venue.now() // 1000)}
        return _json(answer)

    def _account(self, request: web.Request, path: str, raw: bytes) -> str:
        """Key of a signed request; "" for public paths, which need none."""
        if path in rest_market.ROUTES:
            return ""
        prehash = request.method + request.path_qs + raw.decode(errors="replace")
        return self._venue.gatekeeper.check_request(request.headers, prehash, self._venue.now())

    def _count(self, who: str, path: str) -> None:
        most = _LIMITS.get(path)
        if not self._venue.limits or most is None:
            return
        now_s = self._venue.clock.real_s()
        seen = self._seen.setdefault((who, path), deque())
        while seen and now_s - seen[0] >= _WINDOW_S:
            seen.popleft()
        if len(seen) >= most:
            raise VenueRefusal("50011", "Too Many Requests")
        seen.append(now_s)

    def _answer(self, request: web.Request, path: str, account: str, raw: bytes) -> dict[str, Any]:
        if request.method == "GET":
            self._venue.step()
            query = {str(key): str(value) for key, value in request.query.items()}
            if path in rest_market.ROUTES:
                return _envelope(rest_market.ROUTES[path](self._venue, query))
            if path in rest_account.READS:
                return _envelope(rest_account.READS[path](self._venue, account, query))
        elif request.method == "POST":
            return self._post(path, account, _body(raw))
        raise VenueRefusal("404", "Not Found")

    def _post(self, path: str, account: str, body: Any) -> dict[str, Any]:
        if account in self._venue.read_only_keys:
            raise VenueRefusal("50120", "This API key doesn't have permission to use this function")
        if path in _POSTS and isinstance(body, dict):
            return _envelope(_POSTS[path](self._venue, account, body))
        endpoint = path.removeprefix("trade/")
        if path.startswith("trade/") and endpoint in rest_trade.ITEM_ENDPOINTS:
            bodies = body if isinstance(body, list) else [body]
            rows = rest_trade.items(self._venue, account, endpoint, bodies)
            code, message = rest_trade.summary(rows)
            return {"code": code, "msg": message, "data": rows}
        raise VenueRefusal("404", "Not Found")

    @staticmethod
    def _broken(request: web.Request, fault: Fault) -> web.StreamResponse:
        if fault.kind in {FaultKind.DROP_BEFORE, FaultKind.DROP_AFTER}:
            if request.transport is not None:
                request.transport.abort()
            return web.Response(status=499)
        if fault.kind is FaultKind.HTTP:
            return web.Response(status=fault.status, text="<html>upstream</html>", content_type="text/html")
        return _refused(VenueRefusal(fault.code, "On demand"))


def _envelope(rows: list[Any]) -> dict[str, Any]:
    return {"code": "0", "msg": "", "data": rows}


def _body(raw: bytes) -> Any:
    try:
        return msgspec.json.decode(raw or b"{}")
    except msgspec.DecodeError as error:
        raise VenueRefusal("50002", "JSON syntax error") from error


def _refused(refusal: VenueRefusal) -> web.Response:
    statuses = {"50011": 429, "404": 404, "50001": 503, "50004": 400}
    status = 401 if refusal.code in _UNAUTHORISED else statuses.get(refusal.code, 200)
    return _json({"code": refusal.code, "msg": refusal.message, "data": []}, status)


def _json(body: dict[str, Any], status: int = 200) -> web.Response:
    return web.Response(body=msgspec.json.encode(body), status=status, content_type="application/json")
