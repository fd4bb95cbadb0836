"""What happens, told as it happens: one reader of the bus for all clients of `/api/stream`.

The engine notices nothing: this reads streams without a consumer group, one connection for all clients. A
client that reads too slowly is let go; it comes back with `Last-Event-ID` and gets what it missed, as far as
the newest events are remembered, or an event `gap` that tells it to read the routes again.
"""

from __future__ import annotations

import asyncio
import secrets
from collections import deque
from collections.abc import Awaitable, Callable, Iterator, Mapping
from typing import Any, Final

import structlog

from api.cache import LiveCache, StreamEntry
from api.http import encode
from api.told import EQUITY, GAP, PRICES, Told, told
from engine.bus import CLOSED_CYCLES, COMMANDS, ORDERS, SIGNALS, WAKEUPS
from engine.clock import Clock
from engine.core.errors import BusUnavailable

log = structlog.get_logger()

_TOPICS: Final = (SIGNALS, WAKEUPS, CLOSED_CYCLES, ORDERS, COMMANDS)
_REMEMBERED: Final = 2_000
_QUEUE: Final = 256  # events that a client may lag behind
_MOST_CLIENTS: Final = 200
_AGAIN_S: Final = 1.0
_VALUES_EVERY_S: Final = 1.0


class Client:
    """One reader. `behind` is set when it was too slow: it is to be closed."""

    def __init__(self, kinds: frozenset[str]) -> None:
        self._kinds = kinds
        self.queue: asyncio.Queue[bytes | None] = asyncio.Queue(_QUEUE)
        self.behind = False

    def offer(self, event: Told, frame: bytes) -> None:
        """Give it an event; a full queue ends it."""
        if self.behind or (self._kinds and event.kind not in self._kinds):
            return
        if self.queue.full():
            self.end()
        else:
            self.queue.put_nowait(frame)

    def end(self) -> None:
        """No more events; what waits is dropped."""
        self.behind = True
        while not self.queue.empty():
            self.queue.get_nowait()
        self.queue.put_nowait(None)


class Broadcast:
    """Reads the bus and tells clients, and `wrote`, which topics have news.

    `live` is False while Redis is away. Ids of events are `<life>-<number>`: another life of this process
    cannot know what a client has seen.
    """

    def __init__(
        self,
        cache: LiveCache,
        clock: Clock,
        env: str,
        wrote: Callable[[str], None],
        traders: Callable[[], Awaitable[tuple[str, ...]]],
    ) -> None:
        self._cache, self._clock, self._wrote, self._traders = cache, clock, wrote, traders
        self._streams: Mapping[str, str] = {topic.name: f"edgewise:{env}:{topic.name}" for topic in _TOPICS}
        self._life = secrets.token_hex(4)
        self._number = 0
        self._recent: deque[tuple[int, Told, bytes]] = deque(maxlen=_REMEMBERED)
        self._clients: set[Client] = set()
        self._values: dict[str, bytes] = {}  # the newest of what is sampled
        self.live = False
        self.let_go = 0  # clients that were too slow

    # -- clients

    def join(self, kinds: frozenset[str], last_id: str) -> Client | None:
        """A new client with what it missed since `last_id` ("": nothing); None when there are too many."""
        if len(self._clients) >= _MOST_CLIENTS:
            return None
        client = Client(kinds)
        for event, frame in self._missed(last_id):
            client.offer(event, frame)
        self._clients.add(client)
        return client

    def leave(self, client: Client) -> None:
        """Forget a client."""
        self._clients.discard(client)
        self.let_go += client.behind

    @property
    def clients(self) -> int:
        return len(self._clients)

    def close(self) -> None:
        """End all clients."""
        for client in self._clients:
            client.end()

    def _missed(self, last_id: str) -> Iterator[tuple[Told, bytes]]:
        if not last_id:
            return
        life, _, number = last_id.partition("-")
        seen = int(number) if number.isdigit() else -1
        oldest = self._recent[0][0] if self._recent else self._number + 1
        newest = [(event, frame) for n, event, frame in self._recent if n > seen][-_QUEUE + 1 :]
        if life != self._life or seen + 1 < oldest or seen > self._number or self._number - seen >= _QUEUE:
            event = Told(GAP, {"reason": "events in between are not remembered; read the routes again"})
            yield event, self._frame(event, self._number)
            return
        yield from newest

    # -- the bus

    async def run(self) -> None:
        """Read for ever; an outage of Redis is waited for."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._follow(), name="follow the bus")
            tasks.create_task(self._sample(), name="sample prices and equity")

    async def _follow(self) -> None:
        after: dict[str, str] = {}
        while True:
            try:
                if not after:
                    after = await self._cache.newest_ids(self._streams)
                    for topic in self._streams:  # whatever was written before is not known
                        self._wrote(topic)
                self.live = True
                for entry in await self._cache.follow(self._streams, after):
                    self._take(entry)
            except BusUnavailable as error:
                if self.live:
                    log.warning("bus not followed", error=str(error))
                self.live, after = False, {}
                await self._clock.sleep_real(_AGAIN_S)

    def _take(self, entry: StreamEntry) -> None:
        self._wrote(entry.topic)
        for event in told(entry):
            self._tell(event)

    def publish(self, kind: str, body: Any) -> None:
        """Tell all clients."""
        self._tell(Told(kind, body))

    def _tell(self, event: Told) -> None:
        self._number += 1
        frame = self._frame(event, self._number)
        self._recent.append((self._number, event, frame))
        for client in tuple(self._clients):
            client.offer(event, frame)

    def _frame(self, event: Told, number: int) -> bytes:
        """As the SSE standard writes an event; JSON has no line breaks."""
        return b"id: %s-%d\nevent: %s\ndata: %s\n\n" % (
            self._life.encode(),
            number,
            event.kind.encode(),
            encode(event.body),
        )

    async def _sample(self) -> None:
        """Prices and equities that changed, once a second while somebody listens."""
        while True:
            await self._clock.sleep_real(_VALUES_EVERY_S)
            if not self._clients or not self.live:
                continue
            prices = await self._cache.prices()
            self._tell_changed(PRICES, {coin: price.price for coin, price in sorted(prices.items())})
            self._tell_changed(EQUITY, await self._cache.equities(await self._traders()))

    def _tell_changed(self, kind: str, values: dict[str, float]) -> None:
        body = encode(values)
        if values and self._values.get(kind) != body:
            self._values[kind] = body
            self.publish(kind, values)
