"""The venue core by example: one promise per test, at its public calls."""

from collections.abc import Callable
from decimal import Decimal

import msgspec
import pytest

from engine.core.errors import CodecError
from engine.core.instruments import Instrument
from engine.core.market import Side
from engine.exchange.matching.core import MatchingCore
from engine.exchange.matching.options import Fees, Latency, MatchingOptions, Tier
from engine.exchange.matching.records import (
    AlgoState,
    BillType,
    Event,
    FillMade,
    Liquidated,
    OrderChanged,
    OrdState,
    VenueFill,
)
from engine.exchange.matching.types import (
    AccountSpec,
    AlgoAmend,
    AlgoRequest,
    AlgoType,
    AmendRequest,
    AttachedAlgo,
    AttachedAmend,
    CloseRequest,
    LeverageRequest,
    OrderRequest,
    OrdType,
    PosSide,
    TdMode,
    TriggerType,
    VenueRefusal,
)
from engine.exchange.ports import PositionMode

D = Decimal
BTC = "BTC-USDT-SWAP"
ACCOUNT = "key"
SECOND = 1_000_000_000
INSTRUMENT = Instrument(
    symbol=BTC,
    base="BTC",
    tick_size=D("0.1"),
    lot_size=D("0.01"),
    min_size=D("0.01"),
    contract_value=D("0.01"),
)


def book(core: MatchingCore, bid: str, ask: str, ts: int = 0, size: str = "100") -> list[Event]:
    """Ten levels a tick apart, each with `size` contracts."""
    steps = [INSTRUMENT.tick_size * step for step in range(10)]
    bids = [(D(bid) - step, D(size)) for step in steps]
    return core.on_book(BTC, bids, [(D(ask) + step, D(size)) for step in steps], ts)


def venue(
    options: MatchingOptions | None = None,
    mode: PositionMode = PositionMode.NET,
    balance: str = "10000",
    leverage: str = "10",
) -> MatchingCore:
    """A market at 100 with one account."""
    core = MatchingCore(options or MatchingOptions())
    core.set_instrument(INSTRUMENT)
    core.open_account(
        AccountSpec(account=ACCOUNT, balance=D(balance), position_mode=mode, leverage=D(leverage))
    )
    book(core, "99.9", "100.1")
    core.on_trade(BTC, D(100), D(1), Side.BUY, 0)
    core.on_mark(BTC, D(100), 0)
    return core


def order(side: Side, size: str, price: str | None = None, **more: object) -> OrderRequest:
    request: dict[str, object] = {
        "symbol": BTC,
        "side": side,
        "size": D(size),
        "ord_type": OrdType.MARKET if price is None else OrdType.LIMIT,
        "price": None if price is None else D(price),
        **more,
    }
    return OrderRequest(**request)  # type: ignore[arg-type]  # fields by name, checked by the struct


def lever(leverage: Decimal, **more: object) -> LeverageRequest:
    return LeverageRequest(symbol=BTC, leverage=leverage, **more)  # type: ignore[arg-type]


def fills_of(events: list[Event]) -> list[VenueFill]:
    return [event.fill for event in events if isinstance(event, FillMade)]


def states_of(events: list[Event]) -> list[OrdState]:
    return [event.order.state for event in events if isinstance(event, OrderChanged)]


# taking


def test_market_order_walks_the_book_level_by_level() -> None:
    core = venue()
    accepted, events = core.place(ACCOUNT, order(Side.BUY, "250"), 1)
    assert [(fill.price, fill.size) for fill in fills_of(events)] == [
        (D("100.1"), D(100)),
        (D("100.2"), D(100)),
        (D("100.3"), D(50)),
    ]
    assert states_of(events) == ["live", "partially_filled", "partially_filled", "filled"]
    now = core.order(ACCOUNT, order_id=accepted.order_id)
    assert now.average_price == D("100.18")
    assert now.fee == -D("0.0005") * D("0.01") * D("25045")
    assert all(fill.exec_type == "T" for fill in fills_of(events))


def test_two_takers_do_not_get_the_same_contracts() -> None:
    core = venue()
    core.place(ACCOUNT, order(Side.BUY, "100"), 1)
    _, events = core.place(ACCOUNT, order(Side.BUY, "1"), 2)
    assert fills_of(events)[0].price == D("100.2")
    book(core, "99.9", "100.1", 3)
    _, events = core.place(ACCOUNT, order(Side.BUY, "1"), 4)
    assert fills_of(events)[0].price == D("100.1")


@pytest.mark.parametrize(
    ("bps", "state", "filled"), [(D(10), OrdState.FILLED, D(1100)), (None, OrdState.CANCELED, D(1000))]
)
def test_beyond_the_visible_depth_slips_or_is_cancelled(
    bps: Decimal | None, state: OrdState, filled: Decimal
) -> None:
    core = venue(MatchingOptions(beyond_depth_bps=bps))
    accepted, events = core.place(ACCOUNT, order(Side.BUY, "1100"), 1)
    now = core.order(ACCOUNT, order_id=accepted.order_id)
    assert (now.state, now.filled) == (state, filled)
    if bps:
        assert fills_of(events)[-1].price == D("101.2")  # 101.0 and 10 bps, rounded against the taker


