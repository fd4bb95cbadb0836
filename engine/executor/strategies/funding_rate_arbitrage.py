"""Earns the difference between funding rates: short where longs pay most, long where they pay least.

Both legs have the same notional, so that a move of the whole market costs one what the other gains. What is
left is the funding received, less fees, and the risk that the two markets drift apart.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Final

import msgspec

from engine.core.decisions import Action, Wakeup
from engine.core.orders import PositionSide
from engine.core.signals import MarketSnapshot
from engine.core.times import NS_PER_S
from engine.executor.strategies.rule import Idea, Sizing, close, tradable

_BPS: Final = 10_000
_FILLS_WITHIN_NS: Final = 60 * NS_PER_S  # a leg that is younger may still get its other one


class FundingRateArbitrage(msgspec.Struct, frozen=True, kw_only=True):
    """Spread = the highest funding rate of its symbols less the lowest, in basis points of one charge.

    Enters both legs when the spread is at least `enter_spread_bps`, which must pay for four fills within a
    few charges. Leaves both when the spread of its own two legs is at most `exit_spread_bps`, and leaves a
    leg that stands alone. Rates older than `max_age_s` (engine time) are unknown: then it only holds.
    """

    enter_spread_bps: float = 8.0
    exit_spread_bps: float = 2.0
    max_age_s: float = 900.0
    sizing: Sizing = Sizing(size_pct=Decimal(40), leverage=Decimal(2), stop_atr=Decimal(6), reward=Decimal(3))

    def __post_init__(self) -> None:
        if not 0 <= self.exit_spread_bps < self.enter_spread_bps or self.max_age_s <= 0:
            raise ValueError("expected exit_spread_bps below enter_spread_bps, and max_age_s above 0")

    def actions(self, wakeup: Wakeup) -> tuple[Action, ...]:
        rates = {view.symbol: rate for view in wakeup.market if (rate := self._rate(view)) is not None}
        held = wakeup.account.positions
        if held:
            return self._leave(wakeup, rates)
        ranked = sorted(rates, key=lambda symbol: (rates[symbol], symbol))
        if len(ranked) < 2:  # noqa: PLR2004 - two legs
            return ()
        low, high = ranked[0], ranked[-1]
        spread = (rates[high] - rates[low]) * _BPS
        if spread < self.enter_spread_bps:
            return ()
        legs = (
            self._leg(wakeup, low, PositionSide.LONG, rates[low], spread),
            self._leg(wakeup, high, PositionSide.SHORT, rates[high], spread),
        )
        entries = tuple(leg for leg in legs if leg is not None)
        return entries if len(entries) == len(legs) else ()

    def _rate(self, snapshot: MarketSnapshot) -> float | None:
        """The funding rate, None when it is unknown, old, or the symbol cannot be entered."""
        age_s = (snapshot.ts - snapshot.ts_funding_seen) / NS_PER_S
        if snapshot.funding_rate is None or age_s > self.max_age_s or tradable(snapshot) is None:
            return None
        return snapshot.funding_rate

    def _leave(self, wakeup: Wakeup, rates: dict[str, float]) -> tuple[Action, ...]:
        held = wakeup.account.positions
        sides = {view.side for view in held}
        if len(held) != 2 or len(sides) != 2:  # noqa: PLR2004 - one leg of each side
            old = [view for view in held if wakeup.ts - view.ts_opened >= _FILLS_WITHIN_NS]
            return tuple(close(view.symbol, "it stands without its other leg") for view in old)
        if any(view.symbol not in rates for view in held):
            return ()
        spread = -sum(view.side.sign * rates[view.symbol] for view in held) * _BPS
        if spread > self.exit_spread_bps:
            return ()
        why = f"the funding spread fell to {spread:.1f} bp"
        return tuple(close(view.symbol, why) for view in held)

    def _leg(
        self, wakeup: Wakeup, symbol: str, side: PositionSide, rate: float, spread: float
    ) -> Action | None:
        snapshot = wakeup.snapshot(symbol)
        price = tradable(snapshot) if snapshot else None
        if snapshot is None or price is None:
            return None
        atr = next((view.features.get("atr_14") for view in reversed(snapshot.timeframes)), None)
        idea = Idea(
            symbol=symbol,
            side=side,
            price=price,
            atr=atr,
            strength=spread,
            confidence=0.6 + spread / 200,
            why=f"funding {rate * _BPS:+.1f} bp, {spread:.1f} bp between the two legs",
            invalidation=f"the spread of the legs falls to {self.exit_spread_bps:g} bp, or one leg is closed",
        )
        return self.sizing.entry(wakeup, idea)
