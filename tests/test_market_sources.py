"""Headlines and reference prices from a real server, which is at times away, slow or out of its mind."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import pairwise

import msgspec
import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st

from engine.clock import SystemClock, cancelled
from engine.config.market import MarketConfig
from engine.config.market_sources import NewsConfig, NewsSource, ReferenceConfig
from engine.config.values import Duration
from engine.core.errors import CodecError
from engine.core.times import NS_PER_HOUR, NS_PER_S
from engine.market.feed_entries import MOST_ENTRIES, Found, entries
from engine.market.news import NewsBoard, plain
from engine.market.sources import Sources, conditions, price_in
from tests.waiting import until

pytest.importorskip("feedparser")

BTC, ETH = "BTC-USDT-SWAP", "ETH-USDT-SWAP"
NOW = 1_760_000_000 * NS_PER_S
WIRE = NewsSource(name="wire", url="http://127.0.0.1:1/")
RSS = """<?xml version="1.0"?><rss version="2.0"><channel><title>x</title>
<item><title>Bitcoin &amp; ETH <b>rise</b></title><link>https://x.example/a?utm_source=rss#top</link>
<guid>a1</guid><pubDate>Thu, 09 Oct 2025 08:00:00 GMT</pubDate><sentiment>0.5</sentiment></item>
<item><title>Rates unchanged</title><link>https://x.example/b</link>
<pubDate>Thu, 09 Oct 2025 08:30:00 GMT</pubDate></item>
</channel></rss>"""
ATOM = """<?xml version="1.0"?><feed xmlns="http://www.w3.org/2005/Atom"><title>y</title>
<entry><title>bitcoin &amp; eth rise!</title><link href="https://y.example/1"/><id>y1</id>
<updated>2025-10-09T08:10:00Z</updated></entry>
<entry><title>ETH upgrade is live</title><link href="https://y.example/2"/><id>y2</id>
<updated>2025-10-09T08:20:00Z</updated></entry></feed>"""


def board(**changes: object) -> NewsBoard:
    config = msgspec.convert({"max_age": Duration(86_400), **changes}, NewsConfig)
    return NewsBoard(config, (BTC, ETH))


def found(title: str, minutes_ago: float = 0, *, url: str = "", entry_id: str = "") -> Found:
    ts = NOW - int(minutes_ago * 60 * NS_PER_S)
    return Found(title=title, ts_published=ts, url=url, entry_id=entry_id)


@pytest.mark.parametrize(
    ("title", "symbols"),
    [
        ("BTC at a new high", (BTC,)),
        ("Bitcoin and Ethereum fall", (BTC, ETH)),
        ("A BITCOIN ETF", (BTC,)),
        ("Subtc, ether-free: nothing", (ETH,)),
        ("btc in small letters is no ticker", ()),
        ("The fed holds", ()),
    ],
)
def test_headline_is_tagged_with_the_symbols_it_names(title: str, symbols: tuple[str, ...]) -> None:
    news = board()
    news.add(WIRE, [found(title)], NOW)
    (item,) = news.newest((BTC, ETH), NOW)
    assert item.symbols == symbols


def test_source_about_one_coin_tags_all_of_it() -> None:
    news = board()
    news.add(msgspec.structs.replace(WIRE, symbols=("ETH",)), [found("Gas is cheap")], NOW)
    assert news.newest((BTC,), NOW) == ()
    assert [item.symbols for item in news.newest((ETH,), NOW)] == [(ETH,)]


@pytest.mark.parametrize(
    "again",
    [
        found("bitcoin RISES!", 5),
        found("Another title", 5, entry_id="a1"),
        found("Another title", 5, url="https://x.example/a?utm_medium=mail&id=7"),
    ],
)
def test_headline_is_shown_once_whoever_repeats_it(again: Found) -> None:
    news = board()
    first = found("Bitcoin rises", 9, entry_id="a1", url="https://x.example/a?id=7&utm_source=rss#top")
    assert news.add(WIRE, [first], NOW) == 1
    assert news.add(WIRE, [again], NOW) == 0
    assert [item.title for item in news.newest((BTC,), NOW)] == ["Bitcoin rises"]


def test_ids_that_are_no_uris_are_those_of_their_source() -> None:
    news = board()
    other = msgspec.structs.replace(WIRE, name="other")
    assert news.add(WIRE, [found("Bitcoin rises", entry_id="4711")], NOW) == 1
    assert news.add(other, [found("Ether falls", entry_id="4711")], NOW) == 1
    assert news.add(WIRE, [found("Rates rise", entry_id="tag:x,2025:1")], NOW) == 1
    assert news.add(other, [found("Rates rise again", entry_id="tag:x,2025:1")], NOW) == 0


def test_addresses_that_are_none_are_not_one() -> None:
    news = board()
    told = [found("One", url="http://[", entry_id="1"), found("Two", url="http://[", entry_id="2")]
    assert news.add(WIRE, told, NOW) == 2


def test_what_full_feeds_still_tell_is_not_news_at_the_next_visit() -> None:
    feeds = [NewsSource(name=f"s{n}", url="http://127.0.0.1:1/") for n in range(8)]
    news = board(sources=[msgspec.to_builtins(feed) for feed in feeds])
    told = {
        feed: [
            found(f"{feed.name} {n}", n / 10, url=f"https://{feed.name}/{n}", entry_id=f"{n}")
            for n in range(MOST_ENTRIES)
        ]
        for feed in feeds
    }
    assert sum(news.add(feed, told[feed], NOW) for feed in feeds) == len(feeds) * MOST_ENTRIES
    for _ in range(3):
        assert sum(news.add(feed, told[feed], NOW) for feed in feeds) == 0


def test_headlines_are_dated_newest_first_and_forgotten() -> None:
    news = board(per_wakeup=2)
    undated = Found(title="No date")
    ahead = found("From the future", -500)
    news.add(WIRE, [found("Old", 60 * 25), found("Three", 3), undated, found("Nine", 9), ahead], NOW)
    assert {item.title: item.ts_published for item in news.newest((BTC,), NOW)} == {
        "From the future": NOW,
        "No date": NOW,
    }
    later = NOW + 24 * NS_PER_HOUR - 4 * 60 * NS_PER_S
    assert len(news.newest((BTC,), later)) == 2
    assert news.newest((BTC,), NOW + 25 * NS_PER_HOUR) == ()


@given(st.lists(st.lists(st.integers(0, 400), max_size=40), max_size=12))
def test_board_is_bounded_and_keeps_the_newest(batches: list[list[int]]) -> None:
    news = board(max_items=20, per_wakeup=50)
    for batch in batches:
        news.add(WIRE, [found(f"Headline {n}", n) for n in batch], NOW)
    shown = [item.ts_published for item in news.newest((), NOW)]
    assert len(news) <= 20
    assert shown == sorted(shown, reverse=True)
    assert len(news._seen) <= 80


@given(st.text(max_size=400))
def test_what_strangers_write_is_one_short_line(text: str) -> None:
    line = plain(text)
    assert len(line) <= 200
    assert "\n" not in line
    assert plain(f"a<script>x\x00</script> &lt;b&gt;\u202e{text}").startswith("a x")


@dataclass
class Site:
    """A server with feeds and a ticker, and a way to be away."""

    answers: dict[str, Callable[[], web.Response]] = field(default_factory=dict)
    asked: list[tuple[str, str]] = field(default_factory=list)  # path, If-None-Match
    port: int = 0

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self.asked.append((request.path_qs, request.headers.get("If-None-Match", "")))
        if request.path == "/hang":
            await asyncio.sleep(60)
        return self.answers[request.path]()

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.port}{path}"


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    site = Site()
    app = web.Application()
    app.router.add_get("/{tail:.*}", site.handle)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    site.port = runner.addresses[0][1]
    yield site
    await runner.cleanup()


@asynccontextmanager
async def following(
    config: MarketConfig, news: NewsBoard, prices: dict[str, float] | None = None
) -> AsyncIterator[None]:
    def refer(symbol: str, price: float, ts_ns: int) -> None:
        assert prices is not None
        prices[symbol] = price

    task = asyncio.create_task(Sources(config, news, refer, SystemClock()).run(), name="sources")
    try:
        yield
        assert not task.done()
    finally:
        await cancelled(task)


def sources(site: Site, *paths: str, timeout_s: float = 5) -> NewsConfig:
    return NewsConfig(
        sources=tuple(NewsSource(name=path.strip("/"), url=site.url(path)) for path in paths),
        every=Duration(0.02),
        timeout=Duration(timeout_s),
        max_age=Duration(10 * 365 * 86_400),
    )


async def test_rss_and_atom_are_read_and_what_did_not_change_is_not_sent_again(site: Site) -> None:
    site.answers["/rss"] = lambda: web.Response(text=RSS, headers={"ETag": '"v1"'})
    site.answers["/atom"] = lambda: web.Response(text=ATOM, content_type="application/atom+xml")
    config = sources(site, "/rss", "/atom")
    news = NewsBoard(config, (BTC, ETH))
    async with following(MarketConfig(news=config), news):
        await until(lambda: len(news) == 3 and ("/rss", '"v1"') in site.asked)
    items = {item.title.lower().strip("!"): item for item in news.newest((BTC, ETH), SystemClock().now_ns())}
    assert set(items) == {"bitcoin & eth rise", "eth upgrade is live", "rates unchanged"}
    assert items["eth upgrade is live"].symbols == (ETH,)
    assert items["eth upgrade is live"].ts_published == 1_759_998_000 * NS_PER_S
    assert items["rates unchanged"].url == "https://x.example/b"


async def test_source_that_is_down_slow_or_mad_holds_up_nobody_and_may_come_back(site: Site) -> None:
    site.answers["/good"] = lambda: web.Response(text=RSS)
    site.answers["/mad"] = lambda: web.Response(text="\x00 not a feed <<<")
    site.answers["/down"] = lambda: web.Response(status=503)
    site.answers["/endless"] = lambda: web.Response(body=b"x" * 3_000_000)
    site.answers["/lost"] = lambda: web.Response(status=302, headers={"Location": "http://a..b/"})
    site.answers["/round"] = lambda: web.Response(status=302, headers={"Location": "/round"})
    config = sources(site, "/hang", "/mad", "/down", "/endless", "/lost", "/round", "/good", timeout_s=0.5)
    nowhere = NewsSource(name="nowhere", url="http://127.0.0.1:9/")
    config = msgspec.structs.replace(config, sources=(nowhere, *config.sources))
    news = NewsBoard(config, (BTC, ETH))
    async with following(MarketConfig(news=config), news):
        await until(lambda: len(news) == 2)
        site.answers["/down"] = lambda: web.Response(text=ATOM)
        await until(lambda: len(news) == 3)


def rss(item: str) -> str:
    return f'<?xml version="1.0"?><rss version="2.0"><channel>{item}</channel></rss>'


@pytest.mark.parametrize(
    "date", ["0001-01-01T00:00:00+02:00", "0000-00-00", "9999-12-31T23:59:59-02:00", "?"]
)
def test_date_that_stands_for_none_is_none(date: str) -> None:
    (entry,) = entries(rss(f"<item><title>x</title><pubDate>{date}</pubDate></item>").encode()).found
    assert (entry.title, entry.ts_published) == ("x", None)


def test_entities_do_not_multiply() -> None:
    names = ["a", *(f"a{n}" for n in range(9))]
    bomb = "".join(f"<!ENTITY {b} '{f'&{a};' * 10}'>" for a, b in pairwise(names))
    body = f"<!DOCTYPE x [<!ENTITY a 'lol'>{bomb}]>" + rss("<item><title>&a8;</title></item>")
    assert all(len(entry.title) < 200 for entry in entries(body.encode()).found)


async def test_feed_that_breaks_its_parser_holds_up_nobody(site: Site) -> None:
    """The address takes a regular expression minutes, in which no other Python would run."""
    endless = rss(f"<item><title>x</title><author>{'a' * 400_000}@</author></item>")
    site.answers["/endless"] = lambda: web.Response(text=endless)
    site.answers["/undefined"] = lambda: web.Response(text='<?xml version="1.0" encoding="undefined"?>')
    site.answers["/good"] = lambda: web.Response(text=RSS)
    config = sources(site, "/endless", "/undefined", "/good")
    news = NewsBoard(config, (BTC, ETH))
    async with following(MarketConfig(news=config), news):
        await until(lambda: len(news) == 2)
        asked = len(site.asked)
        await until(lambda: len(site.asked) > asked + 5)  # the good one is visited on and on
    assert sum(path == "/endless" for path, _ in site.asked) == 1


def test_only_what_may_be_sent_back_is_sent_back() -> None:
    assert conditions({"ETag": '"1"', "Last-Modified": "Thu"}) == {
        "If-None-Match": '"1"',
        "If-Modified-Since": "Thu",
    }
    assert conditions({"ETag": '"\x01"', "Last-Modified": "\udcff"}) == {}


async def test_reference_price_of_another_venue(site: Site) -> None:
    site.answers["/ticker"] = lambda: web.json_response({"data": [{"last": "64000.5"}]})
    reference = ReferenceConfig(
        source="http",
        url=site.url("/ticker?symbol={base}{quote}"),
        field="data.0.last",
        every=Duration(0.02),
    )
    config = MarketConfig(symbols=(BTC, ETH), reference=reference)
    prices: dict[str, float] = {}
    async with following(config, NewsBoard(), prices):
        await until(lambda: len(prices) == 2)
        site.answers["/ticker"] = lambda: web.json_response({"code": 1})
        asked = len(site.asked)
        await until(lambda: len(site.asked) > asked + 2)
    assert prices == {BTC: 64000.5, ETH: 64000.5}
    assert {path for path, _ in site.asked} == {"/ticker?symbol=BTCUSDT", "/ticker?symbol=ETHUSDT"}


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b'{"price":"x"}',
        b'{"price":-1}',
        b'{"price":"nan"}',
        b"5",
        b'{"price":1%s}' % (b"0" * 400),
    ],
)
def test_nonsense_is_no_price(body: bytes) -> None:
    with pytest.raises(CodecError):
        price_in(body, ["price"])


async def test_without_sources_nothing_is_asked() -> None:
    async with asyncio.timeout(5):
        await Sources(MarketConfig(), NewsBoard(), lambda *_: None, SystemClock()).run()
