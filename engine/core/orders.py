"""Orders: what is wanted, what the venue said, and the one function that joins them."""

from __future__ import annotations

import hashlib
from decimal import Decimal
from enum import StrEnum
from functools import lru_cache
from typing import Final

import msgspec

from engine.core.market import Side

ZERO: Final = Decimal(0)
_PREFIX: Final = "ew"
_ID_LENGTH: Final = 26
UNATTRIBUTED: Final = "unattributed"  # the trader id under which unexplained fills are booked


class PositionSide(StrEnum):
    """Side of a virtual position. Always explicit here, whatever position mode the venue account has."""

    LONG = "long"
    SHORT = "short"

    @property
    def sign(self) -> int:
        return 1 if self is PositionSide.LONG else -1

    @property
    def entry_side(self) -> Side:
        return Side.BUY if self is PositionSide.LONG else Side.SELL

    @property
    def exit_side(self) -> Side:
        return self.entry_side.opposite

    @staticmethod
    def closed_by(side: Side) -> PositionSide:
        """The side from which an order that closes something takes."""
        return PositionSide.LONG if side is Side.SELL else PositionSide.SHORT


class Purpose(StrEnum):
    ENTRY = "entry"
    EXIT = "exit"  # a decision, a breaker or an operator closes
    STOP = "stop"
    TARGET = "target"
    LIQUIDATION = "liquidation"
    EXTERNAL = "external"  # made at the venue by somebody else

    @property
    def reduces(self) -> bool:
        """True for all that can only make a position smaller."""
        return self not in {Purpose.ENTRY, Purpose.EXTERNAL}


class OrderType(StrEnum):
    MARKET = "market"
    LIMIT = "limit"
    POST_ONLY = "post_only"
    IOC = "ioc"
    FOK = "fok"


