"""A decider that asks a language model: context, prompt, answer, decision, and a record of all of it."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Final

import msgspec
import structlog

from engine.clock import Clock
from engine.config.executor import ExecutorConfig
from engine.core.decisions import CycleRecord, CycleStatus, Decision, ModelCall, Wakeup
from engine.core.errors import ConfigError, DecisionRefused, StoreUnavailable
from engine.executor.asking import (
    ChatMessage,
    Failure,
    ModelClient,
    ModelFailure,
    ModelReply,
    ModelRequest,
    call_record,
)
from engine.executor.assemble import Past, build_context
from engine.executor.context import Context
from engine.executor.deadline import real_seconds_left
from engine.executor.decision import AnswerRules, held, read_decision
from engine.executor.memory import Memory, core_text, query_of
from engine.executor.prompt import Prompt, PromptPair
from engine.executor.sample import sample_wakeup
from engine.executor.wire import answer_schema
from engine.journal.ports import Journal

log = structlog.get_logger()

_LONGEST_REPEATED: Final = 8000  # of a refused answer, in the repair request
_SECOND_ANSWER: Final = "\n\n--- second answer, after the first was refused ---\n\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSetup:
    """The parts that a model decider is made of; `prompts` are its trader's two templates."""

    client: ModelClient
    prompts: PromptPair
    rules: AnswerRules
    memory: Memory
    config: ExecutorConfig
    journal: Journal
    clock: Clock


@dataclass(slots=True)
class _Attempt:
    """What is known of a cycle so far."""

    wakeup: Wakeup
    alias: str
    ts_started: int
    prompt: Prompt | None = None
    replies: list[ModelReply] = field(default_factory=list)
    calls: list[ModelCall] = field(default_factory=list)
    problem: str = ""  # with the first answer

    def record(
        self, decision: Decision, status: CycleStatus, error: str = "", model: str = ""
    ) -> CycleRecord:
        """The record of the whole cycle, with all tokens and costs of all its replies."""
        prompt, replies = self.prompt, self.replies
        return CycleRecord(
            decision=decision,
            status=status,
            model=replies[-1].model if replies else model,
            prompt_version=prompt.version if prompt else "",
            prompt_digest=prompt.digest if prompt else "",
            system_prompt=prompt.system if prompt else "",
            user_prompt=prompt.user if prompt else "",
            answer=_SECOND_ANSWER.join(reply.text for reply in replies),
            reasoning="\n\n".join(reply.reasoning for reply in replies if reply.reasoning),
            error="; ".join(text for text in (self.problem, error) if text),
            tokens_in=sum(reply.tokens_in for reply in replies),
            tokens_out=sum(reply.tokens_out for reply in replies),
            tokens_cached=sum(reply.tokens_cached for reply in replies),
            cost_usd=sum((reply.cost_usd for reply in replies), Decimal(0)),
            latency_ms=sum(reply.latency_ms for reply in replies),
            ts_started=self.ts_started,
            calls=tuple(self.calls),
        )


async def context_of(wakeup: Wakeup, setup: ModelSetup) -> tuple[Context, str]:
    """What a trader is shown at a wakeup, and its core memory. Raises StoreUnavailable."""
    config, journal, trader_id = setup.config, setup.journal, wakeup.trader_id
    cycles = await journal.recent_cycles(trader_id, config.recent_decisions, wakeup.cycle_id)
    past = Past(
        cycles=cycles,
        trades=await journal.recent_trades(trader_id, config.recent_trades, wakeup.ts),
        verdicts=await journal.verdicts_of([record.decision.cycle_id for record in cycles]),
        recalled=await setup.memory.recall(query_of(wakeup, config.memory.episodes)),
    )
    return build_context(wakeup, setup.rules, past), core_text(past.recalled.core)


