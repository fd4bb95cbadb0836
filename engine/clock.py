"""Time as data. Nothing else in edgewise reads a clock or sleeps.

Two kinds of time exist. *Engine time* (`now_ns`, `sleep`, `sleep_until`) is what candles, cycles,
cooldowns and funding follow; ScaledClock runs it faster, SimClock by hand. *Real time* (`real`) is what
sockets, keep-alives and timeouts follow, always at one second a second.
"""

from __future__ import annotations

import asyncio
import heapq
import time
from collections.abc import Awaitable
from contextlib import suppress
from typing import Any, Final, Protocol

from engine.core.times import NEVER_NS, NS_PER_S

_LONGEST_NAP_S: Final = 3600.0
_Sleeper = tuple[int, int, asyncio.Future[None]]  # when it is due, its number, what wakes it


class Clock(Protocol):
    """The only source of time."""

    def now_ns(self) -> int:
        """Engine time, UTC nanoseconds; never goes back within a process."""
        ...

    def real_s(self) -> float:
        """Monotonic real seconds, for timeouts, ages of sockets and measured latencies."""
        ...

    def engine_ns(self, real_seconds: float) -> int:
        """Engine nanoseconds that pass while `real_seconds` pass outside: for ages and lives of messages."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Wait for `seconds` of engine time."""
        ...

    async def sleep_real(self, seconds: float) -> None:
        """Wait for `seconds` of real time (back-off, keep-alive)."""
        ...

    async def sleep_until(self, ts_ns: int) -> None:
        """Wait until engine time reaches `ts_ns`; returns at once when it has passed."""
        ...


class ScaledClock:
    """Engine time that runs `speed` times faster than the wall, from a shared epoch.

    Processes that are given the same `epoch_ns` (engine time at `wall_epoch_ns` of wall time) and speed
    agree on engine time. Speed 1 with equal epochs is wall time.
    """

    def __init__(self, speed: float = 1.0, epoch_ns: int = 0, wall_epoch_ns: int = 0) -> None:
        if speed <= 0:
            raise ValueError("speed must be above 0")
        self.speed = speed
        self._epoch_ns = epoch_ns
        # The wall is read once; from there the monotonic clock carries on, so that a step of the wall
        # clock (NTP, an operator) cannot move engine time back.
        start_wall = time.time_ns()  # noqa: TID251 - the one place that reads the wall
        self._start_real = time.monotonic_ns()
        self._lead_ns = start_wall - wall_epoch_ns

    def now_ns(self) -> int:
        elapsed = self._lead_ns + time.monotonic_ns() - self._start_real
        return self._epoch_ns + (elapsed if self.speed == 1.0 else int(elapsed * self.speed))

    def real_s(self) -> float:
        return time.monotonic()  # noqa: TID251 - the one place that reads it

    def engine_ns(self, real_seconds: float) -> int:
        return int(real_seconds * self.speed * NS_PER_S)

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(max(0.0, seconds) / self.speed)  # noqa: TID251 - the one place that sleeps

    async def sleep_real(self, seconds: float) -> None:
        await asyncio.sleep(max(0.0, seconds))  # noqa: TID251

    async def sleep_until(self, ts_ns: int) -> None:
        # Long waits are cut into naps: a loop timer drifts from the wall over days.
        while (left_s := (ts_ns - self.now_ns()) / NS_PER_S) > 0:
            await self.sleep(min(left_s, _LONGEST_NAP_S))


class SystemClock(ScaledClock):
    """Wall time at one second a second."""

    def __init__(self) -> None:
        super().__init__()


