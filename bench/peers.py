"""Other libraries on the same frames, driven through the functions that their own sockets call.

Each is used as it comes from the registry, with callbacks set and nothing patched; what is not installed has
no row. Times include their event loop where they need one, spread over some thousand frames.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from importlib import import_module
from importlib.util import find_spec
from typing import Any, Final, NamedTuple, Protocol

Levels = tuple[tuple[float, float], ...]
_BEST: Final = 5  # best levels to compare


class Seen(NamedTuple):
    """What was understood: trades with their contracts, and the best levels at the end."""

    trades: int
    contracts: float
    bids: Levels
    asks: Levels


class Peer(Protocol):
    """Takes frames of one symbol as its socket would; `seen` tells what arrived."""

    @property
    def name(self) -> str: ...

    def take(self, frames: Sequence[bytes]) -> None: ...

    def seen(self) -> Seen: ...

    def close(self) -> None: ...


def missing(name: str) -> bool:
    """Whether a peer's package is not installed."""
    return find_spec(name) is None


class Cryptofeed:
    """cryptofeed's OKX feed, with callbacks for trades, tickers and the book."""

    name = package = "cryptofeed"

    def __init__(self, symbol: str) -> None:
        defines: Any = import_module("cryptofeed.defines")
        symbols: Any = import_module("cryptofeed.symbols")
        feed: Any = import_module("cryptofeed.exchanges.okx").OKX
        logging.getLogger("feedhandler").setLevel(logging.CRITICAL)
        pair = symbol.removesuffix("-SWAP") + "-PERP"
        symbols.Symbols.set(feed.id, {pair: symbol}, {})
        self._trades, self._contracts, self._book = 0, 0.0, None
        self._loop = asyncio.new_event_loop()
        self._feed = feed(
            symbols=[pair],
            channels=[defines.TRADES, defines.TICKER, defines.L2_BOOK],
            callbacks={
                defines.TRADES: self._on_trade,
                defines.TICKER: _ignore,
                defines.L2_BOOK: self._on_book,
            },
        )

    async def _on_trade(self, trade: Any, _: float) -> None:
        self._trades += 1
        self._contracts += float(trade.amount)

    async def _on_book(self, book: Any, _: float) -> None:
        self._book = book

    def take(self, frames: Sequence[bytes]) -> None:
        self._loop.run_until_complete(self._feed_all(frames))

    async def _feed_all(self, frames: Sequence[bytes]) -> None:
        handle = self._feed.message_handler
        for frame in frames:
            await handle(frame, None, 0.0)

    def seen(self) -> Seen:
        book: Any = self._book
        sides = [
            tuple((float(at), float(side[at])) for at in (side.index(n)[0] for n in range(_BEST)))
            for side in (book.book.bids, book.book.asks)
        ]
        return Seen(self._trades, self._contracts, sides[0], sides[1])

    def close(self) -> None:
        self._loop.close()


async def _ignore(event: Any, _: float) -> None:
    """A callback, so that the event is made."""


class CcxtPro:
    """ccxt.pro's OKX client: the text goes to its handler as its socket would give it."""

    name, package = "ccxt.pro", "ccxt"

    def __init__(self, symbol: str) -> None:
        self._symbol = symbol
        self._loop = asyncio.new_event_loop()
        self._exchange: Any = import_module("ccxt.pro").okx()
        self._unified = self._loop.run_until_complete(self._open())
        self._trades, self._contracts = 0, 0.0

    async def _open(self) -> str:
        exchange, symbol = self._exchange, self._symbol
        base, quote, _ = symbol.split("-")
        row = {"instId": symbol, "instType": "SWAP", "ctType": "linear", "settleCcy": quote, "ctVal": "0.01"}
        row |= {"uly": f"{base}-{quote}", "instFamily": f"{base}-{quote}", "ctValCcy": base, "state": "live"}
        row |= {"tickSz": "0.1", "lotSz": "0.01", "minSz": "0.01", "lever": "100", "ctMult": "1"}
        exchange.set_markets([exchange.parse_market(row)])
        self._client = exchange.client("wss://bench.invalid/public")
        unified: str = exchange.safe_symbol(symbol)
        return unified

    def take(self, frames: Sequence[bytes]) -> None:
        self._loop.run_until_complete(self._feed_all([frame.decode() for frame in frames]))

    async def _feed_all(self, texts: Sequence[str]) -> None:
        handle = self._client.handle_text_or_binary_message
        for text in texts:
            handle(text)

    def seen(self) -> Seen:
        trades = self._exchange.trades[self._unified]
        book = self._exchange.orderbooks[self._unified]
        sides = [tuple((level[0], level[1]) for level in book[side][:_BEST]) for side in ("bids", "asks")]
        return Seen(len(trades), sum(trade["amount"] for trade in trades), sides[0], sides[1])

    def close(self) -> None:
        self._loop.run_until_complete(self._exchange.close())
        self._loop.close()
