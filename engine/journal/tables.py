"""The six analytics tables of nof1.ai: names, order and units of their keys.

Minutes for holding periods and breaks, dollars for money, 0-100 for `*_pct` and `win_rate`, 0-1 for
confidence. A statistic of an empty group is 0; `std_*` divide by n - 1.
"""

from __future__ import annotations

import msgspec


class FeePnlMoves(msgspec.Struct, frozen=True, kw_only=True):
    avg_gross_pnl: float
    avg_net_pnl: float
    avg_taker_fee: float
    biggest_net_gain: float
    biggest_net_loss: float
    overall_pnl_with_fees: float
    overall_pnl_without_fees: float
    std_gross_pnl: float
    std_net_pnl: float
    std_taker_fee: float
    total_fees_as_pct_of_pnl: float
    total_fees_paid: float


class WinnersLosers(msgspec.Struct, frozen=True, kw_only=True):
    avg_losers_holding_period: float
    avg_losers_net_pnl: float
    avg_losers_notional: float
    avg_winners_holding_period: float
    avg_winners_net_pnl: float
    avg_winners_notional: float
    std_losers_holding_period: float
    std_losers_net_pnl: float
    std_losers_notional: float
    std_winners_holding_period: float
    std_winners_net_pnl: float
    std_winners_notional: float
    win_rate: float


class Signals(msgspec.Struct, frozen=True, kw_only=True):
    avg_confidence: float
    avg_confidence_close: float
    avg_confidence_hold: float
    avg_confidence_long: float
    avg_confidence_short: float
    avg_leverage: float
    avg_leverage_long: float
    avg_leverage_short: float
    close_signal_pct: float
    hold_signal_pct: float
    long_short_ratio: float
    long_signal_pct: float
    median_confidence: float
    median_leverage: float
    mins_flat_combined: float
    mins_long_combined: float
    mins_short_combined: float
    num_close_signals: int
    num_hold_signals: int
    num_long_signals: int
    num_short_signals: int
    pct_mins_flat_combined: float
    pct_mins_long_combined: float
    pct_mins_short_combined: float
    short_signal_pct: float
    std_confidence: float
    std_confidence_close: float
    std_confidence_hold: float
    std_confidence_long: float
    std_confidence_short: float
    std_leverage: float
    std_leverage_long: float
    std_leverage_short: float
    total_signals: int


class Invocations(msgspec.Struct, frozen=True, kw_only=True):
    avg_invocation_break_mins: float
    max_invocation_break_mins: float
    min_invocation_break_mins: float
    num_invocations: int
    std_invocation_break_mins: float


class LongsShorts(msgspec.Struct, frozen=True, kw_only=True):
    avg_longs_holding_period: float
    avg_longs_net_pnl: float
    avg_longs_notional: float
    avg_shorts_holding_period: float
    avg_shorts_net_pnl: float
    avg_shorts_notional: float
    long_short_trades_ratio: float  # long trades of all trades, 0-1: the name misleads
    num_long_trades: int
    num_short_trades: int
    std_longs_holding_period: float
    std_longs_net_pnl: float
    std_longs_notional: float
    std_shorts_holding_period: float
    std_shorts_net_pnl: float
    std_shorts_notional: float


class OverallTrades(msgspec.Struct, frozen=True, kw_only=True):
    avg_convo_leverage: float
    avg_holding_period_mins: float
    avg_size_of_trade_notional: float
    avg_size_of_trade_portfolio_pct: float  # this and the next two are 0 on this wire
    avg_stop_loss_distance_pct: float
    avg_take_profit_distance_pct: float
    median_convo_leverage: float
    median_holding_period_mins: float
    median_size_of_trade_notional: float
    std_holding_period_mins: float
    std_size_of_trade_notional: float
    std_size_of_trade_portfolio_pct: float
    total_trades: int


class Tables(msgspec.Struct, frozen=True, kw_only=True):
    """All six, under the keys of `/api/analytics`."""

    fee_pnl_moves_breakdown_table: FeePnlMoves
    winners_losers_breakdown_table: WinnersLosers
    signals_breakdown_table: Signals
    invocation_breakdown_table: Invocations
    longs_shorts_breakdown_table: LongsShorts
    overall_trades_overview_table: OverallTrades


class TraderTables(Tables, frozen=True, kw_only=True):
    """One item of `/api/analytics`; times are epoch seconds, 0 for what has not happened yet."""

    id: str
    model_id: str
    updated_at: float
    last_trade_exit_time: float
    last_trade_doc_id: str
    last_convo_doc_id: str
    last_convo_timestamp: float
