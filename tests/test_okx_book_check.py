"""The top of a book beside REST, and the three book channels in the feed."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest

from engine.clock import SystemClock
from engine.config.values import Duration
from engine.core.market import BookTop, ChannelState, Level
from engine.exchange.okx.feed import OkxMarketFeed
from tests.fixtures.okx.scripted import QUICK, ScriptedVenue, ok, running, scripted
from tests.test_okx_feed import Reader
from tests.waiting import until

BTC = "BTC-USDT-SWAP"
OFTEN = msgspec.structs.replace(QUICK, book_check=Duration(0.3))


@pytest.fixture
async def venue() -> AsyncIterator[ScriptedVenue]:
    async with scripted() as server:
        yield server


def levels(bid: str, ask: str, **chain: int) -> dict[str, Any]:
    return {"bids": [[bid, "1", "0", "1"]], "asks": [[ask, "2", "0", "1"]], "ts": "1700000000000", **chain}


def frame(channel: str, bid: str, ask: str) -> dict[str, Any]:
    chain = {"prevSeqId": -1, "seqId": 1} if channel == "books" else {"seqId": 1}
    action = {"action": "snapshot"} if channel == "books" else {}
    return {"arg": {"channel": channel, "instId": BTC}, **action, "data": [levels(bid, ask, **chain)]}


def subscriptions(venue: ScriptedVenue, channel: str) -> int:
    return sum(f'"{channel}"' in text and '"subscribe"' in text for _, text in venue.heard)


@pytest.mark.parametrize("channel", ["books", "books5", "bbo-tbt"])
async def test_book_that_agrees_with_rest_is_left_alone(venue: ScriptedVenue, channel: str) -> None:
    venue.answers["GET market/books"] = ok(levels("100", "101"))
    reader = Reader(
        OkxMarketFeed(venue.config(book_channel=channel, timeouts=OFTEN), [BTC], [], SystemClock())
    )
    async with running(reader.run()):
        await until(lambda: reader.feed.connected["public"])
        await venue.push("public", frame(channel, "100", "101"))
        await until(lambda: reader.feed.book_check.looks >= 3)
    (top,) = reader.of(BookTop)
    assert isinstance(top, BookTop)
    assert (top.bids, top.asks) == ((Level(100.0, 1.0),), (Level(101.0, 2.0),))
    assert reader.feed.book_check.wrong == 0
    assert reader.states(channel) == [ChannelState.LIVE]
    assert subscriptions(venue, channel) == 1


@pytest.mark.parametrize("channel", ["books", "books5", "bbo-tbt"])
async def test_book_that_keeps_differing_is_stale_and_subscribed_anew(
    venue: ScriptedVenue, channel: str
) -> None:
    venue.answers["GET market/books"] = ok(levels("90", "91"))
    reader = Reader(
        OkxMarketFeed(venue.config(book_channel=channel, timeouts=OFTEN), [BTC], [], SystemClock())
    )
    async with running(reader.run()):
        await until(lambda: reader.feed.connected["public"])
        await venue.push("public", frame(channel, "100", "101"))
        await until(lambda: subscriptions(venue, channel) == 2)
        assert reader.states(channel) == [ChannelState.LIVE, ChannelState.STALE]
        await venue.push("public", frame(channel, "90", "91"))
        await until(lambda: reader.states(channel)[-1] is ChannelState.LIVE)
    assert reader.feed.book_check.wrong == 1


async def test_market_that_moves_during_the_question_is_no_difference(venue: ScriptedVenue) -> None:
    async def moves(_: object, __: object) -> dict[str, Any]:
        await venue.push("public", frame("books5", "90", "91"))
        return ok(levels("95", "96"))

    venue.answers["GET market/books"] = moves
    reader = Reader(OkxMarketFeed(venue.config(timeouts=OFTEN), [BTC], [], SystemClock()))
    async with running(reader.run()):
        await until(lambda: reader.feed.connected["public"])
        await venue.push("public", frame("books5", "100", "101"))
        await until(lambda: reader.feed.book_check.looks == 1)
    assert reader.feed.book_check.wrong == 0


async def test_answer_that_is_older_than_the_book_says_nothing(venue: ScriptedVenue) -> None:
    venue.answers["GET market/books"] = ok(levels("90", "91"))
    feed = OkxMarketFeed(venue.config(timeouts=OFTEN), [BTC], [], SystemClock())
    now_ns = 1_700_000_000_001 * 1_000_000
    feed.book_check.tops.put(BookTop(BTC, (Level(100.0, 1.0),), (Level(101.0, 1.0),), now_ns))
    await feed.book_check.check(BTC)
    await feed.close()
    assert (feed.book_check.looks, feed.book_check.wrong) == (1, 0)


async def test_venue_that_does_not_answer_says_nothing_about_the_book(venue: ScriptedVenue) -> None:
    venue.answers["GET market/books"] = {"code": "50001", "msg": "away", "data": []}
    feed = OkxMarketFeed(venue.config(timeouts=OFTEN), [BTC], [], SystemClock())
    feed.book_check.tops.put(BookTop(BTC, (Level(100.0, 1.0),), (Level(101.0, 1.0),), 1))
    await feed.book_check.check(BTC)
    await feed.close()
    assert (feed.book_check.looks, feed.book_check.wrong) == (0, 0)
