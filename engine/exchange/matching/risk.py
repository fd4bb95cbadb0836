"""What the venue does by itself: funding, liquidation, and the settings that risk depends on.

Liquidation is simpler than OKX's: when the ratio of equity to maintenance margin and closing fees is at
or below 1, every pending order is cancelled and every position of the account is closed in one go, down
(or up) to mark -/+ the penalty through the visible book, and what that does not take at that bound. There
is no partial step by tiers. If cash ends below 0 the insurance fund pays the difference. An isolated
position is closed alone, by its own ratio; the insurance fund pays what it loses beyond its margin. Funding
is paid from free cash, never from an isolated margin.
"""

from decimal import Decimal

from engine.exchange.matching.margin import balance_of, margins, mark_of, own_ratio, position_of
from engine.exchange.matching.orders import BY_RISK, Origin, accept, end, finish, settle
from engine.exchange.matching.positions import Execution, book_cash, book_execution
from engine.exchange.matching.records import (
    BalanceChanged,
    Bill,
    BillType,
    Liquidated,
    PositionChanged,
)
from engine.exchange.matching.state import Account, Holding, Market, Step, money
from engine.exchange.matching.types import OrderRequest, OrdType, TdMode, VenueRefusal
from engine.exchange.ports import PositionMode

ZERO = Decimal(0)
_FUNDING_PAID, _FUNDING_RECEIVED, _INSURANCE, _IN, _OUT = "173", "174", "119", "11", "12"


def charge_funding(step: Step, market: Market, rate: Decimal) -> None:
    """Book -contracts * ctVal * mark * rate on every open position: longs pay a positive rate."""
    for account in step.state.accounts.values():
        for holding in account.open_holdings():
            if holding.symbol != market.instrument.symbol:
                continue
            mark = mark_of(market, holding)
            amount = money(-market.instrument.notional(holding.contracts, mark) * rate)
            holding.funding += amount
            holding.ts_updated = step.ts
            book_cash(
                step,
                account,
                Bill(
                    account=account.name,
                    bill_id="",
                    bill_type=BillType.FUNDING,
                    sub_type=_FUNDING_PAID if amount < 0 else _FUNDING_RECEIVED,
                    amount=amount,
                    balance=ZERO,
                    ts=step.ts,
                    symbol=holding.symbol,
                    td_mode=holding.td_mode,
                    pos_side=holding.pos_side,
                    size=abs(holding.contracts),
                    price=mark,
                    position_after=holding.contracts,
                ),
            )
            step.emit(PositionChanged(position_of(step, account, holding), "funding_fee"))
            step.emit(BalanceChanged(balance_of(step, account), "funding_fee"))


def book_transfer(step: Step, account: Account, amount: Decimal) -> None:
    """Cash that comes from outside, or goes there."""
    book_cash(
        step,
        account,
        Bill(
            account=account.name,
            bill_id="",
            bill_type=BillType.TRANSFER,
            sub_type=_IN if amount >= 0 else _OUT,
            amount=amount,
            balance=ZERO,
            ts=step.ts,
        ),
    )
    step.emit(BalanceChanged(balance_of(step, account), "transferred"))


def liquidate_if_due(step: Step, symbol: str) -> None:
    """Close isolated positions in `symbol`, and accounts with a cross one, that do not carry their risk."""
    for account in step.state.accounts.values():
        held = [holding for holding in account.open_holdings() if holding.symbol == symbol]
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
    symbols = []
    for holding in tuple(account.open_holdings()):
        if holding.td_mode is TdMode.CROSS:
            symbols.append(holding.symbol)
            _force_close(step, account, holding)
    insurance = _insure(step, account, margins(step, account).isolated - account.cash)
    step.emit(
        Liquidated(
            account=account.name,
            symbols=tuple(dict.fromkeys(symbols)),
            margin_ratio=ratio,
            insurance=insurance,
            ts=step.ts,
        )
    )


def _liquidate_alone(step: Step, account: Account, holding: Holding, ratio: Decimal) -> None:
    where = (holding.symbol, holding.td_mode, holding.pos_side)
    for order in tuple(account.orders.values()):
        if (order.symbol, order.td_mode, order.pos_side) == where:
            end(step, account, order, BY_RISK)
    before, margin = account.cash, holding.margin
    _force_close(step, account, holding)
    step.emit(
        Liquidated(
            account=account.name,
            symbols=(holding.symbol,),
            margin_ratio=ratio,
            insurance=_insure(step, account, before - margin - account.cash),
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


def _force_close(step: Step, account: Account, holding: Holding) -> None:
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
            size=abs(holding.contracts),
            ord_type=OrdType.MARKET,
            td_mode=holding.td_mode,
            pos_side=holding.pos_side,
            reduce_only=account.position_mode is PositionMode.NET,
        ),
        Origin(category="full_liquidation"),
    )
    for price, size in market.book.take(side, order.size, bound):
        order = book_execution(step, account, order, Execution(price=price, size=size))
    if order.remaining:
        order = book_execution(step, account, order, Execution(price=bound, size=order.remaining))
    finish(step, account, order)
    settle(step, account, holding.symbol)


def set_position_mode(account: Account, mode: PositionMode) -> None:
    """Raises VenueRefusal 59000 while there is a position, a pending order or a waiting algo."""
    if mode is account.position_mode:
        return
    if account.orders or account.algos or any(True for _ in account.open_holdings()):
        raise VenueRefusal("59000", "Your settings failed as you have existing positions or pending orders.")
    account.position_mode = mode
