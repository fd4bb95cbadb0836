"""How things are timed: the path and its reference in turns, so that a busy machine slows down both."""

from __future__ import annotations

import gc
from collections.abc import Callable, Sequence
from statistics import median
from time import perf_counter_ns
from typing import Final

import msgspec

_NS_PER_US: Final = 1000.0
ROUNDS: Final = 5


class Unequal(Exception):
    """The measured path does not give what its reference gives: its speed means nothing."""


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One line of the table. `speed` is reference time / time of the path: 1 is as fast, 0.5 half as fast.

    `*_us` are microseconds an item: the median of the rounds, or of the items where `p99_us` is given.
    `equal` says what was compared; a row exists only if it was equal.
    """

    section: str
    path: str
    reference: str
    path_us: float
    reference_us: float
    speed: float
    equal: str
    p99_us: float | None = None
    reference_p99_us: float | None = None


class Title(msgspec.Struct, frozen=True):
    """The words of a row."""

    section: str
    path: str
    reference: str
    equal: str


def same(what: str, found: object, wanted: object) -> None:
    """Raises Unequal."""
    if found != wanted:
        raise Unequal(f"{what}: {str(found)[:300]} is not {str(wanted)[:300]}")


def timed(work: Callable[[], object]) -> float:
    """Microseconds of one call. The collector of garbage stays on, as in the engine."""
    gc.collect()
    began = perf_counter_ns()
    work()
    return (perf_counter_ns() - began) / _NS_PER_US


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
    return Row(
        section=title.section,
        path=title.path,
        reference=title.reference,
        equal=title.equal,
        path_us=median(pair[0] for pair in pairs) / items,
        reference_us=median(pair[1] for pair in pairs) / items,
        speed=median(pair[1] / pair[0] for pair in pairs),
    )


def of_items(title: Title, path_ns: Sequence[int], reference_ns: Sequence[int]) -> Row:
    """A row of the times of single items, nanoseconds; the ratio is that of the medians."""
    path, reference = sorted(path_ns), sorted(reference_ns)
    return Row(
        section=title.section,
        path=title.path,
        reference=title.reference,
        equal=title.equal,
        path_us=_at(path, 0.5),
        reference_us=_at(reference, 0.5),
        speed=_at(reference, 0.5) / _at(path, 0.5),
        p99_us=_at(path, 0.99),
        reference_p99_us=_at(reference, 0.99),
    )


def _at(ordered: Sequence[int], share: float) -> float:
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] / _NS_PER_US
