"""Strategies over several markets: funding legs in pairs, regimes, and a portfolio within its leverage."""

from __future__ import annotations

from decimal import Decimal

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.clock import SimClock
from engine.core.decisions import Act, Action, PositionView, Wakeup
from engine.core.errors import ConfigError
from engine.core.orders import PositionSide
from engine.core.times import NS_PER_S
from engine.executor.strategies.catalog import Param, make_strategy
from engine.executor.strategies.regime import Regime, RegimeDetector
from tests.executor_parts import BTC, ETH, SOL, flat, holding, seeing, wakeup_of

LONG, SHORT = PositionSide.LONG, PositionSide.SHORT
CALM = {"ema_12": 100.0, "ema_26": 100.0, "atr_14": 0.5, "rsi_14": 50.0, "adx_14": 10.0}
WIDE = {"bb_lower_20": 98.0, "bb_middle_20": 100.0, "bb_upper_20": 102.0}
NARROW = {"bb_lower_20": 99.9, "bb_middle_20": 100.0, "bb_upper_20": 100.1}
UP = CALM | WIDE | {"ema_12": 101.0, "rsi_14": 60.0, "adx_14": 35.0}
DOWN = CALM | WIDE | {"ema_12": 99.0, "rsi_14": 40.0, "adx_14": 35.0}


async def actions(name: str, wakeup: Wakeup, **params: Param) -> tuple[Action, ...]:
    return (await make_strategy(name, params, SimClock(1)).decide(wakeup)).decision.actions


def markets(*wakeups: Wakeup) -> Wakeup:
    """One flat wakeup that sees all their markets."""
    return msgspec.structs.replace(wakeups[0], market=tuple(wakeup.market[0] for wakeup in wakeups))


def funded(age_s: float = 0.0, **rates: float) -> Wakeup:
    now = 1_000 * NS_PER_S
    changes = {"ts": now, "ts_price": now, "ts_funding_seen": now - int(age_s * NS_PER_S)}
    seen = (
        seeing(f"{coin}-USDT-SWAP", {}, funding_rate=rate / 10_000, **changes) for coin, rate in rates.items()
    )
    return msgspec.structs.replace(markets(*seen), ts=now)


def with_positions(wakeup: Wakeup, *held: tuple[str, PositionSide, int]) -> Wakeup:
    """Positions as symbol, side, notional."""
    views: list[PositionView] = []
    for symbol, side, notional in held:
        view = holding(wakeup, symbol, side).account.positions[0]
        views.append(msgspec.structs.replace(view, notional=Decimal(notional), ts_opened=0))
    return msgspec.structs.replace(
        wakeup, account=msgspec.structs.replace(wakeup.account, positions=tuple(views))
    )


async def test_funding_legs_are_equal_and_opposite() -> None:
    long, short = await actions("funding_rate_arbitrage", funded(BTC=1, ETH=12, SOL=-3))
    assert (long.symbol, long.act) == (SOL, Act.BUY_TO_ENTER)
    assert (short.symbol, short.act) == (ETH, Act.SELL_TO_ENTER)
    assert long.notional_usd == short.notional_usd
    assert "15.0 bp" in long.justification


@pytest.mark.parametrize(
    "wakeup", [funded(BTC=1, ETH=8), funded(BTC=50), funded(age_s=1000, BTC=0, ETH=50), flat(wakeup_of())]
)
async def test_without_a_fresh_and_wide_spread_no_leg_is_entered(wakeup: Wakeup) -> None:
    assert await actions("funding_rate_arbitrage", wakeup) == ()


@pytest.mark.parametrize(
    ("held", "closed"),
    [
        ([(SOL, LONG, 1), (ETH, SHORT, 1)], set()),  # 15 bp are still earned
        ([(ETH, LONG, 1), (SOL, SHORT, 1)], {SOL, ETH}),  # it pays now
        ([(BTC, LONG, 1), (SOL, SHORT, 1)], {BTC, SOL}),
        ([(ETH, SHORT, 1)], {ETH}),  # alone
        ([(ETH, SHORT, 1), (BTC, SHORT, 1)], {ETH, BTC}),
    ],
)
async def test_legs_are_left_together(held: list[tuple[str, PositionSide, int]], closed: set[str]) -> None:
    found = await actions("funding_rate_arbitrage", with_positions(funded(BTC=1, ETH=12, SOL=-3), *held))
    assert {action.symbol for action in found} == closed
    assert {action.act for action in found} <= {Act.CLOSE}


