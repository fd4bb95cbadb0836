"""Booking: what an execution does to a position, to cash and to the account's papers.

The cost of a position is kept exactly, never as an average that was rounded. So at every moment
    cash = deposits - sum(signed value of executions) + cost of open positions + fees + funding
holds to the last digit, and cash + unrealised profit does not drift.
"""

from decimal import Decimal

import msgspec

from engine.core.market import Side
from engine.exchange.matching.margin import balance_of, margins, position_of
from engine.exchange.matching.records import (
    BalanceChanged,
    Bill,
    BillBooked,
    BillType,
    ClosedPosition,
    FillMade,
    OrderChanged,
    OrdState,
    PositionChanged,
    VenueFill,
    VenueOrder,
)
from engine.exchange.matching.state import Account, Holding, Market, Step, money
from engine.exchange.matching.types import PosSide, TdMode

ZERO = Decimal(0)
_CODES = {  # OKX bill subTypes of trades: open long, open short, close long, close short
    (Side.BUY, PosSide.LONG): "3",
    (Side.SELL, PosSide.SHORT): "4",
    (Side.SELL, PosSide.LONG): "5",
    (Side.BUY, PosSide.SHORT): "6",
    (Side.BUY, PosSide.NET): "1",
    (Side.SELL, PosSide.NET): "2",
}
_LIQUIDATION_CODES = {  # close long and close short by liquidation
    Side.SELL: "104",
    Side.BUY: "105",
}


