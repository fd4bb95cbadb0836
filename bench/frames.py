"""A market of our own making, in OKX's wire shape and as the events that the frames mean.

The events are made beside the frames, not from them, so that they can judge a decoder.
Shapes: https://www.okx.com/docs-v5/en/#order-book-trading-market-data.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Final, NamedTuple

import msgspec

from engine.core.market import BookTop, Candle, Level, MarketEvent, MarkPrice, Side, Ticker, Trade
from engine.core.times import NS_PER_MIN, NS_PER_MS, NS_PER_S, timeframe_ns

START: Final = 1_790_000_100 * NS_PER_S // (15 * NS_PER_MIN) * (15 * NS_PER_MIN)
LATENCY: Final = 3 * NS_PER_MS
_DEPTH: Final = 5
_STEPS: Final = 6  # a minute
_NORMAL: Final = 0.0006  # deviation of a step as a fraction of the price
_BARS: Final = {"1m": "candle1m"}


class Frame(NamedTuple):
    channel: str
    data: bytes
    ts_recv: int
    event: MarketEvent


class _Bar:
    """The minute in the making, as texts with one decimal, so that frame and event agree exactly."""

    def __init__(self, ts_open: int, price: float) -> None:
        self.ts_open = ts_open
        self.open = self.high = self.low = self.close = price
        self.volume = 0.0

    def move(self, price: float, coins: float) -> None:
        self.high, self.low, self.close = max(self.high, price), min(self.low, price), price
        self.volume = round(self.volume + coins, 4)


class Market:
    """One symbol that walks at random. The same seed makes the same frames."""

    def __init__(self, symbol: str, seed: int, price: float = 60_000.0) -> None:
        self.symbol = symbol
        self.price = price
        self._random = random.Random(seed)  # noqa: S311 - a synthetic market
        self._trades = 0

    def history(self, minutes: int) -> list[Candle]:
        """Closed one-minute candles that end at START."""
        candles = []
        for number in range(minutes):
            bar = _Bar(START - (minutes - number) * NS_PER_MIN, self.price)
            for _ in range(_STEPS):
                bar.move(self._step(), self._coins())
            candles.append(self._candle(bar, closed=True, ts_recv=0))
        return candles

    def minute(self, number: int) -> Iterator[Frame]:
        """Frames of the minute `number` after START, in order; the last one closes its candle."""
        bar = _Bar(START + number * NS_PER_MIN, self.price)
        for step in range(_STEPS):
            ts = bar.ts_open + step * (NS_PER_MIN // _STEPS) + NS_PER_S
            price, coins = self._step(), self._coins()
            bar.move(price, coins)
            yield self._trade(price, coins, ts)
            yield self._ticker(price, ts)
            yield self._book(price, ts)
            yield self._mark(price, ts)
            yield self._bar_frame(bar, ts + LATENCY, closed=False)
        yield self._bar_frame(bar, bar.ts_open + NS_PER_MIN + LATENCY, closed=True)

    def _step(self) -> float:
        # Now and then a jump, so that detectors have something to say.
        size = _NORMAL * (12 if self._random.random() < 0.01 else 1)  # noqa: PLR2004
        self.price = round(self.price * (1 + self._random.gauss(0, size)), 1)
        return self.price

    def _coins(self) -> float:
        return round(self._random.lognormvariate(0, 1) + 0.01, 2)

    def _trade(self, price: float, size: float, ts: int) -> Frame:
        self._trades += 1
        side = Side.BUY if self._random.random() < 0.5 else Side.SELL  # noqa: PLR2004
        row = {
            "instId": self.symbol,
            "tradeId": str(self._trades),
            "px": f"{price}",
            "sz": f"{size}",
            "side": side.value,
            "ts": str(ts // NS_PER_MS),
            "count": "1",
            "source": "0",
            "seqId": self._trades,
        }
        event = Trade(self.symbol, price, size, side, str(self._trades), ts, ts + LATENCY)
        return self._frame("trades", row, event)

    def _ticker(self, price: float, ts: int) -> Frame:
        bid, ask = round(price - 0.1, 1), round(price + 0.1, 1)
        row = {"instType": "SWAP", "instId": self.symbol, "last": f"{price}", "lastSz": "1.5"}
        row |= {"askPx": f"{ask}", "askSz": "210.4", "bidPx": f"{bid}", "bidSz": "88.2"}
        row |= {"open24h": "59000.5", "high24h": "61000", "low24h": "58000"}
        row |= {"volCcy24h": "91234.5", "vol24h": "9123450", "ts": str(ts // NS_PER_MS)}
        row |= {"sodUtc0": "59500", "sodUtc8": "59600"}
        event = Ticker(
            symbol=self.symbol,
            last=price,
            bid=bid,
            ask=ask,
            bid_size=88.2,
            ask_size=210.4,
            volume_24h=91234.5,
            open_24h=59000.5,
            ts_event=ts,
            ts_recv=ts + LATENCY,
        )
        return self._frame("tickers", row, event)

    def _book(self, price: float, ts: int) -> Frame:
        sizes = [self._coins() for _ in range(2 * _DEPTH)]
        bids = tuple(Level(round(price - 0.1 * (n + 1), 1), sizes[n]) for n in range(_DEPTH))
        asks = tuple(Level(round(price + 0.1 * (n + 1), 1), sizes[_DEPTH + n]) for n in range(_DEPTH))
        row = {
            "asks": [[f"{each.price}", f"{each.size}", "0", "3"] for each in asks],
            "bids": [[f"{each.price}", f"{each.size}", "0", "3"] for each in bids],
            "instId": self.symbol,
            "ts": str(ts // NS_PER_MS),
            "seqId": ts // NS_PER_MS,
        }
        return self._frame("books5", row, BookTop(self.symbol, bids, asks, ts, ts + LATENCY))

    def _mark(self, price: float, ts: int) -> Frame:
        row = {"instType": "SWAP", "instId": self.symbol, "markPx": f"{price}", "ts": str(ts // NS_PER_MS)}
        return self._frame("mark-price", row, MarkPrice(self.symbol, price, ts, ts + LATENCY))

    def _bar_frame(self, bar: _Bar, ts_recv: int, *, closed: bool) -> Frame:
        prices = [f"{value}" for value in (bar.open, bar.high, bar.low, bar.close)]
        volume = f"{bar.volume}"
        row = [str(bar.ts_open // NS_PER_MS), *prices, volume, volume, "1000000", "1" if closed else "0"]
        return self._frame(_BARS["1m"], row, self._candle(bar, closed=closed, ts_recv=ts_recv))

    def _candle(self, bar: _Bar, *, closed: bool, ts_recv: int) -> Candle:
        ts_close = bar.ts_open + timeframe_ns("1m")
        ts_event = ts_close if closed else ts_recv
        prices = (bar.open, bar.high, bar.low, bar.close)
        return Candle(self.symbol, "1m", bar.ts_open, *prices, bar.volume, closed, ts_event, ts_recv)

    def _frame(self, channel: str, row: object, event: MarketEvent) -> Frame:
        body = {"arg": {"channel": channel, "instId": self.symbol}, "data": [row]}
        return Frame(channel, msgspec.json.encode(body), event.ts_recv, event)


def book_frames(
    symbol: str, updates: int, depth: int = 400
) -> tuple[list[bytes], dict[str, dict[float, float]]]:
    """A snapshot and updates of the channel `books`, and the two sides as they are after the last one."""
    rng = random.Random(4)  # noqa: S311
    sides: dict[str, dict[float, float]] = {
        "bids": {round(60_000 - 0.1 * (n + 1), 1): 1.0 + n for n in range(depth)},
        "asks": {round(60_000 + 0.1 * (n + 1), 1): 1.0 + n for n in range(depth)},
    }
    whole = {name: list(levels.items()) for name, levels in sides.items()}
    frames = [_book_frame(symbol, "snapshot", whole, 0)]
    for sequence in range(1, updates + 1):
        changed: dict[str, list[tuple[float, float]]] = {}
        for name, sign in (("bids", -1), ("asks", 1)):
            rows = []
            for level in rng.sample(range(1, depth + 1), 8):
                at = round(60_000 + sign * 0.1 * level, 1)
                size = 0.0 if rng.random() < 0.25 else round(rng.random() * 500 + 0.01, 2)  # noqa: PLR2004
                rows.append((at, size))
                if size:
                    sides[name][at] = size
                else:
                    sides[name].pop(at, None)
            changed[name] = rows
        frames.append(_book_frame(symbol, "update", changed, sequence))
    return frames, sides


def _book_frame(symbol: str, action: str, rows: dict[str, list[tuple[float, float]]], sequence: int) -> bytes:
    texts = {name: [[f"{at}", f"{size}", "0", "2"] for at, size in levels] for name, levels in rows.items()}
    row = {
        "asks": texts["asks"],
        "bids": texts["bids"],
        "ts": str(START // NS_PER_MS + sequence),
        "checksum": 0,
        "seqId": 100 + sequence,
        "prevSeqId": -1 if action == "snapshot" else 99 + sequence,
    }
    body = {"arg": {"channel": "books", "instId": symbol}, "action": action, "data": [row]}
    return msgspec.json.encode(body)
