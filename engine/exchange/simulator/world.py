"""The venue inside the simulator: a market, the matching core, and a journal that survives kill -9.

Everything that changes the venue is an input: a step of time, or a request. Inputs are written down before
their answers leave; the state is snapshotted now and then. A new process loads the snapshot and plays the
inputs after it: the same inputs give the same venue, ids included, so nothing acknowledged is ever lost.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import IO, Any, Final

import msgspec

from engine.core.errors import ConfigError
from engine.core.times import NS_PER_HOUR
from engine.exchange.matching.core import MatchingCore
from engine.exchange.matching.records import Event, VenueAlgo, VenueOrder
from engine.exchange.matching.types import (
    AccountSpec,
    AlgoAmend,
    AlgoRequest,
    AmendRequest,
    CloseRequest,
    OrderRequest,
    VenueRefusal,
)
from engine.exchange.ports import PositionMode
from engine.exchange.simulator.candles import BarStore
from engine.exchange.simulator.source import Bar, MarketSource, Quote

FUNDING_NS: Final = 8 * NS_PER_HOUR
_LENGTH: Final = struct.Struct("<I")


class Cancel(msgspec.Struct, frozen=True, tag=True):
    symbol: str
    order_id: str = ""
    client_order_id: str = ""


class CancelAlgo(msgspec.Struct, frozen=True, tag=True):
    symbol: str
    algo_id: str = ""
    client_id: str = ""


class SetLeverage(msgspec.Struct, frozen=True, tag=True):
    symbol: str
    leverage: Decimal


class SetPositionMode(msgspec.Struct, frozen=True, tag=True):
    mode: PositionMode


class CancelAllAfter(msgspec.Struct, frozen=True, tag=True):
    timeout_s: int


class Input(msgspec.Struct, frozen=True):
    """One line of the journal. `kind` "" is a step of time; else `body` is the request, msgpack."""

    ts: int
    kind: str = ""
    account: str = ""
    body: bytes = b""


class Outcome(msgspec.Struct, frozen=True):
    """What an input did. `result` is what the request returns, if it returns anything."""

    events: list[Event]
    result: VenueOrder | VenueAlgo | int | None = None


class _Saved(msgspec.Struct):
    core: bytes
    source: bytes
    bars: dict[str, list[Bar]]
    quotes: dict[str, Quote]
    next_funding: int


_REQUESTS: Final[dict[str, type[Any]]] = {
    kind.__name__: kind
    for kind in (
        OrderRequest,
        AmendRequest,
        Cancel,
        AlgoRequest,
        AlgoAmend,
        CancelAlgo,
        SetLeverage,
        SetPositionMode,
        CloseRequest,
        CancelAllAfter,
    )
}


class World:
    """The venue's whole state. Synchronous; `on_quote` hears every quote, `on_bar` every ended minute."""

    def __init__(self, source: MarketSource, accounts: tuple[AccountSpec, ...], folder: Path | None) -> None:
        self.source = source
        self.bars = BarStore()
        self.quotes: dict[str, Quote] = {}
        self.on_quote: Callable[[Quote], None] = lambda _: None
        self.on_bar: Callable[[str, Bar], None] = lambda _symbol, _bar: None
        self.next_funding = 0
        self._folder = folder
        self._journal: IO[bytes] | None = None
        self.core = MatchingCore()
        if folder is not None and (folder / "state").exists():
            self._load(folder)
        else:
            self.bars.load(source.history())
        for listing in source.listings:
            self.core.set_instrument(listing.instrument)
        for spec in accounts:
            self.core.open_account(spec)
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
            self._replay(folder / "journal")
            self.save()

    # -- inputs

    def step(self, ts: int) -> list[Event]:
        """Let the market come to `ts`; what it caused."""
        outcome = self._apply(Input(ts))
        self._write(Input(ts), flush=bool(outcome.events))
        return outcome.events

    def request(self, account: str, body: msgspec.Struct, ts: int) -> Outcome:
        """Carry out an account's request; on disk when this returns. Raises VenueRefusal, nothing changed."""
        entry = Input(ts, type(body).__name__, account, msgspec.msgpack.encode(body))
        outcome = self._apply(entry)
        self._write(entry, flush=True)
        return outcome

    def save(self) -> None:
        """Write the state and begin a new journal."""
        if self._folder is None:
            return
        saved = _Saved(
            self.core.snapshot(), self.source.state(), self.bars.dump(), self.quotes, self.next_funding
        )
        part = self._folder / "state.part"
        part.write_bytes(msgspec.msgpack.encode(saved))
        part.replace(self._folder / "state")
        if self._journal is not None:
            self._journal.close()
        self._journal = (self._folder / "journal").open("wb")

    def _apply(self, entry: Input) -> Outcome:
        if not entry.kind:
            return Outcome(self._advance(entry.ts))
        body = msgspec.msgpack.decode(entry.body, type=_REQUESTS[entry.kind])
        return _perform(self.core, entry.account, body, entry.ts)

    def _advance(self, ts: int) -> list[Event]:
        events: list[Event] = []
        core = self.core
        for quote in self.source.advance(ts):
            self.next_funding = self.next_funding or _boundary_after(quote.ts)
            if quote.ts >= self.next_funding:
                events += self._charge_funding()
            symbol = quote.symbol
            events += core.on_book(symbol, quote.bids, quote.asks, quote.ts)
            events += core.on_index(symbol, quote.index, quote.ts)
            events += core.on_mark(symbol, quote.mark, quote.ts)
            events += core.on_trade(symbol, quote.price, quote.size, quote.side, quote.ts)
            self.quotes[symbol] = quote
            ended = self.bars.on_quote(quote)
            self.on_quote(quote)
            if ended is not None:
                self.on_bar(symbol, ended)
        return events + core.advance(ts)

    def _charge_funding(self) -> list[Event]:
        events: list[Event] = []
        for symbol, quote in self.quotes.items():
            events += self.core.on_funding(symbol, quote.funding_rate, self.next_funding)
        self.next_funding += FUNDING_NS
        return events

    # -- disk

    def _write(self, entry: Input, *, flush: bool) -> None:
        if self._journal is None:
            return
        line = msgspec.msgpack.encode(entry)
        self._journal.write(_LENGTH.pack(len(line)) + line)
        if flush:
            self._journal.flush()

    def _load(self, folder: Path) -> None:
        try:
            saved = msgspec.msgpack.decode((folder / "state").read_bytes(), type=_Saved)
        except msgspec.DecodeError as error:
            raise ConfigError(f"{folder / 'state'} is not a state of this simulator: {error}") from error
        self.core = MatchingCore.restore(saved.core)
        self.source.restore(saved.source)
        self.bars.revive(saved.bars)
        self.quotes, self.next_funding = saved.quotes, saved.next_funding

    def _replay(self, journal: Path) -> None:
        """Play what came after the snapshot; a line that was cut by the end of the process is dropped."""
        data = journal.read_bytes() if journal.exists() else b""
        at = 0
        while at + _LENGTH.size <= len(data):
            (length,) = _LENGTH.unpack_from(data, at)
            line = data[at + _LENGTH.size : at + _LENGTH.size + length]
            if len(line) < length:
                return
            self._apply(msgspec.msgpack.decode(line, type=Input))
            at += _LENGTH.size + length


