"""What the venue refuses before it takes a request, with OKX's codes."""

import re
from decimal import Decimal

import msgspec

from engine.core.instruments import Instrument
from engine.core.market import Side
from engine.exchange.matching.margin import (
    closable,
    is_exit,
    margins,
    opening_margin,
    pending_exits,
    tier_of,
)
from engine.exchange.matching.state import Account, Market, Step
from engine.exchange.matching.types import (
    AttachedAlgo,
    OrderRequest,
    OrdType,
    PosSide,
    TdMode,
    VenueRefusal,
)
from engine.exchange.ports import PositionMode

ZERO = Decimal(0)
MARKET_TYPES = frozenset({OrdType.MARKET, OrdType.OPTIMAL_LIMIT_IOC})
_MAX_PENDING, _MAX_PENDING_OF_SYMBOL = 4_000, 500
_MIN_DERIVATIVES_LEVEL = 2
_CLIENT_ID = re.compile(r"[A-Za-z0-9]{1,32}")
_TAG = re.compile(r"[A-Za-z0-9]{1,16}")


def check_names(client_id: str, tag: str) -> None:
    """Client ids: 1 to 32 letters and digits; tags: 1 to 16. Both may be absent."""
    if client_id and not _CLIENT_ID.fullmatch(client_id):
        raise VenueRefusal("51000", "Parameter clOrdId error")
    if tag and not _TAG.fullmatch(tag):
        raise VenueRefusal("51000", "Parameter tag error")


def check_account(account: Account, td_mode: TdMode, pos_side: PosSide) -> None:
    """Account level, margin mode and position side fit each other."""
    if account.level < _MIN_DERIVATIVES_LEVEL:
        raise VenueRefusal("51010", "Request unsupported under current account mode")
    if td_mode is TdMode.ISOLATED and account.level > _MIN_DERIVATIVES_LEVEL:
        raise VenueRefusal("50072", "Isolated margin mode is no longer supported in this account mode")
    if (pos_side is PosSide.NET) != (account.position_mode is PositionMode.NET):
        raise VenueRefusal("51000", "Parameter posSide error")


def check_size(instrument: Instrument, size: Decimal, ord_type: OrdType) -> None:
    if size <= 0:
        raise VenueRefusal("51000", "Parameter sz error")
    if size < instrument.min_size:
        raise VenueRefusal("51020", "Your order should meet or exceed the minimum order amount.")
    if size % instrument.lot_size:
        raise VenueRefusal("51121", "Order quantity must be a multiple of the lot size.")
    if ord_type in MARKET_TYPES:
        if instrument.max_market_size is not None and size > instrument.max_market_size:
            raise VenueRefusal("51202", "Market order amount exceeds the maximum amount.")
    elif instrument.max_limit_size is not None and size > instrument.max_limit_size:
        raise VenueRefusal("51101", "Order amount exceeds the maximum amount of limit orders.")


def price_limits(step: Step, market: Market) -> tuple[Decimal, Decimal] | None:
    """Highest buy and lowest sell price; None before there is a mark."""
    mark, band = market.mark_price, step.options.price_band
    if mark is None:
        return None
    highest = market.instrument.price_below(mark * (1 + band))
    lowest = market.instrument.price_above(mark * (1 - band))
    return highest, lowest


def clamped(step: Step, market: Market, side: Side, price: Decimal | None) -> Decimal | None:
    """The price, or the limit that it is beyond."""
    limits = price_limits(step, market)
    if price is None or limits is None:
        return price
    return min(price, limits[0]) if side is Side.BUY else max(price, limits[1])


def check_price(step: Step, market: Market, side: Side, price: Decimal | None) -> None:
    """A price is there, on the tick, and not more aggressive than the limits allow."""
    if price is None:
        raise VenueRefusal("51204", "The price can't be empty")
    if price <= 0:
        raise VenueRefusal("51000", "Parameter px error")
    if price % market.instrument.tick_size:
        raise VenueRefusal("51150", "The precision of the price exceeds the tick size.")
    limits = price_limits(step, market)
    if limits is None:
        return
    highest, lowest = limits
    if (side is Side.BUY and price > highest) or (side is Side.SELL and price < lowest):
        raise VenueRefusal(
            "51006",
            f"Order price is not within the price limit (max buy price: {highest}, min sell: {lowest})",
        )


def check_order(step: Step, account: Account, request: OrderRequest) -> OrderRequest:
    """Everything about a new order; returns it with the size that may be sent (`_check_exit`).

    Raises VenueRefusal; changes nothing.
    """
    market = step.state.market(request.symbol)
    if not market.instrument.live:
        raise VenueRefusal("51022", "Contract suspended")
    check_account(account, request.td_mode, request.pos_side)
    check_names(request.client_order_id, request.tag)
    if any(order.client_order_id == request.client_order_id != "" for order in account.orders.values()):
        raise VenueRefusal("51016", "Client order ID already exists.")
    check_size(market.instrument, request.size, request.ord_type)
    if request.clamp_price:
        price = clamped(step, market, request.side, request.price)
        request = msgspec.structs.replace(request, price=price)
    if request.ord_type not in MARKET_TYPES:
        check_price(step, market, request.side, request.price)
    elif market.book.best_for(request.side) is None and _nothing_behind(step, market, request.side):
        raise VenueRefusal("51109", "There's no available offer in the order book.")
    same = sum(order.symbol == request.symbol for order in account.orders.values())
    if same >= _MAX_PENDING_OF_SYMBOL or len(account.orders) >= _MAX_PENDING:
        raise VenueRefusal("51174", "The number of pending orders reached the upper limit.")
    exits = _exits(account, request)
    _check_attached(account, market, request, exits)
    if exits:
        return _check_exit(account, request)
    _check_margin(step, account, market, request)
    return request


