"""Frame to signal: only closed candles fire, gaps leave no trace, a restart goes on bit for bit."""

from __future__ import annotations

from typing import ClassVar

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.config.market import MarketConfig
from engine.config.market_rules import BreakoutRule, CrossRule, Rule, SpikeRule, ThresholdRule
from engine.core.market import Candle, ChannelState, FeedStatus, MarketEvent, Side, Ticker, Trade
from engine.core.signals import Edge, Signal
from engine.core.times import NS_PER_MIN, NS_PER_S, timeframe_ns
from engine.market.candles import Aggregator
from engine.market.pipeline import MarketPipeline
from engine.market.state import shape
from tests.market_world import BTC, START, candle, closes, trades_of, walk

RULES: tuple[Rule, ...] = (
    ThresholdRule(
        name="rsi", feature="rsi_14", timeframe="1m", upper=60, upper_release=55, lower=40, lower_release=45
    ),
    ThresholdRule(
        name="rsi5", feature="rsi_14", timeframe="5m", upper=60, upper_release=55, lower=40, lower_release=45
    ),
    CrossRule(name="macd", feature="macd_hist", timeframe="1m"),
    CrossRule(name="ema", feature="ema_12", against="ema_26", timeframe="5m"),
    BreakoutRule(
        name="out",
        feature="close",
        timeframe="1m",
        upper="donchian_upper_20",
        lower="donchian_lower_20",
        release="donchian_middle_20",
    ),
    SpikeRule(name="move", feature="change_z_1m", threshold=2.5, release=1.0),
)
CONFIG = MarketConfig(symbols=(BTC,), detectors=RULES)


def run(pipeline: MarketPipeline, events: list[Candle]) -> list[Signal]:
    return [signal for event in events for signal in pipeline.update(event)]


def features(pipeline: MarketPipeline) -> list[dict[str, float | None]]:
    return [view.features for view in pipeline.snapshot(BTC, START).timeframes]


def forming(item: Candle, close: float) -> Candle:
    high, low = max(item.high, close), min(item.low, close)
    return msgspec.structs.replace(item, close=close, high=high, low=low, closed=False)


@pytest.fixture
def history() -> list[Candle]:
    return walk(21, 400, step=0.002)


def test_closed_candles_fire_each_kind_of_detector(history: list[Candle]) -> None:
    signals = run(MarketPipeline(CONFIG), history)
    assert {signal.detector for signal in signals} == {rule.name for rule in RULES}
    assert len({signal.signal_id for signal in signals}) == len(signals)
    assert all(0 <= signal.score <= 1 for signal in signals)


def test_signal_carries_value_thresholds_and_time_of_the_close(history: list[Candle]) -> None:
    signal = next(
        s for s in run(MarketPipeline(CONFIG), history) if s.detector == "rsi" and s.edge is Edge.UP
    )
    closing = next(c for c in history if c.ts_event == signal.ts_event)
    assert signal.signal_id == f"{BTC}:rsi:UP:{closing.ts_open + NS_PER_MIN}"
    assert (signal.threshold, signal.release, signal.price) == (60, 55, closing.close)
    assert signal.value >= 60


def test_D10_unconfirmed_candle_never_fires(history: list[Candle]) -> None:
    quiet, noisy = MarketPipeline(CONFIG), MarketPipeline(CONFIG)
    for item in history:
        expected = list(quiet.update(item))
        for close in (item.close * 1.2, item.close * 0.8):
            assert not noisy.update(forming(item, close))
        assert list(noisy.update(item)) == expected
    assert noisy.state(BTC) == quiet.state(BTC)


def test_forming_features_show_what_closing_would_and_change_nothing(history: list[Candle]) -> None:
    pipeline = MarketPipeline(CONFIG)
    run(pipeline, history[:-1])
    last = history[-1]
    pipeline.update(forming(last, last.close))
    before = pipeline.state(BTC)
    seen = {timeframe: pipeline.forming(BTC, timeframe) for timeframe in ("1m", "5m")}
    assert pipeline.state(BTC) == before
    pipeline.update(last)
    view = pipeline.snapshot(BTC, START).view("1m")
    assert view is not None
    assert seen["1m"] == view.features
    assert seen["5m"] is not None


def test_snapshot_carries_forming_features_when_they_are_wanted(history: list[Candle]) -> None:
    plain, live = MarketPipeline(CONFIG), MarketPipeline(msgspec.structs.replace(CONFIG, forming=True))
    for pipeline in (plain, live):
        run(pipeline, history[:-1])
        pipeline.update(forming(history[-1], 123.0))
    shown, without = live.snapshot(BTC, START).view("5m"), plain.snapshot(BTC, START).view("5m")
    assert shown is not None
    assert shown.forming is not None
    assert shown.forming["close"] == 123.0
    assert msgspec.structs.replace(shown, forming=None) == without