async def test_young_leg_waits_for_its_other_one() -> None:
    wakeup = with_positions(funded(BTC=1, ETH=12, SOL=-3), (ETH, SHORT, 1))
    (leg,) = wakeup.account.positions
    young = msgspec.structs.replace(leg, ts_opened=wakeup.ts - 30 * NS_PER_S)
    account = msgspec.structs.replace(wakeup.account, positions=(young,))
    assert await actions("funding_rate_arbitrage", msgspec.structs.replace(wakeup, account=account)) == ()


@pytest.mark.parametrize(
    ("features", "regime"),
    [
        (UP, Regime.TREND),
        (CALM | WIDE, Regime.RANGE),
        (UP | NARROW, Regime.BREAKOUT),
        (CALM | NARROW, Regime.QUIET),
        (CALM | WIDE | {"adx_14": None}, None),
        (CALM, None),
    ],
)
def test_regime_is_trend_strength_and_room(features: dict[str, float | None], regime: Regime | None) -> None:
    assert RegimeDetector().regime(seeing(BTC, features).market[0]) is regime


async def test_each_member_is_heard_in_its_regime() -> None:
    (long,) = await actions("portfolio", seeing(BTC, UP))
    assert long.act is Act.BUY_TO_ENTER
    assert long.justification.startswith("trend, score +")
    (short,) = await actions("portfolio", seeing(BTC, CALM | WIDE, price=102.5))
    assert short.act is Act.SELL_TO_ENTER
    assert short.justification.startswith("range, score -")
    assert await actions("portfolio", seeing(BTC, CALM | NARROW, price=101.0)) == ()
    assert await actions("portfolio", seeing(BTC, UP | {"adx_14": None})) == ()


@given(
    st.lists(st.sampled_from([UP, DOWN, CALM | WIDE, CALM | NARROW]), min_size=1, max_size=5),
    st.integers(1, 4),
)
async def test_targets_together_stay_within_the_leverage(
    drawn: list[dict[str, float]], leverage: int
) -> None:
    names = (BTC, ETH, SOL, "DOGE-USDT-SWAP", "XRP-USDT-SWAP")
    wakeup = markets(*(seeing(name, features) for name, features in zip(names, drawn, strict=False)))
    entries = await actions("portfolio", wakeup, global_leverage=Decimal(leverage))
    equity = wakeup.account.equity
    assert equity is not None
    total = sum((entry.notional_usd or Decimal(0) for entry in entries), Decimal(0))
    assert total <= equity * leverage + 1
    assert all((entry.notional_usd or 0) >= equity / 10 for entry in entries)


async def test_position_is_reduced_toward_its_target_only_when_the_difference_matters() -> None:
    seen = seeing(BTC, UP)
    (entry,) = await actions("portfolio", seen)
    target = int(entry.notional_usd or 0)
    assert await actions("portfolio", with_positions(seen, (BTC, LONG, target))) == ()
    assert await actions("portfolio", with_positions(seen, (BTC, LONG, target + 900))) == ()
    assert await actions("portfolio", with_positions(seen, (BTC, LONG, target // 2))) == ()  # never added to
    (reduce,) = await actions("portfolio", with_positions(seen, (BTC, LONG, target * 2)))
    assert (reduce.act, reduce.close_fraction) == (Act.REDUCE, Decimal("0.50"))


async def test_position_is_closed_when_the_other_side_is_wanted() -> None:
    (action,) = await actions("portfolio", with_positions(seeing(BTC, DOWN), (BTC, LONG, 5000)))
    assert action.act is Act.CLOSE
    assert (
        await actions("portfolio", with_positions(seeing(BTC, UP | {"adx_14": None}), (BTC, LONG, 5000)))
        == ()
    )


@pytest.mark.parametrize("name", ["ema_trend", "bollinger_range", "portfolio"])
def test_timeframe_that_nobody_watches_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match="nobody watches '5m'; known: 1m, 15m"):
        make_strategy(name, {}, SimClock(1), ("1m", "15m"))
    make_strategy(name, {"timeframe": "15m"}, SimClock(1), ("1m", "15m"))


@given(
    features=st.sampled_from([UP, DOWN, CALM | WIDE, CALM | NARROW]),
    side=st.sampled_from([LONG, SHORT]),
    notional=st.integers(1, 100_000),
    price=st.floats(95, 105),
)
async def test_position_is_only_ever_made_smaller(
    features: dict[str, float], side: PositionSide, notional: int, price: float
) -> None:
    found = await actions(
        "portfolio", with_positions(seeing(BTC, features, price=price), (BTC, side, notional))
    )
    for action in found:
        assert action.act in {Act.CLOSE, Act.REDUCE}
        assert 0 < action.close_fraction <= 1
