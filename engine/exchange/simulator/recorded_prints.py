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
    listing_of,
    nanoseconds,
    read_rows,
    time_column,
)
from engine.exchange.simulator.universe import LISTINGS, Listing

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
    lot = listing.instrument.lot_size
    return Recording(
        name=path.name,
        listing=listing,
        period_ns=NS_PER_MIN,
        first_ns=first,
        history=[Bar(-i * NS_PER_MIN, flat, flat, flat, flat, lot) for i in range(HISTORY_CANDLES, 0, -1)],
        points=[point._replace(after_ns=point.after_ns - first) for point in points],
    )


# -- frames


def read_frames(path: Path, symbols: tuple[str, ...], lines: Iterator[str]) -> Recording:
    """Trades of one market: the one asked for, else the first listed one that traded."""
    wanted = listing_of(path, symbols) if symbols else None
    points: list[Point] = []
    for number, line in enumerate(lines, 1):
        for row in _trades(path, number, line):
            try:
                traded = LISTINGS.get(venue_symbol(str(row["instId"])))
                wanted = wanted or traded
                if traded is not None and traded is wanted:
                    points.append(_traded(row, traded.instrument))
            except (KeyError, ValueError, InvalidOperation, ConfigError) as error:
                raise ConfigError(f"{path}:{number}: no trade as OKX writes it ({error})") from error
    if wanted is None:
        raise ConfigError(f"{path} holds no trades of a market that the simulator lists")
    return moments(path, wanted, points)


def _trades(path: Path, number: int, line: str) -> list[dict[str, Any]]:
    try:
        frame = msgspec.json.decode(line, type=dict[str, Any])
        inner = frame.get("frame", frame)
        rows = inner.get("data", []) if inner.get("arg", {}).get("channel") == "trades" else []
        return [row for row in rows if "-USDT" in str(row["instId"])]
    except (msgspec.DecodeError, KeyError, TypeError, AttributeError) as error:
        raise ConfigError(f"{path}:{number}: expected a frame of OKX, one a line ({error})") from error


def _traded(row: dict[str, Any], instrument: Instrument) -> Point:
    size = finite(row["sz"])
    if not str(row["instId"]).endswith("-SWAP"):
        size = instrument.floor_size(size / instrument.contract_value)
    price = instrument.round_price(finite(row["px"]))
    contracts = max(instrument.lot_size, size)
    return Point(nanoseconds(row["ts"]), price, contracts, Side(row["side"]))
