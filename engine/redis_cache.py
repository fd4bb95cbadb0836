"""Newest values for the faces, in Redis beside the truth: losing them loses nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from typing import Any

from engine.clock import Clock
from engine.core.errors import BusUnavailable
from engine.redis_link import Gate, Link, RedisTiming
from engine.redis_streams import RedisStreams


class RedisCache:
    """Key and value. No method raises when the server is away: writes are dropped and counted, reads miss."""

    def __init__(
        self, streams: RedisStreams, link: Link, gate: Gate, timing: RedisTiming, clock: Clock
    ) -> None:
        self._streams, self._link, self._gate = streams, link, gate
        self._timing, self._clock = timing, clock
        self.writes_dropped = 0

    async def set_hash(self, key: str, mapping: Mapping[str, bytes]) -> None:
        """Set fields of the hash `key`; other fields stay."""
        fields: dict[Any, Any] = dict(mapping)
        if fields:
            await self._write("hset", key, lambda: self._streams.client.hset(key, mapping=fields))

    async def set_json(self, key: str, value: bytes, ttl_s: float = 0) -> None:
        """Replace the value of `key`; `ttl_s` above 0 lets it go after that many real seconds."""
        ttl_ms = int(ttl_s * 1000) or None
        await self._write("set", key, lambda: self._streams.client.set(key, value, px=ttl_ms))

    async def get(self, key: str) -> bytes | None:
        """The value, None when there is none or the server is away."""
        with suppress(BusUnavailable):
            value: bytes | None = await self._run("get", key, lambda: self._streams.client.get(key))
            return value
        return None

    async def _write(self, name: str, key: str, command: Callable[[], Awaitable[Any]]) -> None:
        try:
            await self._run(name, key, command)
        except BusUnavailable:
            self.writes_dropped += 1

    async def _run(self, name: str, key: str, command: Callable[[], Awaitable[Any]]) -> Any:
        """Run a command, in `cache_s` at most. A server that is away is not asked by everybody again.

        Raises BusUnavailable.
        """
        away_s = self._clock.real_s() - self._link.failed_at_s
        if not self._link.up and away_s < self._timing.longest_wait_s:
            raise BusUnavailable("redis: away")
        await self._gate.passed()
        with self._streams.watched(name, key):
            async with asyncio.timeout(self._timing.cache_s):
                return await command()
