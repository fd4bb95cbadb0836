"""How things are timed: the path and its reference in turns, so that a busy machine slows down both."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import StrEnum
from statistics import median
from time import process_time_ns
from typing import Final, Protocol

import msgspec

from engine.garbage import settle

_NS_PER_US: Final = 1000.0
ROUNDS: Final = 5


class Unequal(Exception):
    """The measured path does not give what its reference gives: its speed means nothing."""


class Kind(StrEnum):
    """What a path is held against: the least that the work can cost, or another library that does it."""

    LIMIT = "limit"
    PEER = "peer"


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One line of the table. `speed` is reference time / time of the path: 1 is as fast, 0.5 half as fast.

    `*_us` are microseconds an item: the median of the rounds, or of the items where `p99_us` is given.
    `equal` says what was compared; a row exists only if it was equal. `aim` is for `speed`, or for the same
    ratio of the p99 where `aim_at_p99`; or the p99 is to stay below `p99_below_us`, or within
    `p99_within` times `path_us`; or median and p99 at most
    `over_us` above the reference's. `met` is None without. `per_s` are requests a second under load, and
    `speed` is their ratio then.
    """

    section: str
    path: str
    reference: str
    kind: Kind
    path_us: float
    reference_us: float
    speed: float
    equal: str
    aim: float | None = None
    aim_at_p99: bool = False
    p99_below_us: float | None = None
    p99_within: float | None = None
    over_us: tuple[float, float] | None = None
    met: bool | None = None
    p99_us: float | None = None
    reference_p99_us: float | None = None
    per_s: float | None = None
    reference_per_s: float | None = None


class Load(Protocol):
    """What a load generator saw of a server."""

    @property
    def p50_us(self) -> float: ...
    @property
    def p99_us(self) -> float: ...
    @property
    def per_s(self) -> float: ...


class Run(msgspec.Struct):
    """One run of the bench: `quick` only shows that every path works, its numbers mean little.

    `scale` is the size of the journal that the API is asked about, `folder` where it stays for the next run.
    """

    quick: bool = False
    notes: list[str] = []
    scale: float = 1.0
    folder: str = ""

    def of(self, full: int, quick: int) -> int:
        """A size, by the kind of run."""
        return quick if self.quick else full


class Title(msgspec.Struct, frozen=True):
    """The words of a row, and what is aimed at."""

    section: str
    path: str
    reference: str
    equal: str
    kind: Kind = Kind.LIMIT
    aim: float | None = None
    aim_at_p99: bool = False
    p99_below_us: float | None = None
    p99_within: float | None = None
    over_us: tuple[float, float] | None = None


def same(what: str, found: object, wanted: object) -> None:
    """Raises Unequal."""
    if found != wanted:
        raise Unequal(f"{what}: {str(found)[:300]} is not {str(wanted)[:300]}")


def timed(work: Callable[[], object]) -> float:
    """Microseconds of this process in one call that waits for nothing; what others do does not count.

    The collector of garbage stays on, and as the engine sets it.
    """
    settle()
    began = process_time_ns()
    work()
    return (process_time_ns() - began) / _NS_PER_US


def paired(
    title: Title,
    path: Callable[[], object],
    reference: Callable[[], object],
    items: int,
    rounds: int = ROUNDS,
) -> Row:
    """Time both in turns, after one round of each that does not count; the ratio is that of the pairs."""
    path()
    reference()
    pairs = []
    for number in range(rounds):
        if number % 2:
            other = timed(reference)
            pairs.append((timed(path), other))
        else:
            pairs.append((timed(path), timed(reference)))
    return of_rounds(title, pairs, items)


def of_rounds(title: Title, pairs: Sequence[tuple[float, float]], items: int) -> Row:
    """A row of (path, reference) times in microseconds, each of `items` items."""
    path_us = median(pair[0] for pair in pairs) / items
    reference_us = median(pair[1] for pair in pairs) / items
    return _row(title, path_us, reference_us, median(pair[1] / pair[0] for pair in pairs))


def of_items(title: Title, path_ns: Sequence[int], reference_ns: Sequence[int]) -> Row:
    """A row of the times of single items, nanoseconds; the ratio is that of the medians."""
    path, reference = sorted(path_ns), sorted(reference_ns)
    speed = _at(reference, 0.5) / _at(path, 0.5)
    row = _row(title, _at(path, 0.5), _at(reference, 0.5), speed)
    p99_us, reference_p99_us = _at(path, 0.99), _at(reference, 0.99)
    met = row.met
    if title.over_us is not None:
        over = (row.path_us - row.reference_us, p99_us - reference_p99_us)
        met = all(found <= most for found, most in zip(over, title.over_us, strict=True))
    elif title.p99_below_us is not None:
        met = p99_us < title.p99_below_us
    elif title.aim is not None and title.aim_at_p99:
        met = reference_p99_us / p99_us >= title.aim
    return msgspec.structs.replace(row, p99_us=p99_us, reference_p99_us=reference_p99_us, met=met)


def of_loads(title: Title, path: Sequence[Load], reference: Sequence[Load]) -> Row:
    """A row of servers under load, in turns."""

    def middle(loads: Sequence[Load], of: Callable[[Load], float]) -> float:
        return median(of(load) for load in loads)

    speed = median(ours.per_s / theirs.per_s for ours, theirs in zip(path, reference, strict=True))
    row = _row(title, middle(path, _p50), middle(reference, _p50), speed)
    p99_us = middle(path, lambda load: load.p99_us)
    met = row.met if title.p99_within is None else p99_us <= title.p99_within * row.path_us
    return msgspec.structs.replace(
        row,
        met=met,
        p99_us=p99_us,
        reference_p99_us=middle(reference, lambda load: load.p99_us),
        per_s=middle(path, lambda load: load.per_s),
        reference_per_s=middle(reference, lambda load: load.per_s),
    )


def _p50(load: Load) -> float:
    return load.p50_us


def _row(title: Title, path_us: float, reference_us: float, speed: float) -> Row:
    return Row(
        section=title.section,
        path=title.path,
        reference=title.reference,
        kind=title.kind,
        path_us=path_us,
        reference_us=reference_us,
        speed=speed,
        equal=title.equal,
        aim=title.aim,
        aim_at_p99=title.aim_at_p99,
        p99_below_us=title.p99_below_us,
        p99_within=title.p99_within,
        over_us=title.over_us,
        met=None if title.aim is None else speed >= title.aim,
    )


def _at(ordered: Sequence[int], share: float) -> float:
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] / _NS_PER_US
