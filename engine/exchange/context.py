"""What the order path of one venue account works with, named in one place."""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal
from typing import Protocol

from engine.bus import Bus
from engine.clock import Clock
from engine.core.books import Books
from engine.core.decisions import AccountView
from engine.exchange.ports import PositionMode, Venue
from engine.jobs import Jobs
from engine.journal.ports import Journal
from engine.journal.snapshots import Compression


class Accounts(Protocol):
    """Draws a trader's account at the newest marks, for the journal and the faces."""

    def view(self, trader_id: str) -> AccountView: ...


class ContractValues(Protocol):
    """Coins in one contract of a symbol, as the venue lists it. Raises KeyError for an unknown symbol."""

    def contract_value(self, symbol: str) -> Decimal: ...


@dataclass(frozen=True, slots=True)
class ExchangeContext:
    """The parts around the desk of one account; `books` has one writer, the desk."""

    venue: Venue
    journal: Journal
    bus: Bus
    clock: Clock
    jobs: Jobs
    books: Books
    accounts: Accounts
    contracts: ContractValues
    position_mode: PositionMode
    compression: Compression = field(default_factory=Compression, kw_only=True)  # of balance rows
    trading_enabled: bool  # False: watch and decide, send nothing at all
