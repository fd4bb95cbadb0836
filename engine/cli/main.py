"""The command line. Heavy imports stay inside the commands, so that help is instant."""

from __future__ import annotations

from collections.abc import Callable
from inspect import getdoc
from pathlib import Path
from typing import Annotated, Final

import typer

from engine.cli import bus, config, data, db, journal, memory, operate, prompt, risk, shadow
from engine.cli.backtest import backtest
from engine.cli.compare import compare
from engine.cli.demo import demo
from engine.cli.doctor import doctor
from engine.cli.model_server import model_server
from engine.cli.record import record
from engine.cli.replay import replay
from engine.cli.signals import signals
from engine.cli.simulator import simulator
from engine.cli.startup import Etc, fail_clearly, settings_of
from engine.cli.stats import stats

app = typer.Typer(
    name="edgewise",
    help="An event-driven trading engine in which language models trade crypto perpetuals side by side.",
    no_args_is_help=True,
    pretty_exceptions_show_locals=False,  # locals hold keys
    add_completion=False,
)
_TRADE: Final = "Trade"
_SIMULATE: Final = "Recordings and simulation"
_LOOK: Final = "Look at what happened, and why"
_OPERATE: Final = "Operate"

_COMMANDS: Final[tuple[tuple[Callable[..., None], str], ...]] = (
    (demo, _TRADE),
    (doctor, _TRADE),
    (record, _SIMULATE),
    (backtest, _SIMULATE),
    (compare, _SIMULATE),
    (signals, _SIMULATE),
    (simulator, _SIMULATE),
    (stats, _LOOK),
    (replay, _LOOK),
    (operate.halt, _OPERATE),
    (operate.resume, _OPERATE),
)
for _command, _panel in _COMMANDS:
    app.command(rich_help_panel=_panel)(_command)
app.command(name="model-server", rich_help_panel=_SIMULATE)(model_server)
for _group, _name, _panel in (
    (config.app, "config", _TRADE),
    (data.app, "data", _SIMULATE),
    (journal.app, "journal", _LOOK),
    (prompt.app, "prompt", _LOOK),
    (risk.app, "risk", _LOOK),
    (memory.app, "memory", _LOOK),
    (shadow.app, "shadow", _LOOK),
    (operate.app, "trader", _OPERATE),
    (db.app, "db", _OPERATE),
    (bus.app, "bus", _OPERATE),
):
    app.add_typer(_group, name=_name, rich_help_panel=_panel)


def _version(wanted: bool) -> None:
    if wanted:
        from engine.build import described

        print(f"edgewise {described()}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Version and build, and exit.")
    ] = False,
) -> None:
    """Options that stand before any command."""


@app.command(rich_help_panel=_TRADE)
def engine(etc: Etc = Path("etc")) -> None:
    """Run the engine: market, manager, executors and exchange of one venue account, until stopped."""
    from engine.app import run_engine

    with fail_clearly():
        run_engine(settings_of(etc))


@app.command(rich_help_panel=_TRADE)
def api(etc: Etc = Path("etc")) -> None:
    """Serve the read-only HTTP API until stopped."""
    from api.serve import run_api

    with fail_clearly():
        settings = settings_of(etc)
        run_api(settings.engine, settings.home)


def _let_flow(group: typer.Typer) -> None:
    """Give the paragraphs of every help the terminal's width; Typer breaks them where the source does."""
    for command in group.registered_commands:
        paragraphs = (getdoc(command.callback) or "").split("\n\n")
        command.help = "\n\n".join(" ".join(each.split()) for each in paragraphs)
    for inner in group.registered_groups:
        if inner.typer_instance is not None:
            _let_flow(inner.typer_instance)


_let_flow(app)


def main() -> None:
    """Entry point of the `edgewise` command."""
    app()


if __name__ == "__main__":
    main()