def _exits(account: Account, request: OrderRequest) -> bool:
    if account.position_mode is PositionMode.NET:
        return request.reduce_only
    return is_exit(request.side, request.pos_side)


def _nothing_behind(step: Step, market: Market, side: Side) -> bool:
    bps = step.options.beyond_depth_bps
    return bps is None or market.book.beyond_depth(side, bps) is None


def _check_exit(account: Account, request: OrderRequest) -> OrderRequest:
    """A reducing order beyond its position is refused whole.

    One that the position covers, beside other pending exits, is trimmed in net mode to what they leave.
    """
    where = (request.side, request.symbol, request.td_mode, request.pos_side)
    held = closable(account, *where)
    if not held:
        opposite = closable(account, request.side.opposite, *where[1:])
        if opposite and account.position_mode is PositionMode.NET:
            raise VenueRefusal("51170", "A reduce-only order can't be the same side as your position.")
        raise VenueRefusal("51169", "You don't have any positions in this direction to reduce or close.")
    free = held - pending_exits(account, *where)
    if request.size <= free:
        return request
    trims = account.position_mode is PositionMode.NET and request.size <= held
    if not trims or free <= 0:
        raise VenueRefusal("51112", "Close order size exceeds your available size.")
    return msgspec.structs.replace(request, size=free)


def _check_margin(step: Step, account: Account, market: Market, request: OrderRequest) -> None:
    symbol, leverage = request.symbol, account.leverage(request.symbol, request.td_mode, request.pos_side)
    opens, held = request.size, ZERO
    holding = account.holding(symbol, request.td_mode, request.pos_side)
    if holding is not None and holding.contracts:
        held = abs(holding.contracts)
        if holding.exit_side is request.side:  # net mode: closes first, and only the rest opens
            opens, held = max(request.size - held, ZERO), ZERO
    if not opens:
        return
    price = request.price if request.ord_type not in MARKET_TYPES else market.book.best_for(request.side)
    price = max(price or ZERO, market.mark_price or ZERO)
    notional = market.instrument.notional(held + opens, price)
    if leverage > min(tier_of(step, notional).max_leverage, market.instrument.max_leverage):
        raise VenueRefusal("51004", "Order failed: position and orders exceed the limit of your leverage.")
    if opening_margin(step, symbol, leverage, opens, price) > margins(step, account).available:
        raise VenueRefusal("51008", "Order failed. Insufficient USDT margin in account.")


def _check_attached(account: Account, market: Market, request: OrderRequest, exits: bool) -> None:
    if not request.attached:
        return
    if exits:
        raise VenueRefusal("51100", "Take profit and stop loss can't be attached to a reduce-only order.")
    if len(request.attached) > 1:
        raise VenueRefusal("51089", "The size of each split take profit must be given.")
    algo = request.attached[0]
    if algo.client_id and not _CLIENT_ID.fullmatch(algo.client_id):
        raise VenueRefusal("51000", "Parameter attachAlgoClOrdId error")
    if algo.client_id and any(known.request.client_id == algo.client_id for known in account.algos.values()):
        raise VenueRefusal("51065", "algoClOrdId already exists.")
    if algo.tp_trigger is None and algo.sl_trigger is None:
        raise VenueRefusal("51000", "Parameter attachAlgoOrds error")
    if request.ord_type in MARKET_TYPES:
        check_attached_sides(algo, request.side, market.book.best_for(request.side), at_market=True)
    else:
        check_attached_sides(algo, request.side, request.price, at_market=False)


def check_attached_sides(algo: AttachedAlgo, side: Side, price: Decimal | None, *, at_market: bool) -> None:
    """Take profit on the winning side of the entry price, stop loss on the losing side."""
    if price is None:
        return
    sign = side.sign
    tp_wrong = algo.tp_trigger is not None and (algo.tp_trigger - price) * sign <= 0
    sl_wrong = algo.sl_trigger is not None and (algo.sl_trigger - price) * sign >= 0
    first = (51050 if at_market else 51046) + (0 if side is Side.BUY else 2)
    reference = "best quote" if at_market else "order price"
    if tp_wrong:
        word = "higher" if side is Side.BUY else "lower"
        raise VenueRefusal(str(first), f"The take profit trigger price should be {word} than the {reference}")
    if sl_wrong:
        word = "lower" if side is Side.BUY else "higher"
        raise VenueRefusal(
            str(first + 1), f"The stop loss trigger price should be {word} than the {reference}"
        )
