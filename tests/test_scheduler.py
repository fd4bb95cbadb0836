"""When a trader is woken: the rules, one by one."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from decimal import Decimal
from itertools import pairwise

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.config.scheduler import BudgetConfig, HourWeight, RhythmConfig, RolloutConfig
from engine.config.values import Duration
from engine.core.decisions import Act, Action, CycleMode, Decision, WakeKind
from engine.core.errors import CodecError
from engine.core.signals import Edge, Signal, signal_id
from engine.core.times import NS_PER_DAY, NS_PER_HOUR, NS_PER_MIN, NS_PER_S
from engine.manager.budget import Budget, Shortage
from engine.manager.calendar import NUMBER_BITS, Calendar
from engine.manager.rhythm import MAX_REASONS
from engine.manager.rollout import live_part, on_paper, paper_part, weight
from engine.manager.scheduler import Due, Refusal, Scheduler

T0 = 1_000_000 * NS_PER_S
RHYTHM = RhythmConfig(
    long_cycle=Duration(720),
    short_cycle=Duration(300),
    grace=Duration(20),
    cooldown=Duration(60),
    stable_for=Duration(900),
    longest_short=Duration(3600),
    jitter=Duration(0),
    max_thinking=Duration(180),
)


def hours(begin: str, end: str, share: float) -> HourWeight:
    return HourWeight(begin=begin, end=end, weight=share)


def at(seconds: float) -> int:
    return T0 + int(seconds * NS_PER_S)


def edge(
    ts: int, kind: Edge = Edge.UP, score: float = 0.6, detector: str = "rsi", symbol: str = "BTC"
) -> Signal:
    return Signal(
        signal_id=signal_id(symbol, detector, kind, ts),
        symbol=symbol,
        detector=detector,
        feature="rsi_14",
        timeframe="1m",
        edge=kind,
        value=75.0,
        threshold=70.0,
        release=65.0,
        score=score,
        price=100.0,
        ts_event=ts,
    )


def one(rhythm: RhythmConfig = RHYTHM, budget: Budget | None = None, model: str = "") -> Scheduler:
    """A scheduler with the trader `t` on BTC."""
    scheduler = Scheduler(budget)
    scheduler.add("t", rhythm, ["BTC"], T0, model=model)
    return scheduler


def started(scheduler: Scheduler) -> Scheduler:
    """After the first look; the decision came at second 1, so the cooldown ends at 61."""
    (due,) = scheduler.poll(T0)
    assert scheduler.on_closed(due.cycle_id, "t", at(1))
    return scheduler


def send(scheduler: Scheduler, second: float, kind: Edge = Edge.UP, **fields: object) -> tuple[str, ...]:
    return scheduler.on_signal(edge(at(second), kind, **fields), at(second))  # type: ignore[arg-type]


def wakeups(scheduler: Scheduler, until_s: float, think_s: float = 1) -> list[tuple[float, Due]]:
    """Let time pass; each wakeup is answered `think_s` later. Returns (second, wakeup)."""
    seen = list[tuple[float, Due]]()
    while (next_ns := scheduler.next_due_ns()) is not None and next_ns <= at(until_s):
        for due in scheduler.poll(next_ns):
            seen.append(((next_ns - T0) / NS_PER_S, due))
            scheduler.on_closed(due.cycle_id, due.trader_id, next_ns + int(think_s * NS_PER_S))
    return seen


def kinds(due: Due) -> list[WakeKind]:
    return [reason.kind for reason in due.reasons]


# -- timers


def test_a_quiet_market_is_looked_at_once_a_long_cycle() -> None:
    seen = wakeups(one(), 3000)
    assert [second for second, _ in seen] == [0, 720, 1440, 2160, 2880]
    assert [kinds(due) for _, due in seen] == [[WakeKind.START]] + [[WakeKind.LONG_TIMER]] * 4
    assert [due.cycle_id for _, due in seen] == [f"t-{at(second) // 1_000_000}" for second, _ in seen]
    assert seen[0][1].deadline_ns == at(180)


def test_jitter_spreads_traders_and_never_lengthens_a_cycle() -> None:
    scheduler = Scheduler()
    rhythm = RhythmConfig(jitter=Duration(60))
    for number in range(200):
        scheduler.add(f"trader-{number}", rhythm, ["BTC"], T0)
    seen = wakeups(scheduler, 720)
    starts = sorted(second for second, due in seen if kinds(due) == [WakeKind.START])
    assert len(starts) == 200
    assert 0 <= starts[0] < 5
    assert 55 < starts[-1] <= 60
    for trader in scheduler.traders:
        times = [second for second, due in seen if due.trader_id == trader]
        assert all(660 <= later - earlier <= 720 for earlier, later in pairwise(times))


# -- edges


@pytest.mark.parametrize("kind", [Edge.UP, Edge.DOWN, Edge.SPIKE])
def test_an_edge_begins_the_short_cycle_and_wakes_after_the_grace_window(kind: Edge) -> None:
    scheduler = started(one())
    assert send(scheduler, 100, kind) == ("t",)
    assert scheduler.poll(at(119.9)) == []
    (due,) = scheduler.poll(at(120))
    assert (due.mode, kinds(due)) == (CycleMode.SHORT, [WakeKind.SIGNAL])
    scheduler.on_closed(due.cycle_id, "t", at(121))
    assert [(s, d.mode, kinds(d)) for s, d in wakeups(scheduler, 500)] == [
        (420, CycleMode.SHORT, [WakeKind.SHORT_TIMER])
    ]


def test_recovered_and_quiet_for_long_enough_brings_the_long_cycle_back() -> None:
    scheduler = started(one())
    send(scheduler, 100)
    send(scheduler, 400, Edge.RECOVERED)
    seen = wakeups(scheduler, 3000)
    # stable_for after second 400 is 1300; until then every 300 s, then every 720 s
    assert [second for second, _ in seen] == [120, 420, 720, 1020, 1740, 2460]
    assert [due.mode for _, due in seen] == [CycleMode.SHORT] * 4 + [CycleMode.LONG] * 2


def test_an_open_excursion_keeps_the_short_cycle_until_it_is_the_new_normal() -> None:
    scheduler = started(one())
    send(scheduler, 100)
    seen = wakeups(scheduler, 10_000)
    last_short = max(second for second, due in seen if due.mode is CycleMode.SHORT)
    assert 100 + 3600 + 900 - 300 <= last_short <= 100 + 3600 + 900


def test_a_cross_that_nothing_recovers_from_begins_no_excursion() -> None:
    scheduler = started(one())
    scheduler.on_signal(msgspec.structs.replace(edge(at(100)), recovers=False), at(100))
    seen = wakeups(scheduler, 3000)
    # stable_for after second 100 is 1000
    assert [second for second, _ in seen] == [120, 420, 720, 1440, 2160, 2880]
    assert scheduler.rhythm("t").mode is CycleMode.LONG


def test_a_recovery_that_is_told_late_ends_its_excursion_and_none_that_began_later() -> None:
    scheduler = started(one())
    send(scheduler, 100)
    assert scheduler.on_signal(edge(at(150), Edge.RECOVERED), at(2000)) == ("t",)
    assert scheduler.rhythm("t").open == {}
    send(scheduler, 2001)
    scheduler.on_signal(edge(at(151), Edge.RECOVERED), at(2002))
    assert len(scheduler.rhythm("t").open) == 1
    assert scheduler.refusals == {}


def test_recovery_of_one_excursion_leaves_the_others_open() -> None:
    scheduler = started(one())
    send(scheduler, 100, detector="rsi")
    send(scheduler, 101, detector="macd")
    send(scheduler, 110, Edge.RECOVERED, detector="rsi")
    assert {due.mode for second, due in wakeups(scheduler, 2500) if second > 1100} == {CycleMode.SHORT}


def test_a_weak_edge_and_a_recovery_wake_nobody() -> None:
    scheduler = started(one())
    assert send(scheduler, 100, score=0.34) == ("t",), "it is to be explained after a kill too"
    assert send(scheduler, 110, Edge.RECOVERED) == ("t",)
    assert send(scheduler, 120, symbol="ETH") == ()
    assert [second for second, _ in wakeups(scheduler, 800)] == [720]
    assert scheduler.refusals == {Refusal.BELOW_SALIENCE: 1}


def test_the_grace_window_merges_edges_and_timer_into_one_wakeup_with_its_reasons() -> None:
    scheduler = started(one())
    send(scheduler, 705, detector="rsi")
    send(scheduler, 715, detector="macd")
    send(scheduler, 724, detector="adx")
    ((second, due),) = wakeups(scheduler, 800)
    assert second == 725
    assert kinds(due) == [WakeKind.SIGNAL, WakeKind.SIGNAL, WakeKind.SHORT_TIMER, WakeKind.SIGNAL]
    detectors = [reason.signal.detector for reason in due.reasons if reason.signal]
    assert detectors == ["rsi", "macd", "adx"]


def test_A3_the_same_signal_twice_wakes_once() -> None:
    scheduler = started(one())
    signal = edge(at(100))
    assert scheduler.on_signal(signal, at(100)) == ("t",)
    assert scheduler.on_signal(signal, at(101)) == ()
    ((_, due),) = wakeups(scheduler, 300)
    assert scheduler.on_signal(signal, at(301)) == ()
    assert len(due.reasons) == 1
    assert wakeups(scheduler, 400) == []
    assert scheduler.refusals == {Refusal.DUPLICATE: 2}


# -- thinking and cooldown


def test_an_edge_that_is_told_too_late_wakes_nobody_however_often() -> None:
    """Ids are remembered as long as an edge may wake: what is delivered again later is refused as stale."""
    scheduler = started(one())
    signal = edge(at(100))
    scheduler.on_signal(signal, at(100))
    scheduler.on_signal(edge(at(100 + 601), detector="other"), at(701))
    assert list(scheduler.rhythm("t").seen) == [signal_id("BTC", "other", Edge.UP, at(701))]
    scheduler.on_signal(signal, at(702))
    assert scheduler.on_signal(signal, at(703)) == ()
    assert (scheduler.refusals[Refusal.STALE], scheduler.refusals[Refusal.DUPLICATE]) == (1, 1)
    assert [due.reasons for second, due in wakeups(scheduler, 719) if second > 700] == []


def test_what_comes_while_thinking_collects_in_one_wakeup_after_the_cooldown() -> None:
    scheduler = started(one())
    send(scheduler, 100)
    (first,) = scheduler.poll(at(120))
    for second in range(121, 131):
        send(scheduler, second, detector=f"d{second}")
        assert scheduler.poll(at(second)) == []
    scheduler.on_closed(first.cycle_id, "t", at(150))
    send(scheduler, 160, detector="joins what is pending")
    assert scheduler.poll(at(209.9)) == []
    (second_due,) = scheduler.poll(at(210))
    assert len(second_due.reasons) == 11
    assert scheduler.refusals == {Refusal.MERGED: 10}
    assert {note.code for note in second_due.notes} == {Refusal.MERGED}


def test_an_edge_in_the_cooldown_is_refused_and_explained_unless_it_is_urgent() -> None:
    scheduler = started(one())
    send(scheduler, 10)
    assert scheduler.refusals == {Refusal.COOLDOWN: 1}
    send(scheduler, 15, detector="urgent", score=0.95)
    ((second, due),) = wakeups(scheduler, 100)
    assert second == 35
    assert [reason.signal.detector for reason in due.reasons if reason.signal] == ["urgent"]
    assert [(note.code, note.subject) for note in due.notes] == [(Refusal.COOLDOWN, edge(at(10)).signal_id)]


def test_a_refused_edge_still_brings_the_short_cycle() -> None:
    scheduler = started(one())
    send(scheduler, 10)
    assert [(s, kinds(d)) for s, d in wakeups(scheduler, 400)] == [(310, [WakeKind.SHORT_TIMER])]


def test_an_answer_that_never_comes_frees_the_trader_at_its_deadline() -> None:
    scheduler = one(budget=Budget(BudgetConfig(max_concurrent=1)), model="m")
    (lost,) = scheduler.poll(T0)
    send(scheduler, 100)
    assert scheduler.poll(at(179)) == []
    (due,) = scheduler.poll(at(240))  # deadline at 180, then the cooldown
    assert [note.code for note in due.notes] == [Refusal.MERGED, Refusal.EXPIRED]
    assert not scheduler.on_closed(lost.cycle_id, "t", at(241))
    assert scheduler.on_closed(due.cycle_id, "t", at(242))


def test_notes_of_a_wakeup_are_bounded_and_count_what_they_leave_out() -> None:
    scheduler = started(one())
    for number in range(100):
        send(scheduler, 100 + number, score=0.1, detector=f"d{number}")
    (due,) = [due for second, due in wakeups(scheduler, 720) if second > 0]
    first, *others = due.notes
    assert (first.ts, first.code, first.subject, len(others)) == (at(136), "older", "37", 63)
    assert {note.code for note in others} == {Refusal.BELOW_SALIENCE}


def test_reasons_of_a_wakeup_are_bounded() -> None:
    scheduler = started(one())
    for number in range(MAX_REASONS + 5):
        send(scheduler, 100, detector=f"d{number}")
    (due,) = scheduler.poll(at(120))
    assert len(due.reasons) == MAX_REASONS
    assert scheduler.refusals == {Refusal.FULL: 5}


# -- operators


def test_an_operator_wakes_in_the_cooldown_but_never_twice_at_once() -> None:
    scheduler = started(one())
    scheduler.wake("t", at(5))
    (due,) = scheduler.poll(at(5))
    scheduler.wake("t", at(6))
    assert scheduler.poll(at(6)) == []
    scheduler.on_closed(due.cycle_id, "t", at(7))
    (again,) = scheduler.poll(at(7))
    assert kinds(again) == [WakeKind.OPERATOR]
    assert again.cycle_id != due.cycle_id


# -- budget


def test_wakeups_wait_for_a_slot_and_the_most_urgent_goes_first() -> None:
    scheduler = Scheduler(Budget(BudgetConfig(max_concurrent=1)))
    for name, symbol in (("a", "BTC"), ("b", "ETH"), ("c", "SOL")):
        scheduler.add(name, RHYTHM, [symbol], T0, model="m")
    waited = [(second, [note.code for note in due.notes]) for second, due in wakeups(scheduler, 100)]
    assert waited == [
        (0, []),
        (1, [Shortage.CONCURRENCY]),
        (2, [Shortage.CONCURRENCY]),
    ]  # one after the other
    send(scheduler, 100, symbol="ETH", score=0.5)
    send(scheduler, 101, symbol="SOL", score=0.8)
    send(scheduler, 101, symbol="BTC", score=0.4)
    (first,) = scheduler.poll(at(121))
    assert first.trader_id == "c"
    assert scheduler.poll(at(130)) == []
    scheduler.on_closed(first.cycle_id, "c", at(131))
    assert [due.trader_id for due in scheduler.poll(at(131))] == ["b"]
    assert scheduler.refusals[Shortage.CONCURRENCY] >= 1


def test_a_model_without_slots_does_not_hold_up_the_others() -> None:
    scheduler = Scheduler(Budget(BudgetConfig(max_concurrent_per_model=1)))
    for name, model in (("a", "slow"), ("b", "slow"), ("c", "fast"), ("d", "")):
        scheduler.add(name, RHYTHM, ["BTC"], T0, model=model)
    assert {due.trader_id for due in scheduler.poll(T0)} == {"a", "c", "d"}


@pytest.mark.parametrize(
    ("second", "end"),
    [
        (1, lambda s, due, now: s.on_closed(due.cycle_id, "t", now)),
        (180, lambda s, due, now: s.on_closed(due.cycle_id, "t", now)),  # at its deadline
        (180, lambda s, due, now: s.on_signal(edge(now), now)),
        (10, lambda s, due, now: s.look_again(due.cycle_id, "t", now)),
    ],
    ids=["answered", "too late", "expired at a signal", "abandoned"],
)
def test_a_place_is_taken_at_once_however_its_cycle_ended(
    second: float, end: Callable[[Scheduler, Due, int], object]
) -> None:
    scheduler = one(budget=Budget(BudgetConfig(max_concurrent=1)), model="m")
    scheduler.add("waits", RHYTHM, ["ETH"], T0, model="m")
    (due,) = scheduler.poll(T0)
    end(scheduler, due, at(second))
    next_ns = scheduler.next_due_ns()
    assert next_ns is not None
    assert next_ns <= at(second)
    assert [each.trader_id for each in scheduler.poll(at(second))] == ["waits"]


def test_the_rate_says_when_to_come_back() -> None:
    scheduler = Scheduler(Budget(BudgetConfig(requests_per_second=0.1, burst=2)))
    for name in "abcd":
        scheduler.add(name, RHYTHM, ["BTC"], T0, model="m")
    assert [second for second, _ in wakeups(scheduler, 30)] == [0, 0, 10, 20]
    assert scheduler.refusals == {Shortage.RATE: 2}


def test_spent_money_refuses_the_wakeup_and_the_next_timer_looks_again() -> None:
    budget = Budget(BudgetConfig(cost_per_hour_usd=Decimal("0.10")))
    scheduler = one(budget=budget, model="m")
    (due,) = scheduler.poll(T0)
    scheduler.on_closed(due.cycle_id, "t", at(1), cost_usd=Decimal("0.11"))
    send(scheduler, 100)
    assert scheduler.poll(at(120)) == []
    assert scheduler.refusals == {Shortage.COST_HOUR: 1}
    next_hour_s = (T0 // NS_PER_HOUR + 1) * NS_PER_HOUR / NS_PER_S - T0 / NS_PER_S
    seen = wakeups(scheduler, next_hour_s + 720)
    assert seen[0][0] >= next_hour_s


# -- restart


def test_a_restart_continues_exactly_where_the_state_was_stored() -> None:
    scheduler = started(one())
    send(scheduler, 100)
    stored = scheduler.state("t")
    (due,) = scheduler.poll(at(120))  # published, and killed before this was stored
    again = one()
    again.restore("t", stored, at(100))
    assert again.state("t") == stored
    assert again.on_signal(edge(at(100)), at(119)) == ()  # delivered again
    assert again.poll(at(120)) == [due]
    stored = again.state("t")
    third = one(budget=Budget(BudgetConfig(max_concurrent=1)))
    third.restore("t", stored, at(120))
    assert third.poll(at(130)) == []  # still thinking
    assert third.on_closed(due.cycle_id, "t", at(131))


def test_a_restart_after_a_long_time_looks_once_and_goes_on() -> None:
    scheduler = started(one())
    again = one()
    again.restore("t", scheduler.state("t"), at(50_000))
    (due,) = again.poll(at(50_000))
    assert (kinds(due), due.deadline_ns) == ([WakeKind.LONG_TIMER], at(50_180))
    again.on_closed(due.cycle_id, "t", at(50_001))
    assert [second for second, _ in wakeups(again, 51_500)] == [50_720, 51_440]


@pytest.mark.parametrize("back_s", [0, 100, 7 * 86_400])
def test_a_clock_that_went_back_or_a_shorter_cycle_keeps_nobody_waiting(back_s: int) -> None:
    """Nobody sleeps until a wrong clock's time has come, ids stay unique, and the short cycle ends."""
    scheduler = started(one(msgspec.structs.replace(RHYTHM, long_cycle=Duration(86_400))))
    send(scheduler, 100)
    (before,) = scheduler.poll(at(120))
    scheduler.on_closed(before.cycle_id, "t", at(121))
    restarted_s = 122 - back_s
    again = one()
    again.restore("t", scheduler.state("t"), at(restarted_s))
    seen = wakeups(again, restarted_s + 20_000)
    gaps = [later - earlier for earlier, later in pairwise([restarted_s, *(second for second, _ in seen)])]
    assert max(gaps) <= 720 + 300, "when it woke last, a state from the future does not say"
    assert seen[-1][1].mode is CycleMode.LONG
    assert len({before.cycle_id, *(due.cycle_id for _, due in seen)}) == len(seen) + 1


