"""The executor: wakeups in, one job per trader, answers journalled and published."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from functools import partial
from typing import Final

import msgspec
import structlog

from engine.bus import CLOSED_CYCLES, DECISIONS, WAKEUPS, Bus, Message, Topic
from engine.clock import Clock
from engine.core.decisions import CycleRecord, CycleStatus, Decision, Wakeup
from engine.core.errors import BusUnavailable, StoreUnavailable
from engine.executor.deadline import real_seconds_left
from engine.executor.decision import held
from engine.executor.ports import Decider
from engine.jobs import Jobs
from engine.journal.ports import Journal
from engine.log import TRACE
from engine.retry import patiently

log = structlog.get_logger()

_PATIENCE_S: Final = 300.0  # an answer that cannot be written for so long is of no use any more
_GRACE_S: Final = (
    1.0  # a decider keeps the deadline itself and says what it knows; this is for one that hangs
)


class ExecutorService:
    """Lets deciders answer wakeups, `at_once` of them at a time; the rest wait their turn.

    A trader thinks about one wakeup at a time. One more may wait for it: the newest, an older one is closed.
    """

    def __init__(
        self, deciders: Mapping[str, Decider], bus: Bus, journal: Journal, clock: Clock, at_once: int
    ) -> None:
        self._deciders = deciders
        self._log = log.bind()
        self._bus = bus
        self._journal = journal
        self._clock = clock
        self._since_ns = clock.now_ns()
        self._jobs = Jobs(max_running=at_once)  # its own: who thinks long keeps no order waiting
        self._thinking: dict[str, str] = {}  # trader id → cycle id
        self._next: dict[str, Wakeup] = {}
        self.cycles: dict[CycleStatus, int] = {}  # closed since the start
        self.on_closed: list[Callable[[CycleRecord], None]] = []  # told of each

    async def run(self) -> None:
        """Consume wakeups until cancelled; once."""
        async with self._jobs:
            await self._bus.consume(WAKEUPS, "executor", self._on_wakeup)

    async def _on_wakeup(self, message: Message[Wakeup]) -> None:
        wakeup = message.body
        trader_id = wakeup.trader_id
        if trader_id not in self._deciders:
            await self._close(self._empty(wakeup, CycleStatus.UNAVAILABLE, "no_decider"))
        elif await self._is_over(message):
            log.info("wakeup of a closed cycle ignored", cycle=wakeup.cycle_id)
        elif trader_id in self._thinking:
            await self._queue(wakeup)
        else:
            await self._start(wakeup)

    async def _is_over(self, message: Message[Wakeup]) -> bool:
        """Whether the cycle has ended: by a former delivery, or because a former life did not come to it."""
        wakeup = message.body
        if message.deliveries == 1 and wakeup.ts >= self._since_ns:
            return False
        return not await patiently(lambda: self._journal.is_open(wakeup.cycle_id))

    async def _queue(self, wakeup: Wakeup) -> None:
        """Keep the wakeup until its trader is free; it takes the place of one that waits already."""
        waiting = self._next.get(wakeup.trader_id)
        known = {self._thinking[wakeup.trader_id], waiting.cycle_id if waiting else ""}
        if wakeup.cycle_id in known:
            return
        self._next[wakeup.trader_id] = wakeup
        if waiting is not None:
            await self._close(self._empty(waiting, CycleStatus.UNAVAILABLE, "superseded"))

    async def _start(self, wakeup: Wakeup) -> None:
        self._thinking[wakeup.trader_id] = wakeup.cycle_id
        if not self._jobs.start(f"decide {wakeup.cycle_id}", lambda: self._think(wakeup)):
            del self._thinking[wakeup.trader_id]
            await self._close(self._empty(wakeup, CycleStatus.UNAVAILABLE, "overloaded"))

    async def _think(self, wakeup: Wakeup) -> None:
        """The job of one trader: this wakeup, then the one that came meanwhile."""
        trader_id = wakeup.trader_id
        due: Wakeup | None = wakeup
        while due is not None:
            self._thinking[trader_id] = due.cycle_id
            TRACE.set(due.cycle_id)  # of this task, which ends with the last cycle
            await self._close(await self._answer(due))
            due = self._next.pop(trader_id, None)
        del self._thinking[trader_id]

    async def _answer(self, wakeup: Wakeup) -> CycleRecord:
        """The decider's record; an answer after the deadline is kept for the audit, and holds."""
        started = self._clock.now_ns()
        left_s = real_seconds_left(wakeup.deadline_ns, self._clock)
        if left_s <= 0:
            return self._empty(wakeup, CycleStatus.TIMEOUT, "timeout", "the deadline passed before its turn")
        try:
            async with asyncio.timeout(left_s + _GRACE_S):
                record = await self._deciders[wakeup.trader_id].decide(wakeup)
        except TimeoutError:
            record = self._empty(wakeup, CycleStatus.TIMEOUT, "timeout", f"no answer in {left_s:.1f} s")
            return msgspec.structs.replace(record, ts_started=started)
        if record.status is CycleStatus.DECIDED and self._clock.now_ns() > wakeup.deadline_ns:
            late = held(wakeup, record.decision.decider, record.decision.ts_decided, "timeout")
            return msgspec.structs.replace(
                record, decision=late, status=CycleStatus.TIMEOUT, error="the answer came after the deadline"
            )
        return record

    def _empty(self, wakeup: Wakeup, status: CycleStatus, refusal: str, error: str = "") -> CycleRecord:
        decider = self._deciders.get(wakeup.trader_id)
        now = self._clock.now_ns()
        decision = held(wakeup, decider.name if decider else "", now, refusal)
        return CycleRecord(decision=decision, status=status, error=error or refusal, ts_started=now)

    async def _publish(self, topic: Topic[Decision], decision: Decision) -> None:
        publish = partial(self._bus.publish, topic, decision, trace_id=decision.cycle_id)
        await patiently(publish, _PATIENCE_S)

    async def _close(self, record: CycleRecord) -> None:
        """Journal and publish beside each other; the gate finds a decision in force once it is journalled.

        Everybody else hears of it afterwards. A cycle that was closed before is left alone.
        """
        decision = msgspec.structs.replace(record.decision, cost_usd=record.cost_usd)
        lost: BaseException | None = None
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._publish(DECISIONS, decision), name=f"offer {decision.cycle_id}")
                await self._clock.sleep_real(0)  # it leaves first: the bus carries it meanwhile
                closed = await patiently(lambda: self._journal.record_cycle(record), _PATIENCE_S)
            if not closed:
                log.info("cycle was closed before", cycle=decision.cycle_id)
                return
            await self._publish(CLOSED_CYCLES, decision)
        except* (StoreUnavailable, BusUnavailable) as outage:
            lost = outage
        if lost is not None:
            log.error("answer lost", cycle=decision.cycle_id, waited_s=_PATIENCE_S, exc_info=lost)
            return
        self.cycles[record.status] = self.cycles.get(record.status, 0) + 1
        for told in self.on_closed:
            told(record)
        self._log.info(
            "cycle closed",
            trader=decision.trader_id,
            cycle=decision.cycle_id,
            status=record.status,
            refusal=decision.refusal,
            actions=[f"{action.act} {action.symbol}" for action in decision.actions],
        )
