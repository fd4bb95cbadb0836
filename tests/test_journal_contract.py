"""One contract for both journals: written twice is written once, and what is read is what was written."""

from __future__ import annotations

from collections.abc import AsyncIterator
from decimal import Decimal

import msgspec
import pytest

from engine.clock import SystemClock
from engine.core.cash import CashFlow, FlowKind
from engine.core.instruments import Instrument
from engine.core.market import Candle
from engine.core.orders import UNATTRIBUTED, OrderState, Purpose
from engine.core.times import NS_PER_DAY
from engine.journal.in_memory.journal import MemoryJournal
from engine.journal.ports import AccountCheck, Journal, KeepState, KeptState, RiskEvent, Validity
from engine.journal.postgres.journal import PostgresJournal
from tests import journal_parts as parts
from tests.journal_parts import ACCOUNT, SIGNAL, T0


@pytest.fixture(params=["memory", "postgres"])
async def journal(request: pytest.FixtureRequest, database: str) -> AsyncIterator[Journal]:
    """Each journal, with its one trader."""
    if request.param == "memory":
        memory = MemoryJournal()
        await memory.record_traders([parts.TRADER])
        yield memory
        return
    async with PostgresJournal(database, SystemClock()) as postgres:
        await postgres.record_traders([parts.TRADER])
        yield postgres


async def test_order_is_new_once_and_read_back_exactly(journal: Journal) -> None:
    await journal.record_wakeup(parts.wakeup())
    await journal.record_gate((), [parts.intent()])
    order = parts.order(parts.intent())
    assert [await journal.insert_order(order), await journal.insert_order(order)] == [True, False]
    assert await journal.open_orders(ACCOUNT) == (order,)
    assert await journal.order(order.client_order_id) == order
    assert await journal.order("nobody") is None
    assert await journal.open_orders("another account") == ()


async def test_clamped_order_keeps_its_own_size(journal: Journal) -> None:
    await journal.record_gate((), [parts.close_intent()])
    clamped = msgspec.structs.replace(parts.close_intent(), contracts=Decimal("1.5"))
    await journal.insert_order(parts.order(clamped))
    assert (await journal.open_orders(ACCOUNT))[0].intent.contracts == Decimal("1.5")


async def test_fill_is_booked_once_and_a_repeated_one_changes_nothing(journal: Journal) -> None:
    order = parts.order(parts.intent(cycle_id=""))
    await journal.insert_order(order)
    part, first = parts.filled(order, "0.5")
    whole, second = parts.filled(part, "1.5")
    assert await journal.record_execution(part, first)
    assert await journal.open_orders(ACCOUNT) == (part,)
    assert await journal.record_execution(whole, second, b"raw")
    assert not await journal.record_execution(part, first)  # late, by another path
    assert await journal.order(order.client_order_id) == whole
    assert await journal.open_orders(ACCOUNT) == ()
    assert await journal.fill_booked(ACCOUNT, first.fill_id)
    assert not await journal.fill_booked("another account", first.fill_id)
    assert (await journal.bookings(ACCOUNT)).fills == (first, second)
    assert await journal.newest_fill_ns(ACCOUNT) == first.ts_event
    assert await journal.newest_fill_ns("another account") == 0


async def test_order_of_the_venues_own_making_gets_its_row(journal: Journal) -> None:
    stop = msgspec.structs.replace(
        parts.close_intent(),
        intent_id="x77",
        purpose=Purpose.LIQUIDATION,
        trader_id=UNATTRIBUTED,
        cycle_id="",
    )
    order = msgspec.structs.replace(parts.order(stop), client_order_id="x77")
    after, fill = parts.filled(order)
    assert await journal.record_execution(after, fill)
    assert await journal.order("x77") == after
    assert await journal.pending_intents(ACCOUNT, 0) == ()
    assert (await journal.bookings(ACCOUNT)).entries == ()


async def test_state_without_a_fill_is_written(journal: Journal) -> None:
    order = parts.order(parts.intent(cycle_id=""))
    await journal.insert_order(order)
    refused = msgspec.structs.replace(order, state=OrderState.REJECTED, reason="51008", ts_updated=T0 + 9)
    assert await journal.record_execution(refused, None)
    assert await journal.record_execution(refused, None)
    assert await journal.order(order.client_order_id) == refused


