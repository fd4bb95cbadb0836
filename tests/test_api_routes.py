"""Routes beyond nof1's: market data, money, wakeups, backtests; and a fuzzer that may ask anything."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Iterator
from decimal import Decimal
from typing import Any

import asyncpg
import msgspec
import pytest
import schemathesis
from aiohttp import web
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis.checks import CHECKS
from schemathesis.core.result import Ok

from api.app import make_app
from api.cache import LiveCache
from api.endpoint import Sources
from api.tallies import Tallies
from engine.clock import SimClock
from engine.config.engine import EngineConfig
from engine.core.cash import Transfer
from engine.core.market import Level
from engine.core.signals import MarketSnapshot, TimeframeView
from engine.core.times import NS_PER_S
from engine.journal.postgres.journal import PostgresJournal
from engine.journal.postgres.reader import JournalReader
from engine.redis_bus import RedisBus
from engine.telemetry.status import BooksStatus, EngineStatus, status_key
from tests.api_parts import NOW, Client, fill_journal, served
from tests.journal_parts import ACCOUNT, T0

T0_MS = T0 // 1_000_000
STATUS = EngineStatus(
    account_id="sim",
    provider="sim",
    trading_enabled=True,
    speed=1.0,
    ts=NOW,
    ts_started=T0,
    connections={},
    counts={},
    refusals={},
    entries_refused="",
    books=BooksStatus(
        balanced=True, difference=0, venue_equity=1, traders_equity=1, reserve=0, detail="", ts=T0
    ),
)


@pytest.fixture
async def api(database: str, database_ro: str, redis_api_url: str) -> AsyncIterator[Client]:
    await fill_journal(database)
    async with served(database_ro, redis_api_url) as client:
        yield client


async def get(api: Client, path: str) -> Any:
    async with api.get(path) as response:
        assert response.status == 200, await response.text()
        return await response.json()


async def test_candles_come_oldest_first_in_pages(api: Client) -> None:
    page = await get(api, "/api/market/candles?symbol=BTC&limit=2")
    assert [each["timestamp"] for each in page["candles"]] == [T0_MS + 60_000, T0_MS + 180_000]
    assert page["symbol"] == "BTC-USDT-SWAP"
    before = await get(api, f"/api/market/candles?symbol=BTC&limit=2&before={page['nextBefore']}")
    assert [each["timestamp"] for each in before["candles"]] == [T0_MS]
    assert before["nextBefore"] is None
    assert before["candles"][0]["close"] == 64123.5


async def test_snapshots_show_each_value_with_its_age_and_null_for_unknown(
    api: Client, redis_url: str
) -> None:
    snapshot = MarketSnapshot(
        symbol="BTC-USDT-SWAP",
        ts=NOW - NS_PER_S,
        last=5.0,
        ts_price=NOW - 3 * NS_PER_S,
        bid=4.5,
        ts_quotes=NOW - 2 * NS_PER_S,
        bids=(Level(4.5, 3.0),),
        ts_book=NOW - 2 * NS_PER_S,
        live={"spread_bps": 2.0, "basis_bps": None},
        ts_live={"spread_bps": NOW - NS_PER_S},
        timeframes=(
            TimeframeView(timeframe="1m", ts_close=NOW - 9 * NS_PER_S, closes=(5.0,), features={"rsi": None}),
        ),
        stale=("index-tickers",),
    )
    bus = RedisBus(redis_url, "dev", SimClock(NOW))
    await bus.cache.set_json("market:snapshot:BTC-USDT-SWAP", msgspec.json.encode(snapshot))
    (shown,) = (await get(api, "/api/market/snapshots?symbol=BTC"))["snapshots"]
    (rate,) = (await get(api, "/api/market/funding?symbol=BTC"))["funding"]
    await bus.aclose()
    assert shown["last"] == {"value": 5.0, "age": 3.0}
    assert (shown["bid"], shown["ask"]["value"]) == ({"value": 4.5, "age": 2.0}, None)
    assert (shown["bids"], shown["bookAge"]) == ([[4.5, 3.0]], 2.0)
    assert shown["openInterest"] == shown["mark"] == shown["highestBuy"] == {"value": None, "age": None}
    assert shown["live"]["spread_bps"] == {"value": 2.0, "age": 1.0}
    assert shown["live"]["basis_bps"] == {"value": None, "age": None}
    assert shown["timeframes"] == [
        {"timeframe": "1m", "age": 9.0, "features": {"rsi": None}, "forming": None}
    ]
    assert shown["silent"] == ["index-tickers"]
    assert (rate["rate"], rate["timestamp"], rate["seen"]) == (None, None, None)


async def test_coverage_says_what_is_missing_and_why(api: Client) -> None:
    (row,) = (await get(api, "/api/data-health/coverage?symbol=BTC/USDT:USDT"))["coverage"]
    assert (row["timeframe"], row["count"], row["missing"]) == ("1m", 3, 1)
    (event,) = (await get(api, "/api/data-health/integrity-events?symbol=BTC"))["events"]
    assert (event["kind"], event["first"], event["last"]) == ("gap", T0_MS + 120_000, T0_MS + 180_000)


async def test_money_is_summed_and_compared_with_the_venue(api: Client) -> None:
    summary = await get(api, "/api/account/summary")
    assert (summary["traders"], summary["venue_equity"], summary["balanced"]) == (1, 100_000, True)
    assert summary["equity"] == 10_050
    assert summary["return_pct"] == pytest.approx(0.5)
    assert summary["margin_used_pct"] == pytest.approx(summary["margin_used"] / 10_050 * 100)
    (balance,) = (await get(api, "/api/balances"))["balances"]
    assert (balance["cash"], balance["equity"], balance["timestamp"]) == (99_990.5, 100_000, T0_MS)
    costs = await get(api, "/api/costs?days=2")
    assert costs["days"] == 2
    assert costs["total_usd"] == sum(row["cost_usd"] for row in costs["costs"])


async def test_S5_183_capital_and_its_moves_are_told(api: Client, database: str) -> None:
    transfer = Transfer(
        transfer_id="t", account_id=ACCOUNT, giver="alice", taker="bob", amount=Decimal(500), ts=T0 + 1000
    )
    async with PostgresJournal(database, SimClock(NOW)) as journal:
        for flow in transfer.flows(transfer.amount):
            await journal.record_cash_flow(flow)
    told = await get(api, "/api/allocations?limit=2")
    assert [(row["trader_id"], row["capital"]) for row in told["traders"]] == [("alice", 9_500), ("bob", 500)]
    assert [(row["trader_id"], row["kind"], row["amount"]) for row in told["moves"]] == [
        ("bob", "rebalance", 500),
        ("alice", "rebalance", -500),
    ]
    older = await get(api, f"/api/allocations?trader=alice&before={told['nextBefore']}")
    assert [row["kind"] for row in older["moves"]] == ["capital"]
    assert [row["equity"] for row in older["traders"]] == [10_050]


async def test_wakeups_and_backtests_are_there(api: Client) -> None:
    (wakeup,) = (await get(api, "/api/wakeups?trader=alice"))["wakeups"]
    assert wakeup["reasons"]
    assert (await get(api, "/api/wakeups?trader=bob"))["wakeups"] == []
    (run,) = (await get(api, "/api/backtests"))["backtests"]
    detail = await get(api, f"/api/backtests/{run['run_id']}")
    assert (detail["metrics"], detail["equity_curve"]) == ({"return_pct": 1.5}, [[0, 1]])
    async with api.get("/api/backtests/none") as response:
        assert response.status == 404


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("/api/market/candles", "symbol"),
        ("/api/market/candles?symbol=not/a/swap", "symbol"),
        ("/api/market/candles?symbol=BTC&timeframe=7m", "timeframe"),
        ("/api/market/candles?symbol=BTC&limit=5001", "limit"),
        ("/api/costs?days=0", "days"),
    ],
)
async def test_a_wrong_query_names_what_is_wrong(api: Client, path: str, said: str) -> None:
    async with api.get(path) as response:
        assert response.status == 400
        assert response.content_type == "application/problem+json"
        assert said in (await response.json())["detail"]


async def test_the_page_names_every_route(api: Client) -> None:
    async with api.get("/api/docs") as response:
        assert response.content_type == "text/html"
        page = await response.text()
    for path in (await get(api, "/api/openapi.json"))["paths"]:
        assert f"<code>GET {path}</code>" in page


async def test_ready_says_whether_the_database_answers(api: Client, redis_api_url: str) -> None:
    async with api.get("/readyz") as response:
        assert response.status == 200
    async with (
        served("postgresql://nobody@127.0.0.1:1/none", redis_api_url) as other,
        other.get("/readyz") as response,
    ):
        assert response.status == 503


async def test_the_role_of_the_api_can_write_nothing(database_ro: str) -> None:
    connection = await asyncpg.connect(database_ro)
    try:
        await connection.execute("set default_transaction_read_only = off")
        tables = await connection.fetch("select tablename from pg_tables where schemaname = 'public'")
        assert len(tables) > 20
        for row in tables:
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await connection.execute(f'delete from "{row["tablename"]}"')  # noqa: S608 - names of tables
    finally:
        await connection.close()


@pytest.fixture
def url(database: str, database_ro: str, redis_api_url: str) -> Iterator[str]:
    """The API in a loop of its own: the fuzzer asks synchronously."""
    ready, told = threading.Event(), {"url": ""}
    loop = asyncio.new_event_loop()
    stop = asyncio.Event()

    async def serve() -> None:
        await fill_journal(database)
        clock = SimClock(NOW)
        async with JournalReader(database_ro) as reader, LiveCache(redis_api_url, "dev", clock) as cache:
            sources = Sources(reader=reader, cache=cache, clock=clock, tallies=Tallies(reader))
            service = make_app(sources, EngineConfig())
            runner = web.AppRunner(service.app, access_log=None)
            await runner.setup()
            service.front.stand_before(runner)
            site = web.TCPSite(runner, "127.0.0.1", 0)
            await site.start()
            told["url"] = f"http://127.0.0.1:{runner.addresses[0][1]}"
            ready.set()
            await stop.wait()
            await runner.cleanup()

    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),))
    thread.start()
    assert ready.wait(20)
    yield told["url"]
    loop.call_soon_threadsafe(stop.set)
    thread.join(10)
    loop.close()


def test_a_fuzzer_finds_no_answer_that_the_description_does_not_know(url: str) -> None:
    schema = schemathesis.openapi.from_url(f"{url}/api/openapi.json")
    checks = CHECKS.get_all()
    found = [result.ok() for result in schema.get_all_operations() if isinstance(result, Ok)]
    assert len(found) > 25
    for operation in found:
        _fuzz(operation, checks)


def _fuzz(operation: Any, checks: Any) -> None:
    @settings(
        max_examples=6,
        deadline=None,
        database=None,
        derandomize=True,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy())
    def ask(case: Any) -> None:
        case.call_and_validate(checks=checks)

    ask()


async def test_no_integer_is_more_than_a_client_in_javascript_can_read(api: Client, redis_url: str) -> None:
    """Numbers of JSON are doubles there: beyond 2^53 they would be rounded without a word."""
    bus = RedisBus(redis_url, "dev", SimClock(NOW))
    await bus.cache.set_json(status_key("dev"), msgspec.json.encode(STATUS))
    too_large: list[str] = []
    paths = (await get(api, "/api/openapi.json"))["paths"]
    for path, described in paths.items():
        if path == "/api/stream":
            continue
        wanted = [each["name"] for each in described["get"].get("parameters", ()) if each.get("required")]
        query = {name: "BTC" for name in wanted if name != "id"}
        async with api.get(path.replace("{id}", "alice-1"), params=query) as response:
            text = await response.text()
            assert response.status in {200, 404}, (path, text)
        if response.content_type == "application/json":
            numbers: list[str] = []
            json.loads(text, parse_int=numbers.append)
            too_large += [f"{path}: {digits}" for digits in numbers if abs(int(digits)) >= 2**53]
    await bus.aclose()
    assert too_large == []
