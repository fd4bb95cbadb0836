"""Writes that nothing waits for to act: gathered, copied in bulk, and kept on disk while Postgres is away.

What the books, orders and risk are made of is never written here: it is committed before anybody acts on it.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from itertools import groupby
from typing import Any, Final

import asyncpg
import msgspec
import structlog

from engine.clock import Clock
from engine.core.errors import InvariantBroken, StoreUnavailable
from engine.journal.postgres.bulk import BulkTable, copy_rows, table_named
from engine.journal.postgres.partitions import Partitions
from engine.journal.postgres.pool import Pool
from engine.journal.spool import Spool

log = structlog.get_logger()

_MOST_ROWS: Final = 5000  # of one transaction, which has 3 s
_PROBE_S: Final = 1.0


class _Part:
    """Rows, or records of them, of one caller, and what became of them."""

    __slots__ = ("error", "rows", "settled", "table")

    def __init__(self, table: BulkTable, rows: Sequence[Any]) -> None:
        self.table, self.rows = table, rows
        self.settled = False
        self.error: Exception | None = None

    def settle(self, error: Exception | None = None) -> None:
        self.settled, self.error = True, error


class _Batch(msgspec.Struct, frozen=True):
    """What a file of the spool holds."""

    table: str
    rows: msgspec.Raw


class Batches:
    """Group commit: whatever came in while the last batch was written is the next one.

    Without a spool an outage is the caller's to wait for. With one, rows go to disk until all that waits
    there has been brought to the database, in order; a row that came twice is there once.
    """

    def __init__(self, pool: Pool, partitions: Partitions, clock: Clock, spool: Spool | None = None) -> None:
        self._pool, self._partitions, self._clock, self._spool = pool, partitions, clock, spool
        self._parts: list[_Part] = []  # bounded by the callers: each waits for what it gave
        self._turn = asyncio.Lock()
        self._left = asyncio.Event()  # something waits in the spool
        if spool:
            self._left.set()
        self.dropped: Counter[str] = Counter()  # table → rows that neither database nor spool could take

    @property
    def spool_bytes(self) -> int:
        """Of what waits on disk."""
        return self._spool.bytes if self._spool is not None else 0

    async def put(self, table: BulkTable, rows: Sequence[Any]) -> None:
        """Returns when the rows are safe, in Postgres or on disk for it (dropped where the spool is full).

        Raises InvariantBroken for a row that a constraint refuses, what the driver says of one that does not
        fit its columns, and StoreUnavailable without a spool.
        """
        for start in range(0, len(rows), _MOST_ROWS):
            part = _Part(table, rows[start : start + _MOST_ROWS])
            self._parts.append(part)
            try:
                async with self._turn:
                    if not part.settled:  # else whoever had the turn before has written it too
                        await self._write()
            except asyncio.CancelledError:
                if part in self._parts:
                    self._parts.remove(part)
                raise
            if part.error is not None:
                raise part.error

    async def _write(self) -> None:
        """Everything that waits, one table after the other."""
        parts, self._parts = self._parts, []
        try:
            for table, of_table in groupby(sorted(parts, key=_name), key=lambda part: part.table):
                await self._take(table, list(of_table))
        finally:  # cut off: the others' rows are written by who has the next turn
            self._parts[:0] = [part for part in parts if not part.settled]

    async def _take(self, table: BulkTable, parts: list[_Part]) -> None:
        """Parts of one table, as many in a transaction as it has time for."""
        while parts:
            count, rows = 0, list[Any]()
            while count < len(parts) and (not count or len(rows) + len(parts[count].rows) <= _MOST_ROWS):
                rows += parts[count].rows
                count += 1
            chosen, parts = parts[:count], parts[count:]
            try:
                await self._commit(table, rows)
            except (InvariantBroken, asyncpg.PostgresError, ValueError) as error:
                if count == 1:
                    chosen[0].settle(error)
                else:  # each for itself: only the one that is refused hears of it
                    for part in chosen:
                        await self._take(table, [part])
            except StoreUnavailable as error:
                for part in chosen:
                    part.settle(error)
            else:
                for part in chosen:
                    part.settle()

    async def _commit(self, table: BulkTable, rows: list[Any]) -> None:
        if self._spool is None:
            await self._copy(table, rows)
            return
        if not self._spool:
            try:
                await self._copy(table, rows)
            except StoreUnavailable:
                log.warning("database is away; rows go to the spool")
            else:
                return
        batch = msgspec.msgpack.encode({"table": table.name, "rows": table.plain(rows)})
        if not await self._spool.append(batch):
            self.dropped[table.name] += len(rows)
        self._left.set()

    async def _copy(self, table: BulkTable, rows: list[Any]) -> None:
        if table.time_column:
            await self._partitions.ensure(table.name, table.times(rows))
        await copy_rows(self._pool, table, rows)

    # -- the way back

    async def drain(self) -> None:
        """Bring what waits on disk to the database, oldest first, whenever it is there; runs for ever."""
        while True:
            await self._left.wait()
            self._left.clear()
            count = 0
            while self._spool:
                try:
                    await self._drain_one(self._spool)
                    count += 1
                except StoreUnavailable:
                    await self._clock.sleep_real(_PROBE_S)
            if count:
                log.info("spool drained", batches=count)

    async def _drain_one(self, spool: Spool) -> None:
        raw = await spool.oldest()
        try:
            batch = msgspec.msgpack.decode(raw or b"", type=_Batch)
            table = table_named(batch.table)
            rows = msgspec.msgpack.decode(batch.rows, type=list[table.row])  # type: ignore[name-defined]
            await self._copy(table, rows)
        except (msgspec.MsgspecError, KeyError, InvariantBroken, asyncpg.PostgresError, ValueError) as error:
            spool.set_aside(str(error))
        else:
            spool.done()


def _name(part: _Part) -> str:
    return part.table.name