async def test_books_fold_from_bookings_in_their_order(journal: Journal) -> None:
    flow = CashFlow(
        flow_id="f1",
        trader_id="alice",
        account_id=ACCOUNT,
        kind=FlowKind.CAPITAL,
        amount=Decimal("10000.000000000000000001"),
        ts=T0,
    )
    later = msgspec.structs.replace(flow, flow_id="f0", amount=Decimal(-1))
    assert [await journal.record_cash_flow(each) for each in (flow, later, flow)] == [True, True, False]
    bill = [parts.funding(), parts.funding("bob", "0.5")]
    assert [await journal.record_funding(bill), await journal.record_funding(bill)] == [True, False]
    assert not await journal.record_funding([parts.funding("carol")])  # the bill is booked as a whole
    await journal.record_wakeup(parts.wakeup())
    await journal.record_gate((), [parts.intent()])
    entry, fill = parts.filled(parts.order(parts.intent()))
    await journal.record_execution(entry, fill)
    bookings = await journal.bookings(ACCOUNT)
    assert bookings.cash_flows == (flow, later)
    assert bookings.funding == tuple(bill)
    assert bookings.entries == (parts.intent(),)
    assert (await journal.bookings("another account")).fills == ()


async def test_bookings_are_oldest_first_whatever_came_first(journal: Journal) -> None:
    newer = msgspec.structs.replace(parts.intent("newer", ""), ts_created=T0 + 9)
    for of in (newer, parts.intent(cycle_id="")):
        await journal.record_execution(*parts.filled(parts.order(of)))
    late = msgspec.structs.replace(parts.funding(), bill_id="b0", payment_id="b0:alice", ts_event=T0)
    for payment in (parts.funding(), late):
        assert await journal.record_funding([payment])
    bookings = await journal.bookings(ACCOUNT)
    assert bookings.entries == (parts.intent(cycle_id=""), newer)
    assert bookings.funding == (late, parts.funding())


async def test_intents_without_an_order_are_pending(journal: Journal) -> None:
    await journal.record_wakeup(parts.wakeup())
    for _ in range(2):
        await journal.record_gate((), [parts.close_intent(), parts.intent()])
    assert await journal.pending_intents(ACCOUNT, T0) == (parts.intent(), parts.close_intent())
    assert await journal.pending_intents(ACCOUNT, T0 + 8) == (parts.close_intent(),)
    await journal.insert_order(parts.order(parts.intent()))
    assert await journal.pending_intents(ACCOUNT, T0) == (parts.close_intent(),)


async def test_cycle_is_closed_once(journal: Journal) -> None:
    assert not await journal.record_cycle(parts.record())  # nobody was woken
    for cycle_id in ("alice-1", "alice-2", "alice-1"):
        await journal.record_wakeup(parts.wakeup(cycle_id))
    assert await journal.open_cycles(ACCOUNT) == ("alice-1", "alice-2")
    assert await journal.open_cycles("another account") == ()
    assert await journal.is_open("alice-1")
    assert await journal.record_cycle(parts.record())
    other = msgspec.structs.replace(parts.record(), answer="a different one", model="other")
    assert not await journal.record_cycle(other)
    for _ in range(2):
        await journal.record_gate([parts.verdict()])
    assert await journal.open_cycles(ACCOUNT) == ("alice-2",)
    assert not await journal.is_open("alice-1")
    assert await journal.record_cycle(parts.record("alice-2"))
    told = {"system_prompt": "", "user_prompt": "", "answer": "", "reasoning": ""}
    newest, oldest = await journal.recent_cycles("alice", 5)
    assert newest == msgspec.structs.replace(parts.record("alice-2"), **told)
    assert oldest == msgspec.structs.replace(parts.record(), **told)
    assert len(await journal.recent_cycles("alice", 1)) == 1
    assert await journal.recent_cycles("bob", 5) == ()


@pytest.mark.parametrize("asked", [None, ("system", "user"), ("a member's", "other prompt")])
async def test_a_closed_cycle_has_its_prompts_whatever_was_written_while_the_model_thought(
    journal: Journal, asked: tuple[str, str] | None
) -> None:
    await journal.record_wakeup(parts.wakeup())
    record = msgspec.structs.replace(parts.record(), system_prompt="system", user_prompt="user")
    if asked is not None:
        await journal.record_question("alice-1", *asked, T0)
    assert await journal.record_cycle(record)
    await journal.record_question("alice-1", "too", "late", T0)
    assert not await journal.record_cycle(msgspec.structs.replace(record, system_prompt="again"))
    kept = await journal.cycle("alice-1")
    assert kept is not None
    assert kept.record == record


async def test_nothing_follows_from_a_decision_that_is_not_its_cycles_answer(journal: Journal) -> None:
    record, everything = parts.record(), ([parts.verdict()], [parts.intent()])
    assert await journal.record_gate(*everything, answer=record.decision) is Validity.VOID  # nobody was woken
    await journal.record_wakeup(parts.wakeup())
    assert await journal.record_gate(*everything, answer=record.decision) is Validity.OPEN
    other = msgspec.structs.replace(record.decision, ts_decided=record.decision.ts_decided + 1)
    assert await journal.record_cycle(record)
    assert await journal.record_gate(*everything, answer=other) is Validity.VOID
    assert await journal.verdicts_of([record.decision.cycle_id]) == ()
    assert await journal.pending_intents(ACCOUNT, 0) == ()
    for _ in range(2):
        assert await journal.record_gate(*everything, answer=record.decision) is Validity.IN_FORCE
    assert await journal.verdicts_of([record.decision.cycle_id]) == (parts.verdict(),)
    assert await journal.pending_intents(ACCOUNT, 0) == (parts.intent(),)


