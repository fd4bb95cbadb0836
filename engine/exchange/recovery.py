"""Start and reconnect are one thing: ask the venue until the journal knows all that it knows (I5)."""

from __future__ import annotations

from functools import partial
from typing import Final

import structlog

from engine.core.books import RESERVE
from engine.core.cash import CashFlow, FlowKind
from engine.core.ledger import ClosedTrade
from engine.core.orders import Order
from engine.core.times import NS_PER_MIN
from engine.exchange.attribution import fill_id_of
from engine.exchange.context import ExchangeContext
from engine.exchange.orders import OrderDesk
from engine.exchange.thresholds import Thresholds
from engine.journal.ports import Bookings
from engine.retry import patiently

log = structlog.get_logger()

_OVERLAP_NS: Final = 5 * NS_PER_MIN  # more than two clocks differ, and than the venue takes to list a fill
_LOST_S: Final = 60.0  # real time; an outage of Redis begins with what was under way


class Recovery:
    """Brings journal and venue together; runs at start and after every gap of the private stream."""

    def __init__(self, context: ExchangeContext, desk: OrderDesk, thresholds: Thresholds) -> None:
        self._context = context
        self._desk = desk
        self._thresholds = thresholds
        self._first_start_ns = context.clock.now_ns()

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
        for move in bookings.stop_moves:
            context.books.account(move.trader_id).move_stop(move)
        for account in context.books.traders():
            await self._write(account.trader_id, trades.get(account.trader_id, []))

    async def _write(self, trader_id: str, trades: list[ClosedTrade]) -> None:
        view = self._context.accounts.view(trader_id)
        await patiently(lambda: self._context.journal.record_position(view, trades))

    async def reconcile(self) -> None:
        """Open orders, executions and funding since the books last agreed: asked for, applied, none twice.

        Raises Unavailable, OutcomeUnknown or Rejected when the venue does not answer; call again then.
        """
        context, desk = self._context, self._desk
        since = await self._since()
        listed = await context.venue.open_orders()
        for report in listed:
            await desk.report(report)
        await self.catch_up(since)  # before asking one by one: what it fills whole needs no question
        resting = {report.client_order_id for report in listed}
        await self._settle([order for name, order in desk.open.items() if name not in resting])
        await desk.drained()
        await self.book_funding(since)
        log.info("venue reconciled", open_orders=len(desk.open))

    async def _since(self) -> int:
        """From when executions are asked for: everything before the books last equalled the venue's is in.

        Not from the newest fill: an older one may be missing. An order that rests longer counts too.
        """
        account_id = self._context.books.account_id
        agreed = await patiently(lambda: self._context.journal.agreed_ns(account_id))
        oldest = min((order.intent.ts_created for order in self._desk.open.values()), default=agreed)
        return max(min(agreed, oldest), self._first_start_ns) - _OVERLAP_NS

    async def catch_up(self, since_ns: int) -> None:
        """Apply every execution since then that is not booked, and wait until it is applied.

        What the books remember is left out here: an order comes into them together with its fill, and to
        look each one up in the journal again is slow where many look back at once.
        """
        for report in await self._context.venue.executions_since(since_ns):
            if self._context.books.knows(fill_id_of(report, report.venue_order_id)):
                continue
            # what others did before us is not ours to book
            if report.client_order_id or report.ts_event >= self._first_start_ns:
                await self._desk.report(report)
        await self._desk.drained()

    async def ask_for_all(self) -> None:
        """Whatever may explain that books and venue differ: executions, funding, and cash moved by hand."""
        since = await self._since()
        await self.catch_up(since)
        await self.book_funding(since)
        await self.book_transfers(since)

    async def look_back(self) -> None:
        """`catch_up` from when the books last equalled the venue's."""
        await self.catch_up(await self._since())

    async def _settle(self, orders: list[Order]) -> None:
        """Ask for orders until the venue knows each, or surely never had it.

        Asked more than once, because a request of a life that has just ended may still be under way.
        """
        for attempt in range(self._thresholds.queries):
            if attempt and orders:
                await self._context.clock.sleep_real(self._thresholds.at_start_s)
            orders = [order for order in orders if await self._desk.ask(order) is None]
        for order in orders:
            await self._desk.never_taken(order)

    async def book_funding(self, since_ns: int) -> None:
        """Split the venue's funding charges among the traders, each bill once."""
        context = self._context
        for charge in await context.venue.funding_since(since_ns):
            payments = context.books.split_funding(charge)
            new = await patiently(partial(context.journal.record_funding, payments))
            for payment in payments if new else ():
                context.books.apply_funding(payment)
            if new:
                log.info(
                    "funding booked", symbol=charge.symbol, amount=str(charge.amount), bill=charge.bill_id
                )

    async def book_transfers(self, since_ns: int) -> None:
        """Cash that a person, or the venue, moved without trading belongs to the reserve; each bill once."""
        context = self._context
        for transfer in await context.venue.transfers_since(max(since_ns, self._first_start_ns)):
            flow = CashFlow(
                flow_id=f"{context.books.account_id}:bill:{transfer.bill_id}",
                trader_id=RESERVE,
                account_id=context.books.account_id,
                kind=FlowKind.DEPOSIT if transfer.amount > 0 else FlowKind.WITHDRAWAL,
                amount=transfer.amount,
                ts=transfer.ts_event,
            )
            if await patiently(partial(context.journal.record_cash_flow, flow)):
                context.books.apply_cash(flow)
                log.warning("cash moved at the venue", amount=str(flow.amount), bill=transfer.bill_id)

    async def resume_intents(self) -> None:
        """Orders for approved intents that have none: the engine ended first, or Redis lost the message."""
        context = self._context
        since = context.clock.now_ns() - max(_OVERLAP_NS, context.clock.engine_ns(_LOST_S))
        account_id = context.books.account_id
        for intent in await patiently(lambda: context.journal.pending_intents(account_id, since)):
            await self._desk.accept(intent)
