"""The journal keeps the venue's own words beside every order event, on a real venue and a real Postgres."""

from __future__ import annotations

import json
from typing import Any

import asyncpg

from engine.core.orders import OrderState
from tests.exchange_world import Simulator, life
from tests.waiting import until


async def said(dsn: str, client_order_id: str) -> list[tuple[str, dict[str, Any] | None]]:
    """State and the venue's row of each event of an order, oldest first."""
    connection = await asyncpg.connect(dsn)
    try:
        events = await connection.fetch(
            "select state, raw from order_events where client_order_id = $1 order by event_id",
            client_order_id,
        )
    finally:
        await connection.close()
    return [(event["state"], event["raw"] and json.loads(event["raw"])) for event in events]


async def test_S4_68_each_event_keeps_what_the_venue_said_and_none_twice(
    sim: Simulator, database: str
) -> None:
    async with life(sim, database) as now:
        await sim.fault("duplicate", path="orders", count=3)
        intent = now.intent("one")
        await now.service.desk.accept(intent)
        order = await now.done(intent)
        submitting = f"submit:{intent.client_order_id}"
        await until(lambda: not now.jobs.running(submitting))  # the acknowledgement may come last
        await now.service.desk.drained()
        events = await said(database, intent.client_order_id)
        told = [row for _, row in events if row]
        assert len(told) == len(events)
        assert {row["ordId"] for row in told} == {order.venue_order_id}
        (fill,) = [row for state, row in events if row and state == OrderState.FILLED and "state" in row]
        assert (fill["state"], fill["accFillSz"], fill["fillPx"]) == ("filled", "2", "100000.1")
        await now.service.desk.ask(order)
        await now.service.recovery.look_back()
        await now.service.desk.drained()
    async with life(sim, database):
        assert await said(database, intent.client_order_id) == events


async def test_S4_68_a_refusal_is_kept_as_the_venue_said_it(sim: Simulator, database: str) -> None:
    async with life(sim, database) as now:
        intent = now.intent("too much", contracts="2000")
        await now.service.desk.accept(intent)
        await now.done(intent)
        ((state, row),) = await said(database, intent.client_order_id)
        assert state == OrderState.REJECTED
        assert row is not None
        assert (row["sCode"], row["clOrdId"]) == ("51008", intent.client_order_id)


async def test_S4_68_what_the_engine_decided_itself_has_no_words_of_the_venue(
    sim: Simulator, database: str
) -> None:
    async with life(sim, database) as now:
        intent = now.intent("old", ts_expires=1)
        await now.service.desk.accept(intent)
        await now.done(intent)
        assert await said(database, intent.client_order_id) == [(OrderState.EXPIRED, None)]
