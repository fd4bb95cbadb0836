"""What is due next, of very many: the near future in order, and beyond it an unsorted list a stretch.

To enter something far ahead costs an append; sorting waits until its stretch has come, and is over few. Many
traders whose timers are minutes away make a plain heap of all of them slow at every step. What many enter for
the same time, as deadlines of those that woke together, is one thing.

An entry is one number, its time before its owner's number: of hundreds of thousands of tuples the collector
of garbage would have to know.
"""

from __future__ import annotations

import heapq
from bisect import bisect_left
from collections.abc import Iterable
from typing import Final

Entry = int  # time in nanoseconds << NUMBER_BITS | number

NUMBER_BITS: Final = 32
NUMBER: Final = (1 << NUMBER_BITS) - 1  # entry & NUMBER is the number
_STRETCH: Final = NUMBER_BITS + 27  # bits below a stretch: 2^27 ns, an eighth of a second


class Calendar:
    """Entries by time, then number. What is void is for whoever takes an entry out to know."""

    __slots__ = ("_far", "_horizon", "_near", "_soon", "_stretches", "_taken", "_together", "_total")

    def __init__(self, entries: Iterable[Entry] = ()) -> None:
        self._near: list[Entry] = []  # one stretch, sorted
        self._taken = 0  # how many of `_near` are taken out
        self._soon: list[Entry] = []  # a heap of what was entered before the horizon
        self._together: list[tuple[int, list[int]]] = []  # a heap: time, numbers
        self._horizon = 0
        self._far: dict[int, list[Entry]] = {}  # by stretch
        self._stretches: list[int] = []  # a heap of the keys of `_far`
        self._total = 0
        for entry in entries:
            self.enter(entry)

    def __len__(self) -> int:
        return self._total

    def enter(self, entry: Entry) -> None:
        """Add an entry."""
        self._total += 1
        if entry < self._horizon:
            heapq.heappush(self._soon, entry)
            return
        stretch = entry >> _STRETCH
        entries = self._far.get(stretch)
        if entries is None:
            self._far[stretch] = [entry]
            heapq.heappush(self._stretches, stretch)
        else:
            entries.append(entry)

    def enter_together(self, at: int, numbers: list[int]) -> None:
        """Add an entry for each of `numbers`, at least one; the list is the calendar's from now on."""
        self._total += len(numbers)
        heapq.heappush(self._together, (at, numbers))

    def first(self) -> Entry | None:
        """An entry of the earliest time; None when there is none."""
        if self._taken == len(self._near) and not self._soon and self._stretches:
            self._bring_near()
        heads = self._soon[:1] + self._near[self._taken : self._taken + 1]
        if self._together:
            at, numbers = self._together[0]
            heads.append(at << NUMBER_BITS | numbers[-1])
        return min(heads, default=None)

    def drop_first(self) -> None:
        """Take out the entry that `first` has just told."""
        first = self.first()
        self._total -= 1
        if self._soon and first == self._soon[0]:
            heapq.heappop(self._soon)
        elif self._taken < len(self._near) and first == self._near[self._taken]:
            self._taken += 1
        else:
            numbers = self._together[0][1]
            numbers.pop()
            if not numbers:
                heapq.heappop(self._together)

    def take_together(self, now: int) -> list[tuple[int, list[int]]]:
        """Take out what was entered together and is due until `now`: time and numbers."""
        due = []
        while self._together and self._together[0][0] <= now:
            due.append(heapq.heappop(self._together))
            self._total -= len(due[-1][1])
        return due

    def take_due(self, now: int) -> list[Entry]:
        """Take out what is due until `now`, earliest first, but for what was entered together."""
        end = (now + 1) << NUMBER_BITS
        due = self._take_near(end)
        stretches, soon = self._stretches, self._soon
        while stretches and (stretches[0] + 1) << _STRETCH <= end:  # the whole of it is due
            due += sorted(self._far.pop(heapq.heappop(stretches)))
        if stretches and stretches[0] << _STRETCH < end:
            self._bring_near()
            due += self._take_near(end)
        in_order = len(due)
        while soon and soon[0] < end:
            due.append(heapq.heappop(soon))
        if len(due) > in_order:
            due.sort()
        self._total -= len(due)
        return due

    def _take_near(self, end: Entry) -> list[Entry]:
        began = self._taken
        self._taken = bisect_left(self._near, end, lo=began)
        return self._near[began : self._taken]

    def _bring_near(self) -> None:
        """The first stretch becomes the near future; only when nothing else is near."""
        stretch = heapq.heappop(self._stretches)
        self._near = sorted(self._far.pop(stretch))
        self._taken = 0
        self._horizon = (stretch + 1) << _STRETCH
