"""What one client may take: requests a second, and time to say what it wants."""

from __future__ import annotations

import ipaddress
from collections import OrderedDict
from collections.abc import Callable
from functools import lru_cache
from typing import Final

from aiohttp import web

from api.http import Check, problem
from engine.clock import Clock

_MOST_CLIENTS: Final = 10_000  # remembered; who was silent longest is forgotten first
_LOOK_EVERY_S: Final = 1.0
_UNLIMITED: Final = frozenset({"/healthz", "/readyz"})


class TokenBuckets:
    """For each client `burst` requests at once and `per_s` a second on average."""

    def __init__(self, per_s: float, burst: int) -> None:
        self._per_s, self._burst = per_s, burst
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()  # tokens, as of

    @property
    def remembered(self) -> int:
        """How many clients are known."""
        return len(self._buckets)

    def wait_s(self, client: str, now_s: float) -> float:
        """0 when the request may pass, which it then did; else seconds until one may."""
        tokens, then_s = self._buckets.pop(client, (float(self._burst), now_s))
        tokens = min(float(self._burst), tokens + (now_s - then_s) * self._per_s)
        passes = tokens >= 1.0
        self._buckets[client] = (tokens - 1.0 if passes else tokens, now_s)
        if len(self._buckets) > _MOST_CLIENTS:
            self._buckets.popitem(last=False)
        return 0.0 if passes else (1.0 - tokens) / self._per_s


def rate_limit(per_s: float, burst: int, clock: Clock) -> Check:
    """429 with Retry-After for a client that asks too often; clients on this machine are not counted.

    A client is its address. `per_s` 0: no limit.
    """
    buckets = TokenBuckets(per_s, burst)

    def check(request: web.Request) -> web.Response | None:
        client = request.remote or ""
        if per_s and not _is_local(client) and request.path not in _UNLIMITED:
            wait_s = buckets.wait_s(client, clock.real_s())
            if wait_s:
                response = problem(429, "Too many requests", f"At most {per_s:g} a second.")
                response.headers["Retry-After"] = str(int(wait_s) + 1)
                return response
        return None

    return check


@lru_cache(maxsize=1024)
def _is_local(client: str) -> bool:
    try:
        return ipaddress.ip_address(client).is_loopback
    except ValueError:  # a Unix socket has no address
        return not client


class SlowClients:
    """Closes connections that take longer than `header_timeout_s` to say a whole request (slow loris).

    aiohttp bounds idle connections itself, but not one that sends a byte now and then.
    """

    def __init__(self, clock: Clock, header_timeout_s: float) -> None:
        self._clock, self._timeout_s = clock, header_timeout_s
        self._waiting: dict[web.RequestHandler, float] = {}  # since when nothing was asked
        self._busy: set[int] = set()
        self.closed = 0

    def busy(self, connection: web.RequestHandler) -> None:
        """A whole request was said, and is being answered."""
        self._busy.add(id(connection))

    def idle(self, connection: web.RequestHandler) -> None:
        """It is answered; the connection may wait again."""
        self._busy.discard(id(connection))
        self._waiting.pop(connection, None)

    async def run(self, connections: Callable[[], list[web.RequestHandler]]) -> None:
        """Look at all connections once a second, for ever."""
        while True:
            await self._clock.sleep_real(_LOOK_EVERY_S)
            self.look(connections())

    def look(self, connections: list[web.RequestHandler]) -> None:
        """Close what has waited for too long."""
        now_s = self._clock.real_s()
        waiting = [each for each in connections if id(each) not in self._busy]
        self._waiting = {each: self._waiting.get(each, now_s) for each in waiting}
        for each, since_s in list(self._waiting.items()):
            if now_s - since_s > self._timeout_s:
                self.closed += 1
                del self._waiting[each]
                each.force_close()
