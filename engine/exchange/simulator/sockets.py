"""The three WebSocket paths: ping, login, subscriptions, order operations, and how they end."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable
from typing import Any, Final

import msgspec
from aiohttp import WSMsgType, web

from engine.exchange.matching.types import VenueRefusal
from engine.exchange.simulator import rest_trade
from engine.exchange.simulator.faults import FaultKind
from engine.exchange.simulator.pushes import CANDLES, PRIVATE, Arg
from engine.exchange.simulator.venue import Venue

_QUEUE: Final = 5_000
IDLE_S: Final = 30.0
_LARGEST: Final = 65_535
_PUBLIC: Final = frozenset(
    [
        "instruments",
        "tickers",
        "trades",
        "books",
        "books5",
        "bbo-tbt",
        "mark-price",
        "index-tickers",
        "funding-rate",
        "open-interest",
        "price-limit",
        "status",
    ]
)
_CHANNELS: Final = {
    "public": _PUBLIC,
    "private": PRIVATE - {"orders-algo", "algo-advance"},
    "business": frozenset(CANDLES) | {"orders-algo", "algo-advance", "trades-all"},
}
_COUNTED: Final = frozenset({"orders", "account", "positions", "balance_and_position"})
_OPERATIONS: Final[dict[str, str]] = {
    "order": "order",
    "batch-orders": "batch-orders",
    "cancel-order": "cancel-order",
    "batch-cancel-orders": "cancel-batch-orders",
    "amend-order": "amend-order",
    "batch-amend-orders": "amend-batch-orders",
}


class Socket:
    """One connection: a reader that answers, and a writer with a bounded queue (full: closed with 4005)."""

    def __init__(self, venue: Venue, path: str, ws: web.WebSocketResponse) -> None:
        self._venue, self._path, self._ws = venue, path, ws
        self._queue: asyncio.Queue[str] = asyncio.Queue(_QUEUE)
        self.account = ""
        self.subscriptions: dict[str, Arg] = {}
        self.conn_id = secrets.token_hex(4)
        self.sent_s = venue.clock.real_s()
        self.close_code = 0

    def send(self, text: str) -> None:
        """Queue a frame; nothing is queued while the silence fault lasts."""
        if self._venue.clock.real_s() < self._venue.hub.silent_until_s:
            return
        try:
            self._queue.put_nowait(text)
        except asyncio.QueueFull:
            self.close_code = 4005

    async def run(self) -> None:
        """Serve until either side closes."""
        writer = asyncio.ensure_future(self._write())
        try:
            async for message in self._ws:
                if message.type is WSMsgType.TEXT:
                    await self._on_text(str(message.data))
        finally:
            writer.cancel()

    async def _write(self) -> None:
        while True:
            text = await self._queue.get()
            self.sent_s = self._venue.clock.real_s()
            await self._ws.send_str(text)

    async def close(self, code: int, reason: str) -> None:
        await self._ws.close(code=code, message=reason.encode())

    async def _on_text(self, text: str) -> None:
        if text == "ping":
            self.send("pong")
            return
        if len(text) > _LARGEST:
            await self.close(1009, "Request message exceeds the maximum frame length")
            return
        try:
            frame = msgspec.json.decode(text, type=dict[str, Any])
        except (msgspec.DecodeError, msgspec.ValidationError):
            self._error("60012", f"Invalid request: {text}")
            return
        operation, request_id = frame.get("op"), str(frame.get("id") or "")
        handlers: dict[str, Callable[[Any, str], None]] = {
            "login": self._login,
            "subscribe": self._subscribe,
            "unsubscribe": self._unsubscribe,
        }
        if operation in handlers and isinstance(frame.get("args"), list):
            for arg in frame["args"]:
                handlers[operation](arg, request_id)
        elif operation in _OPERATIONS and isinstance(frame.get("args"), list):
            self._operate(str(operation), frame["args"], request_id)
        else:
            self._error("60012", f"Invalid request: {text}", request_id)

    def _reply(self, frame: dict[str, Any], request_id: str = "") -> None:
        head = {"id": request_id} if request_id else {}
        self.send(msgspec.json.encode(head | frame | {"connId": self.conn_id}).decode())

    def _error(self, code: str, message: str, request_id: str = "") -> None:
        self._reply({"event": "error", "code": code, "msg": message}, request_id)

    def _login(self, arg: Any, request_id: str) -> None:
        if self._path == "public":
            self._error("60008", "The current WebSocket endpoint does not support login", request_id)
        elif self.account:
            self._error(
                "60031", "The WebSocket endpoint does not allow multiple or repeated logins", request_id
            )
        elif self._venue.faults.take("login", FaultKind.LOGIN):
            self._error("60009", "Login failed.", request_id)
        else:
            try:
                self.account = self._venue.gatekeeper.check_login(arg, self._venue.now())
            except VenueRefusal as refusal:
                self._error(refusal.code, refusal.message, request_id)
            else:
                self._reply({"event": "login", "code": "0", "msg": ""}, request_id)

    def _subscribe(self, arg: Any, request_id: str) -> None:
        channel = str(arg.get("channel", "")) if isinstance(arg, dict) else ""
        if channel in PRIVATE and not self.account:
            self._error("60011", "Please log in", request_id)
            return
        symbol = str(arg.get("instId", "")) if isinstance(arg, dict) else ""
        if channel not in _CHANNELS[self._path] or not self._exists(channel, symbol):
            text = (
                f"Wrong URL or channel:{channel}, instId:{symbol} doesn't exist. Please use the correct URL, "
            )
            self._error("60018", text + "channel and parameters referring to API document.", request_id)
            return
        cleaned = {str(key): str(value) for key, value in arg.items()}
        self.subscriptions[f"{channel}:{symbol}"] = cleaned
        self._reply({"event": "subscribe", "arg": cleaned}, request_id)
        if channel in _COUNTED:
            count = sum(
                1
                for s in self._venue.hub.sockets
                for a in s.subscriptions.values()
                if a["channel"] == channel
            )
            self._reply({"event": "channel-conn-count", "channel": channel, "connCount": str(count)})
        if channel in PRIVATE:
            self._venue.hub.snapshot(self, cleaned)
        elif channel == "instruments":
            self.send(self._venue.hub.instruments_frame(cleaned, self._venue.instruments()))
        else:
            self._venue.hub.refresh(symbol)

    def _exists(self, channel: str, symbol: str) -> bool:
        if channel in PRIVATE or channel in {"instruments", "status"}:
            return True
        known = {each.instrument.symbol for each in self._venue.world.source.listings}
        return symbol in known or (channel == "index-tickers" and f"{symbol}-SWAP" in known)

    def _unsubscribe(self, arg: Any, request_id: str) -> None:
        self.subscriptions.pop(f"{arg.get('channel')}:{arg.get('instId', '')}", None)
        self._reply({"event": "unsubscribe", "arg": arg}, request_id)

    def _operate(self, operation: str, args: list[Any], request_id: str) -> None:
        if not self.account:
            self._error("60011", "Please log in", request_id)
            return
        verdict = rest_trade.items(self._venue, self.account, _OPERATIONS[operation], args)
        code, message = rest_trade.summary(verdict)
        micros = str(self._venue.now() // 1000)
        reply = {"op": operation, "code": code, "msg": message, "data": verdict}
        self.send(
            msgspec.json.encode({"id": request_id, **reply, "inTime": micros, "outTime": micros}).decode()
        )


async def serve_socket(request: web.Request, venue: Venue) -> web.WebSocketResponse:
    """One WebSocket connection, from handshake to close."""
    ws = web.WebSocketResponse(autoping=True, max_msg_size=1 << 20)
    await ws.prepare(request)
    socket = Socket(venue, request.match_info["path"], ws)
    venue.hub.sockets.add(socket)
    try:
        await socket.run()
    finally:
        venue.hub.sockets.discard(socket)
    return ws
