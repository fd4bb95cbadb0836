"""What thinking may cost: how many at once, how fast, how much money. Sans I/O; every call is given the time.

One admission for every wakeup that asks a model; a trader without a model costs nothing and is not asked.
Money is counted by UTC hour and UTC day of engine time, per trader. A cost is known only afterwards, so a
limit is exceeded by one answer at most: a trader thinks about one thing at a time.
"""

from __future__ import annotations

from collections import Counter
from decimal import Decimal
from enum import StrEnum
from typing import Final

import msgspec

from engine.config.scheduler import BudgetConfig
from engine.core.times import NS_PER_DAY, NS_PER_HOUR, NS_PER_S

ZERO: Final = Decimal(0)
_CYCLES_KNOWN: Final = 8  # answers of a trader that the bus may deliver again


class Shortage(StrEnum):
    """What is missing. Money is missing for the rest of the hour or day, everything else for moments."""

    CONCURRENCY = "budget-concurrency"
    MODEL_CONCURRENCY = "budget-model-concurrency"
    RATE = "budget-rate"
    COST_HOUR = "budget-cost-hour"
    COST_DAY = "budget-cost-day"

    @property
    def passes_soon(self) -> bool:
        """True when the wakeup waits for its turn, False when it is refused."""
        return self not in {Shortage.COST_HOUR, Shortage.COST_DAY}


class Spend(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Dollars a trader has spent in an hour and a day, both counted from the epoch."""

    hour: int = 0
    hour_usd: Decimal = ZERO
    day: int = 0
    day_usd: Decimal = ZERO
    cycles: tuple[str, ...] = ()  # whose cost was counted last, the newest at the end

    def plus(self, cost_usd: Decimal, now_ns: int) -> Spend:
        """With a cost added; an hour or day that is over counts from zero."""
        hour, day = now_ns // NS_PER_HOUR, now_ns // NS_PER_DAY
        return Spend(
            hour=hour,
            hour_usd=cost_usd + (self.hour_usd if hour == self.hour else ZERO),
            day=day,
            day_usd=cost_usd + (self.day_usd if day == self.day else ZERO),
            cycles=self.cycles,
        )


class Budget:
    """Slots, rate and money of all traders of a process."""

    def __init__(self, config: BudgetConfig) -> None:
        self._config = config
        self._slots: dict[str, str] = {}  # cycle id → model
        self._by_model: Counter[str] = Counter()
        self._spent: dict[str, Spend] = {}
        per_second = config.requests_per_second
        self._interval_ns = int(NS_PER_S / per_second) if per_second else 0
        self.paid_until_ns = 0  # requests so far are paid for by time up to here (GCRA)

    def shortage(self, trader_id: str, model: str, now_ns: int) -> Shortage | None:
        """What keeps the trader from asking the model now; None when nothing does."""
        if not model:
            return None
        config, spent = self._config, self.spent(trader_id).plus(ZERO, now_ns)
        if config.cost_per_day_usd is not None and spent.day_usd >= config.cost_per_day_usd:
            return Shortage.COST_DAY
        if config.cost_per_hour_usd is not None and spent.hour_usd >= config.cost_per_hour_usd:
            return Shortage.COST_HOUR
        if len(self._slots) >= config.max_concurrent:
            return Shortage.CONCURRENCY
        if self._by_model[model] >= self._model_limit(model):
            return Shortage.MODEL_CONCURRENCY
        return Shortage.RATE if now_ns < self.next_request_ns else None

    def take(self, cycle_id: str, model: str, now_ns: int) -> None:
        """Begin a request that `shortage` let pass."""
        self.hold(cycle_id, model)
        if model and self._interval_ns:
            self.paid_until_ns = max(self.paid_until_ns, now_ns) + self._interval_ns

    def hold(self, cycle_id: str, model: str) -> None:
        """Occupy a slot for a request that was begun before a restart."""
        if model and cycle_id not in self._slots:
            self._slots[cycle_id] = model
            self._by_model[model] += 1

    def release(self, cycle_id: str) -> None:
        """The request has ended, or is given up. Nothing happens when it has no slot."""
        model = self._slots.pop(cycle_id, None)
        if model is not None:
            self._by_model[model] -= 1

    def book(self, trader_id: str, cycle_id: str, cost_usd: Decimal, now_ns: int) -> None:
        """Count what the answer of a cycle cost, once however often it is delivered."""
        if cost_usd and cycle_id not in (spent := self.spent(trader_id)).cycles:
            cycles = (*spent.cycles[1 - _CYCLES_KNOWN :], cycle_id)
            self._spent[trader_id] = msgspec.structs.replace(spent.plus(cost_usd, now_ns), cycles=cycles)

    def spent(self, trader_id: str) -> Spend:
        """What the trader has spent; goes with its state."""
        return self._spent.get(trader_id, Spend())

    def restore(self, trader_id: str, spent: Spend) -> None:
        """Take up what was spent before a restart."""
        self._spent[trader_id] = spent

    def pay_until(self, paid_until_ns: int, now_ns: int) -> None:
        """Take up the requests before a restart: the newest time counts, and no more of it than a burst."""
        burst_ns = self._config.burst * self._interval_ns
        self.paid_until_ns = max(self.paid_until_ns, min(paid_until_ns, now_ns + burst_ns))

    @property
    def thinking(self) -> int:
        """Requests under way."""
        return len(self._slots)

    @property
    def next_request_ns(self) -> int:
        """When the rate allows the next request; in the past when it does already."""
        return self.paid_until_ns - (self._config.burst - 1) * self._interval_ns

    def _model_limit(self, model: str) -> int:
        return self._config.model_concurrency.get(model, self._config.max_concurrent_per_model)
