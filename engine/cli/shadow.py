"""`edgewise shadow`: what shadow and canary traders came to, beside the live ones."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from engine.cli.output import print_json, wide_console
from engine.cli.startup import Etc, dsn_of, fail_clearly
from engine.core.words import counted

if TYPE_CHECKING:
    from engine.journal.twins import Half, Twins

app = typer.Typer(no_args_is_help=True)


@app.callback()
def shadow() -> None:
    """Shadow and canary traders beside the live ones."""


@app.command()
def report(
    trader: Annotated[str, typer.Option(help="Only this one, by its live id.")] = "",
    against: Annotated[str, typer.Option(help="Beside this live trader, not its own twin.")] = "",
    last: Annotated[str, typer.Option(help="How far back from the newest moment, such as 12h or 7d.")] = "7d",
    as_json: Annotated[bool, typer.Option("--json", help="For machines: as /api/shadow.")] = False,
    etc: Etc = Path("etc"),
) -> None:
    """Compare every trader on paper with its live twin: decisions, trades, money, slippage, wakeups.

    A canary's twin is its own live part. A shadow has nothing live: compare it with the trader that it may
    replace (--against ID).
    """

    from engine.core.times import parse_duration_s

    try:
        seconds = parse_duration_s(last)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--last") from error
    with fail_clearly():
        found = asyncio.run(_read(etc, trader, against, seconds))
    if as_json:
        print_json({"shadows": found})
    else:
        _print(found)


async def _read(etc: Path, trader: str, against: str, seconds: float) -> list[Twins]:
    from engine.config.loader import nearest
    from engine.core.errors import ConfigError
    from engine.core.times import NS_PER_S
    from engine.journal.postgres.reader import JournalReader

    async with JournalReader(dsn_of(etc)) as reader:
        known = await reader.trader_ids()
        for name in filter(None, (trader, against)):
            if name not in known:
                raise ConfigError(f"no trader {name!r}{nearest(name, known)}")
        until = await reader.newest_ns() + 1
        return await reader.twins(until - int(seconds * NS_PER_S), until, trader, against)


_FIGURES: Final = (
    *("wakeups", "share of them, %", "orders filled", "trades", "wins", "profit, USD", "return, %"),
    *("fees, USD", "funding, USD", "deepest fall, %", "Sharpe", "slippage, bps"),
)


def _print(found: list[Twins]) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.table import Column, Table

    from engine.core.times import iso

    console = wide_console()
    if not found:
        console.print("no trader is on paper: give one a `rollout` in manager.yaml")
        return
    console.print(f"on paper and live, {iso(found[0].ts_from)[:16]} to {iso(found[0].ts_to)[:16]}")
    for pair in found:
        halves = (pair.paper, pair.live)
        heads = (Column(half.trader_id, justify="right", overflow="fold") for half in halves)
        table = Table("", *heads, box=SIMPLE_HEAD, pad_edge=False)
        for row in zip(_FIGURES, *map(_figures, halves), strict=True):
            table.add_row(*row)
        console.print(table)
        told = pair.decisions
        agree = f"{counted(told.agreeing, 'decision agrees', 'decisions agree')}, {told.differing} differ"
        console.print(f"{agree}, {told.only_paper} on paper only, {told.only_live} live only")
        for reason, count in told.reasons.items():
            console.print(f"  {reason}: {count}")


def _figures(half: Half) -> tuple[str, ...]:
    def shown(value: float | None, form: str = ",.2f") -> str:
        return "" if value is None else format(value, form)

    return (
        str(half.wakeups),
        shown(half.wakeups_pct, ".1f"),
        str(half.filled_orders),
        str(half.trades),
        str(half.wins),
        shown(half.pnl, "+,.2f"),
        shown(half.return_pct, "+.2f"),
        shown(half.fees),
        shown(half.funding),
        shown(half.max_drawdown_pct),
        shown(half.sharpe),
        shown(half.slippage_bps, "+.2f"),
    )
