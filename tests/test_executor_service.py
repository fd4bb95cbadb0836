"""Wakeups become recorded, published decisions: once, in time, one at a time per trader (A2)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import cast

import msgspec
import pytest

from engine.bus import CLOSED_CYCLES, DECISIONS, WAKEUPS, Message
from engine.clock import SystemClock
from engine.core.decisions import CycleRecord, CycleStatus, Decision, Wakeup
from engine.core.times import NS_PER_S
from engine.executor.decision import held
from engine.executor.service import ExecutorService
from engine.journal.ports import Journal
from engine.memory_bus import MemoryBus
from tests.executor_parts import CycleJournal, wakeup_of
from tests.waiting import until

CLOCK = SystemClock()


class Thinker:
    """A decider that answers when it is let; `asked` are the cycles it was given."""

    name = "thinker"

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.thinking = 0
        self.most = 0
        self.go = asyncio.Event()
        self.go.set()

    async def decide(self, wakeup: Wakeup) -> CycleRecord:
        self.asked.append(wakeup.cycle_id)
        self.thinking += 1
        self.most = max(self.most, self.thinking)
        try:
            await self.go.wait()
        finally:
            self.thinking -= 1
        return CycleRecord(decision=held(wakeup, self.name, CLOCK.now_ns()), status=CycleStatus.DECIDED)


class Room:
    """A running executor."""

    def __init__(self, service: ExecutorService, bus: MemoryBus, journal: CycleJournal) -> None:
        self.service = service
        self.bus = bus
        self.journal = journal
        self.published: list[Decision] = []  # of cycles that are closed
        self.offered: list[Decision] = []  # to the gate

    async def wake(self, wakeup: Wakeup) -> None:
        self.journal.open.add(wakeup.cycle_id)
        await self.bus.publish(WAKEUPS, wakeup)

    async def keep(self, message: Message[Decision]) -> None:
        self.published.append(message.body)

    async def offer(self, message: Message[Decision]) -> None:
        self.offered.append(message.body)

    @property
    def statuses(self) -> dict[str, CycleStatus]:
        return {cycle: record.status for cycle, record in self.journal.records.items()}


@asynccontextmanager
async def room_of(at_once: int = 8, **deciders: Thinker) -> AsyncIterator[Room]:
    journal, bus = CycleJournal(), MemoryBus(CLOCK)
    service = ExecutorService(deciders, bus, cast(Journal, journal), CLOCK, at_once)
    room = Room(service, bus, journal)
    async with asyncio.TaskGroup() as tasks:
        running = [
            tasks.create_task(service.run(), name="executor"),
            tasks.create_task(bus.consume(CLOSED_CYCLES, "test", room.keep), name="reader"),
            tasks.create_task(bus.consume(DECISIONS, "gate", room.offer), name="gate"),
        ]
        try:
            yield room
        finally:
            for task in running:
                task.cancel()


def soon(seconds: float = 60.0) -> int:
    return CLOCK.now_ns() + int(seconds * NS_PER_S)


async def test_answer_is_journalled_and_published() -> None:
    async with room_of(t1=Thinker()) as room:
        await room.wake(wakeup_of(deadline_ns=soon()))
        await until(lambda: bool(room.published))
        assert room.statuses == {"c1": CycleStatus.DECIDED}
        assert room.offered == room.published == [room.journal.records["c1"].decision]
        assert room.service.cycles == {CycleStatus.DECIDED: 1}


async def test_A3_wakeup_seen_again_is_answered_once() -> None:
    thinker = Thinker()
    async with room_of(t1=thinker) as room:
        wakeup = wakeup_of(deadline_ns=soon())
        await room.wake(wakeup)
        await until(lambda: bool(room.published))
        await room.wake(wakeup)
        await room.wake(wakeup_of(deadline_ns=soon(), cycle="c2"))
        await until(lambda: len(room.published) == 2)
        assert [decision.cycle_id for decision in room.published] == ["c1", "c2"]


@pytest.mark.parametrize("again", [True, False], ids=["delivered again", "unread when the engine ended"])
async def test_wakeup_of_a_cycle_that_is_closed_asks_nobody(again: bool) -> None:
    thinker = Thinker()
    async with room_of(t1=thinker) as room:
        await room.journal.record_cycle(
            CycleRecord(decision=held(wakeup_of(), "x", 1), status=CycleStatus.ABANDONED)
        )
        wakeup = msgspec.structs.replace(wakeup_of(deadline_ns=soon()), ts=CLOCK.now_ns() if again else 1)
        message = Message("1", wakeup, "", 0, deliveries=2 if again else 1)
        await room.service._on_wakeup(message)
        assert thinker.asked == []
        assert room.published == []


async def test_A2_answer_after_the_deadline_is_discarded() -> None:
    thinker = Thinker()
    thinker.go.clear()
    async with room_of(t1=thinker) as room:
        deadline_ns = soon(0.3)
        await room.wake(wakeup_of(deadline_ns=deadline_ns))
        await until(lambda: thinker.thinking == 1 and CLOCK.now_ns() > deadline_ns)
        thinker.go.set()
        await until(lambda: bool(room.published))
        record = room.journal.records["c1"]
        assert (record.status, record.decision.refusal) == (CycleStatus.TIMEOUT, "timeout")
        assert record.decision.actions == ()


async def test_decider_that_hangs_is_cut_off() -> None:
    thinker = Thinker()
    thinker.go.clear()
    async with room_of(t1=thinker) as room:
        await room.wake(wakeup_of(deadline_ns=soon(0.1)))
        await until(lambda: bool(room.published))
        assert room.statuses == {"c1": CycleStatus.TIMEOUT}
        assert thinker.thinking == 0


async def test_wakeup_that_waited_past_its_deadline_asks_nobody() -> None:
    thinker = Thinker()
    async with room_of(t1=thinker) as room:
        await room.wake(wakeup_of(deadline_ns=soon(-1)))
        await until(lambda: bool(room.published))
        assert room.statuses == {"c1": CycleStatus.TIMEOUT}
        assert thinker.asked == []


async def test_trader_thinks_about_one_wakeup_and_keeps_the_newest() -> None:
    thinker = Thinker()
    thinker.go.clear()
    async with room_of(t1=thinker) as room:
        for cycle in ("c1", "c2", "c3"):
            await room.wake(wakeup_of(deadline_ns=soon(), cycle=cycle))
        await until(lambda: "c2" in room.journal.records)
        thinker.go.set()
        await until(lambda: len(room.published) == 3)
        assert thinker.asked == ["c1", "c3"]
        assert thinker.most == 1
        assert room.journal.records["c2"].decision.refusal == "superseded"


async def test_slow_trader_does_not_hold_up_another() -> None:
    slow, quick = Thinker(), Thinker()
    slow.go.clear()
    async with room_of(t1=slow, t2=quick) as room:
        await room.wake(wakeup_of(deadline_ns=soon()))
        await room.wake(wakeup_of(deadline_ns=soon(), trader_id="t2", cycle="c2"))
        await until(lambda: bool(room.published))
        assert room.published[0].trader_id == "t2"
        slow.go.set()
        await until(lambda: len(room.published) == 2)


async def test_no_more_than_the_bound_think_at_once() -> None:
    thinkers = {f"t{i}": Thinker() for i in range(6)}
    shared = asyncio.Event()
    for thinker in thinkers.values():
        thinker.go = shared
    async with room_of(at_once=2, **thinkers) as room:
        for trader_id in thinkers:
            await room.wake(wakeup_of(deadline_ns=soon(), trader_id=trader_id, cycle=trader_id))
        await until(lambda: sum(thinker.thinking for thinker in thinkers.values()) == 2)
        await room.bus.drained()
        assert sum(thinker.thinking for thinker in thinkers.values()) == 2
        shared.set()
        await until(lambda: len(room.published) == 6)


async def test_answer_waits_for_the_journal_and_is_not_lost() -> None:
    async with room_of(t1=Thinker()) as room:
        room.journal.away = True
        await room.wake(wakeup_of(deadline_ns=soon()))
        await until(lambda: room.journal.refused >= 2)
        assert room.published == []
        room.journal.away = False
        await until(lambda: bool(room.published))
        assert room.statuses == {"c1": CycleStatus.DECIDED}


async def test_wakeup_of_an_unknown_trader_is_closed() -> None:
    async with room_of(t1=Thinker()) as room:
        await room.wake(wakeup_of(deadline_ns=soon(), trader_id="nobody"))
        await until(lambda: bool(room.published))
        assert room.published[0].refusal == "no_decider"


async def test_bug_in_a_decider_ends_the_part_loudly() -> None:
    class Broken(Thinker):
        async def decide(self, wakeup: Wakeup) -> CycleRecord:
            raise ZeroDivisionError

    async def live() -> None:
        async with room_of(t1=Broken()) as room:
            await room.wake(wakeup_of(deadline_ns=soon()))
            await asyncio.Event().wait()

    with pytest.raises(ExceptionGroup) as failed:
        await live()
    assert failed.group_contains(ZeroDivisionError)
