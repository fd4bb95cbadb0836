"""Start and reconnect are one thing: ask the venue until the journal knows all that it knows (I5).

In-flight thresholds follow NautilusTrader's live execution engine: an order without an answer for 5 s is
asked for every 5 s, at most 5 times; then it was never taken. All these waits are real time.
"""

from __future__ import annotations

from typing import Final

import structlog

from engine.core.errors import OutcomeUnknown, Rejected, Unavailable
from engine.core.ledger import ClosedTrade
from engine.core.orders import Order, OrderState
from engine.core.times import NS_PER_MIN
from engine.exchange.context import ExchangeContext
from engine.exchange.orders import OrderDesk
from engine.journal.ports import Bookings
from engine.retry import patiently

log = structlog.get_logger()

IN_FLIGHT_S: Final = 5.0
QUERIES: Final = 5
_OVERLAP_NS: Final = 5 * NS_PER_MIN  # executions are asked for from a little before the newest known


class Recovery:
    """Brings journal and venue together; runs at start, after every gap of the private stream, and beside."""

    def __init__(self, context: ExchangeContext, desk: OrderDesk) -> None:
        self._context = context
        self._desk = desk
        self._first_start_ns = context.clock.now_ns()
        self._asked: dict[str, tuple[float, int]] = {}  # client order id → (real time of last, count)

    async def load(self) -> None:
        """Fold the books from the journal and take over its open orders. Before anything else."""
        context = self._context
        account_id = context.books.account_id
        bookings = await patiently(lambda: context.journal.bookings(account_id))
        if bookings.cash_flows:
            self._first_start_ns = bookings.cash_flows[0].ts
        for flow in bookings.cash_flows:
            context.books.apply_cash(flow)
        await self._fold(bookings)
        for order in await patiently(lambda: context.journal.open_orders(account_id)):
            self._desk.open[order.client_order_id] = order
        log.info(
            "journal loaded",
            fills=len(bookings.fills),
            funding=len(bookings.funding),
            open_orders=len(self._desk.open),
        )

    async def _fold(self, bookings: Bookings) -> None:
        """Fills and funding in the order of their times; trades closed just before a crash are written."""
        context, payments = self._context, list(reversed(bookings.funding))
        entries = {intent.client_order_id: intent for intent in bookings.entries}
        trades: dict[str, list[ClosedTrade]] = {}
        for fill in bookings.fills:
            while payments and payments[-1].ts_event <= fill.ts_event:
                context.books.apply_funding(payments.pop())
            for trade in context.books.apply_fill(fill, entries.get(fill.client_order_id)).trades:
                trades.setdefault(trade.trader_id, []).append(trade)
        while payments:
            context.books.apply_funding(payments.pop())
        for account in context.books.traders():
            await self._write(account.trader_id, trades.get(account.trader_id, []))

    async def _write(self, trader_id: str, trades: list[ClosedTrade]) -> None:
        view = self._context.accounts.view(trader_id)
        await patiently(lambda: self._context.journal.record_position(view, trades))

    async def reconcile(self) -> None:
        """Open orders, executions and funding since the last known: asked for, applied, none twice.

        Raises Unavailable or OutcomeUnknown when the venue does not answer; call again then.
        """
        context, desk = self._context, self._desk
        since = await self._since()
        for report in await context.venue.open_orders():
            await desk.report(report)
        for order in list(desk.open.values()):
            await self._settle(order)
        for report in await context.venue.executions_since(since):
            await desk.report(report)
        await desk.drained()
        await self.book_funding(since)
        log.info("venue reconciled", open_orders=len(desk.open))

    async def _since(self) -> int:
        """From when executions are asked for: a little before the newest known, or the first start.

        What the account did before edgewise knew it is not ours to book.
        """
        account_id = self._context.books.account_id
        newest = await patiently(lambda: self._context.journal.newest_fill_ns(account_id))
        return max(newest - _OVERLAP_NS, self._first_start_ns)

    async def _settle(self, order: Order) -> None:
        """Ask for one order until the venue knows it, or surely never had it."""
        for attempt in range(QUERIES):
            if await self._desk.ask(order) is not None:
                return
            if attempt + 1 < QUERIES:  # a request of a life that just ended may still be under way
                await self._context.clock.sleep_real(0.2)
        await self._desk.never_taken(order)

    async def book_funding(self, since_ns: int) -> None:
        """Split the venue's funding charges among the traders, each bill once."""
        context = self._context
        for charge in await context.venue.funding_since(since_ns):
            payments = context.books.split_funding(charge)
            new = await patiently(lambda p=payments: context.journal.record_funding(p))  # type: ignore[misc]
            for payment in payments if new else ():
                context.books.apply_funding(payment)
            if new:
                log.info(
                    "funding booked", symbol=charge.symbol, amount=str(charge.amount), bill=charge.bill_id
                )

    async def resume_intents(self) -> None:
        """Orders for intents that were approved but not journalled as orders before the end."""
        context = self._context
        since = context.clock.now_ns() - _OVERLAP_NS
        account_id = context.books.account_id
        for intent in await patiently(lambda: context.journal.pending_intents(account_id, since)):
            await self._desk.accept(intent)

    async def watch_in_flight(self) -> None:
        """Ask for orders whose outcome is open for too long, for ever."""
        clock = self._context.clock
        while True:
            await clock.sleep_real(1.0)
            for order in list(self._desk.open.values()):
                if self._due(order, clock.real_s()):
                    await self._ask_again(order)

    def _due(self, order: Order, now_s: float) -> bool:
        """An order in doubt: no ack, or fills that the venue claims and nobody has seen."""
        doubtful = order.venue_state is OrderState.PENDING_NEW or order.claimed > order.filled
        if not doubtful:
            self._asked.pop(order.client_order_id, None)
            return False
        last, _ = self._asked.setdefault(order.client_order_id, (now_s, 0))
        return now_s - last >= IN_FLIGHT_S

    async def _ask_again(self, order: Order) -> None:
        name = order.client_order_id
        count = self._asked[name][1] + 1
        self._asked[name] = (self._context.clock.real_s(), count)
        try:
            known = await self._desk.ask(order)
            if known is not None and order.claimed > order.filled:
                for report in await self._context.venue.executions_since(order.ts_updated - _OVERLAP_NS):
                    await self._desk.report(report)
        except (Unavailable, OutcomeUnknown, Rejected) as error:
            # No answer says nothing about the order; this round does not count.
            self._asked[name] = (self._context.clock.real_s(), count - 1)
            log.warning("order query failed", order=name, error=str(error))
            return
        if known is None and count >= QUERIES:
            self._asked.pop(name, None)
            await self._desk.never_taken(order)
