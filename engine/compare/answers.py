"""Answers of models in both runs: what a trader's cycle was answered in the backtest, it is answered live."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from engine.core.decisions import Wakeup
from engine.executor.asking import Failure, ModelClient, ModelFailure, ModelReply, ModelRequest


@dataclass(slots=True)
class Heard:
    """What one cycle was answered: by alias, in order. `ts` is that of its wakeup."""

    ts: int
    replies: list[tuple[str, ModelReply | ModelFailure]] = field(default_factory=list)

    def take(self, alias: str) -> ModelReply | ModelFailure | None:
        """The first answer of `alias` that was not taken yet."""
        for i, (name, reply) in enumerate(self.replies):
            if name == alias:
                del self.replies[i]
                return reply
        return None


class HeardModel:
    """Implements ModelClient with another's answers, and remembers which cycle got them."""

    def __init__(self, model: ModelClient) -> None:
        self._model = model
        self.cycles: dict[str, dict[str, Heard]] = {}  # trader → cycle → its answers, oldest first

    async def ask(self, request: ModelRequest) -> ModelReply | ModelFailure:
        reply = await self._model.ask(request)
        if (wakeup := request.wakeup) is not None:
            cycles = self.cycles.setdefault(wakeup.trader_id, {})
            heard = cycles.setdefault(wakeup.cycle_id, Heard(wakeup.ts))
            heard.replies.append((request.alias, reply))
        return reply


class RetoldModel:
    """Implements ModelClient for the engine over the same recording: it answers as `heard` was answered.

    A live question is never letter for letter the backtest's, since its prices and ages are those of a moment
    later. So it is known by its cycle: a cycle has as partner the trader's cycle of the backtest that was
    woken nearest to it, at most `within_ns` of engine time apart, and each is the partner of one. A question
    of a cycle without a partner, or beyond what its partner asked, has no answer. `end_ns` is when the
    backtest ended: what is woken later can have no partner.
    """

    def __init__(self, heard: HeardModel, within_ns: int, end_ns: int) -> None:
        self.within_ns, self._end_ns = within_ns, end_ns
        self.told: Counter[str] = Counter()  # live cycles with a partner, by trader
        self.unanswered: Counter[str] = Counter()  # those without
        self._heard = {trader: len(cycles) for trader, cycles in heard.cycles.items()}
        self._free = {trader: list(cycles.values()) for trader, cycles in heard.cycles.items()}
        self._partners: dict[str, Heard | None] = {}  # by live cycle

    def heard(self, trader_id: str) -> int:
        """How many cycles of the backtest asked."""
        return self._heard.get(trader_id, 0)

    async def ask(self, request: ModelRequest) -> ModelReply | ModelFailure:
        partner = self._partner(request.wakeup) if request.wakeup else None
        reply = partner.take(request.alias) if partner else None
        if reply is not None:
            return reply
        return ModelFailure(failure=Failure.NOT_RECORDED, detail="the backtest did not ask here")

    def _partner(self, wakeup: Wakeup) -> Heard | None:
        if wakeup.cycle_id not in self._partners:
            free = self._free.get(wakeup.trader_id, [])
            nearest = min(free, key=lambda heard: abs(heard.ts - wakeup.ts), default=None)
            if nearest is not None and abs(nearest.ts - wakeup.ts) <= self.within_ns:
                free.remove(nearest)
                self.told[wakeup.trader_id] += 1
            else:
                nearest = None
                self.unanswered[wakeup.trader_id] += wakeup.ts <= self._end_ns
            self._partners[wakeup.cycle_id] = nearest
        return self._partners[wakeup.cycle_id]
