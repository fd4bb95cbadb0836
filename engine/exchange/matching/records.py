"""What the venue core keeps and tells: orders, algos, fills, positions, balances, bills, and events.

All of it is immutable; a change is a new record. See `types` for units and signs.
"""

from decimal import Decimal
from enum import StrEnum

import msgspec

from engine.core.market import Side
from engine.exchange.matching.types import AlgoRequest, AttachedAlgo, OrdType, PosSide, TdMode

ZERO = Decimal(0)


class OrdState(StrEnum):
    LIVE = "live"
    PARTIALLY_FILLED = "partially_filled"
    FILLED = "filled"
    CANCELED = "canceled"

    @property
    def done(self) -> bool:
        return self in {OrdState.FILLED, OrdState.CANCELED}


class AlgoState(StrEnum):
    LIVE = "live"
    EFFECTIVE = "effective"
    CANCELED = "canceled"
    ORDER_FAILED = "order_failed"

    @property
    def done(self) -> bool:
        return self is not AlgoState.LIVE


class BillType(StrEnum):
    TRANSFER = "transfer"
    TRADE = "trade"
    FUNDING = "funding"
    LIQUIDATION = "liquidation"  # what the insurance fund pays when a liquidation leaves less than nothing


class VenueFill(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """One execution. `pnl` is realised by it before fees; a liquidation's `trade_id` is negative."""

    account: str
    symbol: str
    trade_id: str
    order_id: str
    client_order_id: str
    bill_id: str
    side: Side
    pos_side: PosSide
    td_mode: TdMode
    price: Decimal
    size: Decimal
    fee: Decimal
    pnl: Decimal
    exec_type: str  # T taker, M maker, "" liquidation
    mark_price: Decimal | None
    tag: str
    ts: int


class VenueOrder(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """An order as the venue shows it. `last_fill` is its newest execution; sums are over all of them."""

    account: str
    order_id: str
    symbol: str
    side: Side
    pos_side: PosSide
    td_mode: TdMode
    ord_type: OrdType
    size: Decimal
    price: Decimal | None
    leverage: Decimal
    ts_created: int
    ts_updated: int
    client_order_id: str = ""
    tag: str = ""
    reduce_only: bool = False
    state: OrdState = OrdState.LIVE
    filled: Decimal = ZERO
    filled_value: Decimal = ZERO  # exact sum of contracts * price
    fee: Decimal = ZERO
    pnl: Decimal = ZERO
    last_fill: VenueFill | None = None
    cancel_source: str = ""
    amend_source: str = ""
    amend_result: str = ""
    req_id: str = ""
    source: str = ""  # 6 trigger, 7 take profit or stop loss, 25 trailing
    category: str = "normal"  # or full_liquidation, partial_liquidation
    algo_id: str = ""  # of the algo that sent it
    algo_client_id: str = ""
    attached: tuple[AttachedAlgo, ...] = ()

    @property
    def remaining(self) -> Decimal:
        return self.size - self.filled

    @property
    def average_price(self) -> Decimal | None:
        return self.filled_value / self.filled if self.filled else None


class VenueAlgo(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """An algo as the venue shows it: the request it came from, and what became of it.

    `request` is the newest wish (amendments included); a parent's attached algo is a request too.
    """

    account: str
    algo_id: str
    request: AlgoRequest
    leverage: Decimal
    ts_created: int
    ts_updated: int
    state: AlgoState = AlgoState.LIVE
    parent_order_id: str = ""  # of the order that it was attached to
    ts_armed: int = 0  # watches prices from here on
    trigger_up: bool = True  # type trigger: fires at or above its price, else at or below
    active: bool = True  # trailing: the activation price was reached
    extreme: Decimal | None = None  # trailing: best price since activation
    trigger_ts: int = 0
    actual_price: Decimal | None = None  # price that fired it
    actual_side: str = ""  # tp or sl
    actual_size: Decimal | None = None
    order_id: str = ""  # of the order that it sent
    fail_code: str = ""
    amend_result: str = ""
    req_id: str = ""

    @property
    def move_trigger(self) -> Decimal | None:
        """Trailing: the price that fires it now; None before activation."""
        request = self.request
        if self.extreme is None:
            return None
        if request.callback_ratio is not None:
            return self.extreme * (1 + request.side.sign * request.callback_ratio)
        return self.extreme + request.side.sign * (request.callback_spread or ZERO)


class VenuePosition(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """A position with everything derived at the current mark. `contracts` 0: just closed.

    `pnl`, `fee` and `funding` are sums since it was opened; `realised` is their sum.
    """

    account: str
    pos_id: str
    symbol: str
    td_mode: TdMode
    pos_side: PosSide
    contracts: Decimal  # signed
    available: Decimal  # contracts that no pending order is about to close
    average_price: Decimal | None
    mark_price: Decimal | None
    last_price: Decimal | None
    unrealised: Decimal
    unrealised_ratio: Decimal | None
    leverage: Decimal
    liquidation_price: Decimal | None
    break_even_price: Decimal | None
    notional: Decimal
    initial_margin: Decimal
    margin: Decimal | None  # its own, None under cross margin
    maintenance_margin: Decimal
    margin_ratio: Decimal | None
    trade_id: str
    pnl: Decimal
    fee: Decimal
    funding: Decimal
    realised: Decimal
    ts_created: int
    ts_updated: int


class ClosedPosition(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """What was made with a position that was closed, for the history. `direction` of the last holding."""

    account: str
    pos_id: str
    symbol: str
    td_mode: TdMode
    pos_side: PosSide
    direction: PosSide
    leverage: Decimal
    open_average: Decimal
    close_average: Decimal
    max_contracts: Decimal
    closed_contracts: Decimal
    pnl: Decimal
    fee: Decimal
    funding: Decimal
    liquidated: bool
    ts_created: int
    ts_updated: int


class Balance(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """The USDT of an account. `equity` = `cash` + `unrealised`; `available` can open new margin.

    `isolated`, the margins of isolated positions, is part of `cash`; initial and maintenance margin and the
    ratio are of the cross positions.
    """

    account: str
    cash: Decimal
    equity: Decimal
    unrealised: Decimal
    available: Decimal
    order_margin: Decimal
    isolated: Decimal
    isolated_unrealised: Decimal
    initial_margin: Decimal
    maintenance_margin: Decimal
    margin_ratio: Decimal | None  # liquidation at or below 1; None without a position
    notional: Decimal
    ts: int


class Bill(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """One change of cash. `amount` = `pnl` + `fee` (or the funding payment); `balance` is cash after it."""

    account: str
    bill_id: str
    bill_type: BillType
    sub_type: str  # OKX's subType: 1 buy, 2 sell, 3..6 open and close long/short, 100.. liquidation, 173/174
    amount: Decimal
    balance: Decimal
    ts: int
    symbol: str = ""
    td_mode: TdMode = TdMode.CROSS
    pos_side: PosSide = PosSide.NET
    size: Decimal = ZERO
    price: Decimal | None = None
    pnl: Decimal = ZERO
    fee: Decimal = ZERO
    position_change: Decimal = ZERO
    position_after: Decimal = ZERO
    order_id: str = ""
    client_order_id: str = ""
    trade_id: str = ""
    exec_type: str = ""
    tag: str = ""


class OrderChanged(msgspec.Struct, frozen=True, gc=False, tag="order"):
    """An order was accepted, filled a little, amended or ended. `fill` is the execution that caused it."""

    order: VenueOrder
    fill: VenueFill | None = None


class AlgoChanged(msgspec.Struct, frozen=True, gc=False, tag="algo"):
    algo: VenueAlgo


class FillMade(msgspec.Struct, frozen=True, gc=False, tag="fill"):
    """Comes right after the OrderChanged that carries the same fill."""

    fill: VenueFill


class PositionChanged(msgspec.Struct, frozen=True, gc=False, tag="position"):
    """Contracts, average or leverage changed, or money was booked on it; never for a new mark alone."""

    position: VenuePosition
    reason: str  # filled, liquidation, funding_fee, set_leverage


class BalanceChanged(msgspec.Struct, frozen=True, gc=False, tag="balance"):
    balance: Balance
    reason: str  # filled, liquidation, funding_fee, set_leverage, transferred


class BillBooked(msgspec.Struct, frozen=True, gc=False, tag="bill"):
    bill: Bill


class Liquidated(msgspec.Struct, frozen=True, gc=False, tag="liquidated"):
    """A margin ratio fell to 1: the account's orders are gone, its cross positions were reduced or closed.

    Of an isolated position, it alone was, and its orders are gone.
    """

    account: str
    symbols: tuple[str, ...]
    margin_ratio: Decimal
    insurance: Decimal  # what the insurance fund added so that no more than the margin is lost
    ts: int


Event = OrderChanged | AlgoChanged | FillMade | PositionChanged | BalanceChanged | BillBooked | Liquidated
