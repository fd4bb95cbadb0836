"""Recorded books: a snapshot and its changes, as JSON lines.

    {"snapshot":true,"lastUpdateId":5,"T":1723161256493,"bids":[["61800.2","2.9"]],"asks":[...]}
    {"T":1723161256600,"u":6,"b":[["61800.2","0"]],"a":[["61800.3","1.5"]]}

A size of 0 takes a level away. Changes up to the snapshot's `lastUpdateId` are in it already.
https://developers.binance.com/docs/derivatives/usds-margined-futures/websocket-market-streams
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

import msgspec

from engine.core.errors import ConfigError
from engine.core.market import MOST, BookTop, Level
from engine.core.times import NS_PER_MS

_LEVELS: Final = 5
_Level = tuple[str, str]


class _Line(msgspec.Struct):
    T: int
    snapshot: bool = False
    lastUpdateId: int = 0
    u: int = 0
    bids: list[_Level] = []
    asks: list[_Level] = []
    b: list[_Level] = []
    a: list[_Level] = []


_DECODER: Final = msgspec.json.Decoder(_Line)


def read_depth(path: Path, lines: Iterable[str], symbol: str) -> Iterator[BookTop]:
    """The best levels after each change. Raises ConfigError that names file and line."""
    bids: dict[float, float] = {}
    asks: dict[float, float] = {}
    seen = 0
    for number, text in enumerate(lines, 1):
        try:
            line = _DECODER.decode(text)
            if line.snapshot:
                bids.clear()
                asks.clear()
                seen = line.lastUpdateId
            elif not bids and not asks:
                continue  # nothing to change before the snapshot
            elif line.u <= seen:
                continue
            _change(bids, (*line.bids, *line.b))
            _change(asks, (*line.asks, *line.a))
        except (msgspec.DecodeError, ValueError) as error:
            raise ConfigError(f"{path}:{number}: {error}") from error
        yield BookTop(
            symbol,
            tuple(Level(price, bids[price]) for price in heapq.nlargest(_LEVELS, bids)),
            tuple(Level(price, asks[price]) for price in heapq.nsmallest(_LEVELS, asks)),
            line.T * NS_PER_MS,
        )


def _change(side: dict[float, float], levels: Iterable[_Level]) -> None:
    for text, size in levels:
        price, left = float(text), float(size)
        check_level(price, left)
        if left:
            side[price] = left
        else:
            side.pop(price, None)


def check_level(price: float, size: float) -> None:
    """Raises ValueError for what no book holds."""
    if not (0.0 < price < MOST and 0.0 <= size < MOST):
        raise ValueError(f"no book has {size:g} at {price:g}")