def test_requests_of_a_time_that_a_wrong_clock_told_are_forgotten() -> None:
    config = BudgetConfig(requests_per_second=0.1, burst=2)
    scheduler = one(budget=Budget(config), model="m")
    scheduler.poll(T0)
    again = one(budget=Budget(config), model="m")
    again.restore("t", scheduler.state("t"), at(-86_400))
    again.wake("t", at(-86_400))
    again.look_again(f"t-{T0 // 1_000_000}", "t", at(-86_400))
    assert again.poll(at(-86_400 + 80))


def test_a_restored_cycle_holds_its_slot() -> None:
    config = BudgetConfig(max_concurrent=1)
    scheduler = one(budget=Budget(config), model="m")
    (due,) = scheduler.poll(T0)
    again = Scheduler(Budget(config))
    again.add("t", RHYTHM, ["BTC"], at(2), model="m")
    again.add("u", RHYTHM, ["ETH"], at(2), model="m")
    again.restore("t", scheduler.state("t"), at(2))
    assert again.poll(at(3)) == []
    again.on_closed(due.cycle_id, "t", at(4))
    assert [each.trader_id for each in again.poll(at(4))] == ["u"]


@pytest.mark.parametrize("state", [b"", b"\xc1", b"\x80", b"\x83\xa7version\x63\xa6rhythm\x80\xa5spent\x80"])
def test_a_state_that_cannot_be_read_is_an_error(state: bytes) -> None:
    with pytest.raises(CodecError):
        one().restore("t", state, T0)


