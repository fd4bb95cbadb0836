"""An engine's exchange part in a process that kills itself at a chosen await. For tests of crashes only.

The child stands in for the manager too: it journals an intent, then publishes it. What it does first
(`before`) goes undisturbed; then the point is armed, and the n-th call of the named method of a port dies
by SIGKILL, just before it begins or just after it has ended.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import aiohttp

from engine.bus import INTENTS
from engine.core.errors import VenueError
from engine.core.orders import OrderIntent
from engine.redis_bus import RedisBus
from tests.exchange_world import CLOCK, Keys, Life, Simulator, life, until_stops
from tests.waiting import until


@dataclass(frozen=True)
class Point:
    """Where to die: at the `nth` call of `call` (`port.method`), `when` it begins or has ended."""

    call: str
    when: str  # before, after
    nth: int = 1

    def __str__(self) -> str:
        return f"{self.when} {self.call}" + (f" {self.nth}" if self.nth > 1 else "")


@dataclass(frozen=True)
class Plan:
    """All that a child is told; crosses the process border by pickle."""

    url: str
    keys: Keys
    dsn: str
    redis_url: str
    act: str
    point: Point


class Trigger:
    """Counts the calls of one method, once armed."""

    def __init__(self, point: Point) -> None:
        self.point, self.armed, self._count = point, False, 0

    async def around(self, call: Callable[..., Awaitable[Any]], *args: Any, **kwargs: Any) -> Any:
        self._count += self.armed
        hit = self.armed and self._count == self.point.nth
        if hit and self.point.when == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        try:
            return await call(*args, **kwargs)
        except VenueError:
            hit = False  # it did not happen
            raise
        finally:
            if hit:
                os.kill(os.getpid(), signal.SIGKILL)


class Deadly:
    """A port of which one method kills."""

    def __init__(self, port: str, target: Any, trigger: Trigger) -> None:
        self._port, self._target, self._trigger = port, target, trigger

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._target, name)
        if f"{self._port}.{name}" != self._trigger.point.call:
            return method
        return lambda *args, **kwargs: self._trigger.around(method, *args, **kwargs)


class DeadlyBus(Deadly):
    """Its `handler` is what runs between reading a message and acknowledging it."""

    async def consume(self, topic: Any, group: str, handler: Any, **more: Any) -> None:
        deadly = self._trigger.point.call == "bus.handler"
        chosen = (lambda message: self._trigger.around(handler, message)) if deadly else handler
        await self._target.consume(topic, group, chosen, **more)


def be_killed(plan: Plan) -> None:
    """The child's whole life."""
    asyncio.run(_live(plan))


async def _live(plan: Plan) -> None:
    trigger = Trigger(plan.point)
    bus = RedisBus(plan.redis_url, "test", CLOCK)
    async with aiohttp.ClientSession() as http:
        sim = Simulator(plan.url, http, plan.keys)
        async with life(
            sim,
            plan.dsn,
            wrap=lambda venue: Deadly("venue", venue, trigger),
            wrap_journal=lambda journal: Deadly("journal", journal, trigger),
            bus=DeadlyBus("bus", bus, trigger),
        ) as now:
            manager = Manager(Deadly("journal", now.journal, trigger), Deadly("bus", bus, trigger))
            await until(lambda: now.service.guard.looks > 0)  # the first look is no part of the act
            await ACTS[plan.act](now, sim, manager, trigger)
            await asyncio.Event().wait()


class Manager:
    """Journals intents, then publishes them, as the manager does."""

    def __init__(self, journal: Any, bus: Any) -> None:
        self._journal, self._bus = journal, bus

    async def send(self, intent: OrderIntent) -> None:
        await self._journal.record_gate((), [intent])
        await self._bus.publish(INTENTS, intent)


async def _entered(now: Life, manager: Manager) -> None:
    intent = now.intent("held")
    await manager.send(intent)
    await until(lambda: now.held() == 2)
    await until_stops(now, "2")
    await now.service.desk.drained()


async def _entry(now: Life, sim: Simulator, manager: Manager, trigger: Trigger) -> None:
    trigger.armed = True
    await manager.send(now.intent("killed"))


async def _exit(now: Life, sim: Simulator, manager: Manager, trigger: Trigger) -> None:
    await _entered(now, manager)
    trigger.armed = True
    await manager.send(now.exit("killed"))


async def _part(now: Life, sim: Simulator, manager: Manager, trigger: Trigger) -> None:
    await _entered(now, manager)
    trigger.armed = True
    await manager.send(now.exit("killed", contracts="0.5"))


async def _stop(now: Life, sim: Simulator, manager: Manager, trigger: Trigger) -> None:
    await _entered(now, manager)
    trigger.armed = True
    await sim.price("94000")


async def _naked(now: Life, sim: Simulator, manager: Manager, trigger: Trigger) -> None:
    await sim.fault("refuse_attached")
    trigger.armed = True
    await manager.send(now.intent("killed"))


ACTS: dict[str, Callable[[Life, Simulator, Manager, Trigger], Awaitable[None]]] = {
    "entry": _entry,
    "exit": _exit,
    "part": _part,
    "stop": _stop,
    "naked": _naked,
}
