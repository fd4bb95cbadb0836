"""The manager: wakes traders when it is worth it, and turns their decisions into approved intents."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from decimal import Decimal
from typing import Final

import structlog

from engine.bus import (
    COMMANDS,
    DECISIONS,
    INTENTS,
    ORDERS,
    SIGNALS,
    SNAPSHOTS,
    STOP_MOVES,
    WAKEUPS,
    Command,
    Message,
    OrderUpdate,
)
from engine.core.decisions import AccountView, CycleRecord, CycleStatus, Decision, Verdict, WakeKind, Wakeup
from engine.core.errors import CodecError
from engine.core.orders import OrderIntent, Purpose, StopMove
from engine.core.signals import Edge, MarketSnapshot, Signal
from engine.core.times import NS_PER_MIN, NS_PER_S
from engine.journal.ports import KeepState
from engine.manager.context import ManagerContext
from engine.manager.rebalancer import Rebalancer
from engine.manager.rollout import ON_PAPER, live_part, on_paper, paper_part
from engine.manager.room import AccountCaps
from engine.manager.scheduler import Due
from engine.manager.supervision import Supervision
from engine.manager.traders import Trader
from engine.manager.translate import ENTRY_LIVES_S, Translator
from engine.manager.upkeep import overdue, trailed
from engine.retry import patiently

log = structlog.get_logger()

_SHORTEST_WAIT_S: Final = 0.01  # where nothing was admitted although something is due
_LONGEST_WAIT_S: Final = 60.0


class ManagerService:
    """Scheduler, gate and trader states of one venue account."""

    def __init__(self, context: ManagerContext, traders: Mapping[str, Trader]) -> None:
        self._context = context
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
        self._rebalancer = Rebalancer(context, traders)
        self._schedule_changed = asyncio.Event()
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
        context = self._context
        states = await patiently(lambda: context.journal.load_states(KeepState.SCHEDULER))
        for trader_id in context.scheduler.traders:
            if trader_id in states:
                try:
                    context.scheduler.restore(trader_id, states[trader_id])
                except CodecError as error:
                    log.warning("schedule of a former version dropped", trader=trader_id, error=str(error))
        await self._restore_traders()
        await self._rebalancer.start()
        for cycle_id in await patiently(context.journal.open_cycles):
            await self._abandon(cycle_id)
        for trader_id in context.scheduler.traders:
            # Answered and journalled; whether the answer was published before the end, nobody knows.
            if (thinking := context.scheduler.rhythm(trader_id).thinking) is not None:
                context.scheduler.look_again(thinking.cycle_id, trader_id, context.clock.now_ns())

    async def _restore_traders(self) -> None:
        """Cooldowns and counts as they were, and entries that the venue may still fill."""
        journal, account_id = self._context.journal, self._context.books.account_id
        for trader_id, state in (await patiently(lambda: journal.load_states(KeepState.TRADER))).items():
            if trader_id in self.traders:
                try:
                    self.traders[trader_id].restore(state)
                except CodecError as error:
                    log.warning("state of a former version dropped", trader=trader_id, error=str(error))
        since = self._context.clock.now_ns() - self._context.clock.engine_ns(ENTRY_LIVES_S)
        intents = list(await patiently(lambda: journal.pending_intents(account_id, since)))
        intents += [order.intent for order in await patiently(lambda: journal.open_orders(account_id))]
        for intent in intents:
            if intent.trader_id in self.traders:
                self.traders[intent.trader_id].take_up(intent)

    async def _abandon(self, cycle_id: str) -> None:
        """Close a cycle that was being thought about when the engine ended; its trader is free again."""
        trader_id, now = cycle_id.rpartition("-")[0], self._context.clock.now_ns()
        decision = Decision(
            cycle_id=cycle_id,
            trader_id=trader_id,
            decider="",
            actions=(),
            prices={},
            ts_decided=now,
            refusal="engine_ended",
        )
        record = CycleRecord(decision=decision, status=CycleStatus.ABANDONED)
        await patiently(lambda: self._context.journal.record_cycle(record))
        self._context.scheduler.look_again(cycle_id, trader_id, now)
        log.info("cycle abandoned", cycle=cycle_id)

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
            self._context.accounts.marks[snapshot.symbol] = Decimal(str(price))
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
            self._schedule_changed.clear()
            async with self._scheduling:
                dues = self._context.scheduler.poll(self._context.clock.now_ns())
                wakeups = [await self._open(due) for due in dues]
                await self._keep_schedule()
            for wakeup in wakeups:
                await self._publish_wakeup(wakeup)
            await self._until_due(0.0 if dues else _SHORTEST_WAIT_S)

    async def _until_due(self, shortest_s: float) -> None:
        """Wait until a trader is due by time, or a signal, a decision or an operator changed a schedule."""
        clock, due = self._context.clock, self._context.scheduler.next_due_ns()
        left_s = _LONGEST_WAIT_S if due is None else (due - clock.now_ns()) / clock.engine_ns(1.0)
        with suppress(TimeoutError):
            async with asyncio.timeout(min(_LONGEST_WAIT_S, max(shortest_s, left_s))):
                await self._schedule_changed.wait()

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
        )
        await patiently(lambda: context.journal.record_wakeup(wakeup))
        kinds = {reason.kind for reason in due.reasons}
        self.wakeups[min(kinds, default=WakeKind.OPERATOR)] += 1
        for reason in due.reasons:
            self.triggers[reason.kind, reason.signal.detector if reason.signal else ""] += 1
        for told in self.on_woken:
            told(wakeup)
        log.info("trader woken", trader=due.trader_id, cycle=due.cycle_id, reasons=len(due.reasons))
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
        for trader_id in self._context.scheduler.take_changed():
            self._schedule_changed.set()
            await self._keep(KeepState.SCHEDULER, trader_id, self._context.scheduler.state(trader_id))

    async def _keep(self, kind: KeepState, trader_id: str, state: bytes) -> None:
        now = self._context.clock.now_ns()
        await patiently(lambda: self._context.journal.save_state(kind, trader_id, state, now))

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
        if context.paper is not None and not trader.config.rollout.live:
            await context.paper.decide(paper_part(trader.config.rollout, decision))
        more, intents, moves = self._translator.translate(
            live, trader, lambda: context.accounts.view(trader.trader_id)
        )
        verdicts += more
        for verdict in verdicts:
            self.actions[verdict.trader_id, _outcome(verdict)] += 1
            if not verdict.approved:
                self.refusals[verdict.reason] += 1
                log.info(
                    "action refused",
                    trader=verdict.trader_id,
                    symbol=verdict.symbol,
                    act=verdict.act,
                    reason=verdict.reason,
                    detail=verdict.checks[-1].detail if verdict.checks else "",
                )
        # Beside each other: nothing is published before all is written, and they wait for one disk together.
        async with asyncio.TaskGroup() as writes:
            for name, write in (
                ("verdicts", patiently(lambda: context.journal.record_verdicts(verdicts))),
                ("intents", self._journal_intents(intents)),
                ("schedule", self._store_schedule()),
            ):
                writes.create_task(write, name=f"{name} of {decision.cycle_id}")
        for told in self.on_gated:
            told(decision, verdicts, now)
        await self._publish_intents(intents)
        await self._send_moves(moves)

    async def _send(self, intents: list[OrderIntent]) -> None:
        """Journal first, then publish; an intent that is published again is the same order."""
        await self._journal_intents(intents)
        await self._publish_intents(intents)

    async def _journal_intents(self, intents: list[OrderIntent]) -> None:
        if intents:
            await patiently(lambda: self._context.journal.record_intents(intents))

    async def _publish_intents(self, intents: list[OrderIntent]) -> None:
        for intent in intents:
            self.traders[intent.trader_id].take_up(intent)
        for intent in intents:
            await self._publish(intent)
        for trader_id in dict.fromkeys(intent.trader_id for intent in intents):
            await self._keep(KeepState.TRADER, trader_id, self.traders[trader_id].state())

    async def _send_moves(self, moves: list[StopMove]) -> None:
        """As intents: a move that is journalled is in force at the next start, published or not."""
        if not moves:
            return
        await patiently(lambda: self._context.journal.record_stop_moves(moves))
        for move in moves:
            await patiently(
                lambda move=move: self._context.bus.publish(STOP_MOVES, move, trace_id=move.cycle_id)  # type: ignore[misc]
            )

    async def _publish(self, intent: OrderIntent) -> None:
        await patiently(lambda: self._context.bus.publish(INTENTS, intent, trace_id=intent.cycle_id))

    # -- what became of them

    async def _on_order(self, message: Message[OrderUpdate]) -> None:
        update = message.body
        trader = self.traders.get(update.order.intent.trader_id)
        if trader is not None:
            before = trader.state()
            trader.on_order(update.order)
            if (state := trader.state()) != before:
                await self._keep(KeepState.TRADER, trader.trader_id, state)
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
            await patiently(lambda views=views: context.journal.record_performance(views))  # type: ignore[misc]
            await self.supervision.on_equities(views)
            await self._store_schedule()
            await self._rebalancer.look(views)
            await self._look_for_unseen()
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
        await self._send_moves(moves)
        exits = [
            self._translator.exit_intent(
                f"time:{held.entry_client_order_id}:{now // NS_PER_MIN}", name, held, held.contracts
            )
            for held in overdue(view, trader.limits, now)
            if held.symbol not in trader.closing
        ]
        await self._send(exits)

    async def _look_for_unseen(self) -> None:
        """Ask the journal for entries of which no end was told: the exchange drops updates when it must."""
        journal, now = self._context.journal, self._context.clock.now_ns()
        for trader in self.traders.values():
            for intent in trader.unseen(now):
                name = intent.client_order_id
                order = await patiently(lambda name=name: journal.order(name))  # type: ignore[misc]
                if order is None:
                    trader.forget(intent)
                else:
                    trader.on_order(order)

    # -- operators

    async def _on_command(self, message: Message[Command]) -> None:
        await self.supervision.on_command(message.body)
        await self._store_schedule()

    async def _close_all(self, trader: Trader, name: str) -> int:
        """Send exits for all that a trader holds. `name` makes their ids: called again, they are the same."""
        positions = self._context.accounts.view(trader.trader_id).positions
        await self._send(
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