@pytest.mark.parametrize(
    ("ord_type", "size", "price", "states", "source"),
    [
        (OrdType.IOC, "150", "100.1", ["live", "partially_filled", "canceled"], "14"),
        (OrdType.FOK, "150", "100.1", ["live", "canceled"], "13"),
        (OrdType.FOK, "150", "100.2", ["live", "partially_filled", "filled"], ""),
        (OrdType.POST_ONLY, "1", "100.1", ["live", "canceled"], "31"),
        (OrdType.POST_ONLY, "1", "100.0", ["live"], ""),
        (OrdType.LIMIT, "150", "100.1", ["live", "partially_filled"], ""),
        (OrdType.OPTIMAL_LIMIT_IOC, "50", None, ["live", "filled"], ""),
    ],
)
def test_order_types_end_as_the_venue_says(
    ord_type: OrdType, size: str, price: str | None, states: list[str], source: str
) -> None:
    core = venue()
    accepted, events = core.place(ACCOUNT, order(Side.BUY, size, price, ord_type=ord_type), 1)
    assert states_of(events) == states
    assert core.order(ACCOUNT, order_id=accepted.order_id).cancel_source == source


# making


def test_maker_waits_for_the_queue_before_it() -> None:
    core = venue()
    accepted, _ = core.place(ACCOUNT, order(Side.BUY, "10", "99.9"), 1)
    assert not fills_of(core.on_trade(BTC, D("99.9"), D(60), Side.SELL, 2))
    assert not fills_of(core.on_trade(BTC, D("99.9"), D(50), Side.BUY, 3))  # hits the other side
    made = fills_of(core.on_trade(BTC, D("99.9"), D(45), Side.SELL, 4))
    assert [(fill.price, fill.size, fill.exec_type) for fill in made] == [(D("99.9"), D(5), "M")]
    made = fills_of(core.on_trade(BTC, D("99.8"), D("0.01"), Side.SELL, 5))
    assert [(fill.price, fill.size) for fill in made] == [(D("99.9"), D(5))]
    assert core.order(ACCOUNT, order_id=accepted.order_id).fee == -D("0.0002") * D("0.1") * D("99.9")


def test_own_orders_at_one_price_share_a_trade_in_time_order() -> None:
    core = venue()
    for ts in (1, 2):
        core.place(ACCOUNT, order(Side.BUY, "10", "100.0"), ts)
    made = fills_of(core.on_trade(BTC, D("100.0"), D(15), Side.SELL, 3))
    assert [fill.size for fill in made] == [D(10), D(5)]


def test_book_that_crosses_a_resting_order_fills_it_at_its_own_price() -> None:
    core = venue()
    core.place(ACCOUNT, order(Side.BUY, "150", "99.9"), 1)
    made = fills_of(book(core, "99.7", "99.8", 2, size="50"))
    assert [(fill.price, fill.size) for fill in made] == [(D("99.9"), D(100))]


def test_leaving_the_queue_shortens_it_but_joining_does_not_lengthen_it() -> None:
    core = venue()
    core.place(ACCOUNT, order(Side.BUY, "10", "99.9"), 1)
    book(core, "99.9", "100.1", 2, size="30")
    book(core, "99.9", "100.1", 3, size="500")
    made = fills_of(core.on_trade(BTC, D("99.9"), D(40), Side.SELL, 4))
    assert [fill.size for fill in made] == [D(10)]


def test_latency_keeps_an_order_from_the_past_and_a_late_cancel_from_a_fill() -> None:
    core = venue(MatchingOptions(latency=Latency(place_ns=10, cancel_ns=50)))
    accepted, events = core.place(ACCOUNT, order(Side.BUY, "1", "100.0"), 100)
    assert states_of(events) == ["live"]
    assert not fills_of(core.on_trade(BTC, D("99.9"), D(5), Side.SELL, 109))
    core.cancel(ACCOUNT, BTC, 111, order_id=accepted.order_id)
    made = fills_of(core.on_trade(BTC, D("99.9"), D(5), Side.SELL, 120))
    assert [fill.price for fill in made] == [D("100.0")]
    assert not states_of(core.advance(200))
    assert core.order(ACCOUNT, order_id=accepted.order_id).state is OrdState.FILLED


def test_market_order_in_flight_meets_the_book_of_its_arrival() -> None:
    core = venue(MatchingOptions(latency=Latency(place_ns=10)))
    core.place(ACCOUNT, order(Side.BUY, "1"), 100)
    book(core, "101.9", "102.1", 105)
    made = fills_of(book(core, "89.9", "90.1", 111))
    assert [(fill.price, fill.ts) for fill in made] == [(D("102.1"), 110)]


# refusals


