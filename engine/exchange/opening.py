"""The first page of the books: capital for the traders, and what was there before them."""

from __future__ import annotations

from decimal import Decimal
from functools import partial

import msgspec
import structlog

from engine.core.books import RESERVE
from engine.core.cash import CashFlow, FlowKind, Transfer
from engine.core.errors import VenueMisconfigured
from engine.core.market import Side
from engine.core.orders import (
    UNATTRIBUTED,
    ZERO,
    Fill,
    Order,
    OrderIntent,
    OrderState,
    OrderType,
    PositionSide,
    Purpose,
)
from engine.exchange.context import ExchangeContext
from engine.exchange.ports import VenuePosition
from engine.retry import patiently

log = structlog.get_logger()


async def open_books(context: ExchangeContext, capital: dict[str, Decimal]) -> None:
    """Give each trader its start capital, once: the account's cash is the reserve, capital comes from it.

    At the very first start, positions that the account holds already are adopted at the venue's average
    price: they belong to nobody, and stop entries in their symbols. Raises VenueMisconfigured when the
    reserve does not hold what the traders are promised.
    """
    books, now = context.books, context.clock.now_ns()
    reserve = books.account(RESERVE)
    first = not reserve.capital and not any(account.capital for account in books.traders())
    moved: list[tuple[str, str, Decimal]] = []  # flow, trader, amount
    free = reserve.cash
    if first:
        free = (await context.venue.balance()).cash
        moved.append(("reserve", RESERVE, free))
    for trader_id, amount in capital.items():
        if not books.account(trader_id).capital:
            free -= amount
            moved.append((f"capital:{trader_id}", trader_id, amount))
            moved.append((f"capital:{trader_id}:from", RESERVE, -amount))
    if free < 0 and moved:
        raise VenueMisconfigured(f"the account lacks {-free} of what its traders get; lower total_equity_usd")
    if first:
        await _adopt_all(context, now)
    for name, trader_id, amount in moved:
        flow = CashFlow(
            flow_id=f"{books.account_id}:{name}",
            trader_id=trader_id,
            account_id=books.account_id,
            kind=FlowKind.CAPITAL,
            amount=amount,
            ts=now,
        )
        await patiently(partial(context.journal.record_cash_flow, flow))
        books.apply_cash(flow)


async def move_capital(context: ExchangeContext, transfer: Transfer) -> Decimal:
    """Book a transfer once, of what is free by now; returns how much was moved."""
    giver, taker = context.books.account(transfer.giver), context.books.account(transfer.taker)
    if giver.knows(f"{transfer.transfer_id}:from"):
        return ZERO
    amount = min(transfer.amount, context.accounts.view(transfer.giver).available, giver.cash)
    if amount <= 0:
        log.info("capital not moved: none is free", giver=transfer.giver, taker=transfer.taker)
        return ZERO
    flows = transfer.flows(amount)
    # First in the books: what is free must not be given away twice while the journal writes.
    giver.apply_cash(flows[0])
    taker.apply_cash(flows[1])
    await patiently(lambda: context.journal.record_transfer(flows))
    return amount


async def _adopt_all(context: ExchangeContext, now_ns: int) -> None:
    for position in await context.venue.positions():
        known = context.books.holdings().get((position.symbol, position.position_side), ZERO)
        if position.contracts == known:  # a trade of this very moment may be booked already
            continue
        rest = msgspec.structs.replace(position, contracts=position.contracts - known)
        order, fill = _found(context, rest, now_ns)
        if await patiently(partial(context.journal.record_execution, order, fill)):
            context.books.apply_fill(fill)
            log.warning("position adopted", symbol=rest.symbol, contracts=str(rest.contracts))


def _found(context: ExchangeContext, position: VenuePosition, now_ns: int) -> tuple[Order, Fill]:
    """A position that was there before us, as one fill that nobody made."""
    long = position.contracts > 0
    side = Side.BUY if long else Side.SELL
    holder = position.position_side or (PositionSide.LONG if long else PositionSide.SHORT)
    name = f"x{position.symbol}{holder}"
    contracts = abs(position.contracts)
    intent = OrderIntent(
        intent_id=name,
        cycle_id="",
        trader_id=UNATTRIBUTED,
        account_id=context.books.account_id,
        symbol=position.symbol,
        side=side,
        position_side=holder,
        purpose=Purpose.EXTERNAL,
        order_type=OrderType.MARKET,
        contracts=contracts,
        ts_created=now_ns,
    )
    fill = Fill(
        fill_id=f"adopted:{position.symbol}:{holder}",
        client_order_id=name,
        venue_order_id="",
        trader_id=UNATTRIBUTED,
        account_id=context.books.account_id,
        symbol=position.symbol,
        side=side,
        position_side=holder,
        purpose=Purpose.EXTERNAL,
        contracts=contracts,
        price=position.average_price,
        contract_value=context.contracts.contract_value(position.symbol),
        fee=ZERO,
        maker=False,
        ts_event=now_ns,
    )
    state = OrderState.FILLED
    return Order(client_order_id=name, intent=intent, state=state, filled=contracts, claimed=contracts), fill
