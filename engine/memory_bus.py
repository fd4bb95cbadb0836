"""The bus inside one process: same contract as Redis, and the same order in every run.

For backtests and tests. Nothing survives the process. The order of delivery follows from the order of the
calls alone: waiting consumers wake in the order in which they began to wait.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from typing import Any, Final, TypeVar

import msgspec
import structlog

from engine.bus import IN_ONE_PIECE, Handler, Message, Topic
from engine.clock import Clock, settle
from engine.core.errors import BusUnavailable
from engine.delivery import Delivery, OnDead, ignore_dead

T = TypeVar("T")
log = structlog.get_logger()

_MAX_BACKLOG: Final = 100_000
_UNREAD_KEPT: Final = 10_000  # of a topic without groups
_READ_KEPT: Final = 1_000  # for a group that begins a little later than the others
_FORGOTTEN_AT: Final = 2 * _READ_KEPT  # many at a time
_DEAD_KEPT: Final = 10_000
_STRETCH: Final = 16  # messages that a consumer whose handler never waits takes in one turn


class DeadLetter(msgspec.Struct, frozen=True):
    """A message that its group could not handle."""

    topic: str
    group: str
    message: Message[Any]
    error: str


class _Group:
    """What one consumer group has seen: `cursor` is the next new message, `pending` message → consumer."""

    def __init__(self) -> None:
        self.cursor = 1
        self.pending: dict[int, str] = {}
        self.live: set[str] = set()

    def take(self, consumer: str, newest: int) -> int | None:
        """The next message for `consumer`: its own left over, then those of the dead, then a new one."""
        seq = self._left_over(consumer) if self.pending else None
        if seq is None and self.cursor <= newest:
            seq = self.cursor
            self.cursor += 1
        if seq is not None:
            self.pending[seq] = consumer
        return seq

    def _left_over(self, consumer: str) -> int | None:
        own = (seq for seq, owner in self.pending.items() if owner == consumer)
        orphaned = (seq for seq, owner in self.pending.items() if owner not in self.live)
        return next(own, None) or next(orphaned, None)

    @property
    def oldest_needed(self) -> int:
        return min(self.pending) if self.pending else self.cursor

    def busy(self, newest: int) -> bool:
        return bool(self.live) and (bool(self.pending) or self.cursor <= newest)


class _Stream:
    def __init__(self) -> None:
        self.newest = 0
        self.oldest = 1  # of those that may still be kept
        self.messages: dict[int, Message[Any]] = {}
        self.groups: dict[str, _Group] = {}
        self.listeners: list[deque[Message[Any]]] = []
        self.offering = 0  # live messages in the hands of a handler
        self.waiting: list[asyncio.Future[None]] = []

    def wake(self) -> None:
        for future in self.waiting:
            if not future.done():
                future.set_result(None)
        self.waiting.clear()

    def change(self) -> asyncio.Future[None]:
        """Done when there is something new."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.waiting.append(future)
        return future

    @property
    def unread(self) -> int:
        """Messages that some group has not acknowledged."""
        needed = (group.oldest_needed for group in self.groups.values())
        return self.newest + 1 - min(needed, default=self.newest + 1)

    def drop_read(self) -> None:
        """Forget what every group has acknowledged, but for the newest; without groups, keep the newest."""
        kept = max(_READ_KEPT, self.unread) if self.groups else _UNREAD_KEPT
        while self.oldest <= self.newest - kept:
            self.messages.pop(self.oldest, None)
            self.oldest += 1

    @property
    def busy(self) -> bool:
        waiting = any(self.listeners) or self.offering > 0
        return waiting or any(group.busy(self.newest) for group in self.groups.values())


