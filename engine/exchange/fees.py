"""What the venue charges the account, so that sizing and the gate reckon with what trades really cost."""

from __future__ import annotations

from typing import Final

import msgspec
import structlog

from engine.core.errors import OutcomeUnknown, Rejected, Unavailable
from engine.core.instruments import USUAL_FEES
from engine.exchange.context import ExchangeContext
from engine.journal.ports import KeepState
from engine.retry import patiently

log = structlog.get_logger()

_EVERY_S: Final = 86_400.0  # OKX moves accounts between tiers once a day
_AGAIN_S: Final = 300.0


class FeeWatch:
    """`tier` is what the venue said last; the usual rates until it has said anything, which stops nobody.

    The journal keeps it for those who explain the gate beside the engine.
    """

    def __init__(self, context: ExchangeContext) -> None:
        self._venue, self._journal, self._clock = context.venue, context.journal, context.clock
        self._account_id = context.books.account_id
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
        state, now = msgspec.msgpack.encode(tier), self._clock.now_ns()
        await patiently(lambda: self._journal.save_state(KeepState.FEES, self._account_id, state, now))

    async def run(self) -> None:
        """Ask daily, and sooner where the venue did not say; for ever. Real time."""
        while True:
            await self._clock.sleep_real(_EVERY_S if self._known else _AGAIN_S)
            await self.read()
