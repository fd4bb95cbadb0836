"""The bus on Redis streams (Redis or Valkey), and the cache beside it. The only module with the driver.

Streams are named `edgewise:<env>:<topic>`, dead letters `edgewise:<env>:<topic>:dead`. An entry has one
field, `m`, the envelope of one message or of several that were published together; a dead letter has one
message, and also `id`, `group`, `consumer`, `error` and `ts`.
What is read in which order, and what is trimmed, is in engine.stream_reader.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any, Final, TypeVar

import redis.asyncio as redis
from redis import exceptions
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from engine.bus import Handler, Topic
from engine.clock import Clock
from engine.core.errors import BusUnavailable
from engine.delivery import Delivery, OnDead, ignore_dead
from engine.envelope import EnvelopeCodec
from engine.redis_link import Link, RedisTiming, kept_cancellation, told_if_slow
from engine.redis_replies import FIELD, entries, entry, group_info, text
from engine.stream_reader import Burial, DurableReader, Entry, GroupInfo, GroupMissing, LiveReader, Reading

T = TypeVar("T")

DEAD: Final = ":dead"
_TOGETHER: Final = 100  # messages that share an entry, at most
_UNREAD_KEPT: Final = 10_000
_DEAD_KEPT: Final = 10_000
_LOOK_EVERY: Final = 1000
_FIRST_WAIT_S: Final = 0.05
_WRITES: Final = frozenset({"set", "hset"})  # of the cache
_AWAY: Final = (exceptions.ConnectionError, exceptions.TimeoutError, OSError)
_FULL: Final = (exceptions.OutOfMemoryError, exceptions.ReadOnlyError)
_FULL_CODES: Final = ("OOM", "MISCONF", "READONLY", "NOREPLICAS")
_AWAY_CODES: Final = ("LOADING", "MASTERDOWN")


Connect = Callable[[float | None], redis.Redis]  # socket timeout in seconds → client


def connector(url: str) -> Connect:
    """How to reach the server at `url`. The driver retries nothing: what may be repeated is decided here."""

    def connect(socket_timeout_s: float | None) -> redis.Redis:
        client: redis.Redis = redis.Redis.from_url(
            url,
            protocol=3,
            socket_timeout=socket_timeout_s,
            socket_connect_timeout=2.0,
            retry=Retry(NoBackoff(), 0),
        )
        return client

    return connect


class RedisStreams:
    """The commands of engine.stream_reader.StreamCommands, and those of publishers."""

    def __init__(self, connect: Connect, timing: RedisTiming, link: Link, clock: Clock) -> None:
        self._timing = timing
        self._link = link
        self._clock = clock
        self.client = connect(timing.command_s)
        # Without a socket timeout, which would cut a read that blocks short, and for which the driver makes
        # a task at every command: what is waited for between a decision and its order is bounded here.
        self._bare = connect(None)

    async def aclose(self) -> None:
        await self._bare.aclose()
        await self.client.aclose()

    @contextmanager
    def watched(self, command: str = "", key: str = "") -> Iterator[None]:
        """Turn the driver's errors into ours, and remember whether the server is there.

        `command` is logged with its key when it was slow; one that waits on purpose has no name.
        """
        slow_s = self._timing.slow_s if command else math.inf
        with kept_cancellation(), told_if_slow(self._clock, slow_s, command, key), self._translated():
            yield

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except _AWAY as error:
            self._link.failed(error)
            raise BusUnavailable(f"redis: {str(error) or type(error).__name__}") from error
        except _FULL as error:
            self._link.refused_write(error)
            raise BusUnavailable(f"redis: {error}") from error
        except exceptions.ResponseError as error:
            if str(error).startswith(("NOGROUP", "UNBLOCKED")):
                raise GroupMissing(str(error)) from error
            if str(error).startswith(_FULL_CODES):
                self._link.refused_write(error)
                raise BusUnavailable(f"redis: {error}") from error
            if str(error).startswith(_AWAY_CODES):
                self._link.failed(error)
                raise BusUnavailable(f"redis: {error}") from error
            raise
        self._link.worked()

    async def add(self, stream: str, payload: bytes, max_len: int | None) -> str:
        """Append an entry; `max_len` None never drops an unread one."""
        with self.watched("xadd", stream):
            async with asyncio.timeout(self._timing.command_s):
                entry_id: Any = await self._bare.xadd(stream, {FIELD: payload}, maxlen=max_len)
        self._link.took_write()
        return text(entry_id)

    async def make_group(self, stream: str, group: str) -> None:
        with self.watched("xgroup_create", stream):
            try:
                await self.client.xgroup_create(stream, group, id="0", mkstream=True)
            except exceptions.ResponseError as error:
                if not str(error).startswith("BUSYGROUP"):
                    raise

    async def read_new(self, stream: str, group: str, consumer: str, count: int) -> list[Entry]:
        block_ms = int(self._timing.block_s * 1000)
        with self.watched():
            async with asyncio.timeout(self._timing.block_s + self._timing.command_s):
                return entries(
                    await self._bare.xreadgroup(group, consumer, {stream: ">"}, count=count, block=block_ms)
                )

    async def read_own(self, stream: str, group: str, consumer: str, after: str) -> list[Entry]:
        with self.watched("xreadgroup", stream):
            return entries(await self.client.xreadgroup(group, consumer, {stream: after}, count=1))

    async def claim(
        self, stream: str, group: str, consumer: str, start: str, count: int
    ) -> tuple[str, list[Entry]]:
        idle_ms = int(self._timing.claim_idle_s * 1000)
        with self.watched("xautoclaim", stream):
            reply = await self.client.xautoclaim(
                stream, group, consumer, min_idle_time=idle_ms, start_id=start, count=count
            )
        return text(reply[0]), [entry(pair) for pair in reply[1]]

    async def deliveries(self, stream: str, group: str, message_id: str) -> int:
        with self.watched("xpending_range", stream):
            rows = await self.client.xpending_range(stream, group, min=message_id, max=message_id, count=1)
        return int(rows[0]["times_delivered"]) if rows else 1

    async def acknowledge(self, stream: str, group: str, message_ids: Sequence[str]) -> None:
        with self.watched("xack", stream):
            async with asyncio.timeout(self._timing.command_s):
                await self._bare.xack(stream, group, *message_ids)

    async def bury(self, stream: str, burial: Burial) -> None:
        fields: dict[Any, Any] = {
            FIELD: burial.payload,
            "id": burial.message_id,
            "group": burial.group,
            "consumer": burial.consumer,
            "error": burial.error,
            "ts": burial.ts,
        }
        with self.watched("multi", stream):
            async with self.client.pipeline(transaction=True) as pipeline:
                pipeline.xadd(stream + DEAD, fields, maxlen=_DEAD_KEPT)
                if burial.entry_id is not None:
                    pipeline.xack(stream, burial.group, burial.entry_id)
                await pipeline.execute()

    async def take_apart(self, stream: str, group: str, entry_id: str, payloads: Sequence[bytes]) -> None:
        with self.watched("multi", stream):
            async with self.client.pipeline(transaction=True) as pipeline:
                for payload in payloads:
                    pipeline.xadd(stream, {FIELD: payload})
                pipeline.xack(stream, group, entry_id)
                await pipeline.execute()

    async def groups(self, stream: str) -> list[GroupInfo]:
        """The groups of a stream, none when there is no such stream."""
        with self.watched("xinfo_groups", stream):
            try:
                rows = await self.client.xinfo_groups(stream)
            except exceptions.ResponseError as error:
                if "no such key" not in str(error):
                    raise
                rows = []
        return [group_info(row) for row in rows]

    async def oldest_pending(self, stream: str, group: str) -> str | None:
        with self.watched("xpending", stream):
            summary = await self.client.xpending(stream, group)
        oldest: bytes | None = summary["min"]
        return text(oldest) if oldest else None

    async def trim_before(self, stream: str, message_id: str) -> None:
        with self.watched("xtrim", stream):
            await self.client.xtrim(stream, minid=message_id, approximate=True)

    async def trim_unread(self, stream: str) -> None:
        """Bound a stream that no group reads; one that is read is trimmed by its readers."""
        if not await self.groups(stream):
            with self.watched("xtrim", stream):
                await self.client.xtrim(stream, maxlen=_UNREAD_KEPT, approximate=True)

    async def newest_id(self, stream: str) -> str:
        with self.watched("xrevrange", stream):
            newest: Any = await self.client.xrevrange(stream, count=1)
        return text(newest[0][0]) if newest else "0-0"

    async def read_live(self, stream: str, after: str, count: int) -> list[Entry]:
        block_ms = int(self._timing.block_s * 1000)
        with self.watched():
            async with asyncio.timeout(self._timing.block_s + self._timing.command_s):
                return entries(await self._bare.xread({stream: after}, count=count, block=block_ms))


class RedisBus:
    """Implements engine.bus.Bus and engine.cache.Cache. Call `aclose` at the end.

    env: part of the stream names, so that several installations share a server. `on_dead` is called with
    topic, message id and error after a message went to the dead letters; it may be set later.
    """

    def __init__(
        self,
        url: str,
        env: str,
        clock: Clock,
        *,
        timing: RedisTiming | None = None,
        connect: Connect | None = None,
    ) -> None:
        self.on_dead: OnDead = ignore_dead
        self.env = env
        self.cache_writes_dropped = 0
        self._clock = clock
        self._timing = timing or RedisTiming()
        self._link = Link(clock)
        self._delivery = Delivery(clock, self._timing.retry_delay_s)
        self.streams = RedisStreams(connect or connector(url), self._timing, self._link, clock)
        self._codecs: dict[str, EnvelopeCodec[Any]] = {}
        self._published: dict[str, int] = {}

    @property
    def up(self) -> bool:
        """Whether the last command reached the server, and the last write was taken."""
        return self._link.up and not self._link.full

    def stream(self, topic: str) -> str:
        """Key of the topic's stream."""
        return f"edgewise:{self.env}:{topic}"

    async def aclose(self) -> None:
        """Close the connections; consumers must have been cancelled before."""
        await self.streams.aclose()

    # -- engine.bus.Bus

    async def publish(self, topic: Topic[T], body: T, *, trace_id: str = "") -> str:
        payload = self._codec(topic).encode(body, trace_id, self._clock.now_ns())
        return await self._add(topic, payload)

    async def publish_many(self, topic: Topic[T], bodies: Sequence[T], *, trace_id: str = "") -> None:
        codec, now = self._codec(topic), self._clock.now_ns()
        for start in range(0, len(bodies), _TOGETHER):
            await self._add(topic, codec.encode_together(bodies[start : start + _TOGETHER], trace_id, now))

    async def consume(self, topic: Topic[T], group: str, handler: Handler[T], *, consumer: str = "0") -> None:
        reading = Reading(
            topic=topic,
            stream=self.stream(topic.name),
            group=group,
            consumer=consumer,
            handler=handler,
            on_dead=lambda message_id, error: self.on_dead(topic.name, message_id, error),
        )
        reader: DurableReader[T] | LiveReader[T]
        if topic.durable:
            reader = DurableReader(reading, self.streams, self._delivery, self._clock, self._timing)
        else:
            reader = LiveReader(reading, self.streams, self._delivery)
        wait_s = _FIRST_WAIT_S
        while True:
            begun_s = self._clock.real_s()
            try:
                await reader.run()
            except BusUnavailable:  # the link has logged it, once for all consumers
                if self._clock.real_s() - begun_s > self._timing.longest_wait_s:
                    wait_s = _FIRST_WAIT_S  # it worked for a while
                await self._clock.sleep_real(wait_s)
                wait_s = min(self._timing.longest_wait_s, wait_s * 2)

    def _codec(self, topic: Topic[T]) -> EnvelopeCodec[T]:
        if topic.name not in self._codecs:
            self._codecs[topic.name] = EnvelopeCodec(topic)
        return self._codecs[topic.name]

    async def _add(self, topic: Topic[T], payload: bytes) -> str:
        """Try until the budget is spent. A try that timed out may have been taken: at least once."""
        stream, max_len = self.stream(topic.name), None if topic.durable else topic.max_len
        deadline_s = self._clock.real_s() + self._timing.publish_s
        wait_s = _FIRST_WAIT_S
        while True:
            try:
                entry_id = await self.streams.add(stream, payload, max_len)
            except BusUnavailable:
                if self._clock.real_s() + wait_s >= deadline_s:
                    raise
                await self._clock.sleep_real(wait_s)
                wait_s = min(self._timing.longest_wait_s, wait_s * 2)
            else:
                if topic.durable:
                    await self._bound_unread(stream)
                return entry_id

    async def _bound_unread(self, stream: str) -> None:
        self._published[stream] = published = self._published.get(stream, 0) + 1
        if published % _LOOK_EVERY == 0:
            with suppress(BusUnavailable):  # the message is there; the bound can wait
                await self.streams.trim_unread(stream)

    # -- engine.cache.Cache

    async def set_hash(self, key: str, mapping: Mapping[str, bytes]) -> None:
        fields: dict[Any, Any] = dict(mapping)
        if fields:
            await self._cached("hset", key, lambda client: client.hset(key, mapping=fields))

    async def set_json(self, key: str, value: bytes, ttl_s: float = 0) -> None:
        await self._cached("set", key, lambda client: client.set(key, value, px=int(ttl_s * 1000) or None))

    async def get(self, key: str) -> bytes | None:
        value: bytes | None = await self._cached("get", key, lambda client: client.get(key))
        return value

    async def get_hash(self, key: str) -> dict[str, bytes]:
        fields = await self._cached("hgetall", key, lambda client: client.hgetall(key))
        return {text(name): value for name, value in (fields or {}).items()}

    async def _cached(self, name: str, key: str, command: Callable[[redis.Redis], Any]) -> Any:
        """Run a command of the cache; None, and a dropped write is counted, when the server is away."""
        away_s = self._clock.real_s() - self._link.failed_at_s
        if self._link.up or away_s >= self._timing.longest_wait_s:
            with suppress(BusUnavailable), self.streams.watched(name, key):
                async with asyncio.timeout(self._timing.cache_s):
                    return await command(self.streams.client)
        self.cache_writes_dropped += name in _WRITES
        return None
