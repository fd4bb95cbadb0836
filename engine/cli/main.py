"""The command line. Heavy imports stay inside the commands, so that help is instant."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

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
from engine.cli.startup import fail_clearly, settings_of
from engine.cli.stats import stats

app = typer.Typer(
    name="edgewise",
    help="An event-driven trading engine in which language models trade crypto perpetuals side by side.",
    no_args_is_help=True,
    pretty_exceptions_show_locals=False,  # locals hold keys
    add_completion=False,
)
app.command()(demo)
app.command()(doctor)
app.command()(simulator)
app.command()(backtest)
app.command()(compare)
app.command()(record)
app.command()(signals)
app.command()(replay)
app.command()(stats)
app.command(name="model-server")(model_server)
app.add_typer(config.app, name="config")
app.add_typer(data.app, name="data")
app.add_typer(db.app, name="db")
app.add_typer(journal.app, name="journal")
app.add_typer(bus.app, name="bus")
app.add_typer(memory.app, name="memory")
app.add_typer(prompt.app, name="prompt")
app.add_typer(risk.app, name="risk")
app.add_typer(shadow.app, name="shadow")
app.add_typer(operate.app, name="trader")
app.command()(operate.halt)
app.command()(operate.resume)


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


Etc = Annotated[Path, typer.Option(help="Folder of the configuration.")]


@app.command()
def engine(etc: Etc = Path("etc")) -> None:
    """Run the engine: market, manager, executors and exchange of one venue account, until stopped."""
    from engine.app import run_engine

    with fail_clearly():
        run_engine(settings_of(etc))


@app.command()
def api(etc: Etc = Path("etc")) -> None:
    """Serve the read-only HTTP API until stopped."""
    from api.app import run_api

    with fail_clearly():
        settings = settings_of(etc)
        run_api(settings.engine, settings.home)


def main() -> None:
    """Entry point of the `edgewise` command."""
    app()


if __name__ == "__main__":
    main()
