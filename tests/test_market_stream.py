"""Live features equal what a look at all events would give; the snapshot invents nothing."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.config.market import MarketConfig
from engine.config.market_rules import ThresholdRule
from engine.core.market import (
    BookTop,
    ChannelState,
    FeedStatus,
    FundingRate,
    IndexPrice,
    Level,
    MarketEvent,
    MarkPrice,
    OpenInterest,
    PriceLimits,
    Side,
    Ticker,
    Trade,
)
from engine.core.times import NS_PER_S
from engine.market.pipeline import MarketPipeline
from engine.market.state import freeze, thaw
from engine.market.stream import Change, ChangeZ, TradeFlow, book_imbalance, spread_bps
from tests.market_world import BTC, START, walk

WINDOW_S = 60  # with 60 buckets: one a second


def pipeline(*events: MarketEvent) -> MarketPipeline:
    made = MarketPipeline(MarketConfig(symbols=(BTC,), detectors=()))
    for event in events:
        made.update(event)
    return made


def at(second: float) -> int:
    return START + int(second * NS_PER_S)


def ticker(second: float, last: float = 100.0, bid: float | None = 99.0, ask: float | None = 101.0) -> Ticker:
    return Ticker(BTC, last, bid, ask, 1.0, 1.0, 5000.0, 80.0, at(second), at(second) + 7)


EVENTS = st.lists(st.tuples(st.integers(0, 20), st.floats(1, 1000)), min_size=1, max_size=60)


@given(EVENTS, st.integers(0, 100))
def test_change_compares_with_the_value_a_window_ago(events: list[tuple[int, float]], later: int) -> None:
    change = Change("change_pct_1m", WINDOW_S)
    second, seen = 0, []
    for pause, price in events:
        second += pause
        seen.append((second, price))
        change.add(at(second), price)
    now = second + later
    past = [price for when, price in seen if when <= now - WINDOW_S]
    expected = None if not past else pytest.approx((seen[-1][1] / past[-1] - 1) * 100, rel=1e-9, abs=1e-9)
    assert change.value(at(now)) == expected


@given(st.lists(st.tuples(st.integers(0, 20), st.integers(-9, 9)), max_size=60), st.integers(0, 100))
def test_trade_flow_weighs_the_trades_of_the_window(events: list[tuple[int, int]], later: int) -> None:
    flow = TradeFlow("trade_flow_1m", WINDOW_S)
    second, seen = 0, []
    for pause, contracts in events:
        second += pause
        seen.append((second, contracts))
        flow.add(at(second), abs(contracts), bought=contracts > 0)
    now = second + later
    live = [contracts for when, contracts in seen if when > now - WINDOW_S]
    total = sum(map(abs, live))
    assert flow.value(at(now)) == (pytest.approx(sum(live) / total) if total else None)


def test_change_z_is_the_change_in_deviations_of_earlier_windows() -> None:
    candles = walk(8, 40)
    feature = ChangeZ("change_z_1m", WINDOW_S)
    for item in candles:
        feature.add(item.ts_event, item.close)
    returns = [math.log(b.close / a.close) for a, b in itertools.pairwise(candles)]
    deviation = math.sqrt(sum(r * r for r in returns[:-1]) / len(returns[:-1]))
    assert feature.value(candles[-1].ts_event) == pytest.approx(returns[-1] / deviation)


@pytest.mark.parametrize("feature", [Change("c", 60), ChangeZ("z", 60), TradeFlow("f", 60)])
def test_restored_live_feature_is_the_same(feature: Change | ChangeZ | TradeFlow) -> None:
    twin = type(feature)(feature.name, 60)
    for second in range(100):
        if isinstance(feature, TradeFlow):
            feature.add(at(second), 1.0 + second, bought=second % 3 > 0)
        else:
            feature.add(at(second), 100.0 + second % 7)
    thaw(twin, freeze(feature))
    assert freeze(twin) == freeze(feature)
    assert twin.value(at(100)) == feature.value(at(100))


@pytest.mark.parametrize(
    ("bid", "ask", "expected"), [(99.0, 101.0, 200.0), (None, 101.0, None), (99.0, None, None)]
)
def test_spread_in_bps(bid: float | None, ask: float | None, expected: float | None) -> None:
    assert spread_bps(bid, ask) == expected


@pytest.mark.parametrize(
    ("bids", "asks", "expected"),
    [([(1, 3)], [(2, 1)], 0.5), ([(1, 3), (0.5, 90)], [(2, 3)], 0.0), ([], [(2, 1)], -1.0), ([], [], None)],
)
def test_book_imbalance_of_the_best_levels(
    bids: Sequence[tuple[float, float]], asks: Sequence[tuple[float, float]], expected: float | None
) -> None:
    book = BookTop(BTC, tuple(Level(*each) for each in bids), tuple(Level(*each) for each in asks), 0)
    assert book_imbalance(book, 1) == expected


def test_unknown_is_none_never_zero() -> None:
    view = pipeline().snapshot(BTC, at(0))
    assert view.price() is None
    assert set(view.live.values()) == {None}
    assert view.timeframes == ()
    assert (view.change_24h_pct, view.open_interest, view.funding_rate) == (None, None, None)


def test_snapshot_shows_the_newest_values_with_their_times() -> None:
    view = pipeline(
        ticker(0),
        MarkPrice(BTC, 100.2, at(1), at(1) + 9),
        IndexPrice(BTC, 100.0, at(1)),
        FundingRate(BTC, 0.0001, at(3600), at(1)),
        OpenInterest(BTC, 500.0, 5.0, at(1)),
        Trade(BTC, 101.5, 2.0, Side.BUY, "1", at(2), at(2) + 5),
        BookTop(BTC, (Level(100.0, 3.0),), (Level(100.5, 1.0),), at(2)),
    ).snapshot(BTC, at(3))
    assert (view.last, view.ts_price) == (101.5, at(2) + 5)
    assert (view.bid, view.ask, view.mark, view.index) == (100.0, 100.5, 100.2, 100.0)
    assert (view.ts_mark, view.funding_rate, view.ts_funding) == (at(1) + 9, 0.0001, at(3600))
    assert (view.reference_px, view.reference_age_s) == (100.0, 2.0)
    assert view.change_24h_pct == pytest.approx((101.5 / 80 - 1) * 100)
    assert view.live["basis_bps"] == pytest.approx(20.0)
    assert view.live["book_imbalance_5"] == 0.5
    assert view.live["trade_flow_1m"] == 1.0
    assert view.live["funding_rate"] == 0.0001
    assert (view.ts_quotes, view.ts_book, view.ts_24h, view.ts_index) == (at(2), at(2), at(0) + 7, at(1))
    assert (view.ts_live["funding_rate"], view.ts_live["trade_flow_1m"]) == (at(1), at(2))


def test_price_limits_are_known_while_their_channel_speaks() -> None:
    told = PriceLimits(BTC, 105.0, 95.0, at(1))
    silent = FeedStatus(BTC, "price-limit", ChannelState.STALE, at(2))
    known, unknown = pipeline(told).snapshot(BTC, at(3)), pipeline(told, silent).snapshot(BTC, at(3))
    assert (known.highest_buy, known.lowest_sell) == (105.0, 95.0)
    assert (unknown.highest_buy, unknown.lowest_sell) == (None, None)
    assert unknown.blind == ()


def test_older_price_does_not_replace_a_newer_one() -> None:
    made = pipeline(ticker(5, last=100.0), Trade(BTC, 50.0, 1.0, Side.BUY, "1", at(4)))
    assert made.snapshot(BTC, at(6)).last == 100.0


def test_older_book_does_not_replace_newer_quotes() -> None:
    made = pipeline(ticker(5), BookTop(BTC, (Level(1.0, 1.0),), (Level(2.0, 1.0),), at(4)))
    assert made.snapshot(BTC, at(6)).bid == 99.0


def test_feature_of_a_silent_source_is_unknown() -> None:
    made = pipeline(ticker(0), FundingRate(BTC, 0.0001, at(3600), at(0)))
    assert made.snapshot(BTC, at(60)).live["spread_bps"] == 200.0
    later = made.snapshot(BTC, at(61))
    assert later.live["spread_bps"] is None
    assert later.live["funding_rate"] == 0.0001, "funding is told once a minute"
    assert made.snapshot(BTC, at(601)).live["funding_rate"] is None


def test_basis_is_as_old_as_the_older_of_mark_and_index() -> None:
    rule = ThresholdRule(name="basis", feature="basis_bps", upper=15, upper_release=8)
    made = MarketPipeline(MarketConfig(symbols=(BTC,), detectors=(rule,)))
    made.update(IndexPrice(BTC, 100.0, at(0)))
    for second in range(60):
        assert made.update(MarkPrice(BTC, 100.0, at(second))) == ()
    assert made.snapshot(BTC, at(60)).live["basis_bps"] == 0.0
    assert made.update(MarkPrice(BTC, 101.0, at(61))) == (), "against an index of a minute ago"
    assert made.snapshot(BTC, at(61)).live["basis_bps"] is None


def test_prices_from_before_a_restart_are_not_shown_as_those_of_now() -> None:
    made = pipeline(
        ticker(0),
        BookTop(BTC, (Level(99.0, 1.0),), (Level(101.0, 1.0),), at(1)),
        MarkPrice(BTC, 100.0, at(1)),
        IndexPrice(BTC, 100.0, at(1)),
    )
    made.reopen(BTC)
    made.update(Trade(BTC, 120.0, 1.0, Side.BUY, "1", at(600)))
    view = made.snapshot(BTC, at(600))
    assert (view.price(), view.bid, view.ask, view.bids, view.index) == (120.0, None, None, (), None)
    made.update(ticker(601))
    assert made.snapshot(BTC, at(601)).ask == 101.0


def test_empty_side_makes_the_spread_unknown() -> None:
    assert pipeline(ticker(0), ticker(1, ask=None)).snapshot(BTC, at(1)).live["spread_bps"] is None


def test_silent_channels_are_named_until_they_speak_again() -> None:
    stale = [
        FeedStatus(BTC, channel, ChannelState.STALE, at(0)) for channel in ("trades", "books5", "trades")
    ]
    made = pipeline(*stale)
    assert made.snapshot(BTC, at(1)).stale == ("books5", "trades")
    made.update(FeedStatus(BTC, "trades", ChannelState.LIVE, at(2)))
    assert made.snapshot(BTC, at(2)).stale == ("books5",)


def test_snapshot_changes_nothing() -> None:
    made = pipeline(ticker(0), ticker(1))
    before = made.state(BTC)
    made.snapshot(BTC, at(500))
    assert made.state(BTC) == before


def test_events_of_other_symbols_are_ignored_and_counted() -> None:
    made = pipeline(MarkPrice("DOGE-USDT-SWAP", 1.0, at(0)))
    assert made.ignored == 1
