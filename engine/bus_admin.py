"""What an operator asks of the bus on Redis: how full, how far behind, what was given up; and put it back."""

from __future__ import annotations

import re
from typing import Any, Final

import msgspec

from engine.bus import TOPICS, Topic
from engine.clock import Clock
from engine.core.errors import BusUnavailable, CodecError
from engine.envelope import EnvelopeCodec
from engine.redis_bus import RedisBus
from engine.redis_replies import FIELD, text
from engine.redis_streams import DEAD
from engine.stream_reader import GroupInfo
from engine.telemetry.metrics import Metrics

_LAG_EVERY_S: Final = 5.0
_LETTER_ID: Final = re.compile(r"\d{1,19}-\d{1,19}")


class TopicInfo(msgspec.Struct, frozen=True, kw_only=True):
    """A topic as it is on the server: entries kept, dead letters, and its groups.

    Messages that were published together are one entry, here and in what a group has not acknowledged.
    """

    topic: str
    durable: bool
    messages: int
    dead: int
    groups: tuple[GroupInfo, ...]


class DeadMessage(msgspec.Struct, frozen=True, kw_only=True):
    """A dead letter. `id` names it for `requeue`, `message_id` is what it was.

    `body` is JSON, of several messages that share the letter one line each; hex when it does not decode.
    """

    topic: str
    id: str
    message_id: str
    group: str
    consumer: str
    error: str
    ts: int
    trace_id: str
    body: str


async def overview(bus: RedisBus, topics: tuple[Topic[Any], ...] = TOPICS) -> list[TopicInfo]:
    """All topics. Raises BusUnavailable."""
    found = []
    for topic in topics:
        stream = bus.stream(topic.name)
        groups = await bus.streams.groups(stream)
        with bus.streams.watched():
            found.append(
                TopicInfo(
                    topic=topic.name,
                    durable=topic.durable,
                    messages=await bus.streams.client.xlen(stream),
                    dead=await bus.streams.client.xlen(stream + DEAD),
                    groups=tuple(groups),
                )
            )
    return found


async def eviction_policy(bus: RedisBus) -> str:
    """By which rule a full server drops keys; "" where it drops none. Raises BusUnavailable."""
    with bus.streams.watched():
        memory: Any = await bus.streams.client.info("memory")
    policy = str(memory.get("maxmemory_policy", ""))
    return "" if policy == "noeviction" or not memory.get("maxmemory") else policy


async def dead_messages(bus: RedisBus, topic: Topic[Any], limit: int = 100) -> list[DeadMessage]:
    """The newest dead letters of a topic, newest first. Raises BusUnavailable."""
    with bus.streams.watched():
        rows: Any = await bus.streams.client.xrevrange(bus.stream(topic.name) + DEAD, count=limit)
    return [_dead_message(topic, text(letter_id), fields) for letter_id, fields in rows]


async def requeue(bus: RedisBus, topic: Topic[Any], letter_id: str) -> str | None:
    """Publish a dead letter again and remove it; its new id, None when there is no such letter.

    Every group of the topic sees it, also those that have handled it; they do nothing the second time.
    Raises BusUnavailable.
    """
    stream, client = bus.stream(topic.name), bus.streams.client
    if _LETTER_ID.fullmatch(letter_id) is None:
        return None
    with bus.streams.watched():
        rows: Any = await client.xrange(stream + DEAD, min=letter_id, max=letter_id)
        if not rows:
            return None
        async with client.pipeline(transaction=True) as pipeline:
            pipeline.xadd(stream, {FIELD: rows[0][1][FIELD]})
            pipeline.xdel(stream + DEAD, letter_id)
            added: list[bytes] = await pipeline.execute()
    return text(added[0])


async def watch_bus(bus: RedisBus, metrics: Metrics, clock: Clock) -> None:
    """Keep the metrics of the bus fresh, for ever; while the bus is away they keep their last value."""
    while True:
        try:
            for info in await overview(bus):
                for group in info.groups:
                    metrics.stream_lag(info.topic, group.name).set(group.pending + (group.lag or 0))
        except BusUnavailable:  # said once, by the link
            pass
        await clock.sleep_real(_LAG_EVERY_S)


def _dead_message(topic: Topic[Any], letter_id: str, fields: dict[bytes, bytes]) -> DeadMessage:
    payload = fields[FIELD]
    message_id = fields[b"id"].decode()
    trace_id, body = "", payload.hex()
    try:
        messages = EnvelopeCodec(topic).decode(payload, message_id)
    except CodecError:
        pass  # the error says why; the bytes are shown as they are
    else:
        trace_id = messages[0].trace_id if messages else ""
        body = "\n".join(msgspec.json.encode(message.body).decode() for message in messages)
    return DeadMessage(
        topic=topic.name,
        id=letter_id,
        message_id=message_id,
        group=fields[b"group"].decode(),
        consumer=fields[b"consumer"].decode(),
        error=fields[b"error"].decode(),
        ts=int(fields[b"ts"]),
        trace_id=trace_id,
        body=body,
    )
