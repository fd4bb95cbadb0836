"""Do the books balance? Compared with the venue again and again, at quiet moments (invariant I8)."""

from __future__ import annotations

from decimal import Decimal
from typing import Final

import structlog

from engine.core.books import RESERVE, Comparison, VenueHolding
from engine.core.errors import OutcomeUnknown, Rejected, Unavailable
from engine.core.orders import (
    ZERO,
    OrderState,
)
from engine.exchange.context import ExchangeContext
from engine.exchange.orders import OrderDesk
from engine.exchange.ports import VenueBalance, VenuePosition
from engine.journal.ports import AccountCheck, RiskEvent
from engine.retry import patiently

log = structlog.get_logger()

_PERSISTING: Final = 3  # looks in a row that differ before it is an alarm (NautilusTrader's threshold)
_TOLERANCE_USD: Final = Decimal("0.01")  # venues round average prices and unrealised profit for the wire


class Auditor:
    """Fetches the venue's account, compares, journals; entries stop while the books do not balance."""

    def __init__(self, context: ExchangeContext, desk: OrderDesk, interval_s: float) -> None:
        self._context = context
        self._desk = desk
        self._interval_s = interval_s
        self._differing = 0
        self.newest: AccountCheck | None = None
        self.suspicious: frozenset[str] = frozenset()  # symbols that differ; "*" when cash does

    async def run(self) -> None:
        """One look every `interval_s` of real time, for ever."""
        while True:
            await self._context.clock.sleep_real(self._interval_s)
            try:
                await self.look()
            except (Unavailable, OutcomeUnknown, Rejected) as error:
                log.warning("books not compared", error=str(error))

    async def look(self) -> AccountCheck | None:
        """Compare once. None when orders were moving meanwhile: that is no quiet moment."""
        venue, books = self._context.venue, self._context.books
        before = self._desk.fills
        if self._moving():
            return None
        positions, balance = await venue.positions(), await venue.balance()
        if self._desk.fills != before or self._moving():
            return None
        holdings = [self._holding(position) for position in positions if position.contracts]
        comparison = books.compare(holdings, balance.cash)
        check = self._check(comparison, positions, balance)
        await self._judge(check, comparison)
        self.newest = check
        await patiently(lambda: self._context.journal.record_check(check))
        return check

    def _moving(self) -> bool:
        """A market order is under way; a limit order that rests does not disturb."""
        return any(
            order.state is OrderState.PENDING_NEW or order.claimed > order.filled or not order.intent.price
            for order in self._desk.open.values()
        )

    def _holding(self, position: VenuePosition) -> VenueHolding:
        """Signed cost: market value minus unrealised profit, which is free of the rounded average price."""
        coins = position.contracts * self._context.contracts.contract_value(position.symbol)
        if position.mark_price is not None and position.unrealised is not None:
            cost = coins * position.mark_price - position.unrealised
        else:
            cost = coins * position.average_price
        return VenueHolding(position.symbol, position.position_side, position.contracts, cost)

    def _check(
        self, comparison: Comparison, positions: tuple[VenuePosition, ...], balance: VenueBalance
    ) -> AccountCheck:
        books = self._context.books
        marks = {p.symbol: p.mark_price for p in positions if p.mark_price is not None}
        equity = balance.cash + sum((p.unrealised or ZERO for p in positions), ZERO)
        reserve = books.account(RESERVE).cash
        total = books.equity(marks)
        balanced = not comparison.positions and abs(comparison.cash_difference) <= _TOLERANCE_USD
        return AccountCheck(
            account_id=books.account_id,
            ts=self._context.clock.now_ns(),
            balanced=balanced and not books.remainder.lots,
            venue_equity=equity,
            traders_equity=(total if total is not None else equity) - reserve,
            reserve=reserve,
            difference=comparison.cash_difference,
            detail=str(comparison),
        )

    async def _judge(self, check: AccountCheck, comparison: Comparison) -> None:
        """A difference that persists stops entries; it is alarmed once, not at every look."""
        if check.balanced:
            if self._differing >= _PERSISTING:
                log.info("books balance again")
            self._differing, self.suspicious = 0, frozenset()
            return
        self._differing += 1
        symbols = {difference.symbol for difference in comparison.positions}
        symbols |= self._context.books.remainder.symbols
        if abs(comparison.cash_difference) > _TOLERANCE_USD:
            symbols.add("*")
        if self._differing < _PERSISTING:
            return
        self.suspicious = frozenset(symbols)
        if self._differing == _PERSISTING:
            log.error("books do not balance", difference=str(check.difference), detail=check.detail)
            event = RiskEvent(
                event_id=f"imbalance:{check.ts}",
                trader_id="",
                symbol=",".join(sorted(symbols)),
                kind="imbalance",
                detail=f"cash difference {check.difference}; {check.detail}",
                ts=check.ts,
            )
            await patiently(lambda: self._context.journal.record_risk_event(event))
