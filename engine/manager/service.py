"""The manager: wakes traders when it is worth it, and turns their decisions into approved intents."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Final

import structlog

from engine.bus import (
    COMMANDS,
    DECISIONS,
    ORDERS,
    SIGNALS,
    SNAPSHOTS,
    WAKEUPS,
    Command,
    Message,
    OrderUpdate,
)
from engine.clock import Alarm
from engine.core.decisions import AccountView, Decision, Verdict, WakeKind, Wakeup
from engine.core.market import exact
from engine.core.orders import Purpose
from engine.core.signals import Edge, MarketSnapshot, Signal
from engine.core.times import NS_PER_MIN, NS_PER_S
from engine.journal.ports import KeepState, KeptState
from engine.manager.context import ManagerContext
from engine.manager.exits import overdue, trailed
from engine.manager.exposure import AccountCaps
from engine.manager.lost_messages import LostMessages
from engine.manager.outbox import Outbox
from engine.manager.rebalancer import Rebalancer
from engine.manager.restart import take_up
from engine.manager.rollout import ON_PAPER, live_part, on_paper, paper_part
from engine.manager.scheduler import Due
from engine.manager.supervision import Supervision
from engine.manager.traders import Trader
from engine.manager.translate import Translator
from engine.retry import patiently

log = structlog.get_logger()

_STATES_TOGETHER: Final = 1000  # that one commit has time for
_SHORTEST_WAIT_S: Final = 0.01  # where nothing was admitted although something is due


class ManagerService:
    """Scheduler, gate and trader states of one venue account."""

    def __init__(self, context: ManagerContext, traders: Mapping[str, Trader]) -> None:
        self._context = context
        self._log = log.bind()
        self.traders = traders
        caps = AccountCaps(
            context.config.manager, context.books, context.accounts.marks, context.market.instruments, traders
        )
        self._translator = Translator(
            context.books.account_id,
            context.config.manager,
            context.market,
            context.exchange,
            caps.room,
            context.clock,
        )
        self.supervision = Supervision(context, traders, self._close_all)
        self._outbox = Outbox(context, traders)
        self._rebalancer = Rebalancer(context, traders)
        self._lost_messages = LostMessages(context, traders)
        self._alarm = Alarm(context.clock)  # of the next trader that is due
        # A schedule is stored after the wakeups that it says were taken, and never an older one last.
        self._scheduling = asyncio.Lock()
        self.refusals: Counter[str] = Counter()  # reason code → count
        self.wakeups: Counter[WakeKind] = Counter()
        self.triggers: Counter[tuple[str, str]] = Counter()  # (kind, detector or "") → reasons of wakeups
        self.signals: Counter[tuple[str, Edge]] = Counter()  # by detector
        self.actions: Counter[tuple[str, str]] = Counter()  # (trader, what became of it) → wanted actions
        self.on_woken: list[Callable[[Wakeup], None]] = []  # told of each wakeup
        self.on_gated: list[Callable[[Decision, Sequence[Verdict], int], None]] = []  # and since when

    async def start(self) -> None:
        """Take up what the former life left: schedules, and cycles that nobody will close any more."""
        await take_up(self._context, self.traders)
        await self._rebalancer.start()

    async def run(self) -> None:
        """Everything that goes on beside each other; ends only with an error."""
        bus = self._context.bus
        async with asyncio.TaskGroup() as tasks:
            for name, work in (
                ("snapshots", bus.consume(SNAPSHOTS, "manager", self._on_snapshot)),
                ("signals", bus.consume(SIGNALS, "manager", self._on_signal)),
                ("decisions", bus.consume(DECISIONS, "manager", self._on_decision)),
                ("orders", bus.consume(ORDERS, "manager", self._on_order)),
                ("commands", bus.consume(COMMANDS, "manager", self._on_command)),
                ("wakeups", self._wake_when_due()),
                ("performance", self._measure()),
            ):
                tasks.create_task(work, name=name)

    # -- market in

    async def _on_snapshot(self, message: Message[MarketSnapshot]) -> None:
        snapshot = message.body
        self._context.market.snapshots[snapshot.symbol] = snapshot
        if (price := snapshot.price()) is not None:
            self._context.accounts.marks[snapshot.symbol] = exact(price)
        if self._context.paper is not None:
            await self._context.paper.show(snapshot)

    async def _on_signal(self, message: Message[Signal]) -> None:
        self.signals[message.body.detector, message.body.edge] += 1
        async with self._scheduling:
            self._context.scheduler.on_signal(message.body, self._context.clock.now_ns())
            await self._keep_schedule()

    # -- wakeups out

    async def _wake_when_due(self) -> None:
        while True:
            async with self._scheduling:
                dues = self._context.scheduler.poll(self._context.clock.now_ns())
                wakeups = [await self._open(due) for due in dues]
                await self._keep_schedule()
            for wakeup in wakeups:
                await self._publish_wakeup(wakeup)
            due, now = self._context.scheduler.next_due_ns(), self._context.clock.now_ns()
            soonest = now if dues else now + self._context.clock.engine_ns(_SHORTEST_WAIT_S)
            self._alarm.set(None if due is None else max(due, soonest))
            await self._alarm.wait()

    async def _open(self, due: Due) -> Wakeup:
        """Journal a wakeup with all that its trader may see."""
        context, trader = self._context, self.traders[due.trader_id]
        snapshots = context.market.snapshots
        now = context.clock.now_ns()
        wakeup = Wakeup(
            cycle_id=due.cycle_id,
            trader_id=due.trader_id,
            ts=now,
            mode=due.mode,
            reasons=due.reasons,
            account=self._account_of(trader),
            market=tuple(snapshots[symbol] for symbol in trader.symbols if symbol in snapshots),
            deadline_ns=due.deadline_ns,
            notes=due.notes,
            news=context.market.news.newest(trader.symbols, now),
            on_paper=on_paper(trader.config.rollout, due.cycle_id, trader.symbols),
            taker_fee=context.exchange.taker_fee,
        )
        await patiently(lambda: context.journal.record_wakeup(wakeup))
        kinds = {reason.kind for reason in due.reasons}
        self.wakeups[min(kinds, default=WakeKind.OPERATOR)] += 1
        for reason in due.reasons:
            self.triggers[reason.kind, reason.signal.detector if reason.signal else ""] += 1
        for told in self.on_woken:
            told(wakeup)
        self._log.info("trader woken", trader=due.trader_id, cycle=due.cycle_id, reasons=len(due.reasons))
        return wakeup

    def _account_of(self, trader: Trader) -> AccountView:
        """What a trader is shown as its own: a shadow, which has nothing live, sees its paper account."""
        context = self._context
        if context.paper is not None and trader.config.rollout.shadow:
            return context.paper.view(trader.trader_id)
        return context.accounts.view(trader.trader_id)

    async def _publish_wakeup(self, wakeup: Wakeup) -> None:
        bus = self._context.bus
        await patiently(lambda: bus.publish(WAKEUPS, wakeup, trace_id=wakeup.cycle_id))

    async def _store_schedule(self) -> None:
        """After a change of the schedule that came from nowhere in here."""
        async with self._scheduling:
            await self._keep_schedule()

    async def _keep_schedule(self) -> None:
        """Store the schedules that changed, so that a restart goes on exactly."""
        journal, kept = self._context.journal, self._changed_schedules()
        for start in range(0, len(kept), _STATES_TOGETHER):
            some = kept[start : start + _STATES_TOGETHER]
            await patiently(partial(journal.record_gate, (), (), some))

    def _changed_schedules(self) -> list[KeptState]:
        scheduler, now = self._context.scheduler, self._context.clock.now_ns()
        changed = scheduler.take_changed()
        if changed:
            self._alarm.set(scheduler.next_due_ns())
        return [KeptState(KeepState.SCHEDULER, name, scheduler.state(name), now) for name in changed]

    # -- decisions in, intents out

    async def _on_decision(self, message: Message[Decision]) -> None:
        context, decision = self._context, message.body
        trader = self.traders.get(decision.trader_id)
        if trader is None:
            return
        now, cost = context.clock.now_ns(), decision.cost_usd
        async with self._scheduling:
            context.scheduler.on_closed(decision.cycle_id, decision.trader_id, now, cost_usd=cost)
        await self.supervision.on_decision(decision)
        live, verdicts = live_part(trader.config.rollout, decision, now)
        more, intents, moves = self._translator.translate(
            live, trader, lambda: context.accounts.view(trader.trader_id)
        )
        verdicts += more
        async with self._scheduling:  # nothing is published before all is written
            taken = await self._outbox.journal(verdicts, intents, self._changed_schedules(), decision)
        if not taken:
            self._log.warning("decision is not its cycle's answer", cycle=decision.cycle_id)
            return
        for told in self.on_gated:
            told(decision, verdicts, now)
        await self._outbox.publish(intents)
        await self._outbox.send_moves(moves)
        self._count(verdicts)
        if context.paper is not None and not trader.config.rollout.live:
            await context.paper.decide(paper_part(trader.config.rollout, decision))

    def _count(self, verdicts: Sequence[Verdict]) -> None:
        for verdict in verdicts:
            self.actions[verdict.trader_id, _outcome(verdict)] += 1
            if not verdict.approved:
                self.refusals[verdict.reason] += 1
                self._log.info(
                    "action refused",
                    trader=verdict.trader_id,
                    symbol=verdict.symbol,
                    act=verdict.act,
                    reason=verdict.reason,
                    detail=verdict.checks[-1].detail if verdict.checks else "",
                )

    # -- what became of them

    async def _on_order(self, message: Message[OrderUpdate]) -> None:
        update = message.body
        trader = self.traders.get(update.order.intent.trader_id)
        if trader is not None and trader.on_order(update.order):
            await self._outbox.keep(trader)
        await self.supervision.on_order(update.order)
        if update.order.intent.purpose is Purpose.LIQUIDATION:
            for name in update.traders:
                await self.supervision.on_liquidation(name)

    async def _measure(self) -> None:
        """Performance rows and breakers, every update_interval of engine time, at most once a second."""
        context, clock = self._context, self._context.clock
        every_s = max(context.config.monitoring.update_interval, clock.engine_ns(1.0) / NS_PER_S)
        while True:
            await clock.sleep(every_s)
            views = context.accounts.views()
            await patiently(partial(context.journal.record_performance, views))
            await self.supervision.on_equities(views)
            await self._store_schedule()
            await self._rebalancer.look(views)
            await self._lost_messages.look()
            for view in views:
                await self._keep_up(view)

    async def _keep_up(self, view: AccountView) -> None:
        """Move trailing stops, and close what was held for too long."""
        trader, context = self.traders.get(view.trader_id), self._context
        if trader is None:
            return
        now, name = context.clock.now_ns(), view.trader_id
        moved = trailed(view, trader.limits, context.market.instruments, context.accounts.marks)
        moves = [
            self._translator.stop_move(f"trail:{held.entry_client_order_id}:{stop}", name, held, stop)
            for held, stop in moved
        ]
        await self._outbox.send_moves(moves)
        exits = [
            self._translator.exit_intent(
                f"time:{held.entry_client_order_id}:{now // NS_PER_MIN}", name, held, held.contracts
            )
            for held in overdue(view, trader.limits, now)
            if held.symbol not in trader.closing
        ]
        await self._outbox.send(exits)

    # -- operators

    async def _on_command(self, message: Message[Command]) -> None:
        await self.supervision.on_command(message.body)
        await self._store_schedule()

    async def _close_all(self, trader: Trader, name: str) -> int:
        """Send exits for all that a trader holds. `name` makes their ids: called again, they are the same."""
        positions = self._context.accounts.view(trader.trader_id).positions
        await self._outbox.send(
            [
                self._translator.exit_intent(
                    f"{name}:{trader.trader_id}:{view.symbol}:{view.side}",
                    trader.trader_id,
                    view,
                    view.contracts,
                )
                for view in positions
            ]
        )
        return len(positions)


def _outcome(verdict: Verdict) -> str:
    """What became of an action: approved, refused, or on paper only (`on_paper`)."""
    if verdict.approved:
        return "approved"
    return verdict.reason if verdict.reason == ON_PAPER else "refused"
