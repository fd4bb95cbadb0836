"""Real models in a backtest: each question is asked once, and its answer kept in a file for every later run.

The loop of a backtest has no I/O: the model is asked in a thread of its own. Simulated time stands still
until it has answered, then as much of it passes as the answer took (`paced`).
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from pathlib import Path
from types import TracebackType
from typing import Final, Self, TypeVar

from engine.clock import SystemClock
from engine.config.llm import RECORDED, LlmConfig
from engine.executor.asking import ModelFailure, ModelReply, ModelRequest, call_record, question_digest
from engine.executor.llm import LlmClient
from engine.executor.recorded import AnswerFile, RecordedModel, outcome_of
from engine.files import writing

T = TypeVar("T")
_GRACE_S: Final = 10.0  # the client keeps the deadline itself


class AskedModels:
    """Implements ModelClient with the answers of a file; what it lacks is asked, and added to the file.

    An answer that did not come is not kept: the next run asks again. Use as a context. Raises ConfigError
    when the file cannot be read or written.
    """

    def __init__(self, config: LlmConfig, path: Path) -> None:
        with writing(path):
            path.touch()
        self._answers = AnswerFile(path)
        self._config = config
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="models", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        self._client = self._there(_made(self._config), None)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._there(self._client.aclose(), _GRACE_S)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def ask(self, request: ModelRequest) -> ModelReply | ModelFailure:
        if request.alias == RECORDED:
            return await RecordedModel(self._answers).ask(request)
        known = await self._answers.recorded_call(question_digest(request.messages), request.alias)
        if known is not None and known.asked == request.alias:
            return outcome_of(known)
        reply = self._there(self._client.ask(request), request.deadline_s + _GRACE_S)
        if isinstance(reply, ModelReply):
            self._answers.add(call_record(request, reply))
        return reply

    def _there(self, work: Coroutine[object, object, T], timeout_s: float | None) -> T:
        """Let the thread's loop do it and wait, on purpose with everything else."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(timeout_s)


async def _made(config: LlmConfig) -> LlmClient:
    return LlmClient(config, SystemClock())