@pytest.mark.parametrize(
    ("request_", "code"),
    [
        (order(Side.BUY, "1", symbol="NO-USDT-SWAP"), "51001"),
        (order(Side.BUY, "0"), "51000"),
        (order(Side.BUY, "0.001"), "51020"),
        (order(Side.BUY, "0.015"), "51121"),
        (order(Side.BUY, "1", "100.05"), "51150"),
        (order(Side.BUY, "1", "106"), "51006"),
        (order(Side.SELL, "1", "94"), "51006"),
        (order(Side.BUY, "1", ord_type=OrdType.LIMIT), "51204"),
        (order(Side.BUY, "1", client_order_id="a-b"), "51000"),
        (order(Side.BUY, "1", tag="a" * 17), "51000"),
        (order(Side.BUY, "1", pos_side=PosSide.LONG), "51000"),
        (order(Side.BUY, "100000"), "51008"),
        (order(Side.SELL, "1", reduce_only=True), "51169"),
        (order(Side.BUY, "1", "100.0", attached=(AttachedAlgo(tp_trigger=D(99)),)), "51046"),
        (order(Side.BUY, "1", "100.0", attached=(AttachedAlgo(sl_trigger=D(101)),)), "51047"),
        (order(Side.SELL, "1", "100.0", attached=(AttachedAlgo(tp_trigger=D(101)),)), "51048"),
        (order(Side.SELL, "1", "100.0", attached=(AttachedAlgo(sl_trigger=D(99)),)), "51049"),
        (order(Side.BUY, "1", attached=(AttachedAlgo(tp_trigger=D(99)),)), "51050"),
        (order(Side.SELL, "1", attached=(AttachedAlgo(sl_trigger=D(99)),)), "51053"),
    ],
)
def test_refusals_carry_the_venues_code_and_change_nothing(request_: OrderRequest, code: str) -> None:
    core = venue()
    before = core.snapshot()
    with pytest.raises(VenueRefusal) as refusal:
        core.place(ACCOUNT, request_, 0)
    assert refusal.value.code == code
    assert core.snapshot() == before


def test_pending_orders_are_bounded_for_each_instrument() -> None:
    core = venue(balance="1000000")
    core.set_instrument(msgspec.structs.replace(INSTRUMENT, symbol="ETH-USDT-SWAP"))
    core.on_mark("ETH-USDT-SWAP", D(100), 0)
    for _ in range(500):
        core.place(ACCOUNT, order(Side.BUY, "1", "99"), 1)
    with pytest.raises(VenueRefusal, match="51174"):
        core.place(ACCOUNT, order(Side.BUY, "1", "99"), 2)
    core.place(ACCOUNT, order(Side.BUY, "1", "99", symbol="ETH-USDT-SWAP"), 3)


def test_partial_fills_leave_half_to_every_execution_of_taker_and_maker() -> None:
    core = venue()
    core.set_partial_fills(on=True)
    taker, events = core.place(ACCOUNT, order(Side.BUY, "8", "101"), 1)
    assert [fill.size for fill in fills_of(events)] == [D(4)]
    sizes = [fill.size for ts in range(2, 16) for fill in fills_of(book(core, "100.9", "101", ts))]
    assert sum(sizes) == D(4)
    assert sizes == sorted(sizes, reverse=True)
    assert len(sizes) > 2
    assert core.order(ACCOUNT, order_id=taker.order_id).state is OrdState.FILLED


def test_client_id_is_unique_among_pending_orders_only() -> None:
    core = venue()
    first, _ = core.place(ACCOUNT, order(Side.BUY, "1", "99", client_order_id="a"), 1)
    with pytest.raises(VenueRefusal, match="51016"):
        core.place(ACCOUNT, order(Side.BUY, "1", "99", client_order_id="a"), 2)
    core.cancel(ACCOUNT, BTC, 3, client_order_id="a")
    with pytest.raises(VenueRefusal, match="51400"):
        core.cancel(ACCOUNT, BTC, 4, order_id=first.order_id)
    second, _ = core.place(ACCOUNT, order(Side.BUY, "1", "99", client_order_id="a"), 5)
    assert core.order(ACCOUNT, client_order_id="a").order_id == second.order_id
    with pytest.raises(VenueRefusal, match="51603"):
        core.order(ACCOUNT, order_id="7")


# exits


def test_reduce_only_beyond_the_position_is_refused_whole_and_never_flips() -> None:
    core = venue()
    core.place(ACCOUNT, order(Side.BUY, "5"), 1)
    with pytest.raises(VenueRefusal, match="51112"):
        core.place(ACCOUNT, order(Side.SELL, "9", "101", reduce_only=True), 2)
    resting, _ = core.place(ACCOUNT, order(Side.SELL, "5", "101", reduce_only=True), 2)
    with pytest.raises(VenueRefusal, match="51170"):
        core.place(ACCOUNT, order(Side.BUY, "1", reduce_only=True), 3)
    core.place(ACCOUNT, order(Side.SELL, "3"), 4)
    trimmed = core.order(ACCOUNT, order_id=resting.order_id)
    assert (trimmed.size, trimmed.amend_source) == (D(2), "4")
    core.place(ACCOUNT, order(Side.SELL, "2"), 5)
    ended = core.order(ACCOUNT, order_id=resting.order_id)
    assert (ended.state, ended.cancel_source) == (OrdState.CANCELED, "2")
    assert not core.positions(ACCOUNT)


def test_long_short_mode_holds_both_sides_and_refuses_to_close_too_much() -> None:
    core = venue(mode=PositionMode.LONG_SHORT)
    core.place(ACCOUNT, order(Side.BUY, "5", pos_side=PosSide.LONG), 1)
    core.place(ACCOUNT, order(Side.SELL, "3", pos_side=PosSide.SHORT), 2)
    held = {position.pos_side: position.contracts for position in core.positions(ACCOUNT)}
    assert held == {PosSide.LONG: 5, PosSide.SHORT: -3}
    with pytest.raises(VenueRefusal, match="51112"):
        core.place(ACCOUNT, order(Side.SELL, "6", pos_side=PosSide.LONG), 3)
    core.place(ACCOUNT, order(Side.SELL, "5", pos_side=PosSide.LONG), 4)
    with pytest.raises(VenueRefusal, match="51169"):
        core.place(ACCOUNT, order(Side.SELL, "1", pos_side=PosSide.LONG), 5)


