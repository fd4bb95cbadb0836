"""`edgewise db`: the journal's database."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from engine.cli.output import print_json, wide_console
from engine.cli.startup import Etc, Json, dsn_of, fail_clearly, settings_of
from engine.core.words import counted

if TYPE_CHECKING:
    from engine.journal.postgres.backup import Manifest
    from engine.journal.postgres.owner import Belonging

app = typer.Typer(help="Look after the journal's database.", no_args_is_help=True)


@app.command()
def migrate(etc: Etc = Path("etc"), as_json: Json = False) -> None:
    """Apply the migrations that are missing. The engine does the same at its start."""

    from engine.journal.postgres.migrate import migrate as apply

    with fail_clearly():
        names = asyncio.run(apply(dsn_of(etc)))
    if as_json:
        print_json(names)
    else:
        print("\n".join(names) or "nothing to apply")


@app.command()
def status(etc: Etc = Path("etc"), as_json: Json = False) -> None:
    """To whom it belongs, applied migrations and the size of every table."""
    from rich.table import Table

    from engine.journal.postgres.migrate import migration_states, table_sizes
    from engine.journal.postgres.owner import belonging

    with fail_clearly():
        dsn = dsn_of(etc)
        owned = asyncio.run(belonging(dsn))
        migrations = asyncio.run(migration_states(dsn))
        sizes = asyncio.run(table_sizes(dsn))
    if as_json:
        print_json({"belongs": owned, "migrations": migrations, "tables": sizes})
        return
    print(_belonging(owned))
    applied = Table("migration", "applied")
    for migration in migrations:
        applied.add_row(migration.name, migration.applied_at or "missing")
    tables = Table("table", "rows", "MB")
    for size in sizes:
        tables.add_row(size.table, f"{size.rows:,}", f"{size.megabytes:.1f}")
    wide_console().print(applied, tables)


def _belonging(owned: Belonging) -> str:
    from engine.core.times import iso

    if owned.owner is None:
        return "belongs to nobody yet: the first engine that starts on it claims it"
    lines = [f"belongs to {owned.owner.environment} since {iso(owned.owner.ts_claimed)}"]
    for account in owned.accounts:
        runs = "its engine runs" if account.account_id in owned.running else "no engine runs"
        lines.append(f"account {account.account_id}: {account.uid} at the venue, {runs}")
    return "\n".join(lines)


@app.command()
def claim(
    etc: Etc = Path("etc"),
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Hand the database, and the engine's folder here, to the environment of the configured account.

    What is in them stays.

    For an environment whose name has changed, such as a region. Never to go from demo trading to money:
    prices, signals and results of both would lie in the same tables. Stop every engine first.
    """
    from engine.clock import SystemClock
    from engine.core.errors import ConfigError
    from engine.journal.postgres.migrate import migrate as apply
    from engine.journal.postgres.owner import belonging, hand_over
    from engine.wiring.belonging import claim_folder

    with fail_clearly():
        dsn, settings = dsn_of(etc), settings_of(etc)
        environment = settings.provider.environment
        print(_belonging(asyncio.run(belonging(dsn))))
        if not yes and not typer.confirm(f"Hand it to {environment}?"):
            raise typer.Exit(1)
        asyncio.run(apply(dsn))
        before = asyncio.run(hand_over(dsn, environment, SystemClock().now_ns()))
        if before.running:
            raise ConfigError(f"engines run on it, stop them first: {', '.join(before.running)}")
        claim_folder(settings)
    print(f"belongs to {environment} now; a Redis with messages of before: edgewise bus clear")


@app.command()
def backup(
    file: Annotated[Path, typer.Argument(help="File to write, such as journal.tar.zst.")],
    etc: Etc = Path("etc"),
    as_json: Json = False,
) -> None:
    """Write the whole journal as of this moment into one file; the engine may run."""
    from engine.journal.postgres.backup import backup as save

    with fail_clearly():
        manifest = asyncio.run(save(dsn_of(etc), file))
    _tell(manifest, f"saved to {file}", as_json=as_json)


@app.command()
def restore(
    file: Annotated[Path, typer.Argument(help="A backup.", exists=True)],
    etc: Etc = Path("etc"),
    as_json: Json = False,
) -> None:
    """Fill an empty database from a backup, all of it or nothing; stop the engine first."""
    from engine.journal.postgres.backup import restore as load

    with fail_clearly():
        manifest = asyncio.run(load(dsn_of(etc), file))
    _tell(manifest, f"restored from {file}", as_json=as_json)


def _tell(manifest: Manifest, done: str, *, as_json: bool) -> None:

    if as_json:
        print_json(manifest)
    else:
        rows, tables = counted(manifest.rows, "row"), counted(len(manifest.tables), "table")
        print(f"{rows} of {tables} {done}, counted and checked")


@app.command()
def stats(etc: Etc = Path("etc"), as_json: Json = False) -> None:
    """What the tables cost: disk, indexes, months, rows that wait for a vacuum."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Column, Table

    from engine.journal.postgres.migrate import table_sizes

    with fail_clearly():
        sizes = asyncio.run(table_sizes(dsn_of(etc)))
    if as_json:
        print_json(sizes)
        return
    table = Table(Column("table", no_wrap=True), box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    for name in ("rows", "MB", "index MB", "months", "dead rows"):
        table.add_column(name, justify="right")
    table.add_column("last vacuum (UTC)", no_wrap=True)
    for size in sizes:
        figures = (f"{size.rows:,}", f"{size.megabytes:.1f}", f"{size.index_megabytes:.1f}", str(size.months))
        vacuum = size.last_vacuum[:16].replace("T", " ") if size.last_vacuum else "never"
        table.add_row(size.table, *figures, f"{size.dead_rows:,}", vacuum)
    wide_console().print(table)
