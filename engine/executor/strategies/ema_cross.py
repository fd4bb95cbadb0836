"""The textbook cross of two averages: long while the fast one is above the slow one, short while below."""

from __future__ import annotations

from decimal import Decimal

import msgspec

from engine.core.decisions import Act, Action, Wakeup
from engine.core.orders import PositionSide
from engine.core.signals import MarketSnapshot
from engine.executor.strategies.rule import close, known, tradable


class EmaCross(msgspec.Struct, frozen=True, kw_only=True):
    """Follows the sign of EMA fast - EMA slow of the newest closed candle of `timeframe`, both ways alike.

    Against the position it closes, and enters the other way at its next look; each entry is worth
    `notional_usd`, without stop and target, which the trader's risk_params must allow. A yardstick for
    other strategies and other engines rather than a way to earn money: it pays fees at every cross.
    """

    timeframe: str = "1m"
    fast: int = 12
    slow: int = 26
    notional_usd: Decimal = Decimal(1_000)
    leverage: Decimal = Decimal(1)

    def __post_init__(self) -> None:
        if not 0 < self.fast < self.slow or self.notional_usd <= 0 or self.leverage < 1:
            raise ValueError("expected fast below slow, both above 0, a notional, and leverage of at least 1")

    def actions(self, wakeup: Wakeup) -> tuple[Action, ...]:
        found = (self._action(wakeup, snapshot) for snapshot in wakeup.market)
        return tuple(action for action in found if action is not None)

    def _action(self, wakeup: Wakeup, snapshot: MarketSnapshot) -> Action | None:
        view = snapshot.view(self.timeframe)
        values = known(view.features, f"ema_{self.fast}", f"ema_{self.slow}") if view else None
        if values is None or values[0] == values[1]:
            return None
        side = PositionSide.LONG if values[0] > values[1] else PositionSide.SHORT
        why = f"EMA {self.fast} {values[0]:.10g}, EMA {self.slow} {values[1]:.10g} on {self.timeframe}"
        position = wakeup.account.position(snapshot.symbol)
        if position is not None:
            return close(snapshot.symbol, why) if position.side is not side else None
        if tradable(snapshot) is None:
            return None
        return Action(
            symbol=snapshot.symbol,
            act=Act.BUY_TO_ENTER if side is PositionSide.LONG else Act.SELL_TO_ENTER,
            notional_usd=self.notional_usd,
            leverage=self.leverage,
            confidence=Decimal(1),
            invalidation="the averages cross back",
            justification=why,
        )