def test_a_trader_is_added_once() -> None:
    with pytest.raises(ValueError, match="scheduled already"):
        one().add("t", RHYTHM, ["BTC"], T0)


# -- the account's breaker, restarts in the middle of a cycle, fairness, shadow and canary


def test_cool_off_of_the_account_stops_both_timers_of_all_and_ends_by_itself() -> None:
    scheduler = Scheduler()
    for name in ("a", "c"):
        scheduler.add(name, RHYTHM, ["BTC"], T0)
    for due in scheduler.poll(T0):
        scheduler.on_closed(due.cycle_id, due.trader_id, at(1))
    send(scheduler, 100)  # both are in the short cycle, with a wakeup pending
    scheduler.cool_off(at(110), at(4000))
    send(scheduler, 200, detector="macd", score=1.0)
    scheduler.wake("a", at(300))
    assert wakeups(scheduler, 3999) == []
    assert scheduler.refusals[Refusal.COOL_OFF] == 4
    assert {(second, due.trader_id) for second, due in wakeups(scheduler, 4001)} == {(4000, "a"), (4000, "c")}


def test_operator_ends_a_cool_off() -> None:
    scheduler = Scheduler()
    for name in ("a", "b"):
        scheduler.add(name, RHYTHM, ["BTC"], T0)
    scheduler.cool_off(at(1), at(5000))
    scheduler.wake_all(at(10))
    assert [due.trader_id for due in scheduler.poll(at(10))] == ["a", "b"]


