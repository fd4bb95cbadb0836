"""Features of the live stream: what trades, quotes, book, funding and open interest say between candles.

Each feature of one symbol has its own small object with `name`, `ts` (the venue's, of the newest value that
went in) and `value(now)`. Windows are cut into 60 buckets: O(1) an event, exact to a sixtieth of the window.
They inherit from their protocol because compiled code calls a method of a known class directly.
"""

from __future__ import annotations

from math import log, sqrt
from typing import ClassVar, Final, Protocol

from engine.core.market import BookTop
from engine.core.times import NS_PER_S

_BUCKETS: Final = 60
_BPS: Final = 10_000.0
_Z_WINDOWS: Final = 60  # windows over which the deviation of change_z is averaged
_Z_READY: Final = 20


class LiveFeature(Protocol):
    """One feature of one symbol. `value` is None while it is not known; it changes nothing."""

    __slots__ = ()
    STATE: ClassVar[tuple[str, ...]]
    name: str
    ts: int

    def value(self, now: int) -> float | None: ...


class Gauge(LiveFeature):
    """A number that the venue tells, or that follows from one event: spread, imbalance, funding."""

    __slots__ = ("_value", "name", "ts")
    STATE: ClassVar[tuple[str, ...]] = ("_value", "ts")

    def __init__(self, name: str) -> None:
        self.name = name
        self.ts = 0
        self._value: float | None = None

    def set(self, ts: int, value: float | None) -> None:
        """The newest value; None when the event says that there is none."""
        self.ts = ts
        self._value = value

    def value(self, now: int) -> float | None:
        return self._value


class BookImbalance(LiveFeature):
    """See book_imbalance; books come much more often than somebody asks, so it is counted when asked."""

    __slots__ = ("_book", "_levels", "name", "ts")
    STATE: ClassVar[tuple[str, ...]] = ("_book", "ts")

    def __init__(self, name: str, levels: int) -> None:
        self.name = name
        self.ts = 0
        self._levels = levels
        self._book: BookTop | None = None

    def set(self, ts: int, book: BookTop) -> None:
        self.ts = ts
        self._book = book

    def value(self, now: int) -> float | None:
        return None if self._book is None else book_imbalance(self._book, self._levels)


class Basis(LiveFeature):
    """Mark over index, in bps of the index; as old as the older of both, and unknown beyond `max_age_ns`."""

    __slots__ = ("_index", "_mark", "_max_age_ns", "_ts_index", "_ts_mark", "name", "ts")
    STATE: ClassVar[tuple[str, ...]] = ("_index", "_mark", "_ts_index", "_ts_mark", "ts")

    def __init__(self, name: str, max_age_ns: int) -> None:
        self.name = name
        self._max_age_ns = max_age_ns
        self.ts = self._ts_mark = self._ts_index = 0
        self._mark: float | None = None
        self._index: float | None = None

    def set_mark(self, ts: int, price: float) -> None:
        self._ts_mark, self._mark = ts, price
        self.ts = ts if ts < self._ts_index else self._ts_index

    def set_index(self, ts: int, price: float) -> None:
        self._ts_index, self._index = ts, price
        self.ts = ts if ts < self._ts_mark else self._ts_mark

    def value(self, now: int) -> float | None:
        if self._mark is None or not self._index or now - self.ts > self._max_age_ns:
            return None
        return (self._mark - self._index) / self._index * _BPS


class Change(LiveFeature):
    """Change over a window, in percent, of a price or an open interest."""

    __slots__ = ("_begin", "_buckets", "_end", "_values", "_width", "name", "newest", "ts")
    STATE: ClassVar[tuple[str, ...]] = ("_buckets", "_values", "newest", "ts")

    def __init__(self, name: str, window_s: int) -> None:
        self.name = name
        self.ts = 0
        self._width = window_s * NS_PER_S // _BUCKETS
        # Buckets in which something happened and their last values, oldest first: at most a window of them,
        # and the one before, whose value held when the window began.
        self._buckets: list[int] = []
        self._values: list[float] = []
        self._begin = self._end = 0  # of the newest bucket, once it was written to
        self.newest = 0.0

    def add(self, ts: int, value: float) -> None:
        """The newest value; one that is older than the newest bucket is left out."""
        if self._begin <= ts < self._end:
            self._values[-1] = value
        elif not self._turn(ts, value):
            return
        self.newest, self.ts = value, ts

    def _turn(self, ts: int, value: float) -> bool:
        """Begin the bucket of `ts`, or go on with it after a restart; False for one that is past."""
        bucket, buckets, values = ts // self._width, self._buckets, self._values
        if buckets and bucket < buckets[-1]:
            return False
        if buckets and bucket == buckets[-1]:
            values[-1] = value
        else:
            buckets.append(bucket)
            values.append(value)
            while len(buckets) > 1 and buckets[1] <= bucket - _BUCKETS:
                del buckets[0], values[0]
        self._begin = bucket * self._width
        self._end = self._begin + self._width
        return True

    def past(self, now: int) -> float | None:
        """The value a window before `now`, None when that was not seen."""
        buckets = self._buckets
        if not buckets:
            return None
        wanted = now // self._width - _BUCKETS
        if wanted >= buckets[-1]:
            return self.newest
        if wanted < buckets[0] or wanted < buckets[-1] - _BUCKETS:
            return None
        at = 0
        while buckets[at + 1] <= wanted:
            at += 1
        return self._values[at]

    def value(self, now: int) -> float | None:
        past = self.past(now)
        return (self.newest / past - 1.0) * 100.0 if past else None


