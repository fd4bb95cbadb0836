"""The trader of bench.cross as a strategy of nautilus_trader."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pandas as pd
from nautilus_trader.backtest.engine import BacktestEngine, BacktestEngineConfig
from nautilus_trader.config import LoggingConfig, RiskEngineConfig
from nautilus_trader.indicators import ExponentialMovingAverage
from nautilus_trader.model.currencies import USDT
from nautilus_trader.model.data import Bar, BarType
from nautilus_trader.model.enums import AccountType, OmsType, OrderSide
from nautilus_trader.model.objects import Money
from nautilus_trader.persistence.wranglers import BarDataWrangler
from nautilus_trader.test_kit.providers import TestInstrumentProvider
from nautilus_trader.trading.strategy import Strategy

from bench.cross import FAST, FEE, SLOW, Candles
from engine.core.times import NS_PER_MIN

Told = tuple[int, int, int, float, float, float]  # side, times of entry and exit, prices, net


class Cross(Strategy):  # type: ignore[misc]
    """Looks at every bar; closes, and enters at the next one."""

    def __init__(self, bar_type: Any, instrument: Any, first: int) -> None:
        super().__init__()
        self._bar_type, self._instrument = bar_type, instrument
        self._fast, self._slow = ExponentialMovingAverage(FAST), ExponentialMovingAverage(SLOW)
        self._left = first
        self._size = instrument.make_qty(1)
        self._held: Any = None
        self.told: list[Told] = []

    def on_start(self) -> None:
        self.register_indicator_for_bars(self._bar_type, self._fast)
        self.register_indicator_for_bars(self._bar_type, self._slow)
        self.subscribe_bars(self._bar_type)

    def on_bar(self, bar: Any) -> None:
        self._left -= 1
        if self._left >= 0:
            return
        above = self._fast.value > self._slow.value
        if self._held is None:
            side = OrderSide.BUY if above else OrderSide.SELL
            self.submit_order(self.order_factory.market(self._instrument.id, side, self._size))
        elif self._held.is_long != above:
            self.close_position(self._held)

    def on_position_opened(self, event: Any) -> None:
        self._held = self.cache.position(event.position_id)

    def on_position_closed(self, event: Any) -> None:
        self._held = None
        side = 1 if event.entry == OrderSide.BUY else -1
        prices = (event.avg_px_open, event.avg_px_close)
        net = event.realized_pnl.as_double()
        self.told.append((side, event.ts_opened, event.ts_closed, *prices, net))


def prepared(candles: Candles, first: int, cash: float) -> Callable[[], list[Told]]:
    """Everything but the run itself: bars, a margin account, and the fee of the bench."""
    template = TestInstrumentProvider.btcusdt_perp_binance()
    changed = template.to_dict(template) | {"maker_fee": str(FEE), "taker_fee": str(FEE)}
    instrument = type(template).from_dict(changed)
    bar_type = BarType.from_str(f"{instrument.id}-1-MINUTE-LAST-EXTERNAL")
    frame = pd.DataFrame(
        {
            "open": candles.open,
            "high": candles.high,
            "low": candles.low,
            "close": candles.close,
            "volume": candles.volume,
        },
        index=pd.to_datetime(candles.ts + NS_PER_MIN, utc=True),  # a bar is stamped with its end
    )
    bars: list[Bar] = BarDataWrangler(bar_type, instrument).process(frame)

    def run() -> list[Told]:
        engine = BacktestEngine(
            BacktestEngineConfig(
                logging=LoggingConfig(bypass_logging=True), risk_engine=RiskEngineConfig(bypass=True)
            )
        )
        engine.add_venue(
            venue=instrument.id.venue,
            oms_type=OmsType.HEDGING,
            account_type=AccountType.MARGIN,
            base_currency=USDT,
            starting_balances=[Money(cash, USDT)],
            default_leverage=Decimal(1),
        )
        engine.add_instrument(instrument)
        engine.add_data(bars)
        strategy = Cross(bar_type, instrument, first)
        engine.add_strategy(strategy)
        engine.run()
        engine.dispose()
        return strategy.told

    return run
