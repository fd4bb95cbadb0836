"""Rows of market data, its gaps, money and backtests, as the reader gives them."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import msgspec

from engine.journal.views_records import ReasonRow


class CandleRow(msgspec.Struct, frozen=True):
    """A closed candle as the columns stand in the query: `timestamp` is its open, ms; `volume` in coins."""

    timestamp: int
    open: float
    high: float
    low: float
    close: float
    volume: float


class CoverageRow(msgspec.Struct, frozen=True, kw_only=True):
    """What there is of one timeframe; times are those of the first and the last open."""

    timeframe: str
    ts_first: int
    ts_last: int
    count: int


class IntegrityRow(msgspec.Struct, frozen=True, kw_only=True):
    """A gap, a duplicate or a repair of candles."""

    symbol: str
    timeframe: str
    kind: str
    ts_from: int
    ts_to: int
    ts: int


class BalanceRow(msgspec.Struct, frozen=True, kw_only=True):
    """The newest balance of a venue account; `cash` is without unrealised profit."""

    account_id: str
    ts: int
    cash: Decimal
    equity: Decimal
    available: Decimal


class CostRow(msgspec.Struct, frozen=True, kw_only=True):
    """What one trader's questions to one model cost."""

    trader_id: str
    alias: str
    model: str
    calls: int
    failures: int
    tokens_in: int
    tokens_out: int
    tokens_cached: int
    cost_usd: Decimal
    mean_latency_ms: float


class WakeupRow(msgspec.Struct, frozen=True, kw_only=True):
    """When a trader was woken, why, and how it ended."""

    seq: int
    cycle_id: str
    trader_id: str
    mode: str
    reasons: tuple[ReasonRow, ...]
    status: str
    timestamp: float


class BacktestRow(msgspec.Struct, frozen=True, kw_only=True):
    """A run that was recorded; `metrics` as the run wrote them."""

    run_id: str
    name: str
    digest: str
    metrics: Any
    timestamp: float


class BacktestDetail(BacktestRow, frozen=True, kw_only=True):
    """A run with its configuration and curves."""

    config: Any
    equity_curve: Any
