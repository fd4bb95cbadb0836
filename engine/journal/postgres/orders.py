"""Orders, fills, money and positions: what must be on disk before anything follows from it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import asyncpg

from engine.core.cash import CashFlow, FundingPayment
from engine.core.decisions import AccountView
from engine.core.ledger import ClosedTrade
from engine.core.orders import Fill, Order, OrderIntent, StopMove
from engine.core.times import NEVER_NS
from engine.journal.ports import TOLERANCE_USD, Bookings
from engine.journal.postgres.doubt import Doubts
from engine.journal.postgres.memory import insert_episodes
from engine.journal.postgres.pool import LONG_TIMEOUT_S, Pool
from engine.journal.postgres.rows import (
    FILL_COLUMNS,
    INTENT_COLUMNS,
    ORDER_QUERY,
    TRADE_COLUMNS,
    cash_flow_of,
    fill_of,
    funding_of,
    insert,
    intent_of,
    intent_values,
    order_of,
    row_of,
    stop_move_of,
    trade_of,
)

if TYPE_CHECKING:
    Connection = asyncpg.Connection[asyncpg.Record]

# Without its cycle where the journal has none: an order is never lost.
_INTENT = f"""
insert into order_intents ({", ".join(INTENT_COLUMNS)}, client_order_id)
values ({
    ", ".join(
        f"(select cycle_id from decision_cycles where cycle_id = ${number})"
        if name == "cycle_id"
        else f"${number}"
        for number, name in enumerate((*INTENT_COLUMNS, "client_order_id"), 1)
    )
})
on conflict do nothing"""  # noqa: S608 - names of ours
_ORDER_COLUMNS = (
    *("client_order_id", "trader_id", "account_id", "symbol", "state", "venue_state", "venue_order_id"),
    *("contracts", "filled", "claimed", "average_price", "fees", "reason"),
    *("ts_created", "ts_sent", "ts_acked", "ts_updated"),
)
# An order goes in one statement with its intent, whose parameters come first: every round trip is waited for
# between a decision and the venue.
_AT = {name: f"${number}" for number, name in enumerate(_ORDER_COLUMNS, len(INTENT_COLUMNS) + 2)}
_ORDER = (
    f"insert into trader_orders ({', '.join(_AT)}) values ({', '.join(_AT.values())}) on conflict do nothing"  # noqa: S608 - names of ours
)
_PLACE = f"with intended as ({_INTENT}) {_ORDER}"
# What an earlier life placed and knew of is not newer than what was there before this life's first order;
# what this life has sent is not as it was placed.
_NEWEST = "select coalesce(max(seq), 0) as seq from trader_orders"
_PLACED = "select 1 from trader_orders where client_order_id = $1 and seq > $2 and state = $3 and ts_sent = 0"
_CHANGED = {
    name: f"greatest({name}, {_AT[name]})" if name == "ts_sent" else _AT[name]
    for name in (
        *("state", "venue_state", "venue_order_id", "filled", "claimed", "average_price", "fees", "reason"),
        *("ts_sent", "ts_acked", "ts_updated"),
    )
}
# Either the order is placed or, where it was there when the statement began, it is changed; the event follows
# from what was done, or from a fill.
_KEEP = f"""
with intended as ({_INTENT}), placed as ({_ORDER} returning true), changed as (
  update trader_orders set {", ".join(f"{name} = {value}" for name, value in _CHANGED.items())}
  where client_order_id = {_AT["client_order_id"]}
    and ({", ".join(_CHANGED)}) is distinct from ({", ".join(_CHANGED.values())})
  returning true
)"""  # noqa: S608 - names of ours
_BESIDE = len(INTENT_COLUMNS) + len(_ORDER_COLUMNS) + 2  # number of the first parameter after an order's
_EVENT = f"""
insert into order_events (client_order_id, state, filled, reason, ts, raw, fill_id)
select {", ".join(_AT[name] for name in ("client_order_id", "state", "filled", "reason", "ts_updated"))},
  ${_BESIDE}"""
_EXECUTE = f"""
{_KEEP} {_EVENT}, null where exists (select from placed) or exists (select from changed)"""  # noqa: S608 - names of ours
_FILL_MARKS = {name: f"${number}" for number, name in enumerate(FILL_COLUMNS, _BESIDE + 1)}
_FILL = f"""
{_KEEP}, filled as (
  insert into trader_fills ({", ".join(_FILL_MARKS)}) values ({", ".join(_FILL_MARKS.values())})
) {_EVENT}, {_FILL_MARKS["fill_id"]}"""  # noqa: S608 - names of ours
# Two writers of the same booking take turns, so that the second one sees the first one's row: a replacement
# engine, or a try of our own whose commit nobody confirmed and that the server is still at. Seed 1: keys
# of a kind of their own beside the account lock's.
_TURN = "select pg_advisory_xact_lock(hashtextextended($1, 1))"
_BOOKED = "select 1 from trader_fills where account_id = $1 and fill_id = $2"
_TRADE = insert("closed_trades", TRADE_COLUMNS, "on conflict do nothing")
_ENTRIES = """
select i.* from order_intents i where i.account_id = $1 and i.purpose = 'entry' and exists
  (select 1 from trader_fills f where f.client_order_id = i.client_order_id)
