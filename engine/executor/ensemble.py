"""Several deciders about one wakeup: the majority decides, or a judge chooses among what they want."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import ROUND_DOWN, Decimal
from typing import Final

import msgspec

from engine.clock import Clock
from engine.core.decisions import Act, Action, CycleRecord, CycleStatus, Decision, Wakeup
from engine.executor.decision import held
from engine.executor.judge import Judge
from engine.executor.ports import Decider

_MEMBERS_SHARE: Final = 0.8  # of the time to the deadline; the rest is the judge's, or for a late member
_JUDGED_SHARE: Final = 0.55
_LEAVES: Final = frozenset({Act.CLOSE, Act.REDUCE})


@dataclass(frozen=True, slots=True, kw_only=True)
class EnsembleSetup:
    """`judge` None: the majority of all members decides. Beyond `max_cost_usd` the judge is not asked."""

    members: Sequence[Decider]
    judge: Judge | None
    max_cost_usd: Decimal
    clock: Clock


class EnsembleDecider:
    """Implements Decider with others. Each is asked once and all at the same time, the judge at most once."""

    name = "ensemble"

    def __init__(self, setup: EnsembleSetup) -> None:
        self._setup = setup

    async def decide(self, wakeup: Wakeup) -> CycleRecord:
        """The members' common decision; a member that failed counts as one that holds."""
        setup, started = self._setup, self._setup.clock.now_ns()
        share = _MEMBERS_SHARE if setup.judge is None else _JUDGED_SHARE
        left_ns = max(0, wakeup.deadline_ns - started)
        early = msgspec.structs.replace(wakeup, deadline_ns=started + int(left_ns * share))
        async with asyncio.TaskGroup() as tasks:
            thinking = [
                tasks.create_task(member.decide(early), name=f"member {i}")
                for i, member in enumerate(setup.members)
            ]
        records = [task.result() for task in thinking]
        proposals = [record for record in records if record.status is CycleStatus.DECIDED]
        if not proposals:
            return self._merged(wakeup, records, started, "no_member")
        cost = sum((record.cost_usd for record in records), Decimal(0))
        if setup.judge is None or cost >= setup.max_cost_usd:
            return self._voted(wakeup, records, proposals, started)
        return await self._judged(setup.judge, wakeup, records, proposals, started)

    def _voted(
        self, wakeup: Wakeup, records: list[CycleRecord], proposals: list[CycleRecord], started: int
    ) -> CycleRecord:
        actions = vote([record.decision for record in proposals], len(records))
        return self._merged(wakeup, records, started, actions=actions)

    async def _judged(
        self,
        judge: Judge,
        wakeup: Wakeup,
        records: list[CycleRecord],
        proposals: list[CycleRecord],
        started: int,
    ) -> CycleRecord:
        verdict = await judge.choose(wakeup, [record.decision for record in proposals])
        chosen = proposals[verdict.choice - 1].decision.actions if verdict.choice else ()
        refusal = verdict.record.decision.refusal
        return self._merged(wakeup, [*records, verdict.record], started, refusal, chosen)

    def _merged(
        self,
        wakeup: Wakeup,
        records: list[CycleRecord],
        started: int,
        refusal: str = "",
        actions: tuple[Action, ...] = (),
    ) -> CycleRecord:
        """One record of all that was asked; texts of the members follow each other under their names."""
        decision = held(wakeup, self.name, self._setup.clock.now_ns(), refusal)
        first = next((record for record in records if record.user_prompt), records[0])
        return CycleRecord(
            decision=msgspec.structs.replace(decision, actions=actions),
            status=CycleStatus.UNAVAILABLE if refusal else CycleStatus.DECIDED,
            model=", ".join(dict.fromkeys(record.model for record in records if record.model)),
            prompt_version=first.prompt_version,
            prompt_digest=first.prompt_digest,
            system_prompt=first.system_prompt,
            user_prompt=first.user_prompt,
            answer=_under_names(records, lambda record: record.answer),
            reasoning=_under_names(records, lambda record: record.reasoning),
            error=_under_names(records, lambda record: record.error),
            tokens_in=sum(record.tokens_in for record in records),
            tokens_out=sum(record.tokens_out for record in records),
            tokens_cached=sum(record.tokens_cached for record in records),
            cost_usd=sum((record.cost_usd for record in records), Decimal(0)),
            latency_ms=max(record.latency_ms for record in records),
            ts_started=started,
            calls=tuple(call for record in records for call in record.calls),
        )


def vote(proposals: Sequence[Decision], members: int) -> tuple[Action, ...]:
    """What more than half of all members want with each symbol; whoever is silent about one holds it.

    Of those who agree, the most careful plan is taken as it stands: the smallest position, the smallest part
    closed. Members who want out, wholly or in part, agree on the smaller part.
    """
    by_symbol: dict[str, list[Action]] = {}
    for decision in proposals:
        for action in decision.actions:
            by_symbol.setdefault(action.symbol, []).append(action)
    agreed = (_agreed(actions, members) for _, actions in sorted(by_symbol.items()))
    found = [action for action in agreed if action is not None]
    found.sort(key=lambda action: action.act.enters)  # leave before entering; stable
    return tuple(found)


def _agreed(actions: Sequence[Action], members: int) -> Action | None:
    wishes = (*(frozenset({act}) for act in Act if act is not Act.HOLD), _LEAVES)
    for wish in wishes:
        voters = [action for action in actions if action.act in wish]
        if len(voters) * 2 > members:
            return _careful(voters, members)
    return None


def _careful(voters: Sequence[Action], members: int) -> Action:
    """The plan that risks least, with the mean confidence of those who agree."""
    chosen = min(voters, key=lambda each: (each.notional_usd or Decimal(0), each.close_fraction))
    confidence = sum((each.confidence for each in voters), Decimal(0)) / len(voters)
    return msgspec.structs.replace(
        chosen,
        confidence=confidence.quantize(Decimal("0.001"), ROUND_DOWN),
        justification=f"{len(voters)} of {members} agree: {chosen.justification}",
    )


def _under_names(records: Sequence[CycleRecord], text: Callable[[CycleRecord], str]) -> str:
    return "\n\n".join(
        f"--- {record.decision.decider} ---\n{text(record)}" for record in records if text(record)
    )
