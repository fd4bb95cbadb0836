"""Background jobs: one per key, bounded, loud."""

from __future__ import annotations

import asyncio

import pytest

from engine.clock import settle
from engine.jobs import Jobs


async def test_a_key_runs_once_at_a_time() -> None:
    gate, runs = asyncio.Event(), list[str]()

    async def work(name: str) -> None:
        runs.append(name)
        await gate.wait()

    async with Jobs() as jobs:
        assert jobs.start("a", lambda: work("first"))
        assert not jobs.start("a", lambda: work("second"))
        assert jobs.start("b", lambda: work("third"))
        assert jobs.running("a")
        assert jobs.keys() == ("a", "b")
        gate.set()
        await settle()
        assert not jobs.running("a")
        assert jobs.start("a", lambda: work("fourth"))
        await settle()
    assert runs == ["first", "third", "fourth"]


async def test_jobs_above_the_bound_wait_in_order_and_then_are_refused() -> None:
    gate, begun = asyncio.Event(), list[int]()

    async def work(number: int) -> None:
        begun.append(number)
        await gate.wait()

    async with Jobs(max_running=2, max_waiting=2) as jobs:
        started = [jobs.start(str(n), lambda n=n: work(n)) for n in range(5)]  # type: ignore[misc]
        await settle()
        assert started == [True, True, True, True, False]
        assert begun == [0, 1]
        assert jobs.running("3")
        gate.set()
        await settle()
        assert begun == [0, 1, 2, 3]
        assert len(jobs) == 0


async def test_a_failing_job_ends_the_context_and_its_siblings() -> None:
    cancelled = list[str]()

    async def sleeper() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.append("sleeper")

    async def failing() -> None:
        raise LookupError("what nobody expected")

    jobs = Jobs()

    async def part() -> None:
        async with jobs:
            jobs.start("sleeper", sleeper)
            jobs.start("failing", failing)
            await asyncio.Event().wait()

    with pytest.raises(ExceptionGroup) as caught:
        await part()
    assert caught.group_contains(LookupError)
    assert cancelled == ["sleeper"]
    assert not jobs.start("late", failing)


async def test_stop_cancels_waits_and_starts_nothing_more() -> None:
    ended = list[str]()

    async def work() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await settle(3)
            ended.append("cleaned up")

    async with Jobs() as jobs:
        jobs.start("a", work)
        await settle()
        await jobs.stop()
        assert ended == ["cleaned up"]
        assert not jobs.start("b", work)


async def test_leaving_the_context_leaves_no_job_behind() -> None:
    never = asyncio.Event()
    async with Jobs() as jobs:
        jobs.start("a", never.wait)
        await settle()
    assert len(jobs) == 0


async def test_start_outside_the_context_is_refused_loudly() -> None:
    with pytest.raises(RuntimeError):
        Jobs().start("a", asyncio.Event().wait)
