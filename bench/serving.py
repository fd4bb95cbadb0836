"""Servers of the same answers, each a process of its own: `python -m bench.serving KIND PORT CPU`.

KIND `edgewise` is the API as it is, `aiohttp` a handler that returns ready bytes and does nothing else. Where
the database and Redis are comes from the environment; ready bytes are files of the folder BENCH_BODIES.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path
from typing import Final

from aiohttp import web

from api.serve import run_api
from bench.load import fastest_loop
from engine.config.engine import ApiConfig, EngineConfig
from engine.embedded import external_addresses

JSON: Final = "application/json"
BODIES: Final = "BENCH_BODIES"
READERS: Final = 4  # connections to Postgres, as many as the API has


def bodies() -> dict[str, bytes]:
    """The ready answers by name; none before they were written."""
    folder = os.environ.get(BODIES, "")
    return {path.name: path.read_bytes() for path in Path(folder).iterdir()} if folder else {}


def reader_dsn() -> str:
    """The database, as the API's role."""
    addresses = external_addresses(os.environ)
    assert addresses is not None
    return addresses.postgres_ro_dsn


def edgewise(port: int) -> None:
    addresses = external_addresses(os.environ)
    assert addresses is not None
    config = ApiConfig(port=port, postgres_dsn=addresses.postgres_ro_dsn, redis_url=addresses.redis_api_url)
    with tempfile.TemporaryDirectory(prefix="edgewise-bench-") as home:
        run_api(EngineConfig(api=config), Path(home))


def aiohttp(port: int) -> None:
    ready, loop = bodies(), fastest_loop()

    async def handler(request: web.Request) -> web.Response:
        return web.Response(body=ready[request.match_info["name"]], content_type=JSON)

    app = web.Application()
    app.router.add_get("/ready/{name}", handler)
    made = loop() if loop is not None else None
    web.run_app(app, host="127.0.0.1", port=port, access_log=None, print=None, loop=made)


if __name__ == "__main__":
    os.sched_setaffinity(0, {int(sys.argv[3])})
    {"edgewise": edgewise, "aiohttp": aiohttp}[sys.argv[1]](int(sys.argv[2]))
