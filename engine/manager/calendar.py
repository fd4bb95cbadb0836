"""What is due next, of very many: a heap of the near future, and beyond it an unsorted list a stretch.

To enter something far ahead costs an append; sorting waits until its stretch has come, and is over few. Many
traders whose timers are minutes away make a plain heap of all of them slow at every step.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable
from typing import Final

Entry = tuple[int, int]  # time in nanoseconds, number

_STRETCH: Final = 27  # bits of a stretch: 2^27 ns, an eighth of a second


class Calendar:
    """Entries by time, then number. What is void is for whoever takes an entry out to know."""

    def __init__(self, entries: Iterable[Entry] = ()) -> None:
        self._near: list[Entry] = []  # a heap of all that lies before the horizon
        self._horizon = 0
        self._far: dict[int, list[Entry]] = {}  # by stretch
        self._stretches: list[int] = []  # a heap of the keys of `_far`
        self._count = 0
        for at, number in entries:
            self.enter(at, number)

    def __len__(self) -> int:
        return self._count

    def enter(self, at: int, number: int) -> None:
        """Add an entry."""
        self._count += 1
        if at < self._horizon:
            heapq.heappush(self._near, (at, number))
            return
        stretch = at >> _STRETCH
        entries = self._far.get(stretch)
        if entries is None:
            self._far[stretch] = [(at, number)]
            heapq.heappush(self._stretches, stretch)
        else:
            entries.append((at, number))

    def first(self) -> Entry | None:
        """The earliest entry; None when there is none."""
        if not self._near and self._stretches:
            self._bring_near()
        return self._near[0] if self._near else None

    def drop_first(self) -> None:
        """Take out the entry that `first` has just told."""
        self._count -= 1
        heapq.heappop(self._near)

    def take_due(self, now: int) -> list[Entry]:
        """Take out what is due until `now`, earliest first."""
        due: list[Entry] = []
        near, far, stretches = self._near, self._far, self._stretches
        while near and near[0][0] <= now:
            due.append(heapq.heappop(near))
        if not near:
            while stretches and (stretches[0] + 1) << _STRETCH <= now:  # the whole of it is due
                due += sorted(far.pop(heapq.heappop(stretches)))
            if stretches and stretches[0] << _STRETCH <= now:
                self._bring_near()
                while self._near and self._near[0][0] <= now:
                    due.append(heapq.heappop(self._near))
        self._count -= len(due)
        return due

    def _bring_near(self) -> None:
        """The first stretch becomes the near future; only when that is empty."""
        stretch = heapq.heappop(self._stretches)
        self._near = self._far.pop(stretch)
        heapq.heapify(self._near)
        self._horizon = (stretch + 1) << _STRETCH
