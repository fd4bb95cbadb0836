"""A paper account behind the Venue port: what an adapter of a real venue promises, it keeps too."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from engine.clock import SimClock
from engine.core.errors import Rejected
from engine.core.market import Side
from engine.core.orders import (
    ExecutionReport,
    Order,
    OrderState,
    OrderType,
    PositionSide,
    Purpose,
    stop_client_id,
)
from engine.exchange.matching.core import MatchingCore
from engine.exchange.matching.options import MatchingOptions
from engine.exchange.matching.types import AccountSpec
from engine.exchange.paper.venue import PaperVenue
from engine.exchange.ports import Amendment, PositionMode, ProtectionRequest, Trailing
from tests.order_parts import order_of
from tests.test_matching import BTC, INSTRUMENT, book

D = Decimal


class Paper:
    """A market around 100 and one account on it."""

    def __init__(self) -> None:
        self.core = MatchingCore(MatchingOptions())
        self.core.set_instrument(INSTRUMENT)
        spec = AccountSpec(account="paper", balance=D(10_000), position_mode=PositionMode.LONG_SHORT)
        self.venue = PaperVenue(self.core, spec, SimClock(1))
        self.market("100")

    def market(self, price: str) -> None:
        """The outside market moves to `price`; what it causes is told."""
        at, tick = D(price), INSTRUMENT.tick_size
        self.venue.tell(book(self.core, str(at - tick), str(at + tick), 2))
        self.venue.tell(self.core.on_trade(BTC, at, D(1), Side.BUY, 2))
        self.venue.tell(self.core.on_mark(BTC, at, 2))

    def told(self) -> list[ExecutionReport]:
        """Every report that waits."""
        queue = self.venue._events
        events = [queue.get_nowait() for _ in range(queue.qsize())]
        return [event for event in events if isinstance(event, ExecutionReport)]


def order(name: str = "entry", **changes: Any) -> Order:
    given: dict[str, Any] = {
        "intent_id": name,
        "cycle_id": "c",
        "trader_id": "t",
        "account_id": "paper",
        "contracts": D(10),
    }
    return order_of(**(given | changes))


async def test_trailing_stop_follows_the_price_and_closes() -> None:
    paper, entry = Paper(), order()
    await paper.venue.submit(entry)
    name = stop_client_id(entry.client_order_id, 1)
    request = ProtectionRequest(
        client_id=name,
        symbol=BTC,
        position_side=PositionSide.LONG,
        contracts=D(10),
        trailing=Trailing(ratio=D("0.1")),
    )
    placed = await paper.venue.protect(request)
    assert placed.trailing
    with pytest.raises(Rejected, match="trailing"):
        await paper.venue.amend_protection(placed, request)
    paper.market("200")
    (resting,) = await paper.venue.protections()
    assert (resting.trailing, resting.stop_loss) == (True, D(180))
    paper.market("179")
    last = paper.told()[-1]
    assert (last.client_order_id, last.state, last.category) == (name, OrderState.FILLED, Purpose.STOP)
    assert await paper.venue.positions() == ()


async def test_amended_order_tells_price_size_and_request() -> None:
    paper = Paper()
    given = order(order_type=OrderType.LIMIT, price=D(90))
    await paper.venue.submit(given)
    await paper.venue.amend(given, Amendment(request_id="r1", price=D(91), contracts=D(12)))
    told = paper.told()[-1]
    assert (told.request_id, told.amended, told.price, told.contracts) == ("r1", True, D(91), D(12))
    with pytest.raises(Rejected):
        await paper.venue.amend(order("another"), Amendment(request_id="r2", price=D(91)))


async def test_F8_every_order_of_a_batch_has_its_own_answer() -> None:
    paper = Paper()
    good = order("good", order_type=OrderType.LIMIT, price=D(90))
    small = order("small", order_type=OrderType.LIMIT, price=D(90), contracts=D("0.001"))
    first, second = await paper.venue.submit_many([good, small])
    assert isinstance(first, ExecutionReport)
    assert isinstance(second, Rejected)
    assert [error is None for error in await paper.venue.cancel_many([good, small])] == [True, False]
    assert await paper.venue.open_orders() == ()
