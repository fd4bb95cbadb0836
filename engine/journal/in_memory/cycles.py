"""Decision cycles in memory: what woke them, what was answered, what the gate said."""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Iterator, Sequence
from itertools import dropwhile, islice
from typing import Final

import msgspec

from engine.core.decisions import CycleRecord, Decision, ModelCall, Verdict, Wakeup
from engine.journal.ports import KeptCycle, Validity

_KEPT: Final = 2_000


class MemoryCycles:
    """The newest 2,000 that were closed, and all that are open: nobody looks back further."""

    def __init__(self) -> None:
        self.closed = 0  # the forgotten ones too
        self.records: dict[str, CycleRecord] = {}  # cycle id → its answer, oldest first
        self.refusals: Counter[str] = Counter()  # of the gate, by reason
        self.undecided: Counter[tuple[str, str]] = Counter()  # by trader, and why it has no decision
        self._wakeups: dict[str, Wakeup] = {}  # cycle id → wakeup, oldest first
        self._open: dict[str, None] = {}  # those without an answer, oldest first
        self._woken: dict[str, list[str]] = {}  # trader id → cycle ids, oldest first
        self._calls: dict[tuple[str, str], ModelCall] = {}  # digest, asked alias or "" → newest answer
        self._verdicts: dict[str, list[Verdict]] = {}  # cycle id → of its actions

    def begin(self, wakeup: Wakeup) -> None:
        """A trader is woken."""
        self._wakeups[wakeup.cycle_id] = wakeup
        self._open[wakeup.cycle_id] = None
        self._woken.setdefault(wakeup.trader_id, []).append(wakeup.cycle_id)

    def close(self, record: CycleRecord) -> bool:
        """The answer. False for a cycle that is unknown or was closed before."""
        cycle_id = record.decision.cycle_id
        if cycle_id not in self._wakeups or cycle_id in self.records:
            return False
        self.records[cycle_id] = record
        del self._open[cycle_id]
        self.closed += 1
        if record.decision.refusal:
            self.undecided[record.decision.trader_id, record.decision.refusal] += 1
        if len(self.records) > _KEPT:
            oldest = next(iter(self.records))
            del self.records[oldest], self._wakeups[oldest]
            self._verdicts.pop(oldest, None)
        for call in record.calls:
            if not call.failure:
                self._calls[call.digest, call.asked] = self._calls[call.digest, ""] = call
        return True

    def validity(self, answer: Decision) -> Validity:
        """Whether the decision is its cycle's answer. One that is forgotten is no answer any more."""
        if answer.cycle_id in self._open:
            return Validity.OPEN
        record = self.records.get(answer.cycle_id)
        ours = record is not None and record.decision.ts_decided == answer.ts_decided
        return Validity.IN_FORCE if ours else Validity.VOID

    def judge(self, verdict: Verdict) -> None:
        """What the gate said of an action."""
        self.refusals.update(() if verdict.approved else (verdict.reason,))
        self._verdicts.setdefault(verdict.cycle_id, []).append(verdict)

    def is_open(self, cycle_id: str) -> bool:
        """Whether it waits for its answer."""
        return cycle_id in self._open

    def open_of(self, trader_ids: Container[str]) -> tuple[str, ...]:
        """Cycles of these traders that wait for their answers, oldest first."""
        return tuple(name for name in self._open if self._wakeups[name].trader_id in trader_ids)

    def recent(self, trader_id: str, limit: int, before: str = "") -> tuple[CycleRecord, ...]:
        """See Journal.recent_cycles."""
        newest_first: Iterator[str] = reversed(self._woken.get(trader_id, []))
        if before in self._wakeups and self._wakeups[before].trader_id == trader_id:
            newest_first = islice(dropwhile(lambda name: name != before, newest_first), 1, None)
        closed = (self.records[name] for name in newest_first if name in self.records)
        return tuple(
            msgspec.structs.replace(
                record, system_prompt="", user_prompt="", answer="", reasoning="", calls=()
            )
            for record in islice(closed, limit)
        )

    def verdicts_of(self, cycle_ids: Sequence[str]) -> tuple[Verdict, ...]:
        """See Journal.verdicts_of."""
        found = [
            verdict
            for cycle_id in set(cycle_ids)
            for verdict in self._verdicts.get(cycle_id, ())
            if cycle_id.startswith(f"{verdict.trader_id}-")
        ]
        return tuple(sorted(found, key=lambda each: (each.ts, each.cycle_id, each.symbol)))

    def reason(self, cycle_id: str, symbol: str) -> str:
        """Why the cycle acted on the symbol; "" when it did not, or nobody decided."""
        record = self.records.get(cycle_id)
        actions = record.decision.actions if record else ()
        return next((action.justification for action in actions if action.symbol == symbol), "")

    def kept(self, cycle_id: str) -> KeptCycle | None:
        """A closed cycle with what woke it; None when it is unknown, open or forgotten."""
        if cycle_id not in self.records:
            return None
        return KeptCycle(wakeup=self._wakeups[cycle_id], record=self.records[cycle_id])

    def call(self, digest: str, alias: str) -> ModelCall | None:
        """See Journal.recorded_call."""
        return self._calls.get((digest, alias), self._calls.get((digest, "")))
