"""What a trader would have been woken for: recorded signals through the real scheduler, at their times.

The trader answers after a fixed time; nothing else is made up.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Iterable
from typing import Final

import msgspec

from engine.clock import SimClock
from engine.config.scheduler import RhythmConfig
from engine.core.decisions import CycleMode
from engine.core.signals import Signal
from engine.manager.scheduler import Due, Refusal, Scheduler

_TRADER: Final = "rehearsal"


class CycleChange(msgspec.Struct, frozen=True):
    """From `ts` on the trader had this cycle."""

    ts: int
    mode: CycleMode


class Wake(msgspec.Struct, frozen=True):
    """One wakeup, at `ts`."""

    ts: int
    due: Due


class Rehearsal(msgspec.Struct, frozen=True, kw_only=True):
    """`kinds`: wakeups by their first reason. `merged`: reasons that came to a wakeup after its first.

    `thinking_merged`: those of them that arrived while the trader was thinking. `refusals`: signals that
    did not wake, by reason code.
    """

    wakes: tuple[Wake, ...]
    cycles: tuple[CycleChange, ...]
    kinds: dict[str, int]
    merged: int
    thinking_merged: int
    refusals: dict[str, int]


class _Stage:
    """One trader of a scheduler, and the clock."""

    def __init__(self, rhythm: RhythmConfig, symbol: str, begin_ns: int, thinking_ns: int) -> None:
        self.clock = SimClock(begin_ns)
        self.scheduler = Scheduler()
        self.scheduler.add(_TRADER, rhythm, (symbol,), begin_ns)
        self.wakes: list[Wake] = []
        self.cycles = [CycleChange(begin_ns, CycleMode.LONG)]
        self._thinking_ns = thinking_ns
        self._answers: list[tuple[int, str]] = []

    def until(self, ts: int) -> None:
        """Let everything happen that is due before or at `ts`."""
        while (at := self._next()) is not None and at <= ts:
            self.clock.set(max(at, self.clock.now_ns()))
            self._step()
        self.clock.set(max(ts, self.clock.now_ns()))

    def signal(self, signal: Signal) -> None:
        self.scheduler.on_signal(signal, self.clock.now_ns())
        self._step()

    def _next(self) -> int | None:
        due = self.scheduler.next_due_ns()
        times = [] if due is None else [due]
        if self._answers:
            times.append(self._answers[0][0])
        return min(times, default=None)

    def _step(self) -> None:
        now = self.clock.now_ns()
        while self._answers and self._answers[0][0] <= now:
            self.scheduler.on_closed(heapq.heappop(self._answers)[1], _TRADER, now)
        for due in self.scheduler.poll(now):
            self.wakes.append(Wake(now, due))
            heapq.heappush(self._answers, (now + self._thinking_ns, due.cycle_id))
        mode = self.scheduler.rhythm(_TRADER).mode
        if mode is not self.cycles[-1].mode:
            self.cycles.append(CycleChange(now, mode))


def rehearse(
    rhythm: RhythmConfig, signals: Iterable[Signal], begin_ns: int, end_ns: int, thinking_ns: int
) -> Rehearsal:
    """Signals of one symbol, in the order in which they were made, through a scheduler from begin to end."""
    stage: _Stage | None = None
    for signal in signals:
        stage = stage or _Stage(rhythm, signal.symbol, begin_ns, thinking_ns)
        stage.until(min(end_ns, max(signal.ts_event, signal.ts_recv)))
        stage.signal(signal)
    stage = stage or _Stage(rhythm, "", begin_ns, thinking_ns)
    stage.until(end_ns)
    refusals = Counter(stage.scheduler.refusals)
    thinking = refusals.pop(Refusal.MERGED, 0)
    return Rehearsal(
        wakes=tuple(stage.wakes),
        cycles=tuple(stage.cycles),
        kinds=dict(sorted(Counter(str(wake.due.reasons[0].kind) for wake in stage.wakes).items())),
        merged=sum(len(wake.due.reasons) - 1 for wake in stage.wakes),
        thinking_merged=thinking,
        refusals={str(code): count for code, count in sorted(refusals.items())},
    )
