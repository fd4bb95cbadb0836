"""A synthetic week at full speed: the invariants at each step, twice the same bytes, kills in between."""

from __future__ import annotations

import hashlib
import heapq
import random
from collections import Counter, deque
from dataclasses import dataclass, field
from decimal import Decimal

import msgspec
import pytest

from engine.clock import SimClock
from engine.config.scheduler import BudgetConfig, RhythmConfig
from engine.config.values import Duration
from engine.core.decisions import WakeKind
from engine.core.signals import Edge, Signal, signal_id
from engine.core.times import NS_PER_DAY, NS_PER_HOUR, NS_PER_S
from engine.manager.budget import Budget, Shortage
from engine.manager.scheduler import Due, Refusal, Scheduler

START = 20_000 * NS_PER_DAY
WEEK = 7 * NS_PER_DAY
SYMBOLS = ("BTC", "ETH", "SOL", "DOGE", "XRP")
MODELS = ("", "m1", "m1", "m2", "m2", "m2")
TRADERS = tuple((f"t{n}", SYMBOLS[n % 3 : n % 3 + 1 + n % 4], MODELS[n % 6]) for n in range(12))
RHYTHM = RhythmConfig(jitter=Duration(45), cooldown=Duration(90), max_thinking=Duration(120))
BUDGET = BudgetConfig(
    max_concurrent=4,
    max_concurrent_per_model=3,
    model_concurrency={"m1": 2},
    cost_per_hour_usd=Decimal("0.05"),
    cost_per_day_usd=Decimal("0.60"),
)
RATED = BudgetConfig(max_concurrent=4, requests_per_second=0.05, burst=3)


