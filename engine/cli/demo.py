"""`edgewise demo`."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated

import typer

from engine.cli.startup import Etc


def demo(
    port: Annotated[int, typer.Option(help="Port of the API; 0 takes a free one.")] = 8642,
    speed: Annotated[
        float, typer.Option(help="How many times faster than real time.", min=0.1, max=200)
    ] = 10,
    run_for: Annotated[str, typer.Option("--for", help="Stop after so long, such as 90s or 10m.")] = "",
    seed: Annotated[int, typer.Option(help="Seed of the generated market.")] = 1,
    replay: Annotated[Path | None, typer.Option(help="Play this recording instead.", exists=True)] = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="Forget the accounts of earlier demos.")] = False,
    home: Annotated[Path, typer.Option(help="Where the demo keeps its data.")] = Path(".edgewise/demo"),
    etc: Etc = Path("etc"),
) -> None:
    """Trade on this machine: simulator, servers, engine and API, no key and no internet needed.

    A second run continues the same accounts. With --for, the exit code is 0 only if the traders really
    traded and the books balance.
    """
    from rich.console import Console

    from engine.cli.startup import fail_clearly, settings_of
    from engine.core.times import parse_duration_s
    from engine.demo.plan import DemoOptions
    from engine.demo.run import run_demo

    try:
        seconds = parse_duration_s(run_for) if run_for else 0.0
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--for") from error
    options = DemoOptions(
        home=home.absolute(),
        etc=etc.absolute(),
        port=port,
        speed=speed,
        run_for_s=seconds,
        seed=seed,
        replay=replay.absolute() if replay else None,
        fresh=fresh,
    )
    with fail_clearly():
        settings_of(etc)  # a mistake in it is told before anything is started
        raise typer.Exit(asyncio.run(run_demo(options, Console())))
