"""What sockets are told of the market: coalesced in real time, closed candles at once and exactly once."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Final

from engine.core.instruments import Instrument
from engine.exchange.matching.records import VenueOrder
from engine.exchange.simulator import wire_market as wire
from engine.exchange.simulator import wire_orders
from engine.exchange.simulator.books import BookFeed
from engine.exchange.simulator.past import Bar
from engine.exchange.simulator.seconds import SECOND
from engine.exchange.simulator.source import Print, Quote
from engine.exchange.simulator.subscriptions import BOOKS, CANDLES, SECONDS, Arg, Subscriber, frame, swap_of
from engine.exchange.simulator.tape import fold
from engine.exchange.simulator.text import Row, ms
from engine.exchange.simulator.world import FUNDING_NS, World

_CANDLE_S: Final = 1.0
_PERIOD_S: Final = {  # shortest real time between two pushes of a channel and market; others: every flush
    "mark-price": 0.2,
    "price-limit": 0.2,
    "open-interest": 3.0,
    "funding-rate": 5.0,
    **dict.fromkeys(CANDLES, _CANDLE_S),
}
_REPEAT_S: Final = {  # pushed again although nothing has changed
    "mark-price": 10.0,
    "index-tickers": 60.0,
    "funding-rate": 30.0,
    "books": 60.0,
    "books5": 60.0,
    "bbo-tbt": 60.0,
}


class MarketPushes:
    """Pushes to the sockets in `sockets`. Times of pushes are real seconds, those in frames engine time."""

    def __init__(self, world: World, sockets: set[Subscriber]) -> None:
        self._world = world
        self._sockets = sockets
        self._versions: dict[str, int] = {}  # of each market: counts its quotes
        self._sent: dict[str, tuple[int, float]] = {}  # channel and market → version, when
        self._flushed_s = 0.0
        self._prints: dict[str, list[Print]] = {}
        self.checksums = False  # a fault: books carry one, and not 0
        self.books: dict[str, BookFeed] = {}
        world.on_quote = self._on_quote
        world.on_bar = self._on_bar
        world.on_second = self._on_second

    def book(self, quote: Quote) -> BookFeed:
        """The chain of a market; it begins at the time, so that it is higher after a restart."""
        return self.books.setdefault(quote.symbol, BookFeed(quote.ts // 1_000_000))

    def _on_quote(self, quote: Quote) -> None:
        self._versions[quote.symbol] = self._versions.get(quote.symbol, 0) + 1
        made = self._world.tape.on_quote(quote)
        if made is not None:
            self._prints.setdefault(quote.symbol, []).append(made)

    def _on_bar(self, symbol: str, minute: Bar) -> None:
        """Every period that ended with this minute, confirmed."""
        listed = self._world.core.instrument(symbol)
        for channel, arg in self._subscribed():
            if channel not in CANDLES or swap_of(arg) != symbol:
                continue
            bar = self._world.bars.just_closed(symbol, minute, CANDLES[channel])
            if bar is not None:
                self._push(arg, [_candle(channel, bar, listed, closed=True)])

    def _on_second(self, symbol: str, second: Bar) -> None:
        arg = {"channel": SECONDS, "instId": symbol}
        if any(f"{SECONDS}:{symbol}" in socket.subscriptions for socket in self._sockets):
            listed = self._world.core.instrument(symbol)
            self._push(arg, [_candle(SECONDS, second, listed, closed=True)])

    def flush(self, now_s: float, now_ns: int) -> None:
        """Send what is due."""
        self._flushed_s = now_s
        for channel, arg in self._subscribed():
            symbol = swap_of(arg)
            quote = self._world.quotes.get(symbol)
            if quote is None:
                continue
            if channel in BOOKS:
                channel = BOOKS[0]  # noqa: PLW2901 - they are told together
            sent, at_s = self._sent.get(f"{channel}:{symbol}", (0, -_REPEAT_S["books"]))
            version = self._versions.get(symbol, 0)
            moved = version != sent and now_s - at_s >= _PERIOD_S.get(channel, 0.0)
            if moved or now_s - at_s >= _REPEAT_S.get(channel, float("inf")):
                self._sent[f"{channel}:{symbol}"] = (version, now_s)
                self._send(channel, arg, quote, now_ns, moved=moved)
        self._prints.clear()
        for symbol in self._versions.keys() - self._with_book():
            self.books.pop(symbol, None)  # nobody follows it: the next snapshot begins with the newest

    def _with_book(self) -> set[str]:
        return {swap_of(arg) for channel, arg in self._subscribed() if channel in BOOKS}

    def _send(self, channel: str, arg: Arg, quote: Quote, now_ns: int, *, moved: bool) -> None:
        if channel in {"trades", "trades-all"}:
            self._send_trades(channel, arg, quote.symbol)
        elif channel == "books":
            book = self.book(quote)
            row = book.update(quote) if moved else book.heartbeat(now_ns)
            if row is not None:
                self._push_book(quote.symbol, self._summed(book, row))
        else:
            self._push(arg, [self._row(channel, quote, now_ns)])

    def _summed(self, book: BookFeed, row: Row) -> Row:
        return row | {"checksum": book.checksum()} if self.checksums else row

    def _send_trades(self, channel: str, arg: Arg, symbol: str) -> None:
        prints = self._prints.get(symbol, [])
        if channel == "trades-all":
            for made in prints[-20:]:
                self._push(arg, [wire.trade(symbol, made)])
            return
        for made, count in fold(prints):
            self._push(arg, [self._trade(symbol, made, count)])

    def _trade(self, symbol: str, made: Print, count: int) -> Row:
        book = self.books.get(symbol)
        number = book.number if book else made.ts // 1_000_000
        return wire.trade(symbol, made) | {"count": str(count), "seqId": number}

    def _row(self, channel: str, quote: Quote, now_ns: int) -> Any:
        if channel in CANDLES or channel == SECONDS:
            return self._forming(quote.symbol, channel)
        return _ROWS[channel](self, quote, now_ns)

    def _forming(self, symbol: str, channel: str) -> list[str]:
        period = SECOND if channel == SECONDS else CANDLES[channel]
        world = self._world
        bar = world.seconds.newest(symbol) if period is SECOND else world.bars.newest(symbol, period)
        quote, listed = self._world.quotes[symbol], self._world.core.instrument(symbol)
        flat = Bar(period.start(quote.ts), quote.price, quote.price, quote.price, quote.price, quote.size)
        return _candle(channel, bar or flat, listed, closed=False)

    def _ticker(self, quote: Quote, now_ns: int) -> Row:
        listed = self._world.core.instrument(quote.symbol)
        return wire.ticker(quote, listed, self._world.bars.day(quote.symbol, now_ns))

    def _index(self, quote: Quote, now_ns: int) -> Row:
        return wire.index_ticker(quote, self._world.bars.day(quote.symbol, now_ns), now_ns)

    def _funding(self, quote: Quote, now_ns: int) -> Row:
        return wire.funding(quote, self._world.next_funding, FUNDING_NS, now_ns)

    def _interest(self, quote: Quote, now_ns: int) -> Row:
        return wire.open_interest(quote, self._world.core.instrument(quote.symbol), now_ns)

    def _limit(self, quote: Quote, now_ns: int) -> Row:
        return wire.price_limit(quote.symbol, self._world.core.price_limits(quote.symbol), now_ns)

    def book_row(self, quote: Quote, depth: int) -> Row:
        """Levels with the newest number: books5, bbo-tbt and REST."""
        bids, asks = wire.levels(quote.bids, depth), wire.levels(quote.asks, depth)
        number = self.book(quote).number
        return {"asks": asks, "bids": bids, "ts": ms(quote.ts), "seqId": number}

    # -- faults

    def break_chains(self) -> None:
        """The next update of each followed book does not follow what was sent."""
        for book in self.books.values():
            book.break_chain()

    def restart_chains(self) -> None:
        """The numbers of each followed book begin again below, chained."""
        restarted: dict[BookFeed, str] = {}
        for _, arg in self._subscribed():
            if arg["channel"] in BOOKS and (book := self.books.get(swap_of(arg))):
                restarted[book] = swap_of(arg)
        for book, symbol in restarted.items():
            self._push_book(symbol, book.restart())

    # -- one socket

    def greet(self, socket: Subscriber, arg: Arg, now_ns: int) -> None:
        """What a new subscription gets at once: the newest there is."""
        quote = self._world.quotes.get(swap_of(arg))
        channel = arg["channel"]
        if quote is None or channel == "trades-all":
            return
        if channel in BOOKS:
            book = self.book(quote)
            socket.send(frame(arg, [self._summed(book, book.snapshot(quote))], action="snapshot"))
        elif channel == "trades":
            newest = self._world.tape.newest_first(quote.symbol)[:1]
            for made in newest:
                socket.send(frame(arg, [self._trade(quote.symbol, made, 1)]))
        else:
            socket.send(frame(arg, [self._row(channel, quote, now_ns)]))
            told = (self._versions.get(quote.symbol, 0), self._flushed_s)
            self._sent.setdefault(f"{channel}:{quote.symbol}", told)

    def _subscribed(self) -> Iterable[tuple[str, Arg]]:
        """Each subscription to a market once, whatever the number of sockets."""
        wanted: dict[str, Arg] = {}
        for socket in self._sockets:
            for name, arg in socket.subscriptions.items():
                if "instId" in arg and (arg["channel"] in _ROWS or arg["channel"] in _OTHERS):
                    wanted.setdefault(name, arg)
        return [(arg["channel"], arg) for arg in wanted.values()]

    def _push_book(self, symbol: str, row: Row) -> None:
        for channel in BOOKS:
            self._push({"channel": channel, "instId": symbol}, [row], action="update")

    def tell_liquidations(self, orders: Iterable[VenueOrder]) -> None:
        """Push forced orders that have ended to those who follow liquidation-orders."""
        rows = [wire_orders.liquidation(order) for order in orders]
        for socket in tuple(self._sockets):
            for arg in tuple(socket.subscriptions.values()):
                if rows and arg["channel"] == "liquidation-orders":
                    socket.send(frame(arg, rows))

    def _push(self, arg: Arg, rows: list[Any], **more: Any) -> None:
        text = frame(arg, rows, **more)
        name = f"{arg['channel']}:{arg['instId']}"
        for socket in tuple(self._sockets):
            if name in socket.subscriptions:
                socket.send(text)


def _candle(channel: str, bar: Bar, listed: Instrument, *, closed: bool) -> list[str]:
    if channel.startswith("candle"):
        return wire.candle(bar, listed, closed=closed)
    return wire.price_candle(bar, closed=closed)


_OTHERS: Final = frozenset(["trades", "trades-all", *BOOKS, SECONDS, *CANDLES])
_ROWS: Final[dict[str, Callable[[MarketPushes, Quote, int], Row]]] = {
    "tickers": MarketPushes._ticker,
    "mark-price": lambda _, quote, now_ns: wire.mark_price(quote, now_ns),
    "index-tickers": MarketPushes._index,
    "funding-rate": MarketPushes._funding,
    "open-interest": MarketPushes._interest,
    "price-limit": MarketPushes._limit,
    "books5": lambda pushes, quote, _: pushes.book_row(quote, 5) | {"instId": quote.symbol},
    "bbo-tbt": lambda pushes, quote, _: pushes.book_row(quote, 1),
}
