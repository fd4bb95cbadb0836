"""Everything the venue core remembers, in one tree that can be written down and read back.

These structs are mutable and stay inside the package; what leaves it are the immutable `records`.
"""

from collections.abc import Iterator
from decimal import ROUND_HALF_EVEN, Decimal
from typing import TypeVar

import msgspec

from engine.core.instruments import Instrument
from engine.core.market import Side
from engine.exchange.matching.book import Book
from engine.exchange.matching.options import MatchingOptions
from engine.exchange.matching.records import (
    Bill,
    ClosedPosition,
    Event,
    VenueAlgo,
    VenueFill,
    VenueOrder,
)
from engine.exchange.matching.types import AmendRequest, PosSide, TdMode, VenueRefusal
from engine.exchange.ports import PositionMode

ZERO = Decimal(0)
Record = TypeVar("Record")
_MONEY_STEP = Decimal("1e-12")
_SLACK = 10  # histories are cut when a tenth too long, so that cutting costs nothing per entry


def money(amount: Decimal) -> Decimal:
    """Amount as booked: at most 12 decimals, so that sums of cash stay exact.

    The rounding is named: another library of the process may have changed the default.
    """
    rounded = amount.quantize(_MONEY_STEP, ROUND_HALF_EVEN)
    return amount if rounded == amount else rounded


class Holding(msgspec.Struct, kw_only=True):
    """A position. `contracts` and `cost` are signed; `cost` is the exact USDT value that it was opened at."""

    pos_id: str
    symbol: str
    td_mode: TdMode
    pos_side: PosSide
    contracts: Decimal = ZERO
    cost: Decimal = ZERO
    margin: Decimal = ZERO  # its own, where it is isolated
    pnl: Decimal = ZERO
    fee: Decimal = ZERO
    funding: Decimal = ZERO
    trade_id: str = ""
    ts_created: int = 0
    ts_updated: int = 0
    max_contracts: Decimal = ZERO
    opened: Decimal = ZERO  # contracts, and contracts * price, of the executions that opened and closed it
    opened_value: Decimal = ZERO
    closed: Decimal = ZERO
    closed_value: Decimal = ZERO

    @property
    def exit_side(self) -> Side:
        return Side.SELL if self.contracts > 0 else Side.BUY


class Resting(msgspec.Struct, kw_only=True):
    """An order in the book. `queue_ahead` contracts of others trade first; None: beyond what is visible."""

    account: str
    order_id: str
    side: Side
    price: Decimal
    queue_ahead: Decimal | None


class Market(msgspec.Struct, kw_only=True):
    """The outside market of one swap, and our orders in it by time."""

    instrument: Instrument
    book: Book
    last: Decimal | None = None
    mark: Decimal | None = None
    index: Decimal | None = None
    resting: list[Resting] = []
    trades: int = 0

    @property
    def mark_price(self) -> Decimal | None:
        """Mark; before the first one the last trade, else the middle of the book."""
        if self.mark is not None:
            return self.mark
        return self.last if self.last is not None else self.book.middle()


class Travelling(msgspec.Struct, kw_only=True):
    """A request on its way. With neither `cancel` nor `amend` the order itself enters the book."""

    ts: int
    account: str
    order_id: str
    cancel: bool = False
    amend: AmendRequest | None = None


def leverage_key(symbol: str, td_mode: TdMode, pos_side: PosSide) -> str:
    """Under which name an account keeps a leverage."""
    return symbol if td_mode is TdMode.CROSS else f"{symbol}/{td_mode}/{pos_side}"


