"""What decides: a model or a strategy, behind one port."""

from __future__ import annotations

from typing import Protocol

from engine.core.decisions import CycleRecord, Wakeup


class Decider(Protocol):
    """Answers wakeups of one trader.

    `decide` never raises for a bad or missing answer: the record says what happened (status, refusal,
    error) and its decision is then an empty one, which is «hold». It returns before the wakeup's deadline.
    """

    name: str

    async def decide(self, wakeup: Wakeup) -> CycleRecord: ...
