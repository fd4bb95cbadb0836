"""Answers of models that take as long as they took: on simulated time, the market moves meanwhile."""

from __future__ import annotations

from engine.clock import Clock
from engine.core.times import NS_PER_S
from engine.executor.asking import Failure, ModelClient, ModelFailure, ModelReply, ModelRequest


class PacedModel:
    """Implements ModelClient with another's answers, each after its recorded latency of engine time.

    So a decision comes as late as it came live, where engine time is real time; one that took longer than
    this question may take has not come in time here either.
    """

    def __init__(self, model: ModelClient, clock: Clock) -> None:
        self._model, self._clock = model, clock

    async def ask(self, request: ModelRequest) -> ModelReply | ModelFailure:
        reply = await self._model.ask(request)
        if isinstance(reply, ModelFailure):
            return reply
        deadline_s = self._clock.engine_ns(request.deadline_s) / NS_PER_S
        took_s = reply.latency_ms / 1000
        await self._clock.sleep(min(took_s, deadline_s))
        if took_s <= deadline_s:
            return reply
        detail = f"the recorded answer took {took_s:.1f} s"
        return ModelFailure(failure=Failure.TIMEOUT, detail=detail, model=reply.model)
