"""What the venue charges the account, so that sizing and the gate reckon with what trades really cost."""

from __future__ import annotations

from typing import Final

import structlog

from engine.clock import Clock
from engine.core.errors import OutcomeUnknown, Rejected, Unavailable
from engine.core.instruments import USUAL_FEES
from engine.exchange.ports import Venue

log = structlog.get_logger()

_EVERY_S: Final = 86_400.0  # OKX moves accounts between tiers once a day
_AGAIN_S: Final = 300.0


class FeeWatch:
    """`tier` is what the venue said last; the usual rates until it has said anything, which stops nobody."""

    def __init__(self, venue: Venue, clock: Clock) -> None:
        self._venue, self._clock = venue, clock
        self.tier = USUAL_FEES
        self._known = False

    async def read(self) -> None:
        """Ask once."""
        try:
            tier = await self._venue.fees()
        except (Rejected, Unavailable, OutcomeUnknown) as error:
            self._known = False
            log.warning("fee tier not read", error=str(error), reckoned_with=self.tier.level)
            return
        self._known = True
        if tier != self.tier:
            log.info("fee tier read", tier=tier.level, taker=str(tier.taker), maker=str(tier.maker))
        self.tier = tier

    async def run(self) -> None:
        """Ask daily, and sooner where the venue did not say; for ever. Real time."""
        while True:
            await self._clock.sleep_real(_EVERY_S if self._known else _AGAIN_S)
            await self.read()
