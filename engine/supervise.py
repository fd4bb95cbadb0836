"""Child processes by name: started, watched, restarted after a crash, ended with their parent.

    async with Supervisor(clock, on_change=show) as supervisor:
        await supervisor.start(ProcessSpec(name="engine", argv=(...), log=..., ready="engine ready"))
        ...

A child dies with this process even when that is killed with -9 (engine.lifeline). Leaving the block stops all
children within STOP_TIMEOUT_S and leaves no process behind.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Awaitable, Callable, Iterator
from enum import StrEnum
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Final, Self

import msgspec
import structlog

from engine.clock import Clock
from engine.core.errors import EdgewiseError
from engine.lifeline import Leash, tied

log = structlog.get_logger()

STOP_TIMEOUT_S: Final = 3.0  # between SIGTERM and SIGKILL
_FIRST_BACKOFF_S: Final = 0.2
_LONGEST_BACKOFF_S: Final = 5.0
_STEADY_S: Final = 30.0  # a child that was ready so long has earned a quick restart
_PROBE_PAUSE_S: Final = 0.1
_LONGEST_LOG_BYTES: Final = 16 << 20
_CHUNK_BYTES: Final = 64 << 10
_TAIL_BYTES: Final = 4 << 10

Probe = Callable[[], Awaitable[bool]]


class ProcessState(StrEnum):
    """Where a child is in its life."""

    STARTING = "starting"  # the process is there, it has not said that it is ready
    READY = "ready"
    DOWN = "down"  # it ended by itself
    RESTARTING = "restarting"  # waiting for the next try
    STOPPED = "stopped"  # it ended because we stopped it


class ProcessSpec(msgspec.Struct, frozen=True, kw_only=True):
    """What to run. Output goes to `log`, appended; the file before is kept as `<log>.1` when it grew long.

    env: the whole environment of the child. ready: text in a line of its output that says it is ready;
    without it (and without a probe) it is ready once started. ready_timeout_s: a child that is not ready by
    then is killed and counts as crashed.
    """

    name: str
    argv: tuple[str, ...]
    log: Path
    env: dict[str, str]
    ready: str = ""
    ready_timeout_s: float = 30.0


class StateChange(msgspec.Struct, frozen=True, kw_only=True):
    """A child has come to a new state. exit_code: minus the signal that ended it."""

    name: str
    state: ProcessState
    pid: int | None = None
    exit_code: int | None = None
    restarts: int = 0


class ProcessFailed(EdgewiseError):
    """A child ended before it was ready for the first time; the text holds the end of its output."""


class Backoff:
    """How long to wait before the next try: doubled each time, short again after a steady run."""

    def __init__(self) -> None:
        self._next_s = _FIRST_BACKOFF_S

    def after_run_of(self, ready_s: float) -> float:
        """Seconds to wait now that a child has ended which was ready for `ready_s`."""
        if ready_s >= _STEADY_S:
            self._next_s = _FIRST_BACKOFF_S
        wait_s, self._next_s = self._next_s, min(_LONGEST_BACKOFF_S, self._next_s * 2)
        return wait_s


class Supervisor:
    """Runs children until the block is left; `on_change` is called for every change of state."""

    def __init__(self, clock: Clock, on_change: Callable[[StateChange], None] = lambda _: None) -> None:
        self._clock = clock
        self._on_change = on_change
        self._tasks = asyncio.TaskGroup()
        self._children: dict[str, _Child] = {}

    async def start(self, spec: ProcessSpec, probe: Probe | None = None) -> None:
        """Start a child and wait until it is ready; from then on it is restarted when it ends.

        probe: asked until it says True, after the `ready` text if there is one; an OSError or TimeoutError
        of it means no. Raises ProcessFailed when the child ends or is not ready in time, ValueError for a
        name in use.
        """
        if spec.name in self._children:
            raise ValueError(f"there is a process {spec.name!r} already")
        child = _Child(spec, probe, self._clock, self._on_change)
        self._children[spec.name] = child
        self._tasks.create_task(child.run(), name=f"supervise {spec.name}")
        await child.settled.wait()
        if child.failure:
            self._children.pop(spec.name, None)
            raise ProcessFailed(child.failure)

    async def stop(self, *names: str) -> None:
        """Stop these children; without names, all there are. They are not restarted.

        One after the other, the youngest first: it may use those that were ready before it.
        """
        for name in names or tuple(reversed(self._children)):
            await self._children.pop(name).stop()

    def pids(self) -> dict[str, int]:
        """Process id of each child that is there, by name."""
        return {name: child.pid for name, child in self._children.items() if child.pid is not None}

    async def __aenter__(self) -> Self:
        await self._tasks.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # The error of the body is not given to the group: it passes through as it is, not in a group.
        try:
            await self.stop()
        except BaseException as impatient:  # a second Ctrl-C: the tasks kill their processes and go
            await self._tasks.__aexit__(type(impatient), impatient, impatient.__traceback__)
            raise
        await self._tasks.__aexit__(None, None, None)


class _Child:
    """One child: its process, its output, its restarts. `settled`: ready for the first time, or failed."""

    def __init__(
        self, spec: ProcessSpec, probe: Probe | None, clock: Clock, on_change: Callable[[StateChange], None]
    ) -> None:
        self.settled = asyncio.Event()
        self.failure = ""
        self._spec = spec
        self._probe = probe
        self._clock = clock
        self._on_change = on_change
        self._backoff = Backoff()
        self._output = _Output(spec.log, spec.ready)
        self._process: asyncio.subprocess.Process | None = None
        self._ready_since_s: float | None = None
        self._restarts = 0
        self._stopping = asyncio.Event()
        self._ended = asyncio.Event()

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process and self._process.returncode is None else None

    async def run(self) -> None:
        """Live after live, until stopped, or until the first one fails."""
        try:
            while True:
                exit_code = await self._live()
                if self._stopping.is_set():
                    self._report(ProcessState.STOPPED, exit_code)
                    return
                self._report(ProcessState.DOWN, exit_code)
                if not self.settled.is_set():
                    self.failure = f"{self._spec.name} ended with {exit_code}: {self._output.tail()}"
                    return
                self._report(ProcessState.RESTARTING)
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(self._backoff.after_run_of(self._ready_for_s())):
                        await self._stopping.wait()
                        self._report(ProcessState.STOPPED, exit_code)
                        return
                self._restarts += 1
        finally:
            self.settled.set()
            self._ended.set()

    async def stop(self) -> None:
        """SIGTERM, and SIGKILL for what is left after STOP_TIMEOUT_S; returns when all is gone."""
        self._stopping.set()
        if self.pid is not None and self._process is not None:
            self._process.terminate()
        try:
            async with asyncio.timeout(STOP_TIMEOUT_S):
                await self._ended.wait()
        except TimeoutError:
            log.warning("process killed, it did not stop", process_name=self._spec.name)
            self._sweep()
            await self._ended.wait()

    async def _live(self) -> int:
        """One process from its start to its end; returns its exit code."""
        self._ready_since_s = None
        self._output.begin()
        output, childs_end = os.pipe()  # asyncio's own would wait for all who hold it, not for the process
        leash = Leash()
        try:
            self._process = process = await asyncio.create_subprocess_exec(
                *tied(self._spec.argv, signal.SIGKILL),
                stdin=leash.stdin,
                stdout=childs_end,
                stderr=asyncio.subprocess.STDOUT,
                env=self._spec.env,
                start_new_session=True,  # Ctrl-C is for us; what the child started is swept with its group
            )
        except BaseException:
            os.close(output)
            raise
        finally:
            leash.hand_over()
            os.close(childs_end)
        try:
            if self._stopping.is_set():
                process.terminate()
            self._report(ProcessState.STARTING)
            async with asyncio.TaskGroup() as tasks:
                reading = tasks.create_task(self._output.read(output), name=f"{self._spec.name} output")
                becoming = tasks.create_task(self._become_ready(), name=f"{self._spec.name} readiness")
                exit_code = await process.wait()
                becoming.cancel()
                self._sweep()
                await asyncio.wait([reading], timeout=1.0)
                reading.cancel()  # a stranger that left the group may hold the pipe for ever
            return exit_code
        finally:
            self._sweep()
            leash.release()

    async def _become_ready(self) -> None:
        try:
            async with asyncio.timeout(self._spec.ready_timeout_s):
                if self._spec.ready:
                    await self._output.said_ready.wait()
                while not await self._probed():
                    await self._clock.sleep_real(_PROBE_PAUSE_S)
        except TimeoutError:
            log.warning("process killed, it was not ready in time", process_name=self._spec.name)
            self._sweep()
            return
        self._ready_since_s = self._clock.real_s()
        self.settled.set()
        self._report(ProcessState.READY)

    async def _probed(self) -> bool:
        try:
            return self._probe is None or await self._probe()
        except (OSError, TimeoutError):
            return False

    def _ready_for_s(self) -> float:
        return 0.0 if self._ready_since_s is None else self._clock.real_s() - self._ready_since_s

    def _sweep(self) -> None:
        """Kill the process and all that it has started in its group."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError, PermissionError):  # macOS: EPERM for zombies
                os.killpg(self._process.pid, signal.SIGKILL)

    def _report(self, state: ProcessState, exit_code: int | None = None) -> None:
        change = StateChange(
            name=self._spec.name, state=state, pid=self.pid, exit_code=exit_code, restarts=self._restarts
        )
        write = log.warning if state is ProcessState.DOWN else log.info
        write(
            "process changed state",
            process_name=change.name,
            state=state,
            pid=change.pid,
            exit_code=exit_code,
        )
        self._on_change(change)


