"""The life of orders: journalled, then sent; every answer applied once, in one place.

All that the venue says (acknowledgements, pushes, answers to queries) goes through one queue and one
task, `OrderDesk.run`, so that no two reports of an order can overtake each other between reading and
writing. Requests are jobs; nobody waits for the venue while handling a message.
"""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import Awaitable, Callable
from decimal import Decimal
from typing import Final

import msgspec
import structlog

from engine.bus import OrderUpdate
from engine.core.errors import OutcomeUnknown, Rejected, Unavailable
from engine.core.orders import (
    UNATTRIBUTED,
    ZERO,
    ExecutionReport,
    Fill,
    Order,
    OrderIntent,
    OrderState,
    Purpose,
    apply,
    entry_of,
)
from engine.exchange.attribution import fill_of, venue_made
from engine.exchange.booking import Booking
from engine.exchange.closing import ALREADY_CLOSING, closable, order_of
from engine.exchange.context import ExchangeContext
from engine.exchange.updates import OrderUpdates
from engine.retry import patiently

log = structlog.get_logger()

_REPORTS_LIMIT: Final = 10_000
_RECENT_DONE: Final = 2_000
_WRITE_EVERY: Final = 50  # reports of a burst


class OrderDesk:
    """Owns every open order of one venue account."""

    def __init__(self, context: ExchangeContext) -> None:
        self._log = log.bind()  # once: the level's methods, not looked up at every line
        self._venue, self._journal = context.venue, context.journal
        self._account_id = context.books.account_id
        self._clock, self._jobs, self._books = context.clock, context.jobs, context.books
        self._accounts, self._contracts = context.accounts, context.contracts
        self._enabled = context.trading_enabled
        self._reports: asyncio.Queue[ExecutionReport] = asyncio.Queue(_REPORTS_LIMIT)
        self.updates = OrderUpdates(context.bus)
        self.booking = Booking(context)
        self._done: dict[str, Order] = {}  # the newest that have ended, oldest first
        self.open: dict[str, Order] = {}
        self._arriving: dict[str, OrderIntent] = {}  # being journalled: a second close must see the first
        self.states: Counter[OrderState] = Counter()  # reached in this life
        self.rejects: Counter[str] = Counter()  # by the venue's code
        self._waited: deque[str] = deque(maxlen=_RECENT_DONE)  # ids of fills that waited for an earlier one
        self.release: Callable[[OrderIntent], Awaitable[bool]] = _keep_stops
        self.look_back: Callable[[], Awaitable[None]] = _see_nothing
        self.on_sent: list[Callable[[Order], None]] = []  # told of each order as it leaves
        self.on_change: list[Callable[[Order, Order], None]] = []  # of each change of a state: before, after

    # -- intents in

    async def accept(self, intent: OrderIntent) -> None:
        """Journal an order for an approved intent and start sending it. Safe to call again."""
        name = intent.client_order_id
        if name in self.open or name in self._arriving or name in self._done:
            return
        most = self.closable(intent)
        order = order_of(intent, most)
        if most > 0:
            self._arriving[name] = order.intent
        try:
            if not await patiently(lambda: self._journal.insert_order(order)):
                return  # it was journalled by an earlier life: recovery owns it
        finally:
            self._arriving.pop(name, None)
        if not self._enabled:
            await self._close(order, OrderState.REJECTED, "trading is disabled")
        elif intent.ts_expires and self._clock.now_ns() > intent.ts_expires:
            await self._close(order, OrderState.EXPIRED, "expired before it was sent")
        elif most <= 0:
            await self._close(order, OrderState.REJECTED, f"{ALREADY_CLOSING}: by orders under way")
        else:
            self.open[name] = order
            self._jobs.start(f"submit:{name}", lambda: self._submit(order))
            # It leaves before its message is acknowledged.
            await asyncio.sleep(0)  # noqa: TID251 - yields, takes no time

    def closable(self, intent: OrderIntent) -> Decimal:
        """How much of its trader's position an exit may take: what no other order closes already."""
        held = self._books.account(intent.trader_id).positions.get((intent.symbol, intent.position_side))
        return closable(intent, held, self.open.values(), self._arriving.values())

    async def _submit(self, order: Order) -> None:
        """Send once. Only an answer that proves non-acceptance closes the order."""
        sent = msgspec.structs.replace(order, ts_sent=self._clock.now_ns())
        self.open[order.client_order_id] = sent
        if order.intent.purpose is Purpose.EXIT and not await self._released(sent):
            return
        try:
            for told in self.on_sent:
                told(sent)
            report = await self._venue.submit(sent)
        except Rejected as error:
            self.rejects[error.code] += 1
            await self._close(sent, OrderState.REJECTED, str(error), error.raw)
        except Unavailable as error:
            await self._close(sent, OrderState.REJECTED, f"not taken: {error}", error.raw)
        except OutcomeUnknown as error:
            log.warning("order outcome unknown", order=order.client_order_id, error=str(error))
        else:
            await self._reports.put(report)

    async def _released(self, order: Order) -> bool:
        """Free what an exit closes of its stops. False: the order ends here, because less is left by now.

        What is left is closed by an order of its own size.
        """
        intent = order.intent
        if not await self.release(intent):
            await self._close(order, OrderState.REJECTED, "nothing left to close: the stop was faster")
            return False
        left = self.closable(intent)
        if left >= intent.contracts:
            return True
        await self._close(order, OrderState.REJECTED, f"{ALREADY_CLOSING}: {max(left, ZERO)} contracts left")
        await self.drained()
        if left > 0:
            intent_id = f"{intent.intent_id}:left"
            await self.accept(msgspec.structs.replace(intent, intent_id=intent_id, contracts=left))
        return False

    async def cancel(self, order: Order) -> None:
        """Ask the venue to cancel; the order changes when the venue says so."""
        try:
            await self._venue.cancel(order)
        except (Rejected, Unavailable, OutcomeUnknown) as error:
            log.warning("cancel not confirmed", order=order.client_order_id, error=str(error))
            await self.ask(order)

    async def ask(self, order: Order) -> ExecutionReport | None:
        """Query the venue for an order and queue the answer. None: the venue never had it."""
        report = await self._venue.query(order)
        if report is not None:
            await self._reports.put(report)
        return report

    async def never_taken(self, order: Order) -> None:
        """The venue, its history included, does not know the order: it was never sent."""
        current = self.open.get(order.client_order_id)
        if current is not None and current.venue_state is OrderState.PENDING_NEW:
            await self._close(current, OrderState.REJECTED, "never sent: the venue does not know it")

    async def _close(self, order: Order, state: OrderState, reason: str, raw: bytes = b"") -> None:
        report = ExecutionReport(
            client_order_id=order.client_order_id,
            venue_order_id=order.venue_order_id,
            symbol=order.intent.symbol,
            side=order.intent.side,
            position_side=order.intent.position_side,
            state=state,
            contracts=order.intent.contracts,
            reason=reason,
            ts_event=self._clock.now_ns(),
            raw=raw,
        )
        await self._reports.put(report)

    # -- reports in

    async def report(self, report: ExecutionReport) -> None:
        """Queue what the venue said; a full queue holds its stream back."""
        await self._reports.put(report)

    async def run(self) -> None:
        """Apply reports one after the other, for ever. Positions are written when a burst is over.

        A crash before that loses nothing: they are folded from the fills at the next start.
        """
        applied = 0
        while True:
            report = await self._reports.get()
            try:
                await self._apply(report)
                applied += 1
                if self._reports.empty() or applied % _WRITE_EVERY == 0:
                    await self.booking.write()
            except asyncio.CancelledError:
                if not self._reports.full():  # whoever runs next begins with it; twice is as once
                    self._reports.put_nowait(report)
                raise
            finally:
                self._reports.task_done()

    @property
    def backlog(self) -> int:
        """Reports that wait to be applied."""
        return self._reports.qsize()

    async def drained(self) -> None:
        """Wait until every queued report has been applied."""
        await self._reports.join()

    async def _apply(self, report: ExecutionReport) -> None:
        order = await self._find(report)
        fill = fill_of(order, report, self._account_id, self._contracts)
        if fill is not None and (
            await self.booking.overfills(order, report, fill) or self._early(fill, report)
        ):
            return
        changed = apply(order, report, fill)
        if changed == order:
            return
        if not await patiently(lambda: self._journal.record_execution(changed, fill, report.raw)):
            changed, fill = apply(order, report), None  # the fill was booked before
            if changed == order:
                return
            await patiently(lambda: self._journal.record_execution(changed, None, report.raw))
        self._remember(changed)
        traders = await self.booking.add(changed, fill) if fill is not None else ()
        if changed.state is not order.state:
            self.states[changed.state] += 1
            for told in self.on_change:
                told(order, changed)
            self._log.info(
                "order changed",
                order=changed.client_order_id,
                trader=changed.intent.trader_id,
                symbol=changed.intent.symbol,
                purpose=changed.intent.purpose,
                state=changed.state,
                filled=str(changed.filled),
                reason=changed.reason,
            )
        self.updates.put(OrderUpdate(order=changed, fill=fill, traders=traders))

    def _early(self, fill: Fill, report: ExecutionReport) -> bool:
        """A fill that closes what was never opened: the opening one may have been missed and is looked for.

        The report waits meanwhile; when it comes again it is booked, whatever was found.
        """
        if fill.trader_id == UNATTRIBUTED or fill.fill_id in self._waited:
            return False
        account = self._books.account(fill.trader_id)
        if account.knows(fill.fill_id) or not account.excess(fill):
            return False
        self._waited.append(fill.fill_id)
        return self._jobs.start(f"early:{fill.fill_id}", lambda: self._after_looking_back(report))

    async def _after_looking_back(self, report: ExecutionReport) -> None:
        try:
            await self.look_back()
        except (Rejected, Unavailable, OutcomeUnknown) as error:
            log.warning("executions not asked for", error=str(error))
        await self._reports.put(report)

    def _remember(self, order: Order) -> None:
        if order.state.done:
            self.open.pop(order.client_order_id, None)
            self._done[order.client_order_id] = order
            if len(self._done) > _RECENT_DONE:
                del self._done[next(iter(self._done))]
        else:
            self.open[order.client_order_id] = order

    async def _find(self, report: ExecutionReport) -> Order:
        """The order a report is about; made when it is the venue's own (a fired stop, a liquidation)."""
        client_id = report.client_order_id or f"x{report.venue_order_id}"
        known = await self._known(client_id)
        if known is not None:
            return known
        owner_id = entry_of(client_id)
        owner = await self._known(owner_id) if owner_id else None
        return Order(client_order_id=client_id, intent=venue_made(client_id, report, owner, self._account_id))

    async def _known(self, client_id: str) -> Order | None:
        """The order as it is now; what the venue says twice of one that has just ended asks no database."""
        known = self.open.get(client_id) or self._done.get(client_id)
        return known or await patiently(lambda: self._journal.order(client_id))


async def _keep_stops(_: OrderIntent) -> bool:
    return True


async def _see_nothing() -> None:
    pass
