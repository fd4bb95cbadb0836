"""Instruments, candles and signals."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from engine.core.instruments import Instrument
from engine.core.market import Candle
from engine.core.signals import Signal
from engine.journal.ports import FeatureRow, IntegrityEvent
from engine.journal.postgres.batches import Batches
from engine.journal.postgres.bulk import CANDLES, INDICATORS, INTEGRITY, SIGNALS
from engine.journal.postgres.pool import Pool
from engine.journal.postgres.rows import json_text, row_of

_ASSET: Final = """
insert into assets (symbol, base, quote, tick_size, lot_size, min_size, contract_value, max_leverage,
  max_limit_size, max_market_size, is_active, ts_updated)
  values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)
on conflict (symbol) do update set tick_size = excluded.tick_size, lot_size = excluded.lot_size,
  min_size = excluded.min_size, contract_value = excluded.contract_value,
  max_leverage = excluded.max_leverage, max_limit_size = excluded.max_limit_size,
  max_market_size = excluded.max_market_size, is_active = excluded.is_active, ts_updated = excluded.ts_updated
"""
_ASSETS: Final = """
select symbol, base, quote, quote as settle, tick_size, lot_size, min_size, contract_value, max_leverage,
  max_limit_size, max_market_size, is_active as live from assets order by symbol
"""


class MarketTables:
    """Part of PostgresJournal; see engine.journal.ports.Journal for what each method promises."""

    def __init__(self, pool: Pool, batches: Batches) -> None:
        self._pool, self._batches = pool, batches

    async def record_instruments(self, instruments: Sequence[Instrument], ts: int) -> None:
        rows = [
            (
                *(i.symbol, i.base, i.quote, i.tick_size, i.lot_size, i.min_size, i.contract_value),
                *(i.max_leverage, i.max_limit_size, i.max_market_size, i.live, ts),
            )
            for i in instruments
        ]
        await self._pool.execute_many(_ASSET, rows)

    async def instruments(self) -> tuple[Instrument, ...]:
        """What the venue listed last, by symbol; empty before an engine has ever started."""
        rows = await self._pool.fetch(_ASSETS)
        return tuple(Instrument(**dict(row)) for row in rows)

    async def record_candles(self, candles: Sequence[Candle]) -> None:
        """Closed candles; one that is there already stays as it is."""
        await self._batches.put(CANDLES, [each for each in candles if each.closed])

    async def record_signals(self, signals: Sequence[Signal]) -> None:
        await self._batches.put(SIGNALS, [row_of(signal, SIGNALS.columns) for signal in signals])

    async def record_features(self, rows: Sequence[FeatureRow]) -> None:
        await self._batches.put(
            INDICATORS, [(row.symbol, row.timeframe, row.ts_open, json_text(row.values)) for row in rows]
        )

    async def record_integrity(self, events: Sequence[IntegrityEvent]) -> None:
        await self._batches.put(INTEGRITY, [row_of(event, INTEGRITY.columns) for event in events])
