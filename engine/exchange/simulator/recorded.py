"""What a recording is, and the values in its files."""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Final, NamedTuple, TypeVar

from engine.core.errors import ConfigError
from engine.core.instruments import venue_symbol
from engine.core.market import Side
from engine.exchange.simulator.past import Bar
from engine.exchange.simulator.universe import Listing, listings

HISTORY_CANDLES: Final = 400
_USUAL_FUNDING: Final = Decimal("0.0001")
_COIN: Final = re.compile(r"(?:^|_)([a-z]{2,5}?)[-_]?(?:usdt|perp)")
T = TypeVar("T")
Row = list[str]


class Point(NamedTuple):
    """A moment: ns since the first played one. `contracts` 0: the book moved, nothing was printed."""

    after_ns: int
    price: Decimal
    contracts: Decimal
    side: Side | None = None  # of the taker, where it is known
    bid: Decimal | None = None
    ask: Decimal | None = None


class Recording(NamedTuple):
    """`history` has times relative to the first played moment, negative. `funding`: rates by such times."""

    name: str
    listing: Listing
    period_ns: int  # length of a candle; a minute for prints
    first_ns: int  # time of the first played moment when it was recorded
    history: list[Bar]
    points: Sequence[Point]
    funding: tuple[tuple[int, Decimal], ...] = ()

    def funding_at(self, after_ns: int) -> Decimal:
        """The rate that was charged next after a moment; the usual one where the recording has none."""
        at = bisect_left(self.funding, (after_ns, Decimal(-1)))
        return self.funding[at][1] if at < len(self.funding) else _USUAL_FUNDING


def listing_of(path: Path, symbols: tuple[str, ...]) -> Listing:
    """The market of a file. Raises ConfigError when neither its name nor `symbols` say it."""
    match = _COIN.search(path.name.lower().replace("okx_", "").replace("binance_", ""))
    asked = listings(symbols)
    if match is None and not asked:
        raise ConfigError(f"{path.name} does not name its market; say which with --symbol BTC")
    if match is None:
        return asked[0]
    symbol = venue_symbol(match[1])
    named = [each for each in asked if each.instrument.symbol == symbol]
    return named[0] if named else asked[0] if asked else listings((symbol,))[0]


def read_rows(path: Path, rows: Iterator[Row], parse: Callable[[Row], T]) -> list[T]:
    """Every row by `parse`; line 1 was the header."""
    found: list[T] = []
    for line, row in enumerate(rows, 2):
        try:
            found.append(parse(row))
        except (InvalidOperation, ValueError, IndexError) as error:
            why = "a cell is no number" if isinstance(error, InvalidOperation) else error
            text = ",".join(row)[:80]
            raise ConfigError(f"{path}:{line}: not a row of this kind ({why}): {text}") from error
    return found


def time_column(path: Path, header: Row) -> int:
    for at, name in enumerate(header):
        if name.startswith(("ts", "time", "trade_ts")):
            return at
    raise ConfigError(f"{path}:1: expected a column with the time")


def finite(text: object) -> Decimal:
    value = Decimal(str(text))
    if not value.is_finite():
        raise ValueError(f"{text} is no number")
    return value


def nanoseconds(text: object) -> int:
    """A stamp in s, ms, µs or ns, told by its size."""
    stamp = int(str(text))
    if stamp <= 0:
        raise ValueError(f"{text} is no time")
    while stamp < 10**18:
        stamp *= 1000
    return stamp
