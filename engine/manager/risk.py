"""The gate before every entry: one ordered list of checks, one reason code each, fail closed. Pure.

Checks run on what would really be sent: venue quantities after rounding, prices on the tick. The first
refusal names the reason; all checks are kept with their numbers, so that each decision can be explained.
Closing and reducing never pass here: nothing may block them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal

from engine.config.manager import RiskConfig
from engine.core.decisions import AccountView, Act, Action, Check
from engine.core.instruments import Instrument, coin
from engine.core.orders import PositionSide
from engine.core.signals import MarketSnapshot
from engine.core.times import NS_PER_S
from engine.manager.breaker import TradingState
from engine.manager.sizing import FEE_RATE, Sized

_BPS = Decimal(10_000)


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One proposed entry with all that the gate looks at."""

    action: Action
    account: AccountView
    snapshot: MarketSnapshot | None
    instrument: Instrument
    limits: RiskConfig
    sized: Sized
    price: Decimal | None  # at which it would fill: the limit price or the far side of the book
    shown_price: Decimal | None  # the mark that the decider saw
    trading_state: TradingState
    state_reason: str
    venue_refusal: str
    allowed: frozenset[str]
    major_coins: frozenset[str]
    pending_symbols: frozenset[str]  # symbols with an entry of this trader under way
    cooldown_until: int
    entries_last_hour: int
    price_age_s: float  # real seconds since the newest price came in
    now_ns: int

    @property
    def side(self) -> PositionSide:
        return PositionSide.LONG if self.action.act is Act.BUY_TO_ENTER else PositionSide.SHORT


def evaluate(entry: Entry) -> tuple[str, tuple[Check, ...]]:
    """Reason code of the first refusal ("" when approved) and every check that was made."""
    checks: list[Check] = []
    reason = ""
    for name, check in _CHECKS:
        passed, detail = check(entry)
        checks.append(Check(name, passed, detail))
        if not passed:
            reason = name
            break
    return reason, tuple(checks)


def _state(entry: Entry) -> tuple[bool, str]:
    return entry.trading_state is TradingState.ENABLED, f"{entry.trading_state} {entry.state_reason}".strip()


def _venue(entry: Entry) -> tuple[bool, str]:
    return not entry.venue_refusal, entry.venue_refusal


def _symbol(entry: Entry) -> tuple[bool, str]:
    return entry.action.symbol in entry.allowed and entry.instrument.live, entry.action.symbol


def _fresh(entry: Entry) -> tuple[bool, str]:
    snapshot = entry.snapshot
    if snapshot is None or entry.price is None or entry.price <= 0 or entry.account.equity is None:
        return False, "no price"
    if snapshot.blind:
        return False, f"silent channels: {', '.join(snapshot.blind)}"
    return entry.price_age_s <= entry.limits.max_price_age, f"price is {entry.price_age_s:.1f} s old"


def _unmoved(entry: Entry) -> tuple[bool, str]:
    if not entry.shown_price or entry.snapshot is None or not (now := entry.snapshot.price()):
        return False, "no price was shown"
    moved = abs(Decimal(str(now)) / entry.shown_price - 1) * _BPS
    return moved <= entry.limits.max_price_move_bps, f"moved {moved:.1f} bp since the prompt"


def _confidence(entry: Entry) -> tuple[bool, str]:
    least = entry.limits.min_confidence / 100
    return entry.action.confidence >= least, f"{entry.action.confidence} of at least {least}"


def _stop_given(entry: Entry) -> tuple[bool, str]:
    return entry.action.stop_loss is not None or not entry.limits.stop_loss_enabled, "stop_loss"


def _target_given(entry: Entry) -> tuple[bool, str]:
    return entry.action.take_profit is not None or not entry.limits.take_profit_enabled, "take_profit"


def _stop_side(entry: Entry) -> tuple[bool, str]:
    stop, price = entry.action.stop_loss, _price(entry)
    if stop is None:
        return True, "none"
    distance_pct = (price - stop) / price * 100 * entry.side.sign
    detail = f"{distance_pct:.3f} % on the losing side, at most {entry.limits.max_stop_distance_pct} %"
    return 0 < distance_pct <= entry.limits.max_stop_distance_pct, detail


