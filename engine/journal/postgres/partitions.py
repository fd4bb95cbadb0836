"""Months of the partitioned tables: made ahead, made when history is filled in, dropped when old."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from engine.core.times import NS_PER_DAY, from_datetime, to_datetime
from engine.journal.postgres.migrate import PARTITIONED
from engine.journal.postgres.pool import Pool

_AHEAD_MONTHS: Final = 2
_AT_ONCE: Final = 5000
_FORGET: Final = """
delete from signals where (signal_id, ts_event) in (
  select s.signal_id, s.ts_event from signals s where s.ts_event < $1
    and not exists (select from cycle_signals c where (c.signal_id, c.ts_event) = (s.signal_id, s.ts_event))
  order by s.ts_event limit $2)
"""
_LOCK: Final = 0x65646765_70617274  # «edgepart»: two processes that make the same month take turns


class Partitions:
    """Makes a month before its first row; remembers which months are there."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._there: set[tuple[str, int]] = set()

    async def ensure(self, table: str, times_ns: Iterable[int]) -> None:
        """Make the months of `times_ns`: a replay or a warm-up writes about any time."""
        for month in {_month_of(day * NS_PER_DAY) for day in {ts // NS_PER_DAY for ts in times_ns}}:
            if (table, month) not in self._there:
                await self._make(table, month, 0)
                self._there.add((table, month))

    async def ensure_ahead(self, now_ns: int) -> int:
        """Make the month of `now_ns` and the next two of every table; returns how many were made."""
        made = 0
        for table in PARTITIONED:
            made += await self._make(table, _month_of(now_ns), _AHEAD_MONTHS)
        return made

    async def _make(self, table: str, from_ns: int, months: int) -> int:
        async with self._pool.transaction() as connection:
            await connection.execute("select pg_advisory_xact_lock($1)", _LOCK)
            made = await connection.fetchval("select ensure_partitions($1, $2, $3)", table, from_ns, months)
            return int(made)

    async def forget_signals(self, ts_ns: int) -> int:
        """Delete signals before `ts_ns` that woke nobody, some at a time; returns how many.

        Those that a cycle came from stay as long as the cycle; a month without any is dropped.
        """
        deleted = 0
        while True:
            async with self._pool.transaction() as connection:
                status = await connection.execute(_FORGET, ts_ns, _AT_ONCE)
            deleted += (count := int(status.split()[-1]))
            if count < _AT_ONCE:
                break
        await self._drop("drop_empty_partitions", "signals", ts_ns)
        return deleted

    async def drop_before(self, table: str, ts_ns: int) -> int:
        """Drop the months that ended before `ts_ns`; returns how many."""
        if table not in PARTITIONED or table == "signals":  # for those see forget_signals
            raise ValueError(f"{table} is not dropped by the month")
        return await self._drop("drop_partitions", table, ts_ns)

    async def _drop(self, function: str, table: str, ts_ns: int) -> int:
        """Have a function of the database drop months of `table` that ended before `ts_ns`."""
        async with self._pool.transaction() as connection:
            await connection.execute("select pg_advisory_xact_lock($1)", _LOCK)
            query = f"select {function}($1, $2)"
            dropped = await connection.fetchval(query, table, _month_of(ts_ns))
        self._there.clear()
        return int(dropped)


def _month_of(ts_ns: int) -> int:
    """Start of the month, which Postgres computes with exactly: it rounds `ts_ns` to a double, so that the
    last moment of a month would be one of the next."""
    return from_datetime(to_datetime(ts_ns).replace(day=1, hour=0, minute=0, second=0, microsecond=0))
