"""Decision files: every complete cycle once, with all that belongs to it; tampering is found out."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest
import zstandard
from typer.testing import CliRunner

from engine.cli.journal import app
from engine.clock import SystemClock
from engine.core.errors import StoreUnavailable
from engine.core.orders import OrderState
from engine.journal.decision_files import FiledRecord, RecordKind, TraderFiles, files_in, link, records_of
from engine.journal.filed_bodies import Bodies, CycleBody, Outcome
from engine.journal.filing import Filing
from engine.journal.postgres.journal import PostgresJournal
from engine.journal.postgres.reader import JournalReader
from engine.journal.verify import verify
from tests import journal_parts as parts
from tests.journal_parts import TRADER
from tests.postgres_proxy import proxied

MB = 2**20
ETC = Path(__file__).parent.parent / "etc"


def read(folder: Path) -> list[FiledRecord]:
    found = [record for path in files_in(folder) for record in records_of(path)]
    assert all(isinstance(record, FiledRecord) for record in found)
    return [record for record in found if isinstance(record, FiledRecord)]


def filled(folder: Path, count: int, *, size: int = 0, max_bytes: int = MB) -> TraderFiles:
    """A trader's files with so many records, each of at least `size` bytes that do not compress."""
    files = TraderFiles(folder, max_bytes)
    for number in range(count):
        noise = random.Random(number).randbytes(size).hex()  # noqa: S311 - no secret
        body = msgspec.json.encode({"number": number, "noise": noise})
        files.append(link(files.last, RecordKind.CYCLE, f"c{number}", number, body))
    return files


def test_records_are_found_again_by_the_next_process(tmp_path: Path) -> None:
    filled(tmp_path, 3)
    files = filled(tmp_path, 2)
    assert files.last is not None
    assert [record.n for record in read(tmp_path)] == [1, 2, 3, 4, 5]
    assert verify(tmp_path, None).problems == ()
    (path,) = files_in(tmp_path)
    lines = zstandard.ZstdDecompressor().stream_reader(path.read_bytes(), read_across_frames=True).read()
    assert [msgspec.json.decode(line)["body"]["number"] for line in lines.splitlines()] == [0, 1, 2, 0, 1]


@pytest.mark.parametrize("lost", [1, 7, 60])
def test_record_that_a_crash_cut_off_is_written_anew(tmp_path: Path, lost: int) -> None:
    files = filled(tmp_path, 3)
    (path,) = files_in(tmp_path)
    path.write_bytes(path.read_bytes()[:-lost])
    again = TraderFiles(tmp_path, MB)
    assert again.last is not None
    assert again.last.n == 2
    assert files.last is not None
    again.append(files.last)
    assert [record.n for record in read(tmp_path)] == [1, 2, 3]


def test_oldest_files_make_room(tmp_path: Path) -> None:
    filled(tmp_path, 9, size=3 * MB, max_bytes=12 * MB)
    assert sum(path.stat().st_size for path in files_in(tmp_path)) <= 12 * MB
    found = verify(tmp_path, None)
    assert (found.last, found.problems) == (9, ())
    assert found.first > 1


def _rewritten(records: list[FiledRecord], folder: Path) -> None:
    """Somebody's own version of a trader's only file."""
    (path,) = files_in(folder)
    compressor = zstandard.ZstdCompressor()
    path.write_bytes(b"".join(compressor.compress(msgspec.json.encode(r) + b"\n") for r in records))


def _changed(record: FiledRecord) -> FiledRecord:
    return msgspec.structs.replace(record, body=msgspec.Raw(b'{"number":99}'))


