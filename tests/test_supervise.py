"""Children become ready, come back after a crash, and leave nothing behind."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path

import pytest

from engine.clock import SystemClock
from engine.supervise import Backoff, ProcessFailed, ProcessSpec, ProcessState, StateChange, Supervisor
from tests.processes import is_gone
from tests.waiting import until

S = ProcessState
CLOCK = SystemClock()


def spec(folder: Path, name: str, code: str, *, ready: str = "ready", timeout_s: float = 20.0) -> ProcessSpec:
    return ProcessSpec(
        name=name,
        argv=(sys.executable, "-u", "-c", code),
        log=folder / f"{name}.log",
        env={"PATH": os.environ["PATH"], "GREETING": "hello"},
        ready=ready,
        ready_timeout_s=timeout_s,
    )


STEADY = "import os, time; print(os.environ['GREETING'], 'ready'); time.sleep(600)"
STUBBORN = "import signal, time; signal.signal(15, signal.SIG_IGN); print('ready'); time.sleep(600)"
FAMILY = (
    "import subprocess, time; p = subprocess.Popen(['sleep', '600']); print(p.pid, 'ready'); time.sleep(600)"
)


class Watcher:
    """Keeps the changes of state."""

    def __init__(self) -> None:
        self.changes: list[StateChange] = []

    def __call__(self, change: StateChange) -> None:
        self.changes.append(change)

    def states(self, name: str) -> list[ProcessState]:
        return [change.state for change in self.changes if change.name == name]


@pytest.fixture
def watcher() -> Watcher:
    return Watcher()


async def test_children_start_and_stop_and_keep_their_output(tmp_path: Path, watcher: Watcher) -> None:
    async with Supervisor(CLOCK, watcher) as supervisor:
        for name in ("a", "b"):
            await supervisor.start(spec(tmp_path, name, STEADY))
        pids = supervisor.pids()
        assert set(pids) == {"a", "b"}
        await supervisor.stop("a")
        assert is_gone(pids["a"])
        assert not is_gone(pids["b"])
    assert is_gone(pids["b"])
    assert watcher.states("b") == [S.STARTING, S.READY, S.STOPPED]
    assert watcher.changes[-1].exit_code == -signal.SIGTERM
    assert (tmp_path / "a.log").read_text() == "hello ready\n"


async def test_children_end_in_reverse_order_since_the_younger_use_the_older(
    tmp_path: Path, watcher: Watcher
) -> None:
    async with Supervisor(CLOCK, watcher) as supervisor:
        for name in ("venue", "engine", "api"):
            await supervisor.start(spec(tmp_path, name, STEADY))
    ended = [change.name for change in watcher.changes if change.state is S.STOPPED]
    assert ended == ["api", "engine", "venue"]


async def test_crashed_child_comes_back(tmp_path: Path, watcher: Watcher) -> None:
    async with Supervisor(CLOCK, watcher) as supervisor:
        await supervisor.start(spec(tmp_path, "a", STEADY))
        first = supervisor.pids()["a"]
        os.kill(first, signal.SIGKILL)
        await until(lambda: watcher.states("a").count(S.READY) == 2)
        assert supervisor.pids()["a"] != first
    assert watcher.states("a") == [S.STARTING, S.READY, S.DOWN, S.RESTARTING, S.STARTING, S.READY, S.STOPPED]
    down = watcher.changes[2]
    assert (down.exit_code, down.pid, watcher.changes[-1].restarts) == (-signal.SIGKILL, None, 1)


async def test_child_that_fails_at_once_is_an_error_with_its_words(tmp_path: Path, watcher: Watcher) -> None:
    async with Supervisor(CLOCK, watcher) as supervisor:
        with pytest.raises(ProcessFailed, match="a ended with 2: no such key"):
            await supervisor.start(
                spec(tmp_path, "a", "import sys; sys.stderr.write('no such key'); sys.exit(2)")
            )
        assert supervisor.pids() == {}
        await supervisor.start(spec(tmp_path, "a", STEADY))
    assert watcher.states("a")[:3] == [S.STARTING, S.DOWN, S.STARTING]


async def test_child_that_is_not_ready_in_time_is_an_error(tmp_path: Path) -> None:
    async with Supervisor(CLOCK) as supervisor:
        with pytest.raises(ProcessFailed, match="ended with -9"):
            await supervisor.start(spec(tmp_path, "a", "import time; time.sleep(600)", timeout_s=0.3))


async def test_probe_decides_readiness(tmp_path: Path) -> None:
    answers: list[bool | Exception] = [OSError("refused"), TimeoutError(), False, True]

    async def probe() -> bool:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    async with Supervisor(CLOCK) as supervisor:
        await supervisor.start(spec(tmp_path, "a", STEADY), probe)
        assert answers == []


async def test_error_in_the_block_stops_the_children_and_passes_unchanged(tmp_path: Path) -> None:
    pids: dict[str, int] = {}

    async def main() -> None:
        async with Supervisor(CLOCK) as supervisor:
            await supervisor.start(spec(tmp_path, "a", STEADY))
            pids.update(supervisor.pids())
            raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        await main()
    assert is_gone(pids["a"])


async def test_cancelled_block_stops_the_children(tmp_path: Path, watcher: Watcher) -> None:
    async def main() -> None:
        async with Supervisor(CLOCK, watcher) as supervisor:
            await supervisor.start(spec(tmp_path, "a", STEADY))
            await asyncio.Event().wait()

    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(main())
        await until(lambda: S.READY in watcher.states("a"))
        running.cancel()
    assert watcher.states("a")[-1] is S.STOPPED


@pytest.mark.parametrize("how", ["stop", "crash"])
async def test_what_a_child_started_goes_with_it(tmp_path: Path, watcher: Watcher, how: str) -> None:
    async with Supervisor(CLOCK, watcher) as supervisor:
        await supervisor.start(spec(tmp_path, "a", FAMILY))
        grandchild = int((tmp_path / "a.log").read_text().split()[0])
        assert not is_gone(grandchild)
        if how == "crash":
            os.kill(supervisor.pids()["a"], signal.SIGKILL)
            await until(lambda: is_gone(grandchild))
    await until(lambda: is_gone(grandchild))


async def test_child_that_ignores_the_stop_is_killed(tmp_path: Path, watcher: Watcher) -> None:
    async with Supervisor(CLOCK, watcher) as supervisor:
        await supervisor.start(spec(tmp_path, "a", STUBBORN))
    assert watcher.changes[-1].exit_code == -signal.SIGKILL


async def test_two_children_of_one_name_are_refused(tmp_path: Path) -> None:
    async with Supervisor(CLOCK) as supervisor:
        await supervisor.start(spec(tmp_path, "a", STEADY))
        with pytest.raises(ValueError, match="already"):
            await supervisor.start(spec(tmp_path, "a", STEADY))


PARENT = """
import asyncio, os, sys
from pathlib import Path
from engine.clock import SystemClock
from engine.supervise import ProcessSpec, Supervisor

