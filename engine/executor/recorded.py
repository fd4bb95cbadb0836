"""A model that answers what it answered before: from the journal, or from a file of recorded calls."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from pathlib import Path
from typing import Final, Protocol

import msgspec

from engine.config.llm import RECORDED
from engine.core.decisions import ModelCall
from engine.core.errors import ConfigError, StoreUnavailable
from engine.executor.asking import (
    Cut,
    Failure,
    ModelClient,
    ModelFailure,
    ModelReply,
    ModelRequest,
    question_digest,
)
from engine.files import writing

_ENCODER: Final = msgspec.json.Encoder(order="deterministic")


class Answers(Protocol):
    """Where recorded calls lie. The journal is one; a file is another."""

    async def recorded_call(self, digest: str, alias: str) -> ModelCall | None:
        """The call that answered a question, of `alias` if it was asked; None when nobody was."""
        ...


class CycleAnswers:
    """Calls by question and alias. Of one cycle, those without an answer too: it happens again as it was."""

    def __init__(self, calls: Iterable[ModelCall]) -> None:
        self._calls: dict[tuple[str, str], ModelCall] = {}
        for call in calls:
            self.add(call)

    def add(self, call: ModelCall) -> None:
        """The newest call of a question to an alias counts."""
        self._calls[call.digest, call.asked] = self._calls[call.digest, ""] = call

    async def recorded_call(self, digest: str, alias: str) -> ModelCall | None:
        return self._calls.get((digest, alias), self._calls.get((digest, "")))


class AnswerFile:
    """Recorded calls of a file: one JSON object a line, as `edgewise prompt answers` writes them."""

    def __init__(self, path: Path) -> None:
        """Raises ConfigError when the file cannot be read."""
        self._path = path
        calls = []
        try:
            with path.open("rb") as lines:
                for number, line in enumerate(lines, 1):
                    if line.strip():
                        calls.append(_call(line, f"{path}:{number}"))
        except OSError as error:
            raise ConfigError(f"{path}: cannot be read: {error.strerror}") from error
        self._answers = CycleAnswers(call for call in calls if not call.failure)

    async def recorded_call(self, digest: str, alias: str) -> ModelCall | None:
        return await self._answers.recorded_call(digest, alias)

    def add(self, call: ModelCall) -> None:
        """Keep one more answer, in the file too. Raises ConfigError when it cannot be written."""
        with writing(self._path), self._path.open("ab") as file:
            file.write(_ENCODER.encode(call) + b"\n")
        self._answers.add(call)


def _call(line: bytes, where: str) -> ModelCall:
    try:
        return msgspec.json.decode(line, type=ModelCall)
    except msgspec.MsgspecError as error:
        raise ConfigError(f"{where}: is no recorded call: {error}") from error


async def write_answers(calls: AsyncIterator[ModelCall], path: Path) -> int:
    """Write calls as AnswerFile reads them; returns how many. Raises ConfigError."""
    count = 0
    with writing(path), path.open("wb") as file:
        async for call in calls:
            file.write(_ENCODER.encode(call) + b"\n")
            count += 1
    return count


class RecordedModel:
    """Implements ModelClient without a network: every question must have been answered before.

    Alias, tokens and cost are those of then; no time passes.
    """

    def __init__(self, answers: Answers) -> None:
        self._answers = answers

    async def ask(self, request: ModelRequest) -> ModelReply | ModelFailure:
        digest = question_digest(request.messages)
        try:
            call = await self._answers.recorded_call(digest, request.alias)
        except StoreUnavailable as error:
            return ModelFailure(failure=Failure.UNREACHABLE, detail=str(error), model=RECORDED)
        if call is None:
            detail = f"no recorded answer to the question {digest}"
            return ModelFailure(failure=Failure.NOT_RECORDED, detail=detail, model=RECORDED)
        return outcome_of(call)


class WithRecorded:
    """Implements ModelClient: `model: recorded` is answered from the past, every other alias by `model`."""

    def __init__(self, model: ModelClient, recorded: RecordedModel) -> None:
        self._model, self._recorded = model, recorded

    async def ask(self, request: ModelRequest) -> ModelReply | ModelFailure:
        client = self._recorded if request.alias == RECORDED else self._model
        return await client.ask(request)


def outcome_of(call: ModelCall) -> ModelReply | ModelFailure:
    """What the client of then returned."""
    if call.failure:
        return ModelFailure(failure=Failure(call.failure), detail=call.detail, model=call.model)
    return ModelReply(
        alias=call.alias,
        model=call.model,
        text=call.answer,
        reasoning=call.reasoning,
        cut=Cut(call.cut) if call.cut else None,
        tokens_in=call.tokens_in,
        tokens_out=call.tokens_out,
        tokens_cached=call.tokens_cached,
        cost_usd=call.cost_usd,
        latency_ms=call.latency_ms,
    )
