"""Runs the server until it is told to stop."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable

from aiohttp import web

from engine.clock import SystemClock
from engine.listen import listen
from engine.modelserver.app import make_app


async def serve(host: str, port: int, ready: Callable[[str], None]) -> None:
    """Serve on `host`:`port` (0: a free one) until SIGINT or SIGTERM; `ready` gets the base URL.

    Raises ConfigError when the address cannot be had.
    """
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stopped.set)
    runner = web.AppRunner(make_app(SystemClock()), access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    try:
        ready(f"http://{host}:{await listen(runner, host, port, 'another --port or --host')}/v1")
        await stopped.wait()
    finally:
        await runner.cleanup()
