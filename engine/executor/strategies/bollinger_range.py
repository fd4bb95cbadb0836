"""Trades back into the range when price leaves the Bollinger bands without a trend; up and down alike."""

from __future__ import annotations

import msgspec

from engine.core.decisions import Action, Wakeup
from engine.core.orders import PositionSide
from engine.core.signals import MarketSnapshot
from engine.executor.strategies.rule import Idea, Sizing, decide_each, known, tradable


class BollingerRange(msgspec.Struct, frozen=True, kw_only=True):
    """place = where the price stands between the bands of `timeframe`: 0 is the lower, 1 the upper.

    Buys at `enter_place` or below, sells at 1 minus that or above, while ADX is at most `adx_most` (no
    trend). Leaves when the price has crossed the range to 1 minus `exit_place` on the other side, or when
    ADX says `adx_exit` with the price still outside: then it is a trend, and against the position.
    """

    timeframe: str = "5m"
    period: int = 20
    enter_place: float = 0.0
    exit_place: float = 0.2
    adx_most: float = 30.0
    adx_exit: float = 45.0
    sizing: Sizing = Sizing(reward=Sizing().reward * 3 / 4)

    def __post_init__(self) -> None:
        if not (self.period > 1 and self.enter_place < 0.5 and self.exit_place < 0.5):  # noqa: PLR2004
            raise ValueError("expected a period above 1, enter_place and exit_place below 0.5")
        if self.adx_most > self.adx_exit:
            raise ValueError("adx_most must not be above adx_exit")

    def actions(self, wakeup: Wakeup) -> tuple[Action, ...]:
        return decide_each(wakeup, self.exit_reason, self.idea, self.sizing)

    def _place(self, snapshot: MarketSnapshot) -> tuple[float, float, float] | None:
        """Place of the price, ADX and ATR; None while one is unknown."""
        view, price = snapshot.view(self.timeframe), snapshot.price()
        if view is None or price is None:
            return None
        n = self.period
        values = known(view.features, f"bb_lower_{n}", f"bb_upper_{n}", "adx_14", "atr_14")
        if values is None or values[1] <= values[0] or values[3] <= 0:
            return None
        lower, upper, adx, atr = values
        return (price - lower) / (upper - lower), adx, atr

    def exit_reason(self, snapshot: MarketSnapshot, side: PositionSide) -> str:
        """Why a position on `side` should be left now; "" when it should not."""
        found = self._place(snapshot)
        if found is None:
            return ""
        place = found[0] if side is PositionSide.LONG else 1 - found[0]
        if place >= 1 - self.exit_place:
            return f"the price crossed the range, it stands at {found[0]:.2f} of it"
        if found[1] >= self.adx_exit and place < 0:
            return f"the range broke against the {side}: ADX {found[1]:.0f}"
        return ""

    def idea(self, snapshot: MarketSnapshot) -> Idea | None:
        """What to enter in this market now, if anything."""
        found, price = self._place(snapshot), tradable(snapshot)
        if found is None or price is None or found[1] > self.adx_most:
            return None
        place, adx, atr = found
        side = PositionSide.LONG if place < 0.5 else PositionSide.SHORT  # noqa: PLR2004 - the middle
        depth = self.enter_place - (place if side is PositionSide.LONG else 1 - place)
        if depth < 0:
            return None
        return Idea(
            symbol=snapshot.symbol,
            side=side,
            price=price,
            atr=atr,
            strength=depth,
            confidence=0.6 + depth / 2,
            why=f"price at {place:.2f} of the {self.timeframe} bands without a trend, ADX {adx:.0f}",
            invalidation=f"ADX reaches {self.adx_exit:.0f} with the price still outside the bands",
        )
