"""Isolated margin in the venue core: a position answers with its own margin, and with nothing else."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.core.market import Side
from engine.exchange.matching.core import MatchingCore
from engine.exchange.matching.records import Liquidated, VenuePosition
from engine.exchange.matching.types import (
    CloseRequest,
    LeverageRequest,
    MarginRequest,
    PosSide,
    TdMode,
    VenueRefusal,
)
from engine.exchange.ports import PositionMode
from tests.test_matching import ACCOUNT, BTC, INSTRUMENT, book, order, venue

D = Decimal
ALONE = TdMode.ISOLATED
FEE, RATE = D("0.0005"), D("0.004")  # taker, and maintenance of the first tier


def move(core: MatchingCore, price: str, ts: int) -> list[Liquidated]:
    """The whole market goes there; who was liquidated."""
    book(core, str(D(price) - D("0.1")), str(D(price) + D("0.1")), ts, size="100000")
    return marked(core, D(price), ts)


def marked(core: MatchingCore, mark: Decimal, ts: int) -> list[Liquidated]:
    return [event for event in core.on_mark(BTC, mark, ts) if isinstance(event, Liquidated)]


def held(core: MatchingCore, td_mode: TdMode = ALONE) -> VenuePosition:
    (found,) = [each for each in core.positions(ACCOUNT) if each.td_mode is td_mode]
    return found


def add(amount: str, pos_side: PosSide = PosSide.NET) -> MarginRequest:
    return MarginRequest(symbol=BTC, pos_side=pos_side, amount=D(amount))


def test_margin_is_put_aside_at_the_opening_and_freed_in_parts() -> None:
    core = venue(balance="1000")
    core.place(ACCOUNT, order(Side.BUY, "100", td_mode=ALONE), 1)
    opened = held(core)
    assert opened.average_price == D("100.1")
    assert opened.margin == D("10.01")  # 100 contracts of 0.01 at 100.1, ten times
    shown = core.balance(ACCOUNT)
    assert (shown.isolated, shown.isolated_unrealised) == (D("10.01"), D("-0.1"))
    assert (shown.initial_margin, shown.margin_ratio) == (D(0), None)
    assert shown.available == shown.cash - D("10.01")
    assert shown.equity == shown.cash + shown.unrealised
    core.place(ACCOUNT, order(Side.SELL, "25", td_mode=ALONE, reduce_only=True), 2)
    assert held(core).margin == D("7.5075")
    core.close_position(ACCOUNT, CloseRequest(symbol=BTC, td_mode=ALONE), 3)
    assert core.balance(ACCOUNT).isolated == 0


def test_a_flip_leaves_the_margin_of_what_it_opened() -> None:
    core = venue(balance="1000")
    core.place(ACCOUNT, order(Side.BUY, "100", td_mode=ALONE), 1)
    book(core, "99.9", "100.1", 2, size="1000")
    core.place(ACCOUNT, order(Side.SELL, "150", "99.9", td_mode=ALONE), 2)
    assert held(core).contracts == -50
    assert held(core).margin == D("4.995")


@given(
    side=st.sampled_from([Side.BUY, Side.SELL]),
    leverage=st.integers(2, 100),
    added=st.decimals(0, 50, places=2),
)
def test_liquidation_price_is_the_formulas_and_fires_there(side: Side, leverage: int, added: Decimal) -> None:
    """okx.md 14.4: long (average - margin / coins) / (1 - (rate + fee)), short with the signs turned."""
    core = venue(balance="10000", leverage=str(leverage))
    core.place(ACCOUNT, order(side, "100", td_mode=ALONE), 1)
    if added:
        core.adjust_margin(ACCOUNT, add(str(added)), 2)
    position = held(core)
    assert position.margin is not None
    assert position.average_price is not None
    expected = (position.average_price - side.sign * position.margin) / (1 - side.sign * (RATE + FEE))
    long = side is Side.BUY
    fires = INSTRUMENT.price_below(expected) if long else INSTRUMENT.price_above(expected)
    if fires <= 0:
        return
    assert position.liquidation_price == pytest.approx(expected, rel=D("1e-20"))
    assert not marked(core, fires + side.sign * INSTRUMENT.tick_size, 3)
    assert marked(core, fires, 4)


def test_a_liquidation_takes_the_margin_and_nothing_else() -> None:
    """The price falls through everything: the account loses this margin, its other position stays."""
    core = venue(balance="1000", mode=PositionMode.LONG_SHORT)
    core.place(ACCOUNT, order(Side.SELL, "10", pos_side=PosSide.SHORT), 1)
    core.place(ACCOUNT, order(Side.BUY, "100", td_mode=ALONE, pos_side=PosSide.LONG), 1)
    kept, _ = core.place(ACCOUNT, order(Side.BUY, "1", "50", pos_side=PosSide.LONG), 2)
    gone, _ = core.place(ACCOUNT, order(Side.BUY, "1", "50", td_mode=ALONE, pos_side=PosSide.LONG), 2)
    before = core.balance(ACCOUNT)
    (liquidated,) = move(core, "60", 3)
    assert liquidated.symbols == (BTC,)
    assert liquidated.insurance > 0
    assert core.balance(ACCOUNT).cash == before.cash - before.isolated
    assert [(each.td_mode, each.contracts) for each in core.positions(ACCOUNT)] == [(TdMode.CROSS, D(-10))]
    assert [each.order_id for each in core.pending_orders(ACCOUNT)] == [kept.order_id]
    assert core.order(ACCOUNT, order_id=gone.order_id).cancel_source == "3"


def test_a_cross_liquidation_leaves_isolated_margin_alone() -> None:
    core = venue(balance="200", leverage="50", mode=PositionMode.LONG_SHORT)
    core.set_leverage(
        ACCOUNT, LeverageRequest(symbol=BTC, leverage=D(2), td_mode=ALONE, pos_side=PosSide.LONG), 1
    )
    core.place(ACCOUNT, order(Side.BUY, "100", td_mode=ALONE, pos_side=PosSide.LONG), 1)
    core.place(ACCOUNT, order(Side.BUY, "3000", pos_side=PosSide.LONG), 1)
    margin = held(core).margin
    (liquidated,) = move(core, "90", 2)
    assert liquidated.insurance > 0
    assert held(core).margin == margin
    assert core.balance(ACCOUNT).cash == margin
    assert core.balance(ACCOUNT).available == 0


def test_margin_is_added_and_taken_within_what_is_free() -> None:
    core = venue(balance="1000")
    with pytest.raises(VenueRefusal, match="59300"):
        core.adjust_margin(ACCOUNT, add("1"), 1)
    core.place(ACCOUNT, order(Side.BUY, "100", td_mode=ALONE), 2)
    core.adjust_margin(ACCOUNT, add("5"), 3)
    assert held(core).margin == D("15.01")
    with pytest.raises(VenueRefusal, match="59303"):
        core.adjust_margin(ACCOUNT, add("985"), 4)
    with pytest.raises(VenueRefusal, match="59301"):  # 100 at 10x asks for 10, and 0.1 was lost
        core.adjust_margin(ACCOUNT, add("-4.92"), 4)
    core.adjust_margin(ACCOUNT, add("-4.91"), 5)
    assert held(core).margin == D("10.1")
    assert core.balance(ACCOUNT).available == core.balance(ACCOUNT).cash - D("10.1")


def test_leverage_of_isolated_margin_is_of_one_side_and_moves_its_margin() -> None:
    core = venue(balance="1000", mode=PositionMode.LONG_SHORT)
    core.place(ACCOUNT, order(Side.BUY, "100", td_mode=ALONE, pos_side=PosSide.LONG), 1)

    def lever(leverage: str, side: PosSide, ts: int) -> None:
        asked = LeverageRequest(symbol=BTC, leverage=D(leverage), td_mode=ALONE, pos_side=side)
        core.set_leverage(ACCOUNT, asked, ts)

    lever("5", PosSide.LONG, 2)
    assert held(core).margin == D("20.02")
    lever("20", PosSide.LONG, 3)
    assert held(core).margin == D("5.005")
    sides = (PosSide.LONG, PosSide.SHORT)
    assert [core.leverage(ACCOUNT, BTC, ALONE, side) for side in sides] == [20, 10]
    assert core.leverage(ACCOUNT, BTC) == 10
    with pytest.raises(VenueRefusal, match="51000"):
        lever("3", PosSide.NET, 4)
    move(core, "96", 5)
    with pytest.raises(VenueRefusal, match="59103"):  # what is left would not carry it
        lever("100", PosSide.LONG, 6)
    restored = MatchingCore.restore(core.snapshot())
    assert held(restored) == held(core)
