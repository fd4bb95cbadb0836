"""OKX's public market data as one stream of events."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from functools import partial
from typing import Final

import structlog

from engine.clock import Clock
from engine.config.exchange import OkxConfig
from engine.core.errors import CodecError, Defect, Rejected, Unavailable
from engine.core.instruments import Instrument
from engine.core.market import PRICE_LIMIT, Candle, ChannelState, FeedStatus, MarketEvent
from engine.core.times import NS_PER_MS
from engine.exchange.okx import market_wire, reference_wire
from engine.exchange.okx.book import OrderBook, Resync
from engine.exchange.okx.book_check import BookCheck
from engine.exchange.okx.book_reader import BookReader
from engine.exchange.okx.buffer import EventBuffer
from engine.exchange.okx.dispatch import FrameReader
from engine.exchange.okx.frames import Arg
from engine.exchange.okx.freshness import Freshness, Pulse
from engine.exchange.okx.links import BUSINESS, PUBLIC, Network, build
from engine.exchange.okx.market_readers import BARS, INDEX, READERS, Reader, symbol_of
from engine.exchange.okx.repeats import NewTrades
from engine.exchange.okx.rest import RestClient, readable
from engine.exchange.okx.session import Refused
from engine.exchange.okx.tops import ShownTops

log = structlog.get_logger()

_SWAP_CHANNELS: Final = ("trades", "tickers", "mark-price", "funding-rate", "open-interest", PRICE_LIMIT)
_INSTRUMENTS: Final = "instruments"
_WATCH_S: Final = 1.0
_PAGE: Final = 300
_ONLY_HISTORY: Final = frozenset({"1s"})  # bars that market/candles does not know
_RECENT_BARS: Final = 1400  # market/candles keeps 1,440; beyond it the history endpoint


class OkxMarketFeed:
    """`MarketFeed` of OKX for some swaps and timeframes. See engine.exchange.ports.MarketFeed.

    `run` keeps a public and a business socket. Raises VenueMisconfigured only for a wrong address or region.
    Every channel of a symbol has a FeedStatus: LIVE with its first data, STALE when it is silent for longer
    than its threshold or was refused. `on_listed` is told what the venue lists, and whether that is all of it
    (what is missing then is traded no more), at every change. Counters are for metrics.
    """

    def __init__(
        self,
        config: OkxConfig,
        symbols: Sequence[str],
        timeframes: Sequence[str],
        clock: Clock,
        network: Network | None = None,
    ) -> None:
        self._config, self._clock = config, clock
        self._rest = RestClient(config, clock)
        self._buffer = EventBuffer(config.queue_limit)
        self._books = {symbol: OrderBook(symbol) for symbol in symbols}
        self._resync = Resync()
        self._trades, self._tops = NewTrades(self._buffer.append), ShownTops(self._buffer.append)
        every_s = config.timeouts.book_check
        self.book_check = BookCheck(self._tops, self._rest, clock, every_s, self._distrust)
        self._public_args = tuple(_public_args(symbols, config.book_channel))
        self._business_args = tuple(
            Arg(market_wire.candle_channel(timeframe), symbol)
            for symbol in symbols
            for timeframe in timeframes
        )
        keys = [(symbol_of(arg), arg.channel) for arg in self._public_args + self._business_args]
        self._freshness = Freshness((key for key in keys if key[0]), config.stale_s, clock.real_s())
        self._readers: dict[tuple[str, str], Reader] = {}  # by symbol and channel
        self._listings = 0  # frames of instruments
        make = build(config, network or Network.of(config), clock, self)
        self._public = make(PUBLIC, self._public_args, None)
        self._business = make(BUSINESS, self._business_args, None)
        self._public.on_read = self._business.on_read = self.on_read
        self.on_listed: Callable[[Sequence[Instrument], bool], None] = _unheard
        self.refused: dict[tuple[str, str], str] = {}  # (symbol, channel) → code and text
        self.book_gaps = 0

    async def run(self) -> None:
        """Bring events until cancelled."""
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._public.run(), name="public socket")
                if self._business_args:
                    tasks.create_task(self._business.run(), name="business socket")
                tasks.create_task(self._watch(), name="freshness of market data")
                tasks.create_task(self.book_check.run(), name="order books beside REST")
                tasks.create_task(self._relist(), name="list of instruments")
        finally:
            await self._rest.close()

    async def close(self) -> None:
        """End the REST connections; `run` does so by itself."""
        await self._rest.close()

    async def events(self) -> AsyncIterator[Sequence[MarketEvent]]:
        """Everything in order of arrival. Full: see EventBuffer."""
        while True:
            yield await self._buffer.take()

    async def instruments(self) -> tuple[Instrument, ...]:
        """Every linear swap of the settlement currency. Raises Unavailable, Rejected."""
        body = await self._rest.get("public/instruments", {"instType": "SWAP"}, private=False)
        return self._list(readable(reference_wire.decode_instruments, body), whole=True)

    async def candles(self, symbol: str, timeframe: str, limit: int) -> tuple[Candle, ...]:
        """The newest `limit` closed candles, oldest first. Raises Unavailable, Rejected, KeyError."""
        bar, found, after, asked = BARS[timeframe], dict[int, Candle](), "", 0
        while len(found) < limit:
            recent = asked < _RECENT_BARS and timeframe not in _ONLY_HISTORY
            endpoint = "market/candles" if recent else "market/history-candles"
            query = {"instId": symbol, "bar": bar, "limit": str(min(_PAGE, limit - len(found) + 1))}
            if after:
                query["after"] = after
            body = await self._rest.get(endpoint, query, symbol=symbol, private=False)
            page = readable(lambda raw: market_wire.decode_candles(raw, symbol, timeframe), body)
            known = len(found)
            found |= {candle.ts_open: candle for candle in page}
            if len(found) == known:
                break
            after, asked = str(page[0].ts_open // NS_PER_MS), asked + len(page)
        return tuple(found[ts] for ts in sorted(found)[-limit:])

    @property
    def dropped(self) -> int:
        """Events that the reader was too slow for."""
        return self._buffer.dropped

    @property
    def pushes(self) -> dict[str, int]:
        """Data frames so far, by channel."""
        pushes = Counter(instruments=self._listings)
        for (_, channel), reader in self._readers.items():
            pushes[channel] += reader.pushes
        return +pushes

    @property
    def frames(self) -> int:
        return self._public.frames + self._business.frames

    @property
    def bad_frames(self) -> Counter[tuple[str, str]]:
        """Frames that did not parse, by channel ("" where it is none of ours) and defect."""
        return self._public.bad_frames + self._business.bad_frames

    @property
    def connections(self) -> dict[str, int]:
        """Connections opened so far, by socket; more than one means that it reconnected."""
        return {PUBLIC: self._public.connections, BUSINESS: self._business.connections}

    @property
    def ends(self) -> dict[str, dict[str, int]]:
        """Connections that ended, by socket and close code ("" where there was none)."""
        return {PUBLIC: self._public.ends, BUSINESS: self._business.ends}

    @property
    def connected(self) -> dict[str, bool]:
        return {PUBLIC: self._public.up, BUSINESS: self._business.up}

    def ages_s(self) -> dict[tuple[str, str], float]:
        """Real seconds since the last data, by (symbol, channel)."""
        return self._freshness.ages_s(self._clock.real_s())

    def take_delays_ns(self) -> list[int]:
        """From the venue's time to ours, of the newest trades since the last call.

        Trades only: tickers, prices and candles carry the time of a state, which may be old when it is sent.
        """
        return self._trades.take_delays_ns()

    # -- what the links tell

    def reader(self, link: str, arg: Arg) -> FrameReader:
        """Decode and queue. Raises CodecError."""
        if arg.channel == _INSTRUMENTS:
            return self._on_listing
        key = (symbol_of(arg), arg.channel)
        if key not in self._readers:
            self._readers[key] = self._make_reader(key)
        return self._readers[key].read

    def on_read(self) -> None:
        """All frames that came together were read: their events may be taken."""
        self._buffer.settle()

    def on_up(self, link: str) -> None:
        log.info("market data connected", link=link)

    def on_down(self, link: str, reason: str) -> None:
        """Every channel of the socket is stale at once, and live again with its first data."""
        log.warning("market data lost", link=link, reason=reason)
        for arg in self._public_args if link == PUBLIC else self._business_args:
            key = (symbol_of(arg), arg.channel)
            self.refused.pop(key, None)
            self._silence(key)
        if link == PUBLIC:
            for symbol, book in self._books.items():
                book.invalidate()
                self._tops.forget(symbol)

    def on_refused(self, link: str, refused: Refused) -> None:
        """A subscription that will bring nothing: its channel is stale from now on."""
        arg = refused.arg
        key = (symbol_of(arg), arg.channel)
        self.refused[key] = f"{refused.code} {refused.message}".strip()
        log.error("subscription refused", link=link, channel=arg.channel, symbol=key[0], code=refused.code)
        self._silence(key)

    def on_bad_frame(self, link: str, error: CodecError) -> None:
        log.warning("frame did not parse", link=link, error=str(error))

    # -- inside

    def _make_reader(self, key: tuple[str, str]) -> Reader:
        symbol, channel = key
        pulse = self._freshness.pulse(key)
        if pulse is None:
            raise CodecError(f"no subscription {channel[:40]!r} of {symbol[:40]!r}", defect=Defect.UNKNOWN)
        heard = partial(self._heard, key, pulse)
        if channel == "books":
            return BookReader(self._books[symbol], self._on_gap, self._tops.put, pulse, heard)
        puts = {"trades": self._trades.put, self._config.book_channel: self._tops.put}
        return READERS[channel](symbol, puts.get(channel, self._buffer.append), pulse, heard)

    def _heard(self, key: tuple[str, str], pulse: Pulse, ts_recv: int) -> None:
        if pulse.heard(self._clock.real_s()):
            self._status(key, ChannelState.LIVE, ts_recv)

    def _on_listing(self, frame: bytes, ts_recv: int) -> None:
        self._listings += 1
        self._list(reference_wire.decode_instruments(frame), whole=False)

    def _on_gap(self, symbol: str) -> None:
        self.book_gaps += 1
        log.warning("order book has a gap", symbol=symbol)
        self._distrust(symbol)

    def _distrust(self, symbol: str) -> None:
        """The book is wrong: stale at once, and a new snapshot is asked for with back-off."""
        self._books[symbol].invalidate()
        self._tops.forget(symbol)
        self._resync.want(symbol, self._clock.real_s())
        self._silence((symbol, self._config.book_channel))

    def _list(self, found: Sequence[Instrument], *, whole: bool) -> tuple[Instrument, ...]:
        ours = tuple(each for each in found if each.settle == self._config.settle_currency)
        self.on_listed(ours, whole)
        return ours

    async def _relist(self) -> None:
        """Read the whole list from time to time: the channel may be away when something changes."""
        while True:
            await self._clock.sleep_real(self._config.timeouts.listing)
            try:
                await self.instruments()
            except (Unavailable, Rejected) as error:
                log.warning("instruments not read", error=str(error))

    async def _watch(self) -> None:
        """Once a second: silent channels, and books that need a new snapshot."""
        while True:
            await self._clock.sleep_real(_WATCH_S)
            for key in self._freshness.overdue(self._clock.real_s()):
                log.warning("channel is silent", symbol=key[0], channel=key[1])
                self._status(key, ChannelState.STALE)
                if key[1] == self._config.book_channel:  # not even a keep-alive
                    self._distrust(key[0])
            for symbol in self._resync.due(self._clock.real_s()):
                await self._public.resubscribe(Arg(self._config.book_channel, symbol))

    def _silence(self, key: tuple[str, str]) -> None:
        if self._freshness.silence(key):
            self._status(key, ChannelState.STALE)

    def _status(self, key: tuple[str, str], state: ChannelState, ts: int = 0) -> None:
        ts = ts or self._clock.now_ns()
        self._buffer.append(FeedStatus(key[0], key[1], state, ts, ts))
        self._buffer.settle()


def _unheard(found: Sequence[Instrument], whole: bool) -> None:
    """Nobody wants to know what is listed."""


def _public_args(symbols: Sequence[str], book_channel: str) -> Iterable[Arg]:
    for symbol in symbols:
        for channel in (*_SWAP_CHANNELS, book_channel):
            yield Arg(channel, symbol)
        yield Arg(INDEX, symbol.removesuffix("-SWAP"))
    yield Arg(_INSTRUMENTS, instType="SWAP")
