"""Do the books balance? Compared with the venue again and again, at quiet moments (invariant I8)."""

from __future__ import annotations

from decimal import Decimal

import msgspec
import structlog

from engine.core.books import RESERVE, Comparison, VenueHolding
from engine.core.errors import OutcomeUnknown, Rejected, Unavailable
from engine.core.orders import UNATTRIBUTED, ZERO, OrderState
from engine.exchange.account_records import AccountRecords
from engine.exchange.context import ExchangeContext
from engine.exchange.inference import Unexplained, explaining_fills
from engine.exchange.orders import OrderDesk
from engine.exchange.ports import VenueBalance, VenuePosition
from engine.exchange.recovery import Recovery
from engine.exchange.thresholds import Thresholds
from engine.journal.ports import TOLERANCE_USD, AccountCheck, RiskEvent
from engine.retry import patiently

log = structlog.get_logger()


class Auditor:
    """Fetches the venue's account, compares, journals; entries stop while the books do not balance.

    What differs is first looked for in the venue's executions and bills. A position that these never
    explain is booked as the fill that explains it (`infer`), or stops entries in its symbol until a
    person acts.
    """

    def __init__(
        self,
        context: ExchangeContext,
        desk: OrderDesk,
        recovery: Recovery,
        thresholds: Thresholds,
        *,
        infer: bool = True,
    ) -> None:
        self._context, self._desk, self._recovery = context, desk, recovery
        self._thresholds, self._infer = thresholds, infer
        self._records = AccountRecords(context, context.books.account_id)
        self.positions: tuple[VenuePosition, ...] | None = None  # by the newest look, as the next
        self._balance: VenueBalance | None = None
        self._differing = 0
        self.newest: AccountCheck | None = None
        self.suspicious: frozenset[str] = frozenset()  # symbols that differ; "*" when cash does

    async def run(self, every_s: float) -> None:
        """One look every so many real seconds, for ever."""
        while True:
            await self._context.clock.sleep_real(every_s)
            try:
                await self.look()
            except (Unavailable, OutcomeUnknown, Rejected) as error:
                log.warning("books not compared", error=str(error))

    async def settle(self) -> None:
        """Look until no position differs, or the difference has had its consequences: before trading.

        Raises Unavailable or OutcomeUnknown: an account that cannot be seen is not an empty one.
        """
        for attempt in range(self._thresholds.differing_looks + 1):
            if attempt:
                await self._context.clock.sleep_real(self._thresholds.at_start_s)
            check = await self.look()
            if check is None or not check.detail:
                return

    async def look(self) -> AccountCheck | None:
        """Compare once. None when orders move, or have just moved and the two do not agree yet."""
        found = await self._compare()
        if found is not None and not found[0].agrees:
            if self._context.clock.real_s() - self._desk.booking.touched_s < self._thresholds.quiet_s:
                return None
            if self._differing < self._thresholds.differing_looks:
                await self._recovery.ask_for_all()
                found = await self._compare()
        if found is None:
            return None
        check, comparison = found
        await self._judge(check, comparison)
        self.newest = check
        await patiently(lambda: self._context.journal.record_check(check))
        if self.positions is not None and self._balance is not None:
            await self._records.record(self.positions, self._balance)
        return check

    async def _compare(self) -> tuple[AccountCheck, Comparison] | None:
        venue, books = self._context.venue, self._context.books
        before = self._desk.booking.fills
        if self._moving():
            return None
        positions, balance = await venue.positions(), await venue.balance()
        if self._desk.booking.fills != before or self._moving():
            return None
        self.positions, self._balance = positions, balance
        holdings = [self._holding(position) for position in positions if position.contracts]
        comparison = books.compare(holdings, balance.cash)
        return self._check(comparison, positions, balance), comparison

    def _moving(self) -> bool:
        """An order of ours is under way; one that rests does not disturb, whoever made it."""
        return any(
            order.state is OrderState.PENDING_NEW
            or order.claimed > order.filled
            or (order.intent.price is None and order.intent.trader_id != UNATTRIBUTED)
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
        check = AccountCheck(
            account_id=books.account_id,
            ts=self._context.clock.now_ns(),
            balanced=False,
            venue_equity=equity,
            traders_equity=(total if total is not None else equity) - reserve,
            reserve=reserve,
            difference=comparison.cash_difference,
            detail=str(comparison),
        )
        return msgspec.structs.replace(check, balanced=check.agrees and not books.remainder.lots)

    async def _judge(self, check: AccountCheck, comparison: Comparison) -> None:
        """A difference that persists is explained or stops entries; it is alarmed once, not at every look."""
        persisting = self._thresholds.differing_looks
        if check.balanced:
            if self._differing >= persisting:
                log.info("books balance again")
            self._differing, self.suspicious = 0, frozenset()
            return
        self._differing += 1
        if self._differing < persisting:
            return
        if self._differing == persisting and self._infer and await self._explain(comparison):
            self._differing = 0
            return
        symbols = {difference.symbol for difference in comparison.positions}
        symbols |= self._context.books.remainder.symbols
        if abs(comparison.cash_difference) > TOLERANCE_USD:
            symbols.add("*")
        self.suspicious = frozenset(symbols)
        if self._differing == persisting:
            await self._alarm(check)

    async def _alarm(self, check: AccountCheck) -> None:
        log.error("books do not balance", difference=str(check.difference), detail=check.detail)
        event = RiskEvent(
            event_id=f"imbalance:{check.ts}",
            trader_id="",
            symbol=",".join(sorted(self.suspicious)),
            kind="imbalance",
            detail=f"cash difference {check.difference}; {check.detail}",
            ts=check.ts,
        )
        await patiently(lambda: self._context.journal.record_risk_event(event))

    async def _explain(self, comparison: Comparison) -> bool:
        """Book the fills that explain the difference; False when none do for certain."""
        context = self._context
        marks = self._marks()
        found = [
            Unexplained(
                each,
                context.contracts.contract_value(each.symbol),
                context.books.average_price(each.symbol, each.position_side),
                marks.get(each.symbol),
            )
            for each in comparison.positions
        ]
        newest = await patiently(lambda: context.journal.newest_fill_ns(context.books.account_id))
        reports = explaining_fills(found, comparison.cash_difference, newest, context.clock.now_ns())
        for report in reports:
            log.error("fill inferred", difference=str(comparison), fill=report.venue_order_id)
            await self._desk.report(report)
        await self._desk.drained()
        return bool(reports)

    def _marks(self) -> dict[str, Decimal]:
        """Newest marks of what is held: of the market, and as the venue values what is left there."""
        views = [self._context.accounts.view(each.trader_id) for each in self._context.books.traders()]
        marks = {held.symbol: held.mark_price for view in views for held in view.positions}
        marks |= {left.symbol: left.mark_price for left in self.positions or ()}
        return {symbol: mark for symbol, mark in marks.items() if mark}
