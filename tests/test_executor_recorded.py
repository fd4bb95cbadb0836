"""Every model call is kept; a cycle can be gone through again without asking anybody."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

import msgspec
import pytest

from engine.clock import SimClock, SystemClock
from engine.config.executor import ExecutorConfig
from engine.config.llm import RECORDED
from engine.core.decisions import CycleRecord, CycleStatus, ModelCall, Wakeup
from engine.core.errors import ConfigError
from engine.executor.asking import Failure, ModelClient
from engine.executor.llm import LlmClient
from engine.executor.memory import MemoryOff
from engine.executor.model import ModelDecider, ModelSetup
from engine.executor.prompt import PromptLibrary
from engine.executor.recorded import AnswerFile, CycleAnswers, RecordedModel, write_answers
from engine.executor.replay import replay
from engine.journal.in_memory.journal import MemoryJournal
from engine.journal.ports import Journal, TraderRecord
from engine.journal.postgres.journal import PostgresJournal
from tests.executor_parts import RULES, flat, model_server, wakeup_of

TRADER: Final = TraderRecord(
    trader_id="t1", name="t1", kind="model", model="demo", account_id="a", config=b"{}", ts=1
)


@pytest.fixture(params=["memory", "postgres"])
async def journal(request: pytest.FixtureRequest, database: str) -> AsyncIterator[Journal]:
    """Both kinds; `t1` is a trader of theirs."""
    if request.param == "memory":
        memory = MemoryJournal()
        await memory.record_traders([TRADER])
        yield memory
        return
    async with PostgresJournal(database, SystemClock()) as store:
        await store.record_traders([TRADER])
        yield store


def decider_of(client: ModelClient, journal: Journal, name: str = "demo", **changes: object) -> ModelDecider:
    setup = ModelSetup(
        client=client,
        prompts=PromptLibrary().pair(),
        rules=RULES,
        memory=MemoryOff(),
        config=msgspec.structs.replace(ExecutorConfig(), **changes),
        journal=journal,
        clock=SimClock(wakeup_of().ts),
    )
    return ModelDecider(name, setup)


async def live(journal: Journal, wakeup: Wakeup, faults: str = "") -> CycleRecord:
    """The cycle as a real endpoint answers it, opened and closed in the journal."""
    async with model_server() as served:
        client = LlmClient(served.llm({"demo": f"rules-only-demo{faults}"}), SystemClock())
        try:
            record = await decider_of(client, journal).decide(wakeup)
        finally:
            await client.aclose()
    await journal.record_wakeup(wakeup)
    assert await journal.record_cycle(record)
    return record


async def test_question_that_was_answered_is_answered_from_the_journal(journal: Journal) -> None:
    wakeup = flat(wakeup_of())
    then = await live(journal, wakeup)
    now = await decider_of(RecordedModel(journal), journal, RECORDED).decide(wakeup)
    assert now.status is CycleStatus.DECIDED
    assert now.decision.actions == then.decision.actions != ()
    assert now.decision.decider == "demo"
    assert (now.answer, now.reasoning, now.cost_usd) == (then.answer, then.reasoning, then.cost_usd)
    assert [(c.digest, c.answer) for c in now.calls] == [(c.digest, c.answer) for c in then.calls]


async def test_repaired_answer_is_replayed_question_by_question(journal: Journal) -> None:
    wakeup = flat(wakeup_of())
    then = await live(journal, wakeup, "+bad-once")
    assert len(then.calls) == 2
    now = await decider_of(RecordedModel(journal), journal, RECORDED).decide(wakeup)
    assert (now.status, now.answer) == (CycleStatus.DECIDED, then.answer)


async def test_question_that_nobody_asked_holds_and_says_so(journal: Journal) -> None:
    record = await decider_of(RecordedModel(journal), journal, RECORDED).decide(wakeup_of())
    assert (record.status, record.decision.refusal) == (CycleStatus.UNAVAILABLE, Failure.NOT_RECORDED)
    assert record.decision.actions == ()
    assert record.calls[0].digest in record.error


@pytest.mark.parametrize("faults", ["", "+bad-once", "+prose", "+status:500", "+truncated"])
async def test_cycle_gone_through_again_is_the_same(journal: Journal, faults: str) -> None:
    """Later cycles are not part of its past, and a failure is repeated like an answer."""
    await live(journal, flat(wakeup_of(cycle="c0")), "")
    then = await live(journal, flat(wakeup_of(cycle="c1")), faults)
    await live(journal, flat(wakeup_of(cycle="c2")), "")
    kept = await journal.cycle("c1")
    assert kept is not None
    assert kept.record == then
    again = decider_of(RecordedModel(CycleAnswers(kept.record.calls)), journal)
    comparison = await replay(kept, again)
    assert comparison.same, comparison.difference
    assert comparison.was.prompt
    assert comparison.was == comparison.now


async def test_difference_shows_what_a_changed_configuration_changes(journal: Journal) -> None:
    await live(journal, flat(wakeup_of(cycle="c1")))
    await live(journal, flat(wakeup_of(cycle="c2")))
    kept = await journal.cycle("c2")
    assert kept is not None
    model = RecordedModel(CycleAnswers(kept.record.calls))
    comparison = await replay(kept, decider_of(model, journal, recent_decisions=0))
    assert "prompt then" in comparison.difference
    assert "not_recorded" in comparison.difference


async def test_unknown_cycle_is_none(journal: Journal) -> None:
    assert await journal.cycle("nobody-1") is None


async def test_answers_of_a_file_are_those_of_the_journal(database: str, tmp_path: Path) -> None:
    path = tmp_path / "answers.jsonl"
    wakeup = flat(wakeup_of())
    async with PostgresJournal(database, SystemClock()) as journal:
        await journal.record_traders([TRADER])
        then = await live(journal, wakeup)
        await live(journal, flat(wakeup_of(cycle="c2")), "+status:500")
        assert await write_answers(journal.answered_calls(), path) == 1
        assert await write_answers(journal.answered_calls("nobody"), tmp_path / "none.jsonl") == 0
    model, elsewhere = RecordedModel(AnswerFile(path)), MemoryJournal()
    now = await decider_of(model, elsewhere, RECORDED).decide(wakeup)
    assert now.decision.actions == then.decision.actions != ()


def test_file_that_is_none_is_refused_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "answers.jsonl"
    good = msgspec.json.encode(ModelCall(digest="d", asked="a", alias="a", answer="x"))
    path.write_bytes(good + b"\n\n{}\n")
    with pytest.raises(ConfigError, match=r"answers.jsonl:3: is no recorded call"):
        AnswerFile(path)
    with pytest.raises(ConfigError, match="cannot be read"):
        AnswerFile(tmp_path / "missing")
