"""Fills into the books: each once, in memory at once and in the journal when a burst is over.

The order desk is the only caller, so that the books have one writer.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Final

import structlog

from engine.core.ledger import ClosedTrade
from engine.core.orders import UNATTRIBUTED, ExecutionReport, Fill, Order, OrderIntent, Purpose
from engine.exchange.context import ExchangeContext
from engine.journal.ports import RiskEvent
from engine.retry import patiently

log = structlog.get_logger()

# Kinds of risk events: what the venue closed for a trader without an order of his.
_CLOSED_BY: Final = {Purpose.LIQUIDATION: "liquidation", Purpose.EXTERNAL: "closed_externally"}


class Booking:
    """The books of one venue account, and the alarm when a fill does not fit them."""

    def __init__(self, context: ExchangeContext) -> None:
        self._journal, self._clock = context.journal, context.clock
        self._books, self._accounts = context.books, context.accounts
        self._unwritten: dict[str, list[ClosedTrade]] = {}  # trader → trades that closed since the last write
        self.fills = 0  # booked in this life
        self.touched_s = -math.inf  # real time of the newest booking
        self.purposes: Counter[Purpose] = Counter()  # of the fills
        self.on_fill: list[Callable[[Fill, OrderIntent], None]] = []  # told of each new fill

    async def overfills(self, order: Order, report: ExecutionReport, fill: Fill) -> bool:
        """A new fill beyond the order's size is refused and alarmed; a known one is only a duplicate.

        An order that has ended takes no more than the venue claims for it.
        """
        most = max(order.claimed, report.filled) if order.state.done else order.intent.contracts
        if order.filled + fill.contracts <= most:
            return False
        if await patiently(lambda: self._journal.fill_booked(fill.account_id, fill.fill_id)):
            return False
        await self._alarm("overfill", fill, "", f"{fill.contracts} more than {order.client_order_id} takes")
        return True

    async def add(self, order: Order, fill: Fill) -> tuple[str, ...]:
        """Book a fill that the journal has, once; the traders whose positions it changed."""
        booked = self._books.apply_fill(fill, order.intent if order.intent.purpose is Purpose.ENTRY else None)
        for trader_id in booked.traders:
            closed = self._unwritten.setdefault(trader_id, [])
            closed += [trade for trade in booked.trades if trade.trader_id == trader_id]
            if fill.trader_id == UNATTRIBUTED:
                detail = f"{fill.contracts} contracts of the account were closed at {fill.price}"
                await self._alarm(_CLOSED_BY[fill.purpose], fill, trader_id, detail)
        if booked.unowned:
            await self._alarm("unattributed", fill, "", f"{booked.unowned} contracts belong to no trader")
        self.fills += 1
        self.touched_s = self._clock.real_s()
        self.purposes[fill.purpose] += 1
        for told in self.on_fill:
            told(fill, order.intent)
        return booked.traders

    async def write(self) -> None:
        """Journal the positions and trades of those whose fills were booked since the last time."""
        while self._unwritten:
            trader_id, trades = next(iter(self._unwritten.items()))
            view = self._accounts.view(trader_id)
            await patiently(partial(self._journal.record_position, view, trades))
            del self._unwritten[trader_id]

    async def _alarm(self, kind: str, fill: Fill, trader_id: str, detail: str) -> None:
        log.error("books need a person", kind=kind, trader=trader_id, symbol=fill.symbol, detail=detail)
        event = RiskEvent(
            event_id=f"{kind}:{fill.fill_id}:{trader_id}",
            trader_id=trader_id,
            symbol=fill.symbol,
            kind=kind,
            detail=detail,
            ts=self._clock.now_ns(),
        )
        await patiently(lambda: self._journal.record_risk_event(event))
