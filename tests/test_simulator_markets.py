"""The markets inside the simulator: generated, recorded, and moved by hand."""

from __future__ import annotations

import gzip
from decimal import Decimal
from itertools import pairwise
from pathlib import Path

import pytest

from engine.core.errors import ConfigError
from engine.core.times import NS_PER_HOUR, NS_PER_MIN, NS_PER_S
from engine.exchange.simulator.candles import PERIODS, BarStore
from engine.exchange.simulator.generator import GeneratedMarket
from engine.exchange.simulator.joint import JointMarket
from engine.exchange.simulator.past import Bar
from engine.exchange.simulator.recording import read_recording
from engine.exchange.simulator.replay import RecordedMarket
from engine.exchange.simulator.source import MarketSource
from engine.exchange.simulator.tape import Tape, fold
from engine.exchange.simulator.universe import DEFAULT_SYMBOLS, listings
from tests.fixtures.simulator.client import BTC, write_candles

START = 1_790_000_000 * NS_PER_S + 17 * NS_PER_S
ALL = listings(DEFAULT_SYMBOLS)


def bars_of(source: MarketSource, until_ns: int, step_ns: int = 30 * NS_PER_S) -> BarStore:
    """What candles a market makes while it is asked every `step_ns`."""
    store, now = BarStore(), START
    store.load(source.take_bars())
    while now <= until_ns:
        for quote in source.advance(now):
            store.on_quote(quote)
        for listing in source.listings:
            store.roll(listing.instrument.symbol, now)
        now += step_ns
    return store


def closed(store: BarStore, name: str = "1m", symbol: str = BTC) -> list[Bar]:
    return [bar for bar, done in store.bars(symbol, PERIODS[name]) if done]


