"""What the venue does by itself with cash: funding and transfers; and the position mode.

Funding is paid from free cash, never from an isolated margin.
"""

from decimal import Decimal

from engine.exchange.matching.margin import balance_of, mark_of, position_of
from engine.exchange.matching.positions import book_cash
from engine.exchange.matching.records import BalanceChanged, Bill, BillType, PositionChanged
from engine.exchange.matching.state import Account, Market, Step, money
from engine.exchange.matching.types import VenueRefusal
from engine.exchange.ports import PositionMode

ZERO = Decimal(0)
_FUNDING_PAID, _FUNDING_RECEIVED, _IN, _OUT = "173", "174", "11", "12"


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


def set_position_mode(account: Account, mode: PositionMode) -> None:
    """Raises VenueRefusal 59000 while there is a position, a pending order or a waiting algo."""
    if mode is account.position_mode:
        return
    if account.orders or account.algos or any(True for _ in account.open_holdings()):
        raise VenueRefusal("59000", "Your settings failed as you have existing positions or pending orders.")
    account.position_mode = mode
