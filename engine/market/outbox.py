"""Signals on their way to the journal and the bus."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Final

from engine.core.signals import Signal

_CAPACITY: Final = 1000


class SignalOutbox:
    """A bounded buffer between the feed, which never waits, and storage, which may be away.

    Rule for full: the signal with the lowest score goes, of equal ones the oldest, and is counted.
    """

    def __init__(self, capacity: int = _CAPACITY) -> None:
        self._capacity = capacity
        self._signals: list[Signal] = []
        self._filled = asyncio.Event()
        self._drained = asyncio.Event()
        self._drained.set()
        self.dropped = 0

    def __len__(self) -> int:
        return len(self._signals)

    def put(self, signals: Iterable[Signal]) -> None:
        """Add signals in order; never waits."""
        self._signals += signals
        while len(self._signals) > self._capacity:
            least = min(range(len(self._signals)), key=lambda i: self._signals[i].score)
            del self._signals[least]
            self.dropped += 1
        if self._signals:
            self._filled.set()
            self._drained.clear()

    async def take(self, limit: int) -> list[Signal]:
        """Wait for signals; the oldest `limit` of them, in order. Say `delivered` when they have arrived."""
        await self._filled.wait()
        taken, self._signals = self._signals[:limit], self._signals[limit:]
        if not self._signals:
            self._filled.clear()
        return taken

    def delivered(self) -> None:
        """Those that were taken are where they belong."""
        if not self._signals:
            self._drained.set()

    async def drained(self) -> None:
        """Wait until nothing is on its way. What is put after this returns is not waited for."""
        await self._drained.wait()
