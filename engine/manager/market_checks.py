"""Checks of the gate that look at the market: is the price known, fair, and deep enough. Pure.

Each returns whether it passed, and its numbers.
"""

from __future__ import annotations

from decimal import Decimal

from engine.core.market import Levels, exact
from engine.core.orders import PositionSide
from engine.manager.entry import BPS, Entry

Outcome = tuple[bool, str]


def fresh(entry: Entry) -> Outcome:
    """A price, no silent channel that prices something, and an account whose equity is known."""
    snapshot = entry.snapshot
    if snapshot is None or entry.price is None or entry.price <= 0 or entry.account.equity is None:
        return False, "no price"
    if snapshot.blind:
        return False, f"silent channels: {', '.join(snapshot.blind)}"
    return entry.price_age_s <= entry.limits.max_price_age, f"price is {entry.price_age_s:.1f} s old"


def unmoved(entry: Entry) -> Outcome:
    """The price is still the one that the decider saw."""
    now = entry.mark
    if not entry.shown_price or now is None:
        return False, "no price was shown"
    moved = abs(now / entry.shown_price - 1) * BPS
    most = entry.limits.max_price_move_bps
    return moved <= most, f"moved {moved:.1f} bp since the prompt, at most {most}"


def in_band(entry: Entry) -> Outcome:
    """The order's price is one that the venue takes, and lies near the mark: nobody mistyped."""
    now = entry.mark
    if now is None:
        return False, "no mark price"
    if limit := beyond(entry):
        return False, f"{entry.entry_price} is beyond the venue's limit {limit}"
    off = abs(entry.entry_price / now - 1) * BPS
    most = entry.limits.max_price_band_bps
    return off <= most, f"{off:.1f} bp from the mark, at most {most}"


def beyond(entry: Entry) -> Decimal | None:
    """The venue's price limit that the entry's price exceeds; None for one that it takes, or sets none."""
    limit = entry.price_limit
    return limit if limit is not None and (entry.entry_price - limit) * entry.side.sign > 0 else None


def reference(entry: Entry) -> Outcome:
    """This venue is not alone with its price. A second source that is silent is no comparison."""
    limits, now = entry.limits, entry.mark
    other = entry.snapshot.reference_px if entry.snapshot else None
    if other is None or entry.reference_age_s is None or entry.reference_age_s > limits.max_reference_age:
        return not limits.require_reference, "no fresh price of a second source"
    if now is None or other <= 0:
        return False, "no price to compare"
    gap = abs(now / exact(other) - 1) * BPS
    return gap <= limits.max_reference_gap_bps, f"{gap:.1f} bp apart, at most {limits.max_reference_gap_bps}"


def spread(entry: Entry) -> Outcome:
    """Best bid and ask are both there, uncrossed, and near each other."""
    snapshot = entry.snapshot
    if snapshot is None or not snapshot.bid or not snapshot.ask:
        return False, "one side of the book is empty"
    width = exact((snapshot.ask - snapshot.bid) / snapshot.bid) * BPS
    most = entry.limits.max_spread_bps
    return 0 <= width <= most, f"{width:.2f} bp, at most {most}"


def slippage(entry: Entry) -> Outcome:
    """Walking the shown book with the whole size costs little.

    Where no book is watched, only the spread bounds it. Levels that are not shown count as not there: the
    check errs toward refusing.
    """
    snapshot = entry.snapshot
    if entry.rests or snapshot is None or not (snapshot.bids or snapshot.asks):
        return True, "rests in the book" if entry.rests else "no book is watched"
    levels = snapshot.asks if entry.side is PositionSide.LONG else snapshot.bids
    average, taken = walk(levels, entry.sized.contracts)
    if taken < entry.sized.contracts:
        return False, f"the shown book holds {taken} of {entry.sized.contracts} contracts"
    best = exact(levels[0].price) if levels else entry.entry_price
    cost = abs(average / best - 1) * BPS
    most = entry.limits.max_slippage_bps
    return cost <= most, f"{cost:.2f} bp beyond the best price, at most {most}"


def walk(levels: Levels, contracts: Decimal) -> tuple[Decimal, Decimal]:
    """Average price of taking `contracts` from one side of a book, and how many of them it holds."""
    taken = value = Decimal(0)
    for level in levels:
        part = min(exact(level.size), contracts - taken)
        taken += part
        value += part * exact(level.price)
        if taken >= contracts:
            break
    return (value / taken if taken else Decimal(0)), taken
