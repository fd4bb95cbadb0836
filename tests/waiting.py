"""Waiting for what other tasks and processes bring about."""

from __future__ import annotations

import asyncio
from collections.abc import Callable


async def until(condition: Callable[[], bool], deadline_s: float = 20.0) -> None:
    """Wait for a condition; the deadline only ends a test that would never end."""
    async with asyncio.timeout(deadline_s):
        while not condition():
            await asyncio.sleep(0.005)
