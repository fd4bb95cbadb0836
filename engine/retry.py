"""Patience with our own servers: what must be written or published is tried until it is."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

import stamina

from engine.core.errors import BusUnavailable, StoreUnavailable

T = TypeVar("T")
_FIRST_WAIT_S: Final = 0.1
_LONGEST_WAIT_S: Final = 2.0


async def patiently(action: Callable[[], Awaitable[T]], at_most_s: float | None = None) -> T:
    """Await `action()` until Postgres or Redis, whichever it needs, is back; other errors pass.

    Only for idempotent actions: one that failed may have been done. Never for requests to a venue. After
    `at_most_s` of real time, if given, the newest StoreUnavailable or BusUnavailable passes too.
    """
    try:
        return await action()  # nearly always; the machinery of retries costs more than most actions
    except (StoreUnavailable, BusUnavailable):
        pass
    async for attempt in stamina.retry_context(
        on=(StoreUnavailable, BusUnavailable),
        attempts=None,
        timeout=at_most_s,
        wait_initial=_FIRST_WAIT_S,
        wait_max=_LONGEST_WAIT_S,
    ):
        with attempt:
            return await action()
    raise AssertionError("retry_context ends only with a result")
