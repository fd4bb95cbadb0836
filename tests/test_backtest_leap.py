"""A backtest passes over candles in which nobody would act; what comes of it is the same."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as settings_of_hypothesis
from hypothesis import strategies as st

from bench.cross import Candles, cross_settings, made_candles, played, recording, trades_of
from engine.backtest.run import Outcome, run_backtest
from engine.config.manager import StrategyConfig
from engine.config.settings import Settings
from engine.config.values import Duration
from engine.core.ledger import ClosedTrade
from engine.core.market import Side
from engine.exchange.matching.core import MatchingCore
from engine.exchange.matching.types import (
    AccountSpec,
    AlgoRequest,
    AlgoType,
    OrderRequest,
    OrdType,
    TriggerType,
)
from engine.exchange.simulator.recorded import Recording
from engine.exchange.simulator.universe import LISTINGS
from tests.test_backtest import NoModel, strategies

BTC = "BTC-USDT-SWAP"
_CANDLES = 1_000


def with_strategy(settings: Settings, **params: Decimal | str | bool) -> Settings:
    """The trader of the bench with a strategy that has stops and targets."""
    (trader,) = settings.manager.traders
    changed = msgspec.structs.replace(
        trader,
        strategy=StrategyConfig(name="ema_trend", params=params),
        rhythm=msgspec.structs.replace(trader.rhythm, long_cycle=Duration(600)),
    )
    market = msgspec.structs.replace(
        settings.market, indicators=(*settings.market.indicators, "atr_14", "rsi_14")
    )
    return msgspec.structs.replace(settings.with_traders([changed]), market=market)


def walked(recorded: Recording) -> Recording:
    """The same moments, no longer known as those of candles: none is passed over."""
    return recorded._replace(points=list(recorded.points))


def decided(outcome: Outcome) -> dict[str, object]:
    """All that anybody found, thought or did in a run, and what came of it."""
    journal = outcome.journal
    return {
        "signals": journal.signals,
        "cycles": list(journal.cycles.values()),
        "orders": list(journal.orders.values()),
        "fills": list(journal.fills.values()),
        "trades": list(journal.trades.values()),
        "equity": journal.performance,
        "end": outcome.views,
        "moments": outcome.moments,
    }


def closed(outcome: Outcome) -> Sequence[ClosedTrade]:
    return tuple(outcome.journal.trades.values())


@pytest.mark.parametrize("stops", [False, True])
def test_trades_are_those_of_a_run_that_plays_every_moment(*, stops: bool) -> None:
    settings = cross_settings()
    if stops:
        settings = with_strategy(settings, timeframe="1m", stop_atr=Decimal(2), size_pct=Decimal("0.01"))
    recorded = recording(made_candles(_CANDLES))._replace(funding=())
    leaping = played(recorded, settings)
    assert len(closed(leaping)) > 10
    assert decided(leaping) == decided(played(walked(recorded), settings))
    assert leaping.balanced
    if stops:
        assert {trade.exit_purpose for trade in closed(leaping)} >= {"stop", "exit"}


def jumping(seed: int, quiet: int) -> Candles:
    """Candles with gaps between close and open, a quiet hour, some without volume, and holes."""
    count = 540
    random, candles = np.random.default_rng(seed), made_candles(count, seed)
    opened = np.round(candles.open * (1 + random.normal(0.0, 0.0003, count)), 1)
    opened[quiet : quiet + 60] = candles.close[quiet]
    close = np.where(np.arange(count) // 60 == quiet // 60, opened, candles.close)
    jumped = candles._replace(
        open=opened,
        high=np.maximum(candles.high, np.maximum(opened, close)),
        low=np.minimum(candles.low, np.minimum(opened, close)),
        close=close,
        volume=np.round(random.exponential(5.0, count) * (random.random(count) > 0.03), 2),
    )
    holes = random.integers(420, count - 5, 3)
    return Candles._make(np.delete(column, [*holes, *(holes + 1)]) for column in jumped)


@settings_of_hypothesis(max_examples=2, deadline=None)
@given(seed=st.integers(0, 2**32), quiet=st.integers(400, 480), aggregate=st.booleans())
def test_shipped_traders_decide_as_in_a_run_that_plays_every_moment(
    seed: int, quiet: int, *, aggregate: bool
) -> None:
    """With features of the live stream, three timeframes, two markets, and edges within candles."""
    shipped = strategies()
    market = msgspec.structs.replace(shipped.market, aggregate=aggregate)
    both = [recording(jumping(seed, quiet)), recording(jumping(seed + 1, quiet + 5), "ETH-USDT-SWAP")]
    leaping = run_backtest(msgspec.structs.replace(shipped, market=market), both, NoModel())
    every_moment = run_backtest(shipped, [walked(each) for each in both], NoModel())
    assert leaping.journal.signals
    assert decided(leaping) == decided(every_moment)


def test_holes_and_the_end_of_a_recording_are_played() -> None:
    candles = made_candles(_CANDLES)
    holes = [*range(700, 707), *range(850, 890)]
    rest = Candles._make(np.delete(column, holes) for column in candles)
    recorded = recording(rest)._replace(funding=())
    looking = with_strategy(cross_settings(), timeframe="1m", stop_atr=Decimal(2), size_pct=Decimal("0.01"))
    leaping = played(recorded, looking)
    assert len(closed(leaping)) > 10
    assert decided(leaping) == decided(played(walked(recorded), looking))


def test_the_same_candles_give_the_same_journal() -> None:
    recorded = recording(made_candles(_CANDLES))
    first, again = (played(recorded, cross_settings()) for _ in range(2))
    assert first.journal.digest() == again.journal.digest()


def test_a_cross_trader_is_long_and_short_and_pays_its_fees() -> None:
    trades = trades_of(played(recording(made_candles(_CANDLES)), cross_settings()))
    assert {trade.side for trade in trades} == {1, -1}
    for trade in trades:
        gross = (trade.exit_price - trade.entry_price) * trade.side
        assert trade.net == pytest.approx(gross - 0.0005 * (trade.entry_price + trade.exit_price))


def core_with(*, cash: str = "100000") -> MatchingCore:
    core = MatchingCore()
    core.set_instrument(LISTINGS[BTC].instrument)
    core.open_account(AccountSpec(account="a", balance=Decimal(cash)))
    core.on_book(BTC, [(Decimal(59_999), Decimal(1000))], [(Decimal(60_001), Decimal(1000))], 1)
    core.on_mark(BTC, Decimal(60_000), 1)
    return core


def order(side: Side, size: str, price: str | None = None) -> OrderRequest:
    kind, limit = (OrdType.MARKET, None) if price is None else (OrdType.LIMIT, Decimal(price))
    return OrderRequest(symbol=BTC, side=side, size=Decimal(size), ord_type=kind, price=limit)


def test_a_market_is_calm_between_the_nearest_stop_and_target() -> None:
    core = core_with()
    assert core.calm(BTC) == (Decimal(0), Decimal("Infinity"))
    core.place("a", order(Side.BUY, "1"), 2)
    core.place_algo(
        "a",
        AlgoRequest(
            symbol=BTC,
            side=Side.SELL,
            algo_type=AlgoType.OCO,
            size=Decimal(1),
            sl_trigger=Decimal(59_000),
            sl_trigger_type=TriggerType.MARK,
            tp_trigger=Decimal(62_000),
            tp_trigger_type=TriggerType.MARK,
        ),
        3,
    )
    assert core.calm(BTC) == (Decimal(59_000), Decimal(62_000))


def test_a_market_is_not_calm_while_an_order_rests() -> None:
    core = core_with()
    core.place("a", order(Side.BUY, "1", "50000"), 2)
    assert core.calm(BTC) is None


def test_calm_ends_well_before_a_liquidation() -> None:
    core = core_with(cash="1000")
    core.place("a", order(Side.SELL, "4"), 2)
    (position,) = core.positions("a")
    calm = core.calm(BTC)
    assert calm is not None
    assert position.liquidation_price is not None
    assert calm[0] == 0
    assert 60_000 < calm[1] < position.liquidation_price
