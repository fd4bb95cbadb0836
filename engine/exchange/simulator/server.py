"""The simulator as a server: REST and sockets on one port, and the pump that moves its market."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import msgspec
from aiohttp import web

from engine.exchange.simulator.faults import Fault, FaultKind
from engine.exchange.simulator.manual import ManualMarket, Nudge
from engine.exchange.simulator.rest import Rest
from engine.exchange.simulator.sockets import IDLE_S, Socket, serve_socket
from engine.exchange.simulator.venue import Venue

_PUMP_S: Final = 0.1  # real time between pushes of one channel
_SAVE_S: Final = 5.0
_PATHS: Final = "public|private|business"


class Server:
    """Serves one venue until its block is left. `port` is the one that was taken when 0 was asked for."""

    def __init__(self, venue: Venue, port: int, host: str = "127.0.0.1") -> None:
        self._venue = venue
        self._host, self.port = host, port
        self._rest = Rest(venue)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Listen and let time pass; stops cleanly, state saved."""
        runner = web.AppRunner(self._app(), access_log=None, shutdown_timeout=0.5)
        await runner.setup()
        try:
            site = web.TCPSite(runner, self._host, self.port)
            await site.start()
            self.port = int(runner.addresses[0][1])
            self._venue.step()
            async with asyncio.TaskGroup() as tasks:
                pump = tasks.create_task(self._pump(), name="pump")
                yield
                pump.cancel()
        finally:
            for socket in self._sockets():
                await socket.close(1001, "going away")
            await runner.cleanup()
            self._venue.world.save()

    def _app(self) -> web.Application:
        app = web.Application(client_max_size=1 << 20)
        app.router.add_route("*", "/api/v5/{path:.*}", self._rest.handle)
        app.router.add_get(f"/ws/v5/{{path:{_PATHS}}}", self._socket)
        app.router.add_get("/sim/faults", self._show_faults)
        app.router.add_post("/sim/faults", self._add_fault)
        app.router.add_delete("/sim/faults", self._clear_faults)
        app.router.add_get("/sim/state", self._state)
        app.router.add_post("/sim/market", self._nudge)
        return app

    async def _socket(self, request: web.Request) -> web.StreamResponse:
        return await serve_socket(request, self._venue)

    def _sockets(self) -> list[Socket]:
        return [socket for socket in self._venue.hub.sockets if isinstance(socket, Socket)]

    # -- time

    async def _pump(self) -> None:
        clock = self._venue.clock
        next_save_s = clock.real_s() + _SAVE_S
        while True:
            self._venue.step()
            self._venue.hub.flush()
            await self._close_lost(clock.real_s())
            if clock.real_s() >= next_save_s:
                self._venue.world.save()
                next_save_s = clock.real_s() + _SAVE_S
            await clock.sleep_real(_PUMP_S)

    async def _close_lost(self, now_s: float) -> None:
        for socket in self._sockets():
            if socket.close_code:
                await socket.close(socket.close_code, "Slow consumer")
            elif now_s - socket.sent_s > IDLE_S:
                await socket.close(4004, "No data received in 30s.")

    # -- the simulator's own paths

    async def _add_fault(self, request: web.Request) -> web.Response:
        try:
            fault = msgspec.json.decode(await request.read(), type=Fault)
        except (msgspec.DecodeError, msgspec.ValidationError) as error:
            return web.Response(status=400, text=str(error))
        if fault.kind is FaultKind.CUT:
            for socket in self._sockets():
                await socket.close(1011, "on demand")
        elif fault.kind is FaultKind.SILENCE:
            self._venue.hub.silent_until_s = self._venue.clock.real_s() + fault.seconds
        elif fault.kind is FaultKind.GARBAGE:
            for socket in self._sockets():
                socket.send('{"arg":{"channel":"tickers"},"data":[{"last":')
        else:
            self._venue.faults.add(fault)
        return web.json_response({"ok": True})

    async def _show_faults(self, _: web.Request) -> web.Response:
        return web.Response(
            body=msgspec.json.encode(self._venue.faults.waiting), content_type="application/json"
        )

    async def _clear_faults(self, _: web.Request) -> web.Response:
        self._venue.faults.clear()
        return web.json_response({"ok": True})

    async def _state(self, _: web.Request) -> web.Response:
        """Requests for orders as they came in, by client id; what the tests count."""
        return web.json_response({"orders_received": dict(self._venue.orders_received)})

    async def _nudge(self, request: web.Request) -> web.Response:
        source = self._venue.world.source
        if not isinstance(source, ManualMarket):
            return web.Response(status=409, text="the market moves by itself; start with --manual")
        try:
            source.nudge(msgspec.json.decode(await request.read(), type=Nudge, strict=False))
        except (msgspec.DecodeError, msgspec.ValidationError) as error:
            return web.Response(status=400, text=str(error))
        self._venue.step()
        self._venue.hub.flush()
        return web.json_response({"ok": True})