class Account(msgspec.Struct, kw_only=True):
    name: str
    cash: Decimal
    position_mode: PositionMode
    level: int
    default_leverage: Decimal
    leverages: dict[str, Decimal] = {}
    holdings: dict[str, Holding] = {}
    orders: dict[str, VenueOrder] = {}  # pending
    done_orders: dict[str, VenueOrder] = {}
    client_orders: dict[str, str] = {}  # client id → newest order id
    algos: dict[str, VenueAlgo] = {}  # waiting
    done_algos: dict[str, VenueAlgo] = {}
    fills: list[VenueFill] = []
    bills: list[Bill] = []
    closed: list[ClosedPosition] = []
    cancel_all_ts: int = 0  # dead man's switch, 0 is off

    def leverage(
        self, symbol: str, td_mode: TdMode = TdMode.CROSS, pos_side: PosSide = PosSide.NET
    ) -> Decimal:
        """Of cross margin a symbol has one, of isolated margin each side its own."""
        return self.leverages.get(leverage_key(symbol, td_mode, pos_side), self.default_leverage)

    def holding(self, symbol: str, td_mode: TdMode, pos_side: PosSide) -> Holding | None:
        """The position, also when it is flat by now."""
        return self.holdings.get(f"{symbol}/{td_mode}/{pos_side}")

    def open_holdings(self) -> Iterator[Holding]:
        return (holding for holding in self.holdings.values() if holding.contracts)

    def order(self, order_id: str, client_order_id: str) -> VenueOrder | None:
        """By either id, pending or done."""
        key = order_id or self.client_orders.get(client_order_id, "")
        return self.orders.get(key) or self.done_orders.get(key)

    def algo(self, algo_id: str, client_id: str) -> VenueAlgo | None:
        """By either id, the waiting ones first, then the newest."""
        if algo_id:
            return self.algos.get(algo_id) or self.done_algos.get(algo_id)
        if not client_id:
            return None
        for kept in (self.algos, self.done_algos):
            found = [algo for algo in kept.values() if algo.request.client_id == client_id]
            if found:
                return found[-1]
        return None


class VenueState(msgspec.Struct, kw_only=True):
    now: int = 0
    sequence: int = 0
    markets: dict[str, Market] = {}
    accounts: dict[str, Account] = {}
    travelling: list[Travelling] = []  # by time
    partial_fills: bool = False  # a fault on demand: see MatchingCore.set_partial_fills
    undelivered: list[Event] = []  # caused by the passing of time in a call that was then refused

    def market(self, symbol: str) -> Market:
        """Raises VenueRefusal 51001."""
        market = self.markets.get(symbol)
        if market is None:
            raise VenueRefusal("51001", f"Instrument ID {symbol} does not exist")
        return market

    def account(self, name: str) -> Account:
        """Raises VenueRefusal 50119."""
        account = self.accounts.get(name)
        if account is None:
            raise VenueRefusal("50119", "API key doesn't exist")
        return account


class Step(msgspec.Struct):
    """One call at work: what is known, by which rules, at what time, and what it caused so far."""

    state: VenueState
    options: MatchingOptions
    ts: int
    events: list[Event] = []

    def emit(self, event: Event) -> None:
        self.events.append(event)

    def new_id(self) -> str:
        """Ids of orders, algos, bills and positions: digits that only grow."""
        self.state.sequence += 1
        return str(self.options.first_id + self.state.sequence)

    def new_trade_id(self, market: Market) -> int:
        market.trades += 1
        return self.options.first_trade_id + market.trades

    def keep(self, kept: list[Record], record: Record) -> None:
        """Append to a bounded history: the oldest go."""
        kept.append(record)
        limit = self.options.history_limit
        if len(kept) > limit + max(1, limit // _SLACK):
            del kept[:-limit]

    def archive_order(self, account: Account, order: VenueOrder) -> None:
        """Move an order that ended to the history; the oldest beyond the limit is forgotten."""
        account.orders.pop(order.order_id, None)
        account.done_orders[order.order_id] = order
        if len(account.done_orders) > self.options.history_limit:
            oldest = account.done_orders.pop(next(iter(account.done_orders)))
            if account.client_orders.get(oldest.client_order_id) == oldest.order_id:
                del account.client_orders[oldest.client_order_id]

    def archive_algo(self, account: Account, algo: VenueAlgo) -> None:
        """Move an algo that ended to the history; the oldest beyond the limit is forgotten."""
        account.algos.pop(algo.algo_id, None)
        account.done_algos[algo.algo_id] = algo
        if len(account.done_algos) > self.options.history_limit:
            del account.done_algos[next(iter(account.done_algos))]
