"""How often a trader looks at the market, and what thinking may cost. All durations are engine time."""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated

import msgspec
from msgspec import Meta

from engine.config.values import Duration

Score = Annotated[float, Meta(ge=0, le=1)]
Count = Annotated[int, Meta(ge=1)]
Weight = Annotated[float, Meta(ge=0, le=100)]
DayTime = Annotated[str, Meta(pattern=r"^([01]\d|2[0-3]):[0-5]\d$")]
Dollars = Annotated[Decimal, Meta(gt=0)]


class RhythmConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Cycles of one trader. The rules are those of engine.manager.rhythm."""

    long_cycle: Duration = Duration(720)  # looks at least this often
    short_cycle: Duration = Duration(300)  # the same while something is going on; never above long_cycle
    grace: Duration = Duration(20)  # signals within it wake once
    cooldown: Duration = Duration(60)  # after a decision; a signal in it does not wake
    min_salience: Score = 0.35  # weaker edges are not looked at
    urgent_salience: Score = 0.9  # edges from here on wake in the cooldown too
    signal_ttl: Duration = Duration(600)  # an older edge does not wake; ids of edges are remembered so long
    stable_for: Duration = Duration(900)  # quiet this long: back to the long cycle
    longest_short: Duration = Duration(7200)  # an excursion that lasts longer is the new normal
    jitter: Duration = Duration(30)  # timers come up to this much earlier, so that traders spread
    max_thinking: Duration = Duration(180)  # an answer after it is stale, and the trader is free again

    def every(self, interval: Duration | None) -> RhythmConfig:
        """With `interval` (a trader's decision_interval) as its long cycle; None changes nothing."""
        if interval is None:
            return self
        shorter = min(self.short_cycle, interval)
        return msgspec.structs.replace(self, long_cycle=interval, short_cycle=shorter)


class HourWeight(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A part of the UTC day, which may go over midnight, and its weight."""

    begin: DayTime  # HH:MM
    end: DayTime
    weight: Weight

    def holds(self, minute: int) -> bool:
        """Whether the minute of the day lies within."""
        begin, end = _minute(self.begin), _minute(self.end)
        return begin <= minute < end if begin < end else minute >= begin or minute < end


class RolloutConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How much of a trader is live; the rest it does on paper. Weights are percentages of its wakeups.

    100 is a live trader, 0 a shadow, between them a canary. A symbol's weight replaces `weight`, an hour's
    multiplies it; the first hours that hold count, outside of all of them it is 100.
    """

    weight: Weight = 100.0
    symbols: dict[str, Weight] = {}  # coin or venue id
    hours: tuple[HourWeight, ...] = ()

    @property
    def live(self) -> bool:
        """Whether nothing is on paper."""
        weights = (self.weight, *self.symbols.values(), *(each.weight for each in self.hours))
        return min(weights) >= 100.0  # noqa: PLR2004 - percent

    @property
    def shadow(self) -> bool:
        """Whether nothing is live."""
        return max((self.weight, *self.symbols.values())) <= 0


class BudgetConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What all traders together, and each of them, may spend on thinking. None sets no bound."""

    max_concurrent: Count = 64
    max_concurrent_per_model: Count = 16
    model_concurrency: dict[str, Count] = {}  # model alias → its own bound
    requests_per_second: Annotated[float, Meta(gt=0)] | None = None  # of engine time
    burst: Count = 10
    cost_per_hour_usd: Dollars | None = None  # per trader, by UTC hour
    cost_per_day_usd: Dollars | None = None  # per trader, by UTC day


def _minute(text: str) -> int:
    return int(text[:2]) * 60 + int(text[3:])
