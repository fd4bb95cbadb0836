"""What closed trades, decision cycles and an equity curve amount to. Pure: no clock, no store.

Ratios here (leaderboard, account totals) are of *hourly* returns of engine time: the last equity of an hour
over that of the hour before, risk-free rate 0, sample standard deviation, **not annualised**. They are None
with fewer than three hourly equities or without any variation.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from itertools import pairwise
from statistics import median
from typing import Final

import msgspec

from engine.core.decisions import Act
from engine.core.ledger import ClosedTrade
from engine.core.orders import PositionSide
from engine.core.times import NS_PER_MIN
from engine.journal.tables import (
    FeePnlMoves,
    Invocations,
    LongsShorts,
    OverallTrades,
    Signals,
    Tables,
    WinnersLosers,
)

_PLACES: Final = 6
_FEWEST: Final = 2


class TradeFigures(msgspec.Struct, frozen=True, kw_only=True):
    """One closed trade in dollars and minutes; `fees` positive when paid, as nof1 counts commissions."""

    gross: float
    net: float
    fees: float
    notional: float  # |quantity| · entry price
    holding_mins: float
    is_long: bool
    leverage: float


class SignalFigures(msgspec.Struct, frozen=True, kw_only=True):
    """What one cycle said of one symbol."""

    act: Act
    confidence: float
    leverage: float


class Activity(msgspec.Struct, frozen=True, kw_only=True):
    """What a trader did beside closing trades. Times are engine nanoseconds.

    invocations: starts of its cycles, oldest first. open_*_mins: age of what it holds. alive_mins: since its
    inception. coins: how many symbols it looks at.
    """

    signals: tuple[SignalFigures, ...] = ()
    invocations: tuple[int, ...] = ()
    open_long_mins: float = 0.0
    open_short_mins: float = 0.0
    alive_mins: float = 0.0
    coins: int = 0


def figures(trade: ClosedTrade) -> TradeFigures:
    """The figures of a closed trade of ours; funding is in `net`, not in `fees`."""
    return TradeFigures(
        gross=float(trade.gross),
        net=float(trade.net),
        fees=float(-trade.entry_fees - trade.exit_fees),
        notional=float(abs(trade.coins) * trade.entry_price),
        holding_mins=(trade.ts_exit - trade.ts_entry) / NS_PER_MIN,
        is_long=trade.side is PositionSide.LONG,
        leverage=float(trade.leverage),
    )


def tables(trades: Sequence[TradeFigures], activity: Activity) -> Tables:
    """All six tables, rounded to 6 places as nof1 does."""
    return Tables(
        fee_pnl_moves_breakdown_table=fee_pnl_moves(trades),
        winners_losers_breakdown_table=winners_losers(trades),
        signals_breakdown_table=signals(trades, activity),
        invocation_breakdown_table=invocations(activity.invocations),
        longs_shorts_breakdown_table=longs_shorts(trades),
        overall_trades_overview_table=overall(trades, activity),
    )


def fee_pnl_moves(trades: Sequence[TradeFigures]) -> FeePnlMoves:
    """Gross, net and fees. `std_taker_fee` is the sample deviation of fees per trade: nof1's is not known."""
    gross, net, fees = [t.gross for t in trades], [t.net for t in trades], [t.fees for t in trades]
    total_net, total_fees = math.fsum(net), math.fsum(fees)
    return FeePnlMoves(
        avg_gross_pnl=_mean(gross),
        avg_net_pnl=_mean(net),
        avg_taker_fee=_mean(fees),
        biggest_net_gain=_round(max(net, default=0.0)),
        biggest_net_loss=_round(min(net, default=0.0)),
        overall_pnl_with_fees=_round(total_net),
        overall_pnl_without_fees=_round(math.fsum(gross)),
        std_gross_pnl=_std(gross),
        std_net_pnl=_std(net),
        std_taker_fee=_std(fees),
        total_fees_as_pct_of_pnl=_round(100 * total_fees / total_net) if total_net > 0 else 0.0,
        total_fees_paid=_round(total_fees),
    )


