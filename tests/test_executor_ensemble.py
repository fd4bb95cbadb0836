"""Several deciders decide together: by majority or by a judge, bounded in calls and cost."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from decimal import Decimal
from pathlib import Path
from typing import cast

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from engine.cli.main import app
from engine.clock import SimClock
from engine.config.executor import ExecutorConfig
from engine.config.settings import load_settings
from engine.core.decisions import Act, Action, CycleRecord, CycleStatus, Wakeup
from engine.core.errors import ConfigError, DecisionRefused
from engine.executor.asking import Failure, ModelFailure, ModelReply, ModelRequest
from engine.executor.decision import held
from engine.executor.ensemble import EnsembleDecider, EnsembleSetup, vote
from engine.executor.judge import Judge, read_choice
from engine.executor.memory import MemoryOff
from engine.executor.model import ModelSetup
from engine.executor.prompt import PromptLibrary
from engine.executor.recorded import CycleAnswers, RecordedModel
from engine.executor.replay import replay
from engine.journal.in_memory.journal import MemoryJournal
from engine.journal.ports import Journal, KeptCycle
from engine.modelserver.rules import answer
from engine.wiring.deciders import build_deciders
from tests.executor_parts import BTC, ETH, RULES, CycleJournal, flat, wakeup_of

WAKEUP = flat(wakeup_of())
CLOCK = SimClock(WAKEUP.ts)
REPO = Path(__file__).parent.parent


def action(act: Act = Act.BUY_TO_ENTER, symbol: str = BTC, size: int = 1000, **changes: object) -> Action:
    made = Action(symbol=symbol, act=act, notional_usd=Decimal(size), confidence=Decimal("0.8"))
    return msgspec.structs.replace(made, **changes)


class Member:
    """Decides what it is told to; None is a member that fails."""

    def __init__(self, *actions: Action, fails: bool = False, cost: str = "0.01") -> None:
        self.name = "member"
        self._actions, self._fails, self._cost = actions, fails, Decimal(cost)
        self.deadlines: list[int] = []

    async def decide(self, wakeup: Wakeup) -> CycleRecord:
        self.deadlines.append(wakeup.deadline_ns)
        decision = held(wakeup, self.name, wakeup.ts, "timeout" if self._fails else "")
        return CycleRecord(
            decision=msgspec.structs.replace(decision, actions=self._actions),
            status=CycleStatus.TIMEOUT if self._fails else CycleStatus.DECIDED,
            cost_usd=self._cost,
            reasoning="a thought",
        )


class Answering:
    """A model that gives one answer; `asked` are the requests."""

    def __init__(self, answer: str | Failure) -> None:
        self._answer = answer
        self.asked: list[ModelRequest] = []

    async def ask(self, request: ModelRequest) -> ModelReply | ModelFailure:
        self.asked.append(request)
        if isinstance(self._answer, Failure):
            return ModelFailure(failure=self._answer, detail="no")
        return ModelReply(
            alias=request.alias,
            model="m",
            text=self._answer,
            reasoning="",
            cut=None,
            tokens_in=10,
            tokens_out=5,
            tokens_cached=0,
            cost_usd=Decimal("0.02"),
            latency_ms=7,
        )


def ensemble(
    members: Sequence[Member], model: Answering | None = None, max_cost: str = "1"
) -> EnsembleDecider:
    judge = None
    if model is not None:
        setup = ModelSetup(
            client=model,
            prompts=PromptLibrary().pair(),
            rules=RULES,
            memory=MemoryOff(),
            config=ExecutorConfig(),
            journal=cast(Journal, CycleJournal()),
            clock=CLOCK,
        )
        judge = Judge("wise", setup)
    return EnsembleDecider(
        EnsembleSetup(members=members, judge=judge, max_cost_usd=Decimal(max_cost), clock=CLOCK)
    )


async def test_majority_decides_with_the_most_careful_plan() -> None:
    plans = [action(size=5000, confidence=Decimal("0.6")), action(size=900), action(Act.SELL_TO_ENTER)]
    record = await ensemble([Member(plan) for plan in plans]).decide(WAKEUP)
    (chosen,) = record.decision.actions
    assert (chosen.act, chosen.notional_usd, chosen.confidence) == (
        Act.BUY_TO_ENTER,
        Decimal(900),
        Decimal("0.7"),
    )
    assert chosen.justification.startswith("2 of 3 agree")
    assert record.cost_usd == Decimal("0.03")
    assert (record.status, record.decision.decider) == (CycleStatus.DECIDED, "ensemble")


async def test_members_that_fail_count_as_members_that_hold() -> None:
    broken = Member(fails=True)
    assert (await ensemble([Member(action()), broken]).decide(WAKEUP)).decision.actions == ()
    record = await ensemble([broken, broken]).decide(WAKEUP)
    assert (record.status, record.decision.refusal) == (CycleStatus.UNAVAILABLE, "no_member")


@pytest.mark.parametrize(
    ("wanted", "act"),
    [
        ([Act.CLOSE, Act.CLOSE, Act.HOLD], Act.CLOSE),
        ([Act.CLOSE, Act.REDUCE, Act.HOLD], Act.REDUCE),
        ([Act.CLOSE, Act.HOLD, Act.HOLD], None),
        ([Act.BUY_TO_ENTER, Act.SELL_TO_ENTER, Act.HOLD], None),
        ([Act.MOVE_STOP, Act.MOVE_STOP, Act.CLOSE], Act.MOVE_STOP),
    ],
)
def test_more_than_half_must_agree(wanted: list[Act], act: Act | None) -> None:
    parts = {Act.REDUCE: Decimal("0.5")}
    decisions = [
        msgspec.structs.replace(
            held(WAKEUP, "m", 0), actions=(action(each, close_fraction=parts.get(each, Decimal(1))),)
        )
        for each in wanted
    ]
    assert [each.act for each in vote(decisions, len(wanted))] == ([act] if act else [])


@given(st.lists(st.lists(st.sampled_from(list(Act)), max_size=2), min_size=2, max_size=7))
def test_nothing_is_done_that_most_did_not_want(drawn: list[list[Act]]) -> None:
    symbols = (BTC, ETH)
    decisions = [
        msgspec.structs.replace(
            held(WAKEUP, "m", 0),
            actions=tuple(action(act, symbol) for act, symbol in zip(acts, symbols, strict=False)),
        )
        for acts in drawn
    ]
    chosen = vote(decisions, len(drawn))
    for each in chosen:
        alike = {Act.CLOSE, Act.REDUCE} if each.act in {Act.CLOSE, Act.REDUCE} else {each.act}
        voters = [d for d in decisions if any(a.symbol == each.symbol and a.act in alike for a in d.actions)]
        assert len(voters) * 2 > len(drawn)
    assert len({each.symbol for each in chosen}) == len(chosen)
    entered = [each.act.enters for each in chosen]
    assert entered == sorted(entered)


async def test_judge_chooses_one_proposal_as_it_stands() -> None:
    model = Answering('{"reasoning": "the second", "choice": 2}')
    wanted = action(Act.SELL_TO_ENTER, size=700)
    record = await ensemble([Member(action()), Member(fails=True), Member(wanted)], model).decide(WAKEUP)
    assert record.decision.actions == (wanted,)
    assert record.cost_usd == Decimal("0.05")
    assert len(record.calls) == len(model.asked) == 1
    prompt = model.asked[0].messages[1].content
    assert '"proposal":2' in prompt
    assert '"notional_usd":"700"' in prompt
    assert "the second" in record.reasoning


@pytest.mark.parametrize(
    ("answer", "refusal"),
    [
        ('{"reasoning": "none", "choice": 0}', ""),
        ('{"reasoning": "x", "choice": 3}', "judge_choice_range"),
        ('{"choice": -1}', "judge_choice_range"),
        ("I choose 1", "judge_not_a_choice"),
        ('```json\n{"choice": 1}\n```', "judge_not_a_choice"),
        ('{"choice": 1, "leverage": 50}', "judge_not_a_choice"),
        ('{"choice": 1.5}', "judge_not_a_choice"),
        (Failure.TIMEOUT, "judge_timeout"),
    ],
)
async def test_judge_that_chooses_nothing_holds(answer: str | Failure, refusal: str) -> None:
    record = await ensemble([Member(action()), Member(action())], Answering(answer)).decide(WAKEUP)
    assert record.decision.actions == ()
    assert record.decision.refusal == refusal
    assert record.status is (CycleStatus.UNAVAILABLE if refusal else CycleStatus.DECIDED)


@given(st.text(max_size=60), st.integers(0, 3))
def test_no_text_is_a_choice_that_was_not_made(text: str, proposals: int) -> None:
    with suppress(DecisionRefused):
        assert 0 <= read_choice(text, proposals).choice <= proposals


async def test_judge_is_not_asked_beyond_the_cost_and_members_leave_it_time() -> None:
    model = Answering('{"choice": 1}')
    members = [Member(action(), cost="0.6"), Member(action(), cost="0.6")]
    wakeup = msgspec.structs.replace(WAKEUP, deadline_ns=WAKEUP.ts + 1000)
    record = await ensemble(members, model, max_cost="1").decide(wakeup)
    assert model.asked == []
    assert record.decision.actions[0].justification.startswith("2 of 2 agree")
    assert members[0].deadlines == [WAKEUP.ts + 550]


ENSEMBLE = """
    ensemble:
      members:
        - { model: demo }
        - { model: demo2, prompt_template: contrarian }
        - { strategy: { name: ema_trend } }
      judge: demo