class SimClock:
    """Time moved by hand: `advance_to` wakes sleepers in order, each at its exact time.

    Deterministic: sleepers due at the same time wake in the order in which they went to sleep. Real time
    follows simulated time, so that timeouts of simulated work are simulated too; of `speed` engine seconds
    each real second is made, as with ScaledClock. Whoever sleeps real time, or dozes, is patient: a loop that
    owns time may go on past them (`set`), and they wake a little late.
    """

    def __init__(self, start_ns: int = 0, speed: float = 1.0) -> None:
        self._now_ns = start_ns
        self._speed = speed
        self._count = 0
        self._patient: list[_Sleeper] = []
        self._punctual: list[_Sleeper] = []  # whom nothing may pass over

    def now_ns(self) -> int:
        return self._now_ns

    def real_s(self) -> float:
        return self._now_ns / NS_PER_S / self._speed

    def engine_ns(self, real_seconds: float) -> int:
        return int(real_seconds * self._speed * NS_PER_S)

    async def sleep(self, seconds: float) -> None:
        await self._until(self._now_ns + int(max(0.0, seconds) * NS_PER_S), self._punctual)

    async def sleep_real(self, seconds: float) -> None:
        await self._until(self._now_ns + int(max(0.0, seconds * self._speed) * NS_PER_S), self._patient)

    async def sleep_until(self, ts_ns: int) -> None:
        await self._until(ts_ns, self._punctual)

    async def doze_until(self, ts_ns: int) -> None:
        """As `sleep_until`, but patient."""
        await self._until(ts_ns, self._patient)

    def _until(self, ts_ns: int, sleepers: list[_Sleeper]) -> Awaitable[None]:
        if ts_ns <= self._now_ns:
            return asyncio.sleep(0)  # noqa: TID251 - yields, takes no time
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._count += 1
        heapq.heappush(sleepers, (ts_ns, self._count, future))
        return future

    def next_patient_ns(self) -> int:
        """When the next patient sleeper is due; NEVER_NS when there is none."""
        return _first(self._patient)

    def next_punctual_ns(self) -> int:
        """When the next sleeper is due whom nothing may pass over; NEVER_NS when there is none."""
        return _first(self._punctual)

    def wake_next(self) -> None:
        """Move to the time of the next sleeper and wake it; what it does follows when the loop turns."""
        _, sleepers = min((each[0], each) for each in (self._patient, self._punctual) if each)
        self._now_ns = max(self._now_ns, sleepers[0][0])
        _wake(sleepers)

    def wake_due(self, *, patient: bool) -> bool:
        """Wake the patient or the punctual who are due by now, in that order; False when there were none."""
        sleepers, now = self._patient if patient else self._punctual, self._now_ns
        if not sleepers or sleepers[0][0] > now:
            return False
        while sleepers and sleepers[0][0] <= now:
            _wake(sleepers)
        return True

    def set(self, ts_ns: int) -> None:
        """Move to `ts_ns` without waking anybody; for a loop that owns time alone (backtest)."""
        if ts_ns < self._now_ns:
            raise ValueError("time does not go back")
        self._now_ns = ts_ns

    async def advance_to(self, ts_ns: int) -> None:
        """Move to `ts_ns`, waking every sleeper due on the way and letting it run until it waits again."""
        await settle()
        while min(self.next_patient_ns(), self.next_punctual_ns()) <= ts_ns:
            self.wake_next()
            await settle()
        self._now_ns = max(self._now_ns, ts_ns)

    async def advance(self, seconds: float) -> None:
        """Move on by `seconds`."""
        await self.advance_to(self._now_ns + int(seconds * NS_PER_S))


def _first(sleepers: list[_Sleeper]) -> int:
    """When the first of those is due who still sleep."""
    while sleepers and sleepers[0][2].done():
        heapq.heappop(sleepers)
    return sleepers[0][0] if sleepers else NEVER_NS


def _wake(sleepers: list[_Sleeper]) -> None:
    future = heapq.heappop(sleepers)[2]
    if not future.done():
        future.set_result(None)


class Alarm:
    """Rings at an engine time that may be moved while somebody waits for it; who waits wakes only then."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._ring = asyncio.Event()
        self._ts_ns: int | None = None
        self._timer: asyncio.TimerHandle | None = None

    def set(self, ts_ns: int | None) -> None:
        """Ring at `ts_ns`, at once when it has passed; None: not. What it was set to before is forgotten."""
        if ts_ns == self._ts_ns and self._timer is not None:
            return
        if self._timer is not None:
            self._timer.cancel()
        self._ring.clear()
        self._ts_ns = ts_ns
        self._look()

    def _look(self) -> None:
        self._timer = None
        if self._ts_ns is None:
            return
        left_s = (self._ts_ns - self._clock.now_ns()) / self._clock.engine_ns(1.0)
        if left_s <= 0:
            self._ring.set()
        else:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(min(left_s, _LONGEST_NAP_S), self._look)

    async def wait(self) -> None:
        """Until it rings."""
        await self._ring.wait()
        self._ring.clear()


async def settle(rounds: int = 20) -> None:
    """Let ready tasks run: a fixed number of loop turns, so that it is the same every time."""
    for _ in range(rounds):
        await asyncio.sleep(0)  # noqa: TID251 - yields, takes no time


async def cancelled(task: asyncio.Task[Any]) -> None:
    """Cancel a task and wait until it has ended."""
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


__all__ = ["Alarm", "Clock", "ScaledClock", "SimClock", "SystemClock", "cancelled", "settle"]
