"""What leaves the manager toward the venue: journalled first, then published."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Final

from engine.bus import INTENTS, STOP_MOVES
from engine.core.decisions import Decision, Verdict
from engine.core.orders import OrderIntent, StopMove
from engine.journal.ports import KeepState, KeptState, Validity
from engine.manager.context import ManagerContext
from engine.manager.lost_messages import abandon
from engine.manager.traders import Trader
from engine.retry import patiently

_ANSWER_WAIT_S: Final = 2.0  # real time that an answer which was published may take into the journal
_LOOK_EVERY_S: Final = 0.002


class Outbox:
    """Sends intents and stop moves, and keeps what traders must not forget. Waits for stores that are away.

    What is published again after a crash has the same id, and is the same order or move.
    """

    def __init__(self, context: ManagerContext, traders: Mapping[str, Trader]) -> None:
        self._context = context
        self._journal, self._bus, self._clock = context.journal, context.bus, context.clock
        self._traders = traders

    async def send(self, intents: Sequence[OrderIntent]) -> None:
        """Journal and publish."""
        if intents:
            await self.journal((), intents, ())
            await self.publish(intents)

    async def journal(
        self,
        verdicts: Sequence[Verdict],
        intents: Sequence[OrderIntent],
        states: Sequence[KeptState],
        answer: Decision | None = None,
    ) -> bool:
        """The first half: from here on the intents are in force, published or not.

        One commit for all that follows from `answer`: what was judged, what is to be done, and the states
        of the traders it is done for, beside `states`. False, and only `states` are written, when the
        journal has not that answer to its cycle: then nothing follows from it.
        """
        for intent in intents:
            self._traders[intent.trader_id].take_up(intent)
        whose = dict.fromkeys(intent.trader_id for intent in intents)
        kept = [*states, *(self._kept(self._traders[trader_id]) for trader_id in whose)]
        record = partial(self._journal.record_gate, verdicts, intents, kept, answer)
        validity = await patiently(record)
        if validity is Validity.OPEN and answer is not None:
            await self._closed(answer.cycle_id)
            validity = await patiently(record)
        if validity is Validity.IN_FORCE:
            return True
        for intent in intents:
            self._traders[intent.trader_id].forget(intent)
        await patiently(partial(self._journal.record_gate, (), (), states))
        return False

    async def _closed(self, cycle_id: str) -> None:
        """Wait until the answer that was published is journalled; one that does not come is given up."""
        until_s = self._clock.real_s() + _ANSWER_WAIT_S
        while await patiently(partial(self._journal.is_open, cycle_id)):
            if self._clock.real_s() > until_s:
                await abandon(self._context, cycle_id, "answer_lost")
                return
            await self._clock.sleep_real(_LOOK_EVERY_S)

    async def publish(self, intents: Sequence[OrderIntent]) -> None:
        """The second half, of intents that are journalled."""
        for intent in intents:
            await self._publish(intent)

    async def send_moves(self, moves: Sequence[StopMove]) -> None:
        """As intents: a move that is journalled is in force at the next start, published or not."""
        if moves:
            await patiently(lambda: self._journal.record_stop_moves(moves))
        for move in moves:
            await self._publish_move(move)

    async def keep(self, trader: Trader) -> None:
        """Store what a restart must not forget of a trader."""
        kept = self._kept(trader)
        await patiently(lambda: self._journal.save_state(kept.kind, kept.trader_id, kept.state, kept.ts))

    def _kept(self, trader: Trader) -> KeptState:
        return KeptState(KeepState.TRADER, trader.trader_id, trader.state(), self._clock.now_ns())

    async def _publish(self, intent: OrderIntent) -> None:
        await patiently(lambda: self._bus.publish(INTENTS, intent, trace_id=intent.cycle_id))

    async def _publish_move(self, move: StopMove) -> None:
        await patiently(lambda: self._bus.publish(STOP_MOVES, move, trace_id=move.cycle_id))
