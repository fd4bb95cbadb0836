"""The simulated venue as its faces see it: the world, who may enter, and what was asked for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

import msgspec

from engine.clock import Clock
from engine.core.instruments import Instrument
from engine.exchange.matching.records import Event, OrderChanged
from engine.exchange.matching.types import VenueRefusal
from engine.exchange.simulator import wire_market as wire
from engine.exchange.simulator.account_pushes import AccountPushes
from engine.exchange.simulator.auth import Gatekeeper
from engine.exchange.simulator.faults import Faults
from engine.exchange.simulator.limits import Limiter
from engine.exchange.simulator.manual import Nudge
from engine.exchange.simulator.pushes import MarketPushes
from engine.exchange.simulator.requests import Outcome
from engine.exchange.simulator.source import Quote
from engine.exchange.simulator.subscriptions import PRIVATE, Arg, Subscriber, frame
from engine.exchange.simulator.world import World

_FIRST_CODE: Final = 10_458  # instIdCode of the first listed swap


class Hub:
    """Knows the sockets, and what each is told. `silent_until_s`: until then nothing is sent (a fault)."""

    def __init__(self, world: World) -> None:
        self.sockets: set[Subscriber] = set()
        self.silent_until_s = 0.0
        self.market = MarketPushes(world, self.sockets)
        self.accounts = AccountPushes(world, self.sockets)

    def on_events(self, events: Sequence[Event], now_ns: int) -> None:
        """Tell accounts what happened to them, and everybody who was liquidated."""
        self.accounts.on_events(events, now_ns)
        changed = [event.order for event in events if isinstance(event, OrderChanged)]
        self.market.tell_liquidations(
            [order for order in changed if order.state.done and order.category != "normal"]
        )

    def flush(self, now_s: float, now_ns: int) -> None:
        """Send what is due by real and engine time."""
        self.market.flush(now_s, now_ns)
        self.accounts.regular(now_s)

    def greet(self, socket: Subscriber, arg: Arg, now_ns: int) -> None:
        """What a new subscription gets at once."""
        pushes = self.accounts if arg["channel"] in PRIVATE else self.market
        pushes.greet(socket, arg, now_ns)


@dataclass(slots=True)
class Venue:
    """Shared by REST, sockets and the pump. Everything happens in one loop: no locks."""

    world: World
    clock: Clock
    gatekeeper: Gatekeeper
    faults: Faults
    limiter: Limiter
    hub: Hub
    vip: bool = False  # whether accounts have the channels of high fee tiers
    skew_s: float = 0.0  # a fault: how far ahead the venue's clock is, as it tells and judges
    orders_received: Counter[str] = field(default_factory=Counter)  # "account:client order id" → times
    requests: Counter[str] = field(default_factory=Counter)  # path or operation → times

    def now(self) -> int:
        """Engine time, which is the venue's time on the wire."""
        return self.clock.now_ns()

    def told_ns(self) -> int:
        """Engine time as the venue tells it, and judges signatures by."""
        return self.now() + self.clock.engine_ns(self.skew_s)

    def step(self) -> None:
        """Bring the market to now and tell subscribers what happened to their accounts."""
        now = self.now()
        self.hub.on_events(self.world.step(now), now)

    def flush(self) -> None:
        """Send what is due."""
        self.hub.flush(self.clock.real_s(), self.now())

    def request(self, account: str, body: msgspec.Struct) -> Outcome:
        """Carry out a request now. Raises VenueRefusal."""
        self.step()
        now = self.now()
        outcome = self.world.request(account, body, now)
        self.hub.on_events(outcome.events, now)
        return outcome

    def nudge(self, nudge: Nudge) -> None:
        """Move a manual market now. Raises VenueRefusal for another one."""
        self.step()
        now = self.now()
        self.hub.on_events(self.world.nudge(nudge, now), now)

    def instruments(self) -> list[tuple[Instrument, int]]:
        """Listed swaps with their numeric ids."""
        listed = self.world.source.listings
        return [
            (self.world.core.instrument(each.instrument.symbol), _FIRST_CODE + i)
            for i, each in enumerate(listed)
        ]

    def tell_instrument(self, symbol: str) -> None:
        """Push what an instrument has become to those who follow the instruments channel."""
        rows = [wire.instrument(each, code) for each, code in self.instruments() if each.symbol == symbol]
        for socket in tuple(self.hub.sockets):
            for arg in tuple(socket.subscriptions.values()):
                if arg["channel"] == "instruments" and arg.get("instType", "SWAP") == "SWAP":
                    socket.send(frame(arg, rows))

    def symbol_of(self, code: object) -> str:
        """Symbol of a numeric id. Raises VenueRefusal 51001."""
        for instrument, known in self.instruments():
            if str(known) == str(code):
                return instrument.symbol
        raise VenueRefusal("51001", f"Instrument ID code {code} doesn't exist.")

    def quote(self, symbol: str) -> Quote:
        """The newest quote. Raises VenueRefusal 51001 for an unknown or silent market."""
        quote = self.world.quotes.get(symbol)
        if quote is None:
            raise VenueRefusal(
                "51001", f"Instrument ID, Instrument ID code, or Spread ID {symbol} doesn't exist."
            )
        return quote
