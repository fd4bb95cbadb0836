"""A made-up wakeup: to look at prompts, and to try templates before an engine starts with them."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Final

from engine.core.decisions import AccountView, CycleMode, PositionView, WakeKind, WakeReason, Wakeup
from engine.core.market import Side, exact
from engine.core.orders import PositionSide
from engine.core.signals import Edge, MarketSnapshot, Signal, TimeframeView, signal_id
from engine.core.times import NS_PER_MIN, NS_PER_S, timeframe_ns

_NOW: Final = 1_767_225_600 * NS_PER_S + 7 * NS_PER_S  # 2026-01-01T00:00:07Z
_PRICES: Final = {"BTC": 90_000.0, "ETH": 3_000.0, "SOL": 150.0, "DOGE": 0.15, "XRP": 2.0}


def sample_wakeup(trader_id: str, symbols: Sequence[str]) -> Wakeup:
    """A signal in the first symbol, a short position in the second (if there is one), a quiet rest."""
    reasons = [WakeReason(WakeKind.LONG_TIMER, _NOW)]
    if symbols:
        reasons.append(WakeReason(WakeKind.SIGNAL, _NOW - 6 * NS_PER_S, _signal(symbols[0])))
    return Wakeup(
        cycle_id=f"{trader_id}-sample",
        trader_id=trader_id,
        ts=_NOW,
        mode=CycleMode.SHORT,
        reasons=tuple(reasons),
        account=_account(trader_id, symbols[1:2]),
        market=tuple(_snapshot(symbol) for symbol in symbols),
        deadline_ns=_NOW + NS_PER_MIN,
    )


def _price(symbol: str) -> float:
    return _PRICES.get(symbol.split("-", 1)[0], 10.0)


def _signal(symbol: str) -> Signal:
    ts = _NOW - 7 * NS_PER_S
    return Signal(
        signal_id=signal_id(symbol, "rsi", Edge.UP, ts),
        symbol=symbol,
        detector="rsi",
        feature="rsi_14",
        timeframe="5m",
        edge=Edge.UP,
        value=71.4,
        threshold=70.0,
        release=60.0,
        score=0.62,
        price=_price(symbol),
        ts_event=ts,
        ts_recv=ts,
    )


def _account(trader_id: str, held: Sequence[str]) -> AccountView:
    positions = tuple(_position(symbol) for symbol in held)
    unrealised = sum((view.unrealised or Decimal(0) for view in positions), Decimal(0))
    margin = sum((view.margin for view in positions), Decimal(0))
    cash = Decimal("10041.25")
    return AccountView(
        trader_id=trader_id,
        ts=_NOW,
        capital=Decimal(10_000),
        cash=cash,
        equity=cash + unrealised,
        available=cash + unrealised - margin,
        margin_used=margin,
        realised=Decimal("52.80"),
        unrealised=unrealised,
        fees=Decimal("-11.55"),
        funding=Decimal(0),
        positions=positions,
    )


def _position(symbol: str) -> PositionView:
    price = exact(_price(symbol))
    coins = (Decimal(3_000) / price).quantize(Decimal("0.0001"))
    entry = price * Decimal("1.004")
    return PositionView(
        symbol=symbol,
        side=PositionSide.SHORT,
        contracts=coins * 10,
        coins=coins,
        entry_price=entry,
        mark_price=price,
        notional=coins * price,
        leverage=Decimal(3),
        margin=coins * entry / 3,
        unrealised=coins * (entry - price),
        realised=Decimal(0),
        fees=coins * entry * Decimal("-0.0005"),
        funding=Decimal(0),
        liquidation_price=price * Decimal("1.32"),
        stop_loss=price * Decimal("1.012"),
        take_profit=price * Decimal("0.985"),
        confidence=Decimal("0.7"),
        risk_usd=Decimal(24),
        invalidation=f"two 5m closes above the high, {Side.BUY} pressure returns",
        ts_opened=_NOW - 42 * NS_PER_MIN,
        entry_client_order_id="sample",
    )


def _snapshot(symbol: str) -> MarketSnapshot:
    price = _price(symbol)
    return MarketSnapshot(
        symbol=symbol,
        ts=_NOW,
        last=price,
        bid=price * 0.9999,
        ask=price * 1.0001,
        mark=price,
        index=price * 0.9998,
        funding_rate=0.0001,
        ts_funding=_NOW + 8 * 60 * NS_PER_MIN,
        open_interest=None,
        volume_24h=1_000_000 / price,
        change_24h_pct=1.8,
        ts_price=_NOW - NS_PER_S // 2,
        ts_quotes=_NOW - NS_PER_S // 4,
        ts_mark=_NOW - NS_PER_S,
        ts_index=_NOW - NS_PER_S,
        live={"spread_bps": 2.0, "book_imbalance_5": 0.12, "change_pct_5m": 0.31},
        timeframes=tuple(_frame(timeframe, price) for timeframe in ("1m", "5m", "15m")),
    )


def _frame(timeframe: str, price: float) -> TimeframeView:
    step = timeframe_ns(timeframe)
    wave = (0.0, 0.4, 0.7, 0.5, 0.1, -0.3, -0.2, 0.2, 0.6, 1.0)
    return TimeframeView(
        timeframe=timeframe,
        ts_close=_NOW // step * step,
        closes=tuple(price * (1 + 0.002 * (wave[i % 10] - 1) + 0.0001 * (i - 19)) for i in range(20)),
        features={
            "close": price,
            "volume": 1234.5,
            "ema_12": price * 0.999,
            "ema_26": price * 0.997,
            "rsi_14": 63.2,
            "macd": price * 0.0021,
            "macd_signal": price * 0.0018,
            "macd_hist": price * 0.0003,
            "atr_14": price * 0.0025,
            "bb_upper_20": price * 1.004,
            "bb_middle_20": price * 0.998,
            "bb_lower_20": price * 0.992,
            "adx_14": None if timeframe == "15m" else 27.5,  # still warming up
        },
    )
