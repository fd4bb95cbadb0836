"""What a former life of the manager left: schedules, trader states, cycles that nobody will close."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

import structlog

from engine.bus import INTENTS
from engine.core.errors import CodecError
from engine.journal.ports import KeepState
from engine.manager.context import ManagerContext
from engine.manager.lost_messages import abandon
from engine.manager.traders import Trader
from engine.manager.translate import ENTRY_LIVES_S
from engine.retry import patiently

log = structlog.get_logger()


async def take_up(context: ManagerContext, traders: Mapping[str, Trader]) -> None:
    """Continue where the former life ended, from the journal alone."""
    await _restore_schedules(context)
    if (until := context.breaker.loss_until) > (now := context.clock.now_ns()):
        context.scheduler.cool_off(now, until)  # the former life may not have come to it
    await _restore_traders(context, traders)
    account_id = context.books.account_id
    for cycle_id in await patiently(lambda: context.journal.open_cycles(account_id)):
        await abandon(context, cycle_id, "engine_ended")
    for trader_id in context.scheduler.traders:
        # Answered and journalled; whether the answer was published before the end, nobody knows.
        if (thinking := context.scheduler.rhythm(trader_id).thinking) is not None:
            context.scheduler.look_again(thinking.cycle_id, trader_id, context.clock.now_ns())


async def _restore_schedules(context: ManagerContext) -> None:
    states = await patiently(lambda: context.journal.load_states(KeepState.SCHEDULER))
    for trader_id in context.scheduler.traders:
        if trader_id in states:
            try:
                context.scheduler.restore(trader_id, states[trader_id], context.clock.now_ns())
            except CodecError as error:
                log.warning("schedule of a former version dropped", trader=trader_id, error=str(error))


async def _restore_traders(context: ManagerContext, traders: Mapping[str, Trader]) -> None:
    """Cooldowns and counts as they were, and entries that the venue may still fill.

    An intent without an order may have been journalled and not published: it is published, once more perhaps.
    """
    journal, account_id = context.journal, context.books.account_id
    for trader_id, state in (await patiently(lambda: journal.load_states(KeepState.TRADER))).items():
        if trader_id in traders:
            try:
                traders[trader_id].restore(state)
            except CodecError as error:
                log.warning("state of a former version dropped", trader=trader_id, error=str(error))
    since = context.clock.now_ns() - context.clock.engine_ns(ENTRY_LIVES_S)
    pending = await patiently(lambda: journal.pending_intents(account_id, since))
    under_way = [order.intent for order in await patiently(lambda: journal.open_orders(account_id))]
    for intent in (*pending, *under_way):
        if intent.trader_id in traders:
            traders[intent.trader_id].take_up(intent)
    for intent in pending:
        await patiently(partial(context.bus.publish, INTENTS, intent, trace_id=intent.cycle_id))