def test_net_flip_realises_the_closed_part_and_opens_the_rest_at_the_fill() -> None:
    core = venue()
    core.place(ACCOUNT, order(Side.BUY, "2"), 1)
    _, events = core.place(ACCOUNT, order(Side.SELL, "5"), 2)
    position = core.positions(ACCOUNT)[0]
    assert (position.contracts, position.average_price) == (D(-3), D("99.9"))
    assert fills_of(events)[0].pnl == (D("99.9") - D("100.1")) * 2 * D("0.01")
    assert position.pnl == 0
    closed = core.position_history(ACCOUNT)[0]
    assert (closed.direction, closed.open_average, closed.close_average) == (
        PosSide.LONG,
        D("100.1"),
        D("99.9"),
    )


def test_close_position_waits_for_pending_exits_or_cancels_them() -> None:
    core = venue()
    with pytest.raises(VenueRefusal, match="51023"):
        core.close_position(ACCOUNT, CloseRequest(symbol=BTC), 1)
    core.place(ACCOUNT, order(Side.SELL, "4"), 1)
    core.place(ACCOUNT, order(Side.BUY, "1", "98", reduce_only=True), 2)
    with pytest.raises(VenueRefusal, match="51115"):
        core.close_position(ACCOUNT, CloseRequest(symbol=BTC), 3)
    core.close_position(ACCOUNT, CloseRequest(symbol=BTC, auto_cancel=True, client_order_id="c"), 4)
    assert not core.positions(ACCOUNT)
    assert not core.pending_orders(ACCOUNT)
    assert core.order(ACCOUNT, client_order_id="c").filled == 4


# amendments and the dead man's switch


def test_amended_price_may_take_and_a_smaller_size_keeps_the_place() -> None:
    core = venue()
    resting, _ = core.place(ACCOUNT, order(Side.BUY, "10", "99.9"), 1)
    core.on_trade(BTC, D("99.9"), D(100), Side.SELL, 2)
    core.amend(ACCOUNT, AmendRequest(symbol=BTC, order_id=resting.order_id, size=D(8), req_id="r"), 3)
    amended = core.order(ACCOUNT, order_id=resting.order_id)
    assert (amended.size, amended.amend_source, amended.amend_result, amended.req_id) == (D(8), "1", "0", "r")
    made = fills_of(core.on_trade(BTC, D("99.9"), D(3), Side.SELL, 4))
    assert [fill.size for fill in made] == [D(3)]
    events = core.amend(ACCOUNT, AmendRequest(symbol=BTC, order_id=resting.order_id, price=D("100.2")), 5)
    assert [(fill.price, fill.size, fill.exec_type) for fill in fills_of(events)] == [(D("100.1"), D(5), "T")]
    with pytest.raises(VenueRefusal, match="51503"):
        core.amend(ACCOUNT, AmendRequest(symbol=BTC, order_id=resting.order_id, size=D(9)), 6)


def test_failed_amend_leaves_the_order_or_ends_it_on_wish() -> None:
    core = venue()
    post, _ = core.place(ACCOUNT, order(Side.BUY, "1", "99", ord_type=OrdType.POST_ONLY), 1)
    crossing = AmendRequest(symbol=BTC, order_id=post.order_id, price=D("100.1"))
    with pytest.raises(VenueRefusal, match="51511"):
        core.amend(ACCOUNT, crossing, 2)
    assert core.order(ACCOUNT, order_id=post.order_id).price == 99
    ending = AmendRequest(symbol=BTC, order_id=post.order_id, price=D("100.1"), cancel_on_fail=True)
    core.amend(ACCOUNT, ending, 3)
    assert core.order(ACCOUNT, order_id=post.order_id).state is OrdState.CANCELED


def test_attached_triggers_can_be_amended_before_the_fill() -> None:
    core = venue()
    wanted = order(Side.BUY, "1", "99", attached=(AttachedAlgo(client_id="s", sl_trigger=D(95)),))
    resting, _ = core.place(ACCOUNT, wanted, 1)
    change = AttachedAmend(client_id="s", sl_trigger=D(96))
    core.amend(ACCOUNT, AmendRequest(symbol=BTC, order_id=resting.order_id, attached=(change,)), 2)
    core.on_trade(BTC, D("98.9"), D(1), Side.SELL, 3)
    assert core.pending_algos(ACCOUNT)[0].request.sl_trigger == 96


def test_dead_mans_switch_cancels_orders_unless_it_is_renewed() -> None:
    core = venue()
    resting, _ = core.place(ACCOUNT, order(Side.BUY, "1", "99"), 1)
    assert core.cancel_all_after(ACCOUNT, 10, 0) == 10 * SECOND + 1
    assert core.cancel_all_after(ACCOUNT, 10, 5 * SECOND) == 15 * SECOND
    assert not core.advance(15 * SECOND - 1)
    core.advance(16 * SECOND)
    ended = core.order(ACCOUNT, order_id=resting.order_id)
    assert (ended.cancel_source, ended.ts_updated) == ("20", 15 * SECOND)