def test_every_way_to_tamper_shows(tmp_path: Path) -> None:
    filled(tmp_path, 4)
    one, two, three, four = whole = read(tmp_path)
    forged = link(one, two.kind, two.cycle_id, two.ts, b'{"number":99}')
    for records, record, what in (
        ([one, _changed(two), three, four], 2, "its content was changed"),
        ([one, forged, three, four], 3, "it does not follow the record before it"),
        ([one, three, four], 3, "records 2 to 2 are missing before it"),
        ([one, two, two, three, four], 2, "records 3 to 1 are missing before it"),
        ([two, one, three, four], 1, "records 3 to 0 are missing before it"),
    ):
        _rewritten(records, tmp_path)
        problems = verify(tmp_path, None).problems
        assert (problems[0].record, problems[0].what) == (record, what)
    _rewritten(whole, tmp_path)
    (path,) = files_in(tmp_path)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0xFF
    path.write_bytes(data)
    assert verify(tmp_path, None).problems
    before = path.read_bytes()
    TraderFiles(tmp_path, MB)
    assert path.read_bytes() == before  # what somebody did is not repaired away


# -- with the journal


@asynccontextmanager
async def filing(database: str, folder: Path) -> AsyncIterator[tuple[PostgresJournal, Filing]]:
    async with PostgresJournal(database, SystemClock()) as journal, JournalReader(database) as reader:
        bodies = Bodies(journal.filing, journal, reader)
        yield journal, Filing(journal.filing, bodies.describe, folder, MB, SystemClock())


async def decided(journal: PostgresJournal, cycle_id: str = "alice-1") -> None:
    await journal.record_traders([TRADER])
    await journal.record_wakeup(parts.wakeup(cycle_id))
    await journal.record_cycle(parts.record(cycle_id))
    await journal.record_gate([parts.verdict(cycle_id)])


async def until_filed(work: Filing) -> int:
    """How many were filed until nothing is due."""
    count = 0
    while found := await work.once():
        count += found
    return count


async def run(database: str, *words: str) -> tuple[int, str]:
    """Exit code and output of `edgewise journal …`."""
    env = {"EDGEWISE_POSTGRES_DSN": database, "EDGEWISE_REDIS_URL": "redis://127.0.0.1:1"}
    result = await asyncio.to_thread(CliRunner().invoke, app, [*words, "--etc", str(ETC)], env=env)
    return result.exit_code, result.stdout


async def test_cycle_is_filed_once_it_is_complete_and_its_outcome_later(
    database: str, tmp_path: Path
) -> None:
    entry = parts.order(parts.intent())
    async with filing(database, tmp_path) as (journal, work):
        await decided(journal)
        await journal.insert_order(entry)
        assert await until_filed(work) == 0  # its order may still be filled
        after, fill = parts.filled(entry)
        await journal.record_execution(after, fill)
        assert await until_filed(work) == 1
        closing = parts.order(parts.close_intent())
        await journal.insert_order(closing)
        await journal.record_execution(*parts.filled(closing, price="64100.5"))
        trade = msgspec.structs.replace(parts.closed(), entry_cycle_id="alice-1")
        await journal.record_position(parts.view(), [trade])
        assert await until_filed(work) == 1
        assert await until_filed(work) == 0
    cycle, outcome = read(tmp_path / "alice")
    assert (cycle.kind, cycle.cycle_id, outcome.kind) == ("cycle", "alice-1", "outcome")
    body = msgspec.json.decode(cycle.body, type=CycleBody)
    assert body.wakeup == parts.wakeup()
    assert body.chain is not None
    assert body.chain.cycle.prompt_digest == "d"
    assert (body.chain.system_prompt, body.chain.answer, body.chain.reasoning) == (
        "You trade.",
        "{}",
        "because",
    )
    assert [check.checks for check in body.chain.validations]
    assert [order.state for order in body.chain.orders] == [OrderState.FILLED]
    assert [each.fill_id for each in body.chain.fills] == [fill.fill_id]
    assert msgspec.json.decode(outcome.body, type=Outcome).trade == trade


