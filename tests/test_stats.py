"""The tables of trades that were worked out by hand, and laws that hold for any trades."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from statistics import mean, median, stdev

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.core.decisions import Act
from engine.core.times import NS_PER_MIN
from engine.journal import ratios, stats
from engine.journal.stats import Minutes, SignalFigures, TradeFigures
from engine.journal.tables import Tables
from tests import journal_parts as parts


def made(net: float, *, gross: float, mins: float, notional: float, is_long: bool = True) -> TradeFigures:
    return TradeFigures(
        gross=gross,
        net=net,
        fees=gross - net,
        notional=notional,
        holding_mins=mins,
        is_long=is_long,
        leverage=1,
    )


# Nets 10, -4, -1: sum 5, mean 5/3, deviations 25/3, -17/3, -8/3, squares 978/9, over 2: 163/3.
TRADES = (
    made(10, gross=12, mins=60, notional=1000),
    made(-4, gross=-3, mins=20, notional=400),
    made(-1, gross=1, mins=40, notional=700, is_long=False),
)
NO_TIME = Minutes()


def of(
    trades: Sequence[TradeFigures],
    signals: Sequence[SignalFigures] = (),
    starts: Sequence[int] = (),
    minutes: Minutes = NO_TIME,
) -> Tables:
    """The tables of a whole history: closed trades, signals, and starts of cycles in ns."""
    statistics = stats.Statistics()
    for trade in trades:
        statistics.add_trade(trade)
    for start_ns in starts:
        statistics.add_invocation(start_ns)
    for signal in signals:
        statistics.add_signal(signal)
    return statistics.tables(minutes)


def said(act: Act, confidence: float, leverage: float = 1) -> SignalFigures:
    return SignalFigures(act=act, confidence=confidence, leverage=leverage)


def test_fees_and_profits_of_three_trades() -> None:
    table = of(TRADES).fee_pnl_moves_breakdown_table
    assert msgspec.structs.asdict(table) == {
        "avg_gross_pnl": 3.333333,
        "avg_net_pnl": 1.666667,
        "avg_taker_fee": 1.666667,
        "biggest_net_gain": 10,
        "biggest_net_loss": -4,
        "overall_pnl_with_fees": 5,
        "overall_pnl_without_fees": 10,
        "std_gross_pnl": 7.767453,  # √(362/3 / 2)
        "std_net_pnl": 7.371115,  # √(163/3)
        "std_taker_fee": 0.57735,  # fees 2, 1, 2: √(1/3)
        "total_fees_as_pct_of_pnl": 100,
        "total_fees_paid": 5,
    }


def test_fees_have_no_share_of_a_loss() -> None:
    assert of(TRADES[1:]).fee_pnl_moves_breakdown_table.total_fees_as_pct_of_pnl == 0


def test_winners_are_those_above_zero_after_fees() -> None:
    table = of((*TRADES, made(0, gross=1, mins=60, notional=100))).winners_losers_breakdown_table
    assert (table.win_rate, table.avg_winners_net_pnl, table.std_winners_net_pnl) == (25, 10, 0)
    assert table.avg_losers_net_pnl == pytest.approx(-5 / 3, abs=1e-6)
    assert (table.avg_losers_holding_period, table.avg_losers_notional) == (40, 400)


def test_long_share_is_of_all_trades() -> None:
    table = of(TRADES).longs_shorts_breakdown_table
    assert (table.num_long_trades, table.num_short_trades) == (2, 1)
    assert table.long_short_trades_ratio == 0.666667
    assert (table.avg_longs_net_pnl, table.avg_shorts_net_pnl) == (3, -1)
    assert table.std_longs_holding_period == pytest.approx(28.284271)
    assert table.std_shorts_holding_period == 0


def test_signals_are_counted_by_kind_and_minutes_add_up() -> None:
    signals = (
        said(Act.BUY_TO_ENTER, 0.6, 10),
        said(Act.SELL_TO_ENTER, 0.8, 20),
        said(Act.HOLD, 0.5),
        said(Act.MOVE_STOP, 0.7),
        said(Act.REDUCE, 0.4),
    )
    found = of(TRADES, signals, minutes=Minutes(open_short_mins=10, alive_mins=100, coins=2))
    table = found.signals_breakdown_table
    assert (table.total_signals, table.num_hold_signals, table.num_close_signals) == (5, 2, 1)
    assert (table.long_signal_pct, table.hold_signal_pct, table.long_short_ratio) == (20, 40, 1)
    assert (table.avg_confidence, table.median_confidence, table.avg_confidence_hold) == (0.6, 0.6, 0.6)
    assert table.std_confidence_hold == 0.141421
    assert (table.mins_long_combined, table.mins_short_combined, table.mins_flat_combined) == (80, 50, 70)
    assert table.pct_mins_long_combined + table.pct_mins_short_combined + table.pct_mins_flat_combined == 100
    overall = found.overall_trades_overview_table
    assert (overall.avg_convo_leverage, overall.median_convo_leverage) == (15, 15)
    assert (overall.avg_holding_period_mins, overall.std_holding_period_mins) == (40, 20)
    assert (overall.avg_size_of_trade_notional, overall.median_size_of_trade_notional) == (700, 700)


def test_breaks_lie_between_the_starts_of_cycles() -> None:
    starts = (0, 2 * NS_PER_MIN, 5 * NS_PER_MIN, 9 * NS_PER_MIN)
    table = of((), starts=starts).invocation_breakdown_table
    assert msgspec.structs.asdict(table) == {
        "avg_invocation_break_mins": 3,
        "max_invocation_break_mins": 4,
        "min_invocation_break_mins": 2,
        "num_invocations": 4,
        "std_invocation_break_mins": 1,
    }


def test_nothing_gives_zeros_everywhere() -> None:
    for table in msgspec.structs.astuple(of(())):
        assert set(msgspec.structs.astuple(table)) == {0}


def test_closed_trade_of_the_ledger_gives_its_own_figures() -> None:
    trade = parts.closed()
    figures = stats.figures(trade)
    assert figures.net == pytest.approx(figures.gross - figures.fees)
    assert figures.fees == pytest.approx(1.280002469)
    assert figures.notional == pytest.approx(1280.00246913578)


def period_sharpe(equities: list[float]) -> float | None:
    curve = ratios.Curve()
    for equity in equities:
        curve.add(equity)
    return curve.period_sharpe


def test_ratios_of_a_curve_worked_out_by_hand() -> None:
    curve = [100.0, 110.0, 99.0, 108.9]  # +10 %, -10 %, +10 %: mean 1/30, deviation 0.11547
    assert period_sharpe(curve) == pytest.approx(0.288675, abs=1e-6)
    found = ratios.ratios(curve, periods_per_year=1)
    assert found.sharpe == pytest.approx(0.288675, abs=1e-6)
    assert found.sortino == pytest.approx(1 / 30 / math.sqrt(0.01 / 3), abs=1e-6)
    assert (found.max_drawdown_pct, found.total_return_pct) == (10, 8.9)
    assert found.calmar == pytest.approx((1.089 ** (1 / 3) - 1) / 0.1, abs=1e-6)
    assert ratios.profit_factor(10, 5) == 2
    assert ratios.profit_factor(1, 0) is None


def test_ratios_that_are_not_defined_are_none() -> None:
    assert ratios.ratios([100.0, 100.0, 100.0]).sharpe is None
    assert ratios.ratios([100.0, 101.0, 102.0]).sortino is None
    assert ratios.ratios([100.0, 101.0, 102.0]).calmar is None
    nothing = ratios.ratios([])
    assert (nothing.max_drawdown_pct, nothing.total_return_pct, nothing.annual_return_pct) == (0, None, None)


@pytest.mark.parametrize(
    ("periods_per_year", "risk_free_pct", "wanted"),
    [
        (8760, 0, (8.309942, 12.982731, 2955609.539957, 134.559267, 564223.575043)),
        (365, 0, (1.69626, 2.650089, 53.559812, 27.466795, 10.224527)),
        (365, 4, (1.553459, 2.409449, 53.559812, 27.466795, 10.224527)),
    ],
)
def test_ratios_equal_those_of_empyrical(
    periods_per_year: int, risk_free_pct: float, wanted: tuple[float, ...]
) -> None:
    """What empyrical-reloaded 0.7.1 gives for this curve: sharpe_ratio(returns, risk_free, annualization),
    sortino_ratio(returns, required_return, annualization), annual_return, annual_volatility, calmar_ratio,
    max_drawdown and cum_returns_final; its rate of a period is (1 + a year's) ** (1 / periods) - 1."""
    curve = [10_000 * (1 + 0.03 * math.sin(0.7 * k) + 0.001 * k) for k in range(41)]
    found = ratios.ratios(curve, periods_per_year, risk_free_pct)
    figures = (
        found.sharpe,
        found.sortino,
        found.annual_return_pct,
        found.annual_volatility_pct,
        found.calmar,
    )
    assert figures == pytest.approx(wanted, rel=1e-9, abs=1e-6)
    assert (found.max_drawdown_pct, found.total_return_pct) == (5.238366, 4.812717)


@given(st.lists(st.floats(50, 200), min_size=3, max_size=60))
def test_sharpe_kept_up_to_date_ends_where_the_whole_curve_computed_at_once_does(curve: list[float]) -> None:
    gains = [after / before - 1 for before, after in pairwise(curve)]
    deviation = stdev(gains)
    if deviation > 1e-9:
        assert period_sharpe(curve) == pytest.approx(mean(gains) / deviation, rel=1e-5, abs=2e-6)


_TRADES = st.lists(
    st.builds(
        TradeFigures,
        gross=st.floats(-1e4, 1e4),
        net=st.floats(-1e4, 1e4),
        fees=st.floats(0, 100),
        notional=st.floats(1, 1e5),
        holding_mins=st.floats(0, 1e4),
        is_long=st.booleans(),
        leverage=st.floats(1, 20),
    ),
    max_size=30,
)


@given(_TRADES)
def test_parts_add_up_and_order_does_not_matter(trades: list[TradeFigures]) -> None:
    tables = of(trades)
    assert tables == of(trades[::-1])
    sides = tables.longs_shorts_breakdown_table
    assert sides.num_long_trades + sides.num_short_trades == len(trades)
    total = sides.avg_longs_net_pnl * sides.num_long_trades
    total += sides.avg_shorts_net_pnl * sides.num_short_trades
    assert total == pytest.approx(tables.fee_pnl_moves_breakdown_table.overall_pnl_with_fees, abs=1e-4)
    if len(trades) > 1:
        deviation = stdev(trade.net for trade in trades)
        assert tables.fee_pnl_moves_breakdown_table.std_net_pnl == pytest.approx(deviation, abs=1e-5)


@given(_TRADES)
def test_statistics_are_ready_after_every_trade_and_equal_to_those_of_the_whole_history(
    trades: list[TradeFigures],
) -> None:
    statistics = stats.Statistics()
    for count, trade in enumerate(trades, 1):
        statistics.add_trade(trade)
        if count % 7 == 0 or count == len(trades):
            assert statistics.tables(NO_TIME) == of(trades[:count])
    found = statistics.tables(NO_TIME).overall_trades_overview_table
    if trades:
        held = [trade.holding_mins for trade in trades]
        assert found.median_holding_period_mins == pytest.approx(median(held), abs=1e-6)
        assert found.avg_holding_period_mins == pytest.approx(mean(held), abs=1e-6)
