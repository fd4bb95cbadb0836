"""Recorded frames of OKX's public sockets as market events, by the same codec as live ones.

JSON lines, each a frame or `{"frame": {...}, "recv": "1652459225.5"}` (received, seconds). Frames that are
no market data (answers, keep-alives) say nothing; so does a book between a gap and its next snapshot.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from decimal import Decimal
from pathlib import Path

import msgspec

from engine.core.errors import CodecError, ConfigError
from engine.core.market import MarketEvent
from engine.core.times import NS_PER_S
from engine.exchange.okx.book import OrderBook, Outcome
from engine.exchange.okx.frames import Push, classify
from engine.exchange.okx.market_readers import READERS, decode
from engine.exchange.okx.market_wire import decode_books

_BOOKS = frozenset({"books", "books-l2-tbt", "books50-l2-tbt"})


class _Line(msgspec.Struct):
    frame: msgspec.Raw = msgspec.Raw()
    recv: Decimal = Decimal(0)


_LINE = msgspec.json.Decoder(_Line)


def is_frames(first_line: str) -> bool:
    """Whether a file that begins with this line holds frames of OKX."""
    return first_line.startswith("{") and ('"frame"' in first_line or '"arg"' in first_line)


def first_symbol(path: Path, lines: Iterable[str]) -> str:
    """The symbol of the first market data in a file. Raises ConfigError when there is none."""
    books: dict[str, OrderBook] = {}
    for number, text in enumerate(lines, 1):
        if events := _told(path, number, text, books):
            return events[0].symbol
    raise ConfigError(f"{path} has no market data")


def read_frames(path: Path, lines: Iterable[str], symbol: str) -> Iterator[MarketEvent]:
    """The events of one symbol. Raises ConfigError that names file and line, or the symbols there are."""
    books: dict[str, OrderBook] = {}
    others: dict[str, None] = {}
    found = False
    for number, text in enumerate(lines, 1):
        for event in _told(path, number, text, books):
            if event.symbol == symbol:
                found = True
                yield event
            else:
                others[event.symbol] = None
    if not found:
        raise ConfigError(f"{path} has nothing of {symbol}; it has {', '.join(others) or 'no market data'}")


def _told(path: Path, number: int, text: str, books: dict[str, OrderBook]) -> Sequence[MarketEvent]:
    try:
        return _events(text, books)
    except (CodecError, msgspec.DecodeError) as error:
        raise ConfigError(f"{path}:{number}: {error}") from error


def _events(text: str, books: dict[str, OrderBook]) -> Sequence[MarketEvent]:
    line = _LINE.decode(text)
    frame = bytes(line.frame) or text.strip().encode()
    ts_recv = int(line.recv * NS_PER_S)
    kind = classify(frame)
    if not isinstance(kind, Push):
        return ()
    if kind.arg.channel in _BOOKS:
        events: list[MarketEvent] = []
        for message in decode_books(frame):
            book = books.setdefault(message.symbol, OrderBook(message.symbol))
            top = book.top(ts_recv) if book.apply(message) is Outcome.CHANGED else None
            events += () if top is None else (top,)
        return events
    return decode(kind.arg, frame, ts_recv) if kind.arg.channel in READERS else ()
