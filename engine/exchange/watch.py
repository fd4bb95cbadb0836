"""Orders of which nobody has heard for too long: the venue is asked until it has said what they are."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Final

import msgspec
import structlog

from engine.core.errors import OutcomeUnknown, Rejected, Unavailable
from engine.core.orders import ZERO, ExecutionReport, Order, OrderState, VenueFill
from engine.core.times import NS_PER_MIN
from engine.exchange.context import ExchangeContext
from engine.exchange.orders import OrderDesk
from engine.exchange.recovery import Recovery
from engine.exchange.thresholds import Thresholds

log = structlog.get_logger()

_BEFORE_NS: Final = 5 * NS_PER_MIN


class Watch:
    """Two checks that never end: orders in doubt, and resting orders against the venue's list."""

    def __init__(
        self, context: ExchangeContext, desk: OrderDesk, recovery: Recovery, thresholds: Thresholds
    ) -> None:
        self._context, self._desk, self._recovery = context, desk, recovery
        self._thresholds = thresholds
        self._asked: dict[str, tuple[float, int]] = {}  # client order id → (real time of last, answers)
        self._missing: dict[str, float] = {}  # client order id → real time when the list first lacked it
        self.queries = 0  # orders asked for one by one, in this life
        self.inferred = 0  # fills that no list of the venue ever showed

    async def under_way(self, look: Callable[[Order], None]) -> None:
        """`look` at each open order, and ask for those whose outcome is open for too long, for ever."""
        clock = self._context.clock
        while True:
            await clock.sleep_real(self._thresholds.between_looks_s)
            for order in list(self._desk.open.values()):
                look(order)
            for name in [name for name in self._asked if name not in self._desk.open]:
                del self._asked[name]
            for order in list(self._desk.open.values()):
                if self._desk.backlog:  # the answer may be waiting already
                    break
                if self._due(order, clock.real_s()):
                    await self._ask_again(order)

    def _due(self, order: Order, now_s: float) -> bool:
        """An order in doubt: no ack, or fills that the venue claims and nobody has seen."""
        doubtful = order.venue_state is OrderState.PENDING_NEW or order.claimed > order.filled
        if not doubtful:
            self._asked.pop(order.client_order_id, None)
            return False
        last, _ = self._asked.setdefault(order.client_order_id, (now_s, 0))
        return now_s - last >= self._thresholds.in_flight_s

    async def _ask_again(self, order: Order) -> None:
        name = order.client_order_id
        answers = self._asked[name][1]
        try:
            known = await self._ask(order)
            if known is not None and known.filled > order.filled:
                await self._recovery.catch_up(order.intent.ts_created - _BEFORE_NS)
        except (Unavailable, OutcomeUnknown, Rejected) as error:
            # No answer says nothing about the order; this round does not count.
            self._asked[name] = (self._context.clock.real_s(), answers)
            log.warning("order query failed", order=name, error=str(error))
            return
        self._asked[name] = (self._context.clock.real_s(), answers + 1)
        if answers + 1 < self._thresholds.queries:
            return
        del self._asked[name]
        if known is None:
            await self._desk.never_taken(order)
        else:
            await self._infer(known)

    async def _ask(self, order: Order) -> ExecutionReport | None:
        self.queries += 1
        report = await self._desk.ask(order)
        await self._desk.drained()
        return report

    async def _infer(self, known: ExecutionReport) -> None:
        """An order that has ended with fills that no list shows: they are booked at its average price."""
        order = self._desk.open.get(known.client_order_id)
        if order is None or not known.state.done or known.average_price is None:
            return
        missing = order.claimed - order.filled
        if missing <= 0:
            return
        value = known.average_price * order.claimed - (order.average_price or ZERO) * order.filled
        log.error("fill inferred", order=order.client_order_id, contracts=str(missing))
        self.inferred += 1
        await self._desk.report(with_inferred_fill(known, missing, value / missing))

    async def resting(self) -> None:
        """Compare open orders with the venue's list, for ever; one that is not in it is asked for."""
        clock = self._context.clock
        while True:
            await clock.sleep_real(self._thresholds.open_check_s)
            try:
                await self.check_resting()
            except (Unavailable, OutcomeUnknown, Rejected) as error:
                log.warning("open orders not compared", error=str(error))

    async def check_resting(self) -> None:
        """One comparison. What the list has is applied; what it lacks for long enough is asked for."""
        before = dict(self._desk.open)
        listed = await self._context.venue.open_orders()
        for report in listed:
            await self._desk.report(report)
        here = {report.client_order_id for report in listed}
        now_s = self._context.clock.real_s()
        lacking = {
            name
            for name, order in before.items()
            if name not in here and order.venue_state is not OrderState.PENDING_NEW
        }
        self._missing = {name: self._missing.get(name, now_s) for name in lacking if name in self._desk.open}
        due = [name for name, since in self._missing.items() if now_s - since >= self._thresholds.quiet_s]
        for name in due[: self._thresholds.single_queries]:
            if (order := self._desk.open.get(name)) is not None:
                await self._ask(order)


def with_inferred_fill(report: ExecutionReport, contracts: Decimal, price: Decimal) -> ExecutionReport:
    """The report with a fill that was not seen; its id is the same whenever it is inferred (L5, S11)."""
    fill = VenueFill(
        trade_id=f"inferred{report.filled}",
        contracts=contracts,
        price=price,
        fee=ZERO,
        maker=False,
        ts_event=report.ts_event,
    )
    return msgspec.structs.replace(report, fill=fill)
