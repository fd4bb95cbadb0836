"""Words of the venue core: what is asked of it. What it keeps and tells is in `records`.

Money, prices and sizes are Decimal; sizes are contracts; times are UTC nanoseconds. Vocabulary and codes
are OKX's (okx.com/docs-v5), because the wire simulator says them on; ids are strings of decimal digits.
Signs: a position's `contracts` is negative when short, in either position mode; a fee below 0 is a
charge, above 0 a rebate; a bill's amount is what it adds to cash.
"""

from decimal import Decimal
from enum import StrEnum

import msgspec

from engine.core.market import Side
from engine.exchange.ports import PositionMode


class TdMode(StrEnum):
    CROSS = "cross"
    ISOLATED = "isolated"  # a position answers with its own margin alone


class PosSide(StrEnum):
    NET = "net"
    LONG = "long"
    SHORT = "short"


class OrdType(StrEnum):
    MARKET = "market"
    LIMIT = "limit"
    POST_ONLY = "post_only"
    IOC = "ioc"
    FOK = "fok"
    OPTIMAL_LIMIT_IOC = "optimal_limit_ioc"  # a market order by another name


class TriggerType(StrEnum):
    LAST = "last"
    MARK = "mark"
    INDEX = "index"


class AlgoType(StrEnum):
    CONDITIONAL = "conditional"  # one of take profit and stop loss; given both, the stop counts
    OCO = "oco"
    TRIGGER = "trigger"
    MOVE_ORDER_STOP = "move_order_stop"


class VenueRefusal(Exception):
    """The venue does not take the request. `code` is OKX's sCode, `message` its sMsg."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message


class AccountSpec(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """An account as it is opened. `level` is OKX's acctLv: 2 futures mode, 3 multi-currency margin."""

    account: str  # any name that is unique here: the simulator uses the API key
    balance: Decimal  # USDT
    position_mode: PositionMode = PositionMode.NET
    level: int = 2
    leverage: Decimal = Decimal(3)  # of symbols for which none was set


class AttachedAlgo(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """Take profit and stop loss that come to life when the parent order has filled.

    An order price of -1 means market. `attach_id` is given by the venue, leave it empty in a request.
    """

    client_id: str = ""
    attach_id: str = ""
    tp_trigger: Decimal | None = None
    tp_price: Decimal = Decimal(-1)
    tp_trigger_type: TriggerType = TriggerType.LAST
    sl_trigger: Decimal | None = None
    sl_price: Decimal = Decimal(-1)
    sl_trigger_type: TriggerType = TriggerType.LAST
    fail_code: str = ""  # given by the venue: why it will never come to life


class OrderRequest(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    symbol: str
    side: Side
    size: Decimal
    ord_type: OrdType
    price: Decimal | None = None  # ignored by market types
    td_mode: TdMode = TdMode.CROSS
    pos_side: PosSide = PosSide.NET
    client_order_id: str = ""
    reduce_only: bool = False
    tag: str = ""
    clamp_price: bool = False  # OKX pxAmendType 1: a price beyond the limits becomes the limit
    attached: tuple[AttachedAlgo, ...] = ()


class AttachedAmend(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """New triggers of an order's attached algo, found by `attach_id` or `client_id`; 0 removes that half."""

    client_id: str = ""
    attach_id: str = ""
    tp_trigger: Decimal | None = None
    tp_price: Decimal | None = None
    sl_trigger: Decimal | None = None
    sl_price: Decimal | None = None


class AmendRequest(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """Change of a resting order. `size` is the new total, filled part included. One id is enough."""

    symbol: str
    order_id: str = ""
    client_order_id: str = ""
    size: Decimal | None = None
    price: Decimal | None = None
    cancel_on_fail: bool = False
    req_id: str = ""
    clamp_price: bool = False
    attached: tuple[AttachedAmend, ...] = ()


class AlgoRequest(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """A standalone algo. `size` None with `close_fraction` 1 closes whatever the position then is.

    `trigger_*` belong to type trigger, `callback_*` and `active_price` to move_order_stop (ratio 0.01 is
    1 %), `tp_*` and `sl_*` to conditional and oco. An order price of -1 means market.
    """

    symbol: str
    side: Side
    algo_type: AlgoType
    size: Decimal | None = None
    close_fraction: Decimal | None = None
    td_mode: TdMode = TdMode.CROSS
    pos_side: PosSide = PosSide.NET
    client_id: str = ""
    reduce_only: bool = False
    cancel_on_close: bool = False  # cxlOnClosePos
    tag: str = ""
    tp_trigger: Decimal | None = None
    tp_price: Decimal = Decimal(-1)
    tp_trigger_type: TriggerType = TriggerType.LAST
    sl_trigger: Decimal | None = None
    sl_price: Decimal = Decimal(-1)
    sl_trigger_type: TriggerType = TriggerType.LAST
    trigger_price: Decimal | None = None
    trigger_type: TriggerType = TriggerType.LAST
    order_price: Decimal = Decimal(-1)
    callback_ratio: Decimal | None = None
    callback_spread: Decimal | None = None
    active_price: Decimal | None = None


class AlgoAmend(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """Change of a waiting algo (not of a trailing one). None keeps; a trigger of 0 removes that half."""

    symbol: str
    algo_id: str = ""
    client_id: str = ""
    size: Decimal | None = None
    tp_trigger: Decimal | None = None
    tp_price: Decimal | None = None
    tp_trigger_type: TriggerType | None = None
    sl_trigger: Decimal | None = None
    sl_price: Decimal | None = None
    sl_trigger_type: TriggerType | None = None
    trigger_price: Decimal | None = None
    trigger_type: TriggerType | None = None
    order_price: Decimal | None = None
    cancel_on_fail: bool = False
    req_id: str = ""


class CloseRequest(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """Close the whole position at market. `auto_cancel` first cancels the pending orders that close it."""

    symbol: str
    td_mode: TdMode = TdMode.CROSS
    pos_side: PosSide = PosSide.NET
    auto_cancel: bool = False
    client_order_id: str = ""
    tag: str = ""


class LeverageRequest(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """Of cross margin `pos_side` does not matter; of isolated margin each side has its own leverage."""

    symbol: str
    leverage: Decimal
    td_mode: TdMode = TdMode.CROSS
    pos_side: PosSide = PosSide.NET


class MarginRequest(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """USDT to add to the margin of an isolated position; below 0 to take away."""

    symbol: str
    pos_side: PosSide
    amount: Decimal
