"""Recorded markets: candles played as a path, or prints as they came.

A recording keeps its own rhythm and gets new times: its first played moment is when the simulator starts.
A candle is played within its own interval, by what it says alone: open at its start, then the nearer
extreme at one third, the other at two thirds, and the close just before its end. «Nearer» is the extreme
closer to the open, low first on a tie; which one came first in truth is not in a candle, and nothing later
is looked at. The first candles are served as history and not played. When a recording ends, the market
holds still, or starts over with `--loop`, its prices joined so that there is no jump.

Files: `ts_ms,open,high,low,close,volume` (volume in coins, stamped at the open) for candles, or a header
row with `price` and a size for prints. `.gz` is unpacked.
"""

from __future__ import annotations

import csv
import gzip
import re
from collections.abc import Iterator
from decimal import Decimal, InvalidOperation
from itertools import pairwise
from pathlib import Path
from typing import Final, NamedTuple

import msgspec

from engine.core.errors import ConfigError
from engine.core.market import Side
from engine.core.times import NS_PER_MIN, NS_PER_MS, NS_PER_S
from engine.exchange.simulator.source import Bar, Levels, Quote
from engine.exchange.simulator.universe import Listing, listings

HISTORY_CANDLES: Final = 400
_LEVELS: Final = 5
_FUNDING: Final = Decimal("0.0001")
_COIN: Final = re.compile(r"(?:^|_)([a-z]{2,5})(?:-?usdt|_perp)")


class Point(NamedTuple):
    """A moment of the recording: ns since its first played one, price, contracts."""

    after_ns: int
    price: Decimal
    contracts: Decimal


class Recording(NamedTuple):
    listing: Listing
    history: list[Bar]  # times relative to the first played moment, negative
    points: list[Point]


class _State(msgspec.Struct):
    start_ns: int
    index: int


class RecordedMarket:
    """Plays one recording from `start_ns` on."""

    def __init__(self, recording: Recording, start_ns: int, *, loop: bool = False) -> None:
        self.listings: tuple[Listing, ...] = (recording.listing,)
        self._recording = recording
        self._loop = loop
        self._state = _State(start_ns - start_ns % NS_PER_MIN, 0)
        self.ended = False

    def history(self) -> dict[str, list[Bar]]:
        start = self._state.start_ns
        bars = [bar._replace(ts_open=bar.ts_open + start) for bar in self._recording.history]
        return {self._recording.listing.instrument.symbol: bars}

    def state(self) -> bytes:
        return msgspec.msgpack.encode(self._state)

    def restore(self, state: bytes) -> None:
        self._state = msgspec.msgpack.decode(state, type=_State)

    def advance(self, ts_ns: int) -> list[Quote]:
        points, state = self._recording.points, self._state
        quotes: list[Quote] = []
        while True:
            if state.index == len(points):
                self.ended = True
                if not self._loop:
                    return quotes
                state.start_ns += points[-1].after_ns + NS_PER_S
                state.index = 0
            point = points[state.index]
            ts = state.start_ns + point.after_ns
            if ts > ts_ns:
                return quotes
            quotes.append(_quote(self._recording.listing, point, ts, up=self._rose(state.index)))
            state.index += 1

    def _rose(self, index: int) -> bool:
        points = self._recording.points
        return index == 0 or points[index].price >= points[index - 1].price


def read_recording(path: Path, symbol: str = "") -> Recording:
    """Read a file in one of the formats above. Raises ConfigError that names file and line."""
    (listing,) = listings((symbol or _symbol_of(path),))
    rows = _rows(path)
    header = next(rows, None)
    if header is None:
        raise ConfigError(f"{path} is empty")
    if header[0] == "ts_ms":
        return _candles(path, listing, rows)
    if "price" in header:
        return _prints(path, listing, header, rows)
    raise ConfigError(f"{path}:1: expected a header with ts_ms,open,high,low,close,volume or with price")


def _symbol_of(path: Path) -> str:
    match = _COIN.search(path.name.lower().replace("okx_", "").replace("binance_", ""))
    if match is None:
        raise ConfigError(f"{path.name} does not name its market; say which with --symbol BTC")
    return match[1].upper()


def _rows(path: Path) -> Iterator[list[str]]:
    opener = gzip.open if path.suffix == ".gz" else open
    try:
        with opener(path, "rt", encoding="utf-8", newline="") as file:
            yield from csv.reader(file)
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} cannot be read: {error}") from error


