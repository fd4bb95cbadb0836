"""One trader that follows the cross of two averages: in the whole engine, over made-up candles."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Final, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

from engine.backtest.run import Outcome, run_backtest
from engine.config.manager import (
    AccountBreakerConfig,
    CapitalConfig,
    ManagerConfig,
    MonitoringConfig,
    RiskConfig,
    StrategyConfig,
    TraderConfig,
)
from engine.config.market import MarketConfig
from engine.config.market_rules import CrossRule
from engine.config.scheduler import RhythmConfig
from engine.config.settings import Settings, load_settings
from engine.config.values import Duration
from engine.core.times import NS_PER_DAY, NS_PER_MIN, NS_PER_MS
from engine.exchange.simulator.recorded import HISTORY_CANDLES, Recording
from engine.exchange.simulator.recorded_candles import read_candles
from engine.exchange.simulator.universe import LISTINGS, Listing
from engine.executor.asking import ModelFailure, ModelReply, ModelRequest

FAST: Final = 12
SLOW: Final = 26
FEE: Final = 0.0005  # of notional, each way
WARM: Final = HISTORY_CANDLES  # the first candles are the past: nobody trades in them
_SYMBOL: Final = "BTC-USDT-SWAP"
_START_MS: Final = 1_704_067_200_000
_DAY_S: Final = 86_400.0
_NO_FUNDING: Final = ((2**62, Decimal(0)),)
Column = npt.NDArray[np.float64]


class Candles(NamedTuple):
    """One-minute candles by column; `ts` is when each opens, ns."""

    ts: npt.NDArray[np.int64]
    open: Column
    high: Column
    low: Column
    close: Column
    volume: Column


class CrossTrade(NamedTuple):
    """A closed trade. `entry` and `exit` are the numbers of the candles at whose open it was filled."""

    side: int  # 1 long, -1 short
    entry: int
    exit: int
    entry_price: float
    exit_price: float
    net: float  # quote units a coin, after both fees


def made_candles(count: int, seed: int = 12) -> Candles:
    """A random walk of 0.05 % a minute on the tick, each candle opening where the one before closed."""
    random = np.random.default_rng(seed)
    close = np.round(60_000 * np.exp(np.cumsum(random.normal(0.0, 0.0005, count))), 1)
    opened = np.concatenate(([60_000.0], close[:-1]))
    high = np.maximum(opened, close) + np.round(random.exponential(8.0, count), 1)
    low = np.minimum(opened, close) - np.round(random.exponential(8.0, count), 1)
    ts = _START_MS * NS_PER_MS + NS_PER_MIN * np.arange(count, dtype=np.int64)
    return Candles(ts, opened, np.round(high, 1), np.round(low, 1), close, np.full(count, 20.0))


def recording(candles: Candles, symbol: str = _SYMBOL) -> Recording:
    """The candles as a file of them is read, on a market without funding, its bid and ask a tick apart."""
    listing = LISTINGS[symbol]
    narrow = Listing(listing.instrument, msgspec.structs.replace(listing.character, spread_bps=0.0))
    columns = (candles.open, candles.high, candles.low, candles.close, candles.volume)
    rows = (
        [str(ts // NS_PER_MS), *(f"{value:.1f}" for value in values)]
        for ts, *values in zip(candles.ts.tolist(), *(column.tolist() for column in columns), strict=True)
    )
    return read_candles(Path("made"), narrow, rows, corners=True)._replace(funding=_NO_FUNDING)


class _NoModel:
    async def ask(self, request: ModelRequest) -> ModelReply | ModelFailure:
        raise AssertionError(f"nobody here asks a model: {request}")


def played(recorded: Recording, settings: Settings) -> Outcome:
    """The whole engine over the recording."""
    return run_backtest(settings, [recorded], _NoModel())


def trades_of(outcome: Outcome) -> list[CrossTrade]:
    """What the engine's trader did, oldest first."""
    contract = float(LISTINGS[_SYMBOL].instrument.contract_value)
    start = outcome.start_ns - WARM * NS_PER_MIN
    return [
        CrossTrade(
            trade.side.sign,
            (trade.ts_entry - start) // NS_PER_MIN,
            (trade.ts_exit - start) // NS_PER_MIN,
            float(trade.entry_price),
            float(trade.exit_price),
            float(trade.net) / (float(trade.contracts) * contract),
        )
        for trade in outcome.journal.trades.values()
    ]


def cross_settings() -> Settings:
    """Shipped files, with one market, one detector and one trader whose limits never bind.

    A cross wakes the trader a second after the candle; a minute later it looks once more, and enters.
    """
    settings = load_settings(Path("etc"), {})
    market = MarketConfig(
        symbols=(_SYMBOL,),
        timeframes=("1m",),
        indicators=(f"ema_{FAST}", f"ema_{SLOW}"),
        stream=(),
        detectors=(CrossRule(name="cross", feature=f"ema_{FAST}", against=f"ema_{SLOW}", timeframe="1m"),),
    )
    trader = TraderConfig(
        id="cross",
        strategy=StrategyConfig(name="ema_cross"),
        allocation_pct=Decimal(100),
        symbols=(_SYMBOL,),
        rhythm=RhythmConfig(
            long_cycle=Duration(_DAY_S),
            short_cycle=Duration(60),
            grace=Duration(1),
            cooldown=Duration(1),
            stable_for=Duration(90),
            min_salience=0.0,
            jitter=Duration(0),
        ),
        risk_params=RiskConfig(
            stop_loss_enabled=False,
            max_concentration_pct=Decimal(10_000),
            cooldown_after_close=Duration(0),
            max_entries_per_hour=1000,
            max_daily_loss_pct=Decimal(100),
            max_drawdown_pct=Decimal(100),
            max_losses_in_row=0,
        ),
    )
    manager = ManagerConfig(
        manager=CapitalConfig(
            total_equity_usd=Decimal(100_000_000),
            reserve_equity_pct=Decimal(0),
            breaker=AccountBreakerConfig(max_daily_loss_pct=Decimal(100), max_drawdown_pct=Decimal(100)),
        ),
        traders=(trader,),
        monitoring=MonitoringConfig(update_interval=Duration(NS_PER_DAY // 10**9)),
    )
    return msgspec.structs.replace(settings, market=market, manager=manager)
