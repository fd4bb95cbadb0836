"""Time as integers: UTC nanoseconds since the epoch, and durations as people write them."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Final

NS_PER_MS: Final = 1_000_000
NS_PER_S: Final = 1_000_000_000
NS_PER_MIN: Final = 60 * NS_PER_S
NS_PER_HOUR: Final = 60 * NS_PER_MIN
NS_PER_DAY: Final = 24 * NS_PER_HOUR
NEVER_NS: Final = 2**63 - 1  # later than everything

_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)")
_UNIT_S: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_TIMEFRAME_NS: Final = {
    "1s": NS_PER_S,
    "1m": NS_PER_MIN,
    "3m": 3 * NS_PER_MIN,
    "5m": 5 * NS_PER_MIN,
    "15m": 15 * NS_PER_MIN,
    "30m": 30 * NS_PER_MIN,
    "1h": NS_PER_HOUR,
    "2h": 2 * NS_PER_HOUR,
    "4h": 4 * NS_PER_HOUR,
    "1d": NS_PER_DAY,
}
TIMEFRAMES: Final = tuple(_TIMEFRAME_NS)


def timeframe_ns(timeframe: str) -> int:
    """Length of a candle in nanoseconds. Raises KeyError for a timeframe that is not in TIMEFRAMES."""
    return _TIMEFRAME_NS[timeframe]


def parse_duration_s(text: str) -> float:
    """Seconds of a duration such as `15s`, `3m`, `1h30m`, `250ms`. Raises ValueError for anything else."""
    total, end = 0.0, 0
    for match in _DURATION.finditer(text):
        if match.start() != end:
            break
        total += float(match[1]) * _UNIT_S[match[2]]
        end = match.end()
    if end != len(text) or not text:
        raise ValueError(f"{text!r} is not a duration such as 15s, 3m or 1h")
    return total


def to_datetime(ts_ns: int) -> datetime:
    """UTC datetime of a nanosecond time, exact to the microsecond (the rest is cut)."""
    return datetime.fromtimestamp(ts_ns // NS_PER_S, UTC) + timedelta(microseconds=ts_ns % NS_PER_S // 1000)


def from_datetime(moment: datetime) -> int:
    """Nanoseconds of an aware datetime. Raises ValueError when it has no zone."""
    if moment.tzinfo is None:
        raise ValueError("a naive datetime has no place in time")
    delta = moment - datetime(1970, 1, 1, tzinfo=UTC)
    return (delta.days * 86400 + delta.seconds) * NS_PER_S + delta.microseconds * 1000


def iso(ts_ns: int) -> str:
    """`2026-01-31T12:00:00.000000Z`, for people and logs."""
    return to_datetime(ts_ns).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