def test_a_model_that_could_do_nothing_is_not_asked_until_it_may_act_again() -> None:
    barred = {"t", "rules"}
    scheduler = Scheduler(Budget(BudgetConfig()), lambda trader, now_ns: trader not in barred)
    for name, model in (("t", "m"), ("rules", ""), ("u", "m")):
        scheduler.add(name, RHYTHM, ["BTC"], T0, model=model)
    assert {due.trader_id for _, due in wakeups(scheduler, 719)} == {"rules", "u"}
    send(scheduler, 719)
    assert [due.trader_id for _, due in wakeups(scheduler, 800)] == ["rules", "u"]
    assert scheduler.refusals == {Refusal.TRADING_STATE: 3}, "two timers and an edge"
    barred.clear()
    scheduler.wake("t", at(801))
    (due,) = scheduler.poll(at(801))
    assert {note.code for note in due.notes} == {Refusal.TRADING_STATE}


def test_longer_cool_off_is_not_shortened() -> None:
    scheduler = started(one())
    scheduler.cool_off(at(100), at(5000))
    scheduler.cool_off(at(200), at(3000))
    assert wakeups(scheduler, 4999) == []


def test_trader_whose_cycle_was_abandoned_looks_again_after_the_cooldown() -> None:
    scheduler = started(one())
    send(scheduler, 100)
    (due,) = scheduler.poll(at(120))
    kept = scheduler.state("t")
    later = one()
    later.restore("t", kept, at(125))
    later.look_again(due.cycle_id, "t", at(130))
    (second, again), *_ = wakeups(later, 1000)
    assert (second, again.reasons[0].kind) == (190, WakeKind.START)
    assert again.cycle_id != due.cycle_id