def _boundary_after(ts: int) -> int:
    return (ts // FUNDING_NS + 1) * FUNDING_NS


def _perform(core: MatchingCore, account: str, body: object, ts: int) -> Outcome:  # noqa: C901 - one line a request
    match body:
        case OrderRequest():
            order, events = core.place(account, body, ts)
            return Outcome(events, order)
        case AmendRequest():
            return Outcome(core.amend(account, body, ts))
        case Cancel(symbol, order_id, client_order_id):
            ids = {"order_id": order_id, "client_order_id": client_order_id}
            return Outcome(core.cancel(account, symbol, ts, **ids))
        case AlgoRequest():
            algo, events = core.place_algo(account, body, ts)
            return Outcome(events, algo)
        case AlgoAmend():
            return Outcome(core.amend_algo(account, body, ts))
        case CancelAlgo(symbol, algo_id, client_id):
            return Outcome(core.cancel_algo(account, symbol, ts, algo_id=algo_id, client_id=client_id))
        case SetLeverage(symbol, leverage):
            return Outcome(core.set_leverage(account, symbol, leverage, ts))
        case SetPositionMode(mode):
            return Outcome(core.set_position_mode(account, mode, ts))
        case CloseRequest():
            order, events = core.close_position(account, body, ts)
            return Outcome(events, order)
        case CancelAllAfter(timeout_s):
            return Outcome([], core.cancel_all_after(account, timeout_s, ts))
    raise VenueRefusal("51000", "Parameter error")
