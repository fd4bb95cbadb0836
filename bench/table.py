"""Shows the rows: a table for people, JSON for machines."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence

import msgspec
from rich.console import Console
from rich.table import Table

from bench.measure import Kind, Row

_DECIMALS_BELOW = 10.0


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """One run. `load` is the machine's load average of the last minute before it began."""

    python: str
    cpus: int
    load: float
    seconds: float
    rows: tuple[Row, ...]
    notes: tuple[str, ...]


def report(rows: Sequence[Row], notes: Sequence[str], load: float, seconds: float) -> Report:
    return Report(
        python=platform.python_version(),
        cpus=os.cpu_count() or 1,
        load=round(load, 2),
        seconds=round(seconds, 1),
        rows=tuple(rows),
        notes=tuple(notes),
    )


def show(made: Report, console: Console) -> None:
    """Print the table."""
    table = Table(title="edgewise: speed beside a reference, same run, equal results", title_justify="left")
    table.add_column("path", overflow="fold")
    table.add_column("µs", justify="right", no_wrap=True)
    table.add_column("p99", justify="right", no_wrap=True)
    table.add_column("limit or peer", overflow="fold")
    table.add_column("µs", justify="right", no_wrap=True)
    table.add_column("p99", justify="right", no_wrap=True)
    table.add_column("speed", justify="right", no_wrap=True)
    table.add_column("aim", justify="right", no_wrap=True)
    table.add_column("equal", overflow="fold")
    section = ""
    for row in made.rows:
        if row.section != section:
            section = row.section
            table.add_section()
            table.add_row(f"[bold]{section}[/bold]")
        table.add_row(
            row.path + _rate(row.per_s),
            _us(row.path_us),
            _us(row.p99_us),
            (row.reference if row.kind is Kind.LIMIT else f"[cyan]{row.reference}[/cyan]")
            + _rate(row.reference_per_s),
            _us(row.reference_us),
            _us(row.reference_p99_us),
            f"[bold]{_ratio(row.speed)}[/bold]",
            _aim(row),
            row.equal,
        )
    console.print(table)
    console.print(
        "speed = time of the limit or peer / time of the path: 1 is as fast, 0.5 takes twice as long. "
        "µs an item: median of the rounds, or of the items where there is a p99. With requests a "
        "second (/s), speed is their ratio."
    )
    aims = [row.met for row in made.rows if row.met is not None]
    if aims:
        console.print(f"aims met: {sum(aims)} of {len(aims)}")
    for note in made.notes:
        console.print(f"note: {note}")
    console.print(
        f"Python {made.python}, {made.cpus} CPUs, load {made.load} before the run, {made.seconds} s",
        style="dim",
    )


def _us(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:.2f}" if value < _DECIMALS_BELOW else f"{value:.1f}"


def _rate(per_s: float | None) -> str:
    return "" if per_s is None else f", {per_s:,.0f}/s"


def _ratio(value: float) -> str:
    return f"{value:.2f}" if value < _DECIMALS_BELOW else f"{value:.1f}"


def _aim(row: Row) -> str:
    if row.met is None:
        return ""
    if row.over_us is not None:
        aim = "+{:.0f}, p99 +{:.0f}".format(*row.over_us)
    elif row.p99_within is not None:
        aim = f"p99 < {row.p99_within:g} x"
    elif row.p99_below_us is not None:
        aim = f"p99 < {row.p99_below_us:.0f}"
    else:
        aim = _ratio(row.aim or 0.0) + (" p99" if row.aim_at_p99 else "")
    return f"{aim} " + ("[green]met[/green]" if row.met else "[red]not met[/red]")
