"""`edgewise stats`: how traders did, from the journal; nof1's tables from trades that anybody captured."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from engine.cli.output import print_json, wide_console
from engine.cli.startup import Etc, dsn_of, fail_clearly

if TYPE_CHECKING:
    from engine.journal.postgres.record import TraderResult
    from engine.journal.recount import Analytics, Difference

_File = Path | None
_LONG: Final = 1e7  # from here on a figure is told by its size: the return of a year, made of hours


def stats(
    trades: Annotated[
        _File, typer.Option(help="Closed trades, JSON as /api/trades serves it.", exists=True)
    ] = None,
    conversations: Annotated[
        _File, typer.Option(help="JSON as /api/conversations: for signals and invocations.", exists=True)
    ] = None,
    against: Annotated[
        _File, typer.Option(help="JSON as /api/analytics: list what differs; exit code 1.", exists=True)
    ] = None,
    model: Annotated[str, typer.Option(help="Only this model or trader.")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="For machines: as /api/analytics.")] = False,
    etc: Etc = Path("etc"),
) -> None:
    """How every trader did, recomputed from the journal's fills, fees and funding.

    With --trades: the six tables of /api/analytics from the closed trades in a file, for every model in it.
    Without conversations, what only they tell is 0 there: signals, invocations, stated leverage.
    """
    with fail_clearly():
        if trades is None:
            _own(etc, model, as_json=as_json)
            return
    _captured(trades, Capture(conversations, against), model, as_json=as_json)


@dataclass(frozen=True, slots=True)
class Capture:
    """What else was captured beside the trades."""

    conversations: Path | None
    analytics: Path | None


def _captured(trades: Path, more: Capture, model: str, *, as_json: bool) -> None:

    from engine.journal.captures import cycles_of, trades_of
    from engine.journal.recount import differences, recount

    with fail_clearly():
        with _parsed(more.conversations):
            said = cycles_of(more.conversations.read_bytes()) if more.conversations else []
        with _parsed(trades):
            found = _of_model(recount(trades_of(trades.read_bytes()), said), model)
        against = more.analytics
        with _parsed(against):
            differ = (
                differences(found, against.read_bytes(), with_conversations=bool(said)) if against else None
            )
    if as_json:
        print_json(found if differ is None else differ)
    elif differ is None:
        _show(found)
    else:
        _show_differences(differ)
    if differ:
        sys.exit(1)


@contextmanager
def _parsed(file: Path | None) -> Iterator[None]:
    """What does not parse is a file that was named by mistake. Raises ConfigError."""
    from engine.core.errors import CodecError, ConfigError

    try:
        yield
    except CodecError as error:
        raise ConfigError(f"{file}: {error}") from error


def _of_model(found: Analytics, model: str) -> Analytics:
    """Of one model, or of all of them. Raises CodecError for one that does not occur."""
    from engine.config.loader import nearest
    from engine.core.errors import CodecError
    from engine.journal.recount import Analytics

    items = tuple(item for item in found.analytics if model in {"", item.model_id})
    if model and not items:
        known = [item.model_id for item in found.analytics if item.model_id]
        raise CodecError(f"no trade of {model!r}{nearest(model, known)}")
    return Analytics(items)


def _own(etc: Path, trader: str, *, as_json: bool) -> None:

    from engine.config.loader import nearest
    from engine.core.errors import ConfigError

    found = asyncio.run(_results(etc))
    chosen = [each for each in found if trader in {"", each.trader_id}]
    if trader and not chosen:
        raise ConfigError(f"no trader {trader!r}{nearest(trader, [each.trader_id for each in found])}")
    if as_json:
        print_json(chosen)
    else:
        _show_results(chosen)


async def _results(etc: Path) -> list[TraderResult]:
    from engine.journal.postgres.pool import Pool
    from engine.journal.postgres.record import records

    async with Pool(dsn_of(etc)) as pool:
        return await records(pool)


def _show_results(found: list[TraderResult]) -> None:
    """One column a trader; the six tables are left to --json."""
    import msgspec
    from rich.box import SIMPLE_HEAD
    from rich.table import Column, Table

    if not found:
        print("the journal has no trader yet")
        return
    heads = (Column(each.trader_id, justify="right", overflow="fold") for each in found)
    table = Table(Column(no_wrap=True), *heads, box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    columns = []
    for each in found:
        record = msgspec.structs.asdict(each.record)
        nested = [msgspec.structs.asdict(record.pop(name)) for name in ("costs", "ratios")]
        record.pop("tables")
        columns.append(record | nested[0] | nested[1])
    for key in columns[0]:
        table.add_row(_label(key), *(_figure(column[key]) for column in columns))
    wide_console().print(table, "money in USD; fees and slippage are positive when paid", sep="")


def _label(key: str) -> str:
    """`exposure_pct` as `exposure, %`."""
    words = key.removesuffix("_pct").removesuffix("_bps").replace("_", " ")
    if key.endswith("_bps"):
        return f"{words}, bps"
    return f"{words}, %" if key.endswith("_pct") or key == "win_rate" else words


def _figure(value: float | None) -> str:
    if value is None:
        return "-"
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:,.2f}" if abs(value) < _LONG else f"{value:.3g}"


def _show(found: Analytics) -> None:
    import msgspec
    from rich.box import SIMPLE_HEAD
    from rich.table import Column, Table

    from engine.journal.tables import Tables

    console = wide_console()
    if not found.analytics:
        print("no trades")
        return
    for name in Tables.__struct_fields__:
        models = (Column(item.model_id or "all", justify="right") for item in found.analytics)
        table = Table(Column(name, overflow="fold"), *models, box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
        columns = [msgspec.structs.asdict(getattr(item, name)) for item in found.analytics]
        for key in columns[0] if columns else ():
            table.add_row(key, *(f"{column[key]:,}" for column in columns))
        console.print(table)


def _show_differences(differ: list[Difference]) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.table import Column, Table

    if not differ:
        print("every figure is as captured")
        return
    names = (Column(name, overflow="fold") for name in ("model", "table", "key"))
    figures = (Column(name, justify="right", no_wrap=True) for name in ("captured", "computed"))
    table = Table(*names, *figures, box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    for each in differ:
        captured = "missing" if each.captured is None else f"{each.captured:,}"
        name = each.table.removesuffix("_table")
        table.add_row(each.model_id, name, each.key, captured, f"{each.computed:,}")
    wide_console().print(table)
