"""Both runs side by side: every difference, and totals by trader."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from decimal import Decimal

import msgspec

from engine.backtest.run import Outcome
from engine.compare.answers import RetoldModel
from engine.compare.explain import Difference, Reason, Touches, explain
from engine.compare.live import LiveRun
from engine.compare.pairs import Execution, executions, paired
from engine.core.times import iso
from engine.exchange.simulator.recorded import Recording


class TraderTotals(msgspec.Struct, frozen=True, kw_only=True):
    """One trader in both runs. `reasons` counts its executions by why they differ.

    `asked` counts the backtest's cycles with questions to a model, `told` those whose answers the live run
    was given too, `unanswered` the live cycles that had no such partner.
    """

    trader_id: str
    backtest: int
    live: int
    reasons: dict[str, int]
    asked: int
    told: int
    unanswered: int
    backtest_equity: Decimal | None
    live_equity: Decimal | None


class Comparison(msgspec.Struct, frozen=True, kw_only=True):
    """All of it. `speed`: engine seconds a real one of the live run, by which a real delay counts."""

    start: str
    end: str
    speed: float
    differences: tuple[Difference, ...]
    traders: tuple[TraderTotals, ...]

    @property
    def explained(self) -> bool:
        """Both runs traded, the same trades, and what differs comes from latency alone."""
        return bool(self.differences) and all(each.reason.explained for each in self.differences)

    def later_ms(self, part: float) -> int | None:
        """How much later the live run was, in engine time: the part-quantile over all pairs."""
        delays = sorted(each.later_ms for each in self.differences if each.later_ms is not None)
        return delays[min(len(delays) - 1, int(part * len(delays)))] if delays else None


def compared(
    outcome: Outcome, live: LiveRun, answers: RetoldModel, recordings: Sequence[Recording], speed: float
) -> Comparison:
    """Both runs over the same recordings; partners are as near as cycles that `answers` took for one."""
    touches = Touches(recordings)
    mine = executions(outcome.journal.fills.values())
    pairs = paired(mine, live.executions, answers.within_ns)
    # The live run goes on for a little while; what it did alone then, nobody else could have done.
    pairs = [pair for pair in pairs if pair.backtest is not None or pair.either.ts <= outcome.end_ns]
    differences = tuple(explain(pair, touches) for pair in pairs)
    equities = {view.trader_id: view.equity for view in outcome.views}
    return Comparison(
        start=iso(outcome.start_ns),
        end=iso(outcome.end_ns),
        speed=speed,
        differences=differences,
        traders=tuple(
            TraderTotals(
                trader_id=name,
                backtest=_count(mine, name),
                live=_count(live.executions, name),
                reasons=_reasons(differences, name),
                asked=answers.heard(name),
                told=answers.told[name],
                unanswered=answers.unanswered[name],
                backtest_equity=equity,
                live_equity=live.equities.get(name),
            )
            for name, equity in equities.items()
        ),
    )


def _count(found: Sequence[Execution], trader_id: str) -> int:
    return sum(each.trader_id == trader_id for each in found)


def _reasons(differences: Sequence[Difference], trader_id: str) -> dict[str, int]:
    counts: Mapping[Reason, int] = Counter(
        each.reason for each in differences if each.pair.either.trader_id == trader_id
    )
    return {reason.value: counts[reason] for reason in Reason if counts[reason]}
