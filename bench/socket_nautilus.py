"""The same socket by nautilus_trader's client, which is Rust and calls Python once a frame."""

from __future__ import annotations

import asyncio
from time import process_time_ns
from typing import Any

from bench.bare import ASKED, NS_PER_US, Decoders
from engine.garbage import settle


class _Handler:
    """Decodes in the callback, in the order of the tape; a thread of the client's calls it."""

    def __init__(self, decoders: Decoders) -> None:
        self._decoders, self._left = iter(decoders), len(decoders)
        self._loop = asyncio.get_running_loop()
        self._began = 0
        self.took_us = 0.0
        self.done = asyncio.Event()

    def __call__(self, data: bytes) -> None:
        if not self._began:  # the answer to the subscription
            self._began = process_time_ns()
            return
        next(self._decoders)(data)
        self._left -= 1
        if not self._left:
            self.took_us = (process_time_ns() - self._began) / NS_PER_US
            self._loop.call_soon_threadsafe(self.done.set)


async def by_nautilus(url: str, decoders: Decoders) -> float:
    """msgspec in the callback. Microseconds of this process, all its threads."""
    from nautilus_trader.core import nautilus_pyo3

    network: Any = nautilus_pyo3
    handler = _Handler(decoders)
    client = await network.WebSocketClient.connect(network.WebSocketConfig(url, handler, []))
    settle()
    await client.send_text(ASKED, None)
    await handler.done.wait()
    await client.disconnect()
    return handler.took_us
