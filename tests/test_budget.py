"""Slots, rate and money of thinking."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.config.scheduler import BudgetConfig
from engine.core.times import NS_PER_DAY, NS_PER_HOUR, NS_PER_MS, NS_PER_S
from engine.manager.budget import Budget, Shortage, Spend


def test_slots_are_bounded_in_all_and_per_model() -> None:
    budget = Budget(
        BudgetConfig(max_concurrent=3, max_concurrent_per_model=2, model_concurrency={"small": 1})
    )
    budget.take("1", "big", 0)
    budget.take("2", "big", 0)
    assert budget.shortage("t", "big", 0) is Shortage.MODEL_CONCURRENCY
    assert budget.shortage("t", "small", 0) is None
    budget.take("3", "small", 0)
    assert budget.shortage("t", "other", 0) is Shortage.CONCURRENCY
    budget.release("1")
    budget.release("1")
    assert budget.shortage("t", "small", 0) is Shortage.MODEL_CONCURRENCY
    assert budget.shortage("t", "other", 0) is None
    assert budget.thinking == 2


def test_a_trader_without_a_model_needs_no_budget() -> None:
    budget = Budget(BudgetConfig(max_concurrent=1, requests_per_second=1, burst=1))
    budget.take("1", "m", 0)
    assert budget.shortage("t", "m", 0) is Shortage.CONCURRENCY
    assert budget.shortage("t", "", 0) is None
    budget.take("2", "", 0)
    assert budget.thinking == 1


@given(
    rate=st.floats(0.1, 50),
    burst=st.integers(1, 20),
    steps=st.lists(st.integers(0, 3000), min_size=1, max_size=200),
)
def test_no_window_holds_more_requests_than_burst_and_rate_allow(
    rate: float, burst: int, steps: list[int]
) -> None:
    budget = Budget(BudgetConfig(requests_per_second=rate, burst=burst, max_concurrent=10_000))
    now, taken = 0, list[int]()
    for step in steps:
        now += step * NS_PER_MS
        if budget.shortage("t", "m", now) is None:
            budget.take(str(len(taken)), "m", now)
            budget.release(str(len(taken)))
            taken.append(now)
        else:
            assert budget.next_request_ns > now
    for first, since in enumerate(taken):
        for last in range(first, len(taken)):
            window_s = (taken[last] - since) / NS_PER_S
            assert last - first + 1 <= burst + rate * window_s * (1 + 1e-6) + 1e-6


@pytest.mark.parametrize(
    ("costs", "asked_at", "expected"),
    [
        ([(0, "0.99")], 0, None),
        ([(0, "1")], 0, Shortage.COST_HOUR),
        ([(0, "1")], NS_PER_HOUR, None),
        ([(0, "1"), (NS_PER_HOUR, "1")], 2 * NS_PER_HOUR, Shortage.COST_DAY),
        ([(0, "1"), (NS_PER_HOUR, "1")], NS_PER_DAY, None),
        ([(NS_PER_HOUR - 1, "0.6"), (NS_PER_HOUR, "0.6")], NS_PER_HOUR, None),
    ],
)
def test_money_is_counted_by_hour_and_day(
    costs: list[tuple[int, str]], asked_at: int, expected: Shortage | None
) -> None:
    config = BudgetConfig(cost_per_hour_usd=Decimal(1), cost_per_day_usd=Decimal(2))
    budget = Budget(config)
    for ts, cost in costs:
        budget.book("t", f"t-{ts}", Decimal(cost), ts)
    assert budget.shortage("t", "m", asked_at) is expected
    assert budget.shortage("other", "m", asked_at) is None
    again = Budget(config)
    again.restore("t", budget.spent("t"))
    assert again.shortage("t", "m", asked_at) is expected


def test_answer_that_is_delivered_again_costs_once() -> None:
    budget = Budget(BudgetConfig(cost_per_day_usd=Decimal(2)))
    for cycle in (1, 1, 2, 1, 2):  # after a crash several come again
        budget.book("t", f"t-{cycle}", Decimal("0.5"), 5)
    assert budget.spent("t").day_usd == 1
    budget.book("t", "t-3", Decimal(1), 6)
    assert budget.shortage("t", "m", 7) is Shortage.COST_DAY


@given(st.lists(st.tuples(st.integers(0, 100 * 60), st.decimals(0, 100, places=6)), max_size=60))
def test_spend_is_the_sum_of_the_costs_of_its_hour_and_day(costs: list[tuple[int, Decimal]]) -> None:
    costs.sort(key=lambda cost: cost[0])
    spend, last = Spend(), 0
    for minute, cost in costs:
        last = minute * 60 * NS_PER_S
        spend = spend.plus(cost, last)
    if costs:
        minutes = last // 60 // NS_PER_S
        assert spend.hour_usd == sum(cost for minute, cost in costs if minute // 60 == minutes // 60)
        assert spend.day_usd == sum(cost for minute, cost in costs if minute // 1440 == minutes // 1440)
