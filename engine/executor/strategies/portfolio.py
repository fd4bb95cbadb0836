"""Several strategies as one portfolio: each is heard in its regime, and the targets share one budget."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import ROUND_UP, Decimal
from typing import Final, Protocol

import msgspec

from engine.core.decisions import Act, Action, PositionView, Wakeup
from engine.core.market import exact
from engine.core.orders import PositionSide
from engine.core.signals import MarketSnapshot
from engine.executor.strategies.bollinger_range import BollingerRange
from engine.executor.strategies.ema_trend import EmaTrend
from engine.executor.strategies.regime import Regime, RegimeDetector
from engine.executor.strategies.rule import Idea, Sizing, close, tradable


class Member(Protocol):
    """A strategy that can be asked about one market."""

    def idea(self, snapshot: MarketSnapshot) -> Idea | None: ...
    def exit_reason(self, snapshot: MarketSnapshot, side: PositionSide) -> str: ...


# How much each member is heard: trend followers in trends, range traders where there is room without one.
_WEIGHTS: Final[Mapping[Regime, tuple[float, float]]] = {
    Regime.TREND: (1.0, 0.0),
    Regime.BREAKOUT: (0.6, 0.0),
    Regime.RANGE: (0.2, 0.8),
    Regime.QUIET: (0.0, 0.0),
}
_LEADER: Final[Mapping[Regime, int]] = {Regime.RANGE: 1}  # whose exits count; else the trend follower's


class View(msgspec.Struct, frozen=True, kw_only=True):
    """What the members together want with one market: `score` is -1 (short) to 1 (long)."""

    snapshot: MarketSnapshot
    regime: Regime
    score: float
    idea: Idea | None  # of the member that weighs most


class Portfolio(msgspec.Struct, frozen=True, kw_only=True):
    """score of a market = sum of weight of the regime times confidence times side of each member's idea.

    target = equity * global_leverage * score / max(1, sum of all |score|), so that all targets together stay
    within `global_leverage`. A target that differs from the position by less than `diff_threshold_pct` of
    equity is left alone. Positions are only made smaller, closed, or opened: never added to.
    """

    regime: RegimeDetector = RegimeDetector()
    global_leverage: Decimal = Decimal(2)
    diff_threshold_pct: Decimal = Decimal(10)
    sizing: Sizing = Sizing()

    def __post_init__(self) -> None:
        if self.global_leverage <= 0 or not 0 < self.diff_threshold_pct <= 100:  # noqa: PLR2004 - percent
            raise ValueError("expected global_leverage above 0 and diff_threshold_pct within 0 and 100")

    def actions(self, wakeup: Wakeup) -> tuple[Action, ...]:
        equity = wakeup.account.equity
        if equity is None or equity <= 0:
            return ()
        views = [
            view
            for snapshot in sorted(wakeup.market, key=lambda each: each.symbol)
            if (view := self._view(snapshot)) is not None
        ]
        total = max(1.0, sum(abs(view.score) for view in views))
        closes, entries = [], []
        for view in views:
            target = equity * self.global_leverage * exact(round(view.score / total, 6))
            position = wakeup.account.position(view.snapshot.symbol)
            if position is not None:
                closes += self._adjust(view, position, target, equity)
            elif view.idea is not None and self._matters(target, equity):
                sizing = msgspec.structs.replace(self.sizing, size_pct=abs(target) / equity * 100)
                entries.append((abs(view.score), sizing.entry(wakeup, view.idea)))
        entries.sort(key=lambda each: -each[0])  # stable: of equals by symbol
        return (*closes, *(entry for _, entry in entries if entry is not None))

    def _members(self) -> tuple[Member, ...]:
        timeframe = self.regime.timeframe
        return EmaTrend(timeframe=timeframe), BollingerRange(timeframe=timeframe)

    def _view(self, snapshot: MarketSnapshot) -> View | None:
        """None while the regime is not known: then nothing is entered and positions keep their plan."""
        regime = self.regime.regime(snapshot)
        if regime is None:
            return None
        score, best, heaviest = 0.0, None, 0.0
        for member, weight in zip(self._members(), _WEIGHTS[regime], strict=True):
            idea = member.idea(snapshot) if weight and tradable(snapshot) is not None else None
            if idea is None:
                continue
            heard = weight * min(1.0, idea.confidence)
            score += idea.side.sign * heard
            if heard > heaviest:
                best, heaviest = idea, heard
        if best is not None and best.side.sign * score <= 0:  # the others outweigh it
            best = None
        if best is not None:
            best = msgspec.structs.replace(
                best, confidence=abs(score), why=f"{regime}, score {score:+.2f}: {best.why}"
            )
        return View(snapshot=snapshot, regime=regime, score=max(-1.0, min(1.0, score)), idea=best)

    def _adjust(self, view: View, position: PositionView, target: Decimal, equity: Decimal) -> list[Action]:
        symbol, sign = position.symbol, position.side.sign
        if target * sign < 0 and self._matters(target, equity):
            return [close(symbol, f"{view.regime}, score {view.score:+.2f}: the other side is wanted")]
        leader = self._members()[_LEADER.get(view.regime, 0)]
        if why := leader.exit_reason(view.snapshot, position.side):
            return [close(symbol, f"{view.regime}: {why}")]
        held, wanted = position.notional, abs(target)
        if held is None or target * sign <= 0 or held <= wanted or not self._matters(held - wanted, equity):
            return []
        fraction = (1 - wanted / held).quantize(Decimal("0.01"), ROUND_UP)
        return [
            Action(
                symbol=symbol,
                act=Act.REDUCE,
                close_fraction=fraction,
                confidence=Decimal(1),
                justification=f"{view.regime}, score {view.score:+.2f}: the target is {fraction} smaller",
            )
        ]

    def _matters(self, difference: Decimal, equity: Decimal) -> bool:
        return abs(difference) >= equity * self.diff_threshold_pct / 100 and bool(difference)
