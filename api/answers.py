"""Answers that were made: kept while fresh, shared by all who ask at once, last known when a store is away.

Freshness has three ends: the answer's time to live, a write that concerns it (its `topics`, which the live
stream tells), and the process. An answer past its time is given once more at once and made anew beside
(stale-while-revalidate); one that a write made wrong is made anew first. While Postgres is away the newest
answer there is goes out, marked with its age. Copies in Redis (`api:*`) serve other processes and the next
life of this one.
"""

from __future__ import annotations

import asyncio
import hashlib
import zlib
from collections import Counter, OrderedDict
from collections.abc import Awaitable, Callable, Iterable, Mapping
from functools import cached_property
from typing import Final, NamedTuple, Protocol

import msgspec
import structlog
import zstandard

from api.sending import lines
from engine.clock import Clock
from engine.core.errors import StoreUnavailable

log = structlog.get_logger()

_MOST: Final = 512  # kept; what was used longest ago goes first, here and in Redis
_LONGEST_IN_REDIS: Final = 64 * 1024
_REDIS_TTL_S: Final = 3600
_SMALL: Final = 1024  # bytes that are not worth compressing
_REFUSED: Final = frozenset({"q=0", "q=0.0", "q=0.00", "q=0.000"})
_WITHOUT_NEWS_S: Final = 2.0  # the longest life while nobody tells of writes

Make = Callable[[], Awaitable[bytes]]


class Form(NamedTuple):
    """An answer in one encoding: what is sent, and its headers for both ways of sending."""

    body: bytes
    headers: Mapping[str, str]
    head: bytes  # the same headers, those of every answer, and the length of the body


class Answer:
    """Bytes of one answer with their ETag; compressed once, when first asked for."""

    def __init__(self, body: bytes, made_ns: int) -> None:
        self.body, self.made_ns = body, made_ns
        self.etag = hashlib.blake2b(body, digest_size=12).hexdigest()
        self._headers = {
            "ETag": f'"{self.etag}"',
            "Cache-Control": "private, max-age=0",
            "Vary": "Accept-Encoding",
        }

    def form(self, accepted: str) -> Form:
        """For an Accept-Encoding header; as it is when compressing is no gain."""
        if accepted and len(self.body) >= _SMALL:
            offered = {name.strip() for name, _, q in _weighed(accepted) if q.strip() not in _REFUSED}
            if "zstd" in offered:
                return self._zstd
            if "gzip" in offered:
                return self._gzip
        return self._plain

    @cached_property
    def nothing(self) -> Form:
        """For who has it already: no body, and nothing said of one."""
        return Form(b"", self._headers, lines(self._headers))

    @cached_property
    def _plain(self) -> Form:
        return self._form(self.body, {})

    @cached_property
    def _zstd(self) -> Form:
        body = zstandard.ZstdCompressor(level=3).compress(self.body)
        return self._form(body, {"Content-Encoding": "zstd"})

    @cached_property
    def _gzip(self) -> Form:
        compressor = zlib.compressobj(level=5, wbits=31)
        body = compressor.compress(self.body) + compressor.flush()
        return self._form(body, {"Content-Encoding": "gzip"})

    def _form(self, body: bytes, encoding: dict[str, str]) -> Form:
        headers = {**self._headers, **encoding, "Content-Type": "application/json"}
        return Form(body, headers, lines({**headers, "Content-Length": str(len(body))}))


def _weighed(accepted: str) -> Iterable[tuple[str, str, str]]:
    return (part.partition(";") for part in accepted.lower().split(","))


class Question(msgspec.Struct, frozen=True):
    """What is asked: `key` names it among all, `topics` are the streams whose news make its answer wrong.

    `is_shared`: whether other processes are likely to be asked the same, so that a copy is worth its way.
    """

    key: str
    ttl_s: float
    topics: frozenset[str] = frozenset()
    is_shared: bool = True


class Copies(Protocol):
    """Where other processes keep answers; empty and silent while it is away."""

    @property
    def is_up(self) -> bool: ...

    async def copy(self, key: str) -> bytes | None: ...

    async def keep_copy(self, key: str, copy: bytes, ttl_s: int) -> None: ...

    async def drop_copies(self, keys: Iterable[str]) -> None: ...


class _Kept(msgspec.Struct):
    answer: Answer
    question: Question
    generation: int  # of its topics when it was begun