def test_wakeup_that_was_journalled_before_its_state_comes_again_under_another_id() -> None:
    scheduler = started(one())
    send(scheduler, 100)
    kept = scheduler.state(
        "t"
    )  # the process dies after the journal took the wakeup, before it took the state
    (due,) = scheduler.poll(at(120))
    later = one()
    later.restore("t", kept, at(125))
    later.look_again(due.cycle_id, "t", at(130))
    (_, again), *_ = wakeups(later, 1000)
    assert again.cycle_id != due.cycle_id
    assert again.reasons == due.reasons


def test_a_thousand_traders_with_a_loud_half_and_few_slots_all_get_their_turn() -> None:
    scheduler = Scheduler(Budget(BudgetConfig(max_concurrent=20, max_concurrent_per_model=20)))
    rhythm = RhythmConfig(jitter=Duration(60), cooldown=Duration(30))
    for n in range(1000):
        scheduler.add(f"t{n:03}", rhythm, ["BTC" if n % 2 else "ETH"], T0, model="m")
    woken: dict[str, list[int]] = {trader: [] for trader in scheduler.traders}
    answers: list[tuple[int, str, str]] = []
    for second in range(0, 3600, 2):
        if second % 60 == 0:  # every minute the half that watches BTC is called with the highest salience
            scheduler.on_signal(edge(at(second), score=1.0, detector=f"d{second}"), at(second))
        while answers and answers[0][0] <= second:
            _, cycle_id, trader = answers.pop(0)
            scheduler.on_closed(cycle_id, trader, at(second))
        for due in scheduler.poll(at(second)):
            woken[due.trader_id].append(second)
            answers.append((second + 10, due.cycle_id, due.trader_id))
    # 20 slots of 10 s make 2 wakeups a second: 500 s for all of them
    for seconds in woken.values():
        gaps = [b - a for a, b in pairwise([0, *seconds, 3600])]
        assert max(gaps) <= 720 + 600, "a long cycle, and the time that all others need at most"
    assert sum(map(len, woken.values())) > 7000, "the slots are always taken"


