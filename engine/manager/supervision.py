"""Watches traders and the account, acts when a breaker trips, and does what operators say."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import structlog

from engine.bus import Command
from engine.config.loader import nearest
from engine.config.manager import AccountBreakerConfig, BreakerAction, RiskConfig
from engine.core.decisions import AccountView, Decision
from engine.core.ledger import ClosedTrade
from engine.core.orders import ZERO, Order, OrderState, Purpose
from engine.core.words import counted
from engine.journal.ports import KeepState, RiskEvent, account_key
from engine.manager.breaker import ACCOUNT, Breaker, Tripped
from engine.manager.context import ManagerContext
from engine.manager.traders import Trader
from engine.retry import patiently

log = structlog.get_logger()

CloseAll = Callable[[Trader, str], Awaitable[int]]
"""Sends exits for all that a trader holds; the text makes their ids, the count is of positions."""


@dataclass(frozen=True, slots=True)
class _Watched:
    """A breaker with whom it is about: one trader, or all of the account."""

    name: str  # trader id, or ACCOUNT
    breaker: Breaker
    limits: RiskConfig | AccountBreakerConfig
    traders: tuple[Trader, ...]


class Supervision:
    """Breakers of one account. Their states are kept at every change, trips and commands are journalled."""

    def __init__(self, context: ManagerContext, traders: Mapping[str, Trader], close_all: CloseAll) -> None:
        self._context = context
        self._traders = traders
        self._close_all = close_all
        self._account = _Watched(
            ACCOUNT, context.breaker, context.config.manager.breaker, tuple(traders.values())
        )
        self._own = {
            name: _Watched(name, trader.breaker, trader.limits, (trader,)) for name, trader in traders.items()
        }
        self._kept: dict[str, bytes] = {}
        # Traders that closed something since the last look: after a restart perhaps all.
        self._closed = set(traders)

    # -- what happens

    async def on_equities(self, views: Sequence[AccountView]) -> None:
        """Newest accounts of all traders; the streaks of those who closed something are looked at too."""
        now = self._context.clock.now_ns()
        for view in views:
            watched = self._own.get(view.trader_id)
            if watched is not None and view.equity is not None and view.capital:
                await self._act(watched, watched.breaker.on_equity(view.equity, now, view.capital))
        equity = self._context.books.equity(self._context.accounts.marks)
        if equity is not None:
            await self._act(self._account, self._account.breaker.on_equity(equity, now))
        if self._closed:
            closed, self._closed = self._closed, set()
            for watched in (*(self._own[name] for name in sorted(closed)), self._account):
                await self._look_at_streak(watched)

    async def on_decision(self, decision: Decision) -> None:
        """A decision, or that there is none."""
        now, failed = self._context.clock.now_ns(), bool(decision.refusal)
        for watched in self._about(decision.trader_id):
            await self._act(watched, watched.breaker.on_decision(decision.cycle_id, now, failed=failed))

    async def on_order(self, order: Order) -> None:
        """An order has changed."""
        intent, now = order.intent, self._context.clock.now_ns()
        if intent.purpose.reduces and order.filled and intent.trader_id in self._own:
            self._closed.add(intent.trader_id)
        if intent.purpose is not Purpose.ENTRY or not (order.state.done or order.filled):
            return
        if order.state in {OrderState.REJECTED, OrderState.FILLED} or order.filled:
            rejected = order.state is OrderState.REJECTED
            for watched in self._about(intent.trader_id):
                tripped = watched.breaker.on_entry(order.client_order_id, now, rejected=rejected)
                await self._act(watched, tripped)

    async def on_liquidation(self, trader_id: str) -> None:
        """Who was liquidated opens nothing until an operator has looked. The exchange journalled it."""
        watched = self._own.get(trader_id)
        if watched is not None:
            watched.breaker.halt("liquidated at the venue")
            await self._keep(watched)
            log.error("trader halted after a liquidation", trader=trader_id)

    def _about(self, trader_id: str) -> tuple[_Watched, ...]:
        own = self._own.get(trader_id)
        return () if own is None else (own, self._account)

    async def _look_at_streak(self, watched: _Watched) -> None:
        most, since = watched.limits.max_losses_in_row, watched.breaker.losses_since
        if not most:
            return
        journal = self._context.journal
        trades: list[ClosedTrade] = []
        for trader in watched.traders:
            name = trader.trader_id
            trades += await patiently(partial(journal.recent_trades, name, most))
        trades.sort(key=lambda trade: trade.ts_exit, reverse=True)
        in_row = 0
        for trade in trades[:most]:
            if trade.net >= ZERO or trade.ts_exit <= since:
                break
            in_row += 1
        await self._act(watched, watched.breaker.on_losses(in_row, self._context.clock.now_ns()))

    async def _act(self, watched: _Watched, tripped: Tripped | None) -> None:
        """The state is kept last: an engine that is killed before trips again, and does the rest."""
        if tripped is not None:
            await self._trip(watched, tripped)
        await self._keep(watched)

    async def _trip(self, watched: _Watched, tripped: Tripped) -> None:
        now = self._context.clock.now_ns()
        log.warning("breaker tripped", trader=watched.name, reason=tripped.reason, detail=tripped.detail)
        event_id = f"breaker:{watched.name}:{now}"
        await self._journal(event_id, watched.name, tripped.reason, f"{tripped.detail}; {tripped.action}")
        if watched is self._account and (until := watched.breaker.loss_until) > now:
            self._context.scheduler.cool_off(now, until)
        if tripped.action is BreakerAction.FLATTEN:
            for trader in watched.traders:
                await self._close_all(trader, event_id)

    async def _keep(self, watched: _Watched) -> None:
        """Store the breaker's state when it changed."""
        state = watched.breaker.state()
        if self._kept.get(watched.name) == state:
            return
        self._kept[watched.name] = state
        now = self._context.clock.now_ns()
        journal, account_id = self._context.journal, self._context.books.account_id
        key = account_key(account_id) if watched is self._account else watched.name
        await patiently(lambda: journal.save_state(KeepState.BREAKER, key, state, now))

    async def _journal(self, event_id: str, name: str, kind: str, detail: str) -> None:
        event = RiskEvent(
            event_id=event_id,
            trader_id="" if name == ACCOUNT else name,
            symbol="",
            kind=kind,
            detail=detail,
            ts=self._context.clock.now_ns(),
        )
        await patiently(lambda: self._context.journal.record_risk_event(event))

    # -- operators

    async def on_command(self, command: Command) -> None:
        """Do it, and journal the answer under the command's id: an operator waits for it."""
        name = command.trader_id
        if command.name in {"halt", "resume_all"}:
            kind, detail = "command_applied", await self._to_account(command)
        elif name not in self._own:
            kind, detail = "command_refused", f"no trader {name!r}{nearest(name, self._own)}"
        elif command.name not in {"pause", "resume", "close", "flatten"}:
            kind, detail = "command_refused", f"no command {command.name!r}"
        else:
            kind, detail = "command_applied", await self._to_trader(command, self._own[name])
        log.info("command answered", name=command.name, trader=name, kind=kind, detail=detail)
        known = name if name in self._own else ""
        await self._journal(f"command:{command.command_id}", known, kind, detail)

    async def _to_account(self, command: Command) -> str:
        if command.name == "halt":
            self._account.breaker.halt(command.reason or "halted by operator")
            answer = "no trader enters until resumed; stops rest, closes pass"
        else:
            self._context.exchange.resume()
            now = self._context.clock.now_ns()
            self._account.breaker.resume(now)
            self._context.scheduler.wake_all(now)
            answer = "the account may enter again; traders that were paused stay paused"
        await self._keep(self._account)
        return answer

    async def _to_trader(self, command: Command, watched: _Watched) -> str:
        (trader,) = watched.traders
        if command.name == "resume":
            now = self._context.clock.now_ns()
            watched.breaker.resume(now)
            await self._keep(watched)
            self._context.scheduler.wake(trader.trader_id, now)
            return "enters again; losses are measured from now on"
        if command.name != "close":  # flatten pauses too, or the trader would be in again at once
            watched.breaker.halt(command.reason or f"{command.name} by operator")
            await self._keep(watched)
        answer = "" if command.name == "close" else "no entries until resumed; "
        if command.name == "pause":
            return f"{answer}stops rest, closes pass"
        count = await self._close_all(trader, command.command_id)
        return f"{answer}closing {counted(count, 'position')} at market"
