"""Files of recorded markets, read into moments: prices and sizes at times after the first one.

Files, plain or `.gz` or `.zst`, and folders of `edgewise record`, told by their first line:
- `ts_ms,open,high,low,close,volume`: candles, stamped at the open, volume in coins, or in dollars
  where so many coins cannot be (`_in_coins`);
- a header with `price` and a size: prints, size in coins; with `taker_side` if it is known;
- a header with `bid` and `ask`: best prices;
- JSON lines: OKX frames (`{"frame": {...}}` or bare), of which `trades` are prints and `bbo-tbt` best
  prices, sizes in contracts for a swap and in coins for a spot pair;
- `funding_ts_ms,funding_rate`: see `read_funding`.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from decimal import Decimal
from itertools import chain
from pathlib import Path

from engine.core.errors import ConfigError
from engine.core.times import NS_PER_MS
from engine.exchange.simulator.recorded import Recording, Row, finite, listing_of, read_rows
from engine.exchange.simulator.recorded_candles import read_candles
from engine.exchange.simulator.recorded_prints import read_best_prices, read_frames, read_prints
from engine.exchange.simulator.universe import Listing, listings
from engine.recordings import read_lines


def read_recording(
    path: Path, symbols: tuple[str, ...] = (), funding: Path | None = None, *, corners: bool = False
) -> Recording:
    """Read a file in one of the formats above. Raises ConfigError that names file and line.

    It is of the one of `symbols` that the file names, else of the first; without any, of what it names.
    `corners`: as a backtest must play candles; see recorded_candles.
    """
    lines = read_lines(path)
    first = next(lines, "")
    if not first:
        raise ConfigError(f"{path} is empty")
    if first.startswith("{"):
        wanted = (listing_of(path, symbols),) if symbols else ()
        recording = read_frames(path, wanted, chain([first], lines))[0]
    else:
        header = first.strip().lower().split(",")
        recording = _table(path, listing_of(path, symbols), header, csv.reader(lines), corners=corners)
    if not recording.points:
        raise ConfigError(f"{path} holds nothing to play")
    return _charged(recording, funding)


def read_recordings(
    path: Path, symbols: tuple[str, ...] = (), funding: Path | None = None, *, corners: bool = False
) -> list[Recording]:
    """As read_recording; of frames every one of `symbols` that traded, or every market that did.

    `funding` is of the first. Raises ConfigError.
    """
    lines = read_lines(path)
    first = next(lines, "")
    if not first.startswith("{"):
        return [read_recording(path, symbols, funding, corners=corners)]
    found = read_frames(path, listings(symbols), chain([first], lines))
    return [_charged(found[0], funding), *found[1:]]


def _charged(recording: Recording, funding: Path | None) -> Recording:
    if funding is None:
        return recording
    rates = tuple((ts - recording.first_ns, rate) for ts, rate in read_funding(funding))
    return recording._replace(funding=rates)


def read_funding(path: Path) -> list[tuple[int, Decimal]]:
    """Time in ns and rate of each charge, oldest first. Raises ConfigError."""
    lines = read_lines(path)
    if next(lines, "").strip() != "funding_ts_ms,funding_rate":
        raise ConfigError(f"{path}:1: expected a header funding_ts_ms,funding_rate")
    return sorted(read_rows(path, csv.reader(lines), lambda row: (int(row[0]) * NS_PER_MS, finite(row[1]))))


def _table(path: Path, listing: Listing, header: Row, rows: Iterator[Row], *, corners: bool) -> Recording:
    if header[:6] == ["ts_ms", "open", "high", "low", "close", "volume"]:
        return read_candles(path, listing, rows, corners=corners)
    if "price" in header:
        return read_prints(path, listing, header, rows)
    if {"bid", "ask"} <= set(header):
        return read_best_prices(path, listing, header, rows)
    if header == ["funding_ts_ms", "funding_rate"]:
        raise ConfigError(f"{path} holds funding only; play candles and give it with --funding")
    raise ConfigError(f"{path}:1: expected candles (ts_ms,open,…), a column price, or bid and ask")
