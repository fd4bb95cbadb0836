"""The simulated venue as its faces see it: the world, who may enter, and what was asked for."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Final

import msgspec

from engine.clock import Clock
from engine.core.instruments import Instrument
from engine.exchange.matching.records import Event
from engine.exchange.matching.types import VenueRefusal
from engine.exchange.simulator.auth import Gatekeeper
from engine.exchange.simulator.faults import Faults
from engine.exchange.simulator.pushes import Hub
from engine.exchange.simulator.source import Quote
from engine.exchange.simulator.world import Outcome, World

UID: Final = "614488474791936"
_FIRST_CODE: Final = 10_458  # instIdCode of the first listed swap


@dataclass(slots=True)
class Venue:
    """Shared by REST, sockets and the pump. Everything happens in one loop: no locks."""

    world: World
    clock: Clock
    gatekeeper: Gatekeeper
    faults: Faults
    hub: Hub
    limits: bool = True
    read_only_keys: frozenset[str] = frozenset()
    orders_received: Counter[str] = field(default_factory=Counter)  # client order id → times it came in

    def now(self) -> int:
        return self.clock.now_ns()

    def step(self) -> list[Event]:
        """Bring the market to now and tell subscribers what happened to their accounts."""
        events = self.world.step(self.now())
        self.hub.on_events(events)
        return events

    def request(self, account: str, body: msgspec.Struct) -> Outcome:
        """Carry out a request now. Raises VenueRefusal."""
        self.step()
        outcome = self.world.request(account, body, self.now())
        self.hub.on_events(outcome.events)
        return outcome

    def instruments(self) -> list[tuple[Instrument, int]]:
        """Listed swaps with their numeric ids."""
        listed = self.world.source.listings
        return [
            (self.world.core.instrument(each.instrument.symbol), _FIRST_CODE + i)
            for i, each in enumerate(listed)
        ]

    def quote(self, symbol: str) -> Quote:
        """The newest quote. Raises VenueRefusal 51001 for an unknown or silent market."""
        quote = self.world.quotes.get(symbol)
        if quote is None:
            raise VenueRefusal(
                "51001", f"Instrument ID, Instrument ID code, or Spread ID {symbol} doesn't exist."
            )
        return quote
