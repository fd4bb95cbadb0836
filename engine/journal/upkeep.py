"""Age of the database: coming months are made in time, old ones dropped, old performance thinned."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import structlog

from engine.clock import Clock
from engine.core.errors import StoreUnavailable
from engine.core.times import NS_PER_S
from engine.journal.postgres.bulk import SIGNALS
from engine.journal.postgres.partitions import Partitions
from engine.journal.postgres.thinning import Thinning

log = structlog.get_logger()

_EVERY_S: Final = 6 * 3600.0  # of engine time
_SHORTEST_S: Final = 10.0  # of real time


class Upkeep:
    """`keep_s`: table → how long its rows are wanted, seconds of engine time; 0 for ever.

    A month goes as a whole, when its last moment is old enough; of signals those that woke nobody, and the
    month when none is left. `whole_s`: for so long every row of performance stays; 0 for ever.
    """

    def __init__(
        self,
        partitions: Partitions,
        thinning: Thinning,
        clock: Clock,
        keep_s: Mapping[str, float],
        whole_s: float,
    ) -> None:
        self._partitions, self._thinning, self._clock = partitions, thinning, clock
        self._keep_s, self._whole_s = keep_s, whole_s

    async def run(self) -> None:
        """Every six hours of engine time, for ever; an outage is waited for."""
        while True:
            try:
                await self.once()
            except StoreUnavailable:
                log.warning("months not looked after; tried again later")
            await self._clock.sleep_real(_SHORTEST_S)
            await self._clock.sleep(_EVERY_S)

    async def once(self) -> None:
        """Make, drop and thin what is due now. Raises StoreUnavailable."""
        now = self._clock.now_ns()
        made = await self._partitions.ensure_ahead(now)
        dropped = 0
        for table, keep_s in self._keep_s.items():
            before = now - int(keep_s * NS_PER_S)
            if keep_s and table == SIGNALS.name:
                await self._partitions.forget_signals(before)
            elif keep_s:
                dropped += await self._partitions.drop_before(table, before)
        if made or dropped:
            log.info("months looked after", made=made, dropped=dropped)
        if self._whole_s and (gone := await self._thinning.thin(now - int(self._whole_s * NS_PER_S))):
            log.info("performance thinned", rows=gone)
