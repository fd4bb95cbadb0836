"""The market feed against a server that does what it is told."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest
import structlog

from engine.clock import SystemClock
from engine.config.values import Duration
from engine.core.errors import InvariantBroken
from engine.core.market import (
    BookTop,
    Candle,
    ChannelState,
    FeedStatus,
    Level,
    MarketEvent,
    MarkPrice,
    Side,
    Trade,
)
from engine.exchange.okx.buffer import EventBuffer
from engine.exchange.okx.feed import OkxMarketFeed
from engine.exchange.okx.freshness import Freshness
from tests.fixtures.okx.scripted import QUICK, ScriptedVenue, ok, running, scripted
from tests.waiting import until

PUBLIC = (Path(__file__).parent / "fixtures" / "okx" / "public.jsonl").read_text().splitlines()
BTC = "BTC-USDT-SWAP"
LIVE, STALE = ChannelState.LIVE, ChannelState.STALE


@pytest.fixture
async def venue() -> AsyncIterator[ScriptedVenue]:
    async with scripted() as server:
        yield server


class Reader:
    """Collects what a feed brings."""

    def __init__(self, feed: OkxMarketFeed) -> None:
        self.feed = feed
        self.events: list[MarketEvent] = []

    async def run(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self.feed.run())
            tasks.create_task(self._read())

    async def _read(self) -> None:
        async for events in self.feed.events():
            self.events += events

    def of(self, kind: type[MarketEvent]) -> list[MarketEvent]:
        return [event for event in self.events if isinstance(event, kind)]

    def states(self, channel: str) -> list[ChannelState]:
        return [e.state for e in self.events if isinstance(e, FeedStatus) and e.channel == channel]


def trade(trade_id: str) -> dict[str, object]:
    row = {"instId": BTC, "tradeId": trade_id, "px": "50000", "sz": "1", "side": "buy", "ts": "1700000000123"}
    return {"arg": {"channel": "trades", "instId": BTC}, "data": [row]}


async def connected(venue: ScriptedVenue, feed: OkxMarketFeed) -> None:
    await until(lambda: all(feed.connected.values()))


async def test_every_channel_becomes_events_and_says_that_it_lives(venue: ScriptedVenue) -> None:
    reader = Reader(OkxMarketFeed(venue.config(), [BTC], ["1m", "1h"], SystemClock()))
    async with running(reader.run()):
        await connected(venue, reader.feed)
        for frame in PUBLIC:
            await venue.push("business" if '"candle' in frame else "public", frame)
        await until(lambda: len(reader.of(Candle)) == 2 and len(reader.of(BookTop)) == 1)
    assert [type(e).__name__ for e in reader.events if not isinstance(e, FeedStatus)][:4] == [
        "Trade",
        "Ticker",
        "MarkPrice",
        "IndexPrice",
    ]
    assert reader.states("trades") == [LIVE]
    assert reader.states("index-tickers") == [LIVE]
    assert reader.states("candle1H") == [LIVE]
    assert reader.feed.bad_frames == {("", "unknown"): 1}  # bbo-tbt, which nobody asked for


async def test_D5_silent_channel_is_stale_and_lives_again(venue: ScriptedVenue) -> None:
    config = venue.config(stale_after={"mark-price": Duration(0.5)})
    reader = Reader(OkxMarketFeed(config, [BTC], [], SystemClock()))
    async with running(reader.run()):
        await until(lambda: reader.feed.connected["public"])
        await venue.push("public", PUBLIC[2])
        await until(lambda: reader.states("mark-price") == [LIVE, STALE])
        assert reader.feed.ages_s()[BTC, "mark-price"] > 0.5
        await venue.push("public", PUBLIC[2])
        await until(lambda: reader.states("mark-price") == [LIVE, STALE, LIVE])


async def test_D6_refused_channel_is_an_error_of_that_channel(venue: ScriptedVenue) -> None:
    venue.refuse["mark-price"] = "60018"
    reader = Reader(OkxMarketFeed(venue.config(), [BTC], [], SystemClock()))
    async with running(reader.run()):
        await until(lambda: reader.feed.connected["public"])
        await venue.push("public", trade("1"))
        await until(lambda: reader.states("mark-price") == [STALE] and bool(reader.of(Trade)))
    assert reader.feed.refused[BTC, "mark-price"].startswith("60018")


async def test_lost_connection_is_opened_and_subscribed_again(venue: ScriptedVenue) -> None:
    reader = Reader(OkxMarketFeed(venue.config(), [BTC], [], SystemClock()))
    async with running(reader.run()):
        await until(lambda: reader.feed.connected["public"])
        await venue.cut("public", 4004)
        await until(lambda: reader.feed.connections["public"] == 2 and reader.feed.connected["public"])
        await venue.push("public", PUBLIC[2])
        await until(lambda: bool(reader.of(MarkPrice)))


async def test_lost_connection_makes_its_channels_stale_until_their_first_data(venue: ScriptedVenue) -> None:
    reader = Reader(OkxMarketFeed(venue.config(), [BTC], ["1m"], SystemClock()))
    async with running(reader.run()):
        await connected(venue, reader.feed)
        await venue.push("public", trade("1"))
        await venue.push("public", PUBLIC[2])
        await until(lambda: reader.states("trades") == reader.states("mark-price") == [LIVE])
        await venue.cut("public")
        await until(lambda: reader.states("trades") == reader.states("mark-price") == [LIVE, STALE])
        assert reader.states("candle1m") == []  # another socket's
        await until(lambda: reader.feed.connections["public"] == 2 and reader.feed.connected["public"])
        await venue.push("public", trade("1"))  # told again: no news, and yet a sign of life
        await until(lambda: reader.states("trades") == [LIVE, STALE, LIVE])
    assert len(reader.of(Trade)) == 1


async def test_D4_open_but_silent_socket_is_left_for_another(venue: ScriptedVenue) -> None:
    deaf = msgspec.structs.replace(QUICK, silence=Duration(0.2), pong=Duration(0.2))
    venue.answers_pings = False
    config = venue.config(timeouts=deaf, stale_after={"mark-price": Duration(1)})
    reader = Reader(OkxMarketFeed(config, [BTC], [], SystemClock()))
    async with running(reader.run()):
        await until(lambda: reader.feed.connected["public"])
        await venue.push("public", PUBLIC[2])
        await until(lambda: reader.feed.connections["public"] >= 2, 10)
        await until(lambda: STALE in reader.states("mark-price"), 10)  # entries are refused from here on
        assert reader.feed.ages_s()[BTC, "mark-price"] >= 1
    assert ("public", "ping") in venue.heard


@pytest.mark.parametrize(
    ("code", "level", "words"),
    [(4004, "warning", "30 s"), (4008, "error", "watch fewer"), (1001, "warning", "")],
)
async def test_close_code_is_counted_and_told_in_words(
    venue: ScriptedVenue, code: int, level: str, words: str
) -> None:
    feed = OkxMarketFeed(venue.config(), [BTC], [], SystemClock())
    with structlog.testing.capture_logs() as logs:
        async with running(feed.run()):
            await until(lambda: feed.connected["public"])
            await venue.cut("public", code)
            await until(lambda: feed.connections["public"] == 2 and feed.connected["public"])
    (lost,) = [entry for entry in logs if entry["event"] == "connection lost"]
    assert lost["log_level"] == level
    assert words in lost["meaning"]
    assert feed.ends["public"] == {str(code): 1}


async def test_D7_announced_end_is_replaced_without_a_gap(venue: ScriptedVenue) -> None:
    reader = Reader(OkxMarketFeed(venue.config(), [BTC], [], SystemClock()))
    async with running(reader.run()):
        await until(lambda: reader.feed.connected["public"])
        await venue.push("public", {"event": "notice", "code": "64008", "msg": "upgrade", "connId": "c"})
        for number in range(200):  # never an instant without a connection that carries the data
            await venue.push("public", trade(str(number)))
            assert reader.feed.connected["public"]
            await asyncio.sleep(0)
        await until(lambda: reader.feed.connections["public"] == 2 and venue.open["public"] == 1)
        await venue.push("public", trade("last"))
        await until(lambda: reader.events[-1:] == reader.of(Trade)[-1:] and len(reader.of(Trade)) == 201)
    ids = [event.trade_id for event in reader.events if isinstance(event, Trade)]
    assert ids == [*map(str, range(200)), "last"]


async def test_newest_trade_sent_again_after_a_reconnect_counts_once(venue: ScriptedVenue) -> None:
    reader = Reader(OkxMarketFeed(venue.config(), [BTC], [], SystemClock()))
    async with running(reader.run()):
        await until(lambda: reader.feed.connected["public"])
        await venue.push("public", trade("7"))
        await venue.cut("public")
        await until(lambda: reader.feed.connections["public"] == 2 and reader.feed.connected["public"])
        await venue.push("public", trade("7"))
        await venue.push("public", trade("8"))
        await until(lambda: len(reader.of(Trade)) == 2)


async def test_garbage_is_counted_and_the_stream_goes_on(venue: ScriptedVenue) -> None:
    reader = Reader(OkxMarketFeed(venue.config(), [BTC], [], SystemClock()))
    async with running(reader.run()):
        await until(lambda: reader.feed.connected["public"])
        await venue.push("public", trade("1") | {"data": [{"px": "nonsense"}]})
        await venue.push("public", "][")
        await venue.push("public", PUBLIC[2])
        await until(lambda: bool(reader.of(MarkPrice)))
    assert reader.feed.bad_frames == {("trades", "shape"): 1, ("", "syntax"): 1}
    assert reader.feed.connections["public"] == 1


def book(previous: int, sequence: int, bid: str) -> dict[str, object]:
    action = "snapshot" if previous == -1 else "update"
    row = {"bids": [[bid, "1", "0", "1"]], "asks": [], "ts": "1700000000000", "checksum": 0}
    return {
        "arg": {"channel": "books", "instId": BTC},
        "action": action,
        "data": [row | {"prevSeqId": previous, "seqId": sequence}],
    }


async def test_D1_book_gap_is_told_and_a_snapshot_is_asked_for(venue: ScriptedVenue) -> None:
    reader = Reader(OkxMarketFeed(venue.config(book_channel="books"), [BTC], [], SystemClock()))
    async with running(reader.run()):
        await until(lambda: reader.feed.connected["public"])
        await venue.push("public", book(-1, 10, "100"))
        await venue.push("public", book(12, 13, "101"))
        await until(lambda: reader.states("books") == [LIVE, STALE])
        await venue.push("public", book(13, 14, "102"))
        await until(lambda: any('"unsubscribe"' in text for _, text in venue.heard))
        await until(lambda: sum('"books"' in text and '"subscribe"' in text for _, text in venue.heard) == 2)
        await venue.push("public", book(-1, 20, "103"))
        await until(lambda: reader.states("books") == [LIVE, STALE, LIVE])
    tops = [event.bids for event in reader.events if isinstance(event, BookTop)]
    assert tops == [(Level(100.0, 1.0),), (Level(103.0, 1.0),)]


async def test_warm_up_pages_back_until_it_has_enough_closed_candles(venue: ScriptedVenue) -> None:
    minute = 60_000
    bars = [
        [str(1_700_000_040_000 - i * minute), "1", "2", "0.5", "1.5", "1", "0.1", "1", "1"]
        for i in range(500)
    ]
    bars.insert(0, [str(1_700_000_040_000 + minute), "1", "2", "0.5", "1.5", "1", "0.1", "1", "0"])

    def candles(request: object, _: object) -> dict[str, object]:
        query = request.query  # type: ignore[attr-defined]
        older = [bar for bar in bars if int(bar[0]) < int(query.get("after", 1 << 60))]
        return ok(*older[: int(query["limit"])])

    venue.answers["GET market/candles"] = candles
    feed = OkxMarketFeed(venue.config(), [BTC], [], SystemClock())
    found = await feed.candles(BTC, "1m", 400)
    everything = await feed.candles(BTC, "1m", 900)
    await feed.close()
    assert [candle.ts_open for candle in found] == sorted(int(bar[0]) * 1_000_000 for bar in bars[1:401])
    assert all(candle.closed for candle in found)
    assert len(everything) == 500


async def test_full_buffer_drops_old_ticks_never_closed_candles_or_states() -> None:
    buffer = EventBuffer(3)
    closed = Candle(BTC, "1m", 0, 1, 1, 1, 1, 1, True, 0)
    status = FeedStatus(BTC, "trades", LIVE, 0)
    ticks = [MarkPrice(BTC, float(i), 0) for i in range(1, 5)]
    for event in (closed, ticks[0], status, ticks[1], ticks[2], ticks[3]):
        buffer.append(event)
        buffer.settle()
    assert buffer.dropped == 3
    assert await buffer.take() == [closed, status, ticks[3]]


async def test_dropped_trades_are_told_as_an_interruption_once() -> None:
    buffer = EventBuffer(2)
    trades = [Trade(BTC, 1.0, 1.0, Side.BUY, str(n), n) for n in range(5)]
    for trade in trades:
        buffer.append(trade)
        buffer.settle()
    told = [FeedStatus(BTC, "trades", state, 2, 2) for state in (STALE, LIVE)]
    assert await buffer.take() == [*told, *trades[3:]]
    buffer.append(trades[0])
    buffer.settle()
    assert await buffer.take() == [trades[0]]


def test_buffer_that_nobody_reads_is_an_error_and_not_a_leak() -> None:
    buffer = EventBuffer(2)
    status = FeedStatus(BTC, "trades", LIVE, 0)
    for _ in range(8):
        buffer.append(status)
        buffer.settle()
    buffer.append(status)
    with pytest.raises(InvariantBroken):
        buffer.settle()


def test_freshness_tells_each_change_once() -> None:
    key = (BTC, "trades")
    fresh = Freshness([key], lambda _: 10.0, 0.0)
    pulse = fresh.pulse(key)
    assert pulse is not None
    assert fresh.overdue(9.0) == []
    assert fresh.overdue(11.0) == [key]
    assert fresh.overdue(50.0) == []
    assert pulse.heard(51.0)
    assert pulse.fresh is True  # more of it need not be told until the next look
    assert fresh.overdue(52.0) == []
    assert fresh.overdue(61.0) == []
    assert not pulse.heard(61.5)
    assert fresh.overdue(62.0) == []
    assert fresh.overdue(72.5) == [key]
    assert fresh.pulse((BTC, "nothing")) is None
