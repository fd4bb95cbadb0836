"""The loop on simulated time: turns are taken as on asyncio's own loop, and only idle moments move time."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine

import pytest

from engine.backtest.loop import SimLoop
from engine.clock import Alarm, SimClock, cancelled, settle
from engine.core.errors import InvariantBroken
from engine.core.times import NEVER_NS, NS_PER_MIN, NS_PER_S


class Market:
    """Moves at the given seconds and tells when; `leaps` once to the time that it may."""

    def __init__(self, clock: SimClock, *moments_s: int, leaps: bool = False) -> None:
        self._clock, self._moments_s, self._leaps = clock, list(moments_s), leaps
        self.told: list[tuple[str, int]] = []

    def next_ns(self) -> int:
        return self._moments_s[0] * NS_PER_S if self._moments_s else NEVER_NS

    def play(self) -> None:
        self.told.append(("market", self._moments_s.pop(0)))

    def leap(self, until_ns: int) -> bool:
        if until_ns == NEVER_NS or not self._leaps:
            return False
        self._leaps = False
        self._clock.set(until_ns)
        return True

    async def sleeper(self, name: str, sleeping: Coroutine[None, None, None]) -> None:
        await sleeping
        self.told.append((name, self._clock.now_ns() // NS_PER_S))


def on_simulated_time(clock: SimClock, work: object, market: Market | None = None) -> object:
    with asyncio.Runner(loop_factory=lambda: SimLoop(clock, market)) as runner:
        return runner.run(work)  # type: ignore[arg-type]


def test_time_passes_when_nothing_else_can() -> None:
    clock = SimClock(1_750_000_000 * NS_PER_S, speed=60)

    async def work() -> list[int]:
        seen: list[int] = []
        for minutes in (5, 1, 3):
            await clock.sleep(minutes * 60)
            seen.append(clock.now_ns())
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(2):  # real seconds: two engine minutes
                await asyncio.get_running_loop().create_future()
        seen.append(clock.now_ns())
        return seen

    start = clock.now_ns()
    times = on_simulated_time(clock, work())
    assert isinstance(times, list)
    assert [round((ts - start) / NS_PER_MIN, 6) for ts in times] == [5, 6, 9, 11]


def test_waiting_for_what_cannot_come_is_an_error() -> None:
    async def work() -> None:
        await asyncio.get_running_loop().create_future()

    with pytest.raises(InvariantBroken, match="cannot come"):
        on_simulated_time(SimClock(0), work())


async def busy_day() -> list[str]:
    """Many tasks that wake each other in many ways; says who did what, in order."""
    told: list[str] = []
    queue: asyncio.Queue[int] = asyncio.Queue(maxsize=2)
    opened, lock = asyncio.Event(), asyncio.Lock()
    loop = asyncio.get_running_loop()

    async def produce(name: str) -> None:
        for number in range(4):
            await queue.put(number)
            told.append(f"{name} put {number}")
            loop.call_soon(told.append, f"call after {name} {number}")
            async with lock:
                await settle(number)
        opened.set()

    async def consume(name: str) -> None:
        async with asyncio.timeout(60):
            while True:
                number = await queue.get()
                told.append(f"{name} got {number}")
                async with asyncio.TaskGroup() as tasks:
                    for part in range(number):
                        tasks.create_task(settle(part), name=f"part {part}")
                        told.append(f"{name} started {part}")
                told.append(f"{name} done")

    consumers = [asyncio.create_task(consume(name), name=name) for name in "ab"]
    dropped = loop.call_soon(told.append, "never")
    dropped.cancel()
    await asyncio.gather(produce("x"), produce("y"), opened.wait())
    for task in consumers:
        task.cancel()
    told += [type(end).__name__ for end in await asyncio.gather(*consumers, return_exceptions=True)]
    return told


def test_turns_are_taken_in_the_order_of_asyncio() -> None:
    told = asyncio.run(busy_day())
    assert on_simulated_time(SimClock(0), busy_day()) == told
    assert "never" not in told


def test_timers_and_sleepers_that_are_due_at_once_wake_at_once_and_cancelled_ones_move_no_time() -> None:
    clock = SimClock(0, speed=2)
    told: list[tuple[str, float]] = []

    def tell(name: str) -> None:
        told.append((name, clock.real_s()))

    async def nap(name: str, seconds: float) -> None:
        await clock.sleep_real(seconds)
        tell(name)

    async def work() -> None:
        loop = asyncio.get_running_loop()
        for name, wait_s in (("first", 0.1), ("second", 0.3), ("third", 0.3), ("dropped", 0.2)):
            timer = loop.call_later(wait_s, tell, name)
            if name == "dropped":
                timer.cancel()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(nap("sleeper", 0.3), name="sleeper")
            tasks.create_task(nap("late", 0.4), name="late")

    on_simulated_time(clock, work())
    assert told == [("first", 0.1), ("sleeper", 0.3), ("second", 0.3), ("third", 0.3), ("late", 0.4)]


def test_an_alarm_that_is_moved_wakes_only_when_it_is_due() -> None:
    clock, woken = SimClock(0, speed=60), list[int]()
    alarm = Alarm(clock)

    async def sleeper() -> None:
        while True:
            await alarm.wait()
            woken.append(clock.now_ns() // NS_PER_S)

    async def work() -> None:
        task = asyncio.create_task(sleeper(), name="sleeper")
        for due_s in (500_000, 40, None, 60, 60):  # further than a nap, earlier, never, earlier, unchanged
            alarm.set(None if due_s is None else due_s * NS_PER_S)
            await clock.sleep(10)
        await clock.sleep_until(400_000 * NS_PER_S)
        alarm.set(350_000 * NS_PER_S)  # has passed
        await settle()
        alarm.set(600_000 * NS_PER_S + 123)  # between two grains of the loop's timers
        await clock.sleep_until(700_000 * NS_PER_S)
        await cancelled(task)

    on_simulated_time(clock, work())
    assert woken == [60, 400_000, 600_000]


def test_a_market_moves_before_those_who_sleep_until_then() -> None:
    clock = SimClock(0)
    market = Market(clock, 5, 20, 20, 30)

    async def work() -> None:
        async with asyncio.TaskGroup() as tasks:
            for name, seconds in (("a", 5), ("b", 10), ("c", 20)):
                tasks.create_task(market.sleeper(name, clock.sleep(seconds)), name=name)
        await clock.sleep(20)

    on_simulated_time(clock, work(), market)
    assert market.told == [
        ("market", 5),
        ("a", 5),
        ("b", 10),
        ("market", 20),
        ("c", 20),
        ("market", 20),
        ("market", 30),
    ]


def test_a_leap_ends_at_the_next_punctual_sleeper_and_patient_ones_wake_after_it() -> None:
    clock = SimClock(0)
    market = Market(clock, leaps=True)

    async def work() -> None:
        async with asyncio.TaskGroup() as tasks:
            for name, sleeping in (("patient", clock.sleep_real(5)), ("punctual", clock.sleep(60))):
                tasks.create_task(market.sleeper(name, sleeping), name=name)

    on_simulated_time(clock, work(), market)
    assert market.told == [("patient", 60), ("punctual", 60)]
