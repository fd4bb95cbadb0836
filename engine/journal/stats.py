"""What closed trades and decision cycles amount to: the six tables of nof1. Pure: no clock, no store.

A `Statistics` takes trades and cycles one by one, in constant time (its medians: the logarithm of their
number), and has all tables ready at any moment. Fed a whole history in any order of trades, it has the same
numbers.
"""

from __future__ import annotations

from typing import Final

import msgspec

from engine.core.decisions import Act
from engine.core.ledger import ClosedTrade
from engine.core.orders import PositionSide
from engine.core.times import NS_PER_MIN
from engine.journal.moments import Median, MedianState, Moments, MomentsState, rounded, share
from engine.journal.tables import (
    FeePnlMoves,
    Invocations,
    LongsShorts,
    OverallTrades,
    Signals,
    Tables,
    WinnersLosers,
)


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


_KIND: Final = {
    Act.BUY_TO_ENTER: "long",
    Act.SELL_TO_ENTER: "short",
    Act.HOLD: "hold",
    Act.MOVE_STOP: "hold",
    Act.CLOSE: "close",
    Act.REDUCE: "close",
}


class Minutes(msgspec.Struct, frozen=True, kw_only=True):
    """How a trader's time is counted: what it holds now, and how long it could have held something.

    open_*_mins: age of what it holds. alive_mins: since its inception. coins: how many symbols it looks at.
    """

    open_long_mins: float = 0.0
    open_short_mins: float = 0.0
    alive_mins: float = 0.0
    coins: int = 0


class StatisticsState(msgspec.Struct, frozen=True, array_like=True):
    """A `Statistics` as it stands."""

    moments: tuple[MomentsState, ...]
    medians: tuple[MedianState, ...]
    starts: int
    last_start_ns: int


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


class _Group:
    """The trades of one kind: how much, how long, how large, at what leverage."""

    __slots__ = ("held", "leverage", "net", "size")

    def __init__(self) -> None:
        self.net, self.held, self.size, self.leverage = Moments(), Moments(), Moments(), Moments()

    def add(self, trade: TradeFigures) -> None:
        self.net.add(trade.net)
        self.held.add(trade.holding_mins)
        self.size.add(trade.notional)
        self.leverage.add(trade.leverage)