class ChangeZ(LiveFeature):
    """The log change over a window in standard deviations of earlier such changes.

    The deviation is taken around 0, one sample a window: the mean of the first 60, exponential from there.
    """

    __slots__ = (
        "_change",
        "_deviation",
        "_end",
        "_samples",
        "_variance",
        "_window",
        "_window_at",
        "name",
        "ts",
    )
    STATE: ClassVar[tuple[str, ...]] = ("_change", "_deviation", "_samples", "_variance", "_window_at", "ts")

    def __init__(self, name: str, window_s: int) -> None:
        self.name = name
        self.ts = 0
        self._change = Change(name, window_s)
        self._window = window_s * NS_PER_S
        self._window_at: int | None = None
        self._end = 0  # of that window, once something was added
        self._samples = 0
        self._variance = 0.0
        self._deviation: float | None = None  # its root, once there are samples enough

    def add(self, ts: int, value: float) -> None:
        """The newest price."""
        if ts >= self._end:
            self._turn(ts // self._window)
        self._change.add(ts, value)
        self.ts = self._change.ts

    def value(self, now: int) -> float | None:
        if self._deviation is None:
            return None
        past = self._change.past(now)
        return log(self._change.newest / past) / self._deviation if past else None

    def _turn(self, window: int) -> None:
        """Take in the change of the last window when one begins behind it."""
        at = self._window_at
        if at is None:
            self._window_at = at = window
        elif window > at:
            self._sample(at * self._window + self._window - 1)
            self._window_at = at = window
        self._end = (at + 1) * self._window

    def _sample(self, end: int) -> None:
        """Take in the change of the window that ended at `end`."""
        past = self._change.past(end)
        if not past:
            return
        ratio = self._change.newest / past
        self._samples = min(self._samples + 1, _Z_WINDOWS)
        self._variance += (log(ratio) ** 2 - self._variance) / self._samples
        known = self._samples >= _Z_READY and self._variance > 0
        self._deviation = sqrt(self._variance) if known else None


class TradeFlow(LiveFeature):
    """Contracts bought less contracts sold by takers over a window, as a share of all: -1 to +1."""

    __slots__ = ("_bought", "_bucket", "_sold", "_width", "name", "ts")
    STATE: ClassVar[tuple[str, ...]] = ("_bought", "_bucket", "_sold", "ts")

    def __init__(self, name: str, window_s: int) -> None:
        self.name = name
        self.ts = 0
        self._width = window_s * NS_PER_S // _BUCKETS
        self._bought = [0.0] * _BUCKETS
        self._sold = [0.0] * _BUCKETS
        self._bucket = 0

    def add(self, ts: int, contracts: float, *, bought: bool) -> None:
        """One trade; one from before the window is left out."""
        bucket = ts // self._width
        if bucket <= self._bucket - _BUCKETS:
            return
        if bucket > self._bucket:
            _clear(self._bought, self._bucket + 1, bucket + 1)
            _clear(self._sold, self._bucket + 1, bucket + 1)
            self._bucket = bucket
        side = self._bought if bought else self._sold
        side[bucket % _BUCKETS] += contracts
        self.ts = max(self.ts, ts)

    def value(self, now: int) -> float | None:
        behind = now // self._width - self._bucket
        if behind <= 0:
            bought, sold = sum(self._bought), sum(self._sold)
        else:
            live = [b % _BUCKETS for b in range(self._bucket + 1 + behind - _BUCKETS, self._bucket + 1)]
            bought, sold = sum(self._bought[b] for b in live), sum(self._sold[b] for b in live)
        total = bought + sold
        return (bought - sold) / total if total > 0 else None


def _clear(ring: list[float], begin: int, end: int) -> None:
    """Nothing happened in the buckets from `begin` to before `end`."""
    size = len(ring)
    for bucket in range(max(begin, end - size), end):
        ring[bucket % size] = 0.0


def spread_bps(bid: float | None, ask: float | None) -> float | None:
    """Ask less bid in bps of their middle; None on an empty side."""
    if bid is None or ask is None or bid + ask <= 0:
        return None
    return (ask - bid) / (bid + ask) * 2.0 * _BPS


def book_imbalance(book: BookTop, levels: int) -> float | None:
    """Contracts bid less contracts asked on the best levels, as a share of both: -1 to +1."""
    bid = ask = 0.0
    for level in book.bids[:levels]:
        bid += level.size
    for level in book.asks[:levels]:
        ask += level.size
    return (bid - ask) / (bid + ask) if bid + ask > 0 else None
