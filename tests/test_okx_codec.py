"""Bytes of OKX to events and back: what every codec promises, with frames of our own and mutated ones."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.core.cash import VenueFunding
from engine.core.errors import CodecError
from engine.core.market import (
    BookTop,
    Candle,
    FundingRate,
    IndexPrice,
    Level,
    MarketEvent,
    MarkPrice,
    OpenInterest,
    PriceLimits,
    Side,
    Ticker,
    Trade,
)
from engine.core.orders import OrderState, PositionSide
from engine.exchange.okx import (
    account_wire,
    dispatch,
    frames,
    market_readers,
    market_wire,
    numbers,
    orders_wire,
    reference_wire,
)

FIXTURES = Path(__file__).parent / "fixtures" / "okx"
PUBLIC = (FIXTURES / "public.jsonl").read_bytes().splitlines()
PRIVATE = (FIXTURES / "private.jsonl").read_bytes().splitlines()
MS = 1_000_000
RECV = 1_700_000_090_000 * MS
BTC = "BTC-USDT-SWAP"


def arg_of(frame: bytes) -> frames.Arg:
    arg = frames.push_arg(frame)
    assert arg is not None
    return arg


def channel_of(frame: bytes) -> str:
    return arg_of(frame).channel


def decode(frame: bytes) -> list[MarketEvent]:
    return market_readers.decode(arg_of(frame), frame, RECV)


EXPECTED: dict[str, MarketEvent] = {
    "trades": Trade(BTC, 50000.5, 1.25, Side.SELL, "70001", 1_700_000_000_123 * MS, RECV),
    "tickers": Ticker(BTC, 50000.0, 49999.9, None, 12.0, None, 1000.5, 49000.0, 1_700_000_000_200 * MS, RECV),
    "mark-price": MarkPrice(BTC, 50001.2, 1_700_000_000_300 * MS, RECV),
    "index-tickers": IndexPrice(BTC, 50002.0, 1_700_000_000_400 * MS, RECV),
    "funding-rate": FundingRate(BTC, -0.00012, 1_700_006_400_000 * MS, 1_700_000_000_500 * MS, RECV),
    "open-interest": OpenInterest(BTC, 2500000.5, 25000.005, 1_700_000_000_600 * MS, RECV),
    "books5": BookTop(
        BTC,
        (Level(50000.0, 4.0), Level(49999.9, 2.0)),
        (Level(50000.1, 3.0), Level(50000.2, 1.5)),
        1_700_000_000_700 * MS,
        RECV,
    ),
    "bbo-tbt": BookTop(BTC, (Level(50000.0, 4.0),), (), 1_700_000_000_800 * MS, RECV),
}


@pytest.mark.parametrize("frame", PUBLIC[:8], ids=channel_of)
def test_public_frame_becomes_its_event(frame: bytes) -> None:
    assert decode(frame) == [EXPECTED[channel_of(frame)]]


@pytest.mark.parametrize(
    ("limits", "enabled", "told"),
    [(("51500.1", "48500.2"), "true", (51500.1, 48500.2)), (("", ""), "false", (None, None))],
)
def test_price_limits_are_none_where_the_venue_sets_none(
    limits: tuple[str, str], enabled: str, told: tuple[float | None, float | None]
) -> None:
    frame = (
        f'{{"arg":{{"channel":"price-limit","instId":"{BTC}"}},"data":[{{"instType":"SWAP","instId":"{BTC}",'
        f'"buyLmt":"{limits[0]}","sellLmt":"{limits[1]}","ts":"1700000000300","enabled":{enabled}}}]}}'
    ).encode()
    expected = PriceLimits(BTC, *told, 1_700_000_000_300 * MS, RECV)
    assert decode(frame) == [expected]


def test_only_a_confirmed_candle_is_closed() -> None:
    forming, closed = (decode(frame)[0] for frame in PUBLIC[8:10])
    assert isinstance(forming, Candle)
    assert isinstance(closed, Candle)
    assert (forming.timeframe, forming.closed, forming.ts_event) == ("1m", False, RECV)
    assert (closed.timeframe, closed.closed) == ("1h", True)
    assert closed.ts_event == closed.ts_open + 3600 * 1000 * MS
    assert (closed.volume, closed.high) == (1.205, 50010.5)


def test_days_are_asked_for_in_utc_and_not_in_the_time_of_hong_kong() -> None:
    assert market_wire.candle_channel("1d") == "candle1Dutc"


def test_envelope_is_read_in_any_order_and_spacing() -> None:
    spaced = json.dumps(json.loads(PUBLIC[0]), indent=1).encode()
    assert frames.push_arg(spaced) is None
    trades = frames.Arg("trades", BTC)
    assert frames.classify(spaced) == frames.Push(trades)
    assert market_readers.decode(trades, spaced, RECV) == [EXPECTED["trades"]]


def test_frames_that_begin_alike_reach_the_readers_of_their_own_subscriptions() -> None:
    names = [f"{'LONG' * 12}{number}-USDT-SWAP" for number in range(2)] + [BTC, "BTC-USDC-SWAP"]
    sent = [b'{"arg":{"channel":"trades","instId":"%b"},"data":[]}' % name.encode() for name in names] * 2
    read: list[tuple[str | None, bytes]] = []

    def reader(arg: frames.Arg) -> Callable[[bytes, int], None]:
        return lambda frame, ts_recv: read.append((arg.instId, frame))

    data = dispatch.Dispatch(reader, lambda channel, error: None)
    assert data.take([*sent, b"pong"], 0, RECV) == len(sent)
    assert read == list(zip(names * 2, sent, strict=True))


@pytest.mark.parametrize(
    ("frame", "expected"),
    [
        (b"pong", frames.Pong()),
        (
            b'{"id":"1","event":"subscribe","arg":{"channel":"orders","instType":"SWAP","uid":"7"},"connId":"a"}',
            frames.Event("subscribe", id="1", arg=frames.Arg("orders", instType="SWAP")),
        ),
        (
            b'{"event":"error","code":"60018","msg":"Wrong URL","connId":"a"}',
            frames.Event("error", "60018", "Wrong URL"),
        ),
        (
            b'{"event":"channel-conn-count","channel":"orders","connCount":"2","connId":"a"}',
            frames.Event("channel-conn-count", channel="orders", connCount="2"),
        ),
        (
            b'{"id":"5","op":"order","code":"1","msg":"","data":[]}',
            frames.OperationAck("order", "5", "1", data=msgspec.Raw(b"[]")),
        ),
        (
            b'{"event":"subscribe","arg":{"channel":"trades","instFamily":null,"instId":"X"}}',
            frames.Event("subscribe", arg=frames.Arg("trades", "X")),
        ),
    ],
)
def test_frames_are_told_apart(frame: bytes, expected: frames.Frame) -> None:
    assert frames.classify(frame) == expected


def test_refused_channel_is_read_from_the_text() -> None:
    text = "Wrong URL or channel:index-tickers, instId:NEAR-USDT doesn't exist. Please use the correct URL"
    assert frames.arg_in_text(text) == ("index-tickers", "NEAR-USDT")
    assert frames.arg_in_text("Invalid request") is None


# -- money


def record(**changes: str) -> orders_wire.OrderRecord:
    order = orders_wire.decode_orders(PRIVATE[0])[0]
    return msgspec.structs.replace(order, **changes)


OURS = orders_wire.Origin("ew01", None)


def test_partial_fill_is_told_exactly() -> None:
    report = orders_wire.report(record(), OURS, RECV, pushed=True)
    assert (report.state, report.filled, report.contracts) == (
        OrderState.PARTIALLY_FILLED,
        Decimal("0.3"),
        Decimal("1.2"),
    )
    assert report.fill is not None
    assert (report.fill.trade_id, report.fill.contracts, report.fill.price) == (
        "70002",
        Decimal("0.1"),
        Decimal("50000.7"),
    )
    assert (report.fill.fee, report.fill.maker) == (Decimal("-0.0250003500000000001"), False)
    assert report.position_side is PositionSide.LONG


@pytest.mark.parametrize("trade_id", ["", "0", "-5"])
def test_execution_without_an_id_of_its_own_is_left_to_the_fills(trade_id: str) -> None:
    report = orders_wire.report(record(tradeId=trade_id), OURS, RECV, pushed=True)
    assert report.fill is None
    assert report.filled == Decimal("0.3")


def test_answer_of_a_query_carries_no_fill() -> None:
    assert orders_wire.report(record(), OURS, RECV, pushed=False).fill is None


def test_report_keeps_the_venues_own_row_byte_for_byte() -> None:
    order = b'{"instId": "X", "ordId":"1","side":"buy","state":"live","sz":"1","uTime":"1","raw":[7]}'
    told = [
        orders_wire.report(row, OURS, RECV, pushed=True).raw
        for row in orders_wire.decode_orders(b'{"arg":{"uid":"9"},"data":[%b, %b ]}' % (order, order))
    ]
    assert told == [order, order]
    fill = b'{"instId":"X","ordId":"1","tradeId":"2","side":"buy","fillSz":"1","fillPx":"5", "ts":"1"}'
    (row,) = orders_wire.decode_fills(b'{"data":[%b]}' % fill)
    sums = orders_wire.OrderSums(row.contracts, row.contracts)
    assert orders_wire.fill_report(row, OURS, sums, RECV).raw == fill
    (verdict,) = orders_wire.decode_verdicts(b'[{"ordId":"1", "sCode":"0"}]')
    assert orders_wire.as_said(verdict) == b'{"ordId":"1", "sCode":"0"}'


def test_row_beyond_all_measure_is_kept_in_part() -> None:
    (verdict,) = orders_wire.decode_acks(b'{"data":[{"sMsg":"%b"}]}' % (b"x" * 100_000))
    assert orders_wire.as_said(verdict) == b'{"sMsg":"' + b"x" * (8192 - 9)


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        ("live", OrderState.NEW),
        ("filled", OrderState.FILLED),
        ("canceled", OrderState.CANCELED),
        ("mmp_canceled", OrderState.CANCELED),
        ("hibernating", OrderState.PARTIALLY_FILLED),  # unheard of: still open, 0.3 filled
    ],
)
def test_order_states(state: str, expected: OrderState) -> None:
    assert orders_wire.report(record(state=state), OURS, RECV, pushed=True).state is expected


def test_average_price_of_nothing_is_none_on_socket_and_rest() -> None:
    for text in ("0", "", None):
        changed = msgspec.structs.replace(record(), avgPx=text)
        assert orders_wire.report(changed, OURS, RECV, pushed=True).average_price is None


def test_rebate_keeps_its_sign() -> None:  # L7
    report = orders_wire.report(record(fillFee="0.01", execType="M"), OURS, RECV, pushed=True)
    assert report.fill is not None
    assert (report.fill.fee, report.fill.maker) == (Decimal("0.01"), True)


def test_positions_are_signed_in_both_modes() -> None:
    positions = account_wire.decode_positions(PRIVATE[1])
    assert [(p.position_side, p.contracts) for p in positions] == [
        (PositionSide.LONG, Decimal("1.5")),
        (PositionSide.SHORT, Decimal("-0.01")),
        (None, Decimal(-3)),
        (None, Decimal(0)),
    ]
    assert positions[3].mark_price is None


def test_balance_of_another_currency_is_no_balance() -> None:
    balance = account_wire.decode_balance(PRIVATE[2], "USDT")
    assert balance is not None
    assert (balance.cash, balance.equity, balance.available) == (
        Decimal("1000.123456789012345678"),
        Decimal("1001.2"),
        Decimal(900),
    )
    assert account_wire.decode_balance(PRIVATE[2], "USDC") is None


@pytest.mark.parametrize(
    ("amount", "rates", "side"),
    [
        ("-1", [(8, 1)], PositionSide.LONG),
        ("1", [(8, 1)], PositionSide.SHORT),
        ("-1", [(8, -1)], PositionSide.SHORT),
        ("1", [(8, -1)], PositionSide.LONG),
        ("-1", [(16, -1), (8, 1)], PositionSide.LONG),  # the rate of a later payment is not this one's
        ("0", [(8, 1)], None),
        ("-1", [(8, 0)], None),
        ("-1", [], None),
    ],
)
def test_side_of_a_funding_charge_follows_from_the_rate(
    amount: str, rates: list[tuple[int, int]], side: PositionSide | None
) -> None:
    charge = VenueFunding(
        bill_id="1",
        symbol=BTC,
        position_side=None,
        amount=Decimal(amount),
        contracts=Decimal(1),
        mark_price=None,
        ts_event=9,
    )
    assert account_wire.charged_side(charge, rates, 1) is side


@pytest.mark.parametrize("text", ["abc", "NaN", "Infinity", "1e999999", "1" * 200])
def test_no_number_is_a_codec_error(text: str) -> None:
    with pytest.raises(CodecError):
        numbers.decimal(text)


@given(st.decimals(allow_nan=False, allow_infinity=False, min_value=-(10**20), max_value=10**20, places=12))
def test_numbers_survive_the_wire_and_have_no_exponent(value: Decimal) -> None:
    text = numbers.plain(value)
    assert "e" not in text.lower()
    assert numbers.decimal(text) == value


def test_instruments_keep_linear_swaps() -> None:
    instruments = reference_wire.decode_instruments(PRIVATE[3])
    assert [(i.symbol, i.base, i.contract_value, i.lot_size, i.live) for i in instruments] == [
        (BTC, "BTC", Decimal("0.01"), Decimal("0.01"), True),
        ("PEPE-USDT-SWAP", "PEPE", Decimal(10_000_000), Decimal("0.1"), False),
    ]


# -- nothing but CodecError


def test_cash_that_no_trade_moved_is_told_from_trades_and_funding() -> None:
    """Bill types: 1 transfer, 2 trade, 5 liquidation (with a trade, or the insurance fund's), 8 funding."""
    kinds = (("1", "", "250"), ("2", "9", "-3"), ("5", "9", "-7"), ("5", "", "12.5"), ("8", "", "-1"))
    rows = [
        {
            "billId": str(n),
            "type": kind,
            "tradeId": trade,
            "balChg": amount,
            "ccy": "USDT",
            "ts": "1700000000000",
        }
        for n, (kind, trade, amount) in enumerate(kinds)
    ]
    page = account_wire.decode_transfer_bills(msgspec.json.encode({"code": "0", "data": rows}))
    assert [(each.bill_id, each.amount) for each in page.found] == [
        ("0", Decimal(250)),
        ("3", Decimal("12.5")),
    ]
    assert (page.rows, page.cursor) == (5, "4")


def decoders() -> list[Callable[[bytes], object]]:
    market = [
        lambda raw, channel=channel: market_readers.decode(frames.Arg(channel, BTC), raw, RECV)
        for channel in (*EXPECTED, "candle1m", "nothing")
    ]
    return [
        *market,
        frames.classify,
        market_wire.decode_books,
        lambda raw: market_wire.decode_candles(raw, BTC, "1m"),
        reference_wire.decode_instruments,
        reference_wire.decode_time,
        lambda raw: [orders_wire.report(r, OURS, RECV, pushed=True) for r in orders_wire.decode_orders(raw)],
        lambda raw: [
            orders_wire.fill_report(r, OURS, orders_wire.OrderSums(r.contracts, r.contracts), RECV)
            for r in orders_wire.decode_fills(raw)
        ],
        orders_wire.decode_acks,
        orders_wire.decode_algos,
        account_wire.decode_positions,
        lambda raw: account_wire.decode_balance(raw, "USDT"),
        account_wire.decode_funding_bills,
        account_wire.decode_transfer_bills,
        account_wire.decode_funding_signs,
        account_wire.decode_settings,
        account_wire.decode_leverage,
        account_wire.decode_fees,
        lambda raw: market_wire.decode_top(raw, BTC),
        orders_wire.decode_verdicts,
    ]


def harmless(raw: bytes) -> None:
    for decode in decoders():
        with suppress(CodecError):
            decode(raw)


@given(st.binary(max_size=200))
def test_random_bytes_raise_nothing_else(raw: bytes) -> None:
    harmless(raw)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=6) | st.just(""),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=4,
)


@given(st.sampled_from([*PUBLIC, *PRIVATE]), st.data())
def test_mutated_frames_raise_nothing_else(frame: bytes, data: st.DataObject) -> None:
    message: Any = json.loads(frame)
    rows = message["data"]
    target = rows[0]
    keys: list[Any] = list(target) if isinstance(target, dict) else list(range(len(target)))
    target[data.draw(st.sampled_from(keys))] = data.draw(VALUES)
    harmless(json.dumps(message).encode())
    at = data.draw(st.integers(0, len(frame) - 1))
    harmless(frame[:at] + data.draw(st.binary(max_size=3)) + frame[at + 1 :])
    harmless(frame[:at])


def test_deep_nesting_is_a_codec_error() -> None:
    harmless(b'{"data":' + b"[" * 100_000)
    harmless(b'{"x":' * 50_000)
