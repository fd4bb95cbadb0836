"""The three WebSocket paths: ping, login, subscriptions, order operations, and how they end."""

from __future__ import annotations

import asyncio
import math
import secrets
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final

import msgspec
from aiohttp import ClientConnectionResetError, WSMsgType, web

from engine.exchange.matching.types import VenueRefusal
from engine.exchange.simulator import rest_trade
from engine.exchange.simulator import wire_market as wire
from engine.exchange.simulator.faults import FaultKind
from engine.exchange.simulator.subscriptions import (
    CHANNELS,
    COUNTED,
    ENCODER,
    OF_SYMBOL,
    OF_VIP,
    PRIVATE,
    Arg,
    cleaned,
    frame,
    key,
    swap_of,
)
from engine.exchange.simulator.venue import Venue

_QUEUE: Final = 5_000
IDLE_S: Final = 30.0
SLOW: Final = 4005  # «Buffer is full, cannot write data»
_LARGEST: Final = 65_535
_MOST_REQUESTS: Final = 480  # login, subscribe and unsubscribe, an hour and connection
_HOUR_S: Final = 3600.0
_OPERATIONS: Final[dict[str, str]] = {
    "order": "order",
    "batch-orders": "batch-orders",
    "cancel-order": "cancel-order",
    "batch-cancel-orders": "cancel-batch-orders",
    "amend-order": "amend-order",
    "batch-amend-orders": "amend-batch-orders",
}


_PUSH: Final = '{"arg":{"channel":"'
_SPOILING: Final = (FaultKind.DUPLICATE, FaultKind.REORDER, FaultKind.MISSING)
_DROPS: Final = frozenset([FaultKind.DROP_BEFORE, FaultKind.DROP_AFTER])
_NOT_CARRIED_OUT: Final = (FaultKind.DROP_BEFORE, FaultKind.CODE)
_CARRIED_OUT: Final = (FaultKind.DROP_AFTER, FaultKind.CODE_AFTER)


