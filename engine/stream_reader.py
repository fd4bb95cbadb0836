"""Reading one Redis stream as design.md 5 says: the order of what is read, acknowledged, claimed, trimmed.

Knows Redis' streams but not its driver: `StreamCommands` are the commands, engine.redis_streams has them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Final, Generic, NoReturn, Protocol, TypeVar

import msgspec
import structlog

from engine.bus import Handler, Message, Topic
from engine.clock import Clock
from engine.core.errors import BusUnavailable, CodecError, EdgewiseError
from engine.delivery import Batch, Delivery
from engine.envelope import EnvelopeCodec
from engine.redis_link import RedisTiming

T = TypeVar("T")
log = structlog.get_logger()

Reader = tuple[str, str, str]  # (stream, group, consumer)
Entry = tuple[str, bytes | None]  # (message id, payload); None when the entry was trimmed away

_BATCH: Final = 64
_CLAIM_BATCH: Final = 16
_ACK_AFTER_S: Final = 0.05
_MAX_RECOVERIES: Final = 10
_FIRST: Final = "0-0"


class GroupMissing(EdgewiseError):
    """The consumer group is not there: Redis came back empty. The reader makes it anew."""


class GroupInfo(msgspec.Struct, frozen=True, kw_only=True):
    """A consumer group of a stream; `lag` is None where the server cannot tell."""

    name: str
    consumers: int
    pending: int  # handed over, not acknowledged
    last_delivered: str
    lag: int | None  # not handed over yet


class Burial(msgspec.Struct, frozen=True, kw_only=True):
    """A message on its way to the dead letters. `entry_id` is acknowledged with it, unless it is None."""

    message_id: str
    entry_id: str | None
    group: str
    consumer: str
    error: str
    payload: bytes
    ts: int


class StreamCommands(Protocol):
    """Each raises BusUnavailable when the server is away and GroupMissing when the group is not there."""

    async def make_group(self, stream: str, group: str) -> None: ...
    async def read_new(self, reader: Reader, count: int, done: Sequence[str]) -> list[Entry]:
        """Acknowledge `done`, then wait about a second for messages that nobody of the group has seen."""
        ...

    async def read_own(self, stream: str, group: str, consumer: str, after: str) -> list[Entry]:
        """The oldest message after `after` that `consumer` was given and has not acknowledged."""
        ...

    async def claim(
        self, stream: str, group: str, consumer: str, start: str, count: int
    ) -> tuple[str, list[Entry]]:
        """Take over what lay unacknowledged for long; also says where to go on, `0-0` at the end."""
        ...

    async def deliveries(self, stream: str, group: str, message_id: str) -> int: ...
    async def acknowledge(self, stream: str, group: str, message_ids: Sequence[str]) -> None: ...
    async def bury(self, stream: str, burial: Burial) -> None:
        """Write the dead letter and acknowledge its entry, both or none."""
        ...

    async def take_apart(self, stream: str, group: str, entry_id: str, payloads: Sequence[bytes]) -> None:
        """Add each payload as an entry of its own and acknowledge the one they came in, all or none."""
        ...

    async def groups(self, stream: str) -> list[GroupInfo]: ...
    async def oldest_pending(self, stream: str, group: str) -> str | None: ...
    async def trim_before(self, stream: str, message_id: str) -> None: ...
    async def newest_id(self, stream: str) -> str: ...
    async def read_live(self, stream: str, after: str, count: int) -> list[Entry]:
        """Wait about a second for messages after `after`."""
        ...


@dataclass(frozen=True, slots=True)
class Reading(Generic[T]):
    """Who reads what, and what becomes of it. `on_dead(message_id, error)` hears of dead letters."""

    topic: Topic[T]
    stream: str
    group: str
    consumer: str
    handler: Handler[T]
    on_dead: Callable[[str, str], None]


class DurableReader(Generic[T]):
    """One consumer of a durable topic. Call `run` again after it raised: it takes up what was open."""

    def __init__(
        self,
        reading: Reading[T],
        commands: StreamCommands,
        delivery: Delivery,
        clock: Clock,
        timing: RedisTiming,
    ) -> None:
        self._reading = reading
        self._commands = commands
        self._delivery = delivery
        self._clock = clock
        self._codec = EnvelopeCodec(reading.topic)
        self._housekeeping_s = timing.housekeeping_s
        self._keep_ms = int(timing.keep_s * 1000)
        self._housekeeping_at_s = clock.real_s()
        # Entries not acknowledged yet, and how far one came that is not through. Both survive an outage, so
        # that nothing runs twice.
        self._handled: dict[str, None] = {}
        self._through: dict[str, int] = {}

    async def run(self) -> NoReturn:
        """Own unacknowledged messages, those of the dead, then new ones. Raises BusUnavailable."""
        try:
            await self._run()
        except asyncio.CancelledError:  # also in the middle of an acknowledgement
            with suppress(BusUnavailable, GroupMissing):
                await self._acknowledge()
            raise

    async def _run(self) -> NoReturn:
        reading = self._reading
        await self._commands.make_group(reading.stream, reading.group)
        while True:
            try:
                await self._take_up_own()
                while True:
                    await self._keep_house()
                    await self._handle(await self._read_new())
            except GroupMissing:
                self._handled.clear()
                self._through.clear()
                log.warning("consumer group rebuilt", topic=reading.topic.name, group=reading.group)
                await self._commands.make_group(reading.stream, reading.group)

    async def _read_new(self) -> list[Entry]:
        """What is through is acknowledged on the way: a round trip less for each batch."""
        reading, done = self._reading, tuple(self._handled)
        reader = (reading.stream, reading.group, reading.consumer)
        new = await self._commands.read_new(reader, _BATCH, done)
        for message_id in done:
            del self._handled[message_id]
        return new

    async def _take_up_own(self) -> None:
        reading, after = self._reading, _FIRST
        # One at a time: the server counts a delivery for each message that it returns, and only one that
        # was really tried should count.
        while own := await self._commands.read_own(reading.stream, reading.group, reading.consumer, after):
            await self._handle(own, recovered=True)
            after = own[-1][0]
            await self._acknowledge()

    async def _keep_house(self) -> None:
        """Claim from dead consumers and trim what all groups have read, every now and then."""
        if self._clock.real_s() < self._housekeeping_at_s:
            return
        self._housekeeping_at_s = self._clock.real_s() + self._housekeeping_s
        await self._acknowledge()
        reading, start = self._reading, _FIRST
        while True:
            start, claimed = await self._commands.claim(
                reading.stream, reading.group, reading.consumer, start, _CLAIM_BATCH
            )
            if claimed:
                log.info(
                    "messages claimed", topic=reading.topic.name, group=reading.group, count=len(claimed)
                )
            await self._handle(claimed, recovered=True)
            await self._acknowledge()
            if start == _FIRST:
                break
        await self._trim()

    async def _trim(self) -> None:
        """Remove what is old and lies before the oldest message that any group still needs.

        The milliseconds in an id are the server's time of its addition.
        """
        stream, needed = self._reading.stream, list[tuple[int, int]]()
        for group in await self._commands.groups(stream):
            oldest = group.last_delivered
            if group.pending:
                oldest = await self._commands.oldest_pending(stream, group.name) or oldest
            needed.append(_order(oldest))
        newest_ms = _order(await self._commands.newest_id(stream))[0]
        needed.append((newest_ms - self._keep_ms, 0))
        if (first := min(needed)) > (0, 0):
            await self._commands.trim_before(stream, f"{first[0]}-{first[1]}")

    async def _handle(self, entries: Sequence[Entry], *, recovered: bool = False) -> None:
        """Bring entries to their end. The next read, or `_acknowledge`, tells the server."""
        since_s = self._clock.real_s()
        for message_id, payload in entries:
            if message_id not in self._handled:
                await self._deliver(message_id, payload, recovered=recovered)
            if self._clock.real_s() - since_s > _ACK_AFTER_S:
                since_s = self._clock.real_s()
                await self._acknowledge()

    async def _deliver(self, entry_id: str, payload: bytes | None, *, recovered: bool) -> None:
        """Bring the messages of one entry to their end: handled, or among the dead letters."""
        if payload is None:  # it was trimmed by hand; there is nothing left to hand over
            self._handled[entry_id] = None
            return
        reading, count = self._reading, 1
        if recovered:
            count = await self._commands.deliveries(reading.stream, reading.group, entry_id)
        try:
            messages = self._codec.decode(payload, entry_id, count)
        except CodecError as broken:
            await self._bury(entry_id, entry_id, payload, f"{type(broken).__name__}: {broken}")
            return
        if count > _MAX_RECOVERIES:
            await self._give_up(entry_id, payload, messages, count)
        else:
            await self._settle(entry_id, payload, messages)

    async def _settle(self, entry_id: str, payload: bytes, messages: Sequence[Message[T]]) -> None:
        """Each message by itself; the entry is through with the last of them."""
        reading, settle = self._reading, self._delivery.settle_batch
        batch = Batch(messages, self._through.pop(entry_id, 0))
        try:
            while error := await settle(reading.topic, reading.group, batch, reading.handler):
                failed = messages[batch.through]
                if len(messages) == 1:
                    await self._bury(failed.id, entry_id, payload, error)
                else:
                    await self._bury(failed.id, None, self._alone(failed), error)
                batch.through += 1
        finally:
            if batch.through < len(messages):
                self._through[entry_id] = batch.through
        self._handled[entry_id] = None

    async def _give_up(
        self, entry_id: str, payload: bytes, messages: Sequence[Message[T]], count: int
    ) -> None:
        """The process ended in every delivery. Of several messages it is not known which one did it."""
        reading = self._reading
        if len(messages) > 1:
            payloads = [self._alone(message) for message in messages]
            await self._commands.take_apart(reading.stream, reading.group, entry_id, payloads)
            log.warning("messages taken apart", topic=reading.topic.name, entry=entry_id, count=len(messages))
            return
        error = f"{count} deliveries, and the process ended in each"
        await self._bury(entry_id, entry_id, payload, error)

    def _alone(self, message: Message[T]) -> bytes:
        return self._codec.encode(message.body, message.trace_id, message.ts_published)

    async def _bury(self, message_id: str, entry_id: str | None, payload: bytes, error: str) -> None:
        reading = self._reading
        burial = Burial(
            message_id=message_id,
            entry_id=entry_id,
            group=reading.group,
            consumer=reading.consumer,
            error=error,
            payload=payload,
            ts=self._clock.now_ns(),
        )
        await self._commands.bury(reading.stream, burial)
        log.error(
            "message went to the dead letters",
            topic=reading.topic.name,
            group=reading.group,
            message=message_id,
            error=error,
        )
        reading.on_dead(message_id, error)

    async def _acknowledge(self) -> None:
        if self._handled:
            ids = tuple(self._handled)
            await self._commands.acknowledge(self._reading.stream, self._reading.group, ids)
            for message_id in ids:
                del self._handled[message_id]


class LiveReader(Generic[T]):
    """One consumer of a live topic: what comes from now on; after an outage, what came meanwhile and fits."""

    def __init__(self, reading: Reading[T], commands: StreamCommands, delivery: Delivery) -> None:
        self._reading = reading
        self._commands = commands
        self._delivery = delivery
        self._codec = EnvelopeCodec(reading.topic)
        self._last: str | None = None

    async def run(self) -> NoReturn:
        """Hand over what is published. Raises BusUnavailable."""
        reading = self._reading
        newest = await self._commands.newest_id(reading.stream)
        if self._last is None or _order(newest) < _order(self._last):  # the server came back empty
            self._last = newest
        while True:
            for message_id, payload in await self._commands.read_live(
                reading.stream, self._last, reading.topic.max_len
            ):
                self._last = message_id
                if payload is not None:
                    await self._offer(message_id, payload)

    async def _offer(self, message_id: str, payload: bytes) -> None:
        reading = self._reading
        try:
            messages = self._codec.decode(payload, message_id)
        except CodecError:
            log.exception("live message dropped", topic=reading.topic.name, message=message_id)
            return
        for message in messages:
            await self._delivery.offer(reading.topic, message, reading.handler)


def _order(message_id: str) -> tuple[int, int]:
    milliseconds, _, sequence = message_id.partition("-")
    return int(milliseconds), int(sequence or 0)