class MemoryBus:
    """Implements engine.bus.Bus. A durable topic holds at most `max_backlog` unread messages.

    `on_dead` is called with topic, message id and error after a message went to `dead`.
    """

    def __init__(
        self,
        clock: Clock,
        *,
        on_dead: OnDead = ignore_dead,
        max_backlog: int = _MAX_BACKLOG,
        retry_delay_s: float = 0.2,
    ) -> None:
        self.on_dead = on_dead
        self.dead: deque[DeadLetter] = deque(maxlen=_DEAD_KEPT)
        self._clock = clock
        self._delivery = Delivery(clock, retry_delay_s)
        self._max_backlog = max_backlog
        self._streams: dict[str, _Stream] = {}
        self._acknowledged = _Stream()  # its wake() tells drained() that something was handled

    async def publish(self, topic: Topic[T], body: T, *, trace_id: str = "") -> str:
        stream = self._stream(topic.name)
        self._take_room(stream, topic)
        message_id = self._append(stream, topic, body, trace_id)
        if stream.waiting:
            stream.wake()
        return message_id

    async def publish_many(self, topic: Topic[T], bodies: Sequence[T], *, trace_id: str = "") -> None:
        stream = self._stream(topic.name)
        for start in range(0, len(bodies), IN_ONE_PIECE):
            self._take_room(stream, topic)
            for body in bodies[start : start + IN_ONE_PIECE]:
                self._append(stream, topic, body, trace_id)
        stream.wake()

    async def consume(self, topic: Topic[T], group: str, handler: Handler[T], *, consumer: str = "0") -> None:
        if topic.durable:
            await self._consume_durable(topic, group, handler, consumer)
        else:
            await self._consume_live(topic, handler)

    async def drained(self) -> None:
        """Wait until every running consumer has handled all that was published."""
        while any(stream.busy for stream in self._streams.values()):
            await self._acknowledged.change()

    def _stream(self, name: str) -> _Stream:
        stream = self._streams.get(name)
        if stream is None:
            stream = self._streams[name] = _Stream()
        return stream

    def _take_room(self, stream: _Stream, topic: Topic[T]) -> None:
        kept = stream.newest + 1 - stream.oldest  # at least those that are unread
        if topic.durable and kept >= self._max_backlog and stream.unread >= self._max_backlog:
            raise BusUnavailable(f"topic {topic.name} is full: {self._max_backlog} messages are unread")

    def _append(self, stream: _Stream, topic: Topic[T], body: T, trace_id: str) -> str:
        stream.newest += 1
        message_id = str(stream.newest)
        message = Message(message_id, body, trace_id or message_id, self._clock.now_ns())
        if topic.durable:
            stream.messages[stream.newest] = message
            if not stream.groups and stream.newest - stream.oldest >= _UNREAD_KEPT:
                stream.drop_read()
        for listener in stream.listeners:
            listener.append(message)
        return message_id

    async def _consume_durable(self, topic: Topic[T], name: str, handler: Handler[T], consumer: str) -> None:
        stream = self._stream(topic.name)
        group = stream.groups.setdefault(name, _Group())
        group.cursor = max(group.cursor, stream.oldest)
        if consumer in group.live:
            raise ValueError(f"consumer {consumer!r} of group {name!r} reads {topic.name} already")
        group.live.add(consumer)
        handled = 0
        try:
            while True:
                seq = group.take(consumer, stream.newest)
                if seq is None:
                    await stream.change()
                    continue
                message = stream.messages[seq]
                error = await self._delivery.settle(topic, name, message, handler)
                del group.pending[seq]
                if stream.newest - stream.oldest >= _FORGOTTEN_AT:
                    stream.drop_read()
                if error:
                    self._bury(DeadLetter(topic.name, name, message, error))
                if self._acknowledged.waiting:
                    self._acknowledged.wake()
                handled += 1
                if handled % _STRETCH == 0:
                    await settle(1)  # a handler that never waits keeps nobody else waiting
        finally:
            group.live.discard(consumer)
            stream.wake()
            self._acknowledged.wake()

    def _bury(self, letter: DeadLetter) -> None:
        self.dead.append(letter)
        log.error(
            "message went to the dead letters",
            topic=letter.topic,
            group=letter.group,
            message=letter.message.id,
            error=letter.error,
        )
        self.on_dead(letter.topic, letter.message.id, letter.error)

    async def _consume_live(self, topic: Topic[T], handler: Handler[T]) -> None:
        stream = self._stream(topic.name)
        mine: deque[Message[Any]] = deque(maxlen=topic.max_len)  # full: the oldest goes, newest wins
        stream.listeners.append(mine)
        try:
            while True:
                if not mine:
                    await stream.change()
                    continue
                stream.offering += 1
                try:
                    await self._delivery.offer(topic, mine.popleft(), handler)
                finally:
                    stream.offering -= 1
                if self._acknowledged.waiting:
                    self._acknowledged.wake()
                if mine:
                    await settle(1)
        finally:
            # By identity: two empty queues are equal.
            stream.listeners = [listener for listener in stream.listeners if listener is not mine]
            self._acknowledged.wake()