class Socket:
    """One connection: a reader that answers, and a writer with a bounded queue (full: closed with 4005)."""

    def __init__(self, venue: Venue, path: str, ws: web.WebSocketResponse) -> None:
        self._venue, self.path, self._ws = venue, path, ws
        self._queue: asyncio.Queue[str | bytes] = asyncio.Queue(_QUEUE)
        self._held: dict[str, str] = {}  # by channel: a push that waits for the one after it (a fault)
        self._requests: list[float] = []
        self.account = ""
        self.subscriptions: dict[str, Arg] = {}
        self.conn_id = secrets.token_hex(4)
        self.sent_s = venue.clock.real_s()
        self.close_code = 0
        self.ends_s = math.inf  # when the venue closes it for an upgrade

    def send(self, text: str | bytes) -> None:
        """Queue a frame; nothing is queued while the silence fault lasts."""
        if self._venue.clock.real_s() < self._venue.hub.silent_until_s:
            return
        try:
            for each in self._spoilt(text):
                self._queue.put_nowait(each)
        except asyncio.QueueFull:
            self.close_code = SLOW

    def _spoilt(self, text: str | bytes) -> list[str | bytes]:
        """What is sent instead of a push while faults of pushes wait: it twice, it later, or nothing."""
        faults = self._venue.faults
        if not isinstance(text, str) or not text.startswith(_PUSH):
            return [text]
        if not self._held and not faults.any_of(*_SPOILING):
            return [text]
        channel = text[len(_PUSH) :].partition('"')[0]
        if (held := self._held.pop(channel, None)) is not None:
            return [text, held]
        fault = faults.take(channel, *_SPOILING)
        if fault is None:
            return [text]
        if fault.kind is FaultKind.REORDER:
            self._held[channel] = text
        return [text, text] if fault.kind is FaultKind.DUPLICATE else []

    async def run(self) -> None:
        """Serve until either side closes."""
        async with asyncio.TaskGroup() as self._tasks:
            writer = self._tasks.create_task(self._write(), name=f"socket {self.conn_id}")
            async for message in self._ws:
                if message.type is WSMsgType.TEXT:
                    await self._on_text(str(message.data))
            writer.cancel()  # what is delayed on demand still happens

    async def _write(self) -> None:
        with suppress(ClientConnectionResetError):  # the reader ends the connection
            while True:
                text = await self._queue.get()
                self.sent_s = self._venue.clock.real_s()
                await (self._ws.send_str(text) if isinstance(text, str) else self._ws.send_bytes(text))

    async def close(self, code: int, reason: str) -> None:
        """Close with a code; a client that does not answer the close is not waited for."""
        with suppress(TimeoutError):
            async with asyncio.timeout(1.0):
                await self._ws.close(code=code, message=reason.encode())

    def notice(self, ends_s: float) -> None:
        """Announce the end of the connection at `ends_s`, as the venue does a minute before an upgrade."""
        self.ends_s = ends_s
        text = "The connection will soon be closed for a service upgrade. Please reconnect."
        self._reply({"event": "notice", "code": "64008", "msg": text})

    async def _on_text(self, text: str) -> None:
        if text == "ping":
            self.send("pong")
            return
        if len(text) > _LARGEST:
            await self.close(1009, "Request message exceeds the maximum frame length")
            return
        try:
            asked = msgspec.json.decode(text, type=dict[str, Any])
        except (msgspec.DecodeError, msgspec.ValidationError):
            self._error("60012", f"Invalid request: {text}")
            return
        operation, args, request_id = str(asked.get("op")), asked.get("args"), str(asked.get("id") or "")
        handlers: dict[str, Callable[[Arg, str], None]] = {
            "login": self._login,
            "subscribe": self._subscribe,
            "unsubscribe": self._unsubscribe,
        }
        if not isinstance(args, list) or not args or not all(isinstance(arg, dict) for arg in args):
            self._error("60012", f"Invalid request: {text}", request_id)
        elif operation in _OPERATIONS:
            operating = self._operate(operation, asked, request_id)
            if self._venue.faults.any_of(FaultKind.DELAY, FaultKind.DELAY_BEFORE):
                self._tasks.create_task(operating, name=f"{operation} {request_id}")  # others overtake it
            else:
                await operating
        elif operation not in handlers:
            self._error("60012", f"Invalid request: {text}", request_id)
        elif self._too_many():
            self._error("60014", "Requests too frequent", request_id)
        else:
            for arg in args:
                handlers[operation](cleaned(arg), request_id)

    def _too_many(self) -> bool:
        now_s = self._venue.clock.real_s()
        self._requests = [at for at in self._requests if now_s - at < _HOUR_S]
        self._requests.append(now_s)
        return self._venue.limiter.on and len(self._requests) > _MOST_REQUESTS

    def _reply(self, answer: dict[str, Any], request_id: str = "") -> None:
        head = {"id": request_id} if request_id else {}
        self.send(ENCODER.encode(head | answer | {"connId": self.conn_id}).decode())

    def _error(self, code: str, message: str, request_id: str = "") -> None:
        self._reply({"event": "error", "code": code, "msg": message}, request_id)

    def _login(self, arg: Arg, request_id: str) -> None:
        try:
            self.account = self._key_of(arg)
        except VenueRefusal as refusal:
            self._error(refusal.code, refusal.message, request_id)
        else:
            self._reply({"event": "login", "code": "0", "msg": ""}, request_id)

    def _key_of(self, arg: Arg) -> str:
        """The account that a login proves. Raises VenueRefusal."""
        if self.account:
            raise VenueRefusal("60031", "The WebSocket endpoint does not allow repeated logins")
        if self._venue.faults.take("login", FaultKind.LOGIN):
            raise VenueRefusal("60009", "Login failed.")
        return self._venue.gatekeeper.check_login(arg, self._venue.told_ns())

    def _subscribe(self, arg: Arg, request_id: str) -> None:
        channel = str(arg.get("channel", ""))
        try:
            self._check_channel(arg)
        except VenueRefusal as refusal:
            self._error(refusal.code, refusal.message, request_id)
            return
        self.subscriptions[key(arg)] = arg
        self._reply({"event": "subscribe", "arg": arg}, request_id)
        if channel in COUNTED:
            sockets = [s for s in self._venue.hub.sockets if s.account == self.account]
            count = sum(a["channel"] == channel for s in sockets for a in s.subscriptions.values())
            self._reply({"event": "channel-conn-count", "channel": channel, "connCount": str(count)})
        if channel == "instruments":
            listed = self._venue.instruments() if arg.get("instType", "SWAP") == "SWAP" else []
            self.send(frame(arg, [wire.instrument(each, code) for each, code in listed]))
        elif channel in PRIVATE or channel in OF_SYMBOL:
            self._venue.hub.greet(self, arg, self._venue.now())

    def _check_channel(self, arg: Arg) -> None:
        """Raises VenueRefusal 60018 for what is not here, 60011 before login, 64003 for VIP channels."""
        channel, symbol = str(arg.get("channel", "")), str(arg.get("instId", ""))
        known = {each.instrument.symbol for each in self._venue.world.source.listings}
        exists = channel not in OF_SYMBOL or swap_of(arg) in known
        if channel not in CHANNELS[self.path] or not exists:
            raise VenueRefusal(
                "60018",
                f"Wrong URL or channel:{channel}, instId:{symbol} doesn't exist. Please use the correct URL, "
                "channel and parameters referring to API document.",
            )
        if channel in (PRIVATE | OF_VIP) and not self.account:
            raise VenueRefusal("60011", "Please log in")
        if channel in OF_VIP and not self._venue.vip:
            raise VenueRefusal("64003", "Your trading fee tier doesn't meet the requirement of the channel")

    def _unsubscribe(self, arg: Arg, request_id: str) -> None:
        self.subscriptions.pop(key(arg), None)
        self._reply({"event": "unsubscribe", "arg": arg}, request_id)

    # -- orders

    async def _operate(self, operation: str, asked: dict[str, Any], request_id: str) -> None:
        if self.path != "private":
            self._error("60028", "The operation is not supported by the current URL", request_id)
            return
        if not self.account:
            self._error("60011", "Please log in", request_id)
            return
        self._venue.requests[operation] += 1
        path, micros = f"trade/{_OPERATIONS[operation]}", self._venue.told_ns() // 1000
        fault = await rest_trade.hindered(self._venue, path, *_NOT_CARRIED_OUT)
        if fault is None:
            code, message, verdict = self._carry_out(_OPERATIONS[operation], asked)
            fault = await rest_trade.hindered(self._venue, path, *_CARRIED_OUT)
        if fault is not None:
            if fault.kind in _DROPS:
                await self.close(1011, "on demand")
                return
            code, message, verdict = fault.code, "On demand", []
        answer = {"id": request_id, "op": operation, "code": code, "msg": message, "data": verdict}
        times = {"inTime": str(micros), "outTime": str(self._venue.told_ns() // 1000)}
        self.send(ENCODER.encode(answer | times).decode())

    def _carry_out(self, endpoint: str, asked: dict[str, Any]) -> tuple[str, str, list[Any]]:
        """Code, text and verdicts of an operation on orders, which name their symbol by its number."""
        try:
            self._venue.gatekeeper.check_permission(self.account, "trade")
            rest_trade.check_life(self._venue, str(asked.get("expTime") or ""))
            bodies = [self._named(arg) for arg in asked["args"]]
            rows = rest_trade.items(self._venue, self.account, endpoint, bodies)
        except VenueRefusal as refusal:
            return refusal.code, refusal.message, []
        return *rest_trade.summary(rows), rows

    def _named(self, arg: Arg) -> Arg:
        code = arg.get("instIdCode")
        return arg if code is None else arg | {"instId": self._venue.symbol_of(code)}


async def serve_socket(request: web.Request, venue: Venue) -> web.StreamResponse:
    """One WebSocket connection, from handshake to close."""
    if fault := venue.faults.take(request.path, FaultKind.REFUSE_SOCKET):
        return web.Response(status=fault.status)
    ws = web.WebSocketResponse(autoping=True, max_msg_size=1 << 20)
    await ws.prepare(request)
    socket = Socket(venue, request.match_info["path"], ws)
    venue.hub.sockets.add(socket)
    try:
        await socket.run()
    finally:
        venue.hub.sockets.discard(socket)
    return ws