def test_what_time_caused_is_not_lost_when_the_request_is_refused() -> None:
    core = venue(MatchingOptions(latency=Latency(place_ns=10)))
    core.place(ACCOUNT, order(Side.BUY, "1"), 100)
    with pytest.raises(VenueRefusal):
        core.place(ACCOUNT, order(Side.BUY, "0"), 200)
    assert len(fills_of(core.advance(201))) == 1


# stops and targets


def protected(core: MatchingCore, **attached: object) -> None:
    """A long of 10 contracts with an attached stop (and target)."""
    algo = AttachedAlgo(client_id="s", **attached)  # type: ignore[arg-type]  # fields by name
    core.place(ACCOUNT, order(Side.BUY, "10", attached=(algo,)), 1)


def test_attached_algo_comes_with_the_fill_and_has_its_size() -> None:
    core = venue(MatchingOptions(beyond_depth_bps=None))
    wanted = order(Side.BUY, "150", "100.1", attached=(AttachedAlgo(sl_trigger=D(95), tp_trigger=D(110)),))
    resting, _ = core.place(ACCOUNT, wanted, 1)
    assert not core.pending_algos(ACCOUNT)
    core.cancel(ACCOUNT, BTC, 2, order_id=resting.order_id)
    algo = core.pending_algos(ACCOUNT)[0]
    assert (algo.request.algo_type, algo.request.size, algo.request.side) == (AlgoType.OCO, D(100), Side.SELL)
    assert algo.parent_order_id == resting.order_id
    core.place(ACCOUNT, order(Side.BUY, "1", "90", attached=(AttachedAlgo(sl_trigger=D(80)),)), 3)
    core.cancel(ACCOUNT, BTC, 4, order_id=core.pending_orders(ACCOUNT)[0].order_id)
    assert len(core.pending_algos(ACCOUNT)) == 1


def test_T4_stop_fills_at_the_first_trade_beyond_it() -> None:
    core = venue()
    protected(core, sl_trigger=D(95))
    assert not fills_of(core.on_trade(BTC, D("95.1"), D(50), Side.SELL, 2))
    made = fills_of(core.on_trade(BTC, D("90.0"), D(50), Side.SELL, 3))
    assert [(fill.price, fill.size, fill.side) for fill in made] == [(D("90.0"), D(10), Side.SELL)]
    algo = core.algo_history(ACCOUNT)[0]
    assert (algo.state, algo.actual_side, algo.actual_price) == (AlgoState.EFFECTIVE, "sl", D("90.0"))
    sent = core.order(ACCOUNT, order_id=algo.order_id)
    assert (sent.source, sent.algo_id, sent.algo_client_id) == ("7", algo.algo_id, "s")
    assert not core.positions(ACCOUNT)


def test_first_half_of_a_pair_that_fires_ends_the_other() -> None:
    core = venue()
    protected(core, sl_trigger=D(95), tp_trigger=D(105), tp_price=D(104))
    core.on_trade(BTC, D(105), D(5), Side.BUY, 2)
    assert core.algo_history(ACCOUNT)[0].actual_side == "tp"
    assert not core.pending_algos(ACCOUNT)
    assert core.pending_orders(ACCOUNT)[0].price == 104
    assert not fills_of(core.on_trade(BTC, D(94), D(5), Side.SELL, 3))


@pytest.mark.parametrize("kind", list(TriggerType))
def test_algo_watches_the_price_it_names(kind: TriggerType) -> None:
    core = venue()
    core.on_index(BTC, D(100), 1)
    protected(core, sl_trigger=D(95), sl_trigger_type=kind)
    shows: dict[TriggerType, Callable[[int], list[Event]]] = {
        TriggerType.LAST: lambda ts: core.on_trade(BTC, D(95), D(1), Side.SELL, ts),
        TriggerType.MARK: lambda ts: core.on_mark(BTC, D(95), ts),
        TriggerType.INDEX: lambda ts: core.on_index(BTC, D(95), ts),
    }
    for ts, (other, show) in enumerate(shows.items(), start=2):
        if other is not kind:
            assert not fills_of(show(ts))
    assert sum(fill.size for fill in fills_of(shows[kind](9))) == 10


@pytest.mark.parametrize("follows", [True, False])
def test_attached_algo_goes_with_the_position_if_the_venue_does_so(follows: bool) -> None:
    core = venue(MatchingOptions(cancel_attached_when_flat=follows))
    protected(core, sl_trigger=D(95))
    core.place(ACCOUNT, order(Side.SELL, "10"), 2)
    assert len(core.pending_algos(ACCOUNT)) == (0 if follows else 1)
    assert not fills_of(core.on_trade(BTC, D(94), D(1), Side.SELL, 3))
    state = core.algo_history(ACCOUNT)[0]
    assert (state.state, state.fail_code) == (
        (AlgoState.CANCELED, "") if follows else (AlgoState.ORDER_FAILED, "51169")
    )


def stop(**more: object) -> AlgoRequest:
    request: dict[str, object] = {"symbol": BTC, "side": Side.SELL, "algo_type": AlgoType.CONDITIONAL}
    return AlgoRequest(**{**request, **more})  # type: ignore[arg-type]  # fields by name