class ModelDecider:
    """Implements Decider with the model `name`, an alias of llm.yaml.

    Raises ConfigError when its templates cannot be rendered, so that a mistake in them shows at start.
    """

    def __init__(self, name: str, setup: ModelSetup) -> None:
        self.name = name
        self._setup = setup
        sample = sample_wakeup("sample", ["BTC-USDT-SWAP", "ETH-USDT-SWAP"])
        setup.prompts.render(build_context(sample, setup.rules), setup.config.prompt_token_budget)
        setup.prompts.repair("sample")

    async def decide(self, wakeup: Wakeup) -> CycleRecord:
        """The model's decision, or why there is none; within the deadline, and it never raises for either."""
        attempt = _Attempt(wakeup, self.name, self._setup.clock.now_ns())
        try:
            attempt.prompt = await self.prompt(wakeup)
        except (ConfigError, StoreUnavailable) as error:
            reason = "prompt_broken" if isinstance(error, ConfigError) else "journal_away"
            return self._without(attempt, CycleStatus.UNAVAILABLE, reason, str(error))
        if attempt.prompt.tokens > self._setup.config.prompt_token_budget:
            detail = f"{attempt.prompt.tokens} tokens, at most {self._setup.config.prompt_token_budget}"
            return self._without(attempt, CycleStatus.REFUSED, "prompt_too_long", detail)
        return await self._converse(attempt, attempt.prompt)

    async def prompt(self, wakeup: Wakeup) -> Prompt:
        """Exactly what is sent for a wakeup. Raises ConfigError or StoreUnavailable."""
        context, core = await context_of(wakeup, self._setup)
        return self._setup.prompts.render(context, self._setup.config.prompt_token_budget, core)

    async def _converse(self, attempt: _Attempt, prompt: Prompt) -> CycleRecord:
        """The conversation; what is asked is written while the model thinks."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(
                self._keep_question(attempt, prompt), name=f"question {attempt.wakeup.cycle_id}"
            )
            return await self._conversation(attempt, prompt)

    async def _keep_question(self, attempt: _Attempt, prompt: Prompt) -> None:
        cycle_id, ts = attempt.wakeup.cycle_id, attempt.ts_started
        with suppress(StoreUnavailable):  # then it is written with the answer
            await self._setup.journal.record_question(cycle_id, prompt.system, prompt.user, ts)

    async def _conversation(self, attempt: _Attempt, prompt: Prompt) -> CycleRecord:
        """One question, and one more when the answer cannot be read."""
        messages = (ChatMessage("system", prompt.system), ChatMessage("user", prompt.user))
        reply = await self._ask(attempt, self.name, messages)
        if isinstance(reply, ModelFailure):
            return self._failed(attempt, reply)
        try:
            return self._decided(attempt, reply)
        except DecisionRefused as refusal:
            if not self._setup.config.repair:
                return self._without(attempt, CycleStatus.REFUSED, refusal.reason, str(refusal))
            first = refusal
        attempt.problem = f"first answer refused ({first.reason}): {first}"
        log.info("answer to be repaired", trader=attempt.wakeup.trader_id, reason=first.reason)
        repair = (
            ChatMessage("assistant", reply.text[:_LONGEST_REPEATED] or "(empty)"),
            ChatMessage("user", self._setup.prompts.repair(str(first))),
        )
        second = await self._ask(attempt, reply.alias, (*messages, *repair))
        if isinstance(second, ModelFailure):
            return self._without(attempt, CycleStatus.REFUSED, first.reason, f"no repair: {second.detail}")
        try:
            return self._decided(attempt, second)
        except DecisionRefused as refusal:
            return self._without(attempt, CycleStatus.REFUSED, refusal.reason, str(refusal))

    async def _ask(
        self, attempt: _Attempt, alias: str, messages: tuple[ChatMessage, ...]
    ) -> ModelReply | ModelFailure:
        setup, wakeup = self._setup, attempt.wakeup
        spent_s = (setup.clock.now_ns() - attempt.ts_started) / setup.clock.engine_ns(1.0)
        left_s = min(
            real_seconds_left(wakeup.deadline_ns, setup.clock), setup.config.decision_timeout - spent_s
        )
        if left_s <= 0:
            return ModelFailure(failure=Failure.TIMEOUT, detail="the deadline has passed")
        schema = answer_schema([view.symbol for view in wakeup.market])
        request = ModelRequest(
            alias=alias, messages=messages, schema=schema, deadline_s=left_s, wakeup=wakeup
        )
        ts_asked = setup.clock.now_ns()
        reply = await setup.client.ask(request)
        attempt.calls.append(call_record(request, reply, ts_asked, setup.clock.now_ns()))
        if isinstance(reply, ModelReply):
            attempt.replies.append(reply)
        return reply

    def _decided(self, attempt: _Attempt, reply: ModelReply) -> CycleRecord:
        """Raises DecisionRefused when the reply is no decision."""
        if reply.cut is not None:
            raise DecisionRefused(reply.cut, f"the answer is not whole ({reply.cut})")
        decision, thought = read_decision(reply.text, attempt.wakeup, reply.alias, self._setup.rules)
        decision = msgspec.structs.replace(decision, ts_decided=self._setup.clock.now_ns())
        record = attempt.record(decision, CycleStatus.DECIDED)
        return record if record.reasoning else msgspec.structs.replace(record, reasoning=thought)

    def _failed(self, attempt: _Attempt, failure: ModelFailure) -> CycleRecord:
        late = failure.failure is Failure.TIMEOUT
        status = CycleStatus.TIMEOUT if late else CycleStatus.UNAVAILABLE
        return self._without(attempt, status, failure.failure, failure.detail, failure.model)

    def _without(
        self, attempt: _Attempt, status: CycleStatus, reason: str, error: str, model: str = ""
    ) -> CycleRecord:
        """The record of a cycle that came to nothing: hold, and why."""
        decision = held(attempt.wakeup, self.name, self._setup.clock.now_ns(), reason)
        return attempt.record(decision, status, error, model)
