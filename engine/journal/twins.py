"""A shadow or canary trader beside a live one: what both decided, and what came of it. Pure.

Money is dollars; fees and funding are negative when paid. Ratios are of hourly returns, annualised,
risk-free rate 0 (see engine.journal.ratios); the drawdown is of every moment that is kept.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from decimal import Decimal
from typing import Final

import msgspec

from engine.core.decisions import Act, Action
from engine.core.orders import ZERO
from engine.core.times import NS_PER_HOUR, NS_PER_MIN
from engine.journal.ratios import ratios

_NEAR_NS: Final = 15 * NS_PER_MIN  # two traders that want the same within it agree
_NOT_THERE: Final = (None, "on_paper", "nothing_to_close")  # an account with nothing to judge in an action
_OPPOSITE: Final = {Act.BUY_TO_ENTER: Act.SELL_TO_ENTER, Act.SELL_TO_ENTER: Act.BUY_TO_ENTER}


class Account(msgspec.Struct, frozen=True, kw_only=True):
    """Rows of one trader in the range: sums over its closed trades, fills and flows."""

    trades: int = 0
    wins: int = 0
    fees: Decimal = ZERO
    funding: Decimal = ZERO
    flows: Decimal = ZERO  # into the account after its first measured moment
    slippage_bps: float | None = None  # of fills against the decision's price, weighed by notional
    filled_orders: int = 0


class Half(msgspec.Struct, frozen=True, kw_only=True):
    """One of the two. `pnl`: what equity rose by in the range, after costs and without money paid in."""

    trader_id: str
    trades: int
    wins: int
    pnl: float | None
    return_pct: float | None
    fees: float
    funding: float
    max_drawdown_pct: float
    sharpe: float | None
    slippage_bps: float | None  # worse than the decision's price is positive
    filled_orders: int
    wakeups: int  # cycles with an entry that went to this account, whatever its gate said
    wakeups_pct: float | None  # of all cycles of its decider


class Decisions(msgspec.Struct, frozen=True, kw_only=True):
    """What became of actions on the two sides. For a trader and its own paper account the decision is one:
    it agrees when both gates say the same. For two traders it agrees when both wanted it within 15 minutes,
    and differs when they entered opposite sides.
    """

    agreeing: int
    differing: int
    only_paper: int
    only_live: int
    reasons: dict[str, int]  # what the gates said where they differ, "live / paper"; most frequent first


class Twins(msgspec.Struct, frozen=True, kw_only=True):
    """The comparison over [ts_from, ts_to), ns."""

    paper: Half
    live: Half
    decisions: Decisions
    ts_from: int
    ts_to: int


class Judged(msgspec.Struct, frozen=True):
    """How often an action of one cycle was judged so; None where that side had nothing to judge."""

    live: str | None  # reason code, "" approved
    paper: str | None
    count: int


class Point(msgspec.Struct, frozen=True):
    ts: int
    equity: float


class Cycle(msgspec.Struct, frozen=True):
    """What a cycle wanted."""

    ts_created: int
    actions: tuple[Action, ...]


class Wakeups(msgspec.Struct, frozen=True):
    """Cycles of a trader: all, those with an entry kept on paper, and those with one judged live."""

    all: int = 0
    on_paper: int = 0
    live: int = 0


def same_decisions(rows: Iterable[Judged]) -> Decisions:
    """Of a trader and its own paper account."""
    counts: Counter[str] = Counter()
    reasons: Counter[str] = Counter()
    for row in rows:
        live, paper = row.live not in _NOT_THERE, row.paper not in _NOT_THERE
        if not (live and paper):
            counts["only_paper"] += row.count * paper
            counts["only_live"] += row.count * live
        elif bool(row.live) == bool(row.paper):
            counts["agreeing"] += row.count
        else:
            counts["differing"] += row.count
            reasons[f"{row.live or 'approved'} / {row.paper or 'approved'}"] += row.count
    return _decisions(counts, reasons)


def other_decisions(paper: Sequence[Cycle], live: Sequence[Cycle]) -> Decisions:
    """Of two traders: each action of one meets the nearest of the other that nobody has met."""
    mine, theirs = _wanted(paper), _wanted(live)
    counts: Counter[str] = Counter()
    reasons: Counter[str] = Counter()
    for ts, symbol, act in mine:
        if (same := _nearest(theirs, ts, symbol, act)) is not None:
            counts["agreeing"] += 1
            theirs.remove(same)
        elif act in _OPPOSITE and (other := _nearest(theirs, ts, symbol, _OPPOSITE[act])) is not None:
            counts["differing"] += 1
            reasons[f"{other[2]} / {act}"] += 1
            theirs.remove(other)
        else:
            counts["only_paper"] += 1
    counts["only_live"] = len(theirs)
    return _decisions(counts, reasons)


_Want = tuple[int, str, Act]


def _wanted(cycles: Sequence[Cycle]) -> list[_Want]:
    return [
        (cycle.ts_created, action.symbol, action.act)
        for cycle in cycles
        for action in cycle.actions
        if action.act not in {Act.HOLD, Act.MOVE_STOP}
    ]


def _nearest(wants: Sequence[_Want], ts: int, symbol: str, act: Act) -> _Want | None:
    near = [want for want in wants if want[1:] == (symbol, act) and abs(want[0] - ts) <= _NEAR_NS]
    return min(near, key=lambda want: abs(want[0] - ts), default=None)


def _decisions(counts: Counter[str], reasons: Counter[str]) -> Decisions:
    return Decisions(
        agreeing=counts["agreeing"],
        differing=counts["differing"],
        only_paper=counts["only_paper"],
        only_live=counts["only_live"],
        reasons=dict(sorted(reasons.items(), key=lambda item: (-item[1], item[0]))),
    )


def half(trader_id: str, account: Account, curve: Sequence[Point], wakeups: int, of: int) -> Half:
    """The figures of one side; `curve` is its equity in the range, oldest first, `of` all cycles."""
    hours = {point.ts // NS_PER_HOUR: point.equity for point in curve}
    first, last = (curve[0].equity, curve[-1].equity) if curve else (None, None)
    pnl = None if first is None or last is None else last - first - float(account.flows)
    return Half(
        trader_id=trader_id,
        trades=account.trades,
        wins=account.wins,
        pnl=None if pnl is None else round(pnl, 2),
        return_pct=None if pnl is None or not first else round(100 * pnl / first, 4),
        fees=float(account.fees),
        funding=float(account.funding),
        max_drawdown_pct=ratios(point.equity for point in curve).max_drawdown_pct,
        sharpe=ratios(hours.values()).sharpe,
        slippage_bps=account.slippage_bps,
        filled_orders=account.filled_orders,
        wakeups=wakeups,
        wakeups_pct=round(100 * wakeups / of, 2) if of else None,
    )
