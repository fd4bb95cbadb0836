"""`edgewise doctor`: what the engine would stumble over, before it does."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from engine.cli.output import print_json, wide_console
from engine.cli.startup import Etc, Json, fail_clearly, settings_of
from engine.core.words import counted

if TYPE_CHECKING:
    from rich.console import Console

    from engine.config.settings import Settings
    from engine.doctor import Finding

_COLOURS: Final = {"ok": "green", "warn": "yellow", "wrong": "red"}


def doctor(
    etc: Etc = Path("etc"),
    ask: Annotated[
        bool, typer.Option("--ask", help="Ask every model a short question, which costs tokens.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Look at program, disk, servers, venue, key, capital, symbols and models. Exit code 1: one is wrong."""

    with fail_clearly():
        found = asyncio.run(_findings(settings_of(etc), ask=ask, shown=not as_json))
    if as_json:
        print_json(found)
    sys.exit(any(finding.state.value == "wrong" for finding in found))


async def _findings(settings: Settings, *, ask: bool, shown: bool) -> list[Finding]:
    """All of them; each is shown as soon as it is there, for some wait for a network."""
    from engine.clock import SystemClock
    from engine.doctor import Finding, State, examine
    from engine.log import configure

    clock, console = SystemClock(), wide_console()
    configure(clock, "error", "doctor")
    traders = f"{counted(len(settings.manager.traders), 'trader')} on {settings.provider_id}"
    found = [Finding("configuration", State.OK, f"{settings.folder}: {traders}")]
    found += [Finding("configuration", State.WARN, remark) for remark in settings.remarks]
    for finding in found if shown else ():
        _show(console, finding)
    async for finding in examine(settings, clock, ask_models=ask):
        found.append(finding)
        if shown:
            _show(console, finding)
    return found


def _show(console: Console, finding: Finding) -> None:
    from rich.text import Text

    state = finding.state.value
    console.print(Text.assemble((f"{state:<6}", _COLOURS[state]), f"{finding.subject:<18}", finding.detail))