def winners_losers(trades: Sequence[TradeFigures]) -> WinnersLosers:
    """A winner made money after fees; all others are losers."""
    won, lost = [t for t in trades if t.net > 0], [t for t in trades if t.net <= 0]
    return WinnersLosers(
        avg_losers_holding_period=_mean([t.holding_mins for t in lost]),
        avg_losers_net_pnl=_mean([t.net for t in lost]),
        avg_losers_notional=_mean([t.notional for t in lost]),
        avg_winners_holding_period=_mean([t.holding_mins for t in won]),
        avg_winners_net_pnl=_mean([t.net for t in won]),
        avg_winners_notional=_mean([t.notional for t in won]),
        std_losers_holding_period=_std([t.holding_mins for t in lost]),
        std_losers_net_pnl=_std([t.net for t in lost]),
        std_losers_notional=_std([t.notional for t in lost]),
        std_winners_holding_period=_std([t.holding_mins for t in won]),
        std_winners_net_pnl=_std([t.net for t in won]),
        std_winners_notional=_std([t.notional for t in won]),
        win_rate=_share(len(won), len(trades)),
    )


def longs_shorts(trades: Sequence[TradeFigures]) -> LongsShorts:
    """Long and short trades side by side."""
    longs, shorts = [t for t in trades if t.is_long], [t for t in trades if not t.is_long]
    return LongsShorts(
        avg_longs_holding_period=_mean([t.holding_mins for t in longs]),
        avg_longs_net_pnl=_mean([t.net for t in longs]),
        avg_longs_notional=_mean([t.notional for t in longs]),
        avg_shorts_holding_period=_mean([t.holding_mins for t in shorts]),
        avg_shorts_net_pnl=_mean([t.net for t in shorts]),
        avg_shorts_notional=_mean([t.notional for t in shorts]),
        long_short_trades_ratio=_round(len(longs) / len(trades)) if trades else 0.0,
        num_long_trades=len(longs),
        num_short_trades=len(shorts),
        std_longs_holding_period=_std([t.holding_mins for t in longs]),
        std_longs_net_pnl=_std([t.net for t in longs]),
        std_longs_notional=_std([t.notional for t in longs]),
        std_shorts_holding_period=_std([t.holding_mins for t in shorts]),
        std_shorts_net_pnl=_std([t.net for t in shorts]),
        std_shorts_notional=_std([t.notional for t in shorts]),
    )


def overall(trades: Sequence[TradeFigures], activity: Activity) -> OverallTrades:
    """Sizes and holding periods. `convo` leverage is that of the entries a decider asked for."""
    asked = [s.leverage for s in activity.signals if s.act.enters]
    held, sizes = [t.holding_mins for t in trades], [t.notional for t in trades]
    return OverallTrades(
        avg_convo_leverage=_mean(asked),
        avg_holding_period_mins=_mean(held),
        avg_size_of_trade_notional=_mean(sizes),
        avg_size_of_trade_portfolio_pct=0,
        avg_stop_loss_distance_pct=0,
        avg_take_profit_distance_pct=0,
        median_convo_leverage=_median(asked),
        median_holding_period_mins=_median(held),
        median_size_of_trade_notional=_median(sizes),
        std_holding_period_mins=_std(held),
        std_size_of_trade_notional=_std(sizes),
        std_size_of_trade_portfolio_pct=0,
        total_trades=len(trades),
    )


def invocations(starts: Sequence[int]) -> Invocations:
    """Breaks between the starts of consecutive cycles."""
    breaks = [(after - before) / NS_PER_MIN for before, after in pairwise(starts)]
    return Invocations(
        avg_invocation_break_mins=_mean(breaks),
        max_invocation_break_mins=_round(max(breaks, default=0.0)),
        min_invocation_break_mins=_round(min(breaks, default=0.0)),
        num_invocations=len(starts),
        std_invocation_break_mins=_std(breaks),
    )