order by i.ts_created, i.intent_id
"""
_POSITION_COLUMNS = (
    *("trader_id", "symbol", "position_side", "contracts", "coins", "entry_price", "leverage", "margin"),
    *(
        "realised",
        "fees",
        "funding",
        "liquidation_price",
        "stop_loss",
        "take_profit",
        "confidence",
        "risk_usd",
    ),
    *("invalidation", "entry_client_order_id", "ts_opened", "ts_updated"),
)


class OrderTables:
    """Part of PostgresJournal; see engine.journal.ports.Journal for what each method promises."""

    def __init__(self, pool: Pool) -> None:
        self._pool, self._doubts = pool, Doubts(pool)
        self._before: int | None = None  # the newest order of all former lives

    # -- orders

    async def record_stop_moves(self, moves: Sequence[StopMove]) -> None:
        columns = StopMove.__struct_fields__
        sql = insert("stop_moves", columns, "on conflict do nothing")
        await self._pool.execute_many(sql, [row_of(move, columns) for move in moves])

    async def insert_order(self, order: Order) -> bool:
        name = order.client_order_id
        if self._before is None:
            self._before = int((await self._pool.fetch(_NEWEST))[0]["seq"])

        async def place() -> bool:
            return (await self._pool.execute(_PLACE, *_order_values(order))).endswith(" 1")

        async def ours() -> bool:
            return bool(await self._pool.fetch(_PLACED, name, self._before, order.state.value))

        return await self._doubts.stated_once(("order", name), place, ours)

    async def record_execution(self, order: Order, fill: Fill | None, raw: bytes = b"") -> bool:
        values = (*_order_values(order), raw or None)
        if fill is None:
            await self._pool.execute_many(_EXECUTE, [values])
            return True

        async def book(connection: Connection) -> bool:
            await connection.execute(_TURN, f"fill:{fill.account_id}:{fill.fill_id}")
            if await connection.fetchval(_BOOKED, fill.account_id, fill.fill_id):
                return False
            await connection.execute(_FILL, *values, *row_of(fill, FILL_COLUMNS))
            return True

        return await self._doubts.once(("fill", fill.account_id, fill.fill_id), book)

    async def fill_booked(self, account_id: str, fill_id: str) -> bool:
        return bool(await self._pool.fetch(_BOOKED, account_id, fill_id))

    async def order(self, client_order_id: str) -> Order | None:
        rows = await self._pool.fetch(f"{ORDER_QUERY} where o.client_order_id = $1", client_order_id)
        return order_of(rows[0]) if rows else None

    async def open_orders(self, account_id: str) -> tuple[Order, ...]:
        sql = (
            f"{ORDER_QUERY} where o.account_id = $1 "
            "and o.state in ('PENDING_NEW', 'NEW', 'PARTIALLY_FILLED') order by o.seq"
        )
        return tuple(order_of(row) for row in await self._pool.fetch(sql, account_id))

    async def pending_intents(self, account_id: str, since_ns: int) -> tuple[OrderIntent, ...]:
        sql = """select i.* from order_intents i left join trader_orders o using (client_order_id)
            where i.account_id = $1 and i.ts_created >= $2 and o.client_order_id is null
            order by i.ts_created, i.intent_id"""
        return tuple(intent_of(row) for row in await self._pool.fetch(sql, account_id, since_ns))

    async def newest_fill_ns(self, account_id: str) -> int:
        sql = "select coalesce(max(ts_event), 0) as ts from trader_fills where account_id = $1"
        return int((await self._pool.fetch(sql, account_id))[0]["ts"])

    async def agreed_ns(self, account_id: str) -> int:
        sql = """select ts from account_checks where account_id = $1 and detail = '' and abs(difference) <= $2
            order by ts desc limit 1"""
        rows = await self._pool.fetch(sql, account_id, TOLERANCE_USD)
        return int(rows[0]["ts"]) if rows else 0

    # -- books

    async def bookings(self, account_id: str) -> Bookings:
        """All of an account: may take minutes after years, so it has a longer timeout than the rest."""
        connections = self._pool.connection(LONG_TIMEOUT_S)
        async with connections as connection, connection.transaction(isolation="repeatable_read"):
            flows, fills, paid, entries, moves = [
                await connection.fetch(sql, account_id, timeout=LONG_TIMEOUT_S)
                for sql in (
                    "select * from cash_flows where account_id = $1 order by seq",
                    "select * from trader_fills where account_id = $1 order by seq",
                    "select * from funding_payments where account_id = $1 order by ts_event, seq",
                    _ENTRIES,
                    "select * from stop_moves where account_id = $1 order by seq",
                )
            ]
        return Bookings(
            cash_flows=tuple(map(cash_flow_of, flows)),
            fills=tuple(map(fill_of, fills)),
            entries=tuple(map(intent_of, entries)),
            funding=tuple(map(funding_of, paid)),
            stop_moves=tuple(map(stop_move_of, moves)),
        )

    async def record_cash_flow(self, flow: CashFlow) -> bool:
        return await self._doubts.once(("cash", flow.flow_id), lambda on: _add_flow(on, flow))

    async def record_transfer(self, flows: Sequence[CashFlow]) -> bool:
        async def add(connection: Connection) -> bool:
            return all([await _add_flow(connection, flow) for flow in flows])

        return await self._doubts.once(("transfer", *(flow.flow_id for flow in flows)), add)

    async def record_funding(self, payments: Sequence[FundingPayment]) -> bool:
        if not payments:
            return False
        key = ("funding", payments[0].account_id, payments[0].bill_id)
        return await self._doubts.once(key, lambda on: _add_funding(on, payments))

    async def record_position(self, view: AccountView, trades: Sequence[ClosedTrade]) -> None:
        async with self._pool.transaction() as connection:
            await connection.execute("delete from trader_positions where trader_id = $1", view.trader_id)
            rows = [
                [view.trader_id, each.symbol, each.side.value]
                + [getattr(each, name) for name in _POSITION_COLUMNS[3:-1]]
                + [view.ts]
                for each in view.positions
            ]
            if rows:
                await connection.executemany(insert("trader_positions", _POSITION_COLUMNS), rows)
            if trades:
                await connection.executemany(_TRADE, [row_of(trade, TRADE_COLUMNS) for trade in trades])
            await insert_episodes(connection, view.trader_id, [trade.trade_id for trade in trades])

    async def recent_trades(
        self, trader_id: str, limit: int, until_ns: int = NEVER_NS
    ) -> tuple[ClosedTrade, ...]:
        sql = """select * from closed_trades where trader_id = $1 and ts_exit <= $3
            order by seq desc limit $2"""
        return tuple(trade_of(row) for row in await self._pool.fetch(sql, trader_id, limit, until_ns))


def _order_values(order: Order) -> tuple[object, ...]:
    """What `_PLACE` and `_KEEP` are given."""
    intent = order.intent
    return (
        *(*intent_values(intent), order.client_order_id),
        *(order.client_order_id, intent.trader_id, intent.account_id, intent.symbol),
        *(order.state.value, order.venue_state.value, order.venue_order_id, intent.contracts),
        *(order.filled, order.claimed, order.average_price, order.fees, order.reason),
        *(intent.ts_created, order.ts_sent, order.ts_acked, order.ts_updated),
    )


async def _add_flow(connection: Connection, flow: CashFlow) -> bool:
    columns = tuple(CashFlow.__struct_fields__)
    sql = insert("cash_flows", columns, "on conflict do nothing returning true")
    return bool(await connection.fetchval(sql, *row_of(flow, columns)))


async def _add_funding(connection: Connection, payments: Sequence[FundingPayment]) -> bool:
    columns = tuple(FundingPayment.__struct_fields__)
    account_id, bill_id = payments[0].account_id, payments[0].bill_id
    await connection.execute(_TURN, f"bill:{account_id}:{bill_id}")
    known = "select 1 from funding_payments where account_id = $1 and bill_id = $2 limit 1"
    if await connection.fetchval(known, account_id, bill_id):
        return False
    rows = [row_of(payment, columns) for payment in payments]
    await connection.executemany(insert("funding_payments", columns), rows)
    return True