@pytest.mark.parametrize(
    ("config", "symbol", "clock", "expected"),
    [
        (RolloutConfig(), "BTC-USDT-SWAP", "00:00", 100),
        (RolloutConfig(weight=0), "BTC-USDT-SWAP", "00:00", 0),
        (RolloutConfig(weight=10, symbols={"BTC": 50}), "BTC-USDT-SWAP", "00:00", 50),
        (RolloutConfig(weight=10, symbols={"BTC": 50}), "ETH-USDT-SWAP", "00:00", 10),
        (NIGHT := RolloutConfig(weight=50, hours=(hours("22:00", "06:30", 20),)), "X-USDT-SWAP", "21:59", 50),
        (NIGHT, "X-USDT-SWAP", "22:00", 10),
        (NIGHT, "X-USDT-SWAP", "06:29", 10),
        (NIGHT, "X-USDT-SWAP", "06:30", 50),
    ],
)
def test_weight_of_a_canary_by_instrument_and_time_of_day(
    config: RolloutConfig, symbol: str, clock: str, expected: float
) -> None:
    minute = int(clock[:2]) * 60 + int(clock[3:])
    assert weight(config, symbol, 20_000 * NS_PER_DAY + minute * NS_PER_MIN) == expected


@given(share=st.integers(0, 100))
@settings(max_examples=20)
def test_canary_is_live_as_often_as_its_weight_says_and_the_same_each_time(share: int) -> None:
    config = RolloutConfig(weight=share)
    drawn = [on_paper(config, f"t-{n * 720_000}", ("BTC-USDT-SWAP",)) for n in range(2000)]
    assert drawn == [on_paper(config, f"t-{n * 720_000}", ("BTC-USDT-SWAP",)) for n in range(2000)]
    live = sum(not paper for paper in drawn) / 20
    assert abs(live - share) < 5
    assert share not in {0, 100} or live == share


