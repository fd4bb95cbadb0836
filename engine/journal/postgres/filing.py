"""What of the journal goes into decision files, and what has gone there."""

from __future__ import annotations

from typing import Final

import msgspec

from engine.core.ledger import ClosedTrade
from engine.journal.decision_files import FiledRecord, RecordKind
from engine.journal.postgres.pool import Pool
from engine.journal.postgres.rows import trade_of

# A cycle is complete a while after its decision, when no order of it can change or come any more.
_CYCLES: Final = """
select c.cycle_id, c.trader_id from decision_cycles c join traders using (trader_id)
where ($3 = '' or account_id = $3) and not c.filed and c.status <> 'pending' and c.ts_decided < $2
and not exists (
  select 1 from order_intents i left join trader_orders o using (client_order_id)
  where i.cycle_id = c.cycle_id and (o.state in ('PENDING_NEW', 'NEW', 'PARTIALLY_FILLED')
    or o.state is null and (i.ts_expires = 0 or i.ts_expires > $2)))
order by c.seq limit $1
"""
_OUTCOMES: Final = """
select t.trade_id, t.trader_id, t.entry_cycle_id as cycle_id
from closed_trades t join decision_cycles c on c.cycle_id = t.entry_cycle_id
  join traders a on a.trader_id = c.trader_id -- its account: a trade on paper has another
where ($2 = '' or a.account_id = $2) and not t.filed and c.filed order by t.seq limit $1
"""
_LAST: Final = """
select distinct on (trader_id) trader_id, n, kind, cycle_id, hash, ts from decision_chain
order by trader_id, n desc
"""
_ANCHOR: Final = """
insert into decision_chain (trader_id, n, kind, cycle_id, hash, ts) values ($1, $2, $3, $4, $5, $6)
on conflict do nothing
"""
_FILED: Final = {
    RecordKind.CYCLE: "update decision_cycles set filed = true where cycle_id = $1",
    RecordKind.OUTCOME: "update closed_trades set filed = true where trade_id = $1",
}


_UNFILED: Final = {
    RecordKind.CYCLE: "select 1 from decision_cycles where cycle_id = $1 and not filed",
    RecordKind.OUTCOME: "select 1 from closed_trades where trade_id = $1 and not filed",
}


class Due(msgspec.Struct, frozen=True):
    """Something to file; `subject` is the cycle's or the trade's id."""

    kind: RecordKind
    trader_id: str
    cycle_id: str
    subject: str


class Anchor(msgspec.Struct, frozen=True):
    """The hash that record `n` of a trader had when it was filed."""

    trader_id: str
    n: int
    kind: RecordKind
    cycle_id: str
    hash: str
    ts: int


class FilingTables:
    """The database's side of the decision files. Every method raises StoreUnavailable.

    account_id: files the cycles of its traders alone; "": those of all.
    """

    def __init__(self, pool: Pool, account_id: str = "") -> None:
        self._pool, self._account_id = pool, account_id

    def of(self, account_id: str) -> FilingTables:
        """The same for one account."""
        return FilingTables(self._pool, account_id)

    async def due(self, limit: int, decided_before: int) -> list[Due]:
        """Complete cycles that are not in a file yet, oldest first; then ends of trades."""
        cycles = await self._pool.fetch(_CYCLES, limit, decided_before, self._account_id)
        found = [Due(RecordKind.CYCLE, row["trader_id"], row["cycle_id"], row["cycle_id"]) for row in cycles]
        if found:
            return found
        trades = await self._pool.fetch(_OUTCOMES, limit, self._account_id)
        return [Due(RecordKind.OUTCOME, row["trader_id"], row["cycle_id"], row["trade_id"]) for row in trades]

    async def anchor(self, trader_id: str, record: FiledRecord, subject: str) -> None:
        """Remember that a record is in its file."""
        async with self._pool.transaction() as connection:
            await connection.execute(
                _ANCHOR, trader_id, record.n, record.kind.value, record.cycle_id, record.hash, record.ts
            )
            await connection.execute(_FILED[record.kind], subject)

    async def unfiled(self, kind: RecordKind, subject: str) -> bool:
        """Whether this database has what a record is about, and does not know that it was filed."""
        return bool(await self._pool.fetch(_UNFILED[kind], subject))

    async def trade(self, trade_id: str) -> ClosedTrade | None:
        rows = await self._pool.fetch("select * from closed_trades where trade_id = $1", trade_id)
        return trade_of(rows[0]) if rows else None

    async def newest(self) -> dict[str, Anchor]:
        """The last anchored record of every trader."""
        return {row["trader_id"]: _anchor(row) for row in await self._pool.fetch(_LAST)}

    async def anchors(self, trader_id: str, first: int) -> dict[int, Anchor]:
        """All from record `first` on, by number."""
        sql = "select * from decision_chain where trader_id = $1 and n >= $2 order by n"
        return {row["n"]: _anchor(row) for row in await self._pool.fetch(sql, trader_id, first)}

    async def traders(self) -> list[str]:
        """All that have an anchor."""
        sql = "select distinct trader_id from decision_chain order by 1"
        return [row["trader_id"] for row in await self._pool.fetch(sql)]


def _anchor(row: object) -> Anchor:
    return msgspec.convert(dict(row), Anchor)  # type: ignore[call-overload]
