"""Strategies: the same rule up and down, patient between its bounds, silent without data."""

from __future__ import annotations

from decimal import Decimal

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.clock import SimClock
from engine.core.decisions import Act, Action, CycleStatus, Wakeup
from engine.core.errors import ConfigError
from engine.core.orders import PositionSide
from engine.executor.strategies.catalog import NAMES, Param, make_strategy
from tests.executor_parts import BTC, ETH, SOL, flat, holding, seeing, wakeup_of

LONG, SHORT = PositionSide.LONG, PositionSide.SHORT
TREND = {"ema_12": 100.5, "ema_26": 100.0, "atr_14": 1.0, "rsi_14": 60.0}  # gap +0.5 ATR
RANGE = {"bb_lower_20": 98.0, "bb_upper_20": 102.0, "adx_14": 15.0, "atr_14": 0.5}


async def actions(name: str, wakeup: Wakeup, **params: Param) -> tuple[Action, ...]:
    record = await make_strategy(name, params, SimClock(1)).decide(wakeup)
    assert record.status is CycleStatus.DECIDED
    assert record.decision.refusal == ""
    return record.decision.actions


def mirrored(features: dict[str, float]) -> dict[str, float]:
    """The market upside down, around 100."""
    flipped = {name: 200 - value for name, value in features.items() if name not in {"atr_14", "adx_14"}}
    if "rsi_14" in features:
        flipped["rsi_14"] = 100 - features["rsi_14"]
    if "bb_lower_20" in features:
        flipped["bb_lower_20"], flipped["bb_upper_20"] = flipped["bb_upper_20"], flipped["bb_lower_20"]
    return features | flipped


async def test_trend_is_followed_with_stop_and_target_from_atr() -> None:
    (entry,) = await actions("ema_trend", seeing(BTC, TREND))
    assert entry.act is Act.BUY_TO_ENTER
    assert (entry.stop_loss, entry.take_profit) == (Decimal("97.5"), Decimal(105))
    assert entry.notional_usd == (Decimal("10041.25") * Decimal("0.4")).quantize(Decimal("0.01"))
    assert Decimal("0.5") <= entry.confidence < 1
    assert entry.justification


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"ema_12": 100.2}, "the gap is small"),
        ({"ema_12": 107.0}, "the move is old"),
        ({"rsi_14": 85.0}, "it is overbought"),
        ({"atr_14": 0.0}, "there is no range"),
        ({"ema_26": None}, "the average is warming up"),
        ({"rsi_14": float("nan")}, "the value is no number"),
    ],
)
async def test_trend_holds_without_a_clear_case(changes: dict[str, float | None], why: str) -> None:
    assert await actions("ema_trend", seeing(BTC, TREND | changes)) == (), why


async def test_trend_leaves_only_when_the_averages_turned() -> None:
    def gap(value: float) -> Wakeup:
        return seeing(BTC, TREND | {"ema_12": 100.0 + value})

    for value, leaves in ((0.3, False), (0.0, False), (-0.05, False), (-0.15, True), (-1.0, True)):
        long = await actions("ema_trend", holding(gap(value), BTC, LONG))
        short = await actions("ema_trend", holding(gap(-value), BTC, SHORT))
        assert [action.act for action in long] == [Act.CLOSE] * leaves
        assert [action.act for action in short] == [Act.CLOSE] * leaves


async def test_range_is_bought_low_and_sold_high_only_without_a_trend() -> None:
    (low,) = await actions("bollinger_range", seeing(BTC, RANGE, price=97.5))
    (high,) = await actions("bollinger_range", seeing(BTC, RANGE, price=102.5))
    assert (low.act, high.act) == (Act.BUY_TO_ENTER, Act.SELL_TO_ENTER)
    assert await actions("bollinger_range", seeing(BTC, RANGE, price=100.0)) == ()
    assert await actions("bollinger_range", seeing(BTC, RANGE | {"adx_14": 35.0}, price=97.5)) == ()
    assert await actions("bollinger_range", seeing(BTC, RANGE | {"adx_14": None}, price=97.5)) == ()


