"""For those who watch processes: alive, and ready to answer from the database."""

from __future__ import annotations

from aiohttp import web

from api.http import problem
from engine.core.errors import StoreUnavailable
from engine.journal.postgres.reader import JournalReader


def mount(app: web.Application, reader: JournalReader) -> None:
    """`/healthz`: the process answers. `/readyz`: the database does too; 503 while it does not."""

    async def alive(_: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def ready(_: web.Request) -> web.Response:
        try:
            await reader.trader_ids()
        except StoreUnavailable as error:
            return problem(503, "Not ready", str(error))
        return web.Response(text="ready\n")

    app.router.add_get("/healthz", alive)
    app.router.add_get("/readyz", ready)