def test_canary_enters_some_symbols_live_and_the_others_on_paper() -> None:
    btc, eth, sol = "BTC-USDT-SWAP", "ETH-USDT-SWAP", "SOL-USDT-SWAP"
    enter_btc, enter_eth = (Action(symbol=symbol, act=Act.BUY_TO_ENTER) for symbol in (btc, eth))
    close_sol = Action(symbol=sol, act=Act.CLOSE)
    decision = Decision(
        cycle_id="t-1",
        trader_id="t",
        decider="x",
        actions=(enter_btc, enter_eth, close_sol),
        prices={},
        ts_decided=1,
    )
    config = RolloutConfig(symbols={"BTC": 0})
    live, verdicts = live_part(config, decision, 5)
    assert live.actions == (enter_eth, close_sol)
    assert [(verdict.symbol, verdict.approved, verdict.reason) for verdict in verdicts] == [
        (btc, False, "on_paper")
    ]
    assert paper_part(config, decision).actions == (enter_btc, close_sol)
    assert (config.live, config.shadow, RolloutConfig(weight=0).shadow) == (False, False, True)


# -- the calendar


@given(
    st.lists(
        st.one_of(
            st.integers(0, 5 * 2**27).map(lambda at: ("enter", at)),
            st.integers(0, 5 * 2**27).map(lambda at: ("enter together", at)),
            st.integers(0, 2**28).map(lambda step: ("take", step)),
            st.just(("first", 0)),
        )
    )
)
def test_the_calendar_gives_what_is_due_in_the_order_of_one_heap(steps: list[tuple[str, int]]) -> None:
    calendar, heap, now = Calendar(), list[int](), 0
    for number, (step, value) in enumerate(steps):
        if step == "first":
            first = calendar.first()
            assert (first is None) is not bool(heap)
            if first is not None:
                assert first >> NUMBER_BITS == heap[0] >> NUMBER_BITS
                calendar.drop_first()
                heap.remove(first)
                heapq.heapify(heap)
        elif step == "take":
            now += value
            wanted = list[int]()
            while heap and heap[0] >> NUMBER_BITS <= now:
                wanted.append(heapq.heappop(heap))
            together = [at << NUMBER_BITS | each for at, of in calendar.take_together(now) for each in of]
            due = calendar.take_due(now)
            assert due == sorted(due)
            assert sorted(due + together) == wanted
        else:  # also into the past, which is due at the next look
            numbers = [1000 * number + each for each in range(1 if step == "enter" else 3)]
            if step == "enter":
                calendar.enter(value << NUMBER_BITS | numbers[0])
            else:
                calendar.enter_together(value, list(numbers))
            for each in numbers:
                heapq.heappush(heap, value << NUMBER_BITS | each)
        assert len(calendar) == len(heap)
