"""Capital between traders: who gives, who gets, how much. Pure, and the rule is written here.

`fixed` moves nothing. `equal` aims at the same equity for all. `performance_based`:

- Each trader's return since the last rebalance, free of cash flows, is smoothed:
  score = smoothing · return + (1 - smoothing) · score before.
- Its weight is its allocation_pct · (1 + score / scale), the bracket kept within 0 and cap_pct.
- Its target is a floor, floor_pct of its share of all equity, and its weight's part of what is above all
  floors; at most cap_pct of its share.

What is above the target moves to those below theirs, but only free capital (no margin, nothing under way),
at most max_move_pct of the giver's equity at a time. Every move is one sum from one account to another.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import ROUND_DOWN, Decimal
from typing import Final, Literal

import msgspec

from engine.config.manager import AllocationConfig

_CENT: Final = Decimal("0.01")
_LEAST: Final = Decimal(1)  # quote units: less is not worth a booking
_ZERO: Final = Decimal(0)

Rule = Literal["fixed", "equal", "performance_based"]


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """One trader at the moment of a rebalance. `share`: its allocation_pct; `free`: what may be taken."""

    trader_id: str
    share: Decimal
    equity: Decimal
    free: Decimal
    score: Decimal = _ZERO


class Move(msgspec.Struct, frozen=True):
    """Quote units from one trader to another."""

    giver: str
    taker: str
    amount: Decimal


def smoothed(
    config: AllocationConfig, score: Decimal, start: Decimal, flows: Decimal, now: Decimal
) -> Decimal:
    """The new score: equity was `start`, `flows` were put in since, it is `now`."""
    before = start + flows
    gained = (now - before) / before if before > 0 else _ZERO
    part = config.smoothing_pct / 100
    return part * gained + (1 - part) * score


def targets(rule: Rule, config: AllocationConfig, standings: Sequence[Standing]) -> dict[str, Decimal]:
    """Equity at which the rule aims for each trader; together at most what they have."""
    total = sum((each.equity for each in standings), _ZERO)
    if rule == "fixed" or total <= 0:
        return {each.trader_id: each.equity for each in standings}
    if rule == "equal":
        return {each.trader_id: total / len(standings) for each in standings}
    shares = sum((each.share for each in standings), _ZERO)
    if not shares:
        return {each.trader_id: each.equity for each in standings}
    base = {each.trader_id: total * each.share / shares for each in standings}
    floor_part, cap_part = config.floor_pct / 100, config.cap_pct / 100
    weights = {
        each.trader_id: each.share * min(cap_part, max(_ZERO, 1 + each.score * 100 / config.scale_pct))
        for each in standings
    }
    whole, above = sum(weights.values(), _ZERO), total * (1 - floor_part)
    return {
        name: min(
            base[name] * floor_part + (above * weights[name] / whole if whole else _ZERO),
            base[name] * cap_part,
        )
        for name in base
    }


def moves(rule: Rule, config: AllocationConfig, standings: Sequence[Standing]) -> tuple[Move, ...]:
    """What to move now, largest gaps first; each amount is whole cents and at least 1."""
    aims = targets(rule, config, standings)
    most = config.max_move_pct / 100
    gives = {
        each.trader_id: min(each.equity - aims[each.trader_id], each.free, each.equity * most)
        for each in standings
    }
    takes = {each.trader_id: aims[each.trader_id] - each.equity for each in standings}
    givers = sorted((name for name, gap in gives.items() if gap >= _LEAST), key=lambda name: -gives[name])
    takers = sorted((name for name, gap in takes.items() if gap >= _LEAST), key=lambda name: -takes[name])
    found: list[Move] = []
    for giver in givers:
        for taker in takers:
            amount = min(gives[giver], takes[taker]).quantize(_CENT, ROUND_DOWN)
            if amount >= _LEAST:
                gives[giver] -= amount
                takes[taker] -= amount
                found.append(Move(giver, taker, amount))
    return tuple(found)
