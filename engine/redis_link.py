"""The way to Redis: how long to wait for it, and whether it is there."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Final

import msgspec
import structlog

from engine.clock import Clock

log = structlog.get_logger()


SLOW_S: Final = 0.25


class RedisTiming(msgspec.Struct, frozen=True, kw_only=True):
    """Real seconds. `command_s` bounds each command, `publish_s` all tries of one publication."""

    command_s: float = 2.0
    publish_s: float = 5.0
    block_s: float = 1.0  # of a blocking read
    claim_idle_s: float = 60.0  # unacknowledged this long by another consumer: it is dead
    housekeeping_s: float = 15.0
    keep_s: float = 300.0  # what all groups have read stays this long, for a group that begins later
    retry_delay_s: float = 0.2  # after a failure of a handler
    longest_wait_s: float = 2.0  # between two tries of a server that is away
    cache_s: float = 0.5  # of a cache command; then it is dropped
    slow_s: float = SLOW_S  # a command that takes longer is logged


class Link:
    """Whether the server is there, and takes writes, for everybody in this process: one log line a change.

    A full server still reads: only a write that was taken shows that there is room again.
    """

    def __init__(self, clock: Clock) -> None:
        self.up = True
        self.full = False
        self.failed_at_s = 0.0
        self._clock = clock

    def failed(self, error: BaseException) -> None:
        self.failed_at_s = self._clock.real_s()
        if self.up:
            self.up = False
            log.warning("redis went away", error=str(error) or type(error).__name__)

    def worked(self) -> None:
        if not self.up:
            self.up = True
            away_s = round(self._clock.real_s() - self.failed_at_s, 3)
            log.info("redis came back", since_last_failure_s=away_s)

    def refused_write(self, error: BaseException) -> None:
        if not self.full:
            self.full = True
            log.warning("redis takes no writes", error=str(error))

    def took_write(self) -> None:
        if self.full:
            self.full = False
            log.info("redis takes writes again")


class Gate:
    """Lets nobody pass before `admit` has succeeded once; without one it is open."""

    def __init__(self) -> None:
        self.admit: Callable[[], Awaitable[None]] | None = None

    async def passed(self) -> None:
        """Raises what `admit` raises, and then the gate stays closed."""
        if (admit := self.admit) is not None:
            await admit()
            self.admit = None


@contextmanager
def told_if_slow(clock: Clock, slow_s: float, command: str, key: str) -> Iterator[None]:
    """Log a command that takes `slow_s` or longer, real time: with its key, never with a value."""
    began_s = clock.real_s()
    try:
        yield
    finally:
        took_s = clock.real_s() - began_s
        if took_s >= slow_s:
            log.warning("redis command was slow", seconds=round(took_s, 3), command=command, key=key)


@contextmanager
def kept_cancellation() -> Iterator[None]:
    """Restores a cancellation that the driver lost.

    It writes through asyncio.wait_for, which in Python 3.11 swallows one that arrives just as the write ends
    (github.com/python/cpython/issues/81839).
    """
    before = _cancel_requests()
    try:
        yield
    finally:
        if _cancel_requests() > before:
            raise asyncio.CancelledError


def _cancel_requests() -> int:
    task = asyncio.current_task()
    return 0 if task is None else task.cancelling()
