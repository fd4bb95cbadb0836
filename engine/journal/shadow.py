"""Where the paper account writes: the live journal, under names of its own; a restart goes on from it.

A paper trader is `<id>.paper` on the account `<account>.paper`, so orders, fills, flows, positions and trades
lie beside the live ones in the same tables. A decision is one for both: its cycle is the live one's.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import structlog

from engine.core.cash import CashFlow, FundingPayment
from engine.core.decisions import AccountView, Decision, Verdict
from engine.core.ledger import ClosedTrade
from engine.core.orders import Fill, Order, OrderIntent, StopMove
from engine.core.paper import PAPER, live_cycle
from engine.journal.in_memory.journal import MemoryJournal
from engine.journal.ports import (
    AccountCheck,
    Bookings,
    Journal,
    KeepState,
    KeptState,
    RiskEvent,
    TraderRecord,
    Validity,
    VenuePositionRow,
)
from engine.journal.snapshots import BalanceSnapshot

log = structlog.get_logger()


class PaperJournal(MemoryJournal):
    """What recovery and reports need goes to `live`; of the rest, what does not repeat stays in memory."""

    def __init__(self, live: Journal) -> None:
        super().__init__()
        self._live = live

    # -- deciding

    async def record_traders(self, traders: Sequence[TraderRecord]) -> None:
        await self._live.record_traders(traders)

    async def record_gate(
        self,
        verdicts: Sequence[Verdict],
        intents: Sequence[OrderIntent] = (),
        states: Sequence[KeptState] = (),
        answer: Decision | None = None,
    ) -> Validity:
        """The live manager found the answer in force before it was shown here."""
        return await self._live.record_gate(
            [msgspec.structs.replace(each, cycle_id=live_cycle(each.cycle_id)) for each in verdicts],
            [_of_live_cycle(intent) for intent in intents],
            [msgspec.structs.replace(each, trader_id=each.trader_id + PAPER) for each in states],
        )

    async def record_stop_moves(self, moves: Sequence[StopMove]) -> None:
        await self._live.record_stop_moves(moves)

    # -- orders

    async def insert_order(self, order: Order) -> bool:
        return await self._live.insert_order(_linked(order))

    async def record_execution(self, order: Order, fill: Fill | None, raw: bytes = b"") -> bool:
        return await self._live.record_execution(_linked(order), fill, raw)

    async def fill_booked(self, account_id: str, fill_id: str) -> bool:
        return await self._live.fill_booked(account_id, fill_id)

    async def order(self, client_order_id: str) -> Order | None:
        return await self._live.order(client_order_id)

    async def open_orders(self, account_id: str) -> tuple[Order, ...]:
        return await self._live.open_orders(account_id)

    async def pending_intents(self, account_id: str, since_ns: int) -> tuple[OrderIntent, ...]:
        return await self._live.pending_intents(account_id, since_ns)

    # -- books

    async def record_cash_flow(self, flow: CashFlow) -> bool:
        return await self._live.record_cash_flow(flow)

    async def record_transfer(self, flows: Sequence[CashFlow]) -> bool:
        return await self._live.record_transfer(flows)

    async def record_funding(self, payments: Sequence[FundingPayment]) -> bool:
        return await self._live.record_funding(payments)

    async def record_position(self, view: AccountView, trades: Sequence[ClosedTrade]) -> None:
        await self._live.record_position(view, trades)

    async def record_performance(self, views: Sequence[AccountView]) -> None:
        await self._live.record_performance(views)

    async def bookings(self, account_id: str) -> Bookings:
        return await self._live.bookings(account_id)

    async def newest_fill_ns(self, account_id: str) -> int:
        return await self._live.newest_fill_ns(account_id)

    async def record_check(self, check: AccountCheck) -> None:
        if not check.balanced:
            log.error("paper books do not balance", difference=str(check.difference), detail=check.detail)

    async def record_balance(self, snapshot: BalanceSnapshot) -> None:
        """The paper account's balance is that of its traders."""

    async def record_venue_positions(
        self, account_id: str, positions: Sequence[VenuePositionRow], ts: int
    ) -> None:
        """They are those of the books."""

    # -- events and states, which have no account of their own

    async def record_risk_event(self, event: RiskEvent) -> None:
        await self._live.record_risk_event(
            msgspec.structs.replace(
                event,
                event_id=f"paper:{event.event_id}",
                trader_id=event.trader_id or f"all{PAPER}",
                detail=f"on paper: {event.detail}",
            )
        )

    async def risk_event(self, event_id: str) -> RiskEvent | None:
        return await self._live.risk_event(f"paper:{event_id}")

    async def save_state(self, kind: KeepState, trader_id: str, state: bytes, ts: int) -> None:
        await self._live.save_state(kind, trader_id + PAPER, state, ts)

    async def load_states(self, kind: KeepState) -> dict[str, bytes]:
        states = await self._live.load_states(kind)
        return {name.removesuffix(PAPER): state for name, state in states.items() if name.endswith(PAPER)}


def _of_live_cycle(intent: OrderIntent) -> OrderIntent:
    return (
        msgspec.structs.replace(intent, cycle_id=live_cycle(intent.cycle_id)) if intent.cycle_id else intent
    )


def _linked(order: Order) -> Order:
    return msgspec.structs.replace(order, intent=_of_live_cycle(order.intent))
