"""The API over real stores: every key of nof1's wire with its type, and answers that hang together."""

from __future__ import annotations

from collections.abc import AsyncIterator
from decimal import Decimal
from typing import Any, Final

import asyncpg
import msgspec
import pytest
import redis.asyncio

from api.app import ENDPOINTS
from api.routes.market import CandlesQuery, CoverageQuery
from api.routes.records import (
    FillRows,
    OrderRows,
    RiskEventRows,
    SignalRows,
)
from api.views import seconds
from engine.bus_owner import DATABASE, KEY
from engine.clock import SystemClock
from engine.config.engine import ApiConfig
from engine.core.times import NS_PER_DAY
from engine.journal.ports import AccountCheck
from engine.journal.postgres.journal import PostgresJournal
from engine.journal.postgres.reader import JournalReader
from engine.telemetry.status import BooksStatus, EngineStatus, status_key
from tests import journal_parts as parts
from tests.api_parts import NOW, Client, fill_journal, served
from tests.journal_parts import T0

Number: Final = (int, float)
POSITION: Final = {
    "entry_oid": int,
    "risk_usd": Number,
    "confidence": Number,
    "index_col": type(None),
    "exit_plan": dict,
    "entry_time": Number,
    "symbol": str,
    "entry_price": Number,
    "tp_oid": int,
    "margin": Number,
    "wait_for_fill": bool,
    "sl_oid": int,
    "oid": int,
    "current_price": Number,
    "closed_pnl": Number,
    "liquidation_price": Number,
    "commission": Number,
    "leverage": Number,
    "slippage": Number,
    "quantity": Number,
    "unrealized_pnl": Number,
}
TRADE: Final = {
    **dict.fromkeys(["quantity", "leverage", "confidence", "exit_closed_pnl", "entry_closed_pnl"], Number),
    **dict.fromkeys(["entry_price", "exit_price", "entry_time", "exit_time"], Number),
    **dict.fromkeys(["entry_sz", "exit_sz", "realized_gross_pnl", "realized_net_pnl"], Number),
    **dict.fromkeys(["entry_commission_dollars", "exit_commission_dollars"], Number),
    "total_commission_dollars": Number,
    **dict.fromkeys(["id", "model_id", "symbol", "side", "trade_type", "trade_id"], str),
    **dict.fromkeys(["entry_human_time", "exit_human_time"], str),
    **dict.fromkeys(["entry_tid", "exit_tid", "entry_oid", "exit_oid"], int),
    **dict.fromkeys(["entry_crossed", "exit_crossed"], bool),
    **dict.fromkeys(["entry_liquidation", "exit_liquidation"], type(None)),
    "exit_plan": dict,
}
STANDING: Final = {
    "id": str,
    **dict.fromkeys(["num_trades", "num_wins", "num_losses"], int),
    **dict.fromkeys(["sharpe", "win_dollars", "lose_dollars", "return_pct", "equity"], Number),
}
TOTAL: Final = {
    **dict.fromkeys(["id", "model_id"], str),
    **dict.fromkeys(
        ["timestamp", "dollar_equity", "realized_pnl", "total_unrealized_pnl", "cum_pnl_pct"], Number
    ),
    "sharpe_ratio": (*Number, type(None)),
    **dict.fromkeys(["since_inception_hourly_marker", "since_inception_minute_marker"], int),
    "positions": dict,
}
SINCE: Final = {
    **dict.fromkeys(["id", "model_id"], str),
    **dict.fromkeys(["nav_since_inception", "inception_date"], Number),
    "num_invocations": int,
}
CONVERSATION: Final = {
    **dict.fromkeys(["id", "model_id", "skill", "run_id", "cycle_id", "user_prompt"], str),
    **dict.fromkeys(["cot_trace", "cot_trace_summary"], str),
    "timestamp": Number,
    "inserted_at": Number,
    "messages": list,
    "llm_response": dict,
}
ANSWER: Final = {
    **dict.fromkeys(["signal", "invalidation_condition", "justification", "coin"], str),
    **dict.fromkeys(["quantity", "leverage", "profit_target", "stop_loss", "risk_usd", "confidence"], Number),
    "is_add": bool,
}
ITEM: Final = {
    **dict.fromkeys(["id", "model_id", "last_trade_doc_id", "last_convo_doc_id"], str),
    **dict.fromkeys(["updated_at", "last_trade_exit_time", "last_convo_timestamp"], Number),
}
TABLES: Final = {  # name → number of keys
    "fee_pnl_moves_breakdown_table": 12,
    "winners_losers_breakdown_table": 13,
    "signals_breakdown_table": 34,
    "invocation_breakdown_table": 5,
    "longs_shorts_breakdown_table": 15,
    "overall_trades_overview_table": 13,
}


