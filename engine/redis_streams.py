"""The commands of Redis streams (Redis or Valkey), the driver's errors as ours. Nobody else has the driver.

An entry has one field, `m`, the envelope of one message or of several that were published together; a dead
letter has one message, and also `id`, `group`, `consumer`, `error` and `ts`.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final, Protocol

import redis.asyncio as redis
from hiredis import pack_command
from redis import exceptions
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from engine.clock import Clock
from engine.core.errors import BusUnavailable
from engine.redis_link import Link, RedisTiming, kept_cancellation, told_if_slow
from engine.redis_replies import FIELD, entries, entry, group_info, text
from engine.stream_reader import Burial, Entry, GroupInfo, GroupMissing, Reader

DEAD: Final = ":dead"
_UNREAD_KEPT: Final = 10_000
_DEAD_KEPT: Final = 10_000
_AWAY: Final = (exceptions.ConnectionError, exceptions.TimeoutError, OSError)
_FULL: Final = (exceptions.OutOfMemoryError, exceptions.ReadOnlyError)
_FULL_CODES: Final = ("OOM", "MISCONF", "READONLY", "NOREPLICAS")
_AWAY_CODES: Final = ("LOADING", "MASTERDOWN")

Connect = Callable[[float | None], redis.Redis]  # socket timeout in seconds → client
Command = tuple[str | bytes | int, ...]


class Line(Protocol):
    """A connection that is kept."""

    async def ask(self, *commands: Command) -> Any:
        """Send all in one piece; the driver's raw reply to the last. Raises what the driver does of any."""
        ...


class HeldLine:
    """Implements Line with a connection of the driver's pool: one question at a time, no pool in its way.

    To take a connection out of the pool and to put it back costs more than a small command. The driver
    drops the connection when anything goes wrong, cancellation included, and makes it anew at the next one.
    """

    def __init__(self, client: redis.Redis) -> None:
        self._pool = client.connection_pool
        self._connection: redis.Connection | None = None
        self._turn = asyncio.Lock()

    async def ask(self, *commands: Command) -> Any:
        async with self._turn:
            connection = self._connection
            if connection is None:
                self._connection = connection = await self._pool.get_connection()  # type: ignore[no-untyped-call]
            packed = b"".join([pack_command(command) for command in commands])  # type: ignore[arg-type] # of any length
            await connection.send_packed_command(packed, check_health=False)
            for _ in commands[:-1]:
                try:
                    await connection.read_response()
                except exceptions.ResponseError:  # the replies behind it belong to nobody
                    await connection.disconnect(nowait=True)
                    raise
            return await connection.read_response()


@dataclass(frozen=True, slots=True)
class Reach:
    """How the server is reached: clients, and lines over their connections."""

    client: Connect
    line: Callable[[redis.Redis], Line] = HeldLine


def reach_of(url: str) -> Reach:
    """To the server at `url`. The driver retries nothing: what may be repeated is decided here."""

    def connect(socket_timeout_s: float | None) -> redis.Redis:
        client: redis.Redis = redis.Redis.from_url(
            url,
            protocol=3,
            socket_timeout=socket_timeout_s,
            socket_connect_timeout=2.0,
            retry=Retry(NoBackoff(), 0),
        )
        return client

    return Reach(connect)


class RedisStreams:
    """The commands of engine.stream_reader.StreamCommands, and those of publishers."""

    def __init__(self, reach: Reach, timing: RedisTiming, link: Link, clock: Clock) -> None:
        self._timing = timing
        self._link = link
        self._clock = clock
        self.client = reach.client(timing.command_s)
        # Without a socket timeout, which would cut a read that blocks short, and for which the driver makes
        # a task at every command: what is waited for between a decision and its order is bounded here.
        self._bare = reach.client(None)
        self._reach = reach
        self._lines: dict[tuple[str, ...], Line] = {}  # who asks → over what; one a topic, one a reader

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
        bound = () if max_len is None else ("MAXLEN", "~", max_len)
        with self.watched("xadd", stream):
            async with asyncio.timeout(self._timing.command_s):
                entry_id = await self._line(stream).ask(("XADD", stream, *bound, "*", FIELD, payload))
        self._link.took_write()
        return text(entry_id)

    async def make_group(self, stream: str, group: str) -> None:
        with self.watched("xgroup_create", stream):
            try:
                await self.client.xgroup_create(stream, group, id="0", mkstream=True)
            except exceptions.ResponseError as error:
                if not str(error).startswith("BUSYGROUP"):
                    raise

    async def read_new(self, reader: Reader, count: int, done: Sequence[str]) -> list[Entry]:
        stream, group, consumer = reader
        block_ms = int(self._timing.block_s * 1000)
        read: Command = ("XREADGROUP", "GROUP", group, consumer, "COUNT", count, "BLOCK", block_ms)
        read += ("STREAMS", stream, ">")
        commands = (("XACK", stream, group, *done), read) if done else (read,)
        with self.watched():
            async with asyncio.timeout(self._timing.block_s + self._timing.command_s):
                return entries(await self._line(*reader).ask(*commands))

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

    async def unread(self, stream: str) -> int:
        """Entries that some group has not acknowledged; a stream without groups is bounded here instead.

        One that is read is trimmed by its readers.
        """
        groups = await self.groups(stream)
        if not groups:
            with self.watched("xtrim", stream):
                await self.client.xtrim(stream, maxlen=_UNREAD_KEPT, approximate=True)
            return 0
        if any(group.lag is None for group in groups):
            with self.watched("xlen", stream):
                return int(await self.client.xlen(stream))
        return max(group.pending + (group.lag or 0) for group in groups)

    async def newest_id(self, stream: str) -> str:
        with self.watched("xrevrange", stream):
            newest: Any = await self.client.xrevrange(stream, count=1)
        return text(newest[0][0]) if newest else "0-0"

    async def read_live(self, stream: str, after: str, count: int) -> list[Entry]:
        block_ms = int(self._timing.block_s * 1000)
        command: Command = ("XREAD", "COUNT", count, "BLOCK", block_ms, "STREAMS", stream, after)
        with self.watched():
            async with asyncio.timeout(self._timing.block_s + self._timing.command_s):
                return entries(await self._line(stream, "live").ask(command))

    def _line(self, *who: str) -> Line:
        if who not in self._lines:
            self._lines[who] = self._reach.line(self._bare)
        return self._lines[who]
