"""An event loop on simulated time: when no task can go on, time moves to the next thing that is due.

So a whole engine of services runs as fast as the machine can, and every run is the same: nothing waits for
the wall, and tasks take turns in the order in which they became ready. Timers of the loop (`asyncio.timeout`)
follow the clock's real time. There is no I/O on such a loop; a file may be read, nothing may be awaited that
comes from outside.

A market moves by itself as time passes: it is no task, the loop plays it. Before time moves to what is due
next, the market may `leap` a whole stretch in which nobody would do anything.
"""

from __future__ import annotations

import asyncio
import heapq
from collections import deque
from collections.abc import Callable
from contextvars import Context, copy_context
from typing import Final, Protocol, TypeVarTuple

from engine.clock import SimClock
from engine.core.errors import InvariantBroken
from engine.core.times import NEVER_NS

_GRAIN_NS: Final = 1_000  # a timer is a float of seconds: rounded, it is the time that was meant
Ts = TypeVarTuple("Ts")


class Moving(Protocol):
    """What moves by itself as time passes: a market."""

    def next_ns(self) -> int:
        """When it moves next; NEVER_NS: not any more, or not yet."""
        ...

    def play(self) -> None:
        """Move: its time has come. Those who sleep until then wake after it."""
        ...

    def leap(self, until_ns: int) -> bool:
        """Move the clock over a stretch that changes nothing for anybody; False when there is none.

        Not beyond `until_ns`, when somebody is to be woken punctually.
        """
        ...


class _Still:
    def next_ns(self) -> int:
        return NEVER_NS

    def play(self) -> None:
        """Nothing is there to move."""

    def leap(self, _: int) -> bool:
        return False


class _Turn(asyncio.Handle):
    """A call that is due; without the books that asyncio keeps of who asked for it. Filled by SimLoop."""

    __slots__ = ()
    _callback: Callable[..., object]
    _context: Context
    _cancelled: bool
    _repr = _source_traceback = None

    def cancel(self) -> None:
        self._cancelled = True


class _Timer(_Turn, asyncio.TimerHandle):
    """A call that is due later."""

    __slots__ = ()
    _when: float


class SimLoop(asyncio.BaseEventLoop):
    """asyncio's loop without its selector, whose idle moments move `clock`, and `market` with it.

    What is ready runs in the order in which it became so, as with asyncio.
    """

    _stopping: bool  # of BaseEventLoop

    def __init__(self, clock: SimClock, market: Moving | None = None) -> None:
        super().__init__()
        self._clock, self._market = clock, market or _Still()
        self._start_ns = clock.now_ns()
        self._ns_per_s = clock.engine_ns(1.0)
        self._turns: deque[_Turn] = deque()
        self._timers: list[tuple[int, int, _Timer]] = []  # when each is due, its number
        self._count = 0

    def time(self) -> float:
        """Real seconds of the clock since the start: small, so that a float of it is exact enough."""
        return (self._clock.now_ns() - self._start_ns) / self._ns_per_s

    def call_soon(
        self, callback: Callable[[*Ts], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.Handle:
        """Call it after what is ready now."""
        turn = _Turn.__new__(_Turn)
        turn._callback, turn._args, turn._cancelled = callback, args, False
        turn._context = copy_context() if context is None else context
        self._turns.append(turn)
        return turn

    def call_soon_threadsafe(
        self, callback: Callable[[*Ts], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.Handle:
        """As `call_soon`: the loop never sleeps, nobody has to wake it."""
        return self.call_soon(callback, *args, context=context)

    def call_at(
        self, when: float, callback: Callable[[*Ts], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.TimerHandle:
        """Call it at `when`, as `time` counts."""
        now, due = self._clock.now_ns(), self._start_ns + int(when * self._ns_per_s)
        if due > now:  # a timer takes time
            meant = due + _GRAIN_NS // 2
            due = max(meant - meant % _GRAIN_NS, now + _GRAIN_NS)
        timer = _Timer.__new__(_Timer)
        timer._callback, timer._args, timer._cancelled, timer._when = callback, args, False, when
        timer._context = copy_context() if context is None else context
        self._count += 1
        heapq.heappush(self._timers, (due, self._count, timer))
        return timer

    def _run_once(self) -> None:
        """Called by asyncio for ever: take all turns; when none is left, time passes."""
        turns = self._turns
        if not turns:
            self._pass_time()
        while turns and not self._stopping:
            turn = turns.popleft()
            if turn._cancelled:
                continue
            try:
                turn._context.run(turn._callback, *turn._args)
            except (SystemExit, KeyboardInterrupt):
                raise
            except BaseException as error:  # noqa: BLE001 - as asyncio: a callback does not end the loop
                message = f"exception in {turn._callback}"
                self.call_exception_handler({"message": message, "exception": error})

    def _pass_time(self) -> None:
        clock, market, timers = self._clock, self._market, self._timers
        while timers and timers[0][2].cancelled():
            heapq.heappop(timers)
        until = min(timers[0][0] if timers else NEVER_NS, clock.next_punctual_ns())
        if not market.leap(until):
            moment = market.next_ns()
            due = min(until, moment, clock.next_patient_ns())
            if due == NEVER_NS:
                raise InvariantBroken("every task waits for something that cannot come")
            if due > clock.now_ns():
                clock.set(due)
            if moment == due:
                market.play()
        if clock.wake_due(patient=True) or self._turns:
            return  # what the market tells at this time comes before whoever decides on it
        clock.wake_due(patient=False)
        now = clock.now_ns()
        while timers and timers[0][0] <= now:
            self._turns.append(heapq.heappop(timers)[2])
