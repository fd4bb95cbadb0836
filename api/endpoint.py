"""A route as data: path, what may be asked, what is answered. Handlers and OpenAPI both come from it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Annotated, Any, Final, Generic, NamedTuple, TypeVar

import msgspec
from aiohttp import web
from aiohttp.typedefs import Handler
from msgspec import Meta

from api.answers import Answers, Make, Question
from api.cache import LiveCache
from api.http import encode, query_of, respond
from api.tallies import Tallies
from api.views import millis
from engine.clock import Clock
from engine.journal.postgres.reader import NEWEST, JournalReader, Page

Q = TypeVar("Q", bound=msgspec.Struct)

# How long an answer lives when nobody writes: what is marked to the market, what follows from rows, what is
# computed from many rows, and what hardly changes.
LIVE_S: Final = 1.0
SHORT_S: Final = 10.0
MEDIUM_S: Final = 60.0
LONG_S: Final = 300.0

_MOST_KNOWN: Final = 2048  # addresses whose meaning is remembered, as they were written


class Sources(msgspec.Struct, frozen=True, kw_only=True):
    """Where answers come from."""

    reader: JournalReader
    cache: LiveCache
    clock: Clock
    tallies: Tallies

    def server_time(self) -> int:
        """Engine time in milliseconds."""
        return millis(self.clock.now_ns())


class NoQuery(msgspec.Struct, frozen=True):
    """Nothing may be asked; unknown parameters are ignored."""


Limit = Annotated[int, Meta(ge=1, le=1000, description="At most so many rows.")]
Id = Annotated[str, Meta(max_length=200, pattern=r"^[\w .:@/+-]*$")]  # of a trader, a cycle, a run
Before = Annotated[int, Meta(ge=0, le=NEWEST, description="Only rows with a smaller `seq`: a page's cursor.")]


class RowsQuery(msgspec.Struct, frozen=True, kw_only=True):
    """A page, newest first."""

    limit: Limit = 100
    before: Before = NEWEST
    trader: Annotated[Id, Meta(description="Rows of this trader only.")] = ""

    def page(self) -> Page:
        return Page(limit=self.limit, before=self.before, trader=self.trader)


class Endpoint(msgspec.Struct, Generic[Q], frozen=True, kw_only=True):
    """GET `path`. `make` turns the query into the answer, which lives for `ttl_s` or until news of `topics`.

    Raises (in make) web.HTTPException for what is not there, StoreUnavailable for a database that is away.
    """

    path: str
    summary: str
    query: type[Q]
    answer: Any  # the type of the answer, for the documentation
    make: Callable[[Sources, Q], Awaitable[object]]
    ttl_s: float = LIVE_S
    topics: frozenset[str] = frozenset()


class Meaning(NamedTuple):
    """What an address was found to ask: of which route, and what answers it."""

    route: str
    answer: Handler


def mount(
    app: web.Application,
    endpoint: Endpoint[Any],
    sources: Sources,
    answers: Answers,
    known: dict[str, Meaning],
) -> None:
    """Serve an endpoint; HEAD too. Addresses that others will ask for as well are remembered in `known`."""

    def question_of(request: web.Request) -> tuple[Question, Make]:
        query = query_of(request, endpoint.query)

        async def make() -> bytes:
            return encode(await endpoint.make(sources, query))

        key = endpoint.path + "?" + msgspec.json.encode(query).decode()
        is_newest = "before" not in request.query  # older pages are one reader's
        return Question(key, endpoint.ttl_s, endpoint.topics, is_newest), make

    async def handler(request: web.Request) -> web.StreamResponse:
        question, make = question_of(request)

        async def answer(request: web.Request) -> web.StreamResponse:
            return respond(request, *await answers.get(question, make))

        if question.is_shared:
            if len(known) >= _MOST_KNOWN:
                known.clear()
            known[request.raw_path] = Meaning(endpoint.path, answer)
        return await answer(request)

    app.router.add_get(endpoint.path, handler)
