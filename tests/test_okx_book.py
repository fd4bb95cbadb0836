"""The order book's rules: sequence, reset, keep-alive, snapshot."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.core.market import Level, Levels
from engine.exchange.okx.book import OrderBook, Outcome, Resync
from engine.exchange.okx.market_rows import BookMessage
from engine.exchange.okx.market_wire import decode_books

BTC = "BTC-USDT-SWAP"


def levels(rows: Sequence[tuple[float, float]]) -> Levels:
    return tuple(Level(price, size) for price, size in rows)


def message(
    sequence: int | None,
    previous: int | None,
    bids: Sequence[tuple[float, float]] = (),
    asks: Sequence[tuple[float, float]] = (),
) -> BookMessage:
    return BookMessage(BTC, previous == -1, levels(bids), levels(asks), sequence, previous, 0)


def snapshot(sequence: int = 10) -> BookMessage:
    return message(sequence, -1, [(100.0, 1.0), (99.0, 2.0)], [(101.0, 1.5), (102.0, 3.0)])


def book_with_snapshot() -> OrderBook:
    book = OrderBook(BTC)
    assert book.apply(snapshot()) is Outcome.CHANGED
    return book


def test_updates_that_chain_are_applied_and_zero_removes() -> None:
    book = book_with_snapshot()
    assert book.apply(message(13, 10, [(100.0, 0.0), (98.0, 5.0)], [(101.0, 7.0)])) is Outcome.CHANGED
    top = book.top(1)
    assert top is not None
    assert top.bids == (Level(99.0, 2.0), Level(98.0, 5.0))
    assert top.asks == (Level(101.0, 7.0), Level(102.0, 3.0))


def test_D1_gap_makes_the_book_invalid_at_once() -> None:
    book = book_with_snapshot()
    assert book.apply(message(15, 13, [(100.0, 9.0)])) is Outcome.GAP
    assert not book.valid
    assert book.top(1) is None
    assert book.apply(message(16, 15, [(100.0, 9.0)])) is Outcome.ALIVE
    assert book.top(1) is None


def test_D2_reset_is_accepted_and_keep_alive_changes_nothing() -> None:
    book = book_with_snapshot()
    assert book.apply(message(10, 10)) is Outcome.ALIVE
    assert book.apply(message(3, 10, [(100.0, 4.0)])) is Outcome.CHANGED  # numbering restarted
    assert book.apply(message(4, 3, [(100.0, 5.0)])) is Outcome.CHANGED
    assert book.gaps == 0
    top = book.top(1)
    assert top is not None
    assert top.bids[0] == Level(100.0, 5.0)


def test_D3_checksum_of_zero_is_no_mismatch() -> None:
    book = OrderBook(BTC)
    for frame in (
        b'{"arg":{"channel":"books","instId":"BTC-USDT-SWAP"},"action":"snapshot","data":[{"asks":[["101","1","0","1"]],'
        b'"bids":[["100","1","0","1"]],"ts":"1700000000000","checksum":0,"prevSeqId":-1,"seqId":5}]}',
        b'{"arg":{"channel":"books","instId":"BTC-USDT-SWAP"},"action":"update","data":[{"asks":[],'
        b'"bids":[["100","2","0","1"]],"ts":"1700000000100","checksum":0,"prevSeqId":5,"seqId":9}]}',
    ):
        (decoded,) = decode_books(frame)
        assert book.apply(decoded) is Outcome.CHANGED
    assert book.valid


def test_D11_updates_before_their_snapshot_count_only_when_newer() -> None:
    book = OrderBook(BTC)
    assert book.apply(message(9, 8, [(100.0, 77.0)])) is Outcome.ALIVE
    assert book.apply(message(10, 9, [(100.0, 88.0)])) is Outcome.ALIVE
    assert book.apply(message(12, 10, [(100.0, 6.0)])) is Outcome.ALIVE
    assert book.apply(snapshot(10)) is Outcome.CHANGED
    top = book.top(1)
    assert top is not None
    assert top.bids[0] == Level(100.0, 6.0)
    assert book.apply(message(13, 12, [(100.0, 7.0)])) is Outcome.CHANGED


def test_snapshot_replaces_and_is_never_merged() -> None:
    book = book_with_snapshot()
    book.apply(message(20, -1, [(50.0, 1.0)], [(51.0, 1.0)]))
    top = book.top(1)
    assert top is not None
    assert (top.bids, top.asks) == ((Level(50.0, 1.0),), (Level(51.0, 1.0),))


def test_duplicates_of_a_second_connection_are_ignored() -> None:
    book = book_with_snapshot()
    update = message(13, 10, [(100.0, 9.0)])
    assert book.apply(update) is Outcome.CHANGED
    assert book.apply(update) is Outcome.ALIVE
    assert book.valid


def test_crossed_book_is_no_book() -> None:
    book = book_with_snapshot()
    assert book.apply(message(11, 10, [(101.5, 1.0)])) is Outcome.GAP
    assert not book.valid


@given(st.lists(st.tuples(st.integers(1, 40), st.integers(0, 3)), max_size=40), st.data())
def test_book_equals_the_sum_of_its_updates(changes: list[tuple[int, int]], data: st.DataObject) -> None:
    """Any chain of updates gives what a plain dictionary gives; any missing one is noticed."""
    book, plain = OrderBook(BTC), {float(p): 1.0 for p in (10, 20)}
    book.apply(message(0, -1, [(price, size) for price, size in plain.items()], []))
    lost = data.draw(st.integers(0, len(changes))) if changes else 0
    for number, (price, size) in enumerate(changes):
        update = message(number + 1, number, [(float(price), float(size))], [])
        if number == lost:
            continue
        outcome = book.apply(update)
        if number == lost + 1 and lost < len(changes):
            assert outcome is Outcome.GAP
            return
        plain[float(price)] = float(size)
    top = book.top(0, depth=100)
    assert top is not None
    kept = {price: size for price, size in plain.items() if size}
    assert {level.price: level.size for level in top.bids} == kept


@pytest.mark.parametrize(
    ("gaps", "expected"), [([0.0], [1.0]), ([0.0, 2.0, 5.0], [1.0, 4.0, 9.0]), ([0.0, 90.0], [1.0, 91.0])]
)
def test_snapshots_are_asked_for_with_back_off(gaps: list[float], expected: list[float]) -> None:
    resync, asked = Resync(), list[float]()
    for tenth in range(1200):
        now = tenth / 10
        if now in gaps:
            resync.want(BTC, now)
        asked += [now] * len(resync.due(now))
    assert asked == expected
