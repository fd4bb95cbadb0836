"""Order of candles: nothing twice, nothing missing; longer and self-made candles equal the venue's."""

from __future__ import annotations

import itertools
import random
from collections.abc import Sequence
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.core.market import Candle, Trade
from engine.core.times import NS_PER_S, timeframe_ns
from engine.market.candles import Aggregator, CandleSeries
from engine.market.trade_candles import TradeCandles
from tests.market_world import BTC, START, candle, trades_of, walk


def aggregated(candles: Sequence[Candle], timeframe: str) -> list[Candle]:
    aggregator = Aggregator("1m", timeframe)
    return [longer for item in candles for longer in aggregator.add(item)]


def venue_candle(parts: Sequence[Candle], timeframe: str) -> tuple[float, ...]:
    """What the venue says: volume is its decimal sum, written with four places here."""
    volume = float(f"{sum(round(c.volume * 10_000) for c in parts) / 10_000:.4f}")
    high, low = max(c.high for c in parts), min(c.low for c in parts)
    return (parts[0].ts_open, parts[0].open, high, low, parts[-1].close, volume)


def shape(item: Candle) -> tuple[float, ...]:
    return (item.ts_open, item.open, item.high, item.low, item.close, item.volume)


@given(st.lists(st.integers(0, 30), max_size=80))
def test_each_candle_passes_once_and_in_order(order: list[int]) -> None:
    candles = walk(1, 31)
    series = CandleSeries(BTC, "1m")
    passed = [c.ts_open for index in order for c in series.accept(candles[index])]
    assert passed == sorted(set(passed))
    assert all(b - a == series.step_ns for a, b in itertools.pairwise(passed))


@given(st.permutations(range(12)))
def test_disorder_behind_a_gap_is_put_in_order(order: list[int]) -> None:
    candles = walk(1, 13)
    series = CandleSeries(BTC, "1m")
    passed = list(series.accept(candles[0]))
    for index in order:
        passed += series.accept(candles[index + 1])
    assert passed == candles
    assert series.gap is None


def test_forming_candle_never_passes() -> None:
    series = CandleSeries(BTC, "1m")
    series.accept(candle(0, 1, 1, 1, 1))
    assert not series.accept(candle(1, 1, 5, 1, 5, closed=False))
    assert series.forming is not None
    assert series.accept(candle(1, 1, 5, 1, 4))
    assert series.forming is None


def test_late_look_at_a_candle_does_not_replace_the_one_in_the_making() -> None:
    series = CandleSeries(BTC, "1m")
    newer = candle(3, 1, 1, 1, 1, closed=False)
    for item in (newer, candle(2, 1, 9, 1, 9, closed=False)):
        series.accept(item)
    assert series.forming == newer


def test_gap_is_told_and_filled_in_order() -> None:
    candles = walk(4, 20)
    series = CandleSeries(BTC, "1m")
    for item in candles[:5]:
        series.accept(item)
    assert not series.accept(candles[9])
    assert not series.accept(candles[10])
    gap = series.gap
    assert gap is not None
    assert (gap.ts_from, gap.ts_to) == (candles[5].ts_open, candles[9].ts_open)
    assert gap.reach >= 6
    assert list(series.fill(candles[3:11])) == candles[5:11]
    assert series.gap is None


def test_answer_that_does_not_reach_back_fills_nothing() -> None:
    candles = walk(4, 20)
    series = CandleSeries(BTC, "1m")
    series.accept(candles[0])
    series.accept(candles[9])
    assert not series.fill(candles[4:12])
    assert series.gap is not None


def test_answer_that_ends_early_is_taken_as_far_as_it_goes() -> None:
    candles = walk(4, 20)
    series = CandleSeries(BTC, "1m")
    series.accept(candles[0])
    series.accept(candles[9])
    assert list(series.fill(candles[0:6])) == candles[1:6]
    assert list(series.fill(candles[4:12])) == candles[6:10]


def test_candle_that_the_venue_does_not_have_is_not_waited_for() -> None:
    candles = walk(4, 10)
    series = CandleSeries(BTC, "1m")
    series.accept(candles[0])
    series.accept(candles[4])
    without = [c for i, c in enumerate(candles[:6]) if i != 2]
    assert list(series.fill(without)) == [candles[1], candles[3], candles[4]]


def test_duplicates_and_late_candles_are_counted() -> None:
    candles = walk(4, 3)
    series = CandleSeries(BTC, "1m")
    for item in (*candles, candles[2], candles[0]):
        series.accept(item)
    assert series.dropped == 2


def test_held_candles_are_bounded() -> None:
    series = CandleSeries(BTC, "1m")
    series.accept(candle(0, 1, 1, 1, 1))
    for index in range(2, 1000):
        series.accept(candle(index, 1, 1, 1, 1))
    assert len(series.held) == 720
    assert series.gap is not None
    assert series.gap.ts_to == series.held[0].ts_open


