"""What sockets are told: quotes coalesced in real time, accounts at once, closed candles exactly once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any, Final, Protocol

import msgspec

from engine.core.instruments import Instrument
from engine.core.times import TIMEFRAMES, timeframe_ns
from engine.exchange.matching.records import AlgoChanged, BalanceChanged, Event, OrderChanged, PositionChanged
from engine.exchange.simulator import wire
from engine.exchange.simulator.source import Bar, Quote
from engine.exchange.simulator.world import FUNDING_NS, World

Arg = dict[str, str]
_BOOK_DEPTH: Final = {"books5": 5, "bbo-tbt": 1, "books": 400}
_QUOTE_CHANNELS: Final = (
    "tickers",
    "mark-price",
    "index-tickers",
    "funding-rate",
    "price-limit",
    "open-interest",
)
CANDLES: Final = {  # channel → timeframe: candle1m, candle4H, candle1D
    f"candle{name if name[-1] == 'm' else name.upper()}": name for name in TIMEFRAMES
}
PRIVATE: Final = frozenset(
    {"orders", "positions", "account", "balance_and_position", "orders-algo", "algo-advance"}
)
_ENCODER: Final = msgspec.json.Encoder()


class Subscriber(Protocol):
    """One socket. `account` is "" until it has logged in."""

    account: str
    subscriptions: dict[str, Arg]

    def send(self, text: str) -> None: ...


class Hub:
    """Knows the sockets; turns quotes and events into frames."""

    def __init__(self, world: World, uid: str) -> None:
        self._world = world
        self._uid = uid
        self.sockets: set[Subscriber] = set()
        self._trades: dict[str, list[wire.Row]] = {}
        self._dirty: set[str] = set()
        self._trade_id = 0
        self._sequence: Counter[str] = Counter()
        self.silent_until_s = 0.0
        world.on_quote = self._on_quote
        world.on_bar = self._on_bar

    # -- market

    def _on_quote(self, quote: Quote) -> None:
        self._dirty.add(quote.symbol)
        self._trade_id += 1
        trades = self._trades.setdefault(quote.symbol, [])
        trades.append(wire.trade(quote, quote.ts // 1_000_000 * 100 + self._trade_id % 100))
        del trades[:-50]

    def _on_bar(self, symbol: str, minute: Bar) -> None:
        """Every period that ended with this minute, confirmed."""
        listed = self._world.core.instrument(symbol)
        for channel, name in CANDLES.items():
            if not self._wanted(channel, symbol):
                continue
            bar = self._world.bars.just_closed(symbol, minute, timeframe_ns(name))
            if bar is not None:
                self._push({"channel": channel, "instId": symbol}, [wire.candle(bar, listed, closed=True)])

    def flush(self) -> None:
        """Send the newest of every market that moved since the last call."""
        for symbol in self._dirty:
            quote = self._world.quotes[symbol]
            for channel in _QUOTE_CHANNELS:
                named = symbol.removesuffix("-SWAP") if channel == "index-tickers" else symbol
                if self._wanted(channel, named):
                    self._push({"channel": channel, "instId": named}, [self._row(channel, quote)])
            if self._wanted("trades", symbol) and self._trades.get(symbol):
                for row in self._trades[symbol]:
                    self._push({"channel": "trades", "instId": symbol}, [row])
            self._push_books(quote)
            self._push_forming(symbol)
        self._trades.clear()
        self._dirty.clear()

    def _row(self, channel: str, quote: Quote) -> wire.Row:
        core, symbol = self._world.core, quote.symbol
        stamp = wire.ms(quote.ts)
        listed = core.instrument(symbol)
        if channel == "tickers":
            return wire.ticker(quote, listed, self._world.bars.day(symbol, quote.ts))
        if channel == "mark-price":
            return {"instId": symbol, "instType": "SWAP", "markPx": wire.num(quote.mark), "ts": stamp}
        if channel == "index-tickers":
            return wire.index_ticker(quote, self._world.bars.day(symbol, quote.ts))
        if channel == "funding-rate":
            return wire.funding(quote, self._world.next_funding, FUNDING_NS)
        if channel == "open-interest":
            return wire.open_interest(quote, listed)
        low_high = core.price_limits(symbol)
        buy, sell = low_high if low_high else (quote.mark, quote.mark)
        limits = {"buyLmt": wire.num(buy), "sellLmt": wire.num(sell), "enabled": True}
        return {"instId": symbol, "instType": "SWAP", "ts": stamp, **limits}

    def _push_books(self, quote: Quote) -> None:
        previous = self._sequence[quote.symbol]
        self._sequence[quote.symbol] += 3
        for channel, depth in _BOOK_DEPTH.items():
            if not self._wanted(channel, quote.symbol):
                continue
            row = self.book(quote, depth)
            arg = {"channel": channel, "instId": quote.symbol}
            if channel == "books":  # always a whole book: every frame is a snapshot
                row |= {"checksum": 0, "prevSeqId": -1}
                self._push(arg, [row], action="snapshot")
            else:
                self._push(
                    arg, [row | ({"instId": quote.symbol, "prevSeqId": previous} if depth > 1 else {})]
                )

    def book(self, quote: Quote, depth: int) -> wire.Row:
        """Levels with the newest sequence number."""
        return {
            "asks": wire.levels(quote.asks, depth),
            "bids": wire.levels(quote.bids, depth),
            "ts": wire.ms(quote.ts),
            "seqId": self._sequence[quote.symbol],
        }

    def _push_forming(self, symbol: str) -> None:
        for channel, name in CANDLES.items():
            if self._wanted(channel, symbol):
                bar = self._world.bars.newest(symbol, timeframe_ns(name))
                if bar is not None:
                    row = wire.candle(bar, self._world.core.instrument(symbol), closed=False)
                    self._push({"channel": channel, "instId": symbol}, [row])

    def _wanted(self, channel: str, symbol: str) -> bool:
        key = f"{channel}:{symbol}"
        return any(key in socket.subscriptions for socket in self.sockets)

    # -- accounts

    def on_events(self, events: Iterable[Event]) -> None:
        """Tell each account's sockets what happened to it."""
        for event in events:
            match event:
                case OrderChanged(order, fill):
                    quote = self._world.quotes.get(order.symbol)
                    last = quote.price if quote else order.price or order.size
                    self._tell("orders", order.account, order.symbol, wire.order(order, last, fill))
                case AlgoChanged(algo):
                    trailing = algo.request.algo_type == "move_order_stop"
                    channel = "algo-advance" if trailing else "orders-algo"
                    self._tell(channel, algo.account, algo.request.symbol, wire.algo(algo))
                case PositionChanged(position):
                    self._tell("positions", position.account, position.symbol, wire.position(position))
                case BalanceChanged(balance):
                    self._tell("account", balance.account, "", wire.balance(balance))
                case _:
                    continue

    def _tell(self, channel: str, account: str, symbol: str, row: wire.Row) -> None:
        for socket in tuple(self.sockets):
            if socket.account != account:
                continue
            for arg in tuple(socket.subscriptions.values()):
                if arg["channel"] == channel and arg.get("instId", symbol) == symbol:
                    socket.send(self.private_frame(arg, [row], "event_update"))

    def snapshot(self, socket: Subscriber, arg: Arg) -> None:
        """What the venue sends first on a private channel: all positions, or the balance."""
        core, account = self._world.core, socket.account
        if arg["channel"] == "positions":
            held = [p for p in core.positions(account) if arg.get("instId", p.symbol) == p.symbol]
            rows = [wire.position(position) for position in held]
        elif arg["channel"] == "account":
            rows = [wire.balance(core.balance(account))]
        else:
            return
        socket.send(self.private_frame(arg, rows, "snapshot"))

    def private_frame(self, arg: Arg, rows: list[wire.Row], event_type: str) -> str:
        """One push to an account; only account and positions carry pages."""
        frame: dict[str, Any] = {"arg": arg | {"uid": self._uid}}
        if arg["channel"] in {"account", "positions"}:
            frame |= {"eventType": event_type, "curPage": 1, "lastPage": True}
        return _ENCODER.encode(frame | {"data": rows}).decode()

    # -- frames

    def refresh(self, symbol: str) -> None:
        """Have a market sent with the next flush although it has not moved: somebody new listens."""
        swap = symbol if symbol.endswith("-SWAP") else f"{symbol}-SWAP"
        if swap in self._world.quotes:
            self._dirty.add(swap)

    @staticmethod
    def instruments_frame(arg: Arg, listed: list[tuple[Instrument, int]]) -> str:
        """All swaps, as the instruments channel sends them first."""
        rows = [wire.instrument(each, code) for each, code in listed]
        return _ENCODER.encode({"arg": arg, "data": rows}).decode()

    def _push(self, arg: Arg, rows: list[Any], action: str = "") -> None:
        frame: dict[str, Any] = {"arg": arg}
        if action:
            frame["action"] = action
        text = _ENCODER.encode(frame | {"data": rows}).decode()
        key = f"{arg['channel']}:{arg['instId']}"
        for socket in tuple(self.sockets):
            if key in socket.subscriptions:
                socket.send(text)