def _target_side(entry: Entry) -> tuple[bool, str]:
    target, price = entry.action.take_profit, _price(entry)
    if target is None:
        return True, "none"
    return (target - price) * entry.side.sign > 0, f"target {target}, price {price}"


def _risk_reward(entry: Entry) -> tuple[bool, str]:
    stop, target, price = entry.action.stop_loss, entry.action.take_profit, _price(entry)
    if stop is None or target is None:
        return not entry.limits.min_risk_reward_ratio, "no stop or no target"
    ratio = abs(target - price) / abs(price - stop)
    return ratio >= entry.limits.min_risk_reward_ratio, f"{ratio:.2f}"


def _edge(entry: Entry) -> tuple[bool, str]:
    target, price = entry.action.take_profit, _price(entry)
    if target is None:
        return True, "no target"
    fees = abs(target - price) / price / (2 * FEE_RATE)
    return fees >= entry.limits.min_edge_fees, f"target is {fees:.1f} round-trip fees away"


def _flat(entry: Entry) -> tuple[bool, str]:
    held = entry.account.position(entry.action.symbol)
    pending = entry.action.symbol in entry.pending_symbols
    return held is None and not pending, "entry under way" if pending else "position open" if held else "flat"


def _positions(entry: Entry) -> tuple[bool, str]:
    count = len({view.symbol for view in entry.account.positions} | entry.pending_symbols)
    return count < entry.limits.max_positions, f"{count} of {entry.limits.max_positions}"


def _leverage(entry: Entry) -> tuple[bool, str]:
    major = coin(entry.action.symbol) in entry.major_coins
    most = entry.limits.major_coin_leverage if major else entry.limits.altcoin_leverage
    most = min(most, entry.instrument.max_leverage)
    return 1 <= entry.action.leverage <= most, f"{entry.action.leverage} of at most {most}"


def _spread(entry: Entry) -> tuple[bool, str]:
    snapshot = entry.snapshot
    if snapshot is None or not snapshot.bid or not snapshot.ask:
        return False, "one side of the book is empty"
    spread = Decimal(str((snapshot.ask - snapshot.bid) / snapshot.bid)) * _BPS
    return spread <= entry.limits.max_spread_bps, f"{spread:.2f} bp"


def _cooldown(entry: Entry) -> tuple[bool, str]:
    left_s = (entry.cooldown_until - entry.now_ns) / NS_PER_S
    return left_s <= 0, f"{max(0.0, left_s):.0f} s left"


def _rate(entry: Entry) -> tuple[bool, str]:
    most = entry.limits.max_entries_per_hour
    return entry.entries_last_hour < most, f"{entry.entries_last_hour} of {most}"


def _size(entry: Entry) -> tuple[bool, str]:
    return entry.sized.contracts >= entry.instrument.min_size, entry.sized.detail


def _liquidation(entry: Entry) -> tuple[bool, str]:
    """The stop fires before the position alone would be liquidated at its leverage."""
    stop, price = entry.action.stop_loss, _price(entry)
    if stop is None:
        return True, "no stop"
    distance = abs(price - stop) / price
    buffer = 1 / entry.action.leverage - 2 * FEE_RATE
    return distance < buffer, f"stop {distance:.4f} away, margin lasts {buffer:.4f}"


def _price(entry: Entry) -> Decimal:
    """Entry price; `_fresh` has refused where there is none."""
    if entry.price is None:
        raise ValueError("the freshness check comes first")
    return entry.price


_CHECKS: tuple[tuple[str, Callable[[Entry], tuple[bool, str]]], ...] = (
    ("trading_state", _state),
    ("venue_not_ready", _venue),
    ("symbol_not_allowed", _symbol),
    ("price_not_fresh", _fresh),
    ("answer_stale", _unmoved),
    ("confidence_too_low", _confidence),
    ("stop_missing", _stop_given),
    ("target_missing", _target_given),
    ("stop_side", _stop_side),
    ("target_side", _target_side),
    ("risk_reward_too_low", _risk_reward),
    ("edge_below_fees", _edge),
    ("position_open", _flat),
    ("too_many_positions", _positions),
    ("leverage_too_high", _leverage),
    ("liquidation_before_stop", _liquidation),
    ("spread_too_wide", _spread),
    ("cooldown", _cooldown),
    ("too_many_entries", _rate),
    ("too_small", _size),
)
REASONS = tuple(name for name, _ in _CHECKS)
