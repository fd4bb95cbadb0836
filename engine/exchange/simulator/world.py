"""The venue inside the simulator: a market, the matching core, and a journal that survives kill -9.

Everything that changes the venue is an input: a step of time, or a request. Inputs are written down before
their answers leave; the state is saved now and then. A new process loads the state and plays the inputs
after it: the same inputs give the same venue, ids included, so nothing acknowledged is ever lost.
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Final

import msgspec
import structlog

from engine.core.errors import CodecError, ConfigError
from engine.core.times import NS_PER_HOUR, NS_PER_MIN, NS_PER_S, iso
from engine.exchange.matching.core import MatchingCore
from engine.exchange.matching.options import MatchingOptions
from engine.exchange.matching.records import Event
from engine.exchange.matching.types import AccountSpec, VenueRefusal
from engine.exchange.simulator.candles import BarStore, Dump
from engine.exchange.simulator.manual import ManualMarket, Nudge
from engine.exchange.simulator.past import Bar
from engine.exchange.simulator.requests import REQUESTS, Outcome, perform
from engine.exchange.simulator.seconds import SecondBars
from engine.exchange.simulator.source import MarketSource, Quote, on_grid
from engine.exchange.simulator.store import Store
from engine.exchange.simulator.tape import Tape

FUNDING_NS: Final = 8 * NS_PER_HOUR
_LONGEST_WAIT_NS: Final = 30 * NS_PER_MIN  # a fast run may have gone on a little after its clock was noted
_FUNDING_KEPT: Final = 400  # a symbol; what one answer of funding-rate-history holds
log = structlog.get_logger()


class FundingCharge(msgspec.Struct, frozen=True, array_like=True):
    ts: int
    rate: Decimal


class Input(msgspec.Struct, frozen=True, array_like=True):
    """One line of the journal. `kind` "" is a step of time; else `body` is the request, msgpack."""

    ts: int
    kind: str = ""
    account: str = ""
    body: bytes = b""


class _Saved(msgspec.Struct):
    market: str  # MarketSource.name
    ts: int
    core: bytes
    source: bytes
    bars: Dump
    quotes: dict[str, Quote]
    next_funding: int
    funding: dict[str, list[FundingCharge]]


class World:
    """The venue's whole state. Synchronous; `on_quote` hears every quote, `on_bar` every ended minute.

    `on_second` hears every ended second.
    """

    def __init__(
        self,
        source: MarketSource,
        accounts: tuple[AccountSpec, ...],
        store: Store | None,
        now_ns: int,
        options: MatchingOptions | None = None,
    ) -> None:
        self.source = source
        self._options = options or MatchingOptions()
        self.core = MatchingCore(self._options)
        self.bars = BarStore(source.older)
        self.seconds = SecondBars()
        self.tape = Tape()
        self.quotes: dict[str, Quote] = {}
        self.funding: dict[str, list[FundingCharge]] = {}
        self.next_funding = (now_ns // FUNDING_NS + 1) * FUNDING_NS
        self.on_quote: Callable[[Quote], None] = lambda _: None
        self.on_bar: Callable[[str, Bar], None] = lambda _symbol, _bar: None
        self.on_second: Callable[[str, Bar], None] = lambda _symbol, _bar: None
        self._ts = 0
        self._store = store
        state, inputs = store.load() if store else (None, [])
        if state is not None:
            self._restore(state, now_ns)
        self.bars.load(source.take_bars())
        for listing in source.listings:
            if listing.instrument.symbol not in self.core.symbols():  # what was changed stays changed
                self.core.set_instrument(listing.instrument)
        for spec in accounts:
            self.core.open_account(spec)
        for line in inputs:
            self._replay(line)
        self.save()

    # -- inputs

    def step(self, ts: int) -> list[Event]:
        """Let the market come to `ts`; what it caused."""
        entry = Input(ts)
        outcome = self._apply(entry)
        self._write(entry, flush=bool(outcome.events))
        return outcome.events

    def request(self, account: str, body: msgspec.Struct, ts: int) -> Outcome:
        """Carry out an account's request; on disk when this returns. Raises VenueRefusal, nothing changed."""
        entry = Input(ts, type(body).__name__, account, msgspec.msgpack.encode(body))
        outcome = self._apply(entry)
        self._write(entry, flush=True)
        return outcome

    def nudge(self, nudge: Nudge, ts: int) -> list[Event]:
        """Move a manual market. Raises VenueRefusal when it moves by itself or has no such symbol."""
        if not isinstance(self.source, ManualMarket):
            raise VenueRefusal("51000", "the market moves by itself; start with --manual")
        self.core.instrument(nudge.symbol)
        return self.request("", nudge, ts).events

    def save(self) -> None:
        """Write the state and begin a new journal; nothing without a folder."""
        if self._store is None:
            return
        saved = _Saved(
            market=self.source.name,
            ts=self._ts,
            core=self.core.snapshot(),
            source=self.source.state(),
            bars=self.bars.dump(),
            quotes=self.quotes,
            next_funding=self.next_funding,
            funding=self.funding,
        )
        self._store.save(msgspec.msgpack.encode(saved))

    def close(self) -> None:
        """Save for the last time."""
        self.save()
        if self._store is not None:
            self._store.close()

    def _apply(self, entry: Input) -> Outcome:
        self._ts = max(self._ts, entry.ts)
        if not entry.kind:
            return Outcome(self._advance(entry.ts))
        body = msgspec.msgpack.decode(entry.body, type=REQUESTS[entry.kind])
        if isinstance(body, Nudge) and isinstance(self.source, ManualMarket):
            self.source.nudge(body)
            return Outcome(self._advance(entry.ts))
        return perform(self.core, entry.account, body, entry.ts)

    def _replay(self, line: bytes) -> None:
        try:
            self._apply(msgspec.msgpack.decode(line, type=Input))
        except (msgspec.DecodeError, KeyError) as error:
            raise ConfigError(
                f"--state holds a request of another version ({error}); start afresh in an empty folder"
            ) from error

    def _write(self, entry: Input, *, flush: bool) -> None:
        if self._store is not None:
            self._store.append(msgspec.msgpack.encode(entry), flush=flush)

    def _restore(self, state: bytes, now_ns: int) -> None:
        try:
            saved = msgspec.msgpack.decode(state, type=_Saved)
            if saved.market != self.source.name:
                raise ConfigError(
                    f"--state holds another market ({saved.market}), not {self.source.name};"
                    " ask for the same one, or start afresh in an empty folder"
                )
            if saved.ts > now_ns + _LONGEST_WAIT_NS:
                raise ConfigError(
                    f"--state holds a market that has come to {iso(saved.ts)}, and now is {iso(now_ns)};"
                    " give the --epoch that the earlier run went on to, or an empty folder"
                )
            self.core = MatchingCore.restore(saved.core, self._options)
            self.source.restore(saved.source)
        except (msgspec.DecodeError, CodecError) as error:
            raise ConfigError(
                f"--state holds no state of this version ({error}); start afresh in an empty folder"
            ) from error
        if saved.ts > now_ns:
            log.warning("market waits for its time", behind_s=(saved.ts - now_ns) // NS_PER_S)
        self.bars.revive(saved.bars)
        self.quotes, self.funding = saved.quotes, saved.funding
        self._ts, self.next_funding = saved.ts, saved.next_funding

    # -- time

    def _advance(self, ts: int) -> list[Event]:
        events: list[Event] = []
        quotes = self.source.advance(ts)
        if past := self.source.take_bars():
            self.bars.load(past)
        for quote in quotes:
            while quote.ts >= self.next_funding:
                events += self._charge_funding()
            events += self._take(quote)
        for symbol in self.quotes:
            self._tell_bars(symbol, self.bars.roll(symbol, ts), self.seconds.roll(symbol, ts))
        while ts >= self.next_funding:
            events += self._charge_funding()
        return events + self.core.advance(ts)

    def _take(self, quote: Quote) -> list[Event]:
        core, symbol = self.core, quote.symbol
        quote = on_grid(quote, core.instrument(symbol))
        events = core.on_book(symbol, quote.bids, quote.asks, quote.ts)
        events += core.on_index(symbol, quote.index, quote.ts)
        events += core.on_mark(symbol, quote.mark, quote.ts)
        if quote.size:
            events += core.on_trade(symbol, quote.price, quote.size, quote.side, quote.ts)
        self.quotes[symbol] = quote
        self._tell_bars(symbol, self.bars.on_quote(quote), self.seconds.on_quote(quote))
        self.on_quote(quote)  # after the bars that ended before it
        return events

    def _tell_bars(self, symbol: str, minutes: list[Bar], seconds: list[Bar]) -> None:
        for bar in seconds:
            self.on_second(symbol, bar)
        for bar in minutes:
            self.on_bar(symbol, bar)

    def _charge_funding(self) -> list[Event]:
        events: list[Event] = []
        for symbol, quote in self.quotes.items():
            charges = self.funding.setdefault(symbol, [])
            charges.append(FundingCharge(self.next_funding, quote.funding_rate))
            del charges[:-_FUNDING_KEPT]
            events += self.core.on_funding(symbol, quote.funding_rate, self.next_funding)
        self.next_funding += FUNDING_NS
        return events
