"""Capital between traders: conserved, capped, never below the floor, and only what is free."""

from __future__ import annotations

from decimal import Decimal

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from engine.bus import TRANSFERS
from engine.clock import SystemClock
from engine.config.manager import AllocationConfig
from engine.core.cash import CashFlow, FlowKind, Transfer
from engine.manager.allocation import Rule, Standing, moves, smoothed, targets
from engine.memory_bus import MemoryBus
from tests.exchange_world import Simulator, life
from tests.waiting import until

D = Decimal
CONFIG = AllocationConfig()
money = st.decimals("0", "1e6", places=2)


@st.composite
def standings(draw: st.DrawFn) -> list[Standing]:
    """Traders with any equity, any part of it free, any score."""
    return [
        Standing(
            trader_id=f"t{number}",
            share=draw(st.decimals("0.1", "50", places=1)),
            equity=(equity := draw(money)),
            free=equity * draw(st.integers(0, 100)) / 100,
            score=draw(st.decimals("-1", "1", places=3)),
        )
        for number in range(draw(st.integers(1, 8)))
    ]


rules = st.sampled_from(("fixed", "equal", "performance_based"))


@given(traders=standings(), rule=rules)
def test_capital_is_conserved_and_only_free_capital_moves(traders: list[Standing], rule: Rule) -> None:
    before = {each.trader_id: each for each in traders}
    after = {name: each.equity for name, each in before.items()}
    given_away = dict.fromkeys(before, D(0))
    aims = targets(rule, CONFIG, traders)
    for move in moves(rule, CONFIG, traders):
        assert move.amount >= 1
        assert move.amount == move.amount.quantize(D("0.01"))
        after[move.giver] -= move.amount
        after[move.taker] += move.amount
        given_away[move.giver] += move.amount
    assert sum(after.values()) == sum(each.equity for each in traders)
    for name, amount in given_away.items():
        assert amount <= before[name].free
        assert amount <= before[name].equity * CONFIG.max_move_pct / 100
        assert not amount or after[name] >= aims[name], "nobody is taken below its target"
        assert after[name] <= max(before[name].equity, aims[name]), "nor given more than it"
    if rule == "fixed":
        assert not any(given_away.values())


@given(traders=standings())
def test_targets_are_between_floor_and_cap_and_no_more_than_there_is(traders: list[Standing]) -> None:
    total = sum((each.equity for each in traders), D(0))
    shares = sum((each.share for each in traders), D(0))
    aims = targets("performance_based", CONFIG, traders)
    assert sum(aims.values()) <= total * D("1.000001")
    for each in traders:
        base = total * each.share / shares
        assert base * D("0.499999") <= aims[each.trader_id] <= base * D("2.000001")


def test_who_earned_more_gets_more_and_a_loser_keeps_its_floor() -> None:
    good = Standing(trader_id="good", share=D(50), equity=D(1000), free=D(1000), score=D("0.05"))
    bad = msgspec.structs.replace(good, trader_id="bad", score=D("-0.5"))
    assert targets("performance_based", CONFIG, [good, bad]) == {"good": D(1500), "bad": D(500)}
    (move,) = moves("performance_based", CONFIG, [good, bad])
    assert (move.giver, move.taker, move.amount) == ("bad", "good", D(100)), "a tenth at a time"


def test_a_score_is_smoothed_and_free_of_cash_flows() -> None:
    assert smoothed(CONFIG, D(0), start=D(1000), flows=D(500), now=D(1500)) == 0
    assert smoothed(CONFIG, D(0), start=D(1000), flows=D(0), now=D(1100)) == D("0.03")
    assert smoothed(CONFIG, D("0.03"), start=D(1000), flows=D(0), now=D(1000)) == D("0.021")


def test_a_transfer_is_two_flows_that_add_up_to_nothing() -> None:
    transfer = Transfer(transfer_id="x", account_id="sim", giver="a", taker="b", amount=D(9), ts=1)
    out, into = transfer.flows(D(5))
    assert out == CashFlow(
        flow_id="x:from", trader_id="a", account_id="sim", kind=FlowKind.REBALANCE, amount=D(-5), ts=1
    )
    assert into.trader_id == "b"
    assert out.amount + into.amount == 0


async def test_a_transfer_is_booked_once_and_survives_a_restart(sim: Simulator, database: str) -> None:
    transfer = Transfer(transfer_id="x", account_id="sim", giver="a", taker="b", amount=D(500), ts=1)
    too_much = msgspec.structs.replace(transfer, transfer_id="y", amount=D(10**6))
    bus = MemoryBus(SystemClock())
    async with life(sim, database, bus=bus) as now:
        for each in (transfer, transfer, too_much):
            await bus.publish(TRANSFERS, each)
        await until(lambda: now.books.account("b").capital == 40_000)
        assert now.books.account("a").cash == 0, "all that was free, and no more"
        await now.balanced()
    async with life(sim, database) as now:
        assert [now.books.account(name).cash for name in ("a", "b")] == [0, 40_000]
        await now.balanced()
