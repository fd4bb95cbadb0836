"""One order, and every report that can come for it, in any order."""

from decimal import Decimal

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.core.market import Side
from engine.core.orders import (
    ExecutionReport,
    Fill,
    Order,
    OrderState,
    PositionSide,
    Purpose,
    apply,
    client_order_id,
    entry_of,
    stop_client_id,
)
from tests.order_parts import order_of

S = OrderState


def order(contracts: str = "10") -> Order:
    return order_of("c1:BTC:buy", cycle_id="c1", trader_id="t", contracts=Decimal(contracts))


def report(state: OrderState, filled: str = "0") -> ExecutionReport:
    return ExecutionReport(
        client_order_id="x",
        venue_order_id="77",
        symbol="BTC-USDT-SWAP",
        side=Side.BUY,
        position_side=PositionSide.LONG,
        state=state,
        contracts=Decimal(10),
        filled=Decimal(filled),
        ts_event=5,
    )


def execution(contracts: str, price: str = "100") -> Fill:
    return Fill(
        fill_id=f"f{contracts}{price}",
        client_order_id="x",
        venue_order_id="77",
        trader_id="t",
        account_id="sim",
        symbol="BTC-USDT-SWAP",
        side=Side.BUY,
        position_side=PositionSide.LONG,
        purpose=Purpose.ENTRY,
        contracts=Decimal(contracts),
        price=Decimal(price),
        contract_value=Decimal("0.01"),
        fee=Decimal("-0.1"),
        maker=False,
        ts_event=5,
    )


def test_a_venues_reason_to_end_an_order_takes_the_place_of_ours_and_stays() -> None:
    reduced = msgspec.structs.replace(order(), reason="close_reduced: 1 of 2")
    ended = apply(reduced, msgspec.structs.replace(report(S.CANCELED), reason="51400"))
    assert (apply(reduced, report(S.NEW)).reason, ended.reason) == (reduced.reason, "51400")
    assert apply(ended, msgspec.structs.replace(report(S.CANCELED), reason="late")).reason == "51400"


Row = tuple[OrderState, str, str]  # venue state, cumulative fill, execution ("" none)


@pytest.mark.parametrize(
    ("rows", "state", "filled"),
    [
        pytest.param([(S.NEW, "0", "")], S.NEW, "0", id="acknowledged"),
        pytest.param([(S.REJECTED, "0", "")], S.REJECTED, "0", id="rejected"),
        pytest.param([(S.NEW, "0", ""), (S.PARTIALLY_FILLED, "4", "4")], S.PARTIALLY_FILLED, "4", id="part"),
        pytest.param([(S.FILLED, "10", "10"), (S.NEW, "0", "")], S.FILLED, "10", id="late ack"),
        pytest.param([(S.FILLED, "10", "")], S.NEW, "0", id="filled is claimed, not seen (L3)"),
        pytest.param([(S.FILLED, "10", ""), (S.FILLED, "10", "10")], S.FILLED, "10", id="it comes later"),
        pytest.param([(S.CANCELED, "4", "")], S.NEW, "0", id="cancelled with a missing fill stays open"),
        pytest.param([(S.CANCELED, "4", "4")], S.CANCELED, "4", id="cancelled after a part (S4)"),
        pytest.param([(S.CANCELED, "0", ""), (S.NEW, "0", "")], S.CANCELED, "0", id="final stays"),
        pytest.param([(S.CANCELED, "10", "10")], S.FILLED, "10", id="cancel crossed a full fill (F5)"),
        pytest.param([(S.PARTIALLY_FILLED, "4", "4"), (S.NEW, "0", "")], S.PARTIALLY_FILLED, "4", id="older"),
    ],
)
def test_reports_lead_to_the_state(rows: list[Row], state: OrderState, filled: str) -> None:
    now = order()
    for venue_state, cumulative, part in rows:
        now = apply(now, report(venue_state, cumulative), execution(part) if part else None)
    assert (now.state, now.filled) == (state, Decimal(filled))


def test_a_report_without_news_changes_nothing() -> None:
    once = apply(order(), report(S.NEW))
    assert apply(once, report(S.NEW)) == once


def test_average_price_is_that_of_the_fills() -> None:
    now = apply(order(), report(S.PARTIALLY_FILLED, "4"), execution("4", "100"))
    now = apply(now, report(S.FILLED, "10"), execution("6", "110"))
    assert (now.average_price, now.fees) == (Decimal(106), Decimal("-0.2"))


@given(st.permutations([(S.NEW, "0", ""), (S.PARTIALLY_FILLED, "4", "4"), (S.FILLED, "10", "6")]))
def test_any_order_of_arrival_ends_the_same(rows: list[Row]) -> None:
    now = order()
    for venue_state, cumulative, part in rows:
        now = apply(now, report(venue_state, cumulative), execution(part) if part else None)
    assert (now.state, now.filled, now.venue_order_id) == (S.FILLED, Decimal(10), "77")


@given(st.text(min_size=1), st.integers(0, 99_999))
def test_ids_fit_the_venue_and_lead_back_to_the_owner(intent_id: str, attempt: int) -> None:
    owner = client_order_id(intent_id)
    stop = stop_client_id(owner, attempt)
    assert owner == client_order_id(intent_id)
    assert stop.isalnum()
    assert len(stop) <= 32
    assert entry_of(stop) == owner
    assert entry_of(owner) is None


@pytest.mark.parametrize("foreign", ["", "x123", "mybot1", "ew12", "EW" + "a" * 24 + "s"])
def test_foreign_ids_have_no_owner_here(foreign: str) -> None:
    assert entry_of(foreign) is None