def _candles(path: Path, listing: Listing, rows: Iterator[list[str]]) -> Recording:
    bars: list[Bar] = []
    for line, row in enumerate(rows, 2):
        try:
            prices = [listing.instrument.round_price(Decimal(text)) for text in row[1:5]]
            contracts = listing.instrument.floor_size(Decimal(row[5]) / listing.instrument.contract_value)
            bar = Bar(int(row[0]) * NS_PER_MS, prices[0], prices[1], prices[2], prices[3], contracts)
        except (InvalidOperation, ValueError, IndexError) as error:
            raise ConfigError(f"{path}:{line}: expected ts_ms,open,high,low,close,volume") from error
        if bars and bar.ts_open <= bars[-1].ts_open:
            raise ConfigError(f"{path}:{line}: times must rise")
        bars.append(bar)
    if len(bars) < 2:  # noqa: PLR2004 - a period needs two
        raise ConfigError(f"{path} holds no two candles")
    period = min(b.ts_open - a.ts_open for a, b in pairwise(bars))
    past = min(HISTORY_CANDLES, len(bars) // 2)
    first = bars[past].ts_open
    earlier = [bar._replace(ts_open=bar.ts_open - first) for bar in bars[:past]]
    history = [minute for bar in earlier for minute in _minutes(bar, period)]
    points = [point for bar in bars[past:] for point in _path(bar, bar.ts_open - first, period, listing)]
    return Recording(listing, history, points)


def _minutes(bar: Bar, period: int) -> list[Bar]:
    """A longer candle as one-minute bars along its path; the same candle when they are put together."""
    count = period // NS_PER_MIN
    if count <= 1:
        return [bar]
    corners = [bar.open, *_extremes(bar), bar.close]
    minutes: list[Bar] = []
    for i in range(count):
        at = bar.ts_open + i * NS_PER_MIN
        a, b = corners[i * 3 // count], corners[min(3, (i + 1) * 3 // count)]
        touched = [a, b]
        if i == count - 1:
            touched = [a, b, corners[3]]
        minutes.append(Bar(at, a, max(touched), min(touched), touched[-1], bar.volume / count))
    return minutes


def _extremes(bar: Bar) -> tuple[Decimal, Decimal]:
    """High and low in the order in which they are played: the one nearer to the open first."""
    if bar.high - bar.open < bar.open - bar.low:
        return bar.high, bar.low
    return bar.low, bar.high


def _path(bar: Bar, after: int, period: int, listing: Listing) -> Iterator[Point]:
    """Open, extremes and close, with steps between them so that a minute is not one jump."""
    corners = [bar.open, *_extremes(bar), bar.close]
    times = [0, period // 3, 2 * period // 3, period - NS_PER_S]
    steps = max(1, min(10, period // (15 * NS_PER_S)))
    contracts = max(listing.instrument.lot_size, listing.instrument.floor_size(bar.volume / (3 * steps + 1)))
    yield Point(after, corners[0], contracts)
    for leg in range(3):
        for step in range(1, steps + 1):
            price = corners[leg] + (corners[leg + 1] - corners[leg]) * step / steps
            at = times[leg] + (times[leg + 1] - times[leg]) * step // steps
            yield Point(after + at, listing.instrument.round_price(price), contracts)


def _prints(path: Path, listing: Listing, header: list[str], rows: Iterator[list[str]]) -> Recording:
    names = [name.lower() for name in header]
    try:
        price_at = names.index("price")
        size_at = next(i for i, name in enumerate(names) if name in {"size", "qty", "quantity", "amount"})
        time_at = next(i for i, name in enumerate(names) if name.startswith(("ts", "time")))
    except (ValueError, StopIteration) as error:
        raise ConfigError(f"{path}:1: expected columns for time, price and size") from error
    points: list[Point] = []
    first = 0
    for line, row in enumerate(rows, 2):
        try:
            ts = _nanoseconds(int(row[time_at]))
            coins = Decimal(row[size_at])
            price = listing.instrument.round_price(Decimal(row[price_at]))
        except (InvalidOperation, ValueError, IndexError) as error:
            raise ConfigError(f"{path}:{line}: expected numbers for time, price and size") from error
        first = first or ts
        contracts = listing.instrument.floor_size(coins / listing.instrument.contract_value)
        points.append(Point(max(0, ts - first), price, max(listing.instrument.lot_size, contracts)))
    if not points:
        raise ConfigError(f"{path} holds no prints")
    flat = points[0].price
    lot = listing.instrument.lot_size
    history = [Bar(-(i + 1) * NS_PER_MIN, flat, flat, flat, flat, lot) for i in range(HISTORY_CANDLES)]
    return Recording(listing, history[::-1], points)


def _nanoseconds(stamp: int) -> int:
    """A stamp in s, ms, µs or ns, told by its size."""
    while stamp < 10**18:
        stamp *= 1000
    return stamp


def _quote(listing: Listing, point: Point, ts: int, *, up: bool) -> Quote:
    tick = listing.instrument.tick_size
    spread = point.price * Decimal(str(listing.character.spread_bps)) / 10_000
    gap = max(tick, listing.instrument.round_price(spread))
    usd = Decimal(int(listing.character.depth_usd)) / _LEVELS
    size = max(listing.instrument.lot_size, listing.instrument.contracts_for_notional(usd, point.price))

    def side(sign: int) -> Levels:
        """Levels away from the print, which was made at the best of its side."""
        best = point.price if (sign > 0) == up else point.price + sign * gap
        return tuple((best + sign * gap * i, size) for i in range(_LEVELS))

    return Quote(
        symbol=listing.instrument.symbol,
        ts=ts,
        bids=side(-1),
        asks=side(1),
        price=point.price,
        size=point.contracts,
        side=Side.BUY if up else Side.SELL,
        mark=point.price,
        index=point.price,
        funding_rate=_FUNDING,
    )
