"""One symbol through whole feeds: edgewise, cryptofeed, ccxt.pro, and the bare decode, in the same run."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Final, NamedTuple

from bench.frames import Market, book_frames
from bench.measure import ROUNDS, Kind, Row, Run, Title, of_rounds, same, timed
from bench.peers import CcxtPro, Cryptofeed, Peer, Seen, missing
from bench.wire import Decoders, arg_of, bare_decoder, best_levels, pairs
from engine.clock import SystemClock, cancelled
from engine.config.exchange import OkxConfig
from engine.core.errors import CodecError
from engine.core.market import BookTop, Trade
from engine.exchange.okx.dispatch import HEAD, Dispatch
from engine.exchange.okx.feed import OkxMarketFeed
from engine.exchange.okx.links import PUBLIC

_SYMBOL: Final = "BTC-USDT-SWAP"
_MIXED: Final = frozenset({"trades", "tickers"})
_YIELD_EVERY: Final = 200  # frames that a busy socket may hand over before the reader of events has its turn
_MOST_TRADES: Final = 900  # ccxt.pro remembers 1,000
_AIMS: Final[Mapping[str, float]] = {Cryptofeed.name: 5.0, CcxtPro.name: 20.0}


def feeds(run: Run) -> list[Row]:
    """Typed decode and dispatch of trades and tickers; then all of a feed, a full book with it."""
    size = run.of(_MOST_TRADES, 60)
    typed = "find the decoder, typed rows, to a handler"
    rows = _beside(run, _TypedRows, _tape(_SYMBOL, size, book=False), ("Trades and tickers", typed), _AIMS)
    words = ("One feed: 3 trades, 3 tickers, 4 updates of a full book", "frame to handler of events")
    return rows + _beside(run, _Edgewise, _tape(_SYMBOL, size, book=True), words, {})


def _beside(
    run: Run,
    ours: Callable[[str], Peer],
    tape: _Tape,
    words: tuple[str, str],
    aims: Mapping[str, float],
) -> list[Row]:
    bare = [(bare_decoder(arg_of(frame).channel), frame) for frame in tape.frames]

    def reference() -> None:
        for decode, frame in bare:
            decode(frame)

    rounds, equal = run.of(ROUNDS, 1), "trades, best levels" if tape.wanted.bids else "trades"
    pairs = [(_timed_feed(ours, tape), timed(reference)) for _ in range(rounds)]
    rows = [of_rounds(Title(*words, "bare msgspec decode", equal), pairs, len(tape.frames))]
    for peer in (Cryptofeed, CcxtPro):
        if missing(peer.package):
            run.notes.append(f"{peer.name} is not installed, so it has no row (make bench installs it)")
            continue
        pairs = [(_timed_feed(ours, tape), _timed_feed(peer, tape)) for _ in range(rounds)]
        title = Title(*words, peer.name, equal, Kind.PEER, aims.get(peer.name))
        rows.append(of_rounds(title, pairs, len(tape.frames)))
    return rows


def _timed_feed(peer: Callable[[str], Peer], tape: _Tape) -> float:
    """Microseconds of all frames, once everything is set up; what was seen is compared afterwards."""
    made = peer(_SYMBOL)
    try:
        if not isinstance(made, _TypedRows):
            made.take([tape.snapshot])
        took = timed(lambda: made.take(tape.frames))
        seen = made.seen()
    finally:
        made.close()
    levels = (seen.bids, seen.asks) if tape.wanted.bids else ((), ())
    found = Seen(seen.trades, round(seen.contracts, 6), *levels)
    same(f"trades and book of {made.name}", found, tape.wanted)
    return took


class _TypedRows:
    """The first half of the feed: checked rows of the venue, handed to somebody who keeps the newest."""

    name = "edgewise, typed rows"

    def __init__(self, symbol: str) -> None:
        self._newest: deque[Any] = deque(maxlen=1)
        self._frames: list[bytes] = []
        self._decoders = Decoders()

    def take(self, frames: Sequence[bytes]) -> None:
        self._read(frames, self._newest.append)
        self._frames += frames

    def _read(self, frames: Sequence[bytes], hand_over: Callable[[Any], object]) -> None:
        decoders = self._decoders
        for frame in frames:
            hand_over(decoders[frame[:HEAD]](frame))

    def seen(self) -> Seen:
        """Of the same frames, read once more."""
        pushes = list[Any]()
        self._read(self._frames, pushes.append)
        sizes = [row.sz for push in pushes for row in push.data if hasattr(row, "sz")]
        return Seen(len(sizes), sum(sizes), (), ())

    def close(self) -> None:
        """Nothing is open."""


class _Edgewise:
    """The feed of the engine, from the frame to the reader of its events."""

    name = "edgewise"

    def __init__(self, symbol: str) -> None:
        self._loop = asyncio.new_event_loop()
        self._clock = SystemClock()
        self._feed = OkxMarketFeed(OkxConfig(book_channel="books"), (symbol,), (), self._clock)
        self._data = Dispatch(partial(self._feed.reader, PUBLIC), _refused)
        self._trades, self._contracts, self._top = 0, 0.0, BookTop(symbol, (), (), 0)

    def take(self, frames: Sequence[bytes]) -> None:
        self._loop.run_until_complete(self._feed_all(frames))

    async def _feed_all(self, frames: Sequence[bytes]) -> None:
        reader = asyncio.create_task(self._read(), name="reader")
        for at in range(0, len(frames), _YIELD_EVERY):
            ts_recv = self._clock.now_ns()
            self._data.take(list(frames[at : at + _YIELD_EVERY]), 0, ts_recv)
            self._feed.on_read()
            await asyncio.sleep(0)
        await asyncio.sleep(0)
        await cancelled(reader)

    async def _read(self) -> None:
        async for events in self._feed.events():
            for event in events:
                if isinstance(event, Trade):
                    self._trades += 1
                    self._contracts += event.size
                elif isinstance(event, BookTop):
                    self._top = event

    def seen(self) -> Seen:
        return Seen(self._trades, self._contracts, pairs(self._top.bids), pairs(self._top.asks))

    def close(self) -> None:
        self._loop.run_until_complete(self._feed.close())
        self._loop.close()


def _refused(channel: str, error: CodecError) -> None:
    """A frame that did not parse, which the tape has none of."""
    raise error


class _Tape(NamedTuple):
    """A snapshot of the book, then trades and tickers, with or without updates of the book between them."""

    snapshot: bytes
    frames: list[bytes]
    wanted: Seen


def _tape(symbol: str, size: int, *, book: bool) -> _Tape:
    updates, sides = book_frames(symbol, size * 4 // 3)
    market, frames, trades, minute = Market(symbol, 3), list[bytes](), list[Trade](), 0
    waiting = updates[1:] if book else []
    while len(trades) < size:
        for frame in market.minute(minute):
            if frame.channel not in _MIXED:
                continue
            frames.append(frame.data)
            if isinstance(frame.event, Trade):
                trades.append(frame.event)
            elif waiting:
                frames.append(waiting.pop(0))
        minute += 1
    levels = best_levels(sides) if book else ((), ())
    wanted = Seen(len(trades), round(sum(trade.size for trade in trades), 6), *levels)
    return _Tape(updates[0], frames + waiting, wanted)