class _Output:
    """Copies what a child writes into its log, and finds the text that says it is ready."""

    def __init__(self, path: Path, ready: str) -> None:
        self.said_ready = asyncio.Event()
        self._path = path
        self._ready = ready.encode()
        self._end = b""

    def begin(self) -> None:
        """Forget the process before."""
        self.said_ready.clear()
        self._end = b""

    async def read(self, fd: int) -> None:
        """Copy until the end and close `fd`; a log that grows too long is moved aside, once."""
        reader = asyncio.StreamReader()
        pipe = os.fdopen(fd, "rb", buffering=0)  # the transport closes it
        transport, _ = await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(reader), pipe
        )
        try:
            await self._copy(reader)
        finally:
            transport.close()

    async def _copy(self, reader: asyncio.StreamReader) -> None:
        while chunk := await reader.read(_CHUNK_BYTES):
            self._write(chunk)
            window = self._end + chunk
            if self._ready and self._ready in window:
                self.said_ready.set()
            self._end = window[-_TAIL_BYTES:]

    def tail(self) -> str:
        """The last lines, on one line."""
        return " | ".join(self._end.decode(errors="replace").splitlines()[-6:]) or "it wrote nothing"

    def _write(self, chunk: bytes) -> None:
        with _appending(self._path) as file:
            file.write(chunk)
            too_long = file.tell() > _LONGEST_LOG_BYTES
        if too_long:
            self._path.replace(self._path.with_name(f"{self._path.name}.1"))


@contextlib.contextmanager
def _appending(path: Path) -> Iterator[BinaryIO]:
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "ab", buffering=0) as file:
        yield file
