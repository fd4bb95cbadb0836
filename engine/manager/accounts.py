"""Virtual accounts as people and deciders see them: the books, marked at the newest prices."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Final

from engine.core.books import Books
from engine.core.decisions import AccountView, PositionView
from engine.core.ledger import Held, VirtualAccount
from engine.core.orders import ZERO

# Lowest maintenance rate of OKX's large swaps; a virtual account has no tiers of its own.
_MAINTENANCE_RATE: Final = Decimal("0.005")


class TraderAccounts:
    """Draws AccountViews. `marks` is written by the manager from snapshots, in engine prices."""

    def __init__(self, books: Books, now_ns: Callable[[], int]) -> None:
        self.books = books
        self._now_ns = now_ns
        self.marks: dict[str, Decimal] = {}

    def view(self, trader_id: str) -> AccountView:
        """The trader's account now. Equity and unrealised are None while a held symbol has no mark."""
        account = self.books.account(trader_id)
        unrealised = account.unrealised(self.marks)
        equity = None if unrealised is None else account.cash + unrealised
        margin = account.margin_used
        return AccountView(
            trader_id=trader_id,
            ts=self._now_ns(),
            capital=account.capital,
            cash=account.cash,
            equity=equity,
            available=ZERO if equity is None else max(ZERO, equity - margin),
            margin_used=margin,
            realised=account.realised,
            unrealised=unrealised,
            fees=account.fees,
            funding=account.funding,
            positions=tuple(self._position(account, held) for held in account.positions.values()),
        )

    def views(self) -> tuple[AccountView, ...]:
        """All traders, in the order of the books."""
        return tuple(self.view(account.trader_id) for account in self.books.traders())

    def _position(self, account: VirtualAccount, held: Held) -> PositionView:
        mark, coins = self.marks.get(held.symbol), held.coins
        plan = held.intent
        return PositionView(
            symbol=held.symbol,
            side=held.side,
            contracts=held.contracts,
            coins=coins,
            entry_price=held.entry_price,
            mark_price=mark,
            notional=None if mark is None else coins * mark,
            leverage=held.leverage,
            margin=held.margin,
            unrealised=None if mark is None else held.unrealised(mark),
            realised=held.realised,
            fees=held.fees,
            funding=held.funding,
            liquidation_price=self._liquidation_price(account, held),
            stop_loss=held.stop_loss,
            take_profit=plan.take_profit if plan else None,
            confidence=plan.confidence if plan else None,
            risk_usd=plan.risk_usd if plan else None,
            invalidation=plan.invalidation if plan else "",
            ts_opened=held.ts_opened,
            entry_client_order_id=held.entry_client_order_id,
        )

    def _liquidation_price(self, account: VirtualAccount, held: Held) -> Decimal | None:
        """Price at which the account's equity would equal maintenance, all else unchanged; None: never.

        Solves cash + other + s·q·p - cost = m·q·p for p (s = ±1 side, q coins, m maintenance rate).
        """
        other = ZERO
        for each in account.positions.values():
            if each is held:
                continue
            mark = self.marks.get(each.symbol)
            if mark is None:
                return None
            other += each.unrealised(mark)
        price = (held.cost - account.cash - other) / (held.coins * (held.side.sign - _MAINTENANCE_RATE))
        return price if price > 0 else None