@pytest.fixture
async def api(database: str, database_ro: str, redis_api_url: str) -> AsyncIterator[Client]:
    await fill_journal(database)
    async with served(database_ro, redis_api_url) as client:
        yield client


async def got(api: Client, path: str) -> Any:
    async with api.get(path) as response:
        assert response.status == 200, await response.text()
        assert response.content_type == "application/json"
        return await response.json()


def has(row: dict[str, Any], shape: dict[str, Any]) -> None:
    """Every key of `shape` is there with its type; a bool is no number."""
    for key, kind in shape.items():
        assert key in row, key
        assert isinstance(row[key], kind), (key, row[key])
        if kind in (int, Number):
            assert not isinstance(row[key], bool), key


async def test_positions_have_21_keys_and_the_newest_price(api: Client) -> None:
    answer = await got(api, "/api/positions?limit=1000")
    assert isinstance(answer["serverTime"], int)
    assert [row["model_id"] for row in answer["accountTotals"]] == ["alice", "bob"]
    assert answer["accountTotals"][1]["positions"] == {}
    held = answer["accountTotals"][0]["positions"]["BTC"]
    has(held, POSITION)
    assert len(POSITION) == 21
    assert set(held["exit_plan"]) == {"profit_target", "stop_loss", "invalidation_condition"}
    assert held["current_price"] == 64123.5
    assert held["unrealized_pnl"] == pytest.approx(0.02 * (64123.5 - 64000.123456789))


async def test_liquidation_price_is_that_of_the_newest_account_not_of_the_last_fill(
    database: str, database_ro: str, redis_api_url: str
) -> None:
    await fill_journal(database)
    held = parts.position()
    other = msgspec.structs.replace(held, symbol="ETH-USDT-SWAP")
    seen = msgspec.structs.replace(held, liquidation_price=Decimal(41_000))
    before_its_last_fill = msgspec.structs.replace(other, contracts=Decimal(3), liquidation_price=Decimal(9))
    async with PostgresJournal(database, SystemClock()) as journal:
        await journal.record_position(parts.view(T0, held, other), [])
        await journal.record_performance([parts.view(T0 + NS_PER_DAY, seen, before_its_last_fill)])
    async with served(database_ro, redis_api_url) as api:
        row = (await got(api, "/api/positions"))["accountTotals"][0]
    assert {name: one["liquidation_price"] for name, one in row["positions"].items()} == {
        "BTC": 41_000,
        "ETH": 0,
    }


async def test_trades_have_every_key_and_add_up(api: Client) -> None:
    answer = await got(api, "/api/trades?limit=10&model=alice")
    (trade,) = answer["trades"]
    has(trade, TRADE)
    assert len(TRADE) == 33
    assert trade["realized_net_pnl"] == pytest.approx(trade["entry_closed_pnl"] + trade["exit_closed_pnl"])
    assert trade["realized_gross_pnl"] == pytest.approx(
        trade["quantity"] * (trade["exit_price"] - trade["entry_price"]), abs=1e-6
    )
    assert trade["entry_oid"] < 1 << 53
    assert answer["nextBefore"] is None
    assert (await got(api, "/api/trades?model=bob"))["trades"] == []


