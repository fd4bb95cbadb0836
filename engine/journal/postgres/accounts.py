"""How accounts stand over time: what is looked at, never acted upon. Written in bulk, but for the few."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Final

import msgspec

from engine.core.decisions import AccountView
from engine.core.errors import StoreUnavailable
from engine.core.times import NS_PER_HOUR
from engine.journal.ports import AccountCheck, BacktestRun, RiskEvent, VenuePositionRow
from engine.journal.postgres.batches import Batches
from engine.journal.postgres.bulk import BALANCES, CHECKS, PERFORMANCE, RISK_EVENTS
from engine.journal.postgres.pool import LONG_TIMEOUT_S, Pool
from engine.journal.postgres.rows import insert, row_of
from engine.journal.snapshots import BalanceSnapshot
from engine.journal.standing import Standing

_HOURLY: Final = """
select distinct on (trader_id, ts / $1::bigint) trader_id, ts, equity::float8 as equity
from trader_performance where equity is not null order by trader_id, ts / $1::bigint, ts desc
"""
_CLOSED_SINCE: Final = """
select trader_id, count(*) as trades, count(*) filter (where net > 0) as winners, max(seq) as seq
from closed_trades where seq > $1 group by 1
"""
_HELD_COLUMNS: Final = tuple(VenuePositionRow.__struct_fields__)
_RUN_COLUMNS: Final = tuple(BacktestRun.__struct_fields__)
_INITIAL: Final = """
insert into initial_equities (account_id, amount, ts) values ($1, $2, $3)
on conflict (account_id) do update set amount = excluded.amount, ts = excluded.ts
"""


class AccountTables:
    """Part of PostgresJournal; see engine.journal.ports.Journal for what each method promises."""

    def __init__(self, pool: Pool, batches: Batches) -> None:
        self._pool, self._batches = pool, batches
        self._standings: dict[str, Standing] | None = None  # trader → ratios, once the past was read
        self._counted_seq = 0  # of closed_trades
        self.on_risk_event: Callable[[RiskEvent], None] = lambda _: None  # hears each one as it is recorded

    async def record_performance(self, views: Sequence[AccountView]) -> None:
        standings = await self._standings_of(views)
        rows = []
        for view in views:
            standing = standings.get(view.trader_id, _NOTHING_KNOWN)
            values = {name: getattr(view, name, None) for name in PERFORMANCE.columns}
            values |= {
                "sharpe_ratio": standing.sharpe_ratio,
                "win_rate": standing.win_rate,
                "view": msgspec.msgpack.encode(view),
            }
            rows.append(tuple(values[name] for name in PERFORMANCE.columns))
        await self._batches.put(PERFORMANCE, rows)

    async def _standings_of(self, views: Sequence[AccountView]) -> dict[str, Standing]:
        """Ratios with these views; while the database is away, of what was known before."""
        try:
            if self._standings is None:
                self._standings = await self._read_standings()
            for row in await self._pool.fetch(_CLOSED_SINCE, self._counted_seq):
                standing = self._standings.setdefault(row["trader_id"], Standing())
                standing.add_trades(row["trades"], row["winners"])
                self._counted_seq = max(self._counted_seq, row["seq"])
        except StoreUnavailable:
            if self._standings is None:
                return {}
        for view in views:
            if view.equity is not None:
                self._standings.setdefault(view.trader_id, Standing()).add_equity(view.ts, float(view.equity))
        return self._standings

    async def load_standings(self) -> None:
        """Read the past of the ratios now: after years it takes a while that nobody should wait for later."""
        self._standings = await self._read_standings()

    async def _read_standings(self) -> dict[str, Standing]:
        past: dict[str, Standing] = {}
        async with self._pool.connection(LONG_TIMEOUT_S) as connection:
            rows = await connection.fetch(_HOURLY, NS_PER_HOUR, timeout=LONG_TIMEOUT_S)
        for row in rows:
            past.setdefault(row["trader_id"], Standing()).add_equity(row["ts"], row["equity"])
        return past

    async def record_check(self, check: AccountCheck) -> None:
        await self._batches.put(CHECKS, [row_of(check, CHECKS.columns)])

    async def record_risk_event(self, event: RiskEvent) -> None:
        self.on_risk_event(event)
        await self._batches.put(RISK_EVENTS, [row_of(event, RISK_EVENTS.columns)])

    async def risk_event(self, event_id: str) -> RiskEvent | None:
        columns = ", ".join(RiskEvent.__struct_fields__)
        sql = f"select {columns} from risk_events where event_id = $1"  # noqa: S608 - names of our own
        rows = await self._pool.fetch(sql, event_id)
        return RiskEvent(**dict(rows[0])) if rows else None

    async def record_balance(self, snapshot: BalanceSnapshot) -> None:
        await self._batches.put(BALANCES, [row_of(snapshot, BALANCES.columns)])

    async def record_venue_positions(
        self, account_id: str, positions: Sequence[VenuePositionRow], ts: int
    ) -> None:
        async with self._pool.transaction() as connection:
            await connection.execute("delete from exchange_positions where account_id = $1", account_id)
            sql = insert("exchange_positions", ("account_id", *_HELD_COLUMNS, "ts_updated"))
            rows = [(account_id, *row_of(each, _HELD_COLUMNS), ts) for each in positions]
            await connection.executemany(sql, rows)

    async def record_initial_equity(self, account_id: str, amount: Decimal, ts: int) -> None:
        await self._pool.execute_many(_INITIAL, [(account_id, amount, ts)])

    async def record_backtest(self, run: BacktestRun) -> None:
        row = [each.decode() if isinstance(each, bytes) else each for each in row_of(run, _RUN_COLUMNS)]
        sql = insert("backtest_runs", _RUN_COLUMNS, "on conflict do nothing")
        await self._pool.execute_many(sql, [row])


_NOTHING_KNOWN: Final = Standing()
