"""`edgewise backtest`: the configured traders over recorded markets."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from engine.cli.output import print_json, wide_console
from engine.cli.progress import LogOf, playing
from engine.cli.startup import Etc, Json, Verbose, dsn_of, fail_clearly, settings_of
from engine.core.words import counted
from engine.files import writing

if TYPE_CHECKING:
    from engine.backtest.figures import Report
    from engine.backtest.run import Outcome
    from engine.config.settings import Settings
    from engine.exchange.simulator.recorded import Recording
    from engine.executor.asking import ModelClient

Recordings = Annotated[list[Path], typer.Argument(help="Candles, trades, quotes or recorded frames.")]
Market = Annotated[str, typer.Option(help="Market of a file that does not name it.")]
Funding = Annotated[Path | None, typer.Option(help="Funding rates for the recording.")]
Chosen = Annotated[str, typer.Option(help="Only these, by id, with commas.")]
Answers = Annotated[Path | None, typer.Option(help="Recorded answers of models.")]


def backtest(
    recordings: Recordings,
    etc: Etc = Path("etc"),
    symbol: Market = "",
    funding: Funding = None,
    traders: Chosen = "",
    answers: Answers = None,
    ask: Annotated[
        bool, typer.Option("--ask", help="Ask the real models for what --answers lacks, and add it there.")
    ] = False,
    html: Annotated[Path | None, typer.Option(help="Write the report with charts here.")] = None,
    as_json: Json = False,
    record: Annotated[
        str, typer.Option(help="Keep the run in the journal under this name; /api/backtests shows it.")
    ] = "",
    verbose: Verbose = False,
) -> None:
    """Run the traders of etc/ over recordings: the same parts as live, on simulated time.

    The same input gives the same journal, byte for byte: compare the digests. Traders that ask a model need
    recorded answers (--ask collects them once, `edgewise prompt answers` those of the journal) and are left
    out without.
    """
    with fail_clearly():
        if html is not None:
            with writing(html):  # a path that cannot be written is told before the run, not after it
                html.touch()
        settings, file = chosen_traders(settings_of(etc), traders, answers)
        with _model(settings, file, ask=ask) as model:
            outcome = _run(settings, Files(tuple(recordings), symbol, funding), model, verbose=verbose)
        if record:
            _record(outcome, record, etc)
        _show(outcome, html, as_json=as_json)


_COLUMNS: Final = ("equity", "return %", "trades", "win %", "costs", "fall %", "Sharpe")


@dataclass(frozen=True, slots=True)
class Files:
    """What to play."""

    recordings: tuple[Path, ...]
    symbol: str
    funding: Path | None

    def read(self) -> list[Recording]:
        """As a backtest plays them. Raises ConfigError."""
        from engine.exchange.simulator.recording import read_recordings

        symbols = (self.symbol,) if self.symbol else ()
        return [
            recording
            for path in self.recordings
            for recording in read_recordings(path, symbols, self.funding, corners=True)
        ]


def chosen_traders(settings: Settings, only: str, answers: Path | None) -> tuple[Settings, Path | None]:
    """The settings with the traders that can run here, and where their answers are. Raises ConfigError."""

    from engine.config.loader import nearest
    from engine.core.errors import ConfigError

    known = {trader.id: trader for trader in settings.manager.traders}
    wanted = tuple(name.strip() for name in only.split(",") if name.strip()) or tuple(known)
    for name in wanted:
        if name not in known:
            raise ConfigError(f"--traders: no trader {name!r}{nearest(name, known)}")
    file = answers or settings.llm.recorded
    chosen = [known[name] for name in wanted if not known[name].models or file]
    if len(chosen) < len(wanted):
        left_out = ", ".join(name for name in wanted if known[name] not in chosen)
        print(f"left out, since no recorded answers are given: {left_out}", file=sys.stderr)
    if not chosen:
        raise ConfigError("no trader is left to run")
    return settings.with_traders(chosen), file


@contextmanager
def _model(settings: Settings, file: Path | None, *, ask: bool) -> Iterator[ModelClient]:
    """Who answers the traders: a file, and with `ask` the real models for what it lacks."""
    from engine.backtest.asked_models import AskedModels
    from engine.core.errors import ConfigError
    from engine.executor.recorded import AnswerFile, CycleAnswers, RecordedModel

    if not ask:
        yield RecordedModel(AnswerFile(file) if file else CycleAnswers(()))
    elif file is None:
        raise ConfigError("--ask needs --answers FILE, where the answers are kept")
    else:
        with AskedModels(settings.llm, file) as model:
            yield model


def _run(settings: Settings, files: Files, model: ModelClient, *, verbose: bool) -> Outcome:
    from engine.backtest.run import run_backtest

    log = LogOf("backtest", "info" if verbose else "warning")
    log.go_to(None)
    recordings = files.read()
    with playing("playing", log) as progress:
        return run_backtest(settings, recordings, model, progress)


def _record(outcome: Outcome, name: str, etc: Path) -> None:
    """Write the run to the configured database. Raises ConfigError, StoreUnavailable."""
    import asyncio

    from engine.backtest.figures import backtest_run
    from engine.clock import SystemClock
    from engine.journal.postgres.journal import PostgresJournal

    async def write() -> None:
        clock = SystemClock()
        async with PostgresJournal(dsn_of(etc), clock) as journal:
            await journal.record_backtest(backtest_run(outcome, name, clock.now_ns()))

    asyncio.run(write())


def _show(outcome: Outcome, html: Path | None, *, as_json: bool) -> None:

    from engine.backtest.figures import report
    from engine.backtest.page import page

    figures = report(outcome)
    if html is not None:
        with writing(html):
            html.write_text(page(outcome, figures), encoding="utf-8")
    if as_json:
        print_json(figures)
    else:
        _print(figures, html)


def _print(figures: Report, html: Path | None) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.table import Column, Table

    title = f"{', '.join(figures.symbols)}  {figures.start[:16]} to {figures.end[:16]}"
    table = Table(Column("trader", no_wrap=True), title=title, box=SIMPLE_HEAD, collapse_padding=True)
    for name in _COLUMNS:
        table.add_column(name, justify="right", no_wrap=True)
    for row in figures.traders:
        table.add_row(
            row.trader_id,
            "unknown" if row.equity is None else f"{row.equity:,.2f}",
            "unknown" if row.return_pct is None else f"{row.return_pct:+.2f}",
            str(row.trades),
            "" if row.win_rate_pct is None else f"{row.win_rate_pct:.1f}",
            f"{row.fees + row.funding:,.2f}",
            f"{row.max_drawdown_pct:.2f}",
            "" if row.sharpe is None else f"{row.sharpe:.2f}",
        )
    console = wide_console()
    console.print(table)
    done = (
        counted(figures.moments, "moment"),
        counted(figures.signals, "signal"),
        counted(figures.cycles, "cycle"),
        counted(figures.orders, "order"),
        counted(figures.fills, "fill"),
    )
    console.print(f"{', '.join(done)}; books {'balance' if figures.balanced else 'DO NOT BALANCE'}")
    for each in figures.undecided:
        lost = counted(each.cycles, "cycle")
        console.print(f"{each.trader_id} came to no decision in {lost}: {each.reason}")
    if figures.refusals:
        told = ", ".join(f"{reason} {count}" for reason, count in figures.refusals.items())
        console.print(f"refused by the gate: {told}")
    console.print(f"digest of the journal {figures.digest}", soft_wrap=True)
    if html is not None:
        console.print(f"report with charts: {html}")
