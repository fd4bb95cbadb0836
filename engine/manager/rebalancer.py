"""Moves capital between traders every rebalance_interval; what it knows outlives a restart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal

import msgspec
import structlog

from engine.bus import TRANSFERS
from engine.core.cash import Transfer
from engine.core.decisions import AccountView
from engine.core.orders import ZERO
from engine.core.times import NS_PER_S
from engine.journal.ports import KeepState, account_key
from engine.manager.allocation import Standing, moves, smoothed
from engine.manager.context import ManagerContext
from engine.manager.traders import Trader
from engine.retry import patiently

log = structlog.get_logger()


class Past(msgspec.Struct, frozen=True, kw_only=True):
    """One trader at the last rebalance."""

    equity: Decimal
    capital: Decimal  # put in until then
    score: Decimal


class AllocationState(msgspec.Struct, kw_only=True):
    """When the last rebalance was (engine ns, 0: never), and how the traders stood."""

    ts: int = 0
    past: dict[str, Past] = {}


class Rebalancer:
    """One account's allocation. Publishes transfers; the exchange part books them."""

    def __init__(self, context: ManagerContext, traders: Mapping[str, Trader]) -> None:
        self._context = context
        self._traders = traders
        self._state = AllocationState()
        self._key = account_key(context.books.account_id)

    async def start(self) -> None:
        """Continue where the former life stopped."""
        journal = self._context.journal
        states = await patiently(lambda: journal.load_states(KeepState.ALLOCATION))
        if (kept := states.get(self._key)) is not None:
            self._state = msgspec.msgpack.decode(kept, type=AllocationState)

    async def look(self, views: Sequence[AccountView]) -> None:
        """Rebalance when it is time and every equity is known; the first look only takes note."""
        config, now = self._context.config.manager, self._context.clock.now_ns()
        if config.allocation_strategy == "fixed":
            return
        if now - self._state.ts < int(config.rebalance_interval * NS_PER_S):
            return
        known = [view for view in views if view.trader_id in self._traders and view.capital]
        if not known or any(view.equity is None for view in known):
            return
        standings = [self._standing(view) for view in known]
        first = not self._state.ts
        await self._note(known, standings, now)
        if first:
            return
        for move in moves(config.allocation_strategy, config.allocation, standings):
            transfer = Transfer(
                transfer_id=f"rebalance:{now}:{move.giver}:{move.taker}",
                account_id=self._context.books.account_id,
                giver=move.giver,
                taker=move.taker,
                amount=move.amount,
                ts=now,
            )
            log.info("capital moves", giver=move.giver, taker=move.taker, amount=str(move.amount))
            await self._publish(transfer)

    async def _publish(self, transfer: Transfer) -> None:
        bus = self._context.bus
        await patiently(lambda: bus.publish(TRANSFERS, transfer, trace_id=transfer.transfer_id))

    def _standing(self, view: AccountView) -> Standing:
        trader, equity = self._traders[view.trader_id], view.equity or ZERO
        context, past = self._context, self._state.past.get(view.trader_id)
        score = ZERO
        if past is not None:
            flows = view.capital - past.capital
            score = smoothed(context.config.manager.allocation, past.score, past.equity, flows, equity)
        values = {name: each.contract_value for name, each in context.market.instruments.items()}
        pending = trader.pending_margin(context.accounts.marks, values)
        return Standing(
            trader_id=view.trader_id,
            share=trader.config.allocation_pct,
            equity=equity,
            free=max(ZERO, min(view.available, view.cash) - pending),
            score=score,
        )

    async def _note(self, views: Sequence[AccountView], standings: Sequence[Standing], now: int) -> None:
        """Keep how they stand before anything moves: a crash in between moves less, never twice."""
        self._state = AllocationState(
            ts=now,
            past={
                view.trader_id: Past(equity=each.equity, capital=view.capital, score=each.score)
                for view, each in zip(views, standings, strict=True)
            },
        )
        state = msgspec.msgpack.encode(self._state)
        journal = self._context.journal
        await patiently(lambda: journal.save_state(KeepState.ALLOCATION, self._key, state, now))
