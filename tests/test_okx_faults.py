"""Market feed and account through the simulator's faults, over the wire: D, O1 and S17 by their ids."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import aiohttp
import msgspec
import pytest
import structlog

from engine.clock import ScaledClock, SystemClock
from engine.config.values import Duration
from engine.core.errors import Rejected
from engine.core.instruments import Instrument
from engine.core.market import BookTop, ChannelState, FeedStatus, MarketEvent, Trade
from engine.core.orders import OrderState, OrderType
from engine.exchange.okx.feed import OkxMarketFeed
from engine.wiring.listing import InstrumentBook
from tests.fixtures.okx.scripted import QUICK, running
from tests.test_okx_simulator import config, simulator, world
from tests.waiting import until

BTC = "BTC-USDT-SWAP"
D = Decimal
CLOCK = SystemClock()
LIVE, STALE = ChannelState.LIVE, ChannelState.STALE


@dataclass
class Watched:
    """A generated market, a feed on it, and what the feed told."""

    url: str
    feed: OkxMarketFeed
    book: InstrumentBook
    http: aiohttp.ClientSession
    events: list[MarketEvent] = field(default_factory=list)

    async def fault(self, kind: str, **details: Any) -> None:
        async with self.http.post(f"{self.url}/sim/faults", json={"kind": kind, **details}) as response:
            assert response.status == 200, await response.text()

    def states(self, channel: str) -> list[ChannelState]:
        return [e.state for e in self.events if isinstance(e, FeedStatus) and e.channel == channel]

    def of(self, kind: type[MarketEvent]) -> list[MarketEvent]:
        return [event for event in self.events if isinstance(event, kind)]

    async def more(self, kind: type[MarketEvent], count: int = 3) -> None:
        """Wait until `count` more events of a kind have come."""
        before = len(self.of(kind))
        await until(lambda: len(self.of(kind)) >= before + count, 15)


@asynccontextmanager
async def watched(**changes: Any) -> AsyncIterator[Watched]:
    clock = ScaledClock(20.0, CLOCK.now_ns(), CLOCK.now_ns())  # the market of a minute in three seconds
    async with simulator(clock, market="generated") as url, aiohttp.ClientSession() as http:
        feed = OkxMarketFeed(config(url, **({"book_channel": "books"} | changes)), [BTC], ["1m"], clock)
        here = Watched(url, feed, InstrumentBook(await feed.instruments()), http)

        def take(found: Sequence[Instrument], whole: bool) -> None:
            here.book.update(found, whole=whole)

        feed.on_listed = take

        async def listen() -> None:
            async for events in feed.events():
                here.events += events

        async def live() -> None:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(feed.run())
                tasks.create_task(listen())

        async with running(live()):
            await until(lambda: all(feed.connected.values()) and bool(here.of(BookTop)))
            yield here


async def test_D1_sequence_gap_makes_the_book_stale_until_a_new_snapshot() -> None:
    async with watched() as here:
        await here.fault("sequence_gap")
        await until(lambda: here.states("books") == [LIVE, STALE, LIVE], 15)
        assert here.feed.book_gaps == 1
        await here.more(BookTop)
        assert here.feed.connections["public"] == 1


async def test_D2_sequence_reset_is_accepted() -> None:
    async with watched() as here:
        await here.fault("sequence_reset")
        await here.more(BookTop, 5)
        assert here.states("books") == [LIVE]
        assert here.feed.book_gaps == 0


async def test_D3_checksums_real_or_zero_cause_no_resubscription() -> None:
    async with watched() as here:
        for kind in ("checksum", "zero_checksum"):
            await here.fault(kind)
            await here.more(BookTop, 5)
        assert here.states("books") == [LIVE]


@pytest.mark.parametrize("kind", ["missing", "reorder", "duplicate"])
async def test_D11_lost_late_and_repeated_updates_leave_a_true_book(kind: str) -> None:
    async with watched(timeouts=msgspec.structs.replace(QUICK, book_check=Duration(6))) as here:
        await here.fault(kind, path="books")
        await here.more(BookTop, 5)
        await until(lambda: here.states("books")[-1] is LIVE, 15)
        await here.more(BookTop, 5)
        await here.feed.book_check.check(BTC)
        assert here.feed.book_check.wrong == 0
        assert (here.feed.book_gaps > 0) == (kind != "duplicate")


async def test_D4_silent_venue_is_left_and_its_data_is_stale_meanwhile() -> None:
    deaf = msgspec.structs.replace(QUICK, silence=Duration(0.5), pong=Duration(0.5))
    async with watched(timeouts=deaf) as here:
        await here.fault("silence", seconds=2)
        await until(lambda: STALE in here.states("books"), 15)
        await until(lambda: here.feed.connections["public"] >= 2 and here.states("books")[-1] is LIVE, 20)
        await here.more(BookTop)


async def test_D5_one_silent_channel_is_told_while_the_others_flow() -> None:
    async with watched(stale_after={"trades": Duration(1)}) as here:
        await until(lambda: here.states("trades") == [LIVE])
        await here.fault("missing", path="trades", count=1000)
        await until(lambda: here.states("trades") == [LIVE, STALE], 15)
        await here.more(BookTop)
        assert here.states("books") == [LIVE]
        assert here.feed.ages_s()[BTC, "trades"] > here.feed.ages_s()[BTC, "books"]


async def test_D6_channel_that_does_not_exist_is_told_and_the_others_flow() -> None:
    async with watched() as here:
        url, missing = here.url, "NOPE-USDT-SWAP"
        feed = OkxMarketFeed(config(url), [BTC, missing], [], CLOCK)
        async with running(feed.run()):
            await until(lambda: feed.connected["public"])
            await until(lambda: (missing, "trades") in feed.refused)
            assert feed.refused[missing, "trades"].startswith("60018")
            assert {symbol for symbol, _ in feed.refused} == {missing}


async def test_D7_announced_upgrade_costs_no_trade() -> None:
    async with watched() as here:
        await here.fault("notice", seconds=2)
        await until(lambda: here.feed.connections == {"public": 2, "business": 2}, 15)
        await here.more(Trade, 5)
        assert here.feed.connected == {"public": True, "business": True}
        assert STALE not in here.states("trades")
        ids = [int(event.trade_id) for event in here.of(Trade) if isinstance(event, Trade)]
        assert ids == sorted(set(ids))


async def test_garbage_is_counted_and_costs_no_connection() -> None:
    async with watched() as here:
        await here.fault("garbage")
        await until(lambda: bool(here.feed.bad_frames))
        await here.more(BookTop)
        assert here.feed.connections == {"public": 1, "business": 1}


async def test_O1_changed_and_suspended_instrument_is_known_and_rounded_by() -> None:
    async with watched() as here:
        await here.fault("instrument", symbol=BTC, lot="1", least="1", tick="0.5", value="0.02")
        await until(lambda: here.book.by_symbol[BTC].lot_size == 1)
        known = here.book.by_symbol[BTC]
        assert (known.min_size, known.tick_size, known.contract_value) == (D(1), D("0.5"), D("0.02"))
        assert known.floor_size(D("1061.98")) == D(1061)
        await here.fault("instrument", symbol=BTC, state="suspend")
        await until(lambda: not here.book.by_symbol[BTC].live)
        await here.fault("instrument", symbol=BTC, state="live")
        await until(lambda: here.book.by_symbol[BTC].live)


async def test_O1_size_by_the_new_lot_is_taken_where_the_old_one_is_refused() -> None:
    async with world() as here:
        book = InstrumentBook(await here.venue.instruments())
        wanted = D("1.23")
        await here.fault(kind="instrument", symbol=BTC, lot="0.5", least="0.5")
        with pytest.raises(Rejected) as caught:
            await here.venue.submit(here.order(contracts=book.by_symbol[BTC].floor_size(wanted)))
        assert caught.value.code == "51121"
        book.update(await here.venue.instruments(), whole=True)
        order = here.order(contracts=book.by_symbol[BTC].floor_size(wanted))
        await here.venue.submit(order)
        done = await here.report(order.client_order_id, lambda report: report.state is OrderState.FILLED)
        assert done.filled == D("1.0")


@pytest.mark.parametrize("ahead_s", [3600, -3600])
async def test_S17_skewed_clock_is_corrected_from_the_venues_without_a_storm(ahead_s: int) -> None:
    async with world() as here:
        await here.fault(kind="clock_skew", seconds=ahead_s)
        requests = here.venue.rest.requests
        with structlog.testing.capture_logs() as logs:
            await here.venue.check_account()
        assert here.venue.rest.requests - requests <= 5
        assert abs(here.venue.rest.offset_ns / 1e9 - ahead_s) < 5
        assert any(entry["event"].startswith("clock differs") for entry in logs)
        order = here.order(order_type=OrderType.LIMIT, price=D(40_000))
        report = await here.venue.submit(order)
        assert report.state is OrderState.NEW
