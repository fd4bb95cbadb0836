"""How much of its own money a position stands on, as the account sets it: leverage, and isolated margin."""

from decimal import Decimal

import msgspec

from engine.exchange.matching.margin import balance_of, margins, mark_of, own_ratio, position_of, tier_of
from engine.exchange.matching.records import BalanceChanged, PositionChanged
from engine.exchange.matching.state import Account, Holding, Step, leverage_key, money
from engine.exchange.matching.types import LeverageRequest, MarginRequest, PosSide, TdMode, VenueRefusal
from engine.exchange.ports import PositionMode

ZERO = Decimal(0)


def set_leverage(step: Step, account: Account, request: LeverageRequest) -> None:
    """Re-margin a symbol. Raises VenueRefusal when orders, the limits or the margin stand against it."""
    symbol, leverage, isolated = request.symbol, request.leverage, request.td_mode is TdMode.ISOLATED
    if isolated and (request.pos_side is PosSide.NET) != (account.position_mode is PositionMode.NET):
        raise VenueRefusal("51000", "Parameter posSide error")
    old = account.leverage(symbol, request.td_mode, request.pos_side)
    if leverage == old:
        return
    held = _affected(account, request)
    value = _check_leverage(step, account, request, held)
    base = sum((abs(holding.cost) for holding in held), ZERO) if isolated else value
    more = money(base / leverage - base / old)
    if more > 0 and more > margins(step, account).available:
        raise VenueRefusal("59103", "Low margin. Please add margin or raise the leverage.")
    if isolated:
        for holding in held:  # one: a side
            _move_margin(step, holding, more, "59103")
    account.leverages[leverage_key(symbol, request.td_mode, request.pos_side)] = leverage
    for holding in held:
        step.emit(PositionChanged(position_of(step, account, holding), "set_leverage"))
    step.emit(BalanceChanged(balance_of(step, account), "set_leverage"))


def _check_leverage(step: Step, account: Account, request: LeverageRequest, held: list[Holding]) -> Decimal:
    """The notional of what is held, which the leverage fits. Raises VenueRefusal 59102 to 59107."""
    market, leverage = step.state.market(request.symbol), request.leverage
    if leverage > market.instrument.max_leverage:
        raise VenueRefusal("59102", "Leverage exceeds the maximum limit. Please lower the leverage.")
    if leverage < 1:
        raise VenueRefusal("59105", "Leverage can't be lower than 1.")
    of = (request.symbol, request.td_mode)
    if any((order.symbol, order.td_mode) == of for order in account.orders.values()):
        raise VenueRefusal("59107", "Leverage can't be modified. Please cancel all pending orders first.")
    value = sum(
        (abs(market.instrument.notional(holding.contracts, mark_of(market, holding))) for holding in held),
        ZERO,
    )
    if value and leverage > tier_of(step, value).max_leverage:
        raise VenueRefusal("59104", "The leverage is too high for the size of your position.")
    return value


def adjust_margin(step: Step, account: Account, request: MarginRequest) -> None:
    """Add to the margin of an isolated position, or take from it (`amount` below 0).

    What was lost and what the leverage asks at mark cannot be taken. Raises VenueRefusal 59300 to 59303.
    """
    holding = account.holding(request.symbol, TdMode.ISOLATED, request.pos_side)
    if holding is None or not holding.contracts:
        raise VenueRefusal("59300", "Margin call failed. Position does not exist.")
    if request.amount > margins(step, account).available:
        raise VenueRefusal("59303", "Margin call failed. Insufficient available margin.")
    shown = position_of(step, account, holding)
    free = holding.margin + min(shown.unrealised, ZERO) - shown.initial_margin
    if request.amount < 0 and -request.amount > free:
        raise VenueRefusal("59301", "Margin adjustment failed for exceeding the max limit.")
    _move_margin(step, holding, request.amount, "59301")
    step.emit(PositionChanged(position_of(step, account, holding), "adjust_margin"))
    step.emit(BalanceChanged(balance_of(step, account), "adjust_margin"))


def _move_margin(step: Step, holding: Holding, amount: Decimal, refusal: str) -> None:
    """Raises VenueRefusal where the position would be liquidated at once."""
    after = msgspec.structs.replace(holding, margin=holding.margin + amount)
    ratio = own_ratio(step, after)
    if amount < 0 and ratio is not None and ratio <= 1:
        raise VenueRefusal(refusal, "The margin that is left would not carry the position.")
    holding.margin, holding.ts_updated = after.margin, step.ts


def _affected(account: Account, request: LeverageRequest) -> list[Holding]:
    cross = request.td_mode is TdMode.CROSS
    return [
        holding
        for holding in account.open_holdings()
        if (holding.symbol, holding.td_mode) == (request.symbol, request.td_mode)
        and (cross or holding.pos_side is request.pos_side)
    ]
