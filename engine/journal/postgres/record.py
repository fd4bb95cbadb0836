"""Every trader's record, recomputed from the bookings in the journal."""

from __future__ import annotations

import heapq
from collections.abc import Iterator

import asyncpg
import msgspec

from engine.core.orders import OrderIntent
from engine.core.times import NS_PER_HOUR
from engine.journal.postgres.pool import LONG_TIMEOUT_S, Pool
from engine.journal.postgres.rows import ORDER_QUERY, cash_flow_of, fill_of, funding_of, order_of
from engine.journal.tally import Tally, TradingRecord

_QUERIES = {
    "flows": "select * from cash_flows where trader_id = $1 order by seq",
    "fills": "select * from trader_fills where trader_id = $1 order by seq",
    "funding": "select * from funding_payments where trader_id = $1 order by ts_event, seq",
    "orders": f"{ORDER_QUERY} where o.trader_id = $1",
}
_EQUITIES = """
select distinct on (ts / $2::bigint) ts, equity::float8 as equity from trader_performance
where trader_id = $1 and equity is not null order by ts / $2::bigint, ts desc
"""


class TraderResult(msgspec.Struct, frozen=True):
    """A trader and how it did."""

    trader_id: str
    record: TradingRecord


async def records(pool: Pool, risk_free_pct: float = 0.0) -> list[TraderResult]:
    """One a trader, by id; all as of one moment. Raises StoreUnavailable."""
    connections = pool.connection(LONG_TIMEOUT_S)
    async with connections as connection, connection.transaction(isolation="repeatable_read"):
        traders = await connection.fetch("select trader_id, account_id from traders order by trader_id")
        return [await _record(connection, row, risk_free_pct) for row in traders]


async def _record(
    connection: asyncpg.Connection[asyncpg.Record], trader: asyncpg.Record, risk_free_pct: float
) -> TraderResult:
    trader_id = trader["trader_id"]
    rows = {
        name: await connection.fetch(sql, trader_id, timeout=LONG_TIMEOUT_S) for name, sql in _QUERIES.items()
    }
    equities = await connection.fetch(_EQUITIES, trader_id, NS_PER_HOUR, timeout=LONG_TIMEOUT_S)
    intents: dict[str, OrderIntent] = {
        order.client_order_id: order.intent for order in map(order_of, rows["orders"])
    }
    tally = Tally(trader_id, trader["account_id"], risk_free_pct)
    for flow in map(cash_flow_of, rows["flows"]):
        tally.on_cash(flow)
    streams = (
        _in_order(rows["fills"], "ts_event"),
        _in_order(rows["funding"], "ts_event"),
        _in_order(equities),
    )
    for _, number, row in heapq.merge(*(_tagged(n, s) for n, s in enumerate(streams)), key=lambda e: e[:2]):
        if number == 0:
            tally.on_fill(fill_of(row), intents.get(row["client_order_id"]))
        elif number == 1:
            tally.on_funding(funding_of(row))
        else:
            tally.on_equity(row["ts"], row["equity"])
    return TraderResult(trader_id, tally.record())


def _in_order(rows: list[asyncpg.Record], time: str = "ts") -> Iterator[tuple[int, asyncpg.Record]]:
    """Rows with a time that never goes back: a booking that came late counts where it was booked."""
    newest = 0
    for row in rows:
        newest = max(newest, row[time])
        yield newest, row


def _tagged(
    number: int, rows: Iterator[tuple[int, asyncpg.Record]]
) -> Iterator[tuple[int, int, asyncpg.Record]]:
    return ((ts, number, row) for ts, row in rows)