class Execution(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """So many contracts of an order at a price. `maker` pays the maker fee."""

    price: Decimal
    size: Decimal
    maker: bool = False


class _Part(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    signed: Decimal  # contracts, negative for a sell
    price: Decimal
    fee: Decimal
    liquidated: bool


def book_execution(step: Step, account: Account, order: VenueOrder, execution: Execution) -> VenueOrder:
    """Apply an execution to position, cash and order; emit all of it; return the order as it is now."""
    holding = _holding_for(step, account, order)
    fill = _execute(step, account, holding, order, execution)
    holding.trade_id = fill.trade_id
    account.cash += fill.pnl + fill.fee
    step.keep(account.fills, fill)
    changed = _filled(order, fill)
    account.orders[order.order_id] = changed
    step.emit(OrderChanged(changed, fill))
    step.emit(FillMade(fill))
    _book_trade(step, account, holding, fill)
    if step.options.tells_standing:
        reason = "filled" if fill.exec_type else "liquidation"
        total = margins(step, account)
        step.emit(PositionChanged(position_of(step, account, holding, total), reason))
        step.emit(BalanceChanged(balance_of(step, account, total), reason))
    return changed


def book_cash(step: Step, account: Account, bill: Bill) -> None:
    """Book a payment that no order made. `bill_id` and `balance` of `bill` are filled in here."""
    account.cash += bill.amount
    booked = msgspec.structs.replace(bill, bill_id=step.new_id(), balance=account.cash)
    step.keep(account.bills, booked)
    step.emit(BillBooked(booked))


def _execute(
    step: Step, account: Account, holding: Holding, order: VenueOrder, execution: Execution
) -> VenueFill:
    """Move the position and write the fill."""
    market = step.state.market(order.symbol)
    liquidated = order.category != "normal"
    rate = step.options.fees.maker if execution.maker else step.options.fees.taker
    part = _Part(
        signed=execution.size * order.side.sign,
        price=execution.price,
        fee=money(-market.instrument.notional(execution.size, execution.price) * rate),
        liquidated=liquidated,
    )
    number = step.new_trade_id(market)
    return VenueFill(
        account=account.name,
        symbol=order.symbol,
        trade_id=str(-number if liquidated else number),
        order_id=order.order_id,
        client_order_id=order.client_order_id,
        bill_id=step.new_id(),
        side=order.side,
        pos_side=order.pos_side,
        td_mode=order.td_mode,
        price=execution.price,
        size=execution.size,
        fee=part.fee,
        pnl=_move(step, account, holding, part),
        exec_type="" if liquidated else ("M" if execution.maker else "T"),
        mark_price=market.mark_price,
        tag=order.tag,
        ts=step.ts,
    )


def _filled(order: VenueOrder, fill: VenueFill) -> VenueOrder:
    filled = order.filled + fill.size
    return msgspec.structs.replace(
        order,
        filled=filled,
        filled_value=order.filled_value + fill.size * fill.price,
        fee=order.fee + fill.fee,
        pnl=order.pnl + fill.pnl,
        state=OrdState.FILLED if filled >= order.size else OrdState.PARTIALLY_FILLED,
        last_fill=fill,
        amend_source="",
        amend_result="",
        req_id="",
        ts_updated=fill.ts,
    )


def _holding_for(step: Step, account: Account, order: VenueOrder) -> Holding:
    holding = account.holding(order.symbol, order.td_mode, order.pos_side)
    if holding is None:
        holding = Holding(
            pos_id=step.new_id(), symbol=order.symbol, td_mode=order.td_mode, pos_side=order.pos_side
        )
        account.holdings[f"{order.symbol}/{order.td_mode}/{order.pos_side}"] = holding
    return holding


def _move(step: Step, account: Account, holding: Holding, part: _Part) -> Decimal:
    """Move the position and return what that realised.

    The closing part takes its share of the cost with it; what is left of a flip opens at the price.
    """
    market = step.state.market(holding.symbol)
    closing = realised = closing_fee = ZERO
    if holding.contracts * part.signed < 0:
        closing = min(abs(part.signed), abs(holding.contracts)).copy_sign(part.signed)
        closing_fee = money(part.fee * closing / part.signed)
        was_long = holding.contracts > 0
        realised = _close(market, holding, closing, part.price)
        holding.pnl += realised
        holding.fee += closing_fee
        if not holding.contracts:
            _retire(step, account, holding, was_long, part.liquidated)
    opening = part.signed - closing
    if opening:
        if not holding.contracts:
            _begin(step, holding)
        holding.contracts += opening
        value = market.instrument.notional(opening, part.price)
        holding.cost += value
        if holding.td_mode is TdMode.ISOLATED:
            leverage = account.leverage(holding.symbol, holding.td_mode, holding.pos_side)
            holding.margin += money(abs(value) / leverage)
        holding.fee += part.fee - closing_fee
        holding.opened += abs(opening)
        holding.opened_value += abs(opening) * part.price
        holding.max_contracts = max(holding.max_contracts, abs(holding.contracts))
    holding.ts_updated = step.ts
    return realised


def _close(market: Market, holding: Holding, closing: Decimal, price: Decimal) -> Decimal:
    whole = abs(closing) == abs(holding.contracts)
    share = holding.cost if whole else money(holding.cost * abs(closing) / abs(holding.contracts))
    freed = holding.margin if whole else money(holding.margin * abs(closing) / abs(holding.contracts))
    holding.contracts += closing
    holding.cost -= share
    holding.margin -= freed
    holding.closed += abs(closing)
    holding.closed_value += abs(closing) * price
    return -market.instrument.notional(closing, price) - share


def _begin(step: Step, holding: Holding) -> None:
    holding.pnl = holding.fee = holding.funding = ZERO
    holding.max_contracts = holding.opened = holding.opened_value = ZERO
    holding.closed = holding.closed_value = ZERO
    holding.ts_created = step.ts


def _retire(step: Step, account: Account, holding: Holding, was_long: bool, liquidated: bool) -> None:
    """Write the closed position into the history; its sums stay to be seen until it opens again."""
    step.keep(
        account.closed,
        ClosedPosition(
            account=account.name,
            pos_id=holding.pos_id,
            symbol=holding.symbol,
            td_mode=holding.td_mode,
            pos_side=holding.pos_side,
            direction=PosSide.LONG if was_long else PosSide.SHORT,
            leverage=account.leverage(holding.symbol, holding.td_mode, holding.pos_side),
            open_average=holding.opened_value / holding.opened,
            close_average=holding.closed_value / holding.closed,
            max_contracts=holding.max_contracts,
            closed_contracts=holding.closed,
            pnl=holding.pnl,
            fee=holding.fee,
            funding=holding.funding,
            liquidated=liquidated,
            ts_created=holding.ts_created,
            ts_updated=step.ts,
        ),
    )


def _book_trade(step: Step, account: Account, holding: Holding, fill: VenueFill) -> None:
    liquidated = fill.exec_type == ""
    bill = Bill(
        account=account.name,
        bill_id=fill.bill_id,
        bill_type=BillType.LIQUIDATION if liquidated else BillType.TRADE,
        sub_type=_LIQUIDATION_CODES[fill.side] if liquidated else _CODES[fill.side, fill.pos_side],
        amount=fill.pnl + fill.fee,
        balance=account.cash,
        ts=fill.ts,
        symbol=fill.symbol,
        td_mode=fill.td_mode,
        pos_side=fill.pos_side,
        size=fill.size,
        price=fill.price,
        pnl=fill.pnl,
        fee=fill.fee,
        position_change=fill.size * fill.side.sign,
        position_after=holding.contracts,
        order_id=fill.order_id,
        client_order_id=fill.client_order_id,
        trade_id=fill.trade_id,
        exec_type=fill.exec_type,
        tag=fill.tag,
    )
    step.keep(account.bills, bill)
    step.emit(BillBooked(bill))
