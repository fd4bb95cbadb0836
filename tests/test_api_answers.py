"""Answers: made once for all who ask, kept until time or a write ends them, last known in an outage."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Iterable
from decimal import Decimal

import msgspec
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from api.answers import Answer, Answers, Question
from api.http import encode
from engine.clock import SimClock
from engine.core.errors import StoreUnavailable

BOOK = Question("/api/book?{}", 10.0, frozenset({"orders"}))


class Shelf:
    """Copies in memory, as Redis would keep them for all processes."""

    is_up = True

    def __init__(self) -> None:
        self.copies: dict[str, bytes] = {}

    async def copy(self, key: str) -> bytes | None:
        return self.copies.get(key)

    async def keep_copy(self, key: str, copy: bytes, ttl_s: int) -> None:
        self.copies[key] = copy

    async def drop_copies(self, keys: Iterable[str]) -> None:
        for key in keys:
            self.copies.pop(key, None)


class Source:
    """What makes answers: counts how often, fails on demand, waits for `gate`."""

    def __init__(self) -> None:
        self.made = 0
        self.away = False
        self.gate = asyncio.Event()
        self.gate.set()

    async def __call__(self) -> bytes:
        await self.gate.wait()
        if self.away:
            raise StoreUnavailable("gone")
        self.made += 1
        return b"answer %d" % self.made


class Desk:
    def __init__(self, *, hears: bool = True, shelf: Shelf | None = None) -> None:
        self.clock, self.shelf, self.source = SimClock(10), shelf or Shelf(), Source()
        self.answers = Answers(self.clock, self.shelf, lambda: hears)

    async def ask(self, question: Question = BOOK) -> tuple[bytes, float]:
        answer, wrong_for_s = await self.answers.get(question, self.source)
        return answer.body, wrong_for_s

    async def settled(self) -> None:
        """What is made beside has been made."""
        for _ in range(10):
            await asyncio.sleep(0)


async def test_one_answer_is_made_for_all_who_ask_at_once() -> None:
    desk = Desk()
    desk.source.gate.clear()
    async with asyncio.TaskGroup() as tasks:
        asking = [tasks.create_task(desk.ask(), name=f"ask {n}") for n in range(5)]
        await asyncio.sleep(0)
        desk.source.gate.set()
    assert {task.result() for task in asking} == {(b"answer 1", 0.0)}
    assert desk.source.made == 1


async def test_an_answer_past_its_time_goes_out_once_more_and_is_made_anew_beside() -> None:
    desk = Desk()
    assert await desk.ask() == (b"answer 1", 0.0)
    await desk.clock.advance(9.0)
    assert await desk.ask() == (b"answer 1", 0.0)
    await desk.clock.advance(2.0)
    assert await desk.ask() == (b"answer 1", 0.0)
    await desk.settled()
    assert await desk.ask() == (b"answer 2", 0.0)
    await desk.clock.advance(60.0)
    assert await desk.ask() == (b"answer 3", 0.0)


async def test_a_write_makes_the_answer_wrong_at_once() -> None:
    desk = Desk()
    await desk.ask()
    desk.answers.wrote("signals")
    assert await desk.ask() == (b"answer 1", 0.0)
    desk.answers.wrote("orders")
    assert await desk.ask() == (b"answer 2", 0.0)


async def test_a_write_while_the_answer_is_made_is_not_lost() -> None:
    desk = Desk()
    desk.source.gate.clear()
    first = asyncio.ensure_future(desk.ask())
    await asyncio.sleep(0)
    desk.answers.wrote("orders")
    desk.source.gate.set()
    assert await first == (b"answer 1", 0.0)
    assert await desk.ask() == (b"answer 2", 0.0)


async def test_answers_live_shorter_while_writes_are_not_heard_of() -> None:
    desk = Desk(hears=False)
    await desk.ask()
    await desk.clock.advance(5.0)
    assert await desk.ask() == (b"answer 2", 0.0)


async def test_last_known_answer_goes_out_marked_while_the_database_is_away() -> None:
    desk = Desk()
    desk.source.away = True
    with pytest.raises(StoreUnavailable):
        await desk.ask()
    desk.source.away = False
    await desk.ask()
    desk.source.away = True
    await desk.clock.advance(3_000.0)
    assert await desk.ask() == (b"answer 1", 3_000.0)
    desk.source.away = False
    assert await desk.ask() == (b"answer 2", 0.0)


async def test_another_process_takes_the_copy_while_it_is_fresh_and_right() -> None:
    one = Desk()
    await one.ask()
    two = Desk(shelf=one.shelf)
    await two.clock.advance(1.0)
    assert (await two.ask(), two.source.made) == ((b"answer 1", 0.0), 0)
    two.answers.wrote("orders")  # later than the copy was made
    assert (await two.ask(), two.source.made) == ((b"answer 1", 0.0), 1)
    three = Desk(shelf=one.shelf)
    three.source.away = True
    await three.clock.advance(600.0)
    body, wrong_for_s = await three.ask()  # a new life without a database
    assert body == b"answer 1"
    assert wrong_for_s > 590


async def test_what_is_kept_is_bounded_here_and_there() -> None:
    desk = Desk()
    for n in range(600):
        await desk.ask(Question(f"/api/{n}", 10.0))
    assert len(desk.shelf.copies) == 512
    assert "/api/0" not in desk.shelf.copies


async def test_a_failure_is_seen_by_all_who_wait_and_not_kept() -> None:
    desk = Desk()
    desk.source.gate.clear()
    desk.source.away = True
    first, second = (asyncio.ensure_future(desk.ask()) for _ in range(2))
    await asyncio.sleep(0)
    desk.source.gate.set()
    for task in (first, second):
        with pytest.raises(StoreUnavailable):
            await task
    desk.source.away = False
    assert await desk.ask() == (b"answer 1", 0.0)


async def test_a_client_that_leaves_does_not_take_the_answer_with_it() -> None:
    desk = Desk()
    desk.source.gate.clear()
    leaver, waiter = (asyncio.ensure_future(desk.ask()) for _ in range(2))
    await asyncio.sleep(0)
    leaver.cancel()
    desk.source.gate.set()
    assert await waiter == (b"answer 1", 0.0)
    assert desk.source.made == 1


@pytest.mark.parametrize(
    ("accepted", "encoding"),
    [
        ("", ""),
        ("identity", ""),
        ("gzip, deflate", "gzip"),
        ("gzip;q=1.0, zstd;q=0.5", "zstd"),
        ("zstd;q=0, gzip", "gzip"),
        ("br", ""),
    ],
)
def test_bytes_come_as_the_client_takes_them(accepted: str, encoding: str) -> None:
    body = b'{"trades": [1, 2, 3]}' * 200
    form = Answer(body, 0).form(accepted)
    sent = form.body
    assert form.headers.get("Content-Encoding", "") == encoding
    if encoding == "zstd":
        sent = zstandard.ZstdDecompressor().decompress(sent)
    elif encoding == "gzip":
        sent = zlib.decompress(sent, wbits=31)
    assert sent == body
    small = Answer(b"{}", 0).form("zstd, gzip")
    assert (small.body, small.headers.get("Content-Encoding")) == (b"{}", None)


@given(st.decimals(allow_nan=False, allow_infinity=False, min_value=-(10**30), max_value=10**30), st.text())
def test_no_number_is_written_as_a_power_of_ten_and_no_text_is_touched(value: Decimal, text: str) -> None:
    texts = {"1E+5": f"{text}[1E+5, 2E-7]", "plain": text}
    body = encode({"value": value, "each": [value, Decimal("1.2E+5"), Decimal("-3E-9")], **texts})
    told = msgspec.json.decode(body)
    assert {name: told[name] for name in texts} == texts
    assert body.endswith(msgspec.json.encode(texts)[1:])
    assert f'"each":[{value:f},120000,-0.000000003]'.encode() in body
