"""The books of an account: exact to the last decimal, whatever happens and in which order."""

from decimal import Decimal

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.core.books import RESERVE, Books, VenueHolding
from engine.core.cash import CashFlow, FlowKind, VenueFunding
from engine.core.errors import InvariantBroken
from engine.core.ledger import VirtualAccount
from engine.core.market import Side
from engine.core.orders import UNATTRIBUTED, Fill, PositionSide, Purpose
from engine.core.shares import divide_fill, share_contracts

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


def test_S8_a_holding_that_only_one_side_names_is_a_difference() -> None:
    """The union of both is compared: what one of them lacks is not skipped."""
    books = Books("sim", ["a"])
    books.apply_fill(fill(1, "a", Side.BUY, PositionSide.LONG, "1", "100"))
    other = VenueHolding("ETH-USDT-SWAP", PositionSide.SHORT, Decimal(-3), Decimal(-12))
    assert [str(difference) for difference in books.compare([other], Decimal(0)).positions] == [
        "BTC-USDT-SWAP long: venue 0, books 1",
        "ETH-USDT-SWAP short: venue -3, books 0",
    ]


def test_what_a_person_opened_a_person_closes_first() -> None:
    books = Books("sim", ["a"])
    books.apply_fill(fill(1, "a", Side.BUY, PositionSide.LONG, "2", "100"))
    books.apply_fill(by_hand(2, Side.BUY, "3"))
    booked = books.apply_fill(by_hand(3, Side.SELL, "4"))
    assert (booked.traders, booked.unowned) == (("a",), Decimal(0))
    assert books.holdings() == {(BTC, PositionSide.LONG): Decimal(1)}
    assert not books.remainder.lots


def by_hand(number: int, side: Side, contracts: str) -> Fill:
    """A trade of nobody's on the long side."""
    return fill(number, UNATTRIBUTED, side, PositionSide.LONG, contracts, "100", Purpose.EXTERNAL)


@pytest.mark.parametrize(
    ("sold", "a", "b", "nobody"),
    [
        pytest.param("1", "1", "-1", "0", id="the net position is closed, and what makes it up is a's"),
        pytest.param("3", "1", "-1", "-2", id="beyond it a new position is opened, and it is nobody's"),
    ],
)
def test_S9_in_a_netting_account_a_foreign_trade_closes_the_net_position_only(
    sold: str, a: str, b: str, nobody: str
) -> None:
    books = Books("sim", ["a", "b"], netting=True)
    books.apply_fill(fill(1, "a", Side.BUY, PositionSide.LONG, "2", "100"))
    books.apply_fill(fill(2, "b", Side.SELL, PositionSide.SHORT, "1", "100"))
    books.apply_fill(by_hand(3, Side.SELL, sold))
    assert books.account("a").positions[BTC, PositionSide.LONG].contracts == Decimal(a)
    assert -books.account("b").positions[BTC, PositionSide.SHORT].contracts == Decimal(b)
    lot = books.remainder.lots.get((BTC, None))
    assert (lot.contracts if lot else 0) == Decimal(nobody)
    assert sum(books.holdings().values()) == Decimal(1) - Decimal(sold)


contracts_held = st.integers(1, 10_000).map(lambda lots: Decimal(lots) / 100)


@given(
    held=st.dictionaries(st.sampled_from("abcdef"), contracts_held, min_size=1),
    part=st.integers(1, 100),
)
def test_shares_add_up_and_stay_tradable(held: dict[str, Decimal], part: int) -> None:
    total = sum(held.values(), Decimal(0))
    closed = (total * part / 100).quantize(Decimal("0.01"))
    shares = share_contracts(closed, held)
    assert sum(shares.values(), Decimal(0)) == closed
    for name, share in shares.items():
        assert 0 < share <= held[name]
        assert share == share.quantize(Decimal("0.01"))
        assert abs(share - closed * held[name] / total) < 1


@given(
    parts=st.lists(st.integers(1, 500), min_size=1, max_size=6),
    fee=st.decimals("-100", "100", places=9),
)
def test_the_fee_of_a_divided_fill_is_divided_without_a_rest(parts: list[int], fee: Decimal) -> None:
    whole = fill(1, UNATTRIBUTED, Side.SELL, PositionSide.LONG, Decimal(sum(parts)), "100")
    whole = msgspec.structs.replace(whole, fee=fee)
    divided = divide_fill(whole, [(f"t{i}", Decimal(part)) for i, part in enumerate(parts)])
    assert sum(part.fee for part in divided) == fee
    assert len({part.fill_id for part in divided}) == len(parts)


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
