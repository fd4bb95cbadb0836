"""The gate before every entry: one ordered list of checks, one reason code each, fail closed. Pure.

Checks run on what would really be sent: venue quantities after rounding, prices on the tick. The first
refusal names the reason; all checks are kept with their numbers, so that each decision can be explained.
Closing and reducing never pass here: nothing may block them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from engine.core.decisions import Check
from engine.manager import account_checks as account
from engine.manager import market_checks as market
from engine.manager import plan_checks as plan
from engine.manager.entry import Entry
from engine.manager.market_checks import Outcome

_CHECKS: Final[tuple[tuple[str, Callable[[Entry], Outcome]], ...]] = (
    ("trading_state", account.state),
    ("venue_not_ready", account.venue),
    ("symbol_not_allowed", account.symbol),
    ("price_not_fresh", market.fresh),  # those below may rely on a price
    ("answer_stale", market.unmoved),
    ("duplicate_intent", account.new),
    ("confidence_too_low", plan.confidence),
    ("stop_missing", plan.stop_given),
    ("target_missing", plan.target_given),
    ("stop_side", plan.stop_side),
    ("target_side", plan.target_side),
    ("risk_reward_too_low", plan.risk_reward),
    ("edge_below_fees", plan.edge),
    ("position_open", account.flat),
    ("too_many_positions", account.positions),
    ("leverage_too_high", account.leverage),
    ("liquidation_before_stop", account.liquidation),
    ("spread_too_wide", market.spread),
    ("price_off_band", market.in_band),
    ("venues_disagree", market.reference),
    ("cooldown", account.cooldown),
    ("too_many_entries", account.rate),
    ("symbol_exposure", account.symbol_exposure),
    ("gross_exposure", account.gross_exposure),
    ("position_too_large", account.notional),
    ("too_concentrated", account.concentration),
    ("margin_usage", account.margin_usage),
    ("risk_too_high", account.risk_at_stop),
    ("too_small", account.size),
    ("slippage_too_high", market.slippage),
)
_NEEDED: Final = frozenset({"price_not_fresh"})
REASONS: Final = tuple(name for name, _ in _CHECKS)


def evaluate(entry: Entry, *, all_checks: bool = False) -> tuple[str, tuple[Check, ...]]:
    """Reason code of the first refusal ("" when approved) and every check that was made.

    `all_checks` goes on after a refusal, for explaining; what needs a price is left out where there is none.
    """
    checks: list[Check] = []
    reason = ""
    for name, check in _CHECKS:
        passed, detail = check(entry)
        checks.append(Check(name, passed, detail))
        if not passed:
            reason = reason or name
            if not all_checks or name in _NEEDED:
                break
    return reason, tuple(checks)
