"""Entries that rest may do so for a while; then they are taken back at the venue."""

from __future__ import annotations

from decimal import Decimal

import pytest

from engine.core.orders import OrderState, OrderType
from tests.exchange_world import BTC, Simulator, life

D = Decimal


@pytest.mark.parametrize("order_type", [OrderType.LIMIT, OrderType.POST_ONLY])
async def test_resting_entry_is_cancelled_after_its_time(
    sim: Simulator, database: str, order_type: OrderType
) -> None:
    async with life(sim, database, limit_timeout_s=0.5) as now:
        intent = now.intent("rests", order_type=order_type, price=D(99_000))
        await now.service.desk.accept(intent)
        order = await now.done(intent)
        assert (order.state, order.filled, order.reason) == (
            OrderState.CANCELED,
            D(0),
            "cancelled on request",
        )
        assert await now.venue.open_orders() == ()
        assert await now.venue.protections() == ()  # its stop went with it
        assert now.service.refusal(BTC) == ""
        await now.balanced()
