"""Money that moves without a fill: capital, transfers, funding; as the venue tells it and as it is booked."""

from __future__ import annotations

from decimal import Decimal
from enum import StrEnum

import msgspec

from engine.core.orders import PositionSide


class FlowKind(StrEnum):
    CAPITAL = "capital"  # start capital
    DEPOSIT = "deposit"
    WITHDRAWAL = "withdrawal"
    REBALANCE = "rebalance"


class CashFlow(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """Money that came into a virtual account (negative: left it) and is no profit."""

    flow_id: str
    trader_id: str
    account_id: str
    kind: FlowKind
    amount: Decimal
    ts: int


class Transfer(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """Capital to be moved between two traders of one account, at most `amount`: what is free by then."""

    transfer_id: str
    account_id: str
    giver: str
    taker: str
    amount: Decimal
    ts: int

    def flows(self, amount: Decimal) -> tuple[CashFlow, CashFlow]:
        """Both sides of moving `amount`; together nothing."""
        return self._flow("from", self.giver, -amount), self._flow("to", self.taker, amount)

    def _flow(self, end: str, trader_id: str, amount: Decimal) -> CashFlow:
        return CashFlow(
            flow_id=f"{self.transfer_id}:{end}",
            trader_id=trader_id,
            account_id=self.account_id,
            kind=FlowKind.REBALANCE,
            amount=amount,
            ts=self.ts,
        )


class VenueFunding(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """One funding charge of the account. `amount` negative was paid. `position_side` None in net mode."""

    bill_id: str
    symbol: str
    position_side: PositionSide | None
    amount: Decimal
    contracts: Decimal  # of the position it was charged on, positive
    mark_price: Decimal | None
    ts_event: int


class VenueTransfer(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """Cash that came to the venue account (negative: left it) by no trade and no funding.

    A deposit or withdrawal by a person, a conversion, what the venue's insurance fund paid.
    """

    bill_id: str
    amount: Decimal
    ts_event: int


class FundingPayment(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """A trader's part of one funding charge; negative was paid."""

    payment_id: str  # bill id and trader
    bill_id: str
    trader_id: str
    account_id: str
    symbol: str
    position_side: PositionSide
    amount: Decimal
    contracts: Decimal
    ts_event: int
