"""The benchmark: enters once, and holds."""

from __future__ import annotations

from decimal import ROUND_DOWN, Decimal

import msgspec

from engine.core.decisions import Act, Action, Wakeup
from engine.core.market import exact
from engine.core.orders import PositionSide
from engine.executor.strategies.rule import short, tradable


class BuyAndHold(msgspec.Struct, frozen=True, kw_only=True):
    """Puts `size_pct` of the capital into its symbols in equal parts, at `leverage`, with no target.

    `stop_pct` 0 sets no stop, which the trader's risk_params must allow. Once anything of it was closed
    (by its stop, an operator, a liquidation), it never enters again: it would not be a benchmark.
    """

    side: PositionSide = PositionSide.LONG
    size_pct: Decimal = Decimal(95)
    leverage: Decimal = Decimal(1)
    stop_pct: Decimal = Decimal(0)

    def __post_init__(self) -> None:
        if self.size_pct <= 0 or self.leverage < 1 or not 0 <= self.stop_pct < 100:  # noqa: PLR2004 - percent
            raise ValueError("expected size_pct above 0, leverage of at least 1, stop_pct within 0 and 100")

    def actions(self, wakeup: Wakeup) -> tuple[Action, ...]:
        account = wakeup.account
        if account.realised or account.equity is None:
            return ()
        part = account.capital * self.size_pct / 100 / max(1, len(wakeup.market))
        entries: list[Action] = []
        for snapshot in sorted(wakeup.market, key=lambda view: view.symbol):
            price = tradable(snapshot)
            if price is None or account.position(snapshot.symbol) is not None:
                continue
            entries.append(self._entry(snapshot.symbol, exact(price), part))
        return tuple(entries)

    def _entry(self, symbol: str, price: Decimal, notional: Decimal) -> Action:
        long = self.side is PositionSide.LONG
        stop = price * (1 - self.side.sign * self.stop_pct / 100) if self.stop_pct else None
        return Action(
            symbol=symbol,
            act=Act.BUY_TO_ENTER if long else Act.SELL_TO_ENTER,
            notional_usd=notional.quantize(Decimal("0.01"), ROUND_DOWN),
            leverage=self.leverage,
            stop_loss=None if stop is None else short(stop),
            confidence=Decimal(1),
            invalidation="none: it holds",
            justification=f"benchmark: {'buy' if long else 'sell'} once and hold",
        )
