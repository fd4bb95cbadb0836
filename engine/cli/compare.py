"""`edgewise compare`: a backtest beside the engine itself, on one recording."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from engine.cli.backtest import Answers, Chosen, Files, Funding, Market, Recordings, chosen_traders
from engine.cli.output import print_json, wide_console
from engine.cli.progress import LogOf, playing
from engine.cli.startup import Etc, Json, Verbose, fail_clearly, settings_of
from engine.core.words import counted

if TYPE_CHECKING:
    from engine.compare.comparison import Comparison
    from engine.compare.explain import Difference
    from engine.config.settings import Settings


def compare(
    recordings: Recordings,
    etc: Etc = Path("etc"),
    symbol: Market = "",
    funding: Funding = None,
    traders: Chosen = "",
    answers: Answers = None,
    speed: Annotated[
        float,
        typer.Option(
            help="Engine seconds in a real one; 0: a candle a second, prints at 2.", min=0, max=1000
        ),
    ] = 0,
    within: Annotated[str, typer.Option(help="Partners are at most so far apart; empty: two candles.")] = "",
    as_json: Json = False,
    verbose: Verbose = False,
) -> None:
    """Check that a backtest trades what the engine trades live: both over the same recording.

    The engine runs as in `edgewise demo`: OKX's protocol to a simulator that plays the recording, Postgres,
    Valkey, scaled time. Every execution is shown with its partner, how much later and worse it was live, and
    why. Exit code 1 when one has no partner or differs by more than the market moved in between. A real
    delay counts `speed` times: at a high one a busy machine decides later, on another candle.

    Traders that ask a model need recorded answers (`edgewise backtest --ask` collects them) and are left out
    without. A live question is a moment younger than the backtest's: each cycle is given the answers of its
    partner in the backtest, after the time that they took.
    """
    with fail_clearly():
        settings, file = chosen_traders(settings_of(etc), traders, answers)
        files = Files(tuple(recordings), symbol, funding)
        found = _compared(settings, files, file, Pace(speed, _seconds(within)), verbose=verbose)
        if as_json:
            _print_json(found)
        else:
            _print(found)
        if not found.explained:
            sys.exit(1)


def _seconds(within: str) -> float:
    from engine.core.times import parse_duration_s

    try:
        return parse_duration_s(within) if within else 0.0
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--within") from error


@dataclass(frozen=True, slots=True)
class Pace:
    """Engine seconds a real one, and engine time between partners at most; 0: as fits the recording."""

    speed: float
    within_s: float


def _compared(
    settings: Settings, files: Files, answers: Path | None, pace: Pace, *, verbose: bool
) -> Comparison:
    import asyncio
    import tempfile
    from contextlib import redirect_stdout

    from engine.backtest.run import prepared, real_second, run_backtest
    from engine.compare.answers import HeardModel, RetoldModel
    from engine.compare.comparison import compared
    from engine.compare.live import run_live, usual_speed
    from engine.core.times import NS_PER_S
    from engine.executor.recorded import AnswerFile, CycleAnswers, RecordedModel

    log = LogOf("compare", "info" if verbose else "error")
    log.go_to(None)
    recordings = files.read()
    fitted = prepared(settings, recordings)
    speed = pace.speed or usual_speed(recordings, real_second(fitted))
    heard = HeardModel(RecordedModel(AnswerFile(answers) if answers else CycleAnswers(())))
    with playing("backtest", log) as progress:
        outcome = run_backtest(settings, recordings, heard, progress)
    within_ns = int((pace.within_s or 2 * real_second(fitted)) * NS_PER_S)
    retold = RetoldModel(heard, within_ns, outcome.end_ns)
    with (
        playing("live", log) as progress,
        tempfile.TemporaryDirectory(prefix="edgewise-") as home,
        redirect_stdout(sys.stderr),  # where the engine says that it is ready
    ):
        live = asyncio.run(run_live(fitted, recordings, speed, retold, Path(home), progress))
    return compared(outcome, live, retold, recordings, speed)


def _print_json(found: Comparison) -> None:
    import msgspec

    rows = msgspec.to_builtins(found)
    rows |= {
        "explained": found.explained,
        "later_ms_p50": found.later_ms(0.5),
        "later_ms_p99": found.later_ms(0.99),
    }
    print_json(rows)


_COLUMNS = ("size", "backtest", "live", "later", "worse\nbp")


def _print(found: Comparison) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.table import Column, Table

    console = wide_console()
    table = Table(
        Column("time\n(UTC)", no_wrap=True),
        Column("trader", overflow="fold"),
        Column("order", no_wrap=True),
        *(Column(name, justify="right", no_wrap=True) for name in _COLUMNS),
        Column("why", overflow="fold"),
        title=f"{found.start[:16]} to {found.end[:16]}, backtest and live",
        box=SIMPLE_HEAD,
        pad_edge=False,
        padding=(0, 1, 0, 0),
    )
    for each in found.differences:
        table.add_row(*_row(each), style="" if each.reason.explained else "red")
    console.print(table)
    totals = Table(
        "trader",
        *(Column(name, justify="right") for name in ("backtest", "live", "equity backtest", "equity live")),
        "why they differ",
        box=SIMPLE_HEAD,
    )
    for row in found.traders:
        equities = ("unknown" if e is None else f"{e:,.2f}" for e in (row.backtest_equity, row.live_equity))
        reasons = ", ".join(f"{name} {count}" for name, count in row.reasons.items())
        totals.add_row(row.trader_id, str(row.backtest), str(row.live), *equities, reasons)
    console.print(totals)
    if any(row.asked or row.unanswered for row in found.traders):
        console.print(_answers(found))
    console.print(_verdict(found))


def _row(each: Difference) -> tuple[str, ...]:
    from engine.core.instruments import coin
    from engine.core.times import iso

    mine, theirs, one = each.pair.backtest, each.pair.live, each.pair.either
    when = iso(one.ts)
    return (
        f"{when[5:10]}\n{when[11:19]}",
        one.trader_id,
        f"{one.side} {coin(one.symbol)}\n{one.purpose}",
        f"{one.contracts.normalize():f}",
        f"{mine.price:.8g}" if mine else "",
        f"{theirs.price:.8g}" if theirs else "",
        "" if each.later_ms is None else f"{each.later_ms / 1000:.1f} s",
        "" if each.worse_bps is None else f"{each.worse_bps:+.2f}",
        each.reason.value,
    )


def _answers(found: Comparison) -> str:
    asked, told = sum(row.asked for row in found.traders), sum(row.told for row in found.traders)
    unanswered = sum(row.unanswered for row in found.traders)
    cycles = counted(asked, "cycle")
    return f"models: {cycles} asked in the backtest, {told} told the same live, {unanswered} only live"


def _verdict(found: Comparison) -> str:
    if not found.differences:
        return "neither run traded: nothing is compared"
    middle = found.later_ms(0.5)
    told = (
        "no pairs"
        if middle is None
        else (
            f"live is {middle / 1000:.1f} s of engine time later in the middle,"
            f" {middle / found.speed:.0f} ms of real time at {found.speed:g} times"
        )
    )
    same = "the same trades" if found.explained else "NOT the same trades"
    return f"{same}; {told}"
