"""A model decider always answers with a record: a decision, or why there is none."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from decimal import Decimal
from typing import cast

import msgspec
import pytest

from engine.clock import SystemClock
from engine.config.executor import ExecutorConfig
from engine.config.loader import Duration
from engine.core.decisions import Act, CycleRecord, CycleStatus
from engine.executor.asking import Failure, ModelClient, ModelFailure, ModelRequest
from engine.executor.decision import read_decision
from engine.executor.llm import LlmClient
from engine.executor.memory import MemoryOff
from engine.executor.model import ModelDecider, ModelSetup
from engine.executor.prompt import PromptLibrary
from engine.journal.ports import Journal
from tests.executor_parts import BTC, KEY, RULES, CycleJournal, Served, flat, model_server, wakeup_of


class Desk:
    """A model server, a journal, and deciders that ask the one and read the other."""

    def __init__(self, served: Served) -> None:
        self.served = served
        self.journal = CycleJournal()
        self.clock = SystemClock()
        self._clients: list[LlmClient] = []

    def decider(self, faults: str = "", fallback: str = "", **changes: object) -> ModelDecider:
        aliases = {"demo": f"rules-only-demo{faults}"} | ({"spare": fallback} if fallback else {})
        client = LlmClient(self.served.llm(aliases, fallbacks=("spare",) if fallback else ()), self.clock)
        self._clients.append(client)
        return self.asking(client, **changes)

    def asking(self, client: ModelClient, **changes: object) -> ModelDecider:
        setup = ModelSetup(
            client=client,
            prompts=PromptLibrary().pair(),
            rules=RULES,
            memory=MemoryOff(),
            config=msgspec.structs.replace(ExecutorConfig(), **changes),
            journal=cast(Journal, self.journal),
            clock=self.clock,
        )
        return ModelDecider("demo", setup)

    async def decide(self, faults: str = "", fallback: str = "", **changes: object) -> CycleRecord:
        return await self.decider(faults, fallback, **changes).decide(flat(wakeup_of()))

    async def aclose(self) -> None:
        for client in self._clients:
            await client.aclose()


@pytest.fixture
async def desk() -> AsyncIterator[Desk]:
    async with model_server() as served:
        desk = Desk(served)
        yield desk
        await desk.aclose()


async def test_decision_is_recorded_with_all_that_led_to_it(desk: Desk) -> None:
    record = await desk.decide()
    (entry,) = record.decision.actions
    assert record.status is CycleStatus.DECIDED
    assert (entry.symbol, entry.act) == (BTC, Act.BUY_TO_ENTER)
    assert record.decision.prices[BTC] == 90_000.0
    assert record.decision.decider == "demo"
    assert record.decision.ts_decided >= record.ts_started > 0
    assert (record.model, record.prompt_version) == (
        "rules-only-demo",
        "system/default@1+rules@2 user/default@1",
    )
    assert len(record.prompt_digest) == 64
    sent = desk.served.bodies[0]["messages"]
    assert [message["content"] for message in sent] == [record.system_prompt, record.user_prompt]  # type: ignore[attr-defined]
    assert (
        read_decision(record.answer, flat(wakeup_of()), "demo", RULES)[0].actions == record.decision.actions
    )
    assert "not from a language model" in record.reasoning
    assert record.tokens_in > record.tokens_cached > 0
    assert record.cost_usd > 0
    assert (record.error, record.decision.refusal) == ("", "")


class SlowReader:
    """A model that says nothing before its question is in the journal, and then that it has no time."""

    def __init__(self, journal: CycleJournal) -> None:
        self._journal = journal

    async def ask(self, request: ModelRequest) -> ModelFailure:
        async with asyncio.timeout(10):
            while not self._journal.questions:
                await asyncio.sleep(0.001)
        return ModelFailure(failure=Failure.TIMEOUT, detail="busy")


async def test_what_a_model_is_asked_is_written_while_it_thinks(desk: Desk) -> None:
    record = await desk.asking(SlowReader(desk.journal)).decide(flat(wakeup_of()))
    assert record.status is CycleStatus.TIMEOUT
    asked = desk.journal.questions[record.decision.cycle_id]
    assert asked == (record.system_prompt, record.user_prompt)
    assert all(asked)


async def test_one_repair_request_names_the_errors_and_may_succeed(desk: Desk) -> None:
    record = await desk.decide("+bad-once")
    assert record.status is CycleStatus.DECIDED
    assert record.decision.actions
    assert "first answer refused (not_json)" in record.error
    assert "I would buy BTC" in record.answer
    repair = desk.served.bodies[1]["messages"][-1]["content"]  # type: ignore[index]
    assert "not JSON" in repair
    assert len(desk.served.bodies) == 2
    alone = await desk.decide()
    assert record.tokens_in > 2 * alone.tokens_in - 10
    assert record.cost_usd > alone.cost_usd


@pytest.mark.parametrize(
    ("faults", "reason"),
    [
        ("+prose", "not_json"),
        ("+preamble", "not_json"),
        ("+fence", "fenced"),
        ("+cut", "truncated"),
        ("+truncated", "truncated"),
        ("+empty", "empty"),
        ("+nan", "not_finite"),
        ("+string-nan", "not_finite"),
        ("+infinity", "not_finite"),
        ("+wrong-enum", "wrong_enum"),
        ("+unknown-symbol", "unknown_symbol"),
        ("+leverage", "leverage_range"),
        ("+stop-side", "stop_side"),
        ("+macd-array", "not_an_answer"),
    ],
)
async def test_A1_answer_that_stays_wrong_holds_and_is_kept(desk: Desk, faults: str, reason: str) -> None:
    record = await desk.decide(faults)
    assert record.status is CycleStatus.REFUSED
    assert record.decision.actions == ()
    assert record.decision.refusal == reason
    assert len(desk.served.bodies) == 2
    assert "second answer" in record.answer
    assert record.error


async def test_repair_can_be_turned_off(desk: Desk) -> None:
    record = await desk.decide("+prose", repair=False)
    assert record.decision.refusal == "not_json"
    assert len(desk.served.bodies) == 1


@pytest.mark.parametrize(
    ("faults", "status", "reason"),
    [
        ("+status:500", CycleStatus.UNAVAILABLE, "server_error"),
        ("+status:429", CycleStatus.UNAVAILABLE, "rate_limited"),
        ("+garbage", CycleStatus.UNAVAILABLE, "bad_reply"),
        ("+drop", CycleStatus.UNAVAILABLE, "unreachable"),
        ("+slow:20", CycleStatus.TIMEOUT, "timeout"),
    ],
)
async def test_failing_endpoint_holds_and_is_recorded(
    desk: Desk, faults: str, status: CycleStatus, reason: str
) -> None:
    record = await desk.decide(
        faults, decision_timeout=Duration(0.5 if status is CycleStatus.TIMEOUT else 20)
    )
    assert (record.status, record.decision.refusal, record.decision.actions) == (status, reason, ())
    assert record.model == f"rules-only-demo{faults}"
    assert record.user_prompt


async def test_fallback_that_answers_is_named(desk: Desk) -> None:
    record = await desk.decide("+status:500", fallback="rules-only-demo")
    assert record.status is CycleStatus.DECIDED
    assert (record.decision.decider, record.model) == ("spare", "rules-only-demo")


async def test_wakeup_whose_deadline_has_passed_asks_nobody(desk: Desk) -> None:
    record = await desk.decider().decide(wakeup_of(deadline_ns=1))
    assert record.status is CycleStatus.TIMEOUT
    assert not desk.served.bodies


async def test_prompt_that_cannot_be_made_short_enough_is_not_sent(desk: Desk) -> None:
    record = await desk.decide(prompt_token_budget=1500)
    assert (record.status, record.decision.refusal) == (CycleStatus.REFUSED, "prompt_too_long")
    assert not desk.served.bodies


async def test_without_the_journal_the_trader_holds(desk: Desk) -> None:
    desk.journal.away = True
    record = await desk.decide()
    assert (record.status, record.decision.refusal) == (CycleStatus.UNAVAILABLE, "journal_away")


async def test_past_decisions_are_shown_to_the_model(desk: Desk) -> None:
    record = await desk.decide()
    action = msgspec.structs.replace(record.decision.actions[0], justification="a memorable reason")
    earlier = msgspec.structs.replace(record.decision, cycle_id="c0", actions=(action,))
    await desk.journal.record_cycle(msgspec.structs.replace(record, decision=earlier))
    assert "a memorable reason" in (await desk.decide()).user_prompt


async def test_costs_are_exact_decimals(desk: Desk) -> None:
    record = await desk.decide()
    fresh = record.tokens_in - record.tokens_cached
    expected = (fresh + record.tokens_cached * Decimal("0.1") + record.tokens_out * 2) / 1_000_000
    assert record.cost_usd == expected


async def test_key_that_an_endpoint_repeats_reaches_no_record(desk: Desk) -> None:
    record = await desk.decide("+echo-key")
    assert record.status is CycleStatus.UNAVAILABLE
    assert record.calls[0].failure == "not_allowed"
    assert KEY.encode() not in msgspec.json.encode(record)