def test_close_fraction_closes_what_the_position_is_by_then() -> None:
    core = venue()
    core.place(ACCOUNT, order(Side.BUY, "3"), 1)
    whole = stop(close_fraction=D(1), reduce_only=True, sl_trigger=D(95))
    core.place_algo(ACCOUNT, whole, 2)
    with pytest.raises(VenueRefusal, match="51088"):
        core.place_algo(ACCOUNT, whole, 3)
    core.place(ACCOUNT, order(Side.BUY, "4"), 4)
    made = fills_of(core.on_trade(BTC, D(94), D(50), Side.SELL, 5))
    assert sum(fill.size for fill in made) == 7


def test_stop_is_amended_in_place() -> None:
    core = venue()
    core.place(ACCOUNT, order(Side.BUY, "3"), 1)
    algo, _ = core.place_algo(ACCOUNT, stop(size=D(3), sl_trigger=D(95), client_id="s"), 2)
    change = AlgoAmend(symbol=BTC, client_id="s", size=D(2), sl_trigger=D(97), tp_trigger=D(110))
    core.amend_algo(ACCOUNT, change, 3)
    now = core.algo(ACCOUNT, algo_id=algo.algo_id).request
    assert (now.size, now.sl_trigger, now.tp_trigger, now.algo_type) == (D(2), D(97), D(110), AlgoType.OCO)
    core.on_trade(BTC, D(97), D(50), Side.SELL, 4)
    assert core.positions(ACCOUNT)[0].contracts == 1
    with pytest.raises(VenueRefusal, match="51503"):
        core.amend_algo(ACCOUNT, change, 5)
    with pytest.raises(VenueRefusal, match="51400"):
        core.cancel_algo(ACCOUNT, BTC, 6, client_id="s")


@pytest.mark.parametrize(
    ("request_", "code"),
    [
        (stop(sl_trigger=D(95)), "51000"),
        (stop(size=D(1)), "51000"),
        (stop(size=D(1), sl_trigger=D(101)), "51280"),
        (stop(size=D(1), tp_trigger=D(99)), "51279"),
        (stop(size=D(1), side=Side.BUY, sl_trigger=D(99)), "51278"),
        (stop(size=D(1), side=Side.BUY, tp_trigger=D(101)), "51277"),
        (stop(size=D(1), algo_type=AlgoType.OCO, sl_trigger=D(95)), "51000"),
        (stop(size=D(1), algo_type=AlgoType.TRIGGER), "51000"),
        (stop(size=D(1), algo_type=AlgoType.MOVE_ORDER_STOP), "50015"),
        (stop(close_fraction=D(1), sl_trigger=D(95)), "51328"),
        (stop(close_fraction=D(1), reduce_only=True, sl_trigger=D(95), sl_price=D(94)), "51330"),
    ],
)
def test_algo_refusals_carry_the_venues_code(request_: AlgoRequest, code: str) -> None:
    core = venue()
    with pytest.raises(VenueRefusal) as refusal:
        core.place_algo(ACCOUNT, request_, 0)
    assert refusal.value.code == code


def test_trigger_order_opens_and_fails_without_margin() -> None:
    core = venue()
    trigger = stop(algo_type=AlgoType.TRIGGER, side=Side.BUY, trigger_price=D(102), size=D(5))
    core.place_algo(ACCOUNT, trigger, 1)
    core.place_algo(
        ACCOUNT, stop(algo_type=AlgoType.TRIGGER, side=Side.BUY, trigger_price=D(102), size=D(99999)), 1
    )
    core.on_trade(BTC, D(102), D(5), Side.BUY, 2)
    assert core.positions(ACCOUNT)[0].contracts == 5
    assert [(algo.state, algo.fail_code) for algo in core.algo_history(ACCOUNT)] == [
        (AlgoState.ORDER_FAILED, "51008"),
        (AlgoState.EFFECTIVE, ""),
    ]


def test_trailing_stop_follows_the_best_price_and_never_back() -> None:
    core = venue()
    core.place(ACCOUNT, order(Side.BUY, "5"), 1)
    trail = stop(
        size=D(5),
        algo_type=AlgoType.MOVE_ORDER_STOP,
        callback_ratio=D("0.01"),
        active_price=D(102),
        reduce_only=True,
    )
    core.place_algo(ACCOUNT, trail, 1)
    for price in ("98", "101.9"):  # not active yet
        core.on_trade(BTC, D(price), D(5), Side.BUY, 2)
    for price, trigger in (("102", "100.98"), ("110", "108.9"), ("109", "108.9")):
        core.on_trade(BTC, D(price), D(5), Side.BUY, 3)
        assert core.pending_algos(ACCOUNT)[0].move_trigger == D(trigger)
    made = fills_of(core.on_trade(BTC, D("108.8"), D(5), Side.SELL, 4))
    assert sum(fill.size for fill in made) == 5
    assert core.order_history(ACCOUNT)[0].source == "25"


# money


@pytest.mark.parametrize(("side", "rate", "sign"), [(Side.BUY, "0.0001", -1), (Side.SELL, "0.0001", 1)])
def test_T3_long_pays_positive_funding_and_short_receives_it(side: Side, rate: str, sign: int) -> None:
    core = venue()
    core.place(ACCOUNT, order(side, "100"), 1)
    cash = core.balance(ACCOUNT).cash
    core.on_mark(BTC, D(120), 2)
    core.on_funding(BTC, D(rate), 3)
    paid = sign * D("100") * D("0.01") * 120 * D(rate)
    assert core.balance(ACCOUNT).cash - cash == paid
    bill = core.bills(ACCOUNT)[0]
    assert (bill.bill_type, bill.sub_type, bill.amount) == (
        BillType.FUNDING,
        "173" if sign < 0 else "174",
        paid,
    )
    assert core.positions(ACCOUNT)[0].funding == paid