async def test_leaderboard_counts_all_trades_and_has_no_server_time(api: Client) -> None:
    answer = await got(api, "/api/leaderboard")
    assert set(answer) == {"leaderboard"}
    rows = {row["id"]: row for row in answer["leaderboard"]}
    for row in rows.values():
        has(row, STANDING)
    alice = rows["alice"]
    assert (alice["num_trades"], alice["num_wins"], alice["num_losses"]) == (1, 1, 0)
    assert (alice["equity"], alice["return_pct"]) == (10_050, 0.5)
    assert rows["bob"]["return_pct"] == 0


async def test_account_totals_continue_from_the_hour_that_was_read(api: Client) -> None:
    answer = await got(api, "/api/account-totals")
    rows = answer["accountTotals"]
    for row in rows:
        has(row, TOTAL)
    assert [row["since_inception_minute_marker"] for row in rows] == [0, 60, 61, 119]
    assert rows[-1]["cum_pnl_pct"] == 0.5
    assert len({row["id"] for row in rows}) == 4
    has(rows[0]["positions"]["BTC"], POSITION)
    assert answer["lastHourlyMarkerRead"] == 1
    later = await got(api, "/api/account-totals?lastHourlyMarker=1")
    assert later["accountTotals"] == rows[1:]
    assert (await got(api, "/api/account-totals?lastHourlyMarker=9"))["lastHourlyMarkerRead"] == 9


async def test_since_inception_values_and_prices_have_their_keys(api: Client) -> None:
    answer = await got(api, "/api/since-inception-values")
    for row in answer["sinceInceptionValues"]:
        has(row, SINCE)
    assert answer["sinceInceptionValues"][0]["nav_since_inception"] == 10_000
    assert answer["sinceInceptionValues"][0]["num_invocations"] == 1
    prices = await got(api, "/api/crypto-prices")
    assert prices["prices"]["BTC"] == {
        "symbol": "BTC",
        "price": 64123.5,
        "timestamp": T0 // 1_000_000 + 240_000,
    }
    assert prices["serverTime"] == NOW // 1_000_000


async def test_conversations_serve_both_shapes_in_one_row(api: Client) -> None:
    answer = await got(api, "/api/conversations")
    (row,) = answer["conversations"]
    has(row, CONVERSATION)
    assert [message["role"] for message in row["messages"]] == ["system", "user", "assistant"]
    assert all(isinstance(message["timestamp"], int) for message in row["messages"])
    has(row["llm_response"]["BTC"], ANSWER)
    assert row["llm_response"]["BTC"]["quantity"] == pytest.approx(1280.10 / 64000.1)


async def test_analytics_have_six_tables_with_every_key(api: Client) -> None:
    answer = await got(api, "/api/analytics")
    assert isinstance(answer["serverTime"], int)
    for item in answer["analytics"]:
        has(item, ITEM)
        for table, keys in TABLES.items():
            assert len(item[table]) == keys, table
            assert all(isinstance(value, Number) for value in item[table].values())
    one = await got(api, "/api/analytics/alice")
    assert set(one) == {"analytics"}
    assert one["analytics"][0]["overall_trades_overview_table"]["total_trades"] == 1
    assert one["analytics"][0]["signals_breakdown_table"]["num_long_signals"] == 1
    assert await got(api, "/api/analytics/nobody") == {"analytics": []}


