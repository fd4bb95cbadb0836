"""Whatever happens in whatever order, the scheduler keeps its promises, and everybody gets a turn."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import dataclass, field
from decimal import Decimal

import pytest

from engine.config.scheduler import BudgetConfig, RhythmConfig
from engine.config.values import Duration
from engine.core.signals import Edge
from engine.core.times import NS_PER_DAY, NS_PER_HOUR, NS_PER_S
from engine.manager.budget import Budget
from engine.manager.scheduler import Due, Scheduler
from tests.test_scheduler import T0, edge

MODELS = {"t0": "", "t1": "", "t2": "m1", "t3": "m1", "t4": "m2", "t5": "m2"}
SYMBOLS = ("BTC", "ETH", "SOL")
STEPS = 600


@dataclass
class Life:
    """A scheduler with random rules, to which random things happen; `barred` traders could do nothing."""

    source: random.Random
    now: int = T0
    barred: set[str] = field(default_factory=set)
    running: dict[str, Due] = field(default_factory=dict)
    stored: dict[str, bytes] = field(default_factory=dict)
    ids: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        choose = self.source.choice
        self.symbols = {name: self.source.sample(SYMBOLS, self.source.randint(1, 3)) for name in MODELS}
        self.rhythm = RhythmConfig(
            long_cycle=Duration(choose((60, 720))),
            short_cycle=Duration(choose((30, 300))),
            grace=Duration(choose((0, 20))),
            cooldown=Duration(choose((0, 60))),
            stable_for=Duration(choose((0, 100, 900))),
            longest_short=Duration(choose((50, 3600))),
            jitter=Duration(choose((0, 30))),
            max_thinking=Duration(choose((10, 180))),
            signal_ttl=Duration(choose((0, 30, 600))),
        )
        self.limits = BudgetConfig(
            max_concurrent=choose((1, 2, 5)),
            max_concurrent_per_model=choose((1, 2)),
            requests_per_second=choose((None, 0.05, 1.0)),
            burst=choose((1, 3)),
            cost_per_hour_usd=choose((None, Decimal("0.05"))),
            cost_per_day_usd=choose((None, Decimal("0.30"))),
        )
        self.start()

    def start(self) -> None:
        """A new process, with what the former one stored; its open cycles are abandoned."""
        self.scheduler = Scheduler(Budget(self.limits), lambda trader, _: trader not in self.barred)
        for name, model in MODELS.items():
            self.scheduler.add(name, self.rhythm, self.symbols[name], self.now, model=model)
            if name in self.stored:
                self.scheduler.restore(name, self.stored[name], self.now)
        for name, due in self.running.items():
            self.scheduler.look_again(due.cycle_id, name, self.now)
        self.running.clear()

    def pass_time(self) -> None:
        due_ns = self.scheduler.next_due_ns()
        if due_ns is not None and self.source.random() < 0.7:
            self.now = max(self.now, due_ns)
        else:
            self.now += int(self.source.expovariate(1 / 5) * NS_PER_S)
        self.running = {name: due for name, due in self.running.items() if due.deadline_ns > self.now}

    def happen(self) -> None:
        scheduler, now, choose = self.scheduler, self.now, self.source.choice
        match self.source.choices(
            ("signal", "answer", "wake", "loss", "resume", "bar", "kill"), (35, 25, 3, 1, 1, 3, 2)
        ):
            case ["signal"]:
                told = now - choose((0, 0, 0, 20, 700)) * NS_PER_S
                signal = edge(told, choose(list(Edge)), self.source.random(), choose("abc"), choose(SYMBOLS))
                scheduler.on_signal(signal, now)
            case ["answer"] if self.running:
                name = choose(list(self.running))
                cost = Decimal(self.source.randint(0, 5)) / 100
                assert scheduler.on_closed(self.running.pop(name).cycle_id, name, now, cost_usd=cost)
            case ["wake"]:
                scheduler.wake(choose(list(MODELS)), now)
            case ["loss"]:
                scheduler.cool_off(now, now + 100 * NS_PER_S)
            case ["resume"]:
                scheduler.wake_all(now)
            case ["bar"]:
                self.barred ^= {choose(list(MODELS))}
            case ["kill"]:
                self.start()

    def poll(self) -> None:
        """Wake who is due; the state is stored as the manager does."""
        for due in self.scheduler.poll(self.now):
            name = due.trader_id
            assert name not in self.running, "never two runs of a trader at once"
            assert due.reasons
            assert due.cycle_id not in self.ids
            assert not (MODELS[name] and name in self.barred)
            assert not self.scheduler.rhythm(name).cool_off_until_ns
            self.ids.add(due.cycle_id)
            self.running[name] = due
        asking = Counter(MODELS[name] for name in self.running if MODELS[name])
        assert asking.total() <= self.limits.max_concurrent
        assert all(count <= self.limits.max_concurrent_per_model for count in asking.values())
        for name in self.scheduler.take_changed():
            self.stored[name] = self.scheduler.state(name)

    def calm(self) -> set[str]:
        """Nobody is barred, every answer comes at once and costs nothing: who is woken within a day."""
        self.barred.clear()
        self.start()
        woken, end = set[str](), self.now + NS_PER_DAY + NS_PER_HOUR
        while (due_ns := self.scheduler.next_due_ns()) is not None and woken != set(MODELS):
            self.now = max(self.now, due_ns)
            if self.now > end:
                break
            for due in self.scheduler.poll(self.now):
                woken.add(due.trader_id)
                self.scheduler.on_closed(due.cycle_id, due.trader_id, self.now)
        return woken


@pytest.mark.parametrize("seed", range(25))
def test_no_order_of_events_breaks_an_invariant_or_loses_a_trader(seed: int) -> None:
    life = Life(random.Random(seed))  # noqa: S311 - events, not secrets
    for _ in range(STEPS):
        life.pass_time()
        life.happen()
        life.poll()
    assert len(life.ids) > STEPS / 20
    assert life.calm() == set(MODELS)