@pytest.mark.parametrize(
    ("price", "adx", "leaves"),
    [(97.0, 20.0, False), (99.0, 50.0, False), (100.0, 20.0, False), (101.5, 20.0, True), (97.0, 50.0, True)],
)
async def test_range_is_left_on_the_other_side_or_when_it_breaks(
    price: float, adx: float, leaves: bool
) -> None:
    wakeup = seeing(BTC, RANGE | {"adx_14": adx}, price=price)
    upside_down = seeing(BTC, RANGE | {"adx_14": adx}, price=200 - price)
    assert len(await actions("bollinger_range", holding(wakeup, BTC, LONG))) == leaves
    assert len(await actions("bollinger_range", holding(upside_down, BTC, SHORT))) == leaves


@given(
    fast=st.floats(92, 108),
    atr=st.floats(0.2, 1.5),  # where neither bound of the stop, a part of the price, counts
    rsi=st.floats(0, 100),
    price=st.floats(95, 105),
    adx=st.floats(0, 60),
)
async def test_every_entry_has_a_mirror_image(
    fast: float, atr: float, rsi: float, price: float, adx: float
) -> None:
    features = TREND | RANGE | {"ema_12": fast, "atr_14": atr, "rsi_14": rsi, "adx_14": adx}
    for name in ("ema_trend", "bollinger_range"):
        up = await actions(name, seeing(BTC, features, price=price))
        down = await actions(name, seeing(BTC, mirrored(features), price=200 - price))
        assert len(up) == len(down)
        for one, other in zip(up, down, strict=True):
            assert one.act is not other.act
            assert one.notional_usd == other.notional_usd
            assert_exit_plan(one, Decimal(str(price)))
            assert_exit_plan(other, Decimal(str(200 - price)))
            assert one.stop_loss is not None
            assert other.stop_loss is not None
            assert abs(one.stop_loss + other.stop_loss - 200) < Decimal("1e-6")


def assert_exit_plan(entry: Action, price: Decimal) -> None:
    sign = 1 if entry.act is Act.BUY_TO_ENTER else -1
    assert entry.stop_loss is not None
    assert entry.take_profit is not None
    risk, gain = (price - entry.stop_loss) * sign, (entry.take_profit - price) * sign
    assert Decimal("0.0029") <= risk / price <= Decimal("0.051")
    assert gain / risk >= Decimal("1.49")


async def test_buy_and_hold_enters_each_symbol_once_without_a_stop() -> None:
    first = await actions("buy_and_hold", flat(wakeup_of(BTC, SOL)))
    # Nothing of it was ever closed: the sample's realised profit would say otherwise.
    assert first == ()
    wakeup = flat(wakeup_of(BTC, SOL))
    fresh = msgspec.structs.replace(
        wakeup, account=msgspec.structs.replace(wakeup.account, realised=Decimal(0))
    )
    both = await actions("buy_and_hold", fresh)
    assert [entry.symbol for entry in both] == [BTC, SOL]
    assert {entry.stop_loss for entry in both} == {None}
    assert {entry.notional_usd for entry in both} == {Decimal(4750)}
    one = holding(fresh, BTC, LONG)
    assert [entry.symbol for entry in await actions("buy_and_hold", one)] == [SOL]


async def test_buy_and_hold_may_have_a_stop_on_either_side() -> None:
    wakeup = seeing(BTC, {})
    wakeup = msgspec.structs.replace(
        wakeup, account=msgspec.structs.replace(wakeup.account, realised=Decimal(0))
    )
    (long,) = await actions("buy_and_hold", wakeup, stop_pct=Decimal(10))
    (short,) = await actions("buy_and_hold", wakeup, stop_pct=Decimal(10), side="short")
    assert (long.stop_loss, short.stop_loss) == (Decimal(90), Decimal(110))
    assert short.act is Act.SELL_TO_ENTER


@pytest.mark.parametrize("name", NAMES)
async def test_nothing_is_entered_without_a_live_price_or_equity(name: str) -> None:
    features = TREND | RANGE
    for wakeup in (
        seeing(BTC, features, price=97.5, stale=("trades",)),
        seeing(BTC, features, last=None, mark=None),
        msgspec.structs.replace(seeing(BTC, features), market=()),
    ):
        assert await actions(name, wakeup) == ()
    wakeup = seeing(BTC, features, price=97.5)
    account = msgspec.structs.replace(wakeup.account, equity=None, realised=Decimal(0))
    assert await actions(name, msgspec.structs.replace(wakeup, account=account)) == ()


