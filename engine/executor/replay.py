"""A cycle gone through again: the wakeup and the answers of then; code, templates and limits of today."""

from __future__ import annotations

import difflib

import msgspec

from engine.core.decisions import CycleRecord, Decision
from engine.executor.ports import Decider
from engine.journal.ports import KeptCycle


class Side(msgspec.Struct, frozen=True, kw_only=True):
    """One of the two runs, as texts that can be laid beside each other."""

    prompt: str
    answer: str
    decision: str


class Comparison(msgspec.Struct, frozen=True, kw_only=True):
    """A cycle as it was and as it would be now; `difference` is a unified diff, "" when there is none."""

    cycle_id: str
    trader_id: str
    was: Side
    now: Side
    difference: str

    @property
    def same(self) -> bool:
        return not self.difference


async def replay(kept: KeptCycle, decider: Decider) -> Comparison:
    """Let `decider` decide on the kept wakeup, and compare. The decider must not ask anybody."""
    now = await decider.decide(kept.wakeup)
    was, again = _side(kept.record), _side(now)
    parts = (_diff(name, getattr(was, name), getattr(again, name)) for name in Side.__struct_fields__)
    return Comparison(
        cycle_id=kept.wakeup.cycle_id,
        trader_id=kept.wakeup.trader_id,
        was=was,
        now=again,
        difference="\n".join(part for part in parts if part),
    )


def _side(record: CycleRecord) -> Side:
    prompt = "\n\n".join(text for text in (record.system_prompt, record.user_prompt) if text)
    return Side(prompt=prompt, answer=record.answer, decision=_decision(record.decision, record))


def _decision(decision: Decision, record: CycleRecord) -> str:
    """What was decided, one line an action; times and costs are not part of it."""
    head = f"{record.status}: {decision.refusal or 'as meant'}"
    actions = (msgspec.json.encode(action).decode() for action in decision.actions)
    return "\n".join((head, *actions))


def _diff(name: str, was: str, now: str) -> str:
    lines = difflib.unified_diff(
        was.splitlines(), now.splitlines(), f"{name} then", f"{name} now", lineterm="", n=1
    )
    return "\n".join(lines)