async def main():
    env = {"PATH": os.environ["PATH"]}
    spec = ProcessSpec(name="a", argv=("sleep", "600"), log=Path(sys.argv[1]), env=env)
    async with Supervisor(SystemClock()) as supervisor:
        await supervisor.start(spec)
        print("pid", supervisor.pids()["a"], flush=True)
        await asyncio.Event().wait()

asyncio.run(main())
"""


async def test_children_die_with_a_supervisor_that_is_killed(tmp_path: Path) -> None:
    parent = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", PARENT, str(tmp_path / "a.log")), stdout=asyncio.subprocess.PIPE
    )
    assert parent.stdout is not None
    while not (line := await parent.stdout.readline()).startswith(b"pid "):
        assert line, "the supervisor did not start"
    parent.kill()
    await parent.wait()
    await until(lambda: is_gone(int(line.split()[1])))


@pytest.mark.parametrize(
    ("ready_s", "waits_s"),
    [
        ([0, 0, 0, 0, 0, 0, 0], [0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0]),
        ([0, 0, 31, 0], [0.2, 0.4, 0.2, 0.4]),
    ],
)
def test_backoff_grows_and_is_short_after_a_steady_run(ready_s: list[float], waits_s: list[float]) -> None:
    backoff = Backoff()
    assert [backoff.after_run_of(seconds) for seconds in ready_s] == pytest.approx(waits_s)
