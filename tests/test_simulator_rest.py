"""The simulator over REST: signatures, envelope, errors, lists, limits, shapes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from engine.clock import SimClock
from engine.core.times import NS_PER_HOUR, NS_PER_S
from engine.exchange.matching.types import VenueRefusal
from engine.exchange.simulator.limits import Limiter
from engine.exchange.simulator.paging import Paged, page
from tests.fixtures.simulator.client import BTC, CLOCK, Client, simulator

KEYS: dict[str, list[str]] = json.loads(
    (Path(__file__).parent / "fixtures" / "simulator" / "keys.json").read_text()
)


@pytest.mark.parametrize(
    ("changes", "missing", "code", "status"),
    [
        ({"key": "other"}, "", "50119", 200),
        ({"secret": "other"}, "", "50113", 401),
        ({"pass": "other"}, "", "50105", 401),
        ({"timestamp": "yesterday"}, "", "50112", 401),
        ({}, "OK-ACCESS-KEY", "50103", 401),
        ({}, "OK-ACCESS-PASSPHRASE", "50104", 401),
        ({}, "OK-ACCESS-SIGN", "50106", 401),
        ({}, "OK-ACCESS-TIMESTAMP", "50107", 401),
    ],
)
async def test_wrong_signature_is_refused(
    changes: dict[str, str], missing: str, code: str, status: int
) -> None:
    path = "/api/v5/account/balance?ccy=USDT"
    async with simulator() as venue:
        headers = venue.headers("GET", path, **changes)
        headers.pop(missing, None)
        got, answer = await venue.ask("GET", path, headers=headers)
        assert (got, answer["code"], answer["data"]) == (status, code, [])
        assert (await venue.get("account/balance", ccy="USDT"))[0]["totalEq"] == "100000"


@pytest.mark.parametrize(("seconds", "code"), [(-31, "50102"), (31, "50102"), (-25, "0"), (25, "0")])
async def test_time_stamps_live_thirty_seconds(seconds: float, code: str) -> None:
    async with simulator() as venue:
        path = "/api/v5/account/config"
        headers = venue.headers("GET", path, timestamp=venue.stamp(seconds))
        assert (await venue.ask("GET", path, headers=headers))[1]["code"] == code


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "code"),
    [
        ("GET", "no/such/thing", "", 404, "404"),
        ("POST", "market/tickers", "{}", 405, "50115"),
        ("GET", "trade/cancel-order", "", 405, "50115"),
        ("POST", "trade/order", "", 400, "50000"),
        ("POST", "trade/order", "{", 400, "50002"),
        ("POST", "trade/order", "[]", 400, "50014"),
        ("POST", "trade/order", "[1]", 400, "50002"),
        ("POST", "trade/batch-orders", json.dumps([{}] * 21), 200, "51111"),
        ("POST", "trade/close-position", "[]", 400, "50002"),
        ("GET", "public/instruments", "", 400, "50014"),
        ("GET", "market/candles", "", 400, "50014"),
        ("GET", "market/candles?instId=NO-USDT-SWAP", "", 200, "51001"),
        ("GET", f"market/candles?instId={BTC}&bar=7m", "", 400, "51000"),
        ("GET", f"market/candles?instId={BTC}&limit=x", "", 400, "51000"),
        ("GET", f"market/candles?instId={BTC}&after=-1", "", 400, "51000"),
        ("GET", f"trade/order?instId={BTC}&clOrdId=never", "", 200, "51603"),
        ("GET", f"trade/order?instId={BTC}", "", 400, "51000"),
        ("GET", "trade/orders-history", "", 400, "50014"),
        ("GET", "trade/orders-algo-pending", "", 400, "50014"),
    ],
)
async def test_bad_request_has_the_code_of_the_venue(
    method: str, path: str, body: str, status: int, code: str
) -> None:
    async with simulator() as venue:
        got, answer = await venue.ask(method, f"/api/v5/{path}", body)
        assert (got, answer["code"]) == (status, code), answer


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"instId": "NO-USDT-SWAP"}, "51001"),
        ({"sz": "0.015"}, "51121"),
        ({"sz": "0.001"}, "51020"),
        ({"sz": "1e3"}, "51000"),
        ({"sz": "nan"}, "51000"),
        ({"sz": ["1"]}, "51000"),
        ({"sz": "1" * 40}, "51000"),
        ({"attachAlgoOrds": "stop"}, "51000"),
        ({"attachAlgoOrds": [{"slTriggerPx": "nan"}]}, "51000"),
        ({"side": "up"}, "51000"),
        ({"ordType": "limit"}, "51204"),
        ({"ordType": "limit", "px": "80000"}, "51006"),
        ({"posSide": ""}, "51000"),
        ({"clOrdId": "with-dash"}, "51000"),
        ({"clOrdId": "a" * 33}, "51000"),
        ({"sz": "5000"}, "51008"),
        ({"side": "sell"}, "51169"),
        ({"tdMode": ""}, "50014"),
    ],
)
async def test_refused_order_has_its_own_code_and_leaves_nothing(changes: dict[str, Any], code: str) -> None:
    async with simulator() as venue:
        await venue.market("50000")
        verdict = await venue.order(**changes)
        assert verdict["sCode"] == code, verdict
        assert not verdict["ordId"]
        assert await venue.get("trade/orders-pending") == []
        assert (await venue.get("account/balance"))[0]["details"][0]["cashBal"] == "100000"


async def test_batch_says_of_each_item_what_became_of_it() -> None:
    async with simulator() as venue:
        await venue.market("50000")
        good = {"instId": BTC, "tdMode": "cross", "side": "buy", "posSide": "long", "ordType": "limit"}
        good |= {"px": "49000", "sz": "1", "clOrdId": "one"}
        answer = await venue.post("trade/batch-orders", [good, good, good | {"sz": "0", "clOrdId": "two"}])
        assert answer["code"] == "2"
        assert [row["sCode"] for row in answer["data"]][:2] == ["0", "51016"]
        assert answer["data"][2]["sCode"] != "0"
        assert answer["inTime"].isdigit()
        (pending,) = await venue.get("trade/orders-pending", instType="SWAP")
        assert (pending["clOrdId"], pending["state"], pending["avgPx"]) == ("one", "live", "")
        cancelled = await venue.post("trade/cancel-order", {"instId": BTC, "clOrdId": "one"})
        again = await venue.post("trade/cancel-order", {"instId": BTC, "clOrdId": "one"})
        assert (cancelled["code"], again["code"], again["data"][0]["sCode"]) == ("0", "1", "51400")


@pytest.mark.parametrize(
    ("query", "ids"),
    [
        ({}, [10, 9, 8, 7, 6, 5, 4, 3, 2, 1]),
        ({"limit": "3"}, [10, 9, 8]),
        ({"after": "10", "before": "6"}, [9, 8, 7]),
        ({"after": "9", "before": "2", "limit": "3"}, [8, 7, 6]),
        ({"after": "5", "limit": "3"}, [4, 3, 2]),
        ({"before": "6", "limit": "3"}, [9, 8, 7]),
        ({"begin": "3", "end": "5"}, [5, 4, 3]),
        ({"kind": "even", "limit": "2"}, [10, 8]),
        ({"kind": "even,odd", "limit": "2"}, [10, 9]),
    ],
)
def test_pages_are_cut_as_the_venue_cuts_them(query: dict[str, str], ids: list[int]) -> None:
    rows = [{"id": str(n), "ts": str(n), "kind": "odd" if n % 2 else "even"} for n in range(10, 0, -1)]
    found = page(rows, query, Paged(("kind",), "id", "ts"))
    assert [int(row["id"]) for row in found] == ids


async def test_lists_can_be_read_page_by_page() -> None:
    async with simulator(rate_limits=False) as venue:
        await venue.market("50000")
        for _ in range(7):
            assert (await venue.order())["sCode"] == "0"
        for path, key in (
            ("trade/fills", "billId"),
            ("trade/orders-history", "ordId"),
            ("account/bills", "billId"),
        ):
            whole = [row[key] for row in await venue.get(path, instType="SWAP")]
            pages: list[str] = []
            while rows := await venue.get(path, instType="SWAP", limit=3, after=pages[-1] if pages else ""):
                assert len(rows) <= 3
                pages += [row[key] for row in rows]
            assert pages == whole == sorted(whole, key=int, reverse=True)
            assert len(whole) >= 7


async def test_candles_are_read_backwards_without_a_hole() -> None:
    async with simulator(market="generated") as venue:
        newest = await venue.get("market/candles", instId=BTC, limit=300)
        found = [row for row in newest if row[8] == "1"]
        assert [row[8] for row in newest[:2]] == ["0", "1"]
        while len(found) < 1_500:
            found += await venue.get("market/history-candles", instId=BTC, after=found[-1][0], limit=300)
        times = [int(row[0]) for row in found]
        assert times == list(range(times[0], times[0] - 60_000 * len(times), -60_000))
        (hour,) = [r for r in await venue.get("market/candles", instId=BTC, bar="1H", limit=2) if r[8] == "1"]
        minutes = [row for row in found if 0 <= int(row[0]) - int(hour[0]) < 3_600_000]
        assert (hour[1], hour[4]) == (minutes[-1][1], minutes[0][4])
        assert float(hour[2]) == max(float(row[2]) for row in minutes)
        assert float(hour[5]) == pytest.approx(sum(float(row[5]) for row in minutes))


def test_requests_are_counted_as_the_venue_counts() -> None:
    limiter = Limiter(on=True)
    for _ in range(60):
        limiter.count(0.0, "trade/order", "a", BTC)
    for path, weight in (("trade/order", 1), ("trade/batch-orders", 1)):  # a batch of one is one order
        with pytest.raises(VenueRefusal, match="50011"):
            limiter.count(1.9, path, "a", BTC, weight)
    limiter.count(1.9, "trade/order", "a", "ETH-USDT-SWAP")
    limiter.count(1.9, "trade/order", "b", BTC)
    limiter.count(1.9, "trade/cancel-order", "a", BTC)
    limiter.count(2.0, "trade/order", "a", BTC)
    for i in range(49):
        limiter.count(2.0, "trade/batch-orders", "c", f"S{i}", 20)
    with pytest.raises(VenueRefusal, match="50061"):
        limiter.count(2.0, "trade/batch-orders", "c", "S99", 21)
    for _ in range(200):
        Limiter(on=False).count(0.0, "trade/order", "a")


async def test_too_many_requests_are_429_and_not_carried_out() -> None:
    async with simulator() as venue:
        path = "/api/v5/account/config"
        answers = [await venue.ask("GET", path) for _ in range(6)]
    assert [status for status, _ in answers] == [200] * 5 + [429]
    assert answers[-1][1]["code"] == "50011"


async def test_request_whose_life_is_over_is_dropped() -> None:
    async with simulator() as venue:
        await venue.market("50000")
        body = json.dumps({"instId": BTC, "tdMode": "cross", "side": "buy", "ordType": "market", "sz": "1"})
        headers = venue.headers("POST", "/api/v5/trade/order", body) | {"expTime": "1"}
        assert (await venue.ask("POST", "/api/v5/trade/order", body, headers))[1]["code"] == "50036"


async def test_unfilled_cancelled_order_is_forgotten_after_two_hours() -> None:
    clock = SimClock(1_790_000_000 * NS_PER_S)
    async with simulator(clock=clock) as venue:
        await venue.market("50000")
        await venue.order(ordType="limit", px="49000", clOrdId="gone")
        await venue.post("trade/cancel-order", {"instId": BTC, "clOrdId": "gone"})
        assert len(await venue.get("trade/orders-history", instType="SWAP")) == 1
        assert await venue.get("trade/orders-history-archive", instType="SWAP") == []
        clock.set(clock.now_ns() + 2 * NS_PER_HOUR)
        assert await venue.get("trade/orders-history", instType="SWAP") == []
        path = f"/api/v5/trade/order?instId={BTC}&clOrdId=gone"
        assert (await venue.ask("GET", path))[1]["code"] == "51603"


async def _trade_a_little(venue: Client) -> None:
    """A filled order with a stop, a resting one, a position closed, an algo of its own."""
    await venue.market("50000")
    attached = [{"attachAlgoClOrdId": "stop1", "slTriggerPx": "49000", "slOrdPx": "-1"}]
    await venue.order(attachAlgoOrds=attached, clOrdId="entry1")
    await venue.order(ordType="limit", px="49500", clOrdId="rest1")
    await venue.order(side="sell", posSide="short", clOrdId="short1")
    closed = await venue.post("trade/close-position", {"instId": BTC, "mgnMode": "cross", "posSide": "short"})
    assert closed["code"] == "0", closed


def _keys(row: Any) -> list[str]:
    return sorted(row) if isinstance(row, dict) else [str(len(row))]


PRIVATE: list[tuple[str, dict[str, str]]] = [
    ("account/config", {}),
    ("account/balance", {}),
    ("account/positions", {"instType": "SWAP"}),
    ("account/positions-history", {"instType": "SWAP"}),
    ("account/bills", {}),
    ("account/leverage-info", {"instId": BTC, "mgnMode": "cross"}),
    ("account/trade-fee", {"instType": "SWAP"}),
    ("account/max-size", {"instId": BTC, "tdMode": "cross"}),
    ("account/max-avail-size", {"instId": BTC, "tdMode": "cross"}),
    ("trade/order", {"instId": BTC, "clOrdId": "entry1"}),
    ("trade/orders-pending", {}),
    ("trade/orders-history", {"instType": "SWAP"}),
    ("trade/fills", {}),
    ("trade/orders-algo-pending", {"ordType": "conditional,oco"}),
    ("public/instruments", {"instType": "SWAP"}),
    ("public/funding-rate", {"instId": BTC}),
    ("public/mark-price", {"instType": "SWAP"}),
    ("public/open-interest", {"instType": "SWAP"}),
    ("public/price-limit", {"instId": BTC}),
    ("public/position-tiers", {"instType": "SWAP", "tdMode": "cross", "instFamily": "BTC-USDT"}),
    ("market/tickers", {"instType": "SWAP"}),
    ("market/books", {"instId": BTC, "sz": "5"}),
    ("market/candles", {"instId": BTC}),
    ("market/mark-price-candles", {"instId": BTC}),
    ("market/trades", {"instId": BTC}),
    ("market/index-tickers", {"instId": "BTC-USDT"}),
]


async def test_answers_have_the_keys_of_the_venue_and_strings_for_numbers() -> None:
    booleans = {"futureSettlement", "autoLoan", "enableSpotBorrow", "spotBorrowAutoRepay", "enabled"}
    others = {"instIdCode", "seqId", "ctMult"}
    async with simulator() as venue:
        await _trade_a_little(venue)
        for path, query in PRIVATE:
            rows = await venue.get(path, **query)
            assert rows, path
            missing = set(KEYS[path]) - set(_keys(rows[0]))
            assert not missing, (path, missing)
            if isinstance(rows[0], dict):
                for name, value in rows[0].items():
                    assert isinstance(value, str | list | dict) or name in booleans | others, (
                        path,
                        name,
                        value,
                    )


async def test_an_order_in_words_of_the_venue() -> None:
    async with simulator() as venue:
        await _trade_a_little(venue)
        (entry,) = await venue.get("trade/order", instId=BTC, clOrdId="entry1")
        (fill, *_) = await venue.get("trade/fills", ordId=entry["ordId"])
        (algo,) = await venue.get("trade/orders-algo-pending", ordType="conditional,oco")
        (held,) = await venue.get("account/positions")
        funds = (await venue.get("account/balance"))[0]["details"][0]
        (closed,) = await venue.get("account/positions-history")
    assert (entry["state"], entry["accFillSz"], entry["avgPx"]) == ("filled", "1", "50000.1")
    assert (entry["fee"], fill["fee"], fill["execType"]) == ("-0.2500005", "-0.2500005", "T")
    assert (algo["algoClOrdId"], algo["slTriggerPx"], algo["sz"]) == ("stop1", "49000", "1")
    assert algo["algoId"] != entry["attachAlgoOrds"][0]["attachAlgoId"]
    assert (held["pos"], held["posSide"], held["upl"]) == ("1", "long", "-0.001")
    assert float(funds["cashBal"]) + float(funds["upl"]) == pytest.approx(float(funds["eq"]))
    assert (closed["direction"], closed["posSide"], closed["type"]) == ("short", "short", "2")


async def test_engine_time_is_the_time_of_the_venue() -> None:
    clock = SimClock(1_700_000_000 * NS_PER_S)
    async with simulator(clock=clock) as venue:
        (row,) = await venue.get("public/time")
        assert row["ts"] == "1700000000000" != str(CLOCK.now_ns() // 1_000_000)
        assert (await venue.get("account/config"))[0]["posMode"] == "long_short_mode"
