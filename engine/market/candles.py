"""Candles in order: nothing twice, nothing missing, and the longer timeframes made of the base.

A series lets through only closed candles, each once and in order. A candle that comes too early is held
until the ones before it were fetched, so that what is computed from the series never knows of the gap.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import fsum
from typing import ClassVar, Final

from engine.core.market import Candle
from engine.core.times import timeframe_ns
from engine.market.records import Gap

_MAX_HELD: Final = 720
_VOLUME_DIGITS: Final = 8  # venues give coins with at most 8 decimals; a sum rounded there is exact
_NONE: Final[tuple[Candle, ...]] = ()


class CandleSeries:
    """Order of one symbol and timeframe.

    Rule for full: of more than 720 held candles the oldest goes, and the gap reaches over it.
    """

    __slots__ = ("dropped", "forming", "gaps", "held", "last_open", "step_ns", "symbol", "timeframe")
    STATE: ClassVar[tuple[str, ...]] = ("forming", "held", "last_open")

    def __init__(self, symbol: str, timeframe: str) -> None:
        self.symbol = symbol
        self.timeframe = timeframe
        self.step_ns = timeframe_ns(timeframe)
        self.last_open: int | None = None  # of the newest candle that was let through
        self.forming: Candle | None = None
        self.held: list[Candle] = []  # later than a gap, oldest first
        self.dropped = 0  # twice, late or off the grid
        self.gaps = 0

    @property
    def gap(self) -> Gap | None:
        """What is missing right now, None when nothing is."""
        if not self.held or self.last_open is None:
            return None
        ts_from = self.last_open + self.step_ns
        return Gap(self.symbol, self.timeframe, ts_from, self.held[0].ts_open, self.held[-1].ts_open)

    def accept(self, candle: Candle) -> Sequence[Candle]:
        """Take one candle of the feed; return the closed ones whose turn has come, oldest first."""
        last = self.last_open
        if candle.ts_open % self.step_ns or (last is not None and candle.ts_open <= last):
            self.dropped += 1
            return _NONE
        if not candle.closed:
            if self.forming is None or candle.ts_open >= self.forming.ts_open:
                self.forming = candle
            return _NONE
        if last is not None and candle.ts_open > last + self.step_ns:
            self._hold(candle)
            return _NONE
        self._pass(candle)
        return (candle, *self._release()) if self.held else (candle,)

    def fill(self, candles: Sequence[Candle]) -> Sequence[Candle]:
        """Take what the venue says about a gap; return the candles whose turn has come, oldest first.

        A candle that the venue does not have between others is no longer waited for. Nothing comes back
        while the answer does not reach from before the gap to its end.
        """
        usable = sorted((c for c in candles if c.closed), key=lambda c: c.ts_open)
        passed: list[Candle] = []
        while (gap := self.gap) is not None and usable and usable[0].ts_open <= gap.ts_from:
            for candle in usable:
                if gap.ts_from <= candle.ts_open < gap.ts_to and candle.ts_open % self.step_ns == 0:
                    self._pass(candle)
                    passed.append(candle)
            if usable[-1].ts_open < gap.ts_to - self.step_ns:
                break  # the venue does not give the rest yet
            first = self.held.pop(0)
            self._pass(first)
            passed += (first, *self._release())
        return passed

    def skip(self) -> Sequence[Candle]:
        """Nobody has the missing candles: go on with those that wait behind them, oldest first."""
        passed: list[Candle] = []
        while self.held:
            first = self.held.pop(0)
            self._pass(first)
            passed += (first, *self._release())
        return passed

    def rebuild(self, history: Sequence[Candle]) -> Sequence[Candle]:
        """Begin anew with the venue's history; return its closed candles and the held ones that follow.

        Holes inside the history are the venue's own and not waited for.
        """
        held, self.held = self.held, []
        self.last_open = self.forming = None
        by_open = {candle.ts_open: candle for candle in history if candle.closed}
        passed = [by_open[ts_open] for ts_open in sorted(by_open)]
        for candle in passed:
            self._pass(candle)
        for candle in held:
            passed += self.accept(candle)
        return passed

    def _pass(self, candle: Candle) -> None:
        self.last_open = candle.ts_open
        if self.forming is not None and self.forming.ts_open <= candle.ts_open:
            self.forming = None

    def _hold(self, candle: Candle) -> None:
        if not self.held:
            self.gaps += 1
        opens = [held.ts_open for held in self.held]
        if candle.ts_open in opens:
            self.dropped += 1
            return
        self.held.append(candle)
        if opens and candle.ts_open < opens[-1]:
            self.held.sort(key=lambda c: c.ts_open)
        if len(self.held) > _MAX_HELD:
            self.held.pop(0)
            self.dropped += 1

    def _release(self) -> list[Candle]:
        """Held candles that follow the newest one without a gap."""
        out: list[Candle] = []
        while (
            self.held and self.last_open is not None and self.held[0].ts_open <= self.last_open + self.step_ns
        ):
            candle = self.held.pop(0)
            if candle.ts_open > self.last_open:
                self._pass(candle)
                out.append(candle)
        return out


class Aggregator:
    """Candles of a longer timeframe from those of the base, exact: the venue's own, volume included.

    The first bucket is left out unless its first base candle was seen.
    """

    __slots__ = (
        "_base_ns",
        "_bucket",
        "_close",
        "_high",
        "_low",
        "_open",
        "_synced",
        "_volumes",
        "step_ns",
        "timeframe",
    )
    STATE: ClassVar[tuple[str, ...]] = ("_bucket", "_close", "_high", "_low", "_open", "_synced", "_volumes")

    def __init__(self, base: str, timeframe: str) -> None:
        self.timeframe = timeframe
        self.step_ns = timeframe_ns(timeframe)
        self._base_ns = timeframe_ns(base)
        self.reset()

    def reset(self) -> None:
        """Forget the candle in the making."""
        self._synced = False  # whether a bucket was seen from its open: from there none is left out
        self._bucket: int | None = None
        self._open = self._high = self._low = self._close = 0.0
        self._volumes: list[float] = []  # at most step / base

    def add(self, candle: Candle) -> Sequence[Candle]:
        """Take a closed base candle, in order; return the longer candles that it closes (0 to 2)."""
        bucket = candle.ts_open - candle.ts_open % self.step_ns
        closed: list[Candle] = []
        if self._bucket is not None and bucket != self._bucket:  # the venue never had the last base candle
            closed.append(self._finished(candle))
            self._bucket = None
        if self._bucket is None:
            self._synced = self._synced or candle.ts_open == bucket
            if not self._synced:
                return _NONE
            self._bucket = bucket
            self._open, self._high, self._low = candle.open, candle.high, candle.low
            self._volumes = []
        self._high = max(self._high, candle.high)
        self._low = min(self._low, candle.low)
        self._close = candle.close
        self._volumes.append(candle.volume)
        if candle.ts_open + self._base_ns == bucket + self.step_ns:
            closed.append(self._finished(candle))
            self._bucket = None
        return closed

    def peek(self, forming: Candle) -> Candle | None:
        """The longer candle in the making with the base candle in the making, None at an unknown start."""
        bucket = forming.ts_open - forming.ts_open % self.step_ns
        if self._bucket == bucket:
            high, low = max(self._high, forming.high), min(self._low, forming.low)
            volume = fsum((*self._volumes, forming.volume))
            return self._candle(bucket, (self._open, high, low, forming.close), volume, forming, closed=False)
        if forming.ts_open != bucket:
            return None
        prices = (forming.open, forming.high, forming.low, forming.close)
        return self._candle(bucket, prices, forming.volume, forming, closed=False)

    def _finished(self, by: Candle) -> Candle:
        assert self._bucket is not None  # noqa: S101 - narrows the type; callers have checked
        prices = (self._open, self._high, self._low, self._close)
        return self._candle(self._bucket, prices, fsum(self._volumes), by, closed=True)

    def _candle(
        self,
        ts_open: int,
        prices: tuple[float, float, float, float],
        volume: float,
        by: Candle,
        *,
        closed: bool,
    ) -> Candle:
        rounded = round(volume, _VOLUME_DIGITS)
        return Candle(by.symbol, self.timeframe, ts_open, *prices, rounded, closed, by.ts_event, by.ts_recv)
