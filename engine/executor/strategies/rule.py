"""What the strategies share: the port they implement together, entries with an exit plan, and their size."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from decimal import ROUND_DOWN, Decimal
from typing import Final, Protocol

import msgspec

from engine.clock import Clock
from engine.core.decisions import Act, Action, CycleRecord, CycleStatus, Wakeup
from engine.core.market import exact
from engine.core.orders import PositionSide
from engine.core.signals import MarketSnapshot
from engine.executor.decision import held

_DIGITS: Final = 12
_CENT: Final = Decimal("0.01")


class Rule(Protocol):
    """A strategy: what it wants at a wakeup. Pure, and the same for the same wakeup."""

    def actions(self, wakeup: Wakeup) -> tuple[Action, ...]: ...


class StrategyDecider:
    """Implements Decider with a rule; it is always in time, costs nothing and needs no model."""

    def __init__(self, name: str, rule: Rule, clock: Clock) -> None:
        self.name = name
        self._rule = rule
        self._clock = clock

    async def decide(self, wakeup: Wakeup) -> CycleRecord:
        """The rule's actions, with what it saw in the justification of each."""
        started = self._clock.now_ns()
        decision = msgspec.structs.replace(
            held(wakeup, self.name, started), actions=self._rule.actions(wakeup)
        )
        reasoning = "\n".join(f"{a.symbol} {a.act}: {a.justification}" for a in decision.actions)
        return CycleRecord(
            decision=decision,
            status=CycleStatus.DECIDED,
            reasoning=reasoning or "no rule applied: hold",
            ts_started=started,
        )


class Sizing(msgspec.Struct, frozen=True, kw_only=True):
    """How large an entry is and where it ends, in both directions alike.

    `size_pct` is the notional in percent of equity. The stop is `stop_atr` ATR away, but at least
    `min_stop_pct` and at most `max_stop_pct` of the price (the least counts when no ATR is known); the
    target is `reward` times as far on the other side.
    """

    size_pct: Decimal = Decimal(40)
    leverage: Decimal = Decimal(3)
    stop_atr: Decimal = Decimal("2.5")
    min_stop_pct: Decimal = Decimal("0.3")
    max_stop_pct: Decimal = Decimal(5)
    reward: Decimal = Decimal(2)

    def __post_init__(self) -> None:
        if min(self.size_pct, self.leverage, self.stop_atr, self.min_stop_pct, self.reward) <= 0:
            raise ValueError("size_pct, leverage, stop_atr, min_stop_pct and reward must be above 0")
        if self.leverage < 1 or self.max_stop_pct < self.min_stop_pct:
            raise ValueError("leverage is at least 1, max_stop_pct at least min_stop_pct")

    def entry(self, wakeup: Wakeup, idea: Idea) -> Action | None:
        """The entry for an idea; None without equity or a price."""
        equity, price = wakeup.account.equity, exact(idea.price)
        if equity is None or equity <= 0 or not price:
            return None
        distance = self._stop_distance(price, idea.atr)
        sign = idea.side.sign
        return Action(
            symbol=idea.symbol,
            act=Act.BUY_TO_ENTER if idea.side is PositionSide.LONG else Act.SELL_TO_ENTER,
            notional_usd=(equity * self.size_pct / 100).quantize(_CENT, ROUND_DOWN),
            leverage=self.leverage,
            stop_loss=short(price - sign * distance),
            take_profit=short(price + sign * distance * self.reward),
            confidence=Decimal(f"{min(0.95, max(0.5, idea.confidence)):.2f}"),
            invalidation=idea.invalidation,
            justification=idea.why,
        )

    def _stop_distance(self, price: Decimal, atr: float | None) -> Decimal:
        least, most = price * self.min_stop_pct / 100, price * self.max_stop_pct / 100
        wanted = exact(atr) * self.stop_atr if atr else least
        return min(most, max(least, wanted))


class Idea(msgspec.Struct, frozen=True, kw_only=True):
    """Why to enter, before size and exit plan. `strength` orders ideas of one wakeup, strongest first."""

    symbol: str
    side: PositionSide
    price: float
    atr: float | None
    strength: float
    confidence: float
    why: str
    invalidation: str


def close(symbol: str, why: str) -> Action:
    """Close the whole position in `symbol`."""
    return Action(symbol=symbol, act=Act.CLOSE, confidence=Decimal(1), justification=why)


def known(features: Mapping[str, float | None], *names: str) -> tuple[float, ...] | None:
    """The features by name; None when one is missing, not warmed up or no number: then hold."""
    values = [features.get(name) for name in names]
    found = tuple(value for value in values if value is not None and math.isfinite(value))
    return found if len(found) == len(names) else None


def tradable(snapshot: MarketSnapshot) -> float | None:
    """The price to enter at; None while a channel that prices it is silent or nothing is known."""
    price = snapshot.price()
    return None if snapshot.blind or price is None or not price > 0 else price


def short(value: Decimal) -> Decimal:
    """To twelve significant digits."""
    return Decimal(f"{value:.{_DIGITS}g}").normalize() + Decimal(0)


def decide_each(
    wakeup: Wakeup,
    exit_reason: Callable[[MarketSnapshot, PositionSide], str],
    idea: Callable[[MarketSnapshot], Idea | None],
    sizing: Sizing,
) -> tuple[Action, ...]:
    """Closes first, then entries where nothing is held, the strongest first. Missing data holds."""
    closes: list[Action] = []
    ideas: list[Idea] = []
    for snapshot in sorted(wakeup.market, key=lambda view: view.symbol):
        position = wakeup.account.position(snapshot.symbol)
        if position is not None:
            if why := exit_reason(snapshot, position.side):
                closes.append(close(snapshot.symbol, why))
        elif tradable(snapshot) is not None and (found := idea(snapshot)) is not None:
            ideas.append(found)
    ideas.sort(key=lambda each: (-each.strength, each.symbol))
    entries = (sizing.entry(wakeup, each) for each in ideas)
    return (*closes, *(entry for entry in entries if entry is not None))
