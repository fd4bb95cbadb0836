"""How much a close may take: what its trader holds, less what other orders already close. Pure.

So a close never flips the position, and where the account nets it never takes from another trader.
"""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal
from typing import Final

import msgspec
import structlog

from engine.core.ledger import Held
from engine.core.orders import ZERO, Order, OrderIntent, Purpose

log = structlog.get_logger()

ALREADY_CLOSING: Final = "already_closing"  # reason code: other orders take what a close asked for
CLOSE_REDUCED: Final = "close_reduced"  # reason code: less was there to close than it asked for


def closable(
    intent: OrderIntent, held: Held | None, open_orders: Iterable[Order], arriving: Iterable[OrderIntent]
) -> Decimal:
    """Contracts that `intent` may take; all of them for what is no close, 0 or less when nothing is left.

    An order whose outcome is unknown counts in full; `arriving` are those on their way into the journal. A
    flat trader's close passes: it is refused when its stops are released.
    """
    if intent.purpose is not Purpose.EXIT or held is None:
        return intent.contracts
    under_way = [(order.intent, order.open_contracts) for order in open_orders]
    under_way += [(other, other.contracts) for other in arriving]
    return held.contracts - sum((size for other, size in under_way if _closes_the_same(other, intent)), ZERO)


def order_of(intent: OrderIntent, most: Decimal) -> Order:
    """An order for at most `most` contracts, with the reason if it asks for less than its intent.

    One that may take nothing keeps its size, to be refused.
    """
    name = intent.client_order_id
    if not 0 < most < intent.contracts:
        return Order(client_order_id=name, intent=intent)
    log.info("close reduced", order=name, asked=str(intent.contracts), left=str(most))
    reason = f"{CLOSE_REDUCED}: {most:f} of {intent.contracts:f} contracts were left"
    return Order(client_order_id=name, intent=msgspec.structs.replace(intent, contracts=most), reason=reason)


def _closes_the_same(other: OrderIntent, intent: OrderIntent) -> bool:
    mine = (intent.trader_id, intent.symbol, intent.position_side)
    theirs = (other.trader_id, other.symbol, other.position_side)
    return other.purpose.reduces and theirs == mine and other.intent_id != intent.intent_id
