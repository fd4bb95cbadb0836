"""A trader that asks a model is backtested: each question is asked once, then the file answers it."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from engine.backtest.asked_models import AskedModels
from engine.backtest.figures import report
from engine.backtest.run import Outcome, run_backtest
from engine.config.settings import Settings, load_settings
from engine.core.decisions import CycleRecord, CycleStatus
from engine.core.errors import ConfigError
from engine.exchange.simulator.recording import read_recording
from engine.executor.asking import ModelClient, ModelFailure, ModelReply, ModelRequest
from engine.executor.recorded import AnswerFile, RecordedModel
from tests.test_backtest import candles


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    """A model server in a process of its own: the loop of a backtest waits for it."""
    command = [sys.executable, "-m", "engine.cli.main", "model-server", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        ready = re.search(r"http://\S+", process.stdout.readline())
        assert ready is not None
        yield ready[0]
        process.terminate()


def settings_of(url: str, model: str = "rules-only-demo") -> Settings:
    settings = load_settings(Path("etc"), {"EDGEWISE_LLM_BASE_URL": url, "EDGEWISE_LLM_MODEL": model})
    traders = tuple(trader for trader in settings.manager.traders if trader.model)
    return settings.with_traders(traders)


def run(folder: Path, settings: Settings, model: ModelClient) -> Outcome:
    recording = read_recording(candles(folder / "btcusdt_1m.csv", 240), corners=True)
    return run_backtest(settings, [recording], model)


def test_answers_are_collected_once_and_every_later_run_is_the_same(endpoint: str, tmp_path: Path) -> None:
    settings, file = settings_of(endpoint), tmp_path / "answers.jsonl"
    with AskedModels(settings.llm, file) as model:
        first = run(tmp_path, settings, model)
    cycles = [record for record in first.journal.cycles.values() if record.calls]
    assert len(cycles) >= 3
    assert {record.status for record in cycles} == {CycleStatus.DECIDED}
    assert len(file.read_bytes().splitlines()) == len(cycles)
    again = run(tmp_path, settings, RecordedModel(AnswerFile(file)))
    assert again.journal.digest() == first.journal.digest()
    with AskedModels(settings_of("http://127.0.0.1:9/v1").llm, file) as model:
        assert run(tmp_path, settings, model).journal.digest() == first.journal.digest()


def test_answer_that_did_not_come_is_asked_again_next_time(endpoint: str, tmp_path: Path) -> None:
    settings, file = settings_of(endpoint, "rules-only-demo+status:400"), tmp_path / "answers.jsonl"
    with AskedModels(settings.llm, file) as model:
        outcome = run(tmp_path, settings, model)
    refusals = {record.decision.refusal for record in outcome.journal.cycles.values()}
    assert refusals == {"bad_request"}
    (told,) = report(outcome).undecided
    assert (told.reason, told.cycles) == ("bad_request", len(outcome.journal.cycles))
    assert file.read_bytes() == b""


def test_file_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be written"):
        AskedModels(settings_of("http://127.0.0.1:9/v1").llm, tmp_path / "no" / "answers.jsonl")


def test_a_decision_comes_as_late_as_the_model_answered_then(endpoint: str, tmp_path: Path) -> None:
    """The latency of the recorded answer passes on simulated time; beyond the deadline it is none."""
    settings, file = settings_of(endpoint), tmp_path / "answers.jsonl"
    with AskedModels(settings.llm, file) as model:
        run(tmp_path, settings, model)
    answers = RecordedModel(AnswerFile(file))

    def first(latency_ms: int) -> CycleRecord:
        outcome = run(tmp_path, settings, Slow(answers, latency_ms))
        return next(record for record in outcome.journal.cycles.values() if record.calls)

    for latency_ms in (0, 45_000):
        record = first(latency_ms)
        assert record.status is CycleStatus.DECIDED
        assert (record.decision.ts_decided - record.ts_started) // 1_000_000 == latency_ms
    assert first(8 * 3_600_000).status is CycleStatus.TIMEOUT


class Slow:
    """Answers of another model, with a latency of our own."""

    def __init__(self, model: ModelClient, latency_ms: int) -> None:
        self._model, self._latency_ms = model, latency_ms

    async def ask(self, request: ModelRequest) -> ModelReply | ModelFailure:
        reply = await self._model.ask(request)
        if isinstance(reply, ModelFailure):
            return reply
        return msgspec.structs.replace(reply, latency_ms=self._latency_ms)
