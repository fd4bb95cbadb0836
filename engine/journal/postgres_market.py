"""Instruments, candles and signals."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from engine.core.instruments import Instrument
from engine.core.market import Candle
from engine.core.signals import Signal
from engine.journal.postgres_decisions import SIGNAL, signal_values
from engine.journal.postgres_partitions import Partitions
from engine.journal.postgres_pool import Pool

_ASSET: Final = """
insert into assets (symbol, base, quote, tick_size, lot_size, min_size, contract_value, max_leverage,
  is_active, ts_updated) values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
on conflict (symbol) do update set tick_size = excluded.tick_size, lot_size = excluded.lot_size,
  min_size = excluded.min_size, contract_value = excluded.contract_value,
  max_leverage = excluded.max_leverage, is_active = excluded.is_active, ts_updated = excluded.ts_updated
"""
_CANDLES: Final = """
insert into klines (symbol, timeframe, ts_open, open, high, low, close, volume)
select * from unnest($1::text[], $2::text[], $3::bigint[], $4::float8[], $5::float8[], $6::float8[],
  $7::float8[], $8::float8[])
on conflict do nothing
"""


class MarketTables:
    """Part of PostgresJournal; see engine.journal.ports.Journal for what each method promises."""

    def __init__(self, pool: Pool) -> None:
        self._pool, self._partitions = pool, Partitions(pool)

    async def record_instruments(self, instruments: Sequence[Instrument], ts: int) -> None:
        rows = [
            (
                *(i.symbol, i.base, i.quote, i.tick_size, i.lot_size, i.min_size, i.contract_value),
                *(i.max_leverage, i.live, ts),
            )
            for i in instruments
        ]
        await self._pool.execute_many(_ASSET, rows)

    async def record_candles(self, candles: Sequence[Candle]) -> None:
        """Closed candles; one that is there already stays as it is."""
        closed = [candle for candle in candles if candle.closed]
        if not closed:
            return
        await self._partitions.ensure("klines", (candle.ts_open for candle in closed))
        columns = ("symbol", "timeframe", "ts_open", "open", "high", "low", "close", "volume")
        async with self._pool.connection() as connection:
            await connection.execute(_CANDLES, *([getattr(c, name) for c in closed] for name in columns))

    async def record_signals(self, signals: Sequence[Signal]) -> None:
        await self._pool.execute_many(SIGNAL, [signal_values(signal) for signal in signals])
