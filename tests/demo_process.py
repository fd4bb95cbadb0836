"""`edgewise demo` as a process, as a newcomer starts it."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

from tests.waiting import until

DEADLINE_S = 100.0


class Demo:
    """`edgewise demo` as a process; `lines` is what it has printed."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.lines: list[str] = []
        self._reading = asyncio.create_task(self._read(), name="demo output")

    async def _read(self) -> None:
        assert self.process.stdout is not None
        async for line in self.process.stdout:
            self.lines.append(line.decode().rstrip())

    async def api(self) -> str:
        """Address of its API, once it says so."""
        await until(lambda: any(line.startswith("API on ") for line in self.lines), DEADLINE_S)
        return next(line.split()[2].rstrip(",") for line in self.lines if line.startswith("API on "))

    async def end(self) -> int:
        code = await self.process.wait()
        await self._reading
        return code

    def children(self) -> dict[int, str]:
        """Its child processes: pid → command line."""
        pid = self.process.pid
        found = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        return {int(child): _command(int(child)) for child in found}


def engine_of(running: Demo) -> int:
    """The pid of its engine."""
    return next(pid for pid, command in running.children().items() if "engine.cli.main engine" in command)


def _command(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
    except FileNotFoundError:
        return ""


async def demo(home: Path, *options: str, **environment: str) -> Demo:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "engine.cli.main", "demo", "--speed", "30", "--seed", "7", "--port", "0"),
        *("--home", str(home), *options),
        stdout=asyncio.subprocess.PIPE,
        env=os.environ | {"COLUMNS": "200"} | environment,
    )
    return Demo(process)
