"""`edgewise stats`: the statistics of nof1.ai, recomputed from closed trades that anybody captured."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from engine.cli.startup import fail_clearly

if TYPE_CHECKING:
    from engine.journal.recount import Analytics, Difference

_File = Path | None


def stats(
    trades: Annotated[Path, typer.Option(help="Closed trades, JSON as /api/trades serves it.", exists=True)],
    conversations: Annotated[
        _File,
        typer.Option(help="JSON as /api/conversations: for signals and invocations.", exists=True),
    ] = None,
    against: Annotated[
        _File, typer.Option(help="JSON as /api/analytics: list what differs; exit code 1.", exists=True)
    ] = None,
    model: Annotated[str, typer.Option(help="Only this model.")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="For machines: as /api/analytics.")] = False,
) -> None:
    """Compute all six tables of /api/analytics from closed trades, for every model in the file.

    Without conversations, what only they tell is 0: signals, invocations, stated leverage.
    """
    import msgspec

    from engine.journal.captures import cycles_of, trades_of
    from engine.journal.recount import Analytics, differences, recount

    with fail_clearly():
        said = cycles_of(conversations.read_bytes()) if conversations else []
        found = recount(trades_of(trades.read_bytes()), said)
        if model:
            found = Analytics(tuple(item for item in found.analytics if item.model_id == model))
        differ = differences(found, against.read_bytes(), with_conversations=bool(said)) if against else None
    if as_json:
        print(msgspec.json.encode(found if differ is None else differ).decode())
    elif differ is None:
        _show(found)
    else:
        _show_differences(differ)
    if differ:
        sys.exit(1)


def _show(found: Analytics) -> None:
    import msgspec
    from rich.console import Console
    from rich.table import Table

    from engine.journal.tables import Tables

    console = Console()
    for name in Tables.__struct_fields__:
        table = Table(name, *(item.model_id or "all" for item in found.analytics))
        columns = [msgspec.structs.asdict(getattr(item, name)) for item in found.analytics]
        for key in columns[0] if columns else ():
            table.add_row(key, *(f"{column[key]:,}" for column in columns))
        console.print(table)


def _show_differences(differ: list[Difference]) -> None:
    from rich.console import Console
    from rich.table import Table

    if not differ:
        print("every figure is as captured")
        return
    table = Table("model", "table", "key", "captured", "computed")
    for each in differ:
        captured = "missing" if each.captured is None else f"{each.captured:,}"
        table.add_row(each.model_id, each.table, each.key, captured, f"{each.computed:,}")
    Console().print(table)
