"""What Redis knows beside Postgres: live prices and the engine's status. Losing it loses no answer."""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Any, Final, Self

import msgspec
import redis.asyncio as redis
import structlog
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

from engine.clock import Clock
from engine.status import STATUS_KEY, EngineStatus

log = structlog.get_logger()

PRICES_KEY: Final = "market:prices"
_TIMEOUT_S: Final = 0.5
_PAUSE_S: Final = 1.0  # after a failure: the next second is answered without Redis


class Price(msgspec.Struct, frozen=True, kw_only=True):
    """A field of `market:prices`, as nof1 shows it: a coin's newest price and when it was received (ms)."""

    symbol: str
    price: float
    timestamp: int


class LiveCache:
    """Reads the engine's keys; when Redis is away every answer is empty and none waits.

    Nothing is written: a write would need the `api:*` right, and answers are kept in the process.
    """

    def __init__(self, url: str, clock: Clock) -> None:
        self._url = url
        self._clock = clock
        self._client: redis.Redis | None = None
        self._is_up = True
        self._failed_at_s = -_PAUSE_S

    async def __aenter__(self) -> Self:
        self._client = redis.Redis.from_url(
            self._url,
            socket_timeout=_TIMEOUT_S,
            socket_connect_timeout=_TIMEOUT_S,
            retry=Retry(NoBackoff(), 0),
            max_connections=8,
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._client is not None:
            await self._client.aclose()
            self._client = None

    @property
    def is_up(self) -> bool:
        """Whether the last question was answered."""
        return self._is_up

    async def prices(self) -> dict[str, Price]:
        """Newest price by coin; fields that do not parse are left out."""
        fields: dict[bytes, bytes] = await self._ask("hgetall", PRICES_KEY) or {}
        found = {}
        for text in fields.values():
            try:
                price = msgspec.json.decode(text, type=Price)
            except msgspec.DecodeError as error:
                log.warning("price not understood", error=str(error))
            else:
                found[price.symbol] = price
        return found

    async def status(self) -> EngineStatus | None:
        """What the engine last said of itself; None when it has been silent for 15 s."""
        text = await self._ask("get", STATUS_KEY)
        try:
            return msgspec.json.decode(text, type=EngineStatus) if text else None
        except msgspec.DecodeError as error:
            log.warning("engine status not understood", error=str(error))
            return None

    async def _ask(self, command: str, key: str) -> Any:
        if self._client is None or (not self._is_up and self._clock.real_s() - self._failed_at_s < _PAUSE_S):
            return None
        try:
            async with asyncio.timeout(_TIMEOUT_S):
                answer = await getattr(self._client, command)(key)
        except (RedisError, OSError, TimeoutError) as error:
            self._failed_at_s = self._clock.real_s()
            if self._is_up:
                self._is_up = False
                log.warning("redis went away", error=str(error) or type(error).__name__)
            return None
        if not self._is_up:
            self._is_up = True
            log.info("redis came back")
        return answer
