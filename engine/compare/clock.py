"""Engine time that stands still until everything is ready for it."""

from __future__ import annotations

import asyncio

from engine.clock import ScaledClock, SystemClock


class HeldClock:
    """Implements Clock: engine time stays at `epoch_ns` until `release`, then runs at `speed`.

    Real time, of sockets and timeouts, goes on meanwhile: so an engine connects and warms up within one
    moment of the market, and its first look is at the first price, as in a backtest.
    """

    def __init__(self, epoch_ns: int, speed: float) -> None:
        self._epoch_ns, self._speed = epoch_ns, speed
        self._running = ScaledClock(speed)
        self._released = asyncio.Event()

    def release(self) -> None:
        """Let engine time pass."""
        self._running = ScaledClock(self._speed, self._epoch_ns, SystemClock().now_ns())
        self._released.set()

    def now_ns(self) -> int:
        return max(self._epoch_ns, self._running.now_ns()) if self._released.is_set() else self._epoch_ns

    def real_s(self) -> float:
        return self._running.real_s()

    def engine_ns(self, real_seconds: float) -> int:
        return self._running.engine_ns(real_seconds)

    async def sleep(self, seconds: float) -> None:
        await self._released.wait()
        await self._running.sleep(seconds)

    async def sleep_real(self, seconds: float) -> None:
        await self._running.sleep_real(seconds)

    async def sleep_until(self, ts_ns: int) -> None:
        if ts_ns > self._epoch_ns:
            await self._released.wait()
            await self._running.sleep_until(ts_ns)
