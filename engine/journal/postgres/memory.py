"""What traders remember. An episode is written in the transaction that closes its trade."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

import asyncpg

from engine.core.memory import EPISODES_KEPT, CoreBlock, CoreLabel, Episode, MemoryQuery, choose
from engine.core.orders import PositionSide, Purpose
from engine.journal.postgres.pool import Pool

if TYPE_CHECKING:
    Connection = asyncpg.Connection[asyncpg.Record]

_COLUMNS: Final = tuple(Episode.__struct_fields__)
_CANDIDATES: Final = 200  # newest that match, and newest of all, are compared
_REMEMBER: Final = """
insert into memory_episodes (trade_id, trader_id, symbol, side, ts_entry, ts_exit, entry_price, exit_price,
  leverage, net, exit, thesis, invalidation, close_reason)
select t.trade_id, t.trader_id, t.symbol, t.side, t.ts_entry, t.ts_exit, t.entry_price, t.exit_price,
  t.leverage, t.net, t.exit_purpose, coalesce(opened.action ->> 'justification', ''),
  t.exit_plan, coalesce(closed.action ->> 'justification', '')
from closed_trades t
left join lateral (
  select action from decision_cycles c, jsonb_array_elements(c.decisions) as each (action)
  where c.cycle_id = t.entry_cycle_id and action ->> 'symbol' = t.symbol limit 1
) opened on true
left join lateral (
  select action from order_intents i join decision_cycles c using (cycle_id),
    jsonb_array_elements(c.decisions) as each (action)
  where i.client_order_id = t.exit_client_order_id and action ->> 'symbol' = t.symbol limit 1
) closed on true
where t.trade_id = any($1) on conflict do nothing
"""
_FORGET: Final = """
delete from memory_episodes where trader_id = $1 and seq <
  (select seq from memory_episodes where trader_id = $1 order by seq desc offset $2 limit 1)
"""
_RECALL: Final = """
(select * from memory_episodes where trader_id = $1 and ts_exit <= $2
  and (symbol = any($3) or words @@ to_tsquery('simple', $4)) order by ts_exit desc, trade_id limit $5)
union
(select * from memory_episodes where trader_id = $1 and ts_exit <= $2
  order by ts_exit desc, trade_id limit $6)
"""
_AFTER: Final = """
select * from memory_episodes where trader_id = $1
  and seq > coalesce((select seq from memory_episodes where trade_id = $2), 0) order by seq limit $3
"""
_SET_BLOCK: Final = """
insert into memory_blocks (trader_id, label, text, ts) values ($1, $2, $3, $4)
on conflict (trader_id, label) do update set text = excluded.text, ts = excluded.ts
"""


async def insert_episodes(connection: Connection, trader_id: str, trade_ids: Sequence[str]) -> None:
    """Remember closed trades with the reasons of their cycles, in the transaction that records them."""
    if trade_ids:
        await connection.execute(_REMEMBER, list(trade_ids))
        await connection.execute(_FORGET, trader_id, EPISODES_KEPT)


class MemoryTables:
    """Part of PostgresJournal; see engine.journal.ports.Journal for what each method promises."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def episodes(self, query: MemoryQuery) -> tuple[Episode, ...]:
        words = " | ".join(sorted(query.words))
        rows = await self._pool.fetch(
            *(_RECALL, query.trader_id, query.until_ns, list(query.symbols), words, _CANDIDATES),
            query.limit,
        )
        return choose(map(_episode_of, rows), query)

    async def episodes_after(self, trader_id: str, trade_id: str, limit: int) -> tuple[Episode, ...]:
        rows = await self._pool.fetch(_AFTER, trader_id, trade_id, limit)
        return tuple(_episode_of(row) for row in rows)

    async def core_blocks(self, trader_id: str) -> tuple[CoreBlock, ...]:
        sql = "select label, text from memory_blocks where trader_id = $1 order by label"
        rows = await self._pool.fetch(sql, trader_id)
        return tuple(CoreBlock(label=CoreLabel(row["label"]), text=row["text"]) for row in rows)

    async def set_core_block(self, trader_id: str, block: CoreBlock, ts: int) -> None:
        await self._pool.execute_many(_SET_BLOCK, [(trader_id, block.label.value, block.text, ts)])


def _episode_of(row: asyncpg.Record) -> Episode:
    values = {name: row[name] for name in _COLUMNS}
    return Episode(**(values | {"side": PositionSide(row["side"]), "exit": Purpose(row["exit"])}))