class Statistics:
    """Everything the tables are made of, for one trader."""

    def __init__(self) -> None:
        self._all, self._winners, self._losers = _Group(), _Group(), _Group()
        self._longs, self._shorts = _Group(), _Group()
        self._gross, self._fees = Moments(), Moments()
        self._mid_held, self._mid_size, self._mid_leverage = Median(), Median(), Median()
        self._said = {kind: Moments() for kind in ("long", "short", "hold", "close")}
        self._confidence, self._mid_confidence = Moments(), Median()
        self._asked, self._mid_asked = Moments(), Median()
        self._starts, self._last_start_ns, self._breaks = 0, 0, Moments()

    def add_trade(self, trade: TradeFigures) -> None:
        """One more closed trade. A winner made money after fees; all others are losers."""
        for group in (
            self._all,
            self._winners if trade.net > 0 else self._losers,
            self._longs if trade.is_long else self._shorts,
        ):
            group.add(trade)
        self._gross.add(trade.gross)
        self._fees.add(trade.fees)
        self._mid_held.add(trade.holding_mins)
        self._mid_size.add(trade.notional)
        self._mid_leverage.add(trade.leverage)

    def add_signal(self, signal: SignalFigures) -> None:
        """What one cycle said of one symbol. A reduction counts as close, a moved stop as hold."""
        self._said[_KIND[signal.act]].add(signal.confidence)
        self._confidence.add(signal.confidence)
        self._mid_confidence.add(signal.confidence)
        if signal.act.enters:
            self._asked.add(signal.leverage)
            self._mid_asked.add(signal.leverage)

    def add_invocation(self, start_ns: int) -> None:
        """The start of one more cycle, after all before it."""
        if self._starts:
            self._breaks.add((start_ns - self._last_start_ns) / NS_PER_MIN)
        self._starts += 1
        self._last_start_ns = start_ns

    # -- kept, to go on with later

    def state(self) -> StatisticsState:
        moments, medians = self._parts()
        return StatisticsState(
            moments=tuple(each.state() for each in moments),
            medians=tuple(each.state() for each in medians),
            starts=self._starts,
            last_start_ns=self._last_start_ns,
        )

    def restore(self, state: StatisticsState) -> None:
        """Go on from there. Raises ValueError or TypeError for what is no state."""
        moments, medians = self._parts()
        for moment, kept in zip(moments, state.moments, strict=True):
            moment.restore(kept)
        for median, kept_median in zip(medians, state.medians, strict=True):
            median.restore(kept_median)
        self._starts, self._last_start_ns = state.starts, state.last_start_ns

    def _parts(self) -> tuple[list[Moments], list[Median]]:
        groups = (self._all, self._winners, self._losers, self._longs, self._shorts)
        moments = [each for of in groups for each in (of.net, of.held, of.size, of.leverage)]
        moments += [self._gross, self._fees, *self._said.values()]
        moments += [self._confidence, self._asked, self._breaks]
        medians = [self._mid_held, self._mid_size, self._mid_leverage, self._mid_confidence, self._mid_asked]
        return moments, medians

    # -- what it amounts to

    def tables(self, minutes: Minutes) -> Tables:
        """All six, as of now."""
        return Tables(
            fee_pnl_moves_breakdown_table=self.fee_pnl_moves(),
            winners_losers_breakdown_table=self.winners_losers(),
            signals_breakdown_table=self.signals(minutes),
            invocation_breakdown_table=self.invocations(),
            longs_shorts_breakdown_table=self.longs_shorts(),
            overall_trades_overview_table=self.overall(),
        )

    def fee_pnl_moves(self) -> FeePnlMoves:
        """Gross, net and fees. `std_taker_fee` is a sample deviation too: nof1's formula is not known."""
        gross, net, fees = self._gross, self._all.net, self._fees
        return FeePnlMoves(
            avg_gross_pnl=gross.mean,
            avg_net_pnl=net.mean,
            avg_taker_fee=fees.mean,
            biggest_net_gain=net.largest,
            biggest_net_loss=net.smallest,
            overall_pnl_with_fees=rounded(net.total),
            overall_pnl_without_fees=rounded(gross.total),
            std_gross_pnl=gross.std,
            std_net_pnl=net.std,
            std_taker_fee=fees.std,
            total_fees_as_pct_of_pnl=share(fees.total, net.total) if net.total > 0 else 0.0,
            total_fees_paid=rounded(fees.total),
        )

    def winners_losers(self) -> WinnersLosers:
        """A winner made money after fees; all others are losers."""
        won, lost = self._winners, self._losers
        return WinnersLosers(
            avg_losers_holding_period=lost.held.mean,
            avg_losers_net_pnl=lost.net.mean,
            avg_losers_notional=lost.size.mean,
            avg_winners_holding_period=won.held.mean,
            avg_winners_net_pnl=won.net.mean,
            avg_winners_notional=won.size.mean,
            std_losers_holding_period=lost.held.std,
            std_losers_net_pnl=lost.net.std,
            std_losers_notional=lost.size.std,
            std_winners_holding_period=won.held.std,
            std_winners_net_pnl=won.net.std,
            std_winners_notional=won.size.std,
            win_rate=share(won.net.count, self._all.net.count),
        )

    def longs_shorts(self) -> LongsShorts:
        """Long and short trades side by side."""
        longs, shorts, count = self._longs, self._shorts, self._all.net.count
        return LongsShorts(
            avg_longs_holding_period=longs.held.mean,
            avg_longs_net_pnl=longs.net.mean,
            avg_longs_notional=longs.size.mean,
            avg_shorts_holding_period=shorts.held.mean,
            avg_shorts_net_pnl=shorts.net.mean,
            avg_shorts_notional=shorts.size.mean,
            long_short_trades_ratio=rounded(longs.net.count / count) if count else 0.0,
            num_long_trades=longs.net.count,
            num_short_trades=shorts.net.count,
            std_longs_holding_period=longs.held.std,
            std_longs_net_pnl=longs.net.std,
            std_longs_notional=longs.size.std,
            std_shorts_holding_period=shorts.held.std,
            std_shorts_net_pnl=shorts.net.std,
            std_shorts_notional=shorts.size.std,
        )

    def overall(self) -> OverallTrades:
        """Sizes and holding periods. `convo` leverage is that of the entries a decider asked for."""
        asked, held, sizes = self._asked, self._all.held, self._all.size
        return OverallTrades(
            avg_convo_leverage=asked.mean,
            avg_holding_period_mins=held.mean,
            avg_size_of_trade_notional=sizes.mean,
            avg_size_of_trade_portfolio_pct=0,
            avg_stop_loss_distance_pct=0,
            avg_take_profit_distance_pct=0,
            median_convo_leverage=self._mid_asked.value,
            median_holding_period_mins=self._mid_held.value,
            median_size_of_trade_notional=self._mid_size.value,
            std_holding_period_mins=held.std,
            std_size_of_trade_notional=sizes.std,
            std_size_of_trade_portfolio_pct=0,
            total_trades=sizes.count,
        )

    def invocations(self) -> Invocations:
        """Breaks between the starts of consecutive cycles."""
        return Invocations(
            avg_invocation_break_mins=self._breaks.mean,
            max_invocation_break_mins=self._breaks.largest,
            min_invocation_break_mins=self._breaks.smallest,
            num_invocations=self._starts,
            std_invocation_break_mins=self._breaks.std,
        )

    def signals(self, minutes: Minutes) -> Signals:
        """What was said, per symbol and cycle, and how long was held what.

        The leverage columns are those of the trades, as in the captures, where both are 1. Minutes are summed
        over symbols; flat is the rest of the time in which something could have been held.
        """
        long, short, hold, close = (self._said[kind] for kind in ("long", "short", "hold", "close"))
        every = self._confidence
        long_mins = self._longs.held.total + minutes.open_long_mins
        short_mins = self._shorts.held.total + minutes.open_short_mins
        flat_mins = max(0.0, minutes.alive_mins * minutes.coins - long_mins - short_mins)
        mins = long_mins + short_mins + flat_mins
        return Signals(
            avg_confidence=every.mean,
            avg_confidence_close=close.mean,
            avg_confidence_hold=hold.mean,
            avg_confidence_long=long.mean,
            avg_confidence_short=short.mean,
            avg_leverage=self._all.leverage.mean,
            avg_leverage_long=self._longs.leverage.mean,
            avg_leverage_short=self._shorts.leverage.mean,
            close_signal_pct=share(close.count, every.count),
            hold_signal_pct=share(hold.count, every.count),
            long_short_ratio=rounded(long.count / short.count) if short.count else 0.0,
            long_signal_pct=share(long.count, every.count),
            median_confidence=self._mid_confidence.value,
            median_leverage=self._mid_leverage.value,
            mins_flat_combined=rounded(flat_mins),
            mins_long_combined=rounded(long_mins),
            mins_short_combined=rounded(short_mins),
            num_close_signals=close.count,
            num_hold_signals=hold.count,
            num_long_signals=long.count,
            num_short_signals=short.count,
            pct_mins_flat_combined=share(flat_mins, mins),
            pct_mins_long_combined=share(long_mins, mins),
            pct_mins_short_combined=share(short_mins, mins),
            short_signal_pct=share(short.count, every.count),
            std_confidence=every.std,
            std_confidence_close=close.std,
            std_confidence_hold=hold.std,
            std_confidence_long=long.std,
            std_confidence_short=short.std,
            std_leverage=self._all.leverage.std,
            std_leverage_long=self._longs.leverage.std,
            std_leverage_short=self._shorts.leverage.std,
            total_signals=every.count,
        )