def test_same_seed_gives_the_same_quotes_however_often_it_is_asked() -> None:
    end = START + 5 * NS_PER_MIN
    often = GeneratedMarket(ALL, 7, START)
    once = GeneratedMarket(ALL, 7, START)
    other = GeneratedMarket(ALL, 8, START)
    quotes = [q for ts in range(START, end, NS_PER_S // 2) for q in often.advance(ts)] + often.advance(end)
    assert quotes == once.advance(end)
    assert quotes != other.advance(end)
    assert often.take_bars() == once.take_bars()


def test_generated_market_goes_on_in_another_process_without_a_jump() -> None:
    first, second = GeneratedMarket(ALL, 7, START), GeneratedMarket(ALL, 99, START + NS_PER_HOUR)
    first.advance(START + NS_PER_MIN)
    second.restore(first.state())
    later = START + 2 * NS_PER_MIN
    assert second.advance(later) == first.advance(later)


def test_candles_have_no_seam_between_past_and_present_nor_over_a_pause() -> None:
    source = GeneratedMarket(ALL, 3, START)
    store = bars_of(source, START + 3 * NS_PER_MIN)
    after_pause = START + 90 * NS_PER_MIN
    for quote in source.advance(after_pause):
        store.on_quote(quote)
    store.load(source.take_bars())
    for quote in source.advance(after_pause + 2 * NS_PER_MIN):
        store.on_quote(quote)
    bars = closed(store)
    assert len(bars) > 1_600
    assert {b.ts_open - a.ts_open for a, b in pairwise(bars)} == {NS_PER_MIN}
    assert max(abs(b.open / a.close - 1) for a, b in pairwise(bars)) < Decimal("0.02")


@pytest.mark.parametrize("seed", [1, 7, 42])
def test_generated_markets_move_together_and_stay_markets(seed: int) -> None:
    source = GeneratedMarket(ALL, seed, START)
    store = BarStore()
    store.load(source.take_bars())
    moves = {
        symbol: [float(b.close / a.close) - 1 for a, b in pairwise(closed(store, symbol=symbol))]
        for symbol in DEFAULT_SYMBOLS
    }
    for symbol in DEFAULT_SYMBOLS[1:]:
        moved = [a * b for a, b in zip(moves[BTC], moves[symbol], strict=True) if a * b]
        assert sum(both > 0 for both in moved) / len(moved) > 0.55, symbol
    for quote in source.advance(START + NS_PER_MIN):
        tick = next(e.instrument.tick_size for e in ALL if e.instrument.symbol == quote.symbol)
        assert quote.bids[0][0] < quote.asks[0][0]
        assert [p for p, _ in quote.bids] == sorted((p for p, _ in quote.bids), reverse=True)
        assert quote.price in {quote.bids[0][0], quote.asks[0][0]}
        assert all(price % tick == 0 and size > 0 for price, size in (*quote.bids, *quote.asks))
        assert abs(quote.funding_rate) < Decimal("0.001")


ROWS = [(100.0 + i, 104.5 + i, 98.1 + i, 101.0 + i, 12.0) for i in range(10)]


def test_recorded_candles_come_out_as_they_are_in_the_file(tmp_path: Path) -> None:
    source = RecordedMarket(read_recording(write_candles(tmp_path / "btc_usdt_1m.csv", ROWS)), START)
    bars = closed(bars_of(source, START + 20 * NS_PER_MIN))[: len(ROWS)]
    assert [tuple(map(float, bar[1:5])) for bar in bars] == [row[:4] for row in ROWS]
    assert {b.ts_open - a.ts_open for a, b in pairwise(bars)} == {NS_PER_MIN}
    contracts = sum(float(bar.volume) for bar in bars)
    assert contracts == pytest.approx(10 * 12.0 / 0.01, rel=0.01)
    assert "ended" in source.status()


def test_a_candle_is_played_within_its_minute_nearer_extreme_first(tmp_path: Path) -> None:
    rows = [(100, 101, 97, 99, 1), (100, 101, 97, 99, 1), (100, 106, 99, 105, 1), (105, 106, 99, 100, 1)]
    source = RecordedMarket(read_recording(write_candles(tmp_path / "btc_usdt.csv", rows)), START)
    start = START - START % NS_PER_MIN
    quotes = source.advance(start + 2 * NS_PER_MIN - 1)

    def path(minute: int) -> list[Decimal]:
        return [q.price for q in quotes if (q.ts - start) // NS_PER_MIN == minute]

    first, second = path(0), path(1)
    assert (first[0], first[-1]) == (Decimal(100), Decimal(105))
    assert first.index(Decimal(99)) < first.index(Decimal(106))  # the low is one away, the high six
    assert second.index(Decimal(106)) < second.index(Decimal(99))


def test_recording_starts_over_without_a_jump(tmp_path: Path) -> None:
    recording = read_recording(write_candles(tmp_path / "btc_usdt.csv", ROWS))
    source = RecordedMarket(recording, START, loop=True)
    quotes = source.advance(START + 9 * NS_PER_MIN)
    assert len(quotes) > len(recording.points)
    assert max(abs(b.price / a.price - 1) for a, b in pairwise(quotes)) < Decimal("0.05")
    assert all(a.ts < b.ts for a, b in pairwise(quotes))


def test_recording_goes_on_where_it_stopped_after_a_pause(tmp_path: Path) -> None:
    recording = read_recording(write_candles(tmp_path / "btc_usdt.csv", ROWS))
    first, second = RecordedMarket(recording, START), RecordedMarket(recording, START + NS_PER_HOUR)
    told = first.advance(START + NS_PER_MIN)
    second.restore(first.state())
    later = second.advance(START + NS_PER_HOUR)
    assert len(told) + len(later) < len(recording.points)
    assert all(quote.ts > START + 50 * NS_PER_MIN for quote in later)


def test_recording_has_the_funding_of_its_own_time(tmp_path: Path) -> None:
    rates = tmp_path / "funding.csv"
    rates.write_text("funding_ts_ms,funding_rate\n500000,0.00031\n660000,-0.0002\n")
    candles = write_candles(tmp_path / "btc_usdt.csv", ROWS)
    source = RecordedMarket(read_recording(candles, funding=rates), START)
    played = source.advance(START + 20 * NS_PER_MIN)
    assert (played[0].funding_rate, played[-1].funding_rate) == (Decimal("0.00031"), Decimal("-0.0002"))


PRINTS = "ts_ms,price,size,taker_side\n1700000001000,100.0,0.5,sell\n1700000003500,100.4,1,buy\n"
BEST = (
    "ts_ms,bid,bid_size,ask,ask_size\n"
    "1700000001000,100.0,1,100.2,1\n1700000001500,100.0,2,100.2,1\n1700000002000,100.4,1,100.6,1\n"
)
FRAMES = (
    '{"frame":{"event":"subscribe","arg":{"channel":"trades","instId":"BTC-USDT-SWAP"}}}\n'
    '{"frame":{"arg":{"channel":"trades","instId":"BTC-USDT-SWAP"},"data":[{"instId":"BTC-USDT-SWAP",'
    '"px":"100","sz":"50","side":"sell","ts":"1700000001000","tradeId":"1"}]}}\n'
    '{"arg":{"channel":"tickers","instId":"BTC-USDT"},"data":[{"instId":"BTC-USDT","last":"1"}]}\n'
    '{"arg":{"channel":"trades","instId":"BTC-USDT"},"data":[{"instId":"BTC-USDT",'
    '"px":"100.4","sz":"1","side":"buy","ts":"1700000003500","tradeId":"2"}]}\n'
)


@pytest.mark.parametrize("text", [PRINTS, FRAMES])
def test_recorded_prints_play_in_their_rhythm(tmp_path: Path, text: str) -> None:
    path = tmp_path / "btc_usdt_trades.csv.gz"
    path.write_bytes(gzip.compress(text.encode()))
    recording = read_recording(path)
    source = RecordedMarket(recording, START)
    quotes = source.advance(START + NS_PER_MIN)
    assert [(q.price, q.size, q.side.value) for q in quotes] == [
        (Decimal(100), Decimal(50), "sell"),
        (Decimal("100.4"), Decimal(100), "buy"),
    ]


def test_recorded_best_prices_are_the_book(tmp_path: Path) -> None:
    path = tmp_path / "btc_usdt_bbo.csv"
    path.write_text(BEST)
    quotes = RecordedMarket(read_recording(path), START).advance(START + NS_PER_MIN)
    tops = [(quote.bids[0][0], quote.asks[0][0]) for quote in quotes]
    assert tops[0] == (Decimal(100), Decimal("100.2"))
    assert tops[-1] == (Decimal("100.4"), Decimal("100.6"))
    assert [bool(quote.size) for quote in quotes] == [True, False, True]


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("btc_usdt.csv", "", "is empty"),
        ("btc_usdt.csv", "ts_ms,open,high,low,close,volume\n", "no two candles"),
        ("btc_usdt.csv", "ts_ms,open,high,low,close,volume\n1,2,3\n", ":2:"),
        ("btc_usdt.csv", "ts_ms,open,high,low,close,volume\n60000,5,4,3,4,1\n", ":2:"),
        ("btc_usdt.csv", "ts_ms,open,high,low,close,volume\n60000,nan,4,3,4,1\n", ":2:"),
        ("btc_usdt.csv", "funding_ts_ms,funding_rate\n1,2\n", "--funding"),
        ("btc_usdt.csv", "what,is,this\n", ":1:"),
        ("prices.csv", "ts_ms,price,size\n1,2,3\n", "--symbol"),
        ("shib_usdt.csv", "ts_ms,price,size\n1,2,3\n", "does not list"),
        ("btc_usdt.jsonl", '{"frame":1}\n', ":1:"),
        ("btc_usdt.jsonl", '{"arg":{"channel":"trades"},"data":[{"instId":"BTC-USDT-SWAP"}]}\n', ":1:"),
        ("btc_usdt.csv.gz", "this is no gzip\n", "cannot be read"),
    ],
)
def test_unusable_recording_is_one_clear_line(tmp_path: Path, name: str, text: str, words: str) -> None:
    path = tmp_path / name
    path.write_text(text)
    with pytest.raises(ConfigError, match=words) as refused:
        read_recording(path)
    assert path.name in str(refused.value) or "list" in words
    assert "\n" not in str(refused.value)


def test_recording_and_generated_markets_are_one(tmp_path: Path) -> None:
    recorded = RecordedMarket(read_recording(write_candles(tmp_path / "btc_usdt.csv", ROWS)), START)
    joint = JointMarket(recorded, GeneratedMarket(listings(("ETH",)), 1, START))
    quotes = joint.advance(START + NS_PER_MIN)
    assert {quote.symbol for quote in quotes} == {BTC, "ETH-USDT-SWAP"} == set(joint.take_bars())
    assert [quote.ts for quote in quotes] == sorted(quote.ts for quote in quotes)
    again = JointMarket(
        RecordedMarket(read_recording(tmp_path / "btc_usdt.csv"), START),
        GeneratedMarket(listings(("ETH",)), 1, START),
    )
    again.restore(joint.state())
    assert again.advance(START + 2 * NS_PER_MIN) == joint.advance(START + 2 * NS_PER_MIN)


def test_a_minute_without_prints_has_a_flat_candle() -> None:
    (quote, *_) = GeneratedMarket(listings(("BTC",)), 1, START).advance(START + NS_PER_S)
    store = BarStore()
    store.on_quote(quote)
    ended = store.roll(BTC, quote.ts + 3 * NS_PER_MIN)
    assert [bar.volume > 0 for bar in ended] == [True, False, False]
    assert {bar.close for bar in ended} == {quote.price}


def test_long_bars_open_where_the_venue_opens_them() -> None:
    day, utc = PERIODS["1D"], PERIODS["1Dutc"]
    assert day.start(START) % (24 * NS_PER_HOUR) == 16 * NS_PER_HOUR
    assert utc.start(START) % (24 * NS_PER_HOUR) == 0
    assert 0 <= START - day.start(START) < day.length_ns


def test_folded_prints_make_the_same_bar() -> None:
    tape, quotes = Tape(), GeneratedMarket(listings(("BTC",)), 5, START).advance(START + 200 * NS_PER_S)
    prints = [made for quote in quotes if (made := tape.on_quote(quote))]
    folded = fold(prints)

    def bar(rows: list[Decimal]) -> tuple[Decimal, ...]:
        return rows[0], max(rows), min(rows), rows[-1]

    assert len(folded) <= 4 * len({made.ts // NS_PER_MIN for made in prints}) < len(prints)
    assert bar([made.price for made, _ in folded]) == bar([made.price for made in prints])
    assert sum(made.size for made, _ in folded) == sum(made.size for made in prints)
    ids = [made.trade_id for made in prints]
    assert ids == list(range(ids[0], ids[0] + len(ids)))
    assert sum(count for _, count in folded) == len(prints)