async def test_a_cycle_shows_everything_from_signal_to_cent(api: Client) -> None:
    chain = await got(api, "/api/cycles/alice-1")
    assert [row["signal_id"] for row in chain["signals"]] == ["BTC-USDT-SWAP:rsi:UP:1"]
    assert [(row["code"], row["subject"]) for row in chain["notes"]] == [
        ("cooldown", "BTC-USDT-SWAP:rsi:UP:0")
    ]
    assert chain["cycle"]["status"] == "decided"
    assert chain["user_prompt"] == "Now?"
    assert [row["approved"] for row in chain["validations"]] == [True]
    orders = {row["client_order_id"] for row in chain["orders"]}
    assert {row["client_order_id"] for row in chain["intents"]} == orders
    assert {row["client_order_id"] for row in chain["fills"]} == orders
    assert len(orders) == 2
    (trade,) = chain["trades"]
    assert {trade["entry_client_order_id"], trade["exit_client_order_id"]} == orders
    closed = parts.closed()
    assert (trade["entry_time"], trade["exit_time"]) == (seconds(closed.ts_entry), seconds(closed.ts_exit))
    assert trade["net"] == float(closed.net)
    signal, timer = chain["cycle"]["reasons"]
    assert (signal["signal"]["detector"], signal["timestamp"]) == ("rsi", seconds(T0))
    assert (timer["kind"], timer["signal"]) == ("short_timer", None)
    (call,) = chain["calls"]
    assert (call["model"], call["tokens_out"], call["answer"]) == ("rules-only-demo", 3, "{}")
    assert call["answered_at"] >= call["asked_at"] >= seconds(T0)


@pytest.mark.parametrize(
    ("path", "rows", "keys"),
    [
        ("/api/signals?limit=8", "signals", {"symbol", "detector", "edge", "score"}),
        ("/api/decisions?trader=alice", "decisions", {"trader_id", "status", "decisions"}),
        ("/api/orders", "orders", {"client_order_id", "state", "cycle_id"}),
        ("/api/fills", "fills", {"fill_id", "price", "fee"}),
        ("/api/risk-events", "riskEvents", {"kind", "detail"}),
        ("/api/traders", "traders", {"trader_id", "capital"}),
    ],
)
async def test_rows_of_the_journal_are_served(api: Client, path: str, rows: str, keys: set[str]) -> None:
    answer = await got(api, path)
    assert keys <= set(answer[rows][0])


async def test_pages_cover_every_row_once(api: Client) -> None:
    first = await got(api, "/api/fills?limit=1")
    second = await got(api, f"/api/fills?limit=1&before={first['nextBefore']}")
    assert first["fills"][0]["seq"] > second["fills"][0]["seq"]
    assert (await got(api, f"/api/fills?limit=1&before={second['nextBefore']}"))["fills"] == []


STATUS: Final = EngineStatus(
    account_id="okx-1",
    provider="okx",
    trading_enabled=True,
    speed=20,
    ts=NOW,
    ts_started=T0,
    connections={"public": "live"},
    counts={"frames": 12, "wakeups": 3},
    refusals={},
    entries_refused="",
    books=BooksStatus(
        balanced=True, difference=0, venue_equity=1, traders_equity=1, reserve=0, detail="", ts=NOW
    ),
)


async def test_live_prices_and_the_engine_show_when_redis_has_them(
    database: str, database_ro: str, redis_url: str, redis_api_url: str
) -> None:
    await fill_journal(database)
    async with redis.asyncio.Redis.from_url(redis_url) as engine:
        await engine.set(status_key("dev"), msgspec.json.encode(STATUS))
        await engine.hset(
            "market:prices",
            mapping={"BTC": b'{"symbol":"BTC","price":7.5,"timestamp":5}', "ETH": b"not json"},
        )
    async with served(database_ro, redis_api_url) as api:
        health = await got(api, "/api/health")
        assert (health["status"], health["connections"]) == ("ok", {"public": "live"})
        assert (health["environment"], health["redis"]) == ("okx-demo-global", "ok")
        assert health["counts"] == {
            "frames": 12,
            "wakeups": 3,
            "signals": 1,
            "decisions": 1,
            "orders": 2,
            "fills": 2,
        }
        assert health["books"]["balanced"] is True
        assert (await got(api, "/api/crypto-prices"))["prices"] == {
            "BTC": {"symbol": "BTC", "price": 7.5, "timestamp": 5}
        }
        held = (await got(api, "/api/positions"))["accountTotals"][0]["positions"]["BTC"]
        assert held["current_price"] == 7.5


