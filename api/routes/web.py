"""The page that people look at: static files beside this package, which read the API like any client."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Final

from aiohttp import web
from aiohttp.typedefs import Handler

_FILES: Final = Path(__file__).parent.parent / "web"
_TYPES: Final = {
    ".html": "text/html",
    ".js": "text/javascript",
    ".css": "text/css",
    ".svg": "image/svg+xml",
}
# nothing but what this service itself serves, and no script inside a page
_POLICY: Final = "default-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
PATHS: Final = {"/": _FILES / "index.html"} | {f"/web/{file.name}": file for file in _FILES.iterdir()}


def mount(app: web.Application) -> None:
    """`/` and `/web/*`, read once: they need no token, and show nothing without one."""
    for path, file in PATHS.items():
        app.router.add_get(path, _handler(file.read_bytes(), _TYPES[file.suffix]))


def _handler(body: bytes, kind: str) -> Handler:
    etag = hashlib.sha256(body).hexdigest()[:32]

    async def handler(request: web.Request) -> web.Response:
        headers = {"ETag": f'"{etag}"', "Cache-Control": "no-cache", "Content-Security-Policy": _POLICY}
        if request.if_none_match and any(match.value == etag for match in request.if_none_match):
            return web.Response(status=304, headers=headers)
        return web.Response(body=body, content_type=kind, charset="utf-8", headers=headers)

    return handler
