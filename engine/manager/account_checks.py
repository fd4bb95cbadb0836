"""Checks of the gate that look at the trader's account, its rhythm, and the caps of all traders. Pure.

Each returns whether it passed, and its numbers. Sizes are those that would be sent, after rounding.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Final

from engine.core.instruments import coin
from engine.core.times import NS_PER_S
from engine.manager.breaker import TradingState
from engine.manager.entry import Entry
from engine.manager.market_checks import Outcome

MAINTENANCE_RATE: Final = Decimal("0.005")  # lowest tier of OKX's large swaps


def state(entry: Entry) -> Outcome:
    """No breaker and no operator holds entries back."""
    return entry.trading_state is TradingState.ENABLED, f"{entry.trading_state} {entry.state_reason}".strip()


def venue(entry: Entry) -> Outcome:
    """The exchange part would send it."""
    return not entry.venue_refusal, entry.venue_refusal


def symbol(entry: Entry) -> Outcome:
    """The trader may trade it, and the venue does."""
    return entry.action.symbol in entry.allowed and entry.instrument.live, entry.action.symbol


def new(entry: Entry) -> Outcome:
    """The same intent has not been approved before."""
    return entry.intent_id not in entry.known_intents, entry.intent_id


def flat(entry: Entry) -> Outcome:
    """One position a symbol: nothing held, nothing under way."""
    held = entry.account.position(entry.action.symbol)
    pending = entry.action.symbol in entry.pending_symbols
    return held is None and not pending, "entry under way" if pending else "position open" if held else "flat"


def positions(entry: Entry) -> Outcome:
    """Positions held and under way, before this one."""
    count = len({view.symbol for view in entry.account.positions} | entry.pending_symbols)
    return count < entry.limits.max_positions, f"{count} of {entry.limits.max_positions}"


def leverage(entry: Entry) -> Outcome:
    """Within the class of the coin, and what the venue allows."""
    major = coin(entry.action.symbol) in entry.major_coins
    most = entry.limits.major_coin_leverage if major else entry.limits.altcoin_leverage
    most = min(most, entry.instrument.max_leverage)
    kind = "major" if major else "alt"
    return 1 <= entry.action.leverage <= most, f"{entry.action.leverage} of at most {most} ({kind})"


def liquidation(entry: Entry) -> Outcome:
    """The stop fires before the position alone would be liquidated at its leverage, with a buffer."""
    stop, price = entry.action.stop_loss, entry.entry_price
    if stop is None:
        return True, "no stop"
    if entry.action.leverage <= 0:
        return False, "no leverage"
    stop_pct = abs(price - stop) / price * 100
    lasts_pct = (1 / entry.action.leverage - MAINTENANCE_RATE - 2 * entry.room.taker_fee) * 100
    buffer = entry.limits.liquidation_buffer_pct
    detail = f"stop {stop_pct:.2f} % away, margin lasts {lasts_pct:.2f} %, buffer {buffer} %"
    return stop_pct + buffer < lasts_pct, detail


def cooldown(entry: Entry) -> Outcome:
    """The pause after a close, or after a stop, is over."""
    left_s = (entry.cooldown_until - entry.now_ns) / NS_PER_S
    return left_s <= 0, f"{max(0.0, left_s):.0f} s left"


def rate(entry: Entry) -> Outcome:
    """Entries within the last hour, before this one."""
    most = entry.limits.max_entries_per_hour
    return entry.entries_last_hour < most, f"{entry.entries_last_hour} of {most}"


def symbol_exposure(entry: Entry) -> Outcome:
    """All traders of the account together in this symbol (R5)."""
    return _within(entry, "symbol_exposure", entry.room.symbol_usd)


def gross_exposure(entry: Entry) -> Outcome:
    """All traders of the account together (R5)."""
    return _within(entry, "gross_exposure", entry.room.gross_usd)


def _within(entry: Entry, cap: str, room: Decimal) -> Outcome:
    fits = entry.notional <= max(room, Decimal(0)) and not _used_up(entry, cap)
    return fits, f"{entry.notional:.2f} USD, all traders leave {room:.2f}"


def _used_up(entry: Entry, cap: str) -> bool:
    """This cap alone left less than the smallest order."""
    return entry.sized.limited_by == cap and entry.sized.contracts < entry.instrument.min_size


def notional(entry: Entry) -> Outcome:
    """One position's value."""
    most = entry.limits.max_position_size_usd
    return entry.notional <= most, f"{entry.notional:.2f} USD of at most {most}"


def concentration(entry: Entry) -> Outcome:
    """One position's value in percent of the trader's equity."""
    equity, most = entry.account.equity or Decimal(0), entry.limits.max_concentration_pct
    if equity <= 0:
        return False, "no equity"
    part = entry.notional / equity * 100
    return part <= most and not _used_up(entry, "concentration"), f"{part:.1f} % of equity, at most {most} %"


def margin_usage(entry: Entry) -> Outcome:
    """Margin of all positions, of entries under way, and of this one, in percent of equity."""
    equity, most = entry.account.equity or Decimal(0), entry.limits.max_margin_usage_pct
    if equity <= 0:
        return False, "no equity"
    used = (entry.account.margin_used + entry.room.pending_margin + entry.margin) / equity * 100
    return used <= most and not _used_up(entry, "margin_usage"), f"{used:.1f} % of equity, at most {most} %"


def risk_at_stop(entry: Entry) -> Outcome:
    """What the stop would cost, in percent of equity."""
    stop, equity = entry.action.stop_loss, entry.account.equity or Decimal(0)
    if stop is None:
        return True, "no stop"
    lost = entry.instrument.coins(entry.sized.contracts) * abs(entry.entry_price - stop)
    most = equity * entry.limits.risk_per_trade_pct / 100
    return lost <= most, f"{lost:.2f} USD of at most {most:.2f}"


def size(entry: Entry) -> Outcome:
    """At least the venue's smallest order, at most its largest."""
    least, most = entry.instrument.min_size, entry.instrument.max_market_size
    contracts = entry.sized.contracts
    return contracts >= least and (most is None or contracts <= most), entry.sized.detail
