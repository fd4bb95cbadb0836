"""The bus on Redis streams (Redis or Valkey).

Streams are named `edgewise:<env>:<topic>`, dead letters `edgewise:<env>:<topic>:dead`. The commands, and what
an entry holds, are in engine.redis_streams; what is read in which order, and what is trimmed, is in
engine.stream_reader.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, TypeVar

import structlog

from engine.bus import IN_ONE_PIECE, Handler, Topic
from engine.clock import Clock
from engine.core.errors import BusUnavailable
from engine.delivery import Delivery, OnDead, ignore_dead
from engine.envelope import EnvelopeCodec
from engine.redis_cache import RedisCache
from engine.redis_link import Gate, Link, RedisTiming
from engine.redis_streams import Reach, RedisStreams, reach_of
from engine.stream_reader import DurableReader, LiveReader, Reading

T = TypeVar("T")
log = structlog.get_logger()

_MAX_BACKLOG: Final = 100_000
_LOOK_EVERY: Final = 1000  # entries of this process; others may add as many meanwhile
_FIRST_WAIT_S: Final = 0.05


class RedisBus:
    """Implements engine.bus.Bus; `cache` shares its connection. Call `aclose` at the end.

    A durable topic takes no more while a group has about `max_backlog` entries of it not acknowledged.
    env: part of the stream names, so that several installations share a server. `on_dead` is called with
    topic, message id and error after a message went to the dead letters; it may be set later. Nothing is
    published, consumed or cached before `gate` lets it.
    """

    def __init__(
        self,
        url: str,
        env: str,
        clock: Clock,
        *,
        timing: RedisTiming | None = None,
        reach: Reach | None = None,
        max_backlog: int = _MAX_BACKLOG,
    ) -> None:
        self.on_dead: OnDead = ignore_dead
        self.env = env
        self.gate = Gate()
        self._clock = clock
        self._timing = timing or RedisTiming()
        self._link = Link(clock)
        self._delivery = Delivery(clock, self._timing.retry_delay_s)
        self.streams = RedisStreams(reach or reach_of(url), self._timing, self._link, clock)
        self.cache = RedisCache(self.streams, self._link, self.gate, self._timing, clock)
        self._codecs: dict[str, EnvelopeCodec[Any]] = {}
        self._max_backlog = max_backlog
        self._full: set[str] = set()  # streams
        self._room: dict[str, int] = {}  # by stream: entries before it is looked at

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

    async def publish(self, topic: Topic[T], body: T, *, trace_id: str = "") -> str:
        payload = self._codec(topic).encode(body, trace_id, self._clock.now_ns())
        return await self._add(topic, payload)

    async def publish_many(self, topic: Topic[T], bodies: Sequence[T], *, trace_id: str = "") -> None:
        codec, now = self._codec(topic), self._clock.now_ns()
        for start in range(0, len(bodies), IN_ONE_PIECE):
            await self._add(topic, codec.encode_together(bodies[start : start + IN_ONE_PIECE], trace_id, now))

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
                await self.gate.passed()
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
                await self.gate.passed()
                if topic.durable:
                    await self._take_room(stream)
                return await self.streams.add(stream, payload, max_len)
            except BusUnavailable:
                if self._clock.real_s() + wait_s >= deadline_s:
                    raise
                await self._clock.sleep_real(wait_s)
                wait_s = min(self._timing.longest_wait_s, wait_s * 2)

    async def _take_room(self, stream: str) -> None:
        """Raises BusUnavailable when a reader of the topic is too far behind."""
        room = self._room.get(stream, 0)
        if not room:
            unread = await self.streams.unread(stream)
            if unread >= self._max_backlog:
                if stream not in self._full:
                    self._full.add(stream)
                    log.error("topic takes no messages: its reader is behind", key=stream, unread=unread)
                raise BusUnavailable(f"{stream} is full: {unread} messages are unread")
            if stream in self._full:
                self._full.discard(stream)
                log.info("topic takes messages again", key=stream)
            room = min(_LOOK_EVERY, self._max_backlog - unread)
        self._room[stream] = room - 1
