"""Files of prints, of best prices, and of OKX frames: moments at their recorded times after the first one."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal, InvalidOperation
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import msgspec

from engine.core.errors import ConfigError
from engine.core.instruments import Instrument, venue_symbol
from engine.core.market import Side
from engine.core.times import NS_PER_MIN
from engine.exchange.simulator.past import Bar
from engine.exchange.simulator.recorded import (
    HISTORY_CANDLES,
    Point,
    Recording,
    Row,
    finite,
    nanoseconds,
    read_rows,
    time_column,
)
from engine.exchange.simulator.universe import LISTINGS, Listing

_TRADES, _BEST = "trades", "bbo-tbt"
_BEST_NS: Final = 100_000_000  # best prices change a hundred times a second; one in so long is enough
_SIZES: Final = ("size", "qty", "quantity", "amount")


def read_prints(path: Path, listing: Listing, header: Row, rows: Iterator[Row]) -> Recording:
    price_at, time_at = header.index("price"), time_column(path, header)
    size_at = next((header.index(name) for name in _SIZES if name in header), None)
    side_at = header.index("taker_side") if "taker_side" in header else None
    if size_at is None:
        raise ConfigError(f"{path}:1: expected one of the columns {', '.join(_SIZES)}")
    instrument = listing.instrument

    def point(row: Row) -> Point:
        contracts = instrument.floor_size(finite(row[size_at]) / instrument.contract_value)
        return Point(
            nanoseconds(row[time_at]),
            instrument.round_price(finite(row[price_at])),
            max(instrument.lot_size, contracts),
            None if side_at is None else Side(row[side_at].lower()),
        )

    return moments(path, listing, read_rows(path, rows, point))


def read_best_prices(path: Path, listing: Listing, header: Row, rows: Iterator[Row]) -> Recording:
    """Each change of the middle is a print of one lot there, so that bars and `last` move with the book."""
    bid_at, ask_at, time_at = header.index("bid"), header.index("ask"), time_column(path, header)
    instrument = listing.instrument

    def point(row: Row) -> Point:
        bid, ask = (instrument.round_price(finite(row[at])) for at in (bid_at, ask_at))
        middle = instrument.round_price((bid + ask) / 2)
        return Point(nanoseconds(row[time_at]), middle, instrument.lot_size, None, bid, ask)

    points = read_rows(path, rows, point)
    quiet = [b if b.price != a.price else b._replace(contracts=Decimal(0)) for a, b in pairwise(points)]
    return moments(path, listing, [*points[:1], *quiet])


def moments(path: Path, listing: Listing, points: list[Point]) -> Recording:
    """Points still at their recorded times, put in order and set to begin at 0 after a flat past."""
    if not points:
        raise ConfigError(f"{path} holds nothing to play for {listing.instrument.symbol}")
    points.sort(key=lambda point: point.after_ns)
    first, flat = points[0].after_ns, points[0].price
    lot, begun = listing.instrument.lot_size, -(first % NS_PER_MIN)
    past = range(-HISTORY_CANDLES * NS_PER_MIN, 0, NS_PER_MIN)
    return Recording(
        name=path.name,
        listing=listing,
        period_ns=NS_PER_MIN,
        first_ns=first,
        history=[Bar(begun + at, flat, flat, flat, flat, lot) for at in past],
        points=[point._replace(after_ns=point.after_ns - first) for point in points],
    )


# -- frames


def read_frames(path: Path, wanted: tuple[Listing, ...], lines: Iterator[str]) -> list[Recording]:
    """Trades and best prices of those `wanted` that traded, or of all that did, as they first traded.

    Raises ConfigError that names file and line, and when there are no trades at all.
    """
    played: dict[str, _Played] = {}
    for number, line in enumerate(lines, 1):
        channel, name, rows = _rows_of(path, number, line)
        if not rows:
            continue
        try:
            listing = LISTINGS.get(venue_symbol(name))
            if listing is None or (wanted and listing not in wanted):
                continue
            symbol = listing.instrument.symbol
            if channel == _TRADES:
                played.setdefault(symbol, _Played()).trades(rows, name, listing.instrument)
            elif symbol in played:
                played[symbol].best(rows, listing.instrument)
        except (KeyError, IndexError, TypeError, ValueError, InvalidOperation, ConfigError) as error:
            raise ConfigError(f"{path}:{number}: nothing that OKX writes ({error})") from error
    if not played:
        names = ", ".join(each.instrument.symbol for each in wanted) or "a market that the simulator lists"
        raise ConfigError(f"{path} holds no trades of {names}")
    return [moments(path, LISTINGS[symbol], each.points) for symbol, each in played.items()]


class _Played:
    """Collects the moments of one market."""

    def __init__(self) -> None:
        self.points: list[Point] = []
        self._newest = 0  # trade: a new subscription repeats the last one
        self._best: tuple[Decimal | None, Decimal | None] = (None, None)
        self._best_ns = 0

    def trades(self, rows: list[Any], symbol: str, instrument: Instrument) -> None:
        for row in rows:
            if (number := int(row["tradeId"])) > self._newest:
                self._newest = number
                bid, ask = self._best
                self.points.append(_traded(row, symbol, instrument)._replace(bid=bid, ask=ask))

    def best(self, rows: list[Any], instrument: Instrument) -> None:
        """A moment at which nothing was printed; none while they stand, and at most ten a second."""
        row = rows[-1]
        ts = nanoseconds(row["ts"])
        bid, ask = (instrument.round_price(finite(row[side][0][0])) for side in ("bids", "asks"))
        if (bid, ask) != self._best and ts - self._best_ns >= _BEST_NS:
            self._best, self._best_ns = (bid, ask), ts
            self.points.append(Point(ts, self.points[-1].price, Decimal(0), None, bid, ask))


def _rows_of(path: Path, number: int, line: str) -> tuple[str, str, list[Any]]:
    """Channel, symbol and rows of a push that is played; no rows for any other frame."""
    try:
        frame = msgspec.json.decode(line, type=dict[str, Any])
        inner = frame.get("frame", frame)
        arg, rows = inner.get("arg") or {}, inner.get("data") or []
        channel = str(arg.get("channel"))
        if channel not in {_TRADES, _BEST} or not rows:
            return channel, "", []
        symbol = str(arg.get("instId") or rows[0]["instId"])
        return channel, symbol, list(rows) if "-USDT" in symbol else []
    except (msgspec.DecodeError, KeyError, TypeError, AttributeError) as error:
        raise ConfigError(f"{path}:{number}: expected a frame of OKX, one a line ({error})") from error


def _traded(row: dict[str, Any], symbol: str, instrument: Instrument) -> Point:
    size = finite(row["sz"])
    if not symbol.endswith("-SWAP"):
        size = instrument.floor_size(size / instrument.contract_value)
    price = instrument.round_price(finite(row["px"]))
    contracts = max(instrument.lot_size, size)
    return Point(nanoseconds(row["ts"]), price, contracts, Side(row["side"]))