def signals(trades: Sequence[TradeFigures], activity: Activity) -> Signals:
    """What was said, per symbol and cycle, and how long was held what.

    A reduction counts as close, a moved stop as hold. The leverage columns are those of the trades, as in
    the captures, where both are 1.
    """
    said: dict[str, list[float]] = {"long": [], "short": [], "hold": [], "close": []}
    for signal in activity.signals:
        said[_KIND[signal.act]].append(signal.confidence)
    total = len(activity.signals)
    every = [signal.confidence for signal in activity.signals]
    levers = [t.leverage for t in trades]
    long_levers = [t.leverage for t in trades if t.is_long]
    short_levers = [t.leverage for t in trades if not t.is_long]
    long_mins = math.fsum(t.holding_mins for t in trades if t.is_long) + activity.open_long_mins
    short_mins = math.fsum(t.holding_mins for t in trades if not t.is_long) + activity.open_short_mins
    flat_mins = max(0.0, activity.alive_mins * activity.coins - long_mins - short_mins)
    mins = long_mins + short_mins + flat_mins
    return Signals(
        avg_confidence=_mean(every),
        avg_confidence_close=_mean(said["close"]),
        avg_confidence_hold=_mean(said["hold"]),
        avg_confidence_long=_mean(said["long"]),
        avg_confidence_short=_mean(said["short"]),
        avg_leverage=_mean(levers),
        avg_leverage_long=_mean(long_levers),
        avg_leverage_short=_mean(short_levers),
        close_signal_pct=_share(len(said["close"]), total),
        hold_signal_pct=_share(len(said["hold"]), total),
        long_short_ratio=_round(len(said["long"]) / len(said["short"])) if said["short"] else 0.0,
        long_signal_pct=_share(len(said["long"]), total),
        median_confidence=_median(every),
        median_leverage=_median(levers),
        mins_flat_combined=_round(flat_mins),
        mins_long_combined=_round(long_mins),
        mins_short_combined=_round(short_mins),
        num_close_signals=len(said["close"]),
        num_hold_signals=len(said["hold"]),
        num_long_signals=len(said["long"]),
        num_short_signals=len(said["short"]),
        pct_mins_flat_combined=_share(flat_mins, mins),
        pct_mins_long_combined=_share(long_mins, mins),
        pct_mins_short_combined=_share(short_mins, mins),
        short_signal_pct=_share(len(said["short"]), total),
        std_confidence=_std(every),
        std_confidence_close=_std(said["close"]),
        std_confidence_hold=_std(said["hold"]),
        std_confidence_long=_std(said["long"]),
        std_confidence_short=_std(said["short"]),
        std_leverage=_std(levers),
        std_leverage_long=_std(long_levers),
        std_leverage_short=_std(short_levers),
        total_signals=total,
    )


_KIND: Final = {
    Act.BUY_TO_ENTER: "long",
    Act.SELL_TO_ENTER: "short",
    Act.HOLD: "hold",
    Act.MOVE_STOP: "hold",
    Act.CLOSE: "close",
    Act.REDUCE: "close",
}


def running_sharpe(equities: Iterable[float]) -> list[float | None]:
    """Sharpe ratio after each hourly equity, in one pass; see the head of this module for its terms."""
    ratios: list[float | None] = []
    count, mean, squares, before = 0, 0.0, 0.0, 0.0
    for equity in equities:
        if before > 0:
            gain = equity / before - 1
            count += 1
            delta = gain - mean
            mean += delta / count
            squares += delta * (gain - mean)
        deviation = math.sqrt(squares / (count - 1)) if count >= _FEWEST else 0.0
        ratios.append(_round(mean / deviation) if deviation > _NOISE else None)
        before = equity
    return ratios


_NOISE: Final = 1e-15


def sharpe(equities: Sequence[float]) -> float | None:
    """The ratio of the whole curve."""
    return running_sharpe(equities)[-1] if equities else None


def sortino(equities: Sequence[float]) -> float | None:
    """Mean hourly return over the root mean square of the losing hours; None without a losing hour."""
    gains = [after / before - 1 for before, after in pairwise(equities) if before > 0]
    if len(gains) < _FEWEST:
        return None
    downside = math.sqrt(math.fsum(min(0.0, gain) ** 2 for gain in gains) / len(gains))
    return _round(math.fsum(gains) / len(gains) / downside) if downside > _NOISE else None


def max_drawdown_pct(equities: Iterable[float]) -> float:
    """Deepest fall from a former peak, in percent of that peak; 0 or positive."""
    peak, deepest = 0.0, 0.0
    for equity in equities:
        peak = max(peak, equity)
        if peak > 0:
            deepest = max(deepest, (peak - equity) / peak)
    return _round(100 * deepest)


def profit_factor(nets: Iterable[float]) -> float | None:
    """What the winners made for each dollar that the losers lost; None when nothing was lost."""
    values = list(nets)
    lost = -math.fsum(net for net in values if net < 0)
    return _round(math.fsum(net for net in values if net > 0) / lost) if lost else None


def expectancy(nets: Sequence[float]) -> float:
    """Mean net profit of a trade, dollars."""
    return _mean(nets)


def _round(value: float) -> float:
    return round(value, _PLACES) + 0.0  # no negative zero


def _mean(values: Sequence[float]) -> float:
    return _round(math.fsum(values) / len(values)) if values else 0.0


def _median(values: Sequence[float]) -> float:
    return _round(median(values)) if values else 0.0


def _std(values: Sequence[float]) -> float:
    if len(values) < _FEWEST:
        return 0.0
    mean = math.fsum(values) / len(values)
    return _round(math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (len(values) - 1)))


def _share(part: float, whole: float) -> float:
    return _round(100 * part / whole) if whole else 0.0
