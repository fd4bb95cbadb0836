"""`edgewise journal`: decision files, read without a running engine."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from engine.cli.output import print_json, wide_console
from engine.cli.startup import Etc, Json, dsn_of, fail_clearly, own_servers, settings_of
from engine.core.words import counted
from engine.files import writing

if TYPE_CHECKING:
    from api.export import Stores
    from engine.config.settings import Settings
    from engine.journal.decision_files import FiledRecord
    from engine.journal.verify import Verdict

app = typer.Typer(help="Read and check the decision files.", no_args_is_help=True)
Folder = Annotated[Path | None, typer.Option("--files", help="Folder of the decision files.")]
Trader = Annotated[str, typer.Option(help="Only this trader.")]


@app.command()
def show(
    cycle_id: Annotated[str, typer.Argument(help="A cycle; without one, the newest are listed.")] = "",
    etc: Etc = Path("etc"),
    folder: Folder = None,
    trader: Trader = "",
    as_json: Json = False,
    last: Annotated[int, typer.Option(min=1, help="How many to list.")] = 20,
) -> None:
    """Everything about one cycle and what became of it, or a list of the newest cycles."""
    from engine.core.errors import ConfigError

    with fail_clearly():
        records = list(_records(_folder(folder, etc), trader))
        found = [record for _, record in records if record.cycle_id == cycle_id]
        if cycle_id and not found:
            raise ConfigError(f"no decision file has the cycle {cycle_id}")
    if cycle_id:
        _print_records(found, as_json=as_json)
        return
    newest = sorted(records, key=lambda each: each[1].ts)[-last:]
    if as_json:
        _print_records([record for _, record in newest], as_json=True)
    else:
        _list(newest)


@app.command()
def export(
    out: Annotated[
        Path | None, typer.Argument(help="File of JSON lines to write; - is the terminal.")
    ] = None,
    etc: Etc = Path("etc"),
    folder: Folder = None,
    trader: Trader = "",
    nof0: Annotated[
        Path | None, typer.Option(help="Instead: a folder for the JSON files of a nof0 front end.")
    ] = None,
    every: Annotated[str, typer.Option(help="Write those anew every so often, such as 60s.")] = "",
) -> None:
    """All records, uncompressed, one JSON object a line; or what the API would answer, as nof0's files."""
    if nof0 is not None:
        _export_nof0(etc, nof0, every)
    elif out is not None:
        _export_records(_folder(folder, etc), out, trader)
    else:
        raise typer.BadParameter("name a file, or a folder with --nof0")


def _export_nof0(etc: Path, folder: Path, every: str) -> None:
    from api.export import keep_exporting
    from engine.core.times import parse_duration_s

    try:
        every_s = parse_duration_s(every) if every else 0.0
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--every") from error
    with fail_clearly():
        settings = settings_of(etc)
        names = asyncio.run(keep_exporting(_readable(settings), folder, every_s))
    print("\n".join(names))


def _export_records(folder: Path, out: Path, trader: str) -> None:
    import msgspec

    count = 0
    with fail_clearly(), writing(out), sys.stdout.buffer if str(out) == "-" else out.open("wb") as file:
        for name, record in _records(folder, trader):
            line = msgspec.json.encode({"trader_id": name, **msgspec.structs.asdict(record)})
            file.write(line + b"\n")
            count += 1
    print(counted(count, "record"), file=sys.stderr)


@app.command()
def verify(
    etc: Etc = Path("etc"),
    folder: Folder = None,
    trader: Trader = "",
    as_json: Json = False,
    chain_only: Annotated[
        bool, typer.Option("--chain-only", help="Do not ask the database what it knows.")
    ] = False,
) -> None:
    """Whether every record is there and as it was written; exit code 1 if not."""

    with fail_clearly():
        found = asyncio.run(_verify(_folder(folder, etc), "" if chain_only else _dsn(etc), trader))
    if as_json:
        print_json(found)
    else:
        _show_verdicts(found)
    if any(verdict.problems for verdict in found):
        sys.exit(1)


