"""OKX's dead man's switch: what rests is cancelled by the venue when nobody has said otherwise for a while.

https://www.okx.com/docs-v5/en/#order-book-trading-trade-post-cancel-all-after. The timer belongs to the
account, or to the orders of `order_tag` when one is configured. It is off unless asked for, because without
a tag it also takes orders that a person placed, and because a venue that took stops with it would leave
positions unprotected (OKX names no algos, and promises nothing either).
"""

from __future__ import annotations

from typing import Final

import msgspec
import structlog

from engine.clock import Clock
from engine.core.errors import OutcomeUnknown, Rejected, Unavailable
from engine.exchange.okx.rest import RestClient

log = structlog.get_logger()

_REFRESHES: Final = 4  # in one term: three may fail


class _Body(msgspec.Struct, omit_defaults=True):
    timeOut: str
    tag: str = ""


class DeadMansSwitch:
    """Renews the timer of `term_s` seconds. When edgewise ends the timer is left to run out."""

    def __init__(self, rest: RestClient, clock: Clock, term_s: float, tag: str) -> None:
        self._rest, self._clock, self._term_s = rest, clock, term_s
        self._body = msgspec.json.encode(_Body(str(int(term_s)), tag))
        self.armed = False  # at the last renewal

    async def run(self) -> None:
        """Renew for ever. Raises VenueMisconfigured."""
        while True:
            await self.renew()
            await self._clock.sleep_real(self._term_s / _REFRESHES)

    async def renew(self) -> None:
        """Start the term anew; a refusal is logged when it is news."""
        try:
            await self._rest.change("trade/cancel-all-after", self._body)
        except (Rejected, Unavailable, OutcomeUnknown) as error:
            tell = log.error if self.armed else log.warning
            tell("dead man's switch not renewed", error=str(error), term_s=self._term_s)
            self.armed = False
        else:
            if not self.armed:
                log.info("dead man's switch armed", term_s=self._term_s)
            self.armed = True
