"""Slow work beside the handlers: one job at a time per key, a bounded number at once, none forgotten."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from types import TracebackType
from typing import Any, Final, Self

Work = Callable[[], Coroutine[Any, Any, object]]

_MAX_RUNNING: Final = 256
_MAX_WAITING: Final = 10_000


class Jobs:
    """Background jobs of one part; an async context that owns their TaskGroup.

    At most `max_running` jobs work at once; the next `max_waiting` wait in the order of their start; beyond
    that `start` refuses. An exception that leaves a job cancels the others and the task that entered the
    context, and comes out of the context as an ExceptionGroup: a job handles what it expects. Leaving the
    context cancels what still runs and waits for it. A context is entered once.
    """

    def __init__(self, *, max_running: int = _MAX_RUNNING, max_waiting: int = _MAX_WAITING) -> None:
        self._bound = max_running + max_waiting
        self._slots = asyncio.Semaphore(max_running)
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._group = asyncio.TaskGroup()
        self._entered = False
        self._closing = False

    def start(self, key: str, work: Work) -> bool:
        """Start `work()` as the job `key`. False, and nothing is started, when it cannot be.

        That is: a job with this key runs or waits, too many wait, or the context is closing. Raises
        RuntimeError outside of the context.
        """
        if not self._entered:
            raise RuntimeError("jobs are started inside their context")
        if self._closing or key in self._tasks or len(self._tasks) >= self._bound:
            return False
        job = self._run(key, work)
        try:
            task = self._group.create_task(job, name=f"job {key}")
        except RuntimeError:  # the group is shutting down because a job failed
            job.close()
            return False
        self._tasks[key] = task
        return True

    def running(self, key: str) -> bool:
        """Whether the job `key` runs or waits for its turn."""
        return key in self._tasks

    def keys(self) -> tuple[str, ...]:
        """The jobs that run or wait, oldest first."""
        return tuple(self._tasks)

    def __len__(self) -> int:
        return len(self._tasks)

    async def stop(self) -> None:
        """Cancel every job, start no other, and wait until all have ended."""
        self._closing = True
        tasks = tuple(self._tasks.values())
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        self._tasks.clear()  # of those that had not begun

    async def __aenter__(self) -> Self:
        await self._group.__aenter__()
        self._entered = True
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closing = True
        for task in tuple(self._tasks.values()):
            task.cancel()
        try:
            await self._group.__aexit__(kind, error, trace)
        finally:
            self._tasks.clear()

    async def _run(self, key: str, work: Work) -> None:
        try:
            async with self._slots:
                await work()
        finally:
            del self._tasks[key]