@dataclass
class Week:
    """The world around a scheduler. `kills`: how often the process dies, and starts from what was stored."""

    budget: BudgetConfig
    seed: int
    kills: int = 0
    lines: list[str] = field(default_factory=list)
    waking: Counter[str] = field(default_factory=Counter)  # trader:signal → wakeups that carry it
    offered: int = 0  # signals above the bound, times the traders they concern
    thinking: dict[str, Due] = field(default_factory=dict)
    free_ns: dict[str, int] = field(default_factory=dict)
    spent: Counter[tuple[str, int]] = field(default_factory=Counter)
    requests: deque[int] = field(default_factory=deque)
    stored: dict[str, bytes] = field(default_factory=dict)

    def run(self) -> str:
        """Seven days; returns the digest of all that happened."""
        self.random = random.Random(self.seed)  # noqa: S311 - a synthetic market
        self.clock = SimClock(START)
        self.scheduler = self.make()
        self.stored = {trader: self.scheduler.state(trader) for trader in self.scheduler.traders}
        signals = _signals(self.random)
        killing = random.Random(99)  # noqa: S311
        kill_at = sorted(START + killing.randrange(WEEK) for _ in range(self.kills))
        answers = list[tuple[int, str, str]]()
        while True:
            due_ns = self.scheduler.next_due_ns()
            times = [
                at for at in (due_ns, *(s.ts_event for s in signals[-1:]), *(a[0] for a in answers[:1])) if at
            ]
            now = max(self.clock.now_ns(), min(times))
            if now >= START + WEEK:
                break
            self.clock.set(now)
            while kill_at and kill_at[0] <= now:
                kill_at.pop(0)
                self.restart()
            while answers and answers[0][0] <= now:
                self.answer(*heapq.heappop(answers))
            while signals and signals[-1].ts_event <= now:
                self.signal(signals.pop())
            for due in self.scheduler.poll(now):
                self.check(due, now)
                # One in fifty never answers; some answer too late.
                if self.random.random() > 0.02:
                    answer_ns = now + int(self.random.uniform(1, 130) * NS_PER_S)
                    heapq.heappush(answers, (answer_ns, due.cycle_id, due.trader_id))
            self.store()
        return hashlib.sha256("\n".join(self.lines).encode()).hexdigest()

    def make(self) -> Scheduler:
        scheduler = Scheduler(Budget(self.budget))
        for trader, symbols, model in TRADERS:
            scheduler.add(trader, RHYTHM, symbols, self.clock.now_ns(), model=model)
        return scheduler

    def restart(self) -> None:
        self.scheduler = self.make()
        for trader in self.scheduler.traders:
            self.scheduler.restore(trader, self.stored[trader], self.clock.now_ns())

    def store(self) -> None:
        for trader in self.scheduler.take_changed():
            self.stored[trader] = self.scheduler.state(trader)

    def signal(self, signal: Signal) -> None:
        now = self.clock.now_ns()
        if signal.edge is not Edge.RECOVERED and signal.score >= RHYTHM.min_salience:
            self.offered += sum(signal.symbol in symbols for _, symbols, _ in TRADERS)
        self.scheduler.on_signal(signal, now)
        if self.random.random() < 0.1:  # delivered again
            assert self.scheduler.on_signal(signal, now) == ()

    def answer(self, now: int, cycle_id: str, trader: str) -> None:
        cost = Decimal(self.random.randrange(2, 12)) / 1000
        closed = self.scheduler.on_closed(cycle_id, trader, now, cost_usd=cost)
        due = self.thinking.get(trader)
        assert closed == (due is not None and due.cycle_id == cycle_id and now < due.deadline_ns)
        if closed:
            self.free_ns[trader] = now
            del self.thinking[trader]
        self.spent[trader, now // NS_PER_HOUR] += int(cost * 1000)
        self.lines.append(f"{now} closed {cycle_id} {closed}")

    def check(self, due: Due, now: int) -> None:
        """The invariants of a wakeup (issue 4): one at a time, within the budget, not within the cooldown."""
        trader = due.trader_id
        model = {name: model for name, _, model in TRADERS}[trader]
        for other, running in list(self.thinking.items()):
            if running.deadline_ns <= now:
                self.free_ns[other] = running.deadline_ns
                del self.thinking[other]
        assert trader not in self.thinking
        urgent = any(r.signal is not None and r.signal.score >= RHYTHM.urgent_salience for r in due.reasons)
        if not urgent and trader in self.free_ns:
            assert now >= self.free_ns[trader] + int(RHYTHM.cooldown) * NS_PER_S
        self.thinking[trader] = due
        asking = Counter({n: m for n, _, m in TRADERS}[name] for name in self.thinking)
        if model:
            del asking[""]
            assert asking.total() <= self.budget.max_concurrent
            limit = self.budget.model_concurrency.get(model, self.budget.max_concurrent_per_model)
            assert asking[model] <= limit
            if self.budget.cost_per_hour_usd is not None:
                assert self.spent[trader, now // NS_PER_HOUR] < self.budget.cost_per_hour_usd * 1000
            self.requests.append(now)
            if self.budget.requests_per_second is not None:
                while self.requests[0] < now - 100 * NS_PER_S:
                    self.requests.popleft()
                assert len(self.requests) <= self.budget.burst + 100 * self.budget.requests_per_second + 1
        assert due.reasons
        for reason in due.reasons:
            if reason.signal is not None:
                self.waking[f"{trader}:{reason.signal.signal_id}"] += 1
        ids = ",".join(r.signal.signal_id if r.signal else r.kind for r in due.reasons)
        notes = ",".join(f"{note.ts} {note.code} {note.subject}" for note in due.notes)
        self.lines.append(f"{now} {due.cycle_id} {due.mode} {due.deadline_ns} {ids} {notes}")


def _signals(source: random.Random) -> list[Signal]:
    """A week of edges in bursts and calm hours, newest first, so that the next one is popped."""
    signals, now = list[Signal](), START
    while now < START + WEEK:
        calm = (now // NS_PER_HOUR) % 6 < 3
        now += int(source.expovariate(1 / (900 if calm else 45)) * NS_PER_S) + 1
        symbol, detector = source.choice(SYMBOLS), source.choice(("rsi", "macd", "spike", "bb"))
        kind = source.choice((Edge.UP, Edge.DOWN, Edge.SPIKE, Edge.RECOVERED, Edge.RECOVERED))
        signals.append(
            Signal(
                signal_id=signal_id(symbol, detector, kind, now),
                symbol=symbol,
                detector=detector,
                feature=detector,
                timeframe="1m",
                edge=kind,
                value=1.0,
                threshold=1.0,
                release=0.5,
                score=source.random(),
                price=100.0,
                ts_event=now,
            )
        )
    return signals[::-1]


@pytest.fixture(scope="module", params=[BUDGET, RATED], ids=["costs", "rate"])
def calm(request: pytest.FixtureRequest) -> tuple[Week, str]:
    """A week without kills, and its digest."""
    week = Week(request.param, seed=7)
    return week, week.run()


def test_a_week_is_the_same_to_the_byte_and_keeps_the_invariants(calm: tuple[Week, str]) -> None:
    first, digest = calm
    assert Week(first.budget, seed=7).run() == digest
    assert Week(first.budget, seed=8).run() != digest
    refusals = first.scheduler.refusals
    assert len(first.thinking) <= len(TRADERS)
    assert min(first.waking.values()) == max(first.waking.values()) == 1
    assert refusals[Refusal.DUPLICATE] > 0
    assert refusals[Refusal.EXPIRED] > 0


def test_each_signal_wakes_once_or_is_refused_with_a_reason(calm: tuple[Week, str]) -> None:
    week, _ = calm
    refusals = week.scheduler.refusals
    refused = sum(refusals[code] for code in (Refusal.COOLDOWN, Refusal.FULL))
    given_up = refusals[Shortage.COST_HOUR] + refusals[Shortage.COST_DAY]
    pending = sum(
        sum(
            reason["kind"] == WakeKind.SIGNAL
            for reason in msgspec.msgpack.decode(week.scheduler.state(trader))["rhythm"]["pending"]
        )
        for trader in week.scheduler.traders
    )
    missing = week.offered - len(week.waking) - refused - pending
    assert 0 <= missing <= given_up  # what the budget gave up: signals and timers
    assert len(week.waking) > 1000
    assert (given_up > 10) is (week.budget is BUDGET)


def test_kills_change_nothing(calm: tuple[Week, str]) -> None:
    week, digest = calm
    assert Week(week.budget, seed=7, kills=200).run() == digest