@pytest.mark.parametrize("timeframe", ["5m", "15m", "1h"])
@given(seed=st.integers(0, 1000))
def test_longer_candles_equal_the_venues(timeframe: str, seed: int) -> None:
    candles = walk(seed, 150)
    step = timeframe_ns(timeframe)
    expected = []
    for start in sorted({c.ts_open - c.ts_open % step for c in candles}):
        parts = [c for c in candles if start <= c.ts_open < start + step]
        if len(parts) == step // timeframe_ns("1m"):
            expected.append(venue_candle(parts, timeframe))
    assert [shape(c) for c in aggregated(candles, timeframe)] == expected


@pytest.mark.parametrize(("timeframe", "hours"), [("4h", 4), ("1d", 24)])
def test_long_candles_begin_at_hours_and_midnights_utc(timeframe: str, hours: int) -> None:
    candles = walk(6, 80, timeframe="1h")
    aggregator = Aggregator("1h", timeframe)
    made = [longer for item in candles for longer in aggregator.add(item)]
    first = next(
        i for i, c in enumerate(candles) if datetime.fromtimestamp(c.ts_open / 1e9, UTC).hour % hours == 0
    )
    parts = [candles[i : i + hours] for i in range(first, len(candles) - hours + 1, hours)]
    assert [shape(c) for c in made] == [venue_candle(part, timeframe) for part in parts]
    assert len(made) >= 2


def test_longer_candle_is_closed_although_the_venue_never_had_its_last_minute() -> None:
    candles = walk(1, 40)
    start = next(i for i, c in enumerate(candles) if c.ts_open % timeframe_ns("5m") == 0)
    whole = candles[start : start + 12]
    holed = [c for i, c in enumerate(whole) if i not in (4, 5)]  # end of one bucket, start of the next
    longer = aggregated(holed, "5m")
    assert [c.ts_open for c in longer] == [whole[0].ts_open, whole[5].ts_open]
    assert longer[0].close == whole[3].close
    assert longer[1].open == whole[6].open


def test_longer_forming_candle_shows_what_is_so_far() -> None:
    candles = walk(1, 40)
    start = next(i for i, c in enumerate(candles) if c.ts_open % timeframe_ns("5m") == 0)
    aggregator = Aggregator("1m", "5m")
    for item in candles[start : start + 3]:
        aggregator.add(item)
    forming = aggregator.peek(candles[start + 3])
    assert forming is not None
    assert not forming.closed
    assert shape(forming) == venue_candle(candles[start : start + 4], "5m")


@given(seed=st.integers(0, 1000), contract_value=st.sampled_from([0.01, 0.1, 1.0, 1000.0]))
def test_candles_made_of_trades_equal_the_venues(seed: int, contract_value: float) -> None:
    candles = walk(seed, 30)
    maker = TradeCandles(BTC, "1m", contract_value)
    made = [c for trade in trades_of(candles, contract_value) for c in maker.add(trade)]
    assert [shape(c) for c in made] == [shape(c) for c in candles[1:-1]]  # the first was not whole


def test_minutes_without_trades_are_flat() -> None:
    maker = TradeCandles(BTC, "1m", 1.0)
    first, *_, last = candles = walk(3, 6)
    made = [c for trade in trades_of([first, candles[1], last], 1.0) for c in maker.add(trade)]
    made += maker.advance(last.ts_open + 61 * NS_PER_S)
    flat = [c for c in made if c.volume == 0]
    assert [c.ts_open for c in made] == [c.ts_open for c in candles[1:]]
    assert [shape(c)[1:] for c in flat] == [(candles[1].close,) * 4 + (0.0,)] * 3


def test_late_trade_is_dropped_and_counted() -> None:
    maker = TradeCandles(BTC, "1m", 1.0)
    trades = trades_of(walk(3, 3), 1.0)
    for trade in trades:
        maker.add(trade)
    assert not maker.add(trades[0])
    assert maker.late == 1


def test_order_of_many_small_trades_does_not_change_the_volume() -> None:
    rng = random.Random(5)  # noqa: S311 - not for secrets
    sizes = [round(rng.random() * 10 ** rng.randint(-3, 3), 3) for _ in range(3000)]
    volumes = set()
    for _ in range(3):
        rng.shuffle(sizes)
        maker = TradeCandles(BTC, "1m", 0.01)
        for offset in (-60, 0):
            for size in sizes:
                ts = START + offset * NS_PER_S
                maker.add(Trade(BTC, 100.0, size, trades_of(walk(1, 1), 1.0)[0].side, "", ts))
        volumes.add(maker.advance(START + 60 * NS_PER_S)[0].volume)
    assert len(volumes) == 1
