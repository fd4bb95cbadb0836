"""A model that chooses among the proposals of others. It can choose or hold, and nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import msgspec

from engine.core.decisions import CycleRecord, CycleStatus, Decision, Wakeup
from engine.core.errors import ConfigError, DecisionRefused, StoreUnavailable
from engine.executor.asking import ChatMessage, ModelFailure, ModelReply, ModelRequest, call_record
from engine.executor.deadline import real_seconds_left
from engine.executor.decision import held
from engine.executor.model import ModelSetup, context_of
from engine.executor.prompt import Prompt
from engine.executor.wire import clean

_SCHEMA: Final = msgspec.json.encode(
    {
        "type": "object",
        "properties": {"reasoning": {"type": "string"}, "choice": {"type": "integer"}},
        "required": ["reasoning", "choice"],
        "additionalProperties": False,
    }
)


class Choice(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The judge's answer; `choice` counts from 1, 0 is none of them."""

    reasoning: str = ""
    choice: int


@dataclass(frozen=True, slots=True)
class Verdict:
    """`choice` is 0 when the judge wants none, or did not answer; `record` says which."""

    choice: int
    record: CycleRecord


class Judge:
    """Asks the alias `name` once a decision."""

    def __init__(self, name: str, setup: ModelSetup) -> None:
        self.name = name
        self._setup = setup

    async def choose(self, wakeup: Wakeup, proposals: Sequence[Decision]) -> Verdict:
        """The number of the chosen proposal. Never raises for what the model or the journal does."""
        started = self._setup.clock.now_ns()
        nothing = CycleRecord(
            decision=held(wakeup, self.name, started), status=CycleStatus.UNAVAILABLE, ts_started=started
        )
        try:
            prompt = await self._prompt(wakeup, proposals)
        except (ConfigError, StoreUnavailable) as error:
            return _none(nothing, "judge_prompt", str(error))
        request = self._request(wakeup, prompt)
        if request.deadline_s <= 0:
            return _none(nothing, "judge_timeout", "no time was left for the judge")
        clock = self._setup.clock
        ts_asked = clock.now_ns()
        reply = await self._setup.client.ask(request)
        call = call_record(request, reply, ts_asked, clock.now_ns())
        record = msgspec.structs.replace(nothing, calls=(call,))
        if isinstance(reply, ModelFailure):
            return _none(record, f"judge_{reply.failure}", reply.detail)
        record = _with_reply(record, reply)
        try:
            choice = read_choice(reply.text, len(proposals))
        except DecisionRefused as refusal:
            return _none(record, f"judge_{refusal.reason}", str(refusal))
        thought = record.reasoning or clean(choice.reasoning)
        return Verdict(choice.choice, msgspec.structs.replace(record, reasoning=thought))

    def _request(self, wakeup: Wakeup, prompt: Prompt) -> ModelRequest:
        clock, config = self._setup.clock, self._setup.config
        return ModelRequest(
            alias=self.name,
            messages=(ChatMessage("system", prompt.system), ChatMessage("user", prompt.user)),
            schema=_SCHEMA,
            deadline_s=min(real_seconds_left(wakeup.deadline_ns, clock), float(config.decision_timeout)),
            wakeup=wakeup,
        )

    async def _prompt(self, wakeup: Wakeup, proposals: Sequence[Decision]) -> Prompt:
        setup = self._setup
        context, core = await context_of(wakeup, setup)
        told = "\n".join(
            msgspec.json.encode({"proposal": i, "by": each.decider, "decisions": each.actions}).decode()
            for i, each in enumerate(proposals, 1)
        )
        told = told.replace("</", "<\\/")  # no text inside can end the block
        return setup.prompts.judge(context, setup.config.prompt_token_budget, core, told)


def read_choice(text: str, proposals: int) -> Choice:
    """The choice in a judge's answer. Raises DecisionRefused for anything but one of the proposals, or 0."""
    try:
        choice = msgspec.json.decode(text.strip(), type=Choice)
    except (msgspec.MsgspecError, UnicodeEncodeError) as error:
        raise DecisionRefused("not_a_choice", f"the answer is no choice: {error}") from error
    if not 0 <= choice.choice <= proposals:
        raise DecisionRefused("choice_range", f"there is no proposal {choice.choice}")
    return choice


def _with_reply(record: CycleRecord, reply: ModelReply) -> CycleRecord:
    return msgspec.structs.replace(
        record,
        model=reply.model,
        answer=reply.text,
        reasoning=reply.reasoning,
        tokens_in=reply.tokens_in,
        tokens_out=reply.tokens_out,
        tokens_cached=reply.tokens_cached,
        cost_usd=reply.cost_usd,
        latency_ms=reply.latency_ms,
    )


def _none(record: CycleRecord, refusal: str, error: str) -> Verdict:
    decision = msgspec.structs.replace(record.decision, refusal=refusal)
    return Verdict(0, msgspec.structs.replace(record, decision=decision, error=error))
