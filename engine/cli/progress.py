"""How far a long command is: a bar on standard error, and what is logged above it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO, cast

if TYPE_CHECKING:
    from rich.console import Console


@dataclass(frozen=True, slots=True)
class LogOf:
    """Whose log it is, and the lowest level that is told."""

    process: str
    level: str

    def go_to(self, out: BinaryIO | None) -> None:
        """Send it to `out`, or to standard error."""
        from engine.clock import SystemClock
        from engine.log import configure

        configure(SystemClock(), self.level, self.process, out)


@contextmanager
def playing(what: str, log: LogOf) -> Iterator[Callable[[float], None]]:
    """A bar while the block runs; give it the played part, 0 to 1."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task(what, total=1.0)
        log.go_to(cast("BinaryIO", _Above(console)) if console.is_terminal else None)
        try:
            yield lambda part: bar.update(task, completed=part)
        finally:
            log.go_to(None)


class _Above:
    """A target for log lines that leaves the bar below them whole."""

    def __init__(self, console: Console) -> None:
        self._console = console

    def write(self, line: bytes) -> int:
        from rich.text import Text

        self._console.print(Text.from_ansi(line.decode(errors="replace").rstrip("\n")), soft_wrap=True)
        return len(line)

    def flush(self) -> None:
        self._console.file.flush()

    def isatty(self) -> bool:
        return True
