"""Ends that nobody told: messages that Redis lost, and updates that the exchange had to drop."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Final

import structlog

from engine.core.decisions import CycleRecord, CycleStatus, Decision
from engine.core.times import NS_PER_MS, NS_PER_S
from engine.manager.context import ManagerContext
from engine.manager.traders import Trader
from engine.retry import patiently

log = structlog.get_logger()

_ANSWER_LIVES_S: Final = 330.0  # real time after its deadline; the executor gives it up half a minute before


class LostMessages:
    """Asks the journal about orders and cycles that should have ended long ago."""

    def __init__(self, context: ManagerContext, traders: Mapping[str, Trader]) -> None:
        self._context, self._traders = context, traders

    async def look(self) -> None:
        """One look; waits for a database that is away."""
        await self._orders()
        await self._cycles()

    async def _orders(self) -> None:
        journal, now = self._context.journal, self._context.clock.now_ns()
        for trader in self._traders.values():
            for intent in trader.unseen(now):
                name = intent.client_order_id
                order = await patiently(partial(journal.order, name))
                if order is None:
                    trader.forget(intent)
                else:
                    trader.on_order(order)

    async def _cycles(self) -> None:
        """A wakeup or an answer that was lost leaves its cycle open."""
        clock, journal = self._context.clock, self._context.journal
        now, lives_ns = clock.now_ns(), clock.engine_ns(_ANSWER_LIVES_S)
        account_id = self._context.books.account_id
        for cycle_id in await patiently(lambda: journal.open_cycles(account_id)):
            name, _, woken_ms = cycle_id.rpartition("-")
            if (trader := self._traders.get(name)) is not None:
                thinking_ns = int(trader.config.rhythm.max_thinking * NS_PER_S)
                if now > int(woken_ms) * NS_PER_MS + thinking_ns + lives_ns:
                    await abandon(self._context, cycle_id, "answer_lost")


async def abandon(context: ManagerContext, cycle_id: str, refusal: str) -> None:
    """Close a cycle that nobody will answer any more; its trader is free again."""
    trader_id, now = cycle_id.rpartition("-")[0], context.clock.now_ns()
    decision = Decision(
        cycle_id=cycle_id,
        trader_id=trader_id,
        decider="",
        actions=(),
        prices={},
        ts_decided=now,
        refusal=refusal,
    )
    record = CycleRecord(decision=decision, status=CycleStatus.ABANDONED)
    await patiently(lambda: context.journal.record_cycle(record))
    context.scheduler.look_again(cycle_id, trader_id, now)
    log.info("cycle abandoned", cycle=cycle_id, reason=refusal)
