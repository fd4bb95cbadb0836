"""Every payload of OKX that was ever collected decodes, and no mutation of one breaks anything.

The collection is not in the repository; without it these tests are skipped.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.core.errors import CodecError
from engine.exchange.okx import account_wire, frames, market_readers, market_wire, orders_wire, reference_wire
from engine.exchange.okx.book import OrderBook, Outcome
from tests.test_okx_codec import BTC, OURS, RECV, VALUES, harmless

SHARED = next(
    (found for above in Path(__file__).parents if (found := above / "shared" / "okx_payloads").is_dir()), None
)
PAYLOADS = sorted(SHARED.glob("*/*.json")) if SHARED else []
pytestmark = pytest.mark.skipif(SHARED is None, reason="the collected payloads are not in the repository")

DECODERS: dict[str, Callable[[bytes], object]] = {
    "push-orders": lambda raw: [
        orders_wire.report(r, OURS, RECV, pushed=True) for r in orders_wire.decode_orders(raw)
    ],
    "push-orders-algo": orders_wire.decode_algos,
    "push-algo-advance": orders_wire.decode_algos,
    "push-positions": account_wire.decode_positions,
    "push-account": lambda raw: account_wire.decode_balance(raw, "USDT"),
    "push-instruments": reference_wire.decode_instruments,
    "push-books-snapshot": market_wire.decode_books,
    "push-books-update": market_wire.decode_books,
    "get-public-instruments": reference_wire.decode_instruments,
    "get-account-instruments": reference_wire.decode_instruments,
    "get-public-time": reference_wire.decode_time,
    "get-market-candles": lambda raw: market_wire.decode_candles(raw, BTC, "1m"),
    "get-market-history-candles": lambda raw: market_wire.decode_candles(raw, BTC, "1m"),
    "get-account-balance": lambda raw: account_wire.decode_balance(raw, "USDT"),
    "get-account-config": account_wire.decode_settings,
    "get-account-leverage-info": account_wire.decode_leverage,
    "get-account-positions": account_wire.decode_positions,
    "get-account-bills": account_wire.decode_funding_bills,
    "get-account-bills-archive": account_wire.decode_funding_bills,
    "get-public-funding-rate-history": account_wire.decode_funding_signs,
    "get-trade-fills": orders_wire.decode_fills,
    "get-trade-fills-history": orders_wire.decode_fills,
    "get-trade-order": orders_wire.decode_orders,
    "get-trade-orders-pending": orders_wire.decode_orders,
    "get-trade-orders-history": orders_wire.decode_orders,
    "get-trade-order-algo": orders_wire.decode_algos,
    "get-trade-orders-algo-pending": orders_wire.decode_algos,
    "get-trade-orders-algo-history": orders_wire.decode_algos,
    "get-trade-orders-history-archive": orders_wire.decode_orders,
    "get-account-trade-fee": account_wire.decode_fees,
    "get-market-books": lambda raw: market_wire.decode_top(raw, BTC),
    "post-trade-cancel-batch-orders": orders_wire.decode_acks,
    "post-trade-amend-batch-orders": orders_wire.decode_acks,
    "post-trade-order": orders_wire.decode_acks,
    "post-trade-batch-orders": orders_wire.decode_acks,
    "post-trade-cancel-order": orders_wire.decode_acks,
    "post-trade-amend-order": orders_wire.decode_acks,
    "post-trade-order-algo": orders_wire.decode_acks,
    "post-trade-cancel-algos": orders_wire.decode_acks,
    "post-trade-amend-algos": orders_wire.decode_acks,
}
MARKET = {
    "trades",
    "tickers",
    "mark-price",
    "index-tickers",
    "funding-rate",
    "open-interest",
    "books5",
    "bbo-tbt",
}


def kind_of(path: Path) -> str:
    return path.name.split("__")[0]


def whole(path: Path) -> bool:
    """Some are single rows."""
    message = json.loads(path.read_bytes())
    return isinstance(message, dict) and isinstance(message.get("data"), list)


@pytest.mark.parametrize("path", PAYLOADS, ids=lambda path: path.stem)
def test_collected_payload_decodes(path: Path) -> None:
    raw, kind = path.read_bytes(), kind_of(path)
    channel = kind.removeprefix("push-")
    if kind.startswith(("push", "event", "ack")):
        frames.classify(raw)
    if kind in DECODERS and whole(path):
        DECODERS[kind](raw)
    elif kind.startswith("ack"):
        answer = frames.classify(raw)
        assert isinstance(answer, frames.OperationAck)
        orders_wire.decode_verdicts(bytes(answer.data))
    elif channel in MARKET:
        assert market_readers.decode(frames.Arg(channel, BTC), raw, RECV)
    elif channel == "candle":
        assert market_readers.decode(frames.Arg(json.loads(raw)["arg"]["channel"], BTC), raw, RECV)


def test_every_channel_and_answer_that_is_used_was_collected() -> None:
    kinds = {kind_of(path) for path in PAYLOADS}
    assert set(DECODERS) <= kinds
    assert {f"push-{channel}" for channel in MARKET} <= kinds


def test_recorded_books_chain_without_a_gap() -> None:
    """D3: recordings of 2022 carry a checksum and no numbers, later ones the reverse; neither is a gap."""
    assert SHARED is not None
    for path in sorted(SHARED.glob("*/seq-books*.jsonl")):
        books: dict[str, OrderBook] = {}
        for frame in path.read_bytes().splitlines():
            with suppress(CodecError):  # acknowledgements stand among them
                for message in market_wire.decode_books(frame):
                    book = books.setdefault(message.symbol, OrderBook(message.symbol))
                    assert book.apply(message) is not Outcome.GAP, path
        assert books, path


def rows_of(message: Any) -> list[Any]:
    rows = message.get("data") if isinstance(message, dict) else None
    return rows if isinstance(rows, list) else []


@pytest.mark.skipif(not PAYLOADS, reason="nothing to mutate")
@given(data=st.data())
def test_mutated_payload_raises_nothing_but_the_codecs_error(data: st.DataObject) -> None:
    path = data.draw(st.sampled_from(PAYLOADS))
    raw = path.read_bytes()
    message = json.loads(raw)
    for row in rows_of(message)[:1]:
        keys: list[Any] = list(row) if isinstance(row, dict) else list(range(len(row)))
        if keys:
            row[data.draw(st.sampled_from(keys))] = data.draw(VALUES)
    harmless(json.dumps(message).encode())
    at = data.draw(st.integers(0, len(raw) - 1))
    harmless(raw[:at] + data.draw(st.binary(max_size=3)) + raw[at + 1 :])
    harmless(raw[:at])
