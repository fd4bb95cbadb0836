"""What leaves the manager toward the venue: journalled first, then published."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from engine.bus import INTENTS, STOP_MOVES
from engine.core.orders import OrderIntent, StopMove
from engine.journal.ports import KeepState
from engine.manager.context import ManagerContext
from engine.manager.traders import Trader
from engine.retry import patiently


class Outbox:
    """Sends intents and stop moves, and keeps what traders must not forget. Waits for stores that are away.

    What is published again after a crash has the same id, and is the same order or move.
    """

    def __init__(self, context: ManagerContext, traders: Mapping[str, Trader]) -> None:
        self._journal, self._bus, self._clock = context.journal, context.bus, context.clock
        self._traders = traders

    async def send(self, intents: Sequence[OrderIntent]) -> None:
        """Journal and publish."""
        await self.journal(intents)
        await self.publish(intents)

    async def journal(self, intents: Sequence[OrderIntent]) -> None:
        """The first half: from here on they are in force, published or not."""
        if intents:
            await patiently(lambda: self._journal.record_intents(intents))

    async def publish(self, intents: Sequence[OrderIntent]) -> None:
        """The second half, of intents that are journalled."""
        for intent in intents:
            self._traders[intent.trader_id].take_up(intent)
        for intent in intents:
            await self._publish(intent)
        for trader_id in dict.fromkeys(intent.trader_id for intent in intents):
            await self.keep(self._traders[trader_id])

    async def send_moves(self, moves: Sequence[StopMove]) -> None:
        """As intents: a move that is journalled is in force at the next start, published or not."""
        if moves:
            await patiently(lambda: self._journal.record_stop_moves(moves))
        for move in moves:
            await self._publish_move(move)

    async def keep(self, trader: Trader) -> None:
        """Store what a restart must not forget of a trader."""
        state, now = trader.state(), self._clock.now_ns()
        await patiently(lambda: self._journal.save_state(KeepState.TRADER, trader.trader_id, state, now))

    async def _publish(self, intent: OrderIntent) -> None:
        await patiently(lambda: self._bus.publish(INTENTS, intent, trace_id=intent.cycle_id))

    async def _publish_move(self, move: StopMove) -> None:
        await patiently(lambda: self._bus.publish(STOP_MOVES, move, trace_id=move.cycle_id))
