"""Follows a trend while the fast average is well beyond the slow one; the same rule up and down."""

from __future__ import annotations

import msgspec

from engine.core.decisions import Action, Wakeup
from engine.core.orders import PositionSide
from engine.core.signals import MarketSnapshot
from engine.executor.strategies.rule import Idea, Sizing, decide_each, known, tradable


class EmaTrend(msgspec.Struct, frozen=True, kw_only=True):
    """gap = (EMA fast - EMA slow) / ATR of the newest closed candle of `timeframe`.

    Enters with the sign of the gap when it is at least `enter_gap` and not older than it is strong
    (`most_gap`: a move that far is late), and RSI is not at its end (`rsi_most` of a long, 100 minus that
    of a short). Leaves when the gap has turned to the other side by `exit_gap`. Between the two bounds
    nothing happens, so that a flat average does not flip the position.
    """

    timeframe: str = "5m"
    fast: int = 12
    slow: int = 26
    enter_gap: float = 0.35
    most_gap: float = 6.0
    exit_gap: float = 0.1
    rsi_most: float = 78.0
    sizing: Sizing = Sizing()

    def __post_init__(self) -> None:
        if not (0 < self.fast < self.slow and self.exit_gap >= 0 and 0 < self.enter_gap < self.most_gap):
            raise ValueError("expected fast below slow and enter_gap below most_gap, all above 0")

    def actions(self, wakeup: Wakeup) -> tuple[Action, ...]:
        return decide_each(wakeup, self.exit_reason, self.idea, self.sizing)

    def _gap(self, snapshot: MarketSnapshot) -> tuple[float, float, float] | None:
        """Gap, ATR and RSI; None while one is unknown."""
        view = snapshot.view(self.timeframe)
        if view is None:
            return None
        names = (f"ema_{self.fast}", f"ema_{self.slow}", "atr_14", "rsi_14")
        values = known(view.features, *names)
        if values is None or values[2] <= 0:
            return None
        fast, slow, atr, rsi = values
        return (fast - slow) / atr, atr, rsi

    def exit_reason(self, snapshot: MarketSnapshot, side: PositionSide) -> str:
        """Why a position on `side` should be left now; "" when it should not."""
        found = self._gap(snapshot)
        if found is None or found[0] * side.sign > -self.exit_gap:
            return ""
        return f"the averages turned against the {side}: gap {found[0]:.2f} ATR on {self.timeframe}"

    def idea(self, snapshot: MarketSnapshot) -> Idea | None:
        """What to enter in this market now, if anything."""
        found, price = self._gap(snapshot), tradable(snapshot)
        if found is None or price is None:
            return None
        gap, atr, rsi = found
        side = PositionSide.LONG if gap > 0 else PositionSide.SHORT
        stretched = rsi if side is PositionSide.LONG else 100 - rsi
        if not self.enter_gap <= abs(gap) <= self.most_gap or stretched > self.rsi_most:
            return None
        return Idea(
            symbol=snapshot.symbol,
            side=side,
            price=price,
            atr=atr,
            strength=abs(gap),
            confidence=0.55 + abs(gap) / 10,
            why=f"EMA {self.fast} is {gap:+.2f} ATR from EMA {self.slow} on {self.timeframe}, RSI {rsi:.0f}",
            invalidation=f"the gap turns to {-side.sign * self.exit_gap:+.2f} ATR",
        )
