"""An event loop on simulated time: when no task can go on, time moves to the next thing that is due.

So a whole engine of services runs as fast as the machine can, and every run is the same: nothing waits for
the wall, and tasks take turns in the order in which they became ready. Timers of the loop (`asyncio.timeout`)
follow the clock's real time. There is no I/O on such a loop; a file may be read, nothing may be awaited that
comes from outside.

Before time moves to what is due next, `leap` may move it a whole stretch in which nobody would do anything.
"""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable
from typing import Any, Final

from engine.clock import SimClock
from engine.core.errors import InvariantBroken

_GRAIN_NS: Final = 1_000  # a timer is a float of seconds: rounded, it is the time that was meant
Leap = Callable[[int | None], bool]


def _stay(_: int | None) -> bool:
    return False


class SimLoop(asyncio.SelectorEventLoop):
    """asyncio's loop, whose idle moments move `clock`.

    `leap` gets the time at which somebody is to be woken punctually (None: never); True when it moved time.
    """

    def __init__(self, clock: SimClock, leap: Leap = _stay) -> None:
        self._sim_clock = clock
        self._start_ns = clock.now_ns()
        self._ns_per_s = clock.engine_ns(1.0)
        super().__init__(_IdleSelector(clock, leap))

    def time(self) -> float:
        """Real seconds of the clock since the start: small, so that the loop's comparisons are exact."""
        return (self._sim_clock.now_ns() - self._start_ns) / self._ns_per_s


class _IdleSelector(selectors.DefaultSelector):
    """The loop asks to wait: nothing is ready. Instead of waiting, time passes."""

    def __init__(self, clock: SimClock, leap: Leap) -> None:
        super().__init__()
        self._clock, self._leap = clock, leap

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout == 0:
            return []
        self._pass_time(timeout)
        return []

    def _pass_time(self, timeout: float | None) -> None:
        clock = self._clock
        sleeper = clock.next_ns()
        if timeout is None and sleeper is None:
            raise InvariantBroken("every task waits for something that cannot come")
        timer: Any = None
        if timeout is not None:
            now = clock.now_ns()
            meant = now + clock.engine_ns(timeout) + _GRAIN_NS // 2
            timer = max(now + _GRAIN_NS, meant - meant % _GRAIN_NS)
        due = [at for at in (timer, clock.next_punctual_ns()) if at is not None]
        if self._leap(min(due, default=None)):
            return
        if sleeper is not None and (timer is None or sleeper <= timer):
            clock.wake_next()
            while (other := clock.next_ns()) is not None and other < clock.now_ns():  # after a leap
                clock.wake_next()
        else:
            clock.set(timer)