class Answers:
    """The answers of one process. `hears` says whether somebody tells of writes (`wrote`)."""

    def __init__(self, clock: Clock, copies: Copies, hears: Callable[[], bool]) -> None:
        self._clock, self._copies, self._hears = clock, copies, hears
        self._second_ns = clock.engine_ns(1.0)
        self._kept: OrderedDict[str, _Kept] = OrderedDict()
        self._flying: dict[str, asyncio.Task[Answer]] = {}
        self._written: dict[str, tuple[int, int]] = {}  # topic → how often, engine time of the newest
        self.outcomes: Counter[str] = Counter()  # hit, stale, shared, made, last_known

    def wrote(self, topic: str) -> None:
        """News of `topic`: what depends on it is wrong from now on."""
        self._written[topic] = (self._written.get(topic, (0, 0))[0] + 1, self._clock.now_ns())

    async def get(self, question: Question, make: Make) -> tuple[Answer, float]:
        """The answer, and for how many seconds it has been wrong because the database is away (0: it is not).

        Raises what `make` raises; StoreUnavailable only when there never was an answer.
        """
        kept = self._kept.get(question.key)
        if kept is not None:
            self._kept.move_to_end(question.key)
            if kept.generation == self._generation(question.topics):
                age_s, ttl_s = self._age_s(kept.answer), self._ttl_s(question)
                if age_s < ttl_s:
                    self.outcomes["hit"] += 1
                    return kept.answer, 0.0
                if age_s < 2 * ttl_s:
                    self.outcomes["stale"] += 1
                    self._fly(question, make)
                    return kept.answer, 0.0
        try:
            return await asyncio.shield(self._fly(question, make)), 0.0
        except StoreUnavailable:
            return await self._last_known(question)

    async def aclose(self) -> None:
        """Stop what is being made."""
        for task in tuple(self._flying.values()):
            task.cancel()
        await asyncio.gather(*self._flying.values(), return_exceptions=True)

    def _fly(self, question: Question, make: Make) -> asyncio.Task[Answer]:
        """One computation at a time for a question; it goes on when those who asked have left."""
        task = self._flying.get(question.key)
        if task is None:
            making = self._make(question, make, self._generation(question.topics))
            task = asyncio.create_task(making, name=f"answer {question.key[:80]}")
            self._flying[question.key] = task
            task.add_done_callback(lambda done: self._landed(question.key, done))
        return task

    def _landed(self, key: str, task: asyncio.Task[Answer]) -> None:
        self._flying.pop(key, None)
        if not task.cancelled():
            task.exception()  # seen: nobody need be waiting

    async def _make(self, question: Question, make: Make, generation: int) -> Answer:
        answer = await self._shared(question) if question.is_shared else None
        if answer is None:
            answer = Answer(await make(), self._clock.now_ns())
            self.outcomes["made"] += 1
            if question.is_shared and len(answer.body) <= _LONGEST_IN_REDIS:
                packed = msgspec.msgpack.encode((answer.made_ns, answer.body))
                await self._copies.keep_copy(question.key, packed, _REDIS_TTL_S)
        await self._keep(question, answer, generation)
        return answer

    async def _shared(self, question: Question) -> Answer | None:
        """What another process has made, if it is fresh and newer than what was written."""
        answer = await self._copied(question.key)
        newest = max((self._written.get(topic, (0, 0))[1] for topic in question.topics), default=0)
        if answer is None or answer.made_ns <= newest or self._age_s(answer) >= self._ttl_s(question):
            return None
        self.outcomes["shared"] += 1
        return answer

    async def _copied(self, key: str) -> Answer | None:
        packed = await self._copies.copy(key)
        if packed is None:
            return None
        try:
            made_ns, body = msgspec.msgpack.decode(packed, type=tuple[int, bytes])
        except msgspec.DecodeError:
            log.warning("copy of an answer not understood", key=key)
            return None
        return Answer(body, made_ns)

    async def _last_known(self, question: Question) -> tuple[Answer, float]:
        kept = self._kept.get(question.key)
        answer = kept.answer if kept is not None else await self._copied(question.key)
        if answer is None:
            raise StoreUnavailable("the database is away, and this was never answered before")
        self.outcomes["last_known"] += 1
        return answer, max(0.001, self._age_s(answer))

    async def _keep(self, question: Question, answer: Answer, generation: int) -> None:
        self._kept[question.key] = _Kept(answer, question, generation)
        self._kept.move_to_end(question.key)
        dropped = [self._kept.popitem(last=False)[1].question for _ in range(len(self._kept) - _MOST)]
        if copied := [question.key for question in dropped if question.is_shared]:
            await self._copies.drop_copies(copied)

    def _generation(self, topics: frozenset[str]) -> int:
        return sum([self._written[topic][0] for topic in topics if topic in self._written])

    def _ttl_s(self, question: Question) -> float:
        """Shorter while writes are not heard of."""
        return question.ttl_s if self._hears() else min(question.ttl_s, _WITHOUT_NEWS_S)

    def _age_s(self, answer: Answer) -> float:
        """Real seconds since it was made."""
        return max(0.0, (self._clock.now_ns() - answer.made_ns) / self._second_ns)