async def test_files_and_database_are_in_step_whatever_is_cut_off(database: str, tmp_path: Path) -> None:
    folder = tmp_path / "files"
    async with filing(database, folder) as (journal, work):
        await decided(journal)
        assert await until_filed(work) == 1
        await decided(journal, "alice-2")
    async with proxied(database, tmp_path) as proxy, filing(proxy.dsn, folder) as (journal, work):
        proxy.swallow_commits = (
            True  # the record is in its file, and nobody knows whether the database has it
        )
        with pytest.raises(StoreUnavailable):
            await until_filed(work)
        proxy.swallow_commits = False
        await until_filed(work)
        await decided(journal, "alice-3")
        (due,) = await journal.filing.due(9, parts.T0 * 2)
        assert await journal.filing.of("another account").due(9, parts.T0 * 2) == []
        files = TraderFiles(folder / "alice", MB)
        files.append(link(files.last, due.kind, due.cycle_id, 1, b"null"))  # killed before the database knew
    async with filing(database, folder) as (journal, work):
        await decided(journal, "alice-4")
        assert await until_filed(work) == 1
        assert [record.cycle_id for record in read(folder / "alice")] == [f"alice-{n}" for n in range(1, 5)]
        found = verify(folder / "alice", await journal.filing.anchors("alice", 1))
    assert (found.anchored, found.problems) == (4, ())


async def test_cut_and_forged_files_show_against_the_database(database: str, tmp_path: Path) -> None:
    folder = tmp_path / "alice"
    async with filing(database, tmp_path) as (journal, work):
        for number in range(1, 4):
            await decided(journal, f"alice-{number}")
        await until_filed(work)
    files = ("--files", str(tmp_path))
    one, two, three = whole = read(folder)
    code, shown = await run(database, "verify", *files, "--json")
    (told,) = msgspec.json.decode(shown)
    assert (code, told["anchored"], told["problems"]) == (0, 3, [])
    forged = [one]
    for record in (_changed(two), three):  # a chain of somebody's own, whole in itself
        forged.append(link(forged[-1], record.kind, record.cycle_id, record.ts, bytes(record.body)))
    for records, what in (
        (whole[:2], "records 3 to 3 are missing"),
        (forged, "not the record that was written"),
    ):
        _rewritten(records, folder)
        assert (await run(database, "verify", *files, "--chain-only"))[0] == 0
        code, shown = await run(database, "verify", *files)
        assert code == 1
        assert what in " ".join(shown.split())
    async with filing(database, tmp_path) as (journal, work):  # and the engine goes on beside it
        await decided(journal, "alice-4")
        await until_filed(work)
        found = verify(folder, await journal.filing.anchors("alice", 1))
    assert (found.last, found.anchored) == (4, 2)


async def test_commands_show_list_and_export(database: str, tmp_path: Path) -> None:
    async with filing(database, tmp_path / "files") as (journal, work):
        await decided(journal)
        await decided(journal, "alice-2")
        await until_filed(work)
    files, out = ("--files", str(tmp_path / "files")), tmp_path / "out.jsonl"
    code, shown = await run(database, "show", "alice-2", *files, "--json")
    assert (code, msgspec.json.decode(shown)["body"]["chain"]["user_prompt"]) == (0, "Now?")
    assert "alice-1" in (await run(database, "show", *files))[1]
    assert (await run(database, "show", "nobody", *files))[0] == 2
    assert (await run(database, "export", str(out), *files))[0] == 0
    rows = [msgspec.json.decode(line) for line in out.read_bytes().splitlines()]
    assert [(row["trader_id"], row["n"], row["cycle_id"]) for row in rows] == [
        ("alice", 1, "alice-1"),
        ("alice", 2, "alice-2"),
    ]


async def test_files_of_another_database_are_left_alone_and_followed(database: str, tmp_path: Path) -> None:
    for count in (1, 3):
        folder = tmp_path / str(count)
        filled(folder / "alice", count)
        async with filing(database, folder) as (journal, work):
            await decided(journal, f"alice-{count}")
            assert await until_filed(work) == 1
        records = read(folder / "alice")
        assert [record.cycle_id for record in records][:count] == [f"c{n}" for n in range(count)]
        assert records[-1].cycle_id == f"alice-{count}"
