"""A paper venue that survives its process: nothing is answered or told before its state is stored."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from decimal import Decimal

from engine.clock import Clock
from engine.core.orders import ExecutionReport, Order
from engine.exchange.matching.core import MatchingCore
from engine.exchange.matching.records import Event
from engine.exchange.matching.types import AccountSpec, TriggerType
from engine.exchange.paper.venue import PaperVenue
from engine.exchange.ports import Amendment, Protection, ProtectionRequest, VenueEvent

Store = Callable[[bytes], Awaitable[None]]


class KeptPaperVenue(PaperVenue):
    """A PaperVenue whose core is given to `store` after each change, before anybody hears of the change.

    So whoever starts it again with MatchingCore.restore finds every order, fill and stop that was ever
    reported. What the market's passing alone changes (a trailing stop's extreme) is stored with the next
    change.
    """

    def __init__(
        self, core: MatchingCore, account: AccountSpec, clock: Clock, trigger: TriggerType, store: Store
    ) -> None:
        super().__init__(core, account, clock, trigger)
        self._store = store
        self._storing = asyncio.Lock()
        self._changes = 1  # the account was opened
        self._stored = 0

    def tell(self, events: Iterable[Event]) -> None:
        caused = list(events)
        self._changes += bool(caused)
        super().tell(caused)

    async def keep(self) -> None:
        """Return when the state, as it is now or later, is stored."""
        wanted = self._changes
        async with self._storing:
            if self._stored < wanted:
                changes, state = self._changes, self._core.snapshot()
                await self._store(state)
                self._stored = changes

    async def events(self) -> AsyncIterator[VenueEvent]:
        async for event in super().events():
            await self.keep()
            yield event

    async def set_leverage(self, symbol: str, leverage: Decimal) -> None:
        await super().set_leverage(symbol, leverage)
        self._changes += 1
        await self.keep()

    async def submit(self, order: Order) -> ExecutionReport:
        report = await super().submit(order)
        await self.keep()
        return report

    async def cancel(self, order: Order) -> None:
        await super().cancel(order)
        await self.keep()

    async def amend(self, order: Order, change: Amendment) -> None:
        await super().amend(order, change)
        await self.keep()

    async def protect(self, request: ProtectionRequest) -> Protection:
        protection = await super().protect(request)
        await self.keep()
        return protection

    async def amend_protection(self, protection: Protection, request: ProtectionRequest) -> None:
        await super().amend_protection(protection, request)
        await self.keep()

    async def cancel_protection(self, protection: Protection) -> bool:
        cancelled = await super().cancel_protection(protection)
        await self.keep()
        return cancelled
