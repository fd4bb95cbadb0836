"""The reader's questions about market data, gaps, money and backtests."""

from __future__ import annotations

from typing import Final

from engine.journal.postgres.pool import ReadPool
from engine.journal.postgres.rows import in_order
from engine.journal.views_market import (
    BacktestDetail,
    BacktestRow,
    BalanceRow,
    CandleRow,
    CostRow,
    CoverageRow,
    IntegrityRow,
)

_CANDLES: Final = """
select ts_open / 1000000 as timestamp, open, high, low, close, volume from klines
where symbol = $1 and timeframe = $2 and ts_open < $3 order by ts_open desc limit $4"""
_COVERAGE: Final = """
select timeframe, min(ts_open) as ts_first, max(ts_open) as ts_last, count(*) as count from klines
where symbol = $1 and ($2 = '' or timeframe = $2) group by timeframe order by timeframe"""
_INTEGRITY: Final = """
select symbol, timeframe, kind, ts_from, ts_to, ts from candle_integrity_events
where ($1 = '' or symbol = $1) and ts < $2 order by ts desc, symbol, timeframe limit $3"""
_BALANCES: Final = """
select b.* from (select distinct account_id from traders) a
cross join lateral (select account_id, ts, cash, equity, available from balance_snapshots
                    where account_id = a.account_id order by ts desc limit 1) b
order by b.account_id"""
_COSTS: Final = """
select trader_id, alias, model, count(*) as calls, count(*) filter (where failure <> '') as failures,
       sum(tokens_in)::bigint as tokens_in, sum(tokens_out)::bigint as tokens_out,
       sum(tokens_cached)::bigint as tokens_cached, sum(cost_usd) as cost_usd,
       round(avg(latency_ms), 3)::double precision as mean_latency_ms
from llm_calls where ts >= $1 group by trader_id, alias, model
order by cost_usd desc, trader_id, alias, model"""
_BACKTESTS: Final = """
select run_id, name, digest, metrics, ts_created / 1000 / 1e6 as timestamp from backtest_runs
order by ts_created desc limit $1"""
_BACKTEST: Final = """
select run_id, name, digest, metrics, config, equity_curve, ts_created / 1000 / 1e6 as timestamp
from backtest_runs where run_id = $1"""


class MarketReader(ReadPool):
    """Part of JournalReader; every method raises StoreUnavailable."""

    async def candles(self, symbol: str, timeframe: str, before_ns: int, limit: int) -> list[CandleRow]:
        """The newest closed candles that open before `before_ns`, oldest first."""
        rows = await self.rows(_CANDLES, symbol, timeframe, before_ns, limit)
        return in_order(CandleRow, reversed(rows))

    async def coverage(self, symbol: str, timeframe: str) -> list[CoverageRow]:
        """What there is of a symbol, for one timeframe or ("") all."""
        return await self.typed(CoverageRow, _COVERAGE, symbol, timeframe)

    async def integrity_events(self, symbol: str, before_ns: int, limit: int) -> list[IntegrityRow]:
        """Gaps, duplicates and repairs that were noted before `before_ns`, newest first."""
        return await self.typed(IntegrityRow, _INTEGRITY, symbol, before_ns, limit)

    async def balances(self) -> list[BalanceRow]:
        """The newest balance of each account of the traders."""
        return await self.typed(BalanceRow, _BALANCES)

    async def model_costs(self, since_ns: int) -> list[CostRow]:
        """What models were asked since, by trader and model; the dearest first."""
        return await self.typed(CostRow, _COSTS, since_ns)

    async def backtests(self, limit: int) -> list[BacktestRow]:
        """Recorded runs, newest first."""
        return await self.typed(BacktestRow, _BACKTESTS, limit)

    async def backtest(self, run_id: str) -> BacktestDetail | None:
        """One run; None when there is none."""
        found = await self.typed(BacktestDetail, _BACKTEST, run_id)
        return found[0] if found else None