@settings(max_examples=20)
@given(begin=st.integers(100, 300), length=st.integers(1, 60), late=st.integers(0, 10))
def test_D9_gap_backfill_equals_a_cold_rebuild_bit_for_bit(begin: int, length: int, late: int) -> None:
    history = walk(21, 400, step=0.002)
    cold, gapped = MarketPipeline(CONFIG), MarketPipeline(CONFIG)
    run(cold, history)
    run(gapped, history[:begin])
    end = begin + length
    assert not run(gapped, history[end : end + 1 + late]), "nothing fires across a gap"
    (gap,) = gapped.take_gaps()
    assert (gap.ts_from, gap.ts_to) == (history[begin].ts_open, history[end].ts_open)
    assert gapped.snapshot(BTC, START).stale == ("candles 1m",)
    gap = gapped.gap(BTC, "1m") or gap  # it knows by now how far back the newest candles must reach
    gapped.backfill(BTC, "1m", history[end + 1 + late - gap.reach : end + 1 + late])
    run(gapped, history[end + 1 + late :])
    assert gapped.gap(BTC, "1m") is None
    assert gapped.state(BTC) == cold.state(BTC)


def test_signals_of_backfilled_candles_are_the_same_but_stale(history: list[Candle]) -> None:
    plain = run(MarketPipeline(CONFIG), history)
    pipeline = MarketPipeline(CONFIG)
    signals = run(pipeline, history[:200]) + run(pipeline, history[240:241])
    late = list(pipeline.backfill(BTC, "1m", history[190:245]))
    signals += late + run(pipeline, history[241:])
    assert [s.signal_id for s in signals] == [s.signal_id for s in plain]
    scores = {s.signal_id: s.score for s in plain}
    assert late
    assert all(s.score < 0.5 * scores[s.signal_id] for s in late[: len(late) // 2])


def test_warm_up_is_silent_and_equal_to_having_been_there(history: list[Candle]) -> None:
    lived, warmed = MarketPipeline(CONFIG), MarketPipeline(CONFIG)
    run(lived, history[:350])
    assert not warmed.warm_up(BTC, "1m", history[:350])
    assert run(warmed, history[350:]) == run(lived, history[350:])
    assert warmed.state(BTC) == lived.state(BTC)


def test_longer_timeframes_go_on_from_the_venues_history(history: list[Candle]) -> None:
    aggregator = Aggregator("1m", "5m")
    fives = [longer for item in history for longer in aggregator.add(item)]
    lived, warmed = MarketPipeline(CONFIG), MarketPipeline(CONFIG)
    run(lived, history)
    known = [c for c in fives if c.ts_open + timeframe_ns("5m") <= history[300].ts_open]
    warmed.warm_up(BTC, "5m", known)
    warmed.warm_up(BTC, "1m", history[:301])
    run(warmed, history[301:])
    assert features(warmed)[1] == features(lived)[1]
    assert warmed.gap(BTC, "5m") is None


def test_gap_too_long_to_fill_is_built_anew_and_tells_what_changed() -> None:
    up, down = [100.0 + i for i in range(60)], [160.0 - i for i in range(60)]
    path = closes([100.0 + i % 2 for i in range(60)] + up + down)
    pipeline = MarketPipeline(CONFIG)
    pipeline.warm_up(BTC, "1m", path[:60])
    assert Edge.UP in {s.edge for s in run(pipeline, path[60:100]) if s.detector == "rsi"}
    assert not run(pipeline, path[179:180])
    signals = pipeline.warm_up(BTC, "1m", path[80:179])
    rsi = [s.edge for s in signals if s.detector == "rsi"]
    assert rsi == [Edge.RECOVERED, Edge.DOWN]
    fresh = MarketPipeline(CONFIG)
    fresh.warm_up(BTC, "1m", path[80:180])
    assert features(pipeline)[0] == features(fresh)[0]


def test_excursion_that_began_and_ended_within_a_rebuilt_gap_is_not_told() -> None:
    up = [100.0 + i for i in range(60)]
    path = closes([100.0 + i % 2 for i in range(60)] + up + up[::-1] + up)
    pipeline = MarketPipeline(CONFIG)
    pipeline.warm_up(BTC, "1m", path[:60])
    assert Edge.UP in {s.edge for s in run(pipeline, path[60:100]) if s.detector == "rsi"}
    assert not run(pipeline, path[239:240])
    signals = pipeline.warm_up(BTC, "1m", path[80:239])
    assert not [s for s in signals if s.detector == "rsi"], "it is UP as it was"


@settings(max_examples=15)
@given(cut=st.integers(0, 400))
def test_restored_pipeline_goes_on_bit_for_bit(cut: int) -> None:
    history: list[MarketEvent] = []
    for item in walk(21, 400, step=0.002):
        ts = item.ts_event - 5 * NS_PER_S
        history.append(Ticker(BTC, item.close, item.close - 1, item.close + 1, 1, 1, 9, 100, ts))
        history.append(item)
    whole, first, second = (MarketPipeline(CONFIG) for _ in range(3))
    expected = [s for event in history for s in whole.update(event)]
    signals = [s for event in history[:cut] for s in first.update(event)]
    assert second.restore(BTC, first.state(BTC))
    signals += [s for event in history[cut:] for s in second.update(event)]
    assert signals == expected
    assert second.state(BTC) == whole.state(BTC)


def test_state_of_another_configuration_is_not_taken() -> None:
    other = MarketPipeline(MarketConfig(symbols=(BTC,), detectors=()))
    before = other.state(BTC)
    assert not other.restore(BTC, MarketPipeline(CONFIG).state(BTC))
    assert other.state(BTC) == before


def test_state_of_a_part_that_remembers_something_else_has_another_shape() -> None:
    class Before:
        STATE: ClassVar[tuple[str, ...]] = ("high", "low")
        high, low = 2.0, 1.0

    class After(Before):
        STATE: ClassVar[tuple[str, ...]] = ("low", "high")

    renamed = type("Before", (After,), {})
    assert shape({"a": [Before()]}) == shape({"a": [Before()]})
    assert shape({"a": [Before()]}) != shape({"a": [renamed()]})


def test_same_events_give_the_same_signals_and_state(history: list[Candle]) -> None:
    first, second = MarketPipeline(CONFIG), MarketPipeline(CONFIG)
    assert msgspec.json.encode(run(first, history)) == msgspec.json.encode(run(second, history))
    assert first.state(BTC) == second.state(BTC)


def test_closed_candles_come_out_with_their_features(history: list[Candle]) -> None:
    pipeline = MarketPipeline(CONFIG)
    run(pipeline, history)
    closed = pipeline.take_closed()
    assert [c.candle for c in closed if c.candle.timeframe == "1m"] == history
    assert {c.candle.timeframe for c in closed} == {"1m", "5m", "15m"}
    assert dict(closed[-1].features) == features(pipeline)[0] or closed[-1].candle.timeframe != "1m"
    assert not pipeline.take_closed()


def test_pipeline_on_trades_equals_pipeline_on_candles(history: list[Candle]) -> None:
    by_trades = MarketPipeline(msgspec.structs.replace(CONFIG, candles="trades"), {BTC: 0.01})
    signals = [s for trade in trades_of(history, 0.01) for s in by_trades.update(trade)]
    by_candles = MarketPipeline(CONFIG)
    expected = run(by_candles, history[1:-1])
    on_candles = [s.signal_id for s in signals if s.timeframe]
    assert on_candles == [s.signal_id for s in expected if s.timeframe]
    assert features(by_trades) == features(by_candles)


def test_D9_trades_lost_in_an_outage_make_no_candle_and_leave_no_trace(history: list[Candle]) -> None:
    pipeline = MarketPipeline(msgspec.structs.replace(CONFIG, candles="trades"), {BTC: 0.01})
    pipeline.warm_up(BTC, "1m", history[:100])
    trades = trades_of(history, 0.01)
    first, lost, last = 100 * 4 - 1, 200 * 4 + 2, 210 * 4 + 2  # two of the four trades of a minute
    for trade in trades[first:lost]:
        pipeline.update(trade)
    pipeline.update(FeedStatus(BTC, "trades", ChannelState.STALE, trades[lost].ts_event))
    pipeline.advance(trades[last].ts_event)
    assert pipeline.gap(BTC, "1m") is None, "nothing is made up while nothing is heard"
    for trade in trades[last:]:
        pipeline.update(trade)
        if pipeline.take_gaps():
            pipeline.backfill(BTC, "1m", history[100 : (trade.ts_event - START) // NS_PER_MIN])
    whole = MarketPipeline(CONFIG)
    whole.warm_up(BTC, "1m", history[:100])
    run(whole, history[100:-1])
    assert features(pipeline) == features(whole)


def test_minute_without_trades_ends_by_time() -> None:
    pipeline = MarketPipeline(msgspec.structs.replace(CONFIG, candles="trades"))
    for offset in (-1, 0):
        pipeline.update(Trade(BTC, 5.0, 1.0, Side.BUY, "", START + offset * NS_PER_S))
    pipeline.advance(START + 61 * NS_PER_S)
    assert not pipeline.take_closed(), "within the grace a late trade may still come"
    pipeline.advance(START + 62 * NS_PER_S)
    assert [c.candle.ts_open for c in pipeline.take_closed()] == [START]


def test_candles_of_a_timeframe_that_is_made_here_are_ignored() -> None:
    pipeline = MarketPipeline(CONFIG)
    pipeline.update(candle(0, 1, 1, 1, 1, timeframe="5m"))
    assert pipeline.ignored == 1


def test_venues_longer_candles_are_used_without_aggregation() -> None:
    pipeline = MarketPipeline(msgspec.structs.replace(CONFIG, aggregate=False))
    pipeline.update(candle(0, 1, 1, 1, 1, timeframe="5m"))
    view = pipeline.snapshot(BTC, START).view("5m")
    assert view is not None
    assert view.closes == (1.0,)


def test_rule_for_other_symbols_is_silent(history: list[Candle]) -> None:
    rules = tuple(msgspec.structs.replace(rule, symbols=("ETH",)) for rule in RULES)
    config = msgspec.structs.replace(CONFIG, symbols=(BTC, "ETH"), detectors=rules)
    assert not run(MarketPipeline(config), history)
