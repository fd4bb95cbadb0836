"""The simulator as a server: REST and sockets on one port, and the pump that moves its market."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import msgspec
import structlog
from aiohttp import web

from engine.core.errors import ConfigError
from engine.exchange.matching.types import VenueRefusal
from engine.exchange.simulator.faults import Fault
from engine.exchange.simulator.happenings import Happenings
from engine.exchange.simulator.manual import Nudge
from engine.exchange.simulator.rest import Rest
from engine.exchange.simulator.sockets import IDLE_S, SLOW, serve_socket
from engine.exchange.simulator.venue import Venue
from engine.listen import listen

_PUMP_S: Final = 0.1  # real time between pushes of one channel
_SAVE_S: Final = 5.0
_PATHS: Final = "public|private|business"
log = structlog.get_logger()


class Server:
    """Serves one venue until its block is left. `port` is the one that was taken when 0 was asked for."""

    def __init__(
        self,
        venue: Venue,
        port: int,
        host: str = "127.0.0.1",
        faults: Iterable[Fault] = (),
        certificate: Path | None = None,
    ) -> None:
        """With a `certificate`, a PEM file that holds its key too, TLS is spoken. Raises ConfigError."""
        self._faults = tuple(faults)
        self._venue = venue
        self._host, self.port = host, port
        self._tls = _tls_of(certificate) if certificate else None
        self._rest = Rest(venue)
        self._happenings = Happenings(venue)
        self._said_ended = False

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Listen and let time pass; stops cleanly, state saved. Raises ConfigError for a taken port."""
        runner = web.AppRunner(self._app(), access_log=None, shutdown_timeout=0.5)
        await runner.setup()
        try:
            self.port = await listen(runner, self._host, self.port, "another --port", self._tls)
            self._venue.step()
            await self._begin_faults()
            async with asyncio.TaskGroup() as tasks:
                pump = tasks.create_task(self._pump(), name="pump")
                yield
                pump.cancel()
        except BaseExceptionGroup as group:
            if len(group.exceptions) == 1:  # the group is ours: what was raised inside it says it all
                raise group.exceptions[0] from None
            raise
        finally:
            await self._happenings.close(1001, "going away")
            await runner.cleanup()
            self._venue.world.close()

    async def _begin_faults(self) -> None:
        for fault in self._faults:
            try:
                await self._happenings.add(fault)
            except VenueRefusal as refusal:
                raise ConfigError(f"--faults: {fault.kind.value}: {refusal.message}") from refusal

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

    # -- time

    async def _pump(self) -> None:
        clock = self._venue.clock
        next_save_s = clock.real_s() + _SAVE_S
        while True:
            self._venue.step()
            self._venue.flush()
            await self._happenings.tick()
            await self._close_lost(clock.real_s())
            self._say_ended()
            if clock.real_s() >= next_save_s:
                self._venue.world.save()
                next_save_s = clock.real_s() + _SAVE_S
            await clock.sleep_real(_PUMP_S)

    async def _close_lost(self, now_s: float) -> None:
        for socket in self._happenings.sockets():
            if socket.close_code == SLOW:
                await socket.close(SLOW, "Buffer is full, cannot write data.")
            elif now_s - socket.sent_s > IDLE_S:
                await socket.close(4004, "No data received in 30s.")
            elif now_s >= socket.ends_s:
                await socket.close(1001, "service upgrade")

    def _say_ended(self) -> None:
        status = self._venue.world.source.status()
        if "ended" in status and not self._said_ended:
            self._said_ended = True
            log.warning("recording ended", market=status)

    # -- the simulator's own paths

    async def _add_fault(self, request: web.Request) -> web.Response:
        try:
            await self._happenings.add(msgspec.json.decode(await request.read(), type=Fault))
        except (msgspec.DecodeError, msgspec.ValidationError) as error:
            return web.Response(status=400, text=str(error))
        except VenueRefusal as refusal:
            return web.Response(status=409, text=refusal.message)
        return web.json_response({"ok": True})

    async def _show_faults(self, _: web.Request) -> web.Response:
        return web.Response(
            body=msgspec.json.encode(self._venue.faults.waiting), content_type="application/json"
        )

    async def _clear_faults(self, _: web.Request) -> web.Response:
        self._happenings.clear()
        return web.json_response({"ok": True})

    async def _state(self, _: web.Request) -> web.Response:
        """What the tests count: orders by account and client id as they came in, requests by path."""
        venue = self._venue
        return web.json_response(
            {
                "market": venue.world.source.status(),
                "ts": venue.now(),
                "sockets": len(venue.hub.sockets),
                "orders_received": dict(venue.orders_received),
                "requests": dict(venue.requests),
            }
        )

    async def _nudge(self, request: web.Request) -> web.Response:
        try:
            nudge = msgspec.json.decode(await request.read(), type=Nudge, strict=False)
            self._venue.nudge(nudge)
        except (msgspec.DecodeError, msgspec.ValidationError) as error:
            return web.Response(status=400, text=str(error))
        except VenueRefusal as refusal:
            return web.Response(status=409, text=refusal.message)
        self._venue.flush()
        return web.json_response({"ok": True})


def _tls_of(certificate: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        context.load_cert_chain(certificate)
    except OSError as error:  # ssl.SSLError is one
        raise ConfigError(f"--certificate {certificate}: no PEM file with certificate and key") from error
    return context
