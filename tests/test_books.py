"""The books of an account: exact to the last decimal, whatever happens and in which order."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.core.books import RESERVE, Books, VenueHolding
from engine.core.errors import InvariantBroken
from engine.core.ledger import CashFlow, FlowKind, VenueFunding, VirtualAccount
from engine.core.market import Side
from engine.core.orders import UNATTRIBUTED, Fill, PositionSide, Purpose

BTC = "BTC-USDT-SWAP"
CT = Decimal("0.01")


def fill(  # noqa: PLR0917 - a row of a table
    number: int,
    trader: str,
    side: Side,
    position_side: PositionSide,
    contracts: str | Decimal,
    price: str | Decimal,
    purpose: Purpose = Purpose.ENTRY,
) -> Fill:
    return Fill(
        fill_id=f"f{number}",
        client_order_id=f"o{number}",
        venue_order_id=str(number),
        trader_id=trader,
        account_id="sim",
        symbol=BTC,
        side=side,
        position_side=position_side,
        purpose=purpose,
        contracts=Decimal(contracts),
        price=Decimal(price),
        contract_value=CT,
        fee=-Decimal(contracts) * CT * Decimal(price) * Decimal("0.0005"),
        maker=False,
        ts_event=number,
    )


def capital(trader: str, amount: int) -> CashFlow:
    return CashFlow(
        flow_id=f"c:{trader}",
        trader_id=trader,
        account_id="sim",
        kind=FlowKind.CAPITAL,
        amount=Decimal(amount),
        ts=0,
    )


def test_round_trip_is_worked_out_by_hand() -> None:
    """3 contracts of 0.01 BTC from 100 to 110: +0.30 gross, fees 0.0015 and 0.00165."""
    account = VirtualAccount("t", "sim")
    account.apply_cash(capital("t", 1000))
    account.apply_fill(fill(1, "t", Side.BUY, PositionSide.LONG, "3", "100"))
    _, trade = account.apply_fill(fill(2, "t", Side.SELL, PositionSide.LONG, "3", "110", Purpose.EXIT))
    assert trade is not None
    assert (trade.gross, trade.net) == (Decimal("0.30"), Decimal("0.29685"))
    assert (trade.entry_price, trade.exit_price) == (Decimal(100), Decimal(110))
    assert account.cash == Decimal("1000.29685")
    assert not account.positions


def test_short_earns_when_price_falls() -> None:
    account = VirtualAccount("t", "sim")
    account.apply_fill(fill(1, "t", Side.SELL, PositionSide.SHORT, "1", "100"))
    assert account.unrealised({BTC: Decimal(90)}) == Decimal("0.10")
    _, trade = account.apply_fill(fill(2, "t", Side.BUY, PositionSide.SHORT, "1", "90", Purpose.EXIT))
    assert trade is not None
    assert trade.gross == Decimal("0.10")


def test_booking_twice_is_booking_once() -> None:
    account = VirtualAccount("t", "sim")
    first = fill(1, "t", Side.BUY, PositionSide.LONG, "1", "100")
    assert account.apply_fill(first)[0]
    cash = account.cash
    assert not account.apply_fill(first)[0]
    assert account.cash == cash


def test_virtual_position_never_flips() -> None:
    account = VirtualAccount("t", "sim")
    account.apply_fill(fill(1, "t", Side.BUY, PositionSide.LONG, "1", "100"))
    with pytest.raises(InvariantBroken):
        account.apply_fill(fill(2, "t", Side.SELL, PositionSide.LONG, "2", "100", Purpose.STOP))


def test_what_a_trader_does_not_hold_goes_to_the_remainder() -> None:
    books = Books("sim", ["a"])
    books.apply_fill(fill(1, "a", Side.BUY, PositionSide.LONG, "1", "100"))
    booked = books.apply_fill(fill(2, "a", Side.SELL, PositionSide.LONG, "3", "100", Purpose.STOP))
    assert len(booked.trades) == 1
    assert not books.apply_fill(fill(2, "a", Side.SELL, PositionSide.LONG, "3", "100", Purpose.STOP)).traders
    assert books.remainder.lots[BTC, PositionSide.LONG].contracts == -2
    assert books.holdings() == {(BTC, PositionSide.LONG): Decimal(-2)}


def test_liquidation_is_shared_by_the_holders() -> None:
    books = Books("sim", ["a", "b"])
    books.apply_fill(fill(1, "a", Side.BUY, PositionSide.LONG, "1", "100"))
    books.apply_fill(fill(2, "b", Side.BUY, PositionSide.LONG, "3", "100"))
    liquidation = fill(3, UNATTRIBUTED, Side.SELL, PositionSide.LONG, "4", "50", Purpose.LIQUIDATION)
    assert books.apply_fill(liquidation).traders == ("a", "b")
    assert not books.apply_fill(liquidation).traders
    assert not books.holdings()
    assert not books.remainder.lots


def test_funding_goes_to_those_who_held_at_the_time() -> None:
    books = Books("sim", ["a", "b"])
    books.apply_fill(fill(1, "a", Side.BUY, PositionSide.LONG, "1", "100"))
    books.apply_fill(fill(5, "a", Side.SELL, PositionSide.LONG, "1", "100", Purpose.EXIT))
    books.apply_fill(fill(6, "b", Side.BUY, PositionSide.LONG, "7", "100"))
    charge = VenueFunding(
        bill_id="b1",
        symbol=BTC,
        position_side=PositionSide.LONG,
        amount=Decimal("-0.3"),
        contracts=Decimal(1),
        mark_price=None,
        ts_event=3,
    )
    assert [(p.trader_id, p.amount) for p in books.split_funding(charge)] == [("a", Decimal("-0.3"))]


@given(
    parts=st.lists(st.integers(1, 50), min_size=1, max_size=5),
    amount=st.decimals("-100", "100", places=8),
)
def test_parts_of_a_funding_charge_add_up_exactly(parts: list[int], amount: Decimal) -> None:
    books = Books("sim", [f"t{i}" for i in range(len(parts))])
    for i, contracts in enumerate(parts):
        books.apply_fill(fill(i, f"t{i}", Side.BUY, PositionSide.LONG, str(contracts), "100"))
    charge = VenueFunding(
        bill_id="b",
        symbol=BTC,
        position_side=PositionSide.LONG,
        amount=amount,
        contracts=Decimal(sum(parts)),
        mark_price=None,
        ts_event=99,
    )
    payments = books.split_funding(charge)
    assert sum(p.amount for p in payments) == amount
    assert all(p.trader_id != UNATTRIBUTED for p in payments)


Step = tuple[int, PositionSide, bool, int, int]
steps = st.lists(
    st.tuples(
        st.integers(0, 2),
        st.sampled_from(list(PositionSide)),
        st.booleans(),
        st.integers(1, 40),
        st.integers(1, 99_999),
    ),
    max_size=40,
)


@given(steps=steps, mark=st.integers(1, 99_999))
def test_equity_is_capital_plus_everything_booked(steps: list[Step], mark: int) -> None:
    """A venue that keeps one netted cost sees the same equity as the sum of the virtual accounts."""
    books = Books("sim", ["t0", "t1", "t2"])
    books.apply_cash(capital(RESERVE, 1000))
    for i in range(3):
        books.apply_cash(capital(f"t{i}", 100))
    flow = Decimal(1300)  # every payment as it would move a venue's cash if it kept no positions
    held: dict[PositionSide, Decimal] = dict.fromkeys(PositionSide, Decimal(0))
    for number, (trader, side, enters, contracts, cents) in enumerate(steps):
        price = Decimal(cents) / 100
        action = side.entry_side if enters else side.exit_side
        purpose = Purpose.ENTRY if enters else Purpose.STOP
        one = fill(number, f"t{trader}", action, side, str(contracts), price, purpose)
        books.apply_fill(one)
        flow += one.fee - action.sign * one.notional
        held[side] += action.sign * one.contracts
    at = Decimal(mark) / 100
    value = sum((contracts * CT * at for contracts in held.values()), Decimal(0))
    equity = books.equity({BTC: at})
    assert equity is not None
    assert abs(equity - (flow + value)) < Decimal("1e-15")
    holdings = [VenueHolding(BTC, side, contracts, Decimal(0)) for side, contracts in held.items()]
    comparison = books.compare(holdings, flow)
    assert comparison.positions == ()
    assert abs(comparison.cash_difference) < Decimal("1e-15")


def test_comparison_names_what_differs() -> None:
    books = Books("sim", ["a"], netting=True)
    books.apply_fill(fill(1, "a", Side.BUY, PositionSide.LONG, "1", "100"))
    comparison = books.compare([], Decimal(0))
    assert str(comparison) == "BTC-USDT-SWAP net: venue 0, books 1"
