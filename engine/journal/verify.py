"""Whether decision files are what was written: the chain within them, and their anchors in the database."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import msgspec

from engine.journal.decision_files import Broken, FiledRecord, files_in, records_of
from engine.journal.postgres.filing import Anchor


class Problem(msgspec.Struct, frozen=True):
    """Something that is not as it was written; `record` is the number it was found at."""

    file: str
    record: int
    what: str


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """The files of one trader. Records before `first` have made room, or were never here."""

    trader_id: str
    first: int
    last: int
    records: int
    anchored: int  # records whose hash the database confirms
    problems: tuple[Problem, ...]


def verify(folder: Path, anchors: Mapping[int, Anchor] | None) -> Verdict:
    """Read all of a trader's files. `anchors` None: only the chain itself is looked at.

    The chain alone cannot tell that its end was cut off; the anchors can.
    """
    problems: list[Problem] = []
    before: FiledRecord | None = None
    first = count = confirmed = 0
    for path in files_in(folder):
        for found in records_of(path):
            number = before.n if before else 0
            if isinstance(found, Broken):
                problems.append(Problem(path.name, number + 1, found.why))
                continue
            first, count = first or found.n, count + 1
            problems += [Problem(path.name, found.n, what) for what in _wrong(found, before)]
            if anchors is not None and found.n in anchors:
                if anchors[found.n].hash == found.hash:
                    confirmed += 1
                else:
                    problems.append(Problem(path.name, found.n, "not the record that was written"))
            elif anchors is not None:
                problems.append(Problem(path.name, found.n, "the database does not know it"))
            before = found
    last = before.n if before else 0
    newest = max(anchors, default=0) if anchors else 0
    if newest > last:
        problems.append(Problem("", last + 1, f"records {last + 1} to {newest} are missing at the end"))
    return Verdict(
        trader_id=folder.name,
        first=first,
        last=last,
        records=count,
        anchored=confirmed,
        problems=tuple(problems),
    )


def _wrong(record: FiledRecord, before: FiledRecord | None) -> list[str]:
    found = []
    if record.hash != record.computed_hash():
        found.append("its content was changed")
    if before is not None and record.n != before.n + 1:
        found.append(f"records {before.n + 1} to {record.n - 1} are missing before it")
    elif before is not None and record.prev != before.hash:
        found.append("it does not follow the record before it")
    return found
