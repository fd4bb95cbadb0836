"""What Redis knows beside Postgres: live prices and the engine's status. Losing it loses no answer."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from decimal import Decimal
from types import TracebackType
from typing import Any, Final, Self

import msgspec
import redis.asyncio as redis
import structlog
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

from engine.bus_owner import DATABASE, KEY
from engine.clock import Clock
from engine.core.errors import BusUnavailable
from engine.core.signals import MarketSnapshot
from engine.redis_link import SLOW_S, kept_cancellation, told_if_slow
from engine.telemetry.status import EngineStatus, status_key

log = structlog.get_logger()

PRICES_KEY: Final = "market:prices"
_TIMEOUT_S: Final = 0.5
_COPY: Final = "api:answer:"
_FOLLOW_S: Final = 2.0
_FOLLOW_COUNT: Final = 500
_PAUSE_S: Final = 1.0  # after a failure: the next second is answered without Redis


class Price(msgspec.Struct, frozen=True, kw_only=True):
    """A field of `market:prices`, as nof1 shows it: a coin's newest price and when it was received (ms)."""

    symbol: str
    price: float
    timestamp: int


class StreamEntry(msgspec.Struct, frozen=True):
    """One message of a stream of the bus."""

    topic: str
    entry_id: str
    payload: bytes


class LiveCache:
    """Reads the engine's keys and streams; when Redis is away every answer is empty and none waits.

    Written are only copies of answers, below `api:`, which is all that the API's user may write. `env` is
    that of the engine whose status is told.
    """

    def __init__(self, url: str, env: str, clock: Clock, *, slow_s: float = SLOW_S) -> None:
        self._url, self._env, self._slow_s = url, env, slow_s
        self._clock = clock
        self._client: redis.Redis | None = None
        self._follower: redis.Redis | None = None
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
        if self._follower is not None:
            await self._follower.aclose()
            self._follower = None

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
        text = await self._ask("get", status_key(self._env))
        try:
            return msgspec.json.decode(text, type=EngineStatus) if text else None
        except msgspec.DecodeError as error:
            log.warning("engine status not understood", error=str(error))
            return None

    async def belongs_to(self) -> str:
        """Id of the database that this Redis belongs to; "" before an engine has claimed it."""
        found = await self._ask("hget", KEY, DATABASE)
        return found.decode() if found else ""

    async def snapshots(self, symbols: Sequence[str]) -> list[MarketSnapshot]:
        """The newest snapshot of each symbol that has one; what does not parse is left out."""
        if not symbols:
            return []
        texts = await self._ask("mget", *(f"market:snapshot:{symbol}" for symbol in symbols)) or ()
        found = []
        for text in texts:
            try:
                found += [msgspec.json.decode(text, type=MarketSnapshot)] if text else []
            except msgspec.DecodeError as error:
                log.warning("snapshot not understood", error=str(error))
        return found

    async def equities(self, traders: Sequence[str]) -> dict[str, float]:
        """Equity of each trader that has one."""
        if not traders:
            return {}
        texts = await self._ask("mget", *(f"trader:{name}:equity" for name in traders)) or ()
        found = {}
        for name, text in zip(traders, texts, strict=False):
            equity = msgspec.json.decode(text, type=Decimal | None) if text else None
            if equity is not None:
                found[name] = float(equity)
        return found

    # -- copies of answers

    async def copy(self, key: str) -> bytes | None:
        """A copy that was kept; None when there is none."""
        found: bytes | None = await self._ask("get", _COPY + key)
        return found

    async def keep_copy(self, key: str, copy: bytes, ttl_s: int) -> None:
        """Keep a copy for `ttl_s` seconds."""
        await self._ask("set", _COPY + key, copy, ex=ttl_s)

    async def drop_copies(self, keys: Iterable[str]) -> None:
        """Forget copies."""
        await self._ask("unlink", *(_COPY + key for key in keys))

    # -- streams

    async def newest_ids(self, streams: Mapping[str, str]) -> dict[str, str]:
        """Where each stream ends, by topic; `streams` is topic → key. Raises BusUnavailable."""
        ends = {}
        with _outage():
            for topic, key in streams.items():
                async with asyncio.timeout(_TIMEOUT_S):
                    newest: Any = await self._streams().xrevrange(key, count=1)
                ends[topic] = newest[0][0].decode() if newest else "0-0"
        return ends

    async def follow(self, streams: Mapping[str, str], after: dict[str, str]) -> list[StreamEntry]:
        """What came after the ids in `after` (by topic), oldest first of each stream; moves them on.

        Waits up to two seconds for something to come. Raises BusUnavailable.
        """
        topics = {key.encode(): topic for topic, key in streams.items()}
        with _outage():
            async with asyncio.timeout(_FOLLOW_S + _TIMEOUT_S):
                found: Any = await self._streams().xread(
                    {key: after[topic] for topic, key in streams.items()},
                    count=_FOLLOW_COUNT,
                    block=int(_FOLLOW_S * 1000),
                )
        entries = []
        for key, messages in found or ():
            topic = topics[key]
            for entry_id, fields in messages:
                after[topic] = entry_id.decode()
                entries.append(StreamEntry(topic, after[topic], next(iter(fields.values()), b"")))
        return entries

    def _streams(self) -> redis.Redis:
        """A connection that may wait for longer than an answer may take."""
        if self._follower is None:
            self._follower = redis.Redis.from_url(
                self._url,
                protocol=2,
                socket_timeout=_FOLLOW_S + _TIMEOUT_S,
                socket_connect_timeout=_TIMEOUT_S,
                retry=Retry(NoBackoff(), 0),
                max_connections=1,
            )
        return self._follower

    async def _ask(self, command: str, *arguments: Any, **options: Any) -> Any:
        if self._client is None or (not self._is_up and self._clock.real_s() - self._failed_at_s < _PAUSE_S):
            return None
        try:
            key = str(arguments[0])
            with kept_cancellation(), told_if_slow(self._clock, self._slow_s, command, key):
                async with asyncio.timeout(_TIMEOUT_S):
                    answer = await getattr(self._client, command)(*arguments, **options)
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


@contextmanager
def _outage() -> Iterator[None]:
    """What the driver says of a Redis that is away, as ours."""
    try:
        with kept_cancellation():
            yield
    except (RedisError, OSError, TimeoutError) as error:
        raise BusUnavailable(str(error) or type(error).__name__) from error