class StopMove(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """Where the stop of an open position belongs from now on. The entry's id says which position is meant."""

    move_id: str
    cycle_id: str
    trader_id: str
    account_id: str
    symbol: str
    position_side: PositionSide
    entry_client_order_id: str
    stop_loss: Decimal
    ts_created: int


class OrderState(StrEnum):
    """FIX order states. PENDING_NEW also stands for «outcome unknown»."""

    PENDING_NEW = "PENDING_NEW"
    NEW = "NEW"
    PARTIALLY_FILLED = "PARTIALLY_FILLED"
    FILLED = "FILLED"
    CANCELED = "CANCELED"
    REJECTED = "REJECTED"
    EXPIRED = "EXPIRED"

    @property
    def done(self) -> bool:
        return self in _DONE


_DONE: Final = frozenset({OrderState.FILLED, OrderState.CANCELED, OrderState.REJECTED, OrderState.EXPIRED})


@lru_cache(maxsize=4096)  # asked for again at every step of an order
def client_order_id(intent_id: str) -> str:
    """The venue-side name of an intent: 26 letters and digits, the same for the same intent, for ever.

    OKX takes at most 32 case-sensitive alphanumerics. «ew» marks it as ours.
    """
    return _PREFIX + hashlib.sha256(intent_id.encode()).hexdigest()[: _ID_LENGTH - len(_PREFIX)]


def stop_client_id(entry_id: str, attempt: int = 0) -> str:
    """Client id of the protection (stop and target in one) of an entry: the owner can be read back.

    `attempt` counts the standalone replacements of an attached protection: `…s`, `…s1`, `…s2`.
    """
    return f"{entry_id}s{attempt or ''}"


def entry_of(client_id: str) -> str | None:
    """Client order id of the entry that a protection's id belongs to; None when it is no such id."""
    owner, letter, attempt = client_id[:_ID_LENGTH], client_id[_ID_LENGTH:][:1], client_id[_ID_LENGTH + 1 :]
    ours = len(owner) == _ID_LENGTH and owner.startswith(_PREFIX)
    return owner if ours and letter == "s" and (not attempt or attempt.isdigit()) else None


def stop_attempt(client_id: str) -> int:
    """Which replacement a protection's id names; 0 for one that came attached to its entry."""
    return int(client_id[_ID_LENGTH + 1 :] or 0)


class OrderIntent(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """An order that risk has approved. Sizes in contracts, prices in quote currency.

    `ts_expires`: not to be sent after it (entries go stale; exits do not: 0).
    """

    intent_id: str
    cycle_id: str  # the decision it comes from; "" when a breaker, protection or operator asked
    trader_id: str
    account_id: str
    symbol: str
    side: Side
    position_side: PositionSide
    purpose: Purpose
    order_type: OrderType
    contracts: Decimal
    price: Decimal | None = None
    leverage: Decimal = Decimal(1)
    stop_loss: Decimal | None = None
    take_profit: Decimal | None = None
    decision_price: Decimal | None = None  # mark when the decision was made, for slippage
    confidence: Decimal | None = None
    risk_usd: Decimal | None = None
    invalidation: str = ""
    ts_created: int
    ts_expires: int = 0

    @property
    def client_order_id(self) -> str:
        return client_order_id(self.intent_id)


class Order(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """An order of ours, or one of the venue's that belongs to a trader (a stop that fired)."""

    client_order_id: str
    intent: OrderIntent
    state: OrderState = OrderState.PENDING_NEW
    venue_state: OrderState = OrderState.PENDING_NEW  # what the venue last claimed; never ahead of it
    venue_order_id: str = ""
    filled: Decimal = ZERO  # sum of the booked fills
    claimed: Decimal = ZERO  # cumulative fill as the venue says; more than `filled`: fills are missing
    average_price: Decimal | None = None
    fees: Decimal = ZERO  # venue's sign: negative was charged
    reason: str = ""  # why it was rejected or cancelled, or is smaller than asked
    ts_sent: int = 0
    ts_acked: int = 0
    ts_updated: int = 0

    @property
    def open_contracts(self) -> Decimal:
        """What may still fill: full size while the outcome is unknown."""
        return ZERO if self.state.done else self.intent.contracts - self.filled


class Fill(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """One execution, booked once by `fill_id` (`symbol:venue order:venue trade`)."""

    fill_id: str
    client_order_id: str
    venue_order_id: str
    trader_id: str
    account_id: str
    symbol: str
    side: Side
    position_side: PositionSide
    purpose: Purpose
    contracts: Decimal
    price: Decimal
    contract_value: Decimal
    fee: Decimal  # in the settle currency, venue's sign: negative was charged
    maker: bool
    ts_event: int
    ts_recv: int = 0

    @property
    def notional(self) -> Decimal:
        return self.contracts * self.contract_value * self.price


class VenueFill(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """One execution as the venue reports it, not yet given to a trader. `contracts` is positive."""

    trade_id: str
    contracts: Decimal
    price: Decimal
    fee: Decimal
    maker: bool
    ts_event: int


class ExecutionReport(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """What the venue said of one order, by any path (ack, push, query). Newer ones may come first.

    `client_order_id` is ours; for an order that a stop of ours triggered it is the stop's client id
    (see stop_client_id), and it is "" for somebody else's order. `position_side` is None when the
    account nets. `filled` is cumulative. `contracts` and `price` are the order's now, amendments included;
    a report that answers an amendment names its `request_id`, and `amended` tells whether it was done.
    `raw` is the venue's own record behind the report, for the journal; b"" where no venue spoke.
    """

    client_order_id: str
    venue_order_id: str
    symbol: str
    side: Side
    position_side: PositionSide | None
    state: OrderState
    contracts: Decimal
    price: Decimal | None = None  # limit of the order; None at market, and where it was not told
    filled: Decimal = ZERO
    average_price: Decimal | None = None
    fill: VenueFill | None = None
    request_id: str = ""
    amended: bool | None = None
    reason: str = ""
    reason_code: str = ""
    category: Purpose | None = None  # LIQUIDATION for liquidation and ADL, STOP / TARGET when triggered
    ts_event: int = 0
    ts_recv: int = 0
    raw: bytes = b""


_RANK: Final = {
    OrderState.PENDING_NEW: 0,
    OrderState.NEW: 1,
    OrderState.PARTIALLY_FILLED: 2,
    OrderState.FILLED: 3,
    OrderState.CANCELED: 3,
    OrderState.REJECTED: 3,
    OrderState.EXPIRED: 3,
}


def apply(order: Order, report: ExecutionReport, fill: Fill | None = None) -> Order:
    """The order after the report; equal to `order` when the report says nothing new.

    `fill` is the report's execution when it was not booked before. Only fills move `filled`: when the
    venue claims more than was booked, the order stays open (its exposure counts) until the missing fills
    are in. Monotone: a final state never changes, older reports undo nothing, and a cancel that crosses a
    complete fill ends as FILLED.
    """
    venue_state = report.state if _RANK[report.state] > _RANK[order.venue_state] else order.venue_state
    filled, average = order.filled, order.average_price
    if fill is not None:
        filled += fill.contracts
        average = ((average or ZERO) * order.filled + fill.price * fill.contracts) / filled
    claimed = max(order.claimed, report.filled, filled)
    state = order.state
    if not state.done:
        state = _state(order.intent.contracts, filled, claimed, venue_state)
    return msgspec.structs.replace(
        order,
        state=state,
        venue_state=venue_state,
        venue_order_id=order.venue_order_id or report.venue_order_id,
        filled=filled,
        claimed=claimed,
        average_price=average,
        fees=order.fees + (fill.fee if fill else ZERO),
        reason=(order.reason or report.reason) if order.state.done else (report.reason or order.reason),
        ts_acked=order.ts_acked or report.ts_event,
        ts_updated=max(order.ts_updated, report.ts_event),
    )


def _state(contracts: Decimal, filled: Decimal, claimed: Decimal, venue_state: OrderState) -> OrderState:
    if filled >= contracts:
        return OrderState.FILLED
    if venue_state.done and venue_state is not OrderState.FILLED and filled >= claimed:
        return venue_state
    if filled:
        return OrderState.PARTIALLY_FILLED
    return OrderState.PENDING_NEW if venue_state is OrderState.PENDING_NEW else OrderState.NEW