async def test_what_follows_from_a_decision_is_written_together_and_once(journal: Journal) -> None:
    await journal.record_wakeup(parts.wakeup())
    exact = msgspec.structs.replace(parts.intent(), risk_usd=Decimal("1.50"), confidence=Decimal("7E-1"))
    for state in (b"one", b"\x00\\two"):
        kept = [KeptState(kind, "alice", state, T0) for kind in (KeepState.SCHEDULER, KeepState.TRADER)]
        await journal.record_gate([parts.verdict()], [exact], kept)
    assert await journal.verdicts_of(["alice-1"]) == (parts.verdict(),)
    assert await journal.pending_intents(ACCOUNT, T0) == (exact,)
    for kind in (KeepState.SCHEDULER, KeepState.TRADER):
        assert await journal.load_states(kind) == {"alice": b"\x00\\two"}


async def test_closed_trade_is_kept_once(journal: Journal) -> None:
    for of in (parts.intent(cycle_id=""), parts.close_intent()):
        await journal.record_execution(*parts.filled(parts.order(msgspec.structs.replace(of, cycle_id=""))))
    await journal.record_position(parts.view(T0, parts.position()), [])
    for _ in range(2):
        await journal.record_position(parts.view(T0 + 1), [parts.closed()])
    assert await journal.recent_trades("alice", 5) == (parts.closed(),)
    assert await journal.recent_trades("bob", 5) == ()


async def test_states_of_parts_are_kept_by_kind(journal: Journal) -> None:
    await journal.save_state(KeepState.SCHEDULER, "alice", b"one", T0)
    await journal.save_state(KeepState.SCHEDULER, "alice", b"\x00two", T0 + 1)
    await journal.save_state(KeepState.BREAKER, "alice", b"three", T0)
    assert await journal.load_states(KeepState.SCHEDULER) == {"alice": b"\x00two"}
    assert await journal.load_states(KeepState.BREAKER) == {"alice": b"three"}


async def test_books_agreed_when_positions_and_cash_were_the_venues(journal: Journal) -> None:
    """Whether or not all of it belongs to a trader."""
    assert await journal.agreed_ns(ACCOUNT) == 0
    for ts, difference, detail in ((1, "0.009", ""), (2, "0.02", ""), (3, "0", "BTC: venue 1, books 0")):
        await journal.record_check(check_at(T0 + ts, difference, detail))
    assert await journal.agreed_ns(ACCOUNT) == T0 + 1
    assert await journal.agreed_ns("another account") == 0


def check_at(ts: int, difference: str, detail: str) -> AccountCheck:
    return AccountCheck(
        account_id=ACCOUNT,
        ts=ts,
        balanced=False,
        venue_equity=Decimal(1),
        traders_equity=Decimal(1),
        reserve=Decimal(0),
        difference=Decimal(difference),
        detail=detail,
    )


async def test_the_rest_may_be_written_twice(journal: Journal) -> None:
    instrument = Instrument(
        symbol="BTC-USDT-SWAP",
        base="BTC",
        tick_size=Decimal("0.1"),
        lot_size=Decimal("0.01"),
        min_size=Decimal("0.01"),
        contract_value=Decimal("0.01"),
    )
    candle = Candle("BTC-USDT-SWAP", "1d", T0 - 200 * NS_PER_DAY, 1.0, 2.0, 0.5, 1.5, 10.0, True, T0)
    check = AccountCheck(
        account_id=ACCOUNT,
        ts=T0,
        balanced=True,
        venue_equity=Decimal(1),
        traders_equity=Decimal(1),
        reserve=Decimal(0),
        difference=Decimal(0),
        detail="",
    )
    event = RiskEvent(event_id="e", trader_id="", symbol="", kind="imbalance", detail="", ts=T0)
    for _ in range(2):
        await journal.record_instruments([instrument], T0)
        await journal.record_candles([candle])
        await journal.record_signals([SIGNAL])
        await journal.record_performance([parts.view(T0, parts.position())])
        await journal.record_check(check)
        await journal.record_risk_event(event)
    assert (await journal.risk_event("e"), await journal.agreed_ns(ACCOUNT)) == (event, T0)


async def test_equal_runs_have_equal_digests() -> None:
    digests = []
    for answer in ("{}", "{}", "another"):
        journal = MemoryJournal()
        await journal.record_wakeup(parts.wakeup())
        await journal.record_cycle(msgspec.structs.replace(parts.record(), answer=answer))
        await journal.record_execution(*parts.filled(parts.order(parts.intent())))
        digests.append(journal.digest())
    assert digests[0] == digests[1]
    assert digests[0] != digests[2]