async def test_a_position_is_closed_even_while_a_channel_is_silent() -> None:
    wakeup = holding(seeing(BTC, TREND | {"ema_12": 99.0}, stale=("trades",)), BTC, LONG)
    assert [action.act for action in await actions("ema_trend", wakeup)] == [Act.CLOSE]


async def test_strongest_idea_comes_first_and_the_order_of_symbols_does_not_matter() -> None:
    wakeups = [seeing(name, TREND | {"ema_12": fast}) for name, fast in ((SOL, 101), (BTC, 102), (ETH, 98.5))]
    markets = tuple(wakeup.market[0] for wakeup in wakeups)
    one = msgspec.structs.replace(wakeups[0], market=markets)
    other = msgspec.structs.replace(wakeups[0], market=markets[::-1])
    assert await actions("ema_trend", one) == await actions("ema_trend", other)
    assert [entry.symbol for entry in await actions("ema_trend", one)] == [BTC, ETH, SOL]


@pytest.mark.parametrize(
    ("name", "params", "said"),
    [
        ("ema_tend", {}, "did you mean 'ema_trend'?"),
        ("ema_trend", {"tmeframe": "1m"}, "did you mean 'timeframe'?"),
        ("ema_trend", {"fast": Decimal(30)}, "fast below slow"),
        ("ema_trend", {"fast": Decimal("1.5")}, "int"),
        ("ema_trend", {"leverage": Decimal(0)}, "above 0"),
        ("buy_and_hold", {"side": "up"}, "'up'"),
        ("buy_and_hold", {"stop_atr": Decimal(2)}, "no parameter 'stop_atr'"),
        ("bollinger_range", {"adx_most": Decimal(60)}, "adx_most"),
        ("portfolio", {"adx_treshold": Decimal(3)}, "did you mean 'adx_threshold'?"),
        ("portfolio", {"bb_width_threshold": Decimal(0)}, "above 0"),
        ("portfolio", {"diff_threshold_pct": Decimal(0)}, "diff_threshold_pct"),
        ("funding_rate_arbitrage", {"exit_spread_bps": Decimal(9)}, "exit_spread_bps below"),
    ],
)
def test_wrong_parameter_is_named(name: str, params: dict[str, Param], said: str) -> None:
    with pytest.raises(ConfigError) as error:
        make_strategy(name, params, SimClock(1))
    assert said in str(error.value)


async def test_parameters_reach_rule_and_sizing() -> None:
    wakeup = seeing(BTC, TREND | {"ema_20": 101.0, "ema_50": 100.0})
    params: dict[str, Param] = {"fast": Decimal(20), "slow": Decimal(50), "size_pct": Decimal(10)}
    (entry,) = await actions("ema_trend", wakeup, leverage=Decimal(2), stop_atr=Decimal(1), **params)
    assert (entry.leverage, entry.stop_loss) == (Decimal(2), Decimal(99))
    assert entry.notional_usd == Decimal("1004.12")
    assert "EMA 20 is +1.00 ATR from EMA 50" in entry.justification


async def test_a_cross_is_followed_both_ways_and_reversed_in_two_looks() -> None:
    def seen(features: dict[str, float]) -> Wakeup:
        return seeing(BTC, features)

    above, on = {"ema_12": 100.5, "ema_26": 100.0}, {"timeframe": "5m"}
    (entry,) = await actions("ema_cross", seen(above), notional_usd=Decimal(500), **on)
    assert (entry.act, entry.notional_usd, entry.stop_loss) == (Act.BUY_TO_ENTER, Decimal(500), None)
    (short,) = await actions("ema_cross", seen(mirrored(above)), **on)
    assert short.act is Act.SELL_TO_ENTER
    assert await actions("ema_cross", holding(seen(above), BTC, LONG), **on) == ()
    (leave,) = await actions("ema_cross", holding(seen(above), BTC, SHORT), **on)
    assert leave.act is Act.CLOSE
    assert await actions("ema_cross", seen(above | {"ema_26": 100.5}), **on) == ()
