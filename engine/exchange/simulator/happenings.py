"""Faults as they begin: some wait for a request or a push, the others happen to the venue now."""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Callable
from decimal import Decimal, InvalidOperation
from itertools import count
from typing import Final

import msgspec
import structlog

from engine.core.instruments import Instrument
from engine.exchange.matching.types import VenueRefusal
from engine.exchange.simulator.faults import Fault, FaultKind
from engine.exchange.simulator.requests import ChangeInstrument, PartialFills
from engine.exchange.simulator.sockets import Socket
from engine.exchange.simulator.venue import Venue

_UPGRADE_S: Final = 60.0
_GARBAGE: Final = ('{"arg":{"channel":"tickers"},"data":[{"last":', b"\x8f\x00\xff not a message \xfe")
log = structlog.get_logger()


class Happenings:
    """Begins faults, at once or when their time has come. Times are real seconds."""

    def __init__(self, venue: Venue) -> None:
        self._venue = venue
        self._later: list[tuple[float, int, Fault]] = []
        self._order = count()
        market = venue.hub.market
        self._at_once: dict[FaultKind, Callable[[Fault], None]] = {
            FaultKind.SILENCE: self._silence,
            FaultKind.NOTICE: self._announce,
            FaultKind.GARBAGE: self._babble,
            FaultKind.SEQUENCE_GAP: lambda _: market.break_chains(),
            FaultKind.SEQUENCE_RESET: lambda _: market.restart_chains(),
            FaultKind.CHECKSUM: self._sum,
            FaultKind.ZERO_CHECKSUM: self._sum,
            FaultKind.PARTIAL_FILLS: self._fill_partly,
            FaultKind.INSTRUMENT: self._change,
            FaultKind.CLOCK_SKEW: self._skew,
        }

    async def add(self, fault: Fault) -> None:
        """Raises VenueRefusal for one that cannot be."""
        if fault.after_s or fault.every_s:
            self._schedule(fault, self._venue.clock.real_s() + fault.after_s)
        else:
            await self._begin(fault)

    async def tick(self) -> None:
        """Begin what is due."""
        now_s = self._venue.clock.real_s()
        while self._later and self._later[0][0] <= now_s:
            due_s, _, fault = heapq.heappop(self._later)
            if fault.every_s:
                self._schedule(fault, due_s + fault.every_s)
            try:
                await self._begin(fault)
            except VenueRefusal as refusal:
                log.warning("fault could not begin", kind=fault.kind.value, reason=refusal.message)

    def clear(self) -> None:
        """Nothing waits, is scheduled or lasts any more. A changed instrument stays changed."""
        venue = self._venue
        self._later.clear()
        venue.faults.clear()
        venue.hub.silent_until_s = venue.skew_s = 0.0
        venue.hub.market.checksums = False
        venue.request("", PartialFills(on=False))

    def sockets(self, path: str = "") -> list[Socket]:
        """The connections, of one path or of all."""
        found = (each for each in self._venue.hub.sockets if isinstance(each, Socket))
        return [each for each in found if each.path.endswith(path)]

    async def close(self, code: int, reason: str, path: str = "") -> None:
        """Close connections of one path or of all."""
        await asyncio.gather(*(socket.close(code, reason) for socket in self.sockets(path)))

    def _schedule(self, fault: Fault, at_s: float) -> None:
        heapq.heappush(self._later, (at_s, next(self._order), fault))

    async def _begin(self, fault: Fault) -> None:
        happens = self._at_once.get(fault.kind)
        if fault.kind is FaultKind.CUT:
            await self.close(1011, "on demand", fault.path)
        elif happens is None or (fault.kind is FaultKind.GARBAGE and fault.path):
            self._venue.faults.add(fault)
        else:
            happens(fault)

    def _silence(self, fault: Fault) -> None:
        self._venue.hub.silent_until_s = self._venue.clock.real_s() + fault.seconds

    def _announce(self, fault: Fault) -> None:
        ends_s = self._venue.clock.real_s() + (fault.seconds or _UPGRADE_S)
        for socket in self.sockets(fault.path):
            socket.notice(ends_s)

    def _babble(self, fault: Fault) -> None:
        for socket in self.sockets():
            for garbage in _GARBAGE:
                socket.send(garbage)

    def _sum(self, fault: Fault) -> None:
        self._venue.hub.market.checksums = fault.kind is FaultKind.CHECKSUM

    def _skew(self, fault: Fault) -> None:
        self._venue.skew_s = fault.seconds

    def _fill_partly(self, fault: Fault) -> None:
        self._venue.request("", PartialFills(on=True))

    def _change(self, fault: Fault) -> None:
        """Change a market's steps and tell who follows the instruments channel."""
        changed = _changed(self._venue.world.core.instrument(fault.symbol), fault)
        self._venue.request("", ChangeInstrument(changed))
        self._venue.tell_instrument(changed.symbol)


def _changed(known: Instrument, fault: Fault) -> Instrument:
    """Raises VenueRefusal for steps that are no positive numbers."""
    asked = {
        "tick_size": fault.tick,
        "lot_size": fault.lot,
        "min_size": fault.least,
        "contract_value": fault.value,
    }
    steps: dict[str, Decimal] = {}
    for name, text in asked.items():
        if not text:
            continue
        try:
            steps[name] = Decimal(text)
        except InvalidOperation as error:
            raise VenueRefusal("51000", f"{name} {text!r} is no number") from error
        if not steps[name].is_finite() or steps[name] <= 0:
            raise VenueRefusal("51000", f"{name} must be above 0")
    live = known.live if not fault.state else fault.state == "live"
    return msgspec.structs.replace(known, live=live, **steps)
