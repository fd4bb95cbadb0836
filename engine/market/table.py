"""Tables of a market's past as engine.market.recording reads them, continued where they end."""

from __future__ import annotations

import csv
import gzip
import io
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path
from typing import Final

from engine.core.errors import ConfigError
from engine.core.market import Candle
from engine.core.times import NS_PER_MS, timeframe_ns
from engine.files import writing
from engine.market.recording import CANDLE_COLUMNS, FUNDING_COLUMNS
from engine.recordings import read_lines

_LINE: Final = "\n"


class CandleTable:
    """A file of candles of one timeframe, `.csv` or `.csv.gz`. `rows` were appended by this process, and
    `holes` are candles that the venue does not have between those that it has. `begin_ns` is when the first
    candle of a file that is continued opened; 0 for a new one.
    """

    def __init__(self, path: Path, timeframe: str) -> None:
        self.path, self.timeframe = path, timeframe
        self.rows = self.holes = self.begin_ns = 0
        self._step_ns = timeframe_ns(timeframe)
        self._next_ns = 0  # 0: nothing is in the file

    def continued(self, since_ns: int) -> int:
        """Where to go on: after the last candle of the file, or at `since_ns` where there is none.

        Raises ConfigError for a file of something else.
        """
        if not self.path.exists() or self.path.stat().st_size == 0:
            return since_ns
        lines = read_lines(self.path)
        header = next(lines, "").strip()
        if header != ",".join(CANDLE_COLUMNS):
            raise ConfigError(f"{self.path}:1: expected {','.join(CANDLE_COLUMNS)}, found {header[:60]!r}")
        begin_ns = end_ns = 0
        for line in lines:
            before_ns, end_ns = end_ns, _opened(line)
            begin_ns = begin_ns or end_ns
            if before_ns and (end_ns <= before_ns or (end_ns - before_ns) % self._step_ns):
                raise ConfigError(f"{self.path} holds no {self.timeframe} candles in order: {line.strip()}")
        if not end_ns:
            return since_ns
        self.begin_ns = begin_ns
        self._next_ns = end_ns + self._step_ns
        return self._next_ns

    def append(self, candles: Sequence[Candle]) -> None:
        """Add candles that follow those of the file; on disk when this returns. Raises ConfigError."""
        if not candles:
            return
        text = io.StringIO()
        rows = csv.writer(text, lineterminator=_LINE)
        if not self._next_ns:
            rows.writerow(CANDLE_COLUMNS)
        for one in candles:
            if self._next_ns:
                self.holes += (one.ts_open - self._next_ns) // self._step_ns
            self._next_ns = one.ts_open + self._step_ns
            figures = (one.open, one.high, one.low, one.close, one.volume)
            rows.writerow((one.ts_open // NS_PER_MS, *map(_plain, figures)))
        _write(self.path, text.getvalue(), "ab")
        self.rows += len(candles)


def write_funding(path: Path, rates: Sequence[tuple[int, Decimal]]) -> None:
    """A table of funding charges in place of what the file held. Raises ConfigError."""
    text = io.StringIO()
    rows = csv.writer(text, lineterminator=_LINE)
    rows.writerow(FUNDING_COLUMNS)
    rows.writerows((ts // NS_PER_MS, f"{rate:f}") for ts, rate in rates)
    _write(path, text.getvalue(), "wb")


def _write(path: Path, text: str, mode: str) -> None:
    """A member of a gzip file is whole by itself: a file that is continued stays readable after a crash."""
    data = text.encode()
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open(mode) as file:
            file.write(gzip.compress(data) if path.suffix == ".gz" else data)


def _opened(line: str) -> int:
    try:
        return int(line.partition(",")[0]) * NS_PER_MS
    except ValueError as error:
        raise ConfigError(f"not a row of a candle table: {line.strip()[:60]!r}") from error


def _plain(value: float) -> str:
    """The shortest decimal that reads back as the same number, never with an exponent."""
    return f"{Decimal(repr(value)):f}"
