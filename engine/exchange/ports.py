"""What the order path asks of a venue. OKX, the paper venue and any later one implement it.

Errors of every request: Rejected (final), Unavailable (surely not taken), OutcomeUnknown (ask, never
send again); see engine.core.errors.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from decimal import Decimal
from enum import StrEnum
from typing import Protocol

import msgspec

from engine.core.cash import VenueFunding, VenueTransfer
from engine.core.errors import VenueError
from engine.core.instruments import FeeTier, Instrument
from engine.core.market import Candle, MarketEvent
from engine.core.orders import ExecutionReport, Order, PositionSide


class PositionMode(StrEnum):
    NET = "net"
    LONG_SHORT = "long_short"


class VenuePosition(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """An open position at the venue. `contracts` is signed (short is negative), whatever the mode.

    `position_side` is None in net mode.
    """

    symbol: str
    position_side: PositionSide | None
    contracts: Decimal
    average_price: Decimal
    mark_price: Decimal | None
    unrealised: Decimal | None
    leverage: Decimal | None = None
    liquidation_price: Decimal | None = None
    margin: Decimal | None = None
    ts_event: int = 0


class VenueBalance(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """Settlement currency of the account. `cash` excludes unrealised profit, `equity` includes it."""

    currency: str
    cash: Decimal
    equity: Decimal
    available: Decimal
    ts_event: int = 0


class StreamStatus(msgspec.Struct, frozen=True, gc=False):
    """The private stream came up (synchronised) or went down; what happened meanwhile must be asked for."""

    connected: bool
    ts: int


class Protection(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """A stop, or stop and target, resting at the venue for one entry. Ids as in stop_client_id.

    `stop_loss` of a trailing one is where it stands now, None before its activation.
    """

    client_id: str  # of the stop (or of the pair)
    venue_id: str
    symbol: str
    position_side: PositionSide | None
    contracts: Decimal
    stop_loss: Decimal | None
    take_profit: Decimal | None
    trailing: bool = False


class Trailing(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """A stop that follows the best price since it was placed, or since `activation` was reached.

    It fires at `ratio` (0.01: 1 %) or at `distance` (quote currency) from that price: give one of them.
    """

    ratio: Decimal | None = None
    distance: Decimal | None = None
    activation: Decimal | None = None


class ProtectionRequest(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """A standalone stop, target, both in one, or a trailing stop alone, for a position that has none."""

    client_id: str
    symbol: str
    position_side: PositionSide
    contracts: Decimal
    stop_loss: Decimal | None = None
    take_profit: Decimal | None = None
    trailing: Trailing | None = None


class Amendment(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """What to change of a resting order; None leaves it as it is.

    `contracts` is the new total, what has filled included: at or below the filled part the order is done.
    `request_id` (1 to 32 letters and digits) comes back in the report of the change.
    """

    request_id: str
    contracts: Decimal | None = None
    price: Decimal | None = None


VenueEvent = ExecutionReport | VenuePosition | VenueBalance | VenueFunding | StreamStatus


class Venue(Protocol):
    """One account at one venue, for money: everything here is Decimal.

    `run` owns the sockets and ends only with an error; `events` gives what they bring, in order, from a
    bounded queue (a full queue drops the connection, and a StreamStatus tells that there was a gap).
    """

    account_id: str

    async def run(self) -> None: ...

    def events(self) -> AsyncIterator[VenueEvent]: ...

    async def check_account(self) -> None:
        """Refuse what cannot work: wrong key, environment, permissions, position mode, clock. Asked once.

        Raises VenueMisconfigured with the remedy, Unavailable when the venue is away.
        """
        ...

    async def fees(self) -> FeeTier:
        """What trades cost the account now; the dearest where it differs by symbol."""
        ...

    async def instruments(self) -> tuple[Instrument, ...]: ...

    async def balance(self) -> VenueBalance: ...

    async def positions(self) -> tuple[VenuePosition, ...]: ...

    async def set_leverage(self, symbol: str, leverage: Decimal) -> None:
        """Both sides of `symbol`, cross margin. Equal leverage is success."""
        ...

    async def submit(self, order: Order) -> ExecutionReport:
        """Send a journalled order with its stop and target attached; return the acknowledgement.

        An order that reaches the venue after its `ts_expires` is not taken, however long it was under way.
        """
        ...

    async def cancel(self, order: Order) -> None:
        """Ask for it; an event or a query tells how the order ended. Rejected: it is gone already."""
        ...

    async def amend(self, order: Order, change: Amendment) -> None:
        """Ask for it; the order is as it was until an event or a query says otherwise.

        Rejected: the order stays as it is, or is gone. OutcomeUnknown: query it, do not amend again before.
        """
        ...

    async def submit_many(self, orders: Sequence[Order]) -> tuple[ExecutionReport | VenueError, ...]:
        """As `submit` for each; every order has its own answer, at its place. Raises nothing of the venue."""
        ...

    async def cancel_many(self, orders: Sequence[Order]) -> tuple[VenueError | None, ...]:
        """As `cancel` for each; None where it was taken."""
        ...

    async def amend_many(self, changes: Sequence[tuple[Order, Amendment]]) -> tuple[VenueError | None, ...]:
        """As `amend` for each; None where it was taken."""
        ...

    async def query(self, order: Order) -> ExecutionReport | None:
        """What the venue knows of the order by client id, its history included. None: it never had it."""
        ...

    async def open_orders(self) -> tuple[ExecutionReport, ...]: ...

    async def executions_since(self, ts_ns: int) -> tuple[ExecutionReport, ...]:
        """One report with its fill for each execution since `ts_ns`, oldest first."""
        ...

    async def funding_since(self, ts_ns: int) -> tuple[VenueFunding, ...]: ...

    async def transfers_since(self, ts_ns: int) -> tuple[VenueTransfer, ...]:
        """What moved the cash of the settlement currency other than trades and funding, oldest first."""
        ...

    async def protections(self) -> tuple[Protection, ...]:
        """All stops and targets that rest for the account."""
        ...

    async def protect(self, request: ProtectionRequest) -> Protection: ...

    async def amend_protection(self, protection: Protection, request: ProtectionRequest) -> None:
        """Change size and trigger prices of a resting protection in place: it is never away.

        The request's client_id is ignored. Rejected when it has fired, is gone, or is a trailing one.
        """
        ...

    async def cancel_protection(self, protection: Protection) -> bool:
        """True when it was cancelled, False when it is gone already (fired, or never there)."""
        ...


class MarketFeed(Protocol):
    """Public market data of a venue."""

    async def run(self) -> None: ...

    def events(self) -> AsyncIterator[Sequence[MarketEvent]]:
        """Everything that was subscribed, in arrival order: all that waits in a bounded queue, at least one.

        Full: the oldest tick-like events are dropped and counted, never a closed candle or a FeedStatus.
        """
        ...

    async def instruments(self) -> tuple[Instrument, ...]: ...

    async def candles(self, symbol: str, timeframe: str, limit: int) -> tuple[Candle, ...]:
        """The newest `limit` closed candles, oldest first."""
        ...
