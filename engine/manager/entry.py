"""One proposed entry with all that the gate looks at."""

from __future__ import annotations

from collections.abc import Set
from decimal import Decimal
from functools import cached_property

import msgspec

from engine.config.manager import RiskConfig
from engine.core.decisions import AccountView, Act, Action
from engine.core.instruments import Instrument
from engine.core.market import exact
from engine.core.orders import PositionSide
from engine.core.signals import MarketSnapshot
from engine.manager.breaker import TradingState
from engine.manager.sizing import Room, Sized

BPS = Decimal(10_000)


class Entry(msgspec.Struct, frozen=True, kw_only=True, dict=True):
    """What was wanted, what it would become at the venue, and the state around it. Times are engine ns."""

    intent_id: str
    action: Action
    account: AccountView
    snapshot: MarketSnapshot | None
    instrument: Instrument
    limits: RiskConfig
    sized: Sized
    room: Room
    price: Decimal | None  # at which it would fill: the limit price or the far side of the book
    rests: bool  # a limit order: it takes nothing from the book
    shown_price: Decimal | None  # the mark that the decider saw
    trading_state: TradingState
    state_reason: str
    venue_refusal: str
    allowed: frozenset[str]
    major_coins: frozenset[str]
    pending_symbols: frozenset[str]  # symbols with an entry of this trader under way
    known_intents: Set[str]
    cooldown_until: int
    entries_last_hour: int
    price_age_s: float  # real seconds since the newest price came in
    reference_age_s: float | None  # real seconds since the second source told its price, None: never
    now_ns: int

    @property
    def side(self) -> PositionSide:
        return PositionSide.LONG if self.action.act is Act.BUY_TO_ENTER else PositionSide.SHORT

    @property
    def entry_price(self) -> Decimal:
        """The price; the check for a fresh one has refused where there is none."""
        if self.price is None:
            raise ValueError("the freshness check comes first")
        return self.price

    @cached_property
    def mark(self) -> Decimal | None:
        """The newest mark price, or trade, which triggers stops; None when nothing is known."""
        price = self.snapshot.price() if self.snapshot else None
        return exact(price) if price else None

    @property
    def price_limit(self) -> Decimal | None:
        """The worst price that the venue takes for this side; None when it sets none, or has told none."""
        snapshot, long = self.snapshot, self.side is PositionSide.LONG
        told = None if snapshot is None else snapshot.highest_buy if long else snapshot.lowest_sell
        return exact(told) if told else None

    @cached_property
    def notional(self) -> Decimal:
        """Quote value of the contracts that would be sent, at the entry price."""
        return self.instrument.notional(self.sized.contracts, self.entry_price)

    @property
    def margin(self) -> Decimal:
        """Margin that the contracts would take at the action's leverage."""
        return self.notional / max(self.action.leverage, Decimal(1))
