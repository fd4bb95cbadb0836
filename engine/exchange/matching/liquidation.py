"""Liquidation: at a ratio of 1 or below the venue cancels orders, then takes positions away.

In steps, as https://www.okx.com/help tells: from the third tier on, the position of the highest tier is first
reduced to the next lower one, whose maintenance rate is lower, again and again; where that does not help, or
there is no such position, everything is closed at once. Cross positions go together; if cash ends below what
isolated positions hold, the insurance fund pays the difference. An isolated position is taken alone, by its
own ratio; the insurance fund pays what it loses beyond its margin.
"""

from collections.abc import Callable, Sequence
from decimal import Decimal

from engine.exchange.matching.margin import balance_of, margins, mark_of, own_ratio, tier_of
from engine.exchange.matching.orders import BY_RISK, Origin, accept, end, finish, settle
from engine.exchange.matching.positions import Execution, book_cash, book_execution
from engine.exchange.matching.records import BalanceChanged, Bill, BillType, Liquidated
from engine.exchange.matching.state import Account, Holding, Step
from engine.exchange.matching.types import OrderRequest, OrdType, TdMode
from engine.exchange.ports import PositionMode

ZERO = Decimal(0)
_INSURANCE = "119"
_FIRST_STEP = 2  # index of the lowest tier that is reduced in steps


def liquidate_if_due(step: Step, symbol: str) -> None:
    """Take isolated positions in `symbol`, and accounts with a cross one, that do not carry their risk."""
    for account in step.state.accounts.values():
        held = [holding for holding in account.open_holdings() if holding.symbol == symbol]
        if not held:
            continue
        for holding in held:
            own = own_ratio(step, holding) if holding.td_mode is TdMode.ISOLATED else None
            if own is not None and own <= 1:
                _liquidate_alone(step, account, holding, own)
        if any(holding.td_mode is TdMode.CROSS for holding in held):
            ratio = margins(step, account).ratio
            if ratio is not None and ratio <= 1:
                _liquidate(step, account, ratio)


def _liquidate(step: Step, account: Account, ratio: Decimal) -> None:
    for order in tuple(account.orders.values()):
        end(step, account, order, BY_RISK)
    held = [holding for holding in account.open_holdings() if holding.td_mode is TdMode.CROSS]
    symbols = _take(step, account, held, lambda: margins(step, account).ratio)
    insurance = ZERO
    if not any(holding.contracts for holding in held):
        insurance = _insure(step, account, margins(step, account).isolated - account.cash)
    _tell(step, account, symbols, ratio, insurance)


def _liquidate_alone(step: Step, account: Account, holding: Holding, ratio: Decimal) -> None:
    where = (holding.symbol, holding.td_mode, holding.pos_side)
    for order in tuple(account.orders.values()):
        if (order.symbol, order.td_mode, order.pos_side) == where:
            end(step, account, order, BY_RISK)
    before, margin = account.cash, holding.margin
    symbols = _take(step, account, [holding], lambda: own_ratio(step, holding))
    lost, freed = before - account.cash, margin - holding.margin
    _tell(step, account, symbols, ratio, _insure(step, account, lost - freed))


def _take(
    step: Step, account: Account, held: Sequence[Holding], ratio: Callable[[], Decimal | None]
) -> list[str]:
    """Reduce by tiers while that is possible and the ratio stays low, else close; returns the symbols."""
    symbols = []
    while (now := ratio()) is not None and now <= 1:
        if (highest := _highest(step, held)) is None:
            for holding in held:
                if holding.contracts:
                    symbols.append(holding.symbol)
                    _force_close(step, account, holding, abs(holding.contracts))
            break
        holding, size = highest
        symbols.append(holding.symbol)
        _force_close(step, account, holding, size)
    return symbols


def _highest(step: Step, held: Sequence[Holding]) -> tuple[Holding, Decimal] | None:
    """The position of the highest tier, and how much of it is beyond the tier below; None below the third."""
    tiers, found = step.options.tiers, []
    for holding in held:
        market = step.state.market(holding.symbol)
        mark = mark_of(market, holding) if holding.contracts else ZERO
        value = abs(market.instrument.notional(holding.contracts, mark))
        index = tiers.index(tier_of(step, value))
        below = tiers[index - 1].max_notional if index >= _FIRST_STEP else None
        if below is not None:
            keeps = market.instrument.contracts_for_notional(below, mark)
            found.append((index, value, holding, abs(holding.contracts) - keeps))
    if not found:
        return None
    _, _, holding, size = max(found, key=lambda each: each[:2])
    return holding, size


def _tell(step: Step, account: Account, symbols: list[str], ratio: Decimal, insurance: Decimal) -> None:
    step.emit(
        Liquidated(
            account=account.name,
            symbols=tuple(dict.fromkeys(symbols)),
            margin_ratio=ratio,
            insurance=insurance,
            ts=step.ts,
        )
    )


def _insure(step: Step, account: Account, lost: Decimal) -> Decimal:
    """The insurance fund pays what was lost beyond the margin; returns what it paid."""
    if lost <= 0:
        return ZERO
    book_cash(
        step,
        account,
        Bill(
            account=account.name,
            bill_id="",
            bill_type=BillType.LIQUIDATION,
            sub_type=_INSURANCE,
            amount=lost,
            balance=ZERO,
            ts=step.ts,
        ),
    )
    step.emit(BalanceChanged(balance_of(step, account), "liquidation"))
    return lost


def _force_close(step: Step, account: Account, holding: Holding, size: Decimal) -> None:
    """Down (or up) to mark -/+ the penalty through the visible book; what that does not take, there."""
    whole = size == abs(holding.contracts)
    market = step.state.market(holding.symbol)
    side = holding.exit_side
    bound = mark_of(market, holding) * (1 + side.sign * step.options.liquidation_penalty)
    bound = max(market.instrument.round_price(bound), market.instrument.tick_size)
    order = accept(
        step,
        account,
        OrderRequest(
            symbol=holding.symbol,
            side=side,
            size=size,
            ord_type=OrdType.MARKET,
            td_mode=holding.td_mode,
            pos_side=holding.pos_side,
            reduce_only=account.position_mode is PositionMode.NET,
        ),
        Origin(category="full_liquidation" if whole else "partial_liquidation"),
    )
    for price, taken in market.book.take(side, order.size, bound):
        order = book_execution(step, account, order, Execution(price=price, size=taken))
    if order.remaining:
        order = book_execution(step, account, order, Execution(price=bound, size=order.remaining))
    finish(step, account, order)
    settle(step, account, holding.symbol)
