"""Breakers: what trips them, what they do, and when trading goes on."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal

import msgspec
import pytest

from engine.config.manager import AccountBreakerConfig, BreakerAction, RiskConfig
from engine.manager.breaker import Breaker, TradingState, Tripped

D = Decimal
HOUR = 3_600_000_000_000
DAY = 24 * HOUR
LIMITS = RiskConfig(
    max_daily_loss_pct=D(10),
    max_drawdown_pct=D(30),
    max_losses_in_row=3,
    max_model_failures=2,
    max_order_rejects=2,
)


def daily_loss(breaker: Breaker) -> Tripped | None:
    assert breaker.on_equity(D(1000), HOUR) is None
    return breaker.on_equity(D(900), HOUR + 1)


def drawdown(breaker: Breaker) -> Tripped | None:
    for days, equity in enumerate((1000, 910, 830, 760, 701)):
        assert breaker.on_equity(D(equity), days * DAY) is None
    return breaker.on_equity(D(699), 4 * DAY + 1)


def loss_streak(breaker: Breaker) -> Tripped | None:
    assert breaker.on_losses(2, HOUR) is None
    return breaker.on_losses(3, HOUR)


def model_failures(breaker: Breaker) -> Tripped | None:
    for cycle, failed in enumerate((True, False, True)):
        assert breaker.on_decision(f"t-{cycle}", HOUR, failed=failed) is None
    return breaker.on_decision("t-3", HOUR, failed=True)


def order_rejects(breaker: Breaker) -> Tripped | None:
    for order, rejected in enumerate((True, False, True)):
        assert breaker.on_entry(f"o{order}", HOUR, rejected=rejected) is None
    return breaker.on_entry("o3", HOUR, rejected=True)


TRIPS = [daily_loss, drawdown, loss_streak, model_failures, order_rejects]


@pytest.mark.parametrize("trip", TRIPS, ids=lambda trip: str(trip.__name__))
def test_R4_each_limit_trips_once_and_outlives_a_restart(trip: Callable[[Breaker], Tripped | None]) -> None:
    breaker = Breaker(LIMITS)
    tripped = trip(breaker)
    assert tripped is not None
    assert tripped.reason == trip.__name__
    restarted = Breaker(LIMITS, breaker.state())
    assert restarted.trading_state(5 * HOUR if trip is not drawdown else 4 * DAY + HOUR)[1] == (
        trip.__name__ if trip in {daily_loss, drawdown} else ""
    )
    assert restarted.on_losses(3, HOUR + 2) is None, "not again while it lasts"


def test_R4_a_daily_loss_lasts_until_the_stated_reset_time() -> None:
    breaker = Breaker(LIMITS, reset_s=8 * 3600)
    breaker.on_equity(D(1000), 9 * HOUR)
    assert breaker.on_equity(D(890), 10 * HOUR) is not None
    assert breaker.trading_state(32 * HOUR - 1) == (TradingState.REDUCE_ONLY, "daily_loss")
    assert breaker.trading_state(32 * HOUR)[0] is TradingState.ENABLED


def test_a_halting_breaker_waits_for_an_operator() -> None:
    breaker = Breaker(msgspec.structs.replace(LIMITS, breaker_action=BreakerAction.HALT))
    tripped = daily_loss(breaker)
    assert tripped is not None
    assert breaker.trading_state(100 * DAY)[0] is TradingState.HALTED
    breaker.resume(100 * DAY)
    assert breaker.trading_state(100 * DAY)[0] is TradingState.ENABLED
    assert breaker.on_equity(D(900), 100 * DAY) is None, "measured anew"
    assert breaker.losses_since == 100 * DAY


def test_money_moved_is_neither_profit_nor_loss() -> None:
    breaker = Breaker(LIMITS)
    breaker.on_equity(D(1000), HOUR, D(1000))
    assert breaker.on_equity(D(600), HOUR + 1, D(600)) is None
    assert breaker.on_equity(D(530), HOUR + 2, D(600)) is not None


def test_what_the_bus_tells_again_after_a_crash_counts_once() -> None:
    breaker = Breaker(LIMITS)
    breaker.on_decision("t-0", HOUR, failed=False)
    breaker.on_decision("t-1", HOUR, failed=True)
    breaker.on_entry("o1", HOUR, rejected=True)
    again = Breaker(LIMITS, breaker.state())
    assert again.on_decision("t-0", HOUR, failed=False) is None
    assert again.on_decision("t-1", HOUR, failed=True) is None
    assert again.on_entry("o1", HOUR, rejected=True) is None
    assert again.on_entry("o2", HOUR, rejected=True) is not None
    assert again.trading_state(HOUR) == (TradingState.REDUCE_ONLY, "order_rejects")


def test_zero_in_a_row_is_not_watched() -> None:
    breaker = Breaker(AccountBreakerConfig(max_order_rejects=0))
    assert all(breaker.on_decision(f"t-{n}", HOUR, failed=True) is None for n in range(50))
    assert all(breaker.on_entry(f"o{n}", HOUR, rejected=True) is None for n in range(50))
    assert len(breaker.state()) < 300, "and not remembered"
    assert breaker.on_losses(50, HOUR) is None