def test_margin_numbers_equal_a_recorded_account() -> None:
    """One contract of BTC-USDT-SWAP at 10x (okx.md 14.3): every figure is the venue's own."""
    core = MatchingCore(MatchingOptions(fees=Fees(maker=D(0), taker=D("0.0005"))))
    core.set_instrument(INSTRUMENT)
    core.open_account(AccountSpec(account=ACCOUNT, balance=D("200.5137143201668551"), leverage=D(10)))
    core.on_book(BTC, [(D("43683.9"), D(9))], [(D("43684.1"), D(9))], 0)
    core.on_mark(BTC, D(43684), 0)
    core.place(ACCOUNT, order(Side.BUY, "1", "43684"), 1)
    core.on_trade(BTC, D("43683.9"), D(1), Side.SELL, 2)
    core.on_mark(BTC, D("43691.043152768407"), 3)
    position = core.positions(ACCOUNT)[0]
    assert position.average_price == 43684
    assert position.margin_ratio is not None
    assert position.liquidation_price is not None
    assert float(position.initial_margin) == pytest.approx(43.69104315276841, rel=1e-12)
    assert float(position.maintenance_margin) == pytest.approx(1.7476417261107364, rel=1e-12)
    assert float(position.unrealised) == pytest.approx(0.07043152768407, rel=1e-12)
    assert float(position.unrealised_ratio or 0) == pytest.approx(0.0016122957532283, rel=1e-10)
    assert float(position.margin_ratio) == pytest.approx(102.0214932314597, rel=1e-12)
    assert float(position.liquidation_price) == pytest.approx(23739.456120525683, rel=1e-12)


def test_pending_orders_hold_margin_until_they_end() -> None:
    core = venue(balance="100")
    resting, _ = core.place(ACCOUNT, order(Side.BUY, "900", "100"), 1)  # 900 USDT at 10x, and its fee
    held = core.balance(ACCOUNT)
    assert held.order_margin == 90 + D("0.45")
    with pytest.raises(VenueRefusal, match="51008"):
        core.place(ACCOUNT, order(Side.BUY, "100", "100"), 2)
    core.cancel(ACCOUNT, BTC, 3, order_id=resting.order_id)
    assert core.balance(ACCOUNT).available == 100
    buy, sell = core.max_size(ACCOUNT, BTC, D(100))
    core.place(ACCOUNT, order(Side.BUY, str(buy), "100"), 4)
    assert buy == sell == D("995.02")


def test_liquidation_closes_everything_at_the_liquidation_price_and_not_before() -> None:
    core = venue(balance="200", leverage="50")
    core.place(ACCOUNT, order(Side.BUY, "5000"), 1)
    core.place(ACCOUNT, order(Side.BUY, "100", "98"), 2)
    limit = core.positions(ACCOUNT)[0].liquidation_price
    assert limit is not None
    above = INSTRUMENT.price_above(limit) + D("0.1")
    assert not [e for e in core.on_mark(BTC, above, 3) if isinstance(e, Liquidated)]
    events = core.on_mark(BTC, INSTRUMENT.price_below(limit), 4)
    assert [event.symbols for event in events if isinstance(event, Liquidated)] == [(BTC,)]
    assert not core.positions(ACCOUNT)
    assert not core.pending_orders(ACCOUNT)
    assert core.position_history(ACCOUNT)[0].liquidated
    assert all(int(fill.trade_id) < 0 and fill.exec_type == "" for fill in fills_of(events))
    sources = {order_.cancel_source for order_ in core.order_history(ACCOUNT)}
    assert "3" in sources
    assert core.balance(ACCOUNT).cash >= 0


STEPS = MatchingOptions(
    tiers=tuple(
        Tier(max_notional=most, maintenance_rate=D(rate), max_leverage=D(100))
        for most, rate in ((D(1000), "0.004"), (D(2000), "0.01"), (D(3000), "0.05"), (None, "0.1"))
    )
)


@pytest.mark.parametrize("td_mode", list(TdMode))
def test_a_large_position_is_liquidated_tier_by_tier_until_it_carries_its_risk(td_mode: TdMode) -> None:
    core = venue(STEPS, balance="430", leverage="9")
    book(core, "99.9", "100", 1, size="10000")
    core.place(ACCOUNT, order(Side.BUY, "3700", td_mode=td_mode), 1)
    core.place(ACCOUNT, order(Side.BUY, "0.01", "90", td_mode=td_mode), 2)
    book(core, "98", "98.1", 3, size="10000")
    events = core.on_mark(BTC, D(98), 3)
    assert [event.symbols for event in events if isinstance(event, Liquidated)] == [(BTC,)]
    (position,) = core.positions(ACCOUNT)
    assert position.contracts == D("3061.22")  # the most that is no more than 3,000 at 98
    assert position.margin_ratio is not None
    assert position.margin_ratio > 1
    assert not core.pending_orders(ACCOUNT)
    newest = core.order_history(ACCOUNT)[0]
    assert (newest.category, newest.size) == ("partial_liquidation", D("638.78"))
    assert not core.position_history(ACCOUNT)
    book(core, "80", "80.1", 4, size="10000")
    core.on_mark(BTC, D(80), 4)  # no tier helps any more
    assert not core.positions(ACCOUNT)
    assert core.order_history(ACCOUNT)[0].category == "full_liquidation"
    assert core.position_history(ACCOUNT)[0].liquidated
    assert core.balance(ACCOUNT).cash >= 0


