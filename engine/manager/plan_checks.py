"""Checks of the gate that look at the plan itself: stop, target, and what there is to win. Pure."""

from __future__ import annotations

from engine.manager.entry import Entry
from engine.manager.market_checks import Outcome


def confidence(entry: Entry) -> Outcome:
    """The decider is sure enough."""
    least = entry.limits.min_confidence / 100
    return entry.action.confidence >= least, f"{entry.action.confidence} of at least {least}"


def stop_given(entry: Entry) -> Outcome:
    """There is a stop, unless the trader needs none."""
    return entry.action.stop_loss is not None or not entry.limits.stop_loss_enabled, "stop_loss"


def target_given(entry: Entry) -> Outcome:
    """There is a target, where the trader needs one."""
    return entry.action.take_profit is not None or not entry.limits.take_profit_enabled, "take_profit"


def stop_side(entry: Entry) -> Outcome:
    """The stop is on the losing side of fill and mark, or it would fire at once; and it is not too far."""
    stop, sign = entry.action.stop_loss, entry.side.sign
    if stop is None:
        return True, "none"
    price = min(entry.entry_price, entry.mark or entry.entry_price, key=lambda each: each * sign)
    distance_pct = (price - stop) / price * 100 * sign
    most = entry.limits.max_stop_distance_pct
    return 0 < distance_pct <= most, f"{distance_pct:.3f} % on the losing side, at most {most} %"


def target_side(entry: Entry) -> Outcome:
    """The target is on the winning side."""
    target, price = entry.action.take_profit, entry.entry_price
    if target is None:
        return True, "none"
    return (target - price) * entry.side.sign > 0, f"target {target}, price {price}"


def risk_reward(entry: Entry) -> Outcome:
    """From the price at which the entry would fill, not from the one the decider hoped for."""
    stop, target, price = entry.action.stop_loss, entry.action.take_profit, entry.entry_price
    least = entry.limits.min_risk_reward_ratio
    if stop is None or target is None or stop == price:
        return not least, "no stop or no target"
    ratio = abs(target - price) / abs(price - stop)
    return ratio >= least, f"{ratio:.2f} of at least {least}"


def edge(entry: Entry) -> Outcome:
    """The target is worth more than the fees of both sides."""
    target, price = entry.action.take_profit, entry.entry_price
    if target is None:
        return True, "no target"
    move, round_trip, least = (
        abs(target - price) / price,
        2 * entry.room.taker_fee,
        entry.limits.min_edge_fees,
    )
    if round_trip <= 0:
        return True, "trading costs nothing"
    detail = f"target is {move / round_trip:.1f} round-trip fees of {round_trip:%} away, at least {least}"
    return move >= least * round_trip, detail
