"""Recordings that a command is given: which market they hold, and their events in order of time."""

from __future__ import annotations

import heapq
import re
from collections.abc import Iterator, Sequence
from itertools import chain, islice
from pathlib import Path
from typing import Final

from engine.core.errors import ConfigError
from engine.core.instruments import venue_symbol
from engine.core.market import MarketEvent
from engine.exchange.okx.recorded import first_symbol, is_frames, read_frames
from engine.market.recording import read_events
from engine.recordings import read_lines

_BEGINNING: Final = 2000  # events, among which each kind that a recording has comes up
_COIN: Final = re.compile(r"(?:^|_)([a-z]{2,5}?)[-_]?(?:usdt|perp)")


def symbol_of(paths: Sequence[Path], asked: str) -> str:
    """The market as the venue writes it: what was asked for, else what the name of a file says."""
    for path in paths:
        if not path.exists():
            raise ConfigError(f"{path}: no such file or folder")
        if next(read_lines(path), "") == "":
            raise ConfigError(f"{path} is empty")
    if asked:
        return asked if "-" in asked else venue_symbol(asked)
    for path in paths:
        if _holds_frames(path):
            return first_symbol(path, read_lines(path))
        name = path.name.lower().replace("okx_", "").replace("binance_", "")
        if (match := _COIN.search(name)) is not None:
            return venue_symbol(match[1])
    raise ConfigError(f"{paths[0].name} does not name its market; say which with --symbol BTC")


def read_market(path: Path, symbol: str) -> Iterator[MarketEvent]:
    """The events of one file, oldest first: a table, a recorded book, or frames of OKX."""
    if _holds_frames(path):
        return read_frames(path, read_lines(path), symbol)
    return read_events(path, symbol)


def read_all(paths: Sequence[Path], symbol: str) -> tuple[list[MarketEvent], Iterator[MarketEvent]]:
    """The beginning of each file, and the events of all of them, merged by the venue's time."""
    beginnings: list[MarketEvent] = []
    streams: list[Iterator[MarketEvent]] = []
    for path in paths:
        events = read_market(path, symbol)
        beginning = list(islice(events, _BEGINNING))
        beginnings += beginning
        streams.append(chain(beginning, events))
    if not beginnings:
        raise ConfigError(f"{paths[0]} holds no events")
    return beginnings, heapq.merge(*streams, key=lambda event: event.ts_event)


def _holds_frames(path: Path) -> bool:
    return (path.is_dir() or ".jsonl" in path.suffixes) and is_frames(next(read_lines(path), ""))
