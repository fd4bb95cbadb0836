"""Files every decision cycle once it is complete, and the end of each trade it opened."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final

import msgspec
import structlog

from engine.clock import Clock
from engine.core.errors import StoreUnavailable
from engine.core.times import NS_PER_S
from engine.journal.decision_files import FiledRecord, RecordKind, TraderFiles, link
from engine.journal.filed_bodies import Outcome
from engine.journal.postgres.filing import Anchor, Due, FilingTables

log = structlog.get_logger()

DECISIONS: Final = "decisions"  # folder below the engine's home
_PAUSE_S: Final = 1.0
_SETTLED_S: Final = 60.0  # engine time from a decision to its last check and intent, by far
_SETTLED_REAL_S: Final = 3.0
_AT_ONCE: Final = 50

Describe = Callable[[Due], Awaitable[bytes | None]]


class Filing:
    """Cycles wait in the database for their file, so neither a full disk nor an outage loses one.

    `describe` makes the body of a record: JSON that says everything; None for what is not there any more.
    """

    def __init__(
        self, tables: FilingTables, describe: Describe, folder: Path, max_bytes: int, clock: Clock
    ) -> None:
        self._tables, self._describe = tables, describe
        self._folder, self._max_bytes, self._clock = folder, max_bytes, clock
        self._files: dict[str, TraderFiles] = {}  # trader → its folder, opened when first needed
        self._troubled = False

    async def run(self) -> None:
        """File what is complete, for ever."""
        while True:
            try:
                filed = await self.once()
                self._note("")
            except (StoreUnavailable, OSError) as error:
                filed = 0
                self._note(str(error))
            if filed < _AT_ONCE:
                await self._clock.sleep_real(_PAUSE_S)

    def _note(self, trouble: str) -> None:
        if trouble and not self._troubled:
            log.error("cycles not filed; they wait in the database", error=trouble)
        elif self._troubled and not trouble:
            log.info("cycles filed again")
        self._troubled = bool(trouble)

    async def once(self) -> int:
        """File what is due now; how many. Raises StoreUnavailable or OSError."""
        settled_ns = max(int(_SETTLED_S * NS_PER_S), self._clock.engine_ns(_SETTLED_REAL_S))
        decided_before = self._clock.now_ns() - settled_ns
        due = await self._tables.due(_AT_ONCE, decided_before)
        while unopened := {each.trader_id for each in due} - self._files.keys():
            for trader_id in unopened:
                await self._open(trader_id)
            due = await self._tables.due(_AT_ONCE, decided_before)  # a file may have had one already
        for each in due:
            files = self._files[each.trader_id]
            body = await self._describe(each)
            record = link(files.last, each.kind, each.cycle_id, self._clock.now_ns(), body or b"null")
            await asyncio.to_thread(files.append, record)
            await self._anchored(each.trader_id, record, each.subject)
        return len(due)

    async def _anchored(self, trader_id: str, record: FiledRecord, subject: str) -> None:
        try:
            await self._tables.anchor(trader_id, record, subject)
        except StoreUnavailable:
            self._files.pop(trader_id)  # its last record is looked at again, as after a crash
            raise

    async def _open(self, trader_id: str) -> None:
        """Bring the trader's files and the database in step."""
        files = await asyncio.to_thread(TraderFiles, self._folder / trader_id, self._max_bytes)
        anchor = (await self._tables.newest()).get(trader_id)
        last, known = files.last, anchor.n if anchor else 0
        if last is not None and last.n == known + 1 and await self._tables.unfiled(last.kind, _subject(last)):
            await self._tables.anchor(trader_id, last, _subject(last))
        elif (last.hash if last else "") != (anchor.hash if anchor else ""):
            log.error("decision files are not as they were left", trader=trader_id, record=known)
            if anchor is not None and (last is None or last.n <= anchor.n):
                files.continue_after(_stand_in(anchor))
        self._files[trader_id] = files


def _subject(record: FiledRecord) -> str:
    """What a record was filed for."""
    if record.kind is RecordKind.CYCLE:
        return record.cycle_id
    return msgspec.json.decode(record.body, type=Outcome).trade.trade_id


def _stand_in(anchor: Anchor) -> FiledRecord:
    """What a lost record was, as far as the next one needs it."""
    return FiledRecord(
        n=anchor.n,
        kind=anchor.kind,
        cycle_id=anchor.cycle_id,
        ts=anchor.ts,
        prev="",
        hash=anchor.hash,
        body=msgspec.Raw(b"null"),
    )
