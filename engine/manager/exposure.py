"""What all traders of one venue account together leave for one more entry. Sans I/O."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal

import msgspec

from engine.config.manager import CapitalConfig
from engine.core.books import Books
from engine.core.instruments import Instrument
from engine.core.orders import ZERO
from engine.manager.sizing import Room
from engine.manager.traders import Trader


def room_of(caps: CapitalConfig, equity: Decimal, used: Mapping[str, Decimal], symbol: str) -> Room:
    """What the caps leave in `symbol` of an account that has this `equity` and uses so much by symbol."""
    return Room(
        symbol_usd=equity * caps.max_symbol_exposure_pct / 100 - used.get(symbol, ZERO),
        gross_usd=equity * caps.max_gross_exposure_pct / 100 - sum(used.values(), ZERO),
    )


class AccountCaps:
    """Caps on exposure, in percent of the account's equity (R5).

    Positions count at the newest mark, entries under way in full, also while their outcome is unknown. A
    fill that is booked before its order is known to be done counts twice for that moment, never not at all.
    """

    def __init__(
        self,
        config: CapitalConfig,
        books: Books,
        marks: Mapping[str, Decimal],
        instruments: Mapping[str, Instrument],
        traders: Mapping[str, Trader],
    ) -> None:
        self._config = config
        self._books = books
        self._marks = marks
        self._instruments = instruments
        self._traders = traders

    def room(self, symbol: str, trader: Trader) -> Room:
        """Room for `trader` in `symbol`; an account whose equity is not known leaves none."""
        equity = self._books.equity(self._marks) or ZERO
        values = {name: each.contract_value for name, each in self._instruments.items()}
        room = room_of(self._config, equity, self.used(values), symbol)
        return msgspec.structs.replace(room, pending_margin=trader.pending_margin(self._marks, values))

    def used(self, values: Mapping[str, Decimal]) -> dict[str, Decimal]:
        """Notional by symbol: held by traders, held by nobody, and under way. `values`: coins a contract."""
        used: dict[str, Decimal] = {}
        for account in self._books.traders():
            for held in account.positions.values():
                notional = held.coins * self._marks.get(held.symbol, held.entry_price)
                used[held.symbol] = used.get(held.symbol, ZERO) + notional
        for (name, _), lot in self._books.remainder.lots.items():
            price = self._marks.get(name, ZERO)
            used[name] = used.get(name, ZERO) + abs(lot.contracts) * lot.contract_value * price
        for trader in self._traders.values():
            for name, notional in trader.exposure(self._marks, values).items():
                used[name] = used.get(name, ZERO) + notional
        return used
