"""Start to listen, or say plainly which address cannot be had."""

from __future__ import annotations

import os
import ssl

from aiohttp import web

from engine.core.errors import ConfigError


async def listen(
    runner: web.AppRunner, host: str, port: int, remedy: str, tls: ssl.SSLContext | None = None
) -> int:
    """Listen at an address, port 0 for a free one; returns the port. `remedy`: what can be set instead.

    Raises ConfigError when the address is taken, not allowed or not of this machine.
    """
    try:
        await web.TCPSite(runner, host, port, ssl_context=tls).start()
    except OSError as error:
        # asyncio wraps the reason in a sentence of its own; a name without an address has no errno above 0.
        reason = os.strerror(error.errno) if error.errno and error.errno > 0 else str(error.strerror or error)
        raise ConfigError(f"cannot listen on {host}:{port}: {reason}; set {remedy}") from error
    return int(runner.addresses[0][1])
