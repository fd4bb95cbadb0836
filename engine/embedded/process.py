"""One server process: its lock, its log, its end.

The server inherits the locked descriptor of its lock file, and so do all processes it forks. The lock is free
exactly when the last of them is gone: no pid is looked up that may by now be another process.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from engine.clock import Clock
from engine.core.errors import ConfigError
from engine.embedded.folder import ServerFolder, lock_file
from engine.lifeline import Leash

_LOCK_TIMEOUT_S: Final = 6.0
_POLL_S: Final = 0.01
_LOG_TAIL_BYTES: Final = 600


class ServerProcess:
    """A server that lives as long as this process, at most; never two at a time on its folder."""

    def __init__(self, name: str, folder: ServerFolder, clock: Clock) -> None:
        self.name = name
        self._folder = folder
        self._clock = clock
        self._process: asyncio.subprocess.Process | None = None
        self._leash: Leash | None = None
        self._log = folder.home / f"{name}.log"

    @property
    def pid(self) -> int | None:
        """Process id while one is there."""
        return None if self._process is None else self._process.pid

    async def spawn(self, argv: Sequence[str], before: Callable[[], None] | None = None) -> None:
        """Start the server once nothing of an earlier one is left; `before` runs just before that.

        Raises ConfigError when an earlier server does not go away.
        """
        lock = self._folder.home / f"{self.name}.lock"
        fd = await self._lock(lock)
        leash = self._leash = Leash()
        try:
            if before is not None:
                before()
            with _appending(self._folder.log_path(self.name)) as log:
                self._process = await asyncio.create_subprocess_exec(
                    *argv,
                    stdin=leash.stdin,
                    stdout=log,
                    stderr=asyncio.subprocess.STDOUT,
                    pass_fds=(fd,),
                    start_new_session=True,  # Ctrl-C is for the supervisor, which stops the servers last
                    env=bare_environment(),
                )
            os.truncate(fd, 0)
            os.pwrite(fd, str(self._process.pid).encode(), 0)
        finally:
            leash.hand_over()
            os.close(fd)

    async def exited(self) -> int:
        """Wait for the end of the process; returns its exit code (minus the signal that ended it)."""
        exit_code = await self._running().wait()
        self._release()
        return exit_code

    async def until(self, ready: Callable[[], Awaitable[bool]], timeout_s: float) -> None:
        """Ask `ready` until it says so.

        Raises ChildProcessError with the end of the log when the server died, TimeoutError when it hangs.
        """
        async with asyncio.timeout(timeout_s):
            while not await ready():
                if self._running().returncode is not None:
                    raise ChildProcessError(f"{self.name} ended at its start: {self._log_tail()}")
                await self._clock.sleep_real(_POLL_S)

    async def stop(self, ladder: Sequence[tuple[signal.Signals, float]]) -> None:
        """Send each signal in turn until the process has ended, waiting so many seconds after each."""
        if self._process is None:
            self._release()
            return
        for number, timeout_s in ladder:
            if self._process.returncode is None:
                self._process.send_signal(number)
            try:
                async with asyncio.timeout(timeout_s):
                    await self._process.wait()
            except TimeoutError:
                continue
            break
        self._release()
        self._process = None

    def _release(self) -> None:
        if self._leash is not None:
            self._leash.release()
            self._leash = None

    def _log_tail(self) -> str:
        """The last lines of the server's log, on one line."""
        with self._log.open("rb") as file:
            file.seek(max(0, self._log.stat().st_size - _LOG_TAIL_BYTES))
            return " | ".join(file.read().decode(errors="replace").splitlines()[-4:])

    def _running(self) -> asyncio.subprocess.Process:
        if self._process is None:
            raise RuntimeError(f"{self.name} was not started")
        return self._process

    async def _lock(self, path: Path) -> int:
        """Take the server's lock; a server whose supervisor was killed needs a moment to end."""
        deadline_s = self._clock.real_s() + _LOCK_TIMEOUT_S
        while (fd := lock_file(path)) is None:
            if self._clock.real_s() > deadline_s:
                raise ConfigError(
                    f"an earlier {self.name} (its pid is in {path}) still runs: end it, then start again"
                )
            await self._clock.sleep_real(_POLL_S)
        return fd


@contextmanager
def _appending(path: Path) -> Iterator[int]:
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    try:
        yield fd
    finally:
        os.close(fd)


def bare_environment() -> dict[str, str]:
    """What a server may see of the environment: no key of a venue or a model is among it."""
    kept = {name: os.environ[name] for name in ("PATH", "LD_LIBRARY_PATH") if name in os.environ}
    return kept | {"LC_ALL": "C", "TZ": "UTC"}
