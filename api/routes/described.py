"""The API's own description: OpenAPI 3.1, and the same as a page."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from aiohttp import web

from api.answers import Answer
from api.http import encode, respond
from api.page import page
from api.told import KINDS


def mount(app: web.Application, document: Mapping[str, Any]) -> None:
    """`/api/openapi.json` and `/api/docs`."""
    description, text = Answer(encode(document), 0), page(document, KINDS)

    async def openapi(request: web.Request) -> web.StreamResponse:
        return respond(request, description)

    async def docs(_: web.Request) -> web.Response:
        policy = {"Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'"}
        return web.Response(text=text, content_type="text/html", headers=policy)

    app.router.add_get("/api/openapi.json", openapi)
    app.router.add_get("/api/docs", docs)
