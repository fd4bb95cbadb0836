"""Edges fire once, alternate, and are silent inside the band; the score moves the right way."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.config.market import ScorerConfig
from engine.config.market_rules import BreakoutRule, CrossRule, Rule, SpikeRule, ThresholdRule
from engine.config.values import Duration
from engine.core.signals import Edge
from engine.core.times import NS_PER_S
from engine.market.detectors import BandDetector, CrossDetector, Side, detector
from engine.market.records import Crossing, Evidence, Reading
from engine.market.scorer import Recurrence, Scorer, agreement
from engine.market.state import freeze, thaw

RSI = ThresholdRule(name="rsi", feature="x", upper=70, upper_release=60, lower=30, lower_release=40)
SPIKE = SpikeRule(name="spike", feature="x", threshold=4, release=2)
CROSS = CrossRule(name="cross", feature="x", against=0.0, dead_band=1.0)
BREAKOUT = BreakoutRule(name="out", feature="close", timeframe="1m", upper="u", lower="l", release="m")
VALUES = st.lists(st.floats(0, 100), max_size=200)


def run(
    watcher: BandDetector | CrossDetector, values: Iterable[float | None], **marks: float
) -> list[Crossing]:
    crossings: list[Crossing] = []
    for second, value in enumerate(values):
        crossings += watcher.update(Reading(value, (second + 1) * NS_PER_S, **marks))
    return crossings


def edges(crossings: Sequence[Crossing]) -> list[Edge]:
    return [crossing.edge for crossing in crossings]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([50, 69.9, 61, 69.9], []),
        ([50, 70], [Edge.UP]),
        ([50, 75, 61, 80, 60.1], [Edge.UP]),
        ([50, 75, 60], [Edge.UP, Edge.RECOVERED]),
        ([50, 75, 60, 71], [Edge.UP, Edge.RECOVERED, Edge.UP]),
        ([50, 30, 39.9, 20], [Edge.DOWN]),
        ([50, 30, 40], [Edge.DOWN, Edge.RECOVERED]),
        ([50, 90, 10], [Edge.UP, Edge.RECOVERED, Edge.DOWN]),
        ([90, 95], []),  # the first value only sets the state
        ([90, 50], [Edge.RECOVERED]),
        ([50, None, 75, None, 80], [Edge.UP]),
        ([50, float("nan"), 75], [Edge.UP]),
        ([50, float("inf"), 50, float("-inf"), 75], [Edge.UP]),
    ],
)
def test_threshold_has_hysteresis(values: list[float | None], expected: list[Edge]) -> None:
    assert edges(run(detector(RSI), values)) == expected


@given(st.lists(st.floats(30, 70, exclude_min=True, exclude_max=True), max_size=200))
def test_any_path_inside_the_band_is_silent(values: list[float]) -> None:
    assert run(detector(RSI), [50, *values]) == []


@given(st.lists(st.floats(60, 100, exclude_min=True), max_size=100))
def test_bouncing_outside_the_release_is_one_edge(values: list[float]) -> None:
    assert edges(run(detector(RSI), [50, 75, *values])) == [Edge.UP]


@given(VALUES)
def test_excursions_and_recoveries_alternate(values: list[float]) -> None:
    seen = edges(run(detector(RSI), [50, *values]))
    assert all(edge is Edge.RECOVERED for edge in seen[1::2])
    assert all(edge in (Edge.UP, Edge.DOWN) for edge in seen[0::2])


@given(st.lists(st.floats(-10, 10), max_size=200))
def test_spikes_and_recoveries_alternate(values: list[float]) -> None:
    seen = edges(run(detector(SPIKE), [0, *values]))
    assert seen == [Edge.SPIKE, Edge.RECOVERED] * (len(seen) // 2) + [Edge.SPIKE] * (len(seen) % 2)


@given(st.lists(st.floats(-10, 10), max_size=200))
def test_crosses_alternate(values: list[float]) -> None:
    seen = edges(run(detector(CROSS), values, upper=0.0))
    assert all(a is not b for a, b in itertools.pairwise(seen))


@given(VALUES, st.integers(1, 30))
def test_no_state_is_left_before_min_hold(values: list[float], hold: int) -> None:
    rule = ThresholdRule(
        name="r", feature="x", upper=70, upper_release=60, lower=30, lower_release=40, min_hold=Duration(hold)
    )
    times = [crossing.ts for crossing in run(detector(rule), [50, *values])]
    assert all(b - a >= hold * NS_PER_S for a, b in itertools.pairwise(times))


def test_edge_that_still_holds_after_min_hold_is_told_then() -> None:
    rule = ThresholdRule(name="r", feature="x", upper=70, upper_release=60, min_hold=Duration(5))
    crossings = run(detector(rule), [50, 75, 50, 50, 50, 50, 50, 50])
    assert [(c.edge, c.ts // NS_PER_S) for c in crossings] == [(Edge.UP, 2), (Edge.RECOVERED, 7)]


def test_two_changes_at_one_instant_do_not_share_an_id() -> None:
    watcher = detector(RSI)
    seen = [c for v in (50.0, 75.0, 50.0, 75.0) for c in watcher.update(Reading(v, NS_PER_S))]
    assert edges(seen) == [Edge.UP]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([-5, 0.9, -0.5, 1.0], []),
        ([-5, 1.1, 0.5, -0.9, 2], [Edge.UP]),
        ([-5, 3, -3, 3], [Edge.UP, Edge.DOWN, Edge.UP]),
        ([3, 4], []),
    ],
)
def test_cross_needs_more_than_its_dead_band(values: list[float], expected: list[Edge]) -> None:
    assert edges(run(detector(CROSS), values, upper=0.0)) == expected


def test_dead_band_in_bps_follows_the_price() -> None:
    rule = CrossRule(name="c", feature="x", dead_band_bps=1.0)
    assert edges(run(detector(rule), [-50, 5.9], upper=0.0, price=60_000.0)) == []
    assert edges(run(detector(rule), [-50, 6.1], upper=0.0, price=60_000.0)) == [Edge.UP]
    assert edges(run(detector(rule), [-50, 6.1], upper=0.0)) == []


def test_breakout_lasts_until_the_middle() -> None:
    marks = {"upper": 110.0, "lower": 90.0, "release": 100.0}
    seen = edges(run(detector(BREAKOUT), [105, 111, 109, 101, 115, 99, 89], **marks))
    assert seen == [Edge.UP, Edge.RECOVERED, Edge.DOWN]


def test_price_at_the_extreme_of_a_channel_has_not_left_it() -> None:
    marks = {"upper": 110.0, "lower": 90.0, "release": 100.0}
    assert run(detector(BREAKOUT), [110, 90, 110], **marks) == []
    assert edges(run(detector(BREAKOUT), [105, 110, 90, 110.5, 90, 89.5], **marks)) == [
        *(Edge.UP, Edge.RECOVERED, Edge.DOWN)
    ]


def test_channel_without_height_has_no_outside() -> None:
    assert run(detector(BREAKOUT), [100, 100, 100], upper=100.0, lower=100.0, release=100.0) == []


def test_spike_of_the_other_sign_is_another_spike() -> None:
    crossings = run(detector(SPIKE), [0, 5, -5])
    assert edges(crossings) == [Edge.SPIKE, Edge.RECOVERED, Edge.SPIKE]
    assert [c.direction for c in crossings] == [1, 0, -1]


def test_crossing_carries_what_it_crossed() -> None:
    (up,) = run(detector(RSI), [50, 75])
    assert (up.value, up.threshold, up.release, up.direction) == (75, 70, 60, 1)


@pytest.mark.parametrize(
    "rule", [RSI, msgspec.structs.replace(RSI, min_hold=Duration(7)), SPIKE, CROSS, BREAKOUT]
)
@given(values=VALUES, cut=st.integers(0, 200))
def test_restored_detector_goes_on(rule: Rule, values: list[float], cut: int) -> None:
    whole, first, second = detector(rule), detector(rule), detector(rule)
    readings = [Reading(v, (s + 1) * NS_PER_S, 80.0, 20.0, 50.0) for s, v in enumerate([50, *values])]
    expected = [c for r in readings for c in whole.update(r)]
    seen = [c for r in readings[:cut] for c in first.update(r)]
    thaw(second, freeze(first))
    assert seen + [c for r in readings[cut:] for c in second.update(r)] == expected
    assert second.side in Side


KNOWN = Evidence(edge=Edge.UP, age_s=10, distance=1.0, earlier=1.0, volume_ratio=1.0, agreement=0.0)
WEIGHTS = st.builds(
    ScorerConfig,
    distance=st.floats(0.01, 10),
    rarity=st.floats(0.01, 10),
    volume=st.floats(0.01, 10),
    agreement=st.floats(0.01, 10),
)


@given(WEIGHTS, st.data())
def test_score_is_monotone_in_each_input(config: ScorerConfig, data: st.DataObject) -> None:
    scorer = Scorer(config)
    positive = st.floats(0, 1e6)
    for name, sign, values in (
        ("distance", 1, positive),
        ("volume_ratio", 1, positive),
        ("agreement", 1, st.floats(-1, 1)),
        ("earlier", -1, positive),
        ("age_s", -1, positive),
    ):
        low, high = sorted((data.draw(values), data.draw(values)))
        a = scorer.score(msgspec.structs.replace(KNOWN, **{name: low}))
        b = scorer.score(msgspec.structs.replace(KNOWN, **{name: high}))
        assert 0.0 <= a <= 1.0
        assert (b - a) * sign >= 0


def test_score_of_the_worked_example() -> None:
    config = ScorerConfig(distance=0.4, rarity=0.2, volume=0.2, agreement=0.2)
    evidence = Evidence(edge=Edge.UP, age_s=0, distance=3.0, earlier=1.0, volume_ratio=4.0, agreement=1.0)
    assert Scorer(config).score(evidence) == pytest.approx(0.4 * 0.75 + 0.2 * 0.5 + 0.2 * 0.8 + 0.2)


def test_recovery_counts_less() -> None:
    scorer = Scorer(ScorerConfig(recovered=0.4))
    recovered = Evidence(
        edge=Edge.RECOVERED, age_s=10, distance=1.0, earlier=1.0, volume_ratio=1.0, agreement=0.0
    )
    assert scorer.score(recovered) == pytest.approx(0.4 * scorer.score(KNOWN))


def test_earlier_edges_are_forgotten_by_half_lives() -> None:
    recurrence = Recurrence(half_life_s=100)
    recurrence.add(NS_PER_S)
    recurrence.add(101 * NS_PER_S)
    assert recurrence.count(101 * NS_PER_S) == pytest.approx(1.5)
    assert recurrence.count(301 * NS_PER_S) == pytest.approx(0.375)


def test_agreement_counts_only_timeframes_with_a_trend() -> None:
    assert agreement(1, [1, 1, -1, 0]) == pytest.approx(1 / 3)
    assert agreement(-1, [1]) == -1
    assert agreement(1, [0]) is None
    assert agreement(0, [1]) is None
