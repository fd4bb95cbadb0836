"""Writes down how the account stands at the venue: balances that moved, positions that changed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from engine.core.errors import StoreUnavailable
from engine.exchange.context import ExchangeContext
from engine.exchange.ports import VenueBalance, VenuePosition
from engine.journal.ports import VenuePositionRow
from engine.journal.snapshots import BalanceSnapshot

_NET: Final = "net"


class AccountRecords:
    """Never waits for the database: what could not be written now is compared again at the next look."""

    def __init__(self, context: ExchangeContext, account_id: str) -> None:
        self._context, self._account_id = context, account_id
        self._positions: frozenset[tuple[object, ...]] | None = None  # as last written

    async def record(self, positions: Sequence[VenuePosition], balance: VenueBalance) -> None:
        """One look at the account; most looks write nothing."""
        journal, now = self._context.journal, self._context.clock.now_ns()
        snapshot = BalanceSnapshot(
            account_id=self._account_id,
            ts=now,
            cash=balance.cash,
            equity=balance.equity,
            available=balance.available,
        )
        held = [position for position in positions if position.contracts]
        found = frozenset((p.symbol, p.position_side, p.contracts, p.average_price, p.leverage) for p in held)
        try:
            if found != self._positions:
                await journal.record_venue_positions(self._account_id, [_row(p) for p in held], now)
                self._positions = found
            if self._context.compression.keeps(snapshot):
                await journal.record_balance(snapshot)
        except StoreUnavailable:
            pass  # the pool has said so; orders wait for the database, a record of the account does not


def _row(position: VenuePosition) -> VenuePositionRow:
    return VenuePositionRow(
        symbol=position.symbol,
        position_side=position.position_side.value if position.position_side else _NET,
        contracts=position.contracts,
        average_price=position.average_price,
        unrealised=position.unrealised,
        leverage=position.leverage or None,
        liquidation_price=position.liquidation_price or None,
    )