def test_bankruptcy_is_paid_by_the_insurance_fund() -> None:
    core = venue(balance="200", leverage="50")
    core.place(ACCOUNT, order(Side.BUY, "5000"), 1)
    core.on_trade(BTC, D(80), D(1), Side.SELL, 2)
    events = core.on_mark(BTC, D(80), 3)
    liquidated = next(event for event in events if isinstance(event, Liquidated))
    assert liquidated.insurance > 0
    assert core.balance(ACCOUNT).cash == 0
    assert core.bills(ACCOUNT)[0].amount == liquidated.insurance


def test_leverage_and_position_mode_change_only_when_nothing_stands_against_it() -> None:
    core = venue(balance="200", leverage="50")
    core.set_leverage(ACCOUNT, lever(D(20)), 1)
    assert core.leverage(ACCOUNT, BTC) == 20
    for leverage, code in ((D(101), "59102"), (D("0.5"), "59105")):
        with pytest.raises(VenueRefusal, match=code):
            core.set_leverage(ACCOUNT, lever(leverage), 2)
    resting, _ = core.place(ACCOUNT, order(Side.BUY, "1", "99"), 3)
    with pytest.raises(VenueRefusal, match="59107"):
        core.set_leverage(ACCOUNT, lever(D(10)), 4)
    with pytest.raises(VenueRefusal, match="59000"):
        core.set_position_mode(ACCOUNT, PositionMode.LONG_SHORT, 4)
    core.cancel(ACCOUNT, BTC, 5, order_id=resting.order_id)
    core.place(ACCOUNT, order(Side.BUY, "3000"), 6)
    with pytest.raises(VenueRefusal, match="59103"):
        core.set_leverage(ACCOUNT, lever(D(2)), 7)
    core.close_position(ACCOUNT, CloseRequest(symbol=BTC), 8)
    core.set_position_mode(ACCOUNT, PositionMode.LONG_SHORT, 9)
    assert core.position_mode(ACCOUNT) is PositionMode.LONG_SHORT


def test_histories_keep_the_newest_only() -> None:
    core = venue(MatchingOptions(history_limit=20))
    for ts in range(1, 100):
        core.place(ACCOUNT, order(Side.BUY if ts % 2 else Side.SELL, "0.01", client_order_id=f"c{ts}"), ts)
    for kept in (core.order_history(ACCOUNT), core.fills(ACCOUNT), core.bills(ACCOUNT)):
        assert len(kept) == 20
    assert core.order_history(ACCOUNT)[0].client_order_id == "c99"
    with pytest.raises(VenueRefusal, match="51603"):
        core.order(ACCOUNT, client_order_id="c1")


def test_leverage_is_bounded_by_the_tier_of_the_position() -> None:
    core = venue(balance="1000000", leverage="100")
    with pytest.raises(VenueRefusal, match="51004"):
        core.place(ACCOUNT, order(Side.BUY, "1100000", "100"), 1)
    core.set_leverage(ACCOUNT, lever(D(75)), 2)
    core.place(ACCOUNT, order(Side.BUY, "1100000", "100"), 3)


def test_account_level_and_suspension_refuse_orders() -> None:
    core = venue()
    core.open_account(AccountSpec(account="spot", balance=D(10), level=1))
    core.open_account(AccountSpec(account="multi", balance=D(10), level=3))
    with pytest.raises(VenueRefusal, match="51010"):
        core.place("spot", order(Side.BUY, "1"), 1)
    with pytest.raises(VenueRefusal, match="50072"):
        core.place("multi", order(Side.BUY, "1", td_mode=TdMode.ISOLATED), 1)
    with pytest.raises(VenueRefusal, match="50119"):
        core.balance("nobody")
    core.set_instrument(msgspec.structs.replace(INSTRUMENT, live=False))
    with pytest.raises(VenueRefusal, match="51022"):
        core.place(ACCOUNT, order(Side.BUY, "1"), 1)


def test_amend_in_flight_changes_only_what_is_still_there() -> None:
    core = venue(MatchingOptions(latency=Latency(amend_ns=10)))
    resting, _ = core.place(ACCOUNT, order(Side.BUY, "1", "100.0"), 1)
    change = AmendRequest(symbol=BTC, order_id=resting.order_id, price=D("99.0"))
    core.amend(ACCOUNT, change, 5)
    made = fills_of(core.on_trade(BTC, D("99.9"), D(5), Side.SELL, 14))
    assert [fill.price for fill in made] == [D("100.0")]
    assert not core.advance(20)


def test_transfer_changes_cash_with_a_bill() -> None:
    core = venue()
    core.deposit(ACCOUNT, D(-250), 1)
    bill = core.bills(ACCOUNT)[0]
    assert (bill.bill_type, bill.amount, bill.balance) == (BillType.TRANSFER, D(-250), D(9750))


def test_bytes_that_are_no_snapshot_are_refused() -> None:
    with pytest.raises(CodecError):
        MatchingCore.restore(b"\x93garbage")
