"""Performance of long ago: of each hour of a trader the rows that say where it went and how it ended."""

from __future__ import annotations

from typing import Final

from engine.core.times import NS_PER_DAY, NS_PER_HOUR
from engine.journal.postgres.pool import LONG_TIMEOUT_S, Pool

_AT_ONCE_NS: Final = 10 * NS_PER_DAY  # of one trader
_OLDEST: Final = "select min(ts) from trader_performance where trader_id = $1 and ts >= $2 and ts < $3"
# Kept are the newest row of an hour, the newest whose equity is known, the lowest and the highest.
_THIN: Final = """
delete from trader_performance p using (
  select ts,
         row_number() over (hour order by ts desc) as back,
         row_number() over (hour order by equity is null, ts desc) as back_known,
         row_number() over (hour order by equity, ts) as from_low,
         row_number() over (hour order by equity desc nulls last, ts) as from_high
  from trader_performance where trader_id = $1 and ts >= $2 and ts < $3
  window hour as (partition by ts / $4::bigint)
) r
where p.trader_id = $1 and p.ts = r.ts and p.ts >= $2 and p.ts < $3
  and least(back, back_known, from_low, from_high) > 1
"""


class Thinning:
    """Deletes what no curve, ratio or drawdown is read from.

    The last equity of every hour stays, which the hourly ratios are of, and the extremes of the hour, so that
    a drawdown is as deep as it was. Only a fall from a peak that was not its hour's highest, within that very
    hour, may look smaller.
    """

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._done_ns = 0  # what lies before is thin

    async def thin(self, before_ns: int) -> int:
        """Thin the whole hours before `before_ns`, some at a time; returns how many rows went.

        Raises StoreUnavailable; what was done until then stays done.
        """
        end, gone = before_ns // NS_PER_HOUR * NS_PER_HOUR, 0
        for row in await self._pool.fetch("select trader_id from traders order by 1"):
            gone += await self._thin_trader(row["trader_id"], end)
        self._done_ns = end
        return gone

    async def _thin_trader(self, trader_id: str, end_ns: int) -> int:
        start, gone = self._done_ns, 0
        while True:
            (row,) = await self._pool.fetch(_OLDEST, trader_id, start, end_ns)
            if row["min"] is None:
                return gone
            start = row["min"] // NS_PER_HOUR * NS_PER_HOUR
            until = min(end_ns, start + _AT_ONCE_NS)
            async with self._pool.transaction(LONG_TIMEOUT_S) as connection:
                status = await connection.execute(
                    _THIN, trader_id, start, until, NS_PER_HOUR, timeout=LONG_TIMEOUT_S
                )
            gone, start = gone + int(status.split()[-1]), until
