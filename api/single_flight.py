"""One computation at a time for the same question, and its answer for as long as it is fresh."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import Final

from engine.clock import Clock

_MOST: Final = 512  # answers kept; the oldest goes first


class SingleFlight:
    """Keeps answers by key for `ttl_s` real seconds. A failure is not kept; all who wait see it."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._kept: OrderedDict[str, tuple[float, bytes]] = OrderedDict()
        self._flying: dict[str, asyncio.Future[bytes]] = {}

    async def get(self, key: str, ttl_s: float, make: Callable[[], Awaitable[bytes]]) -> bytes:
        """The kept answer, the one that is being made, or a new one; raises what `make` raises."""
        kept = self._kept.get(key)
        if kept is not None and self._clock.real_s() < kept[0]:
            return kept[1]
        while (flying := self._flying.get(key)) is not None:
            try:
                return await asyncio.shield(flying)
            except asyncio.CancelledError:
                if not flying.cancelled():
                    raise  # we were cancelled, not the one who makes it
        return await self._make(key, ttl_s, make)

    async def _make(self, key: str, ttl_s: float, make: Callable[[], Awaitable[bytes]]) -> bytes:
        flying: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._flying[key] = flying
        try:
            answer = await make()
        except asyncio.CancelledError:
            flying.cancel()
            raise
        except BaseException as error:
            flying.set_exception(error)
            flying.exception()  # seen: nobody need be waiting
            raise
        else:
            flying.set_result(answer)
            self._keep(key, ttl_s, answer)
            return answer
        finally:
            del self._flying[key]

    def _keep(self, key: str, ttl_s: float, answer: bytes) -> None:
        self._kept.pop(key, None)
        self._kept[key] = (self._clock.real_s() + ttl_s, answer)
        while len(self._kept) > _MOST:
            self._kept.popitem(last=False)