"""


def configured(tmp_path: Path, ensemble: str) -> Path:
    folder = tmp_path / "etc"
    folder.mkdir()
    for path in (REPO / "etc").glob("*.yaml"):
        text = path.read_text()
        if path.name == "manager.yaml":
            text = text.replace("\n    model: demo # an alias of llm.yaml\n", ensemble)
        if path.name == "llm.yaml":
            text = text.replace("\nmodels:\n", "\nmodels:\n  demo2: { provider: demo, model_name: x }\n")
        (folder / path.name).write_text(text)
    return folder


async def test_configured_ensemble_is_asked_and_replayed(tmp_path: Path) -> None:
    settings = load_settings(configured(tmp_path, ENSEMBLE), {})
    (trader,) = (each for each in settings.manager.traders if each.ensemble)
    assert (trader.models, trader.decider) == (("demo", "demo2"), "ensemble")
    wakeup = flat(wakeup_of(trader_id=trader.id))
    journal, clock = MemoryJournal(), SimClock(wakeup.ts)
    model = Answering('{"reasoning": "r", "decisions": []}')
    record = await build_deciders(settings, model, journal, clock)[trader.id].decide(wakeup)
    assert [request.alias for request in model.asked] == ["demo", "demo2", "demo"]
    assert record.decision.refusal == "judge_not_a_choice"
    again = build_deciders(settings, RecordedModel(CycleAnswers(record.calls)), journal, clock)[trader.id]
    comparison = await replay(KeptCycle(wakeup=wakeup, record=record), again)
    assert comparison.same, comparison.difference


@pytest.mark.parametrize(
    ("ensemble", "said"),
    [
        (ENSEMBLE.replace("demo2,", "demo9,"), "unknown model 'demo9'"),
        (ENSEMBLE.replace("judge: demo", "judge: nobody"), "unknown model 'nobody'"),
        ("\n    model: demo" + ENSEMBLE, "expected one of model, strategy and ensemble"),
        ("\n    ensemble: { members: [{ model: demo }] }\n", "2"),
        ("\n    ensemble: { members: [{}, {}] }\n", "either a model or a strategy"),
    ],
)
def test_mistake_in_an_ensemble_is_named(tmp_path: Path, ensemble: str, said: str) -> None:
    with pytest.raises(ConfigError) as failed:
        load_settings(configured(tmp_path, ensemble), {})
    assert said in str(failed.value)


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ("name: ema_trend, params: { timeframe: 1m }", "name: ema_tend", "trader trend-majors: no strategy"),
        ("params: { timeframe: 5m }", "params: { tmeframe: 5m }", "trader trend-alts: strategy ema_trend"),
        (
            "    memory: local",
            "    prompt_template: agressive\n    memory: local",
            "no system prompt 'agressive'",
        ),
    ],
)
def test_config_check_tries_what_traders_name(tmp_path: Path, before: str, after: str, said: str) -> None:
    folder = configured(tmp_path, "\n    model: demo\n")
    manager = folder / "manager.yaml"
    assert before in manager.read_text()
    manager.write_text(manager.read_text().replace(before, after, 1))
    result = CliRunner().invoke(app, ["config", "check", "--etc", str(folder)])
    assert result.exit_code == 2
    assert said in result.stderr


@pytest.mark.parametrize("acting", [True, False])
async def test_local_server_judges_by_rule(acting: bool) -> None:
    asked = Answering('{"choice": 0}')
    members = [Member(), Member(*([action(size=700)] if acting else []))]
    await ensemble(members, asked).decide(WAKEUP)
    reply = answer([message.content for message in asked.asked[0].messages])
    assert read_choice(reply.content, 2).choice == (2 if acting else 0)