def _readable(settings: Settings) -> Stores:
    """Database and Redis as the API reads them. Raises ConfigError when servers of our own do not run."""
    from api.export import Stores
    from api.serve import clock_of
    from engine.demo.plan import clock_in

    config = settings.engine
    postgres = config.api.postgres_dsn or config.servers.postgres_dsn
    redis = config.api.redis_url or config.servers.redis_url
    if postgres and redis:
        return Stores(postgres, redis, config.env, clock_of(config.clock))
    lacking = "EDGEWISE_REDIS_URL" if postgres else "EDGEWISE_POSTGRES_DSN"
    own, env = own_servers(settings, lacking)
    home = _home(settings)
    clock = clock_of(config.clock) if home == settings.home else clock_in(home)
    return Stores(postgres or own.postgres_ro_dsn, redis or own.redis_api_url, env, clock)


def _dsn(etc: Path) -> str:

    return dsn_of(etc)


def _folder(given: Path | None, etc: Path) -> Path:
    from engine.journal.filing import DECISIONS

    return given or _home(settings_of(etc)) / DECISIONS


def _home(settings: Settings) -> Path:
    """The engine's home, or the demo's below it: whose servers run, else who has decisions."""
    from engine.embedded import running_addresses
    from engine.journal.filing import DECISIONS

    demo = settings.home / "demo"
    if running_addresses(settings.home) is not None:
        return settings.home
    if running_addresses(demo / "servers") is not None:
        return demo
    return demo if (demo / DECISIONS).exists() and not (settings.home / DECISIONS).exists() else settings.home


def _filed(folder: Path) -> list[str]:
    """The traders that have files."""
    return [home.name for home in folder.iterdir() if home.is_dir()] if folder.exists() else []


def _chosen(names: Iterable[str], trader: str) -> list[str]:
    """The one that is asked for, or all. Raises ConfigError when it is not among them."""
    from engine.config.loader import nearest
    from engine.core.errors import ConfigError

    known = sorted(names)
    if trader and trader not in known:
        raise ConfigError(f"no decision file of {trader!r}{nearest(trader, known)}")
    return [trader] if trader else known


def _records(folder: Path, trader: str) -> Iterator[tuple[str, FiledRecord]]:
    """Trader and record; what cannot be read is told and passed over."""
    from engine.journal.decision_files import Broken, files_in, records_of

    for name in _chosen(_filed(folder), trader):
        for path in files_in(folder / name):
            for found in records_of(path):
                if isinstance(found, Broken):
                    print(f"{path}, from byte {found.offset}: {found.why}", file=sys.stderr)
                else:
                    yield name, found


async def _verify(folder: Path, dsn: str, trader: str) -> list[Verdict]:
    from engine.journal.postgres.filing import FilingTables
    from engine.journal.postgres.pool import Pool
    from engine.journal.verify import verify as verify_files

    async with Pool(dsn) as pool:
        tables = FilingTables(pool)
        names = {*_filed(folder), *(await tables.traders() if dsn else ())}
        return [
            verify_files(folder / name, await tables.anchors(name, 1) if dsn else None)
            for name in _chosen(names, trader)
        ]


def _print_records(records: list[FiledRecord], *, as_json: bool) -> None:
    import msgspec
    from rich.console import Console

    for record in records:
        raw = msgspec.json.encode(record)
        if as_json:
            print(raw.decode())
        else:
            Console().print_json(raw.decode(), indent=2)


def _list(records: list[tuple[str, FiledRecord]]) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.table import Column, Table

    from engine.core.times import to_datetime

    if not records:
        print("no decisions are on file yet")
        return
    table = Table(
        Column("time (UTC)", no_wrap=True),
        Column("trader", overflow="fold"),
        Column("record", justify="right"),
        "kind",
        Column("cycle", overflow="fold"),
        box=SIMPLE_HEAD,
        pad_edge=False,
        padding=(0, 1, 0, 0),
    )
    for name, record in records:
        when = f"{to_datetime(record.ts):%Y-%m-%d %H:%M:%S}"
        table.add_row(when, name, str(record.n), record.kind, record.cycle_id)
    wide_console().print(table)


def _show_verdicts(found: list[Verdict]) -> None:
    from rich.table import Table

    table = Table("trader", "records", "first", "last", "anchored", "problems")
    for each in found:
        numbers = (each.records, each.first, each.last, each.anchored, len(each.problems))
        table.add_row(each.trader_id, *map(str, numbers))
    console = wide_console()
    console.print(table if found else "no decisions are on file yet")
    for each in found:
        for problem in each.problems:
            place = " ".join(filter(None, (each.trader_id, f"record {problem.record}", problem.file)))
            console.print(f"{place}: {problem.what}")