async def test_books_of_another_account_that_differ_are_told(
    database: str, database_ro: str, redis_url: str, redis_api_url: str
) -> None:
    await fill_journal(database)
    check = AccountCheck(
        account_id="okx-2",
        ts=NOW,
        balanced=False,
        venue_equity=Decimal(7),
        traders_equity=Decimal(5),
        reserve=Decimal(0),
        difference=Decimal(2),
        detail="BTC-USDT-SWAP",
    )
    other = msgspec.structs.replace(parts.TRADER, trader_id="carol", account_id="okx-2")
    async with PostgresJournal(database, SystemClock()) as journal:
        await journal.record_traders([other])
        await journal.record_check(check)
    async with redis.asyncio.Redis.from_url(redis_url) as engine:
        await engine.set(status_key("dev"), msgspec.json.encode(STATUS))
    async with served(database_ro, redis_api_url) as api:
        health = await got(api, "/api/health")
    assert (health["status"], health["books"]["detail"]) == ("degraded", "BTC-USDT-SWAP")


async def test_a_redis_of_another_database_is_said_to_be_foreign(
    database: str, database_ro: str, redis_url: str, redis_api_url: str
) -> None:
    await fill_journal(database)
    async with redis.asyncio.Redis.from_url(redis_url) as engine:
        await engine.hset(KEY, DATABASE, "another one's id")
    async with served(database_ro, redis_api_url) as api:
        health = await got(api, "/api/health")
    assert (health["status"], health["redis"]) == ("degraded", "foreign")


async def test_books_come_from_the_journal_while_the_engine_is_silent(api: Client) -> None:
    health = await got(api, "/api/health")
    assert (health["status"], health["engine"], health["database"], health["redis"]) == (
        "degraded",
        None,
        "ok",
        "ok",
    )
    assert (health["books"]["balanced"], health["books"]["reserve"]) == (True, 89_950)
    assert (await got(api, "/api/integrity"))["balanced"] is True


async def test_description_names_every_route_and_its_parameters(api: Client) -> None:
    described = await got(api, "/api/openapi.json")
    assert set(described["paths"]) == {endpoint.path for endpoint in ENDPOINTS}
    totals = described["paths"]["/api/account-totals"]["get"]["parameters"]
    assert [(row["name"], row["in"]) for row in totals] == [("lastHourlyMarker", "query")]
    cycle = described["paths"]["/api/cycles/{id}"]["get"]["parameters"]
    assert [(row["name"], row["in"], row["required"]) for row in cycle] == [("id", "path", True)]


@pytest.mark.parametrize(
    ("name", "answer"),
    [
        ("signals", SignalRows),
        ("orders", OrderRows),
        ("fills", FillRows),
        ("risk-events", RiskEventRows),
    ],
)
async def test_pages_that_postgres_writes_are_of_the_described_type(
    api: Client, name: str, answer: type[msgspec.Struct]
) -> None:
    async with api.get(f"/api/{name}") as response:
        body = await response.read()
    typed = msgspec.json.decode(body, type=answer)
    key = answer.__struct_fields__[-1]
    rows, plain = getattr(typed, key), msgspec.json.decode(body)[key]
    assert rows
    for row, found in zip(rows, plain, strict=True):
        assert list(found) == list(row.__struct_fields__)


async def test_an_empty_journal_gives_empty_answers(database_ro: str, redis_api_url: str) -> None:
    async with served(database_ro, redis_api_url) as api:
        for endpoint in ENDPOINTS:
            if "{" not in endpoint.path:
                needs_symbol = endpoint.query in {CandlesQuery, CoverageQuery}
                await got(api, endpoint.path + "?symbol=BTC" * needs_symbol)


async def test_the_reader_cannot_write(database_ro: str, database: str) -> None:
    for dsn in (database_ro, database):  # by its role, and by its session when the role could
        async with JournalReader(dsn) as reader:
            with pytest.raises(asyncpg.PostgresError, match=r"read-only|permission"):
                await reader.rows("insert into part_states values ('a', 'b', '', 1) returning kind")


def test_no_token_is_asked_by_default() -> None:
    assert ApiConfig().tokens == ()
    assert ApiConfig().host == "127.0.0.1"
