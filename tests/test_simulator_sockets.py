"""The simulator over WebSockets: login, subscriptions, pushes, order operations, faults, and their ends."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from engine.clock import ScaledClock, SimClock
from engine.core.times import NS_PER_HOUR, NS_PER_S
from engine.exchange.simulator.build import Plan, build
from engine.exchange.simulator.subscriptions import key
from tests.fixtures.simulator.client import ACCOUNT, BTC, CLOCK, Client, Row, simulator

KEYS: dict[str, list[str]] = json.loads(
    (Path(__file__).parent / "fixtures" / "simulator" / "keys.json").read_text()
)


def arg(channel: str, **more: Any) -> Row:
    return {"channel": channel, "instId": BTC} | more


def swaps(channel: str) -> Row:
    return {"channel": channel, "instType": "SWAP"}


async def test_a_trade_is_told_on_every_private_channel() -> None:
    async with simulator() as venue, venue.socket("private") as private, venue.socket("business") as business:
        await venue.market("50000")
        assert (await private.login())["event"] == "login"
        assert (await business.login())["event"] == "login"
        channels = [swaps("orders"), swaps("positions"), {"channel": "account"}]
        acks = await private.subscribe(*channels, {"channel": "balance_and_position"})
        await business.subscribe(swaps("orders-algo"))
        assert [ack["arg"] for ack in acks] == [*channels, {"channel": "balance_and_position"}]
        assert all(len(ack["connId"]) == 8 and ack["id"] == "1" for ack in acks)
        counts = [frame for frame in private.heard if frame.get("event") == "channel-conn-count"]
        assert {frame["connCount"] for frame in counts} == {"1"}
        first = next(f for f in private.heard if "data" in f and f["arg"]["channel"] == "positions")
        assert (first["eventType"], first["data"], first["arg"]["uid"] != "") == ("snapshot", [], True)

        attached = [{"attachAlgoClOrdId": "stop1", "slTriggerPx": "49000", "slOrdPx": "-1"}]
        verdict = await venue.order(clOrdId="entry1", attachAlgoOrds=attached)
        live = await private.push("orders", lambda row: row["state"] == "live")
        filled = await private.push("orders", lambda row: row["state"] == "filled")
        held = await private.push("positions", lambda row: row["pos"] == "1")
        both = await private.push("balance_and_position", lambda row: row["eventType"] == "filled")
        stop = await business.push("orders-algo", lambda row: row["state"] == "live")
        order = filled["data"][0]
        assert (live["data"][0]["avgPx"], live["data"][0]["fillSz"]) == ("0", "0")
        assert (order["ordId"], order["fillSz"], order["fillNotionalUsd"]) == (
            verdict["ordId"],
            "1",
            "500.001",
        )
        assert not set(KEYS["push/orders"]) - {"fillIdxPx"} - set(order)
        assert (held["data"][0]["avgPx"], held["eventType"]) == ("50000.1", "event_update")
        assert set(both["data"][0]) == set(KEYS["push/balance_and_position"])
        assert both["data"][0]["trades"] == [{"instId": BTC, "tradeId": order["tradeId"]}]
        assert stop["data"][0]["algoClOrdId"] == "stop1"

        await venue.market("48990")
        fired = await business.push("orders-algo", lambda row: row["state"] == "effective")
        closed = await private.push("positions", lambda row: row["pos"] == "0")
        done = next(
            f["data"][0]
            for f in private.heard
            if "data" in f and f["arg"]["channel"] == "orders" and f["data"][0]["algoClOrdId"] == "stop1"
        )
        assert (fired["data"][0]["actualSide"], done["side"]) == ("sl", "sell")
        assert closed["data"][0]["posSide"] == "long"
        cash = (await venue.get("account/balance"))[0]["details"][0]["cashBal"]
        fills = await venue.get("trade/fills")
        booked = sum(float(fill["fee"]) + float(fill["fillPnl"]) for fill in fills)
        assert float(cash) == pytest.approx(100_000 + booked)


async def test_channels_of_high_fee_tiers_are_for_those_who_have_one() -> None:
    book = {"channel": "books-l2-tbt", "instId": BTC}
    async with simulator() as venue, venue.socket("public") as socket:
        await socket.login()
        assert (await socket.subscribe(book))[0]["code"] == "64003"
    async with simulator(vip=True) as venue, venue.socket("public") as socket:
        await socket.login()
        await socket.subscribe(book)
        first = (await socket.push("books-l2-tbt"))["data"][0]
        await socket.subscribe(book | {"channel": "books"})
        await venue.market("60000")
        updates = [
            await socket.push(each["channel"], lambda row: row["prevSeqId"] > 0)
            for each in (book | {"channel": "books"}, book)
        ]
        assert updates[0]["data"] == updates[1]["data"]
        assert updates[0]["data"][0]["prevSeqId"] == first["seqId"]
        async with venue.socket("private") as private:
            await private.login()
            await private.subscribe({"channel": "fills"})
            await venue.order(clOrdId="77")
            (fill,) = (await private.push("fills"))["data"]
            assert (fill["clOrdId"], fill["fillSz"], fill["execType"]) == ("77", "1", "T")


async def test_bars_of_mark_and_index_are_pushed_as_rest_has_them() -> None:
    async with simulator() as venue, venue.socket("business") as socket:
        mark, index = arg("mark-price-candle1m"), {"channel": "index-candle1W", "instId": "BTC-USDT"}
        await socket.subscribe(mark, index)
        await venue.market("60000")
        for each, path in ((mark, "market/mark-price-candles"), (index, "market/index-candles")):
            (row,) = (await socket.push(each["channel"], lambda row: "60000" in row))["data"]
            bar = each["channel"].partition("candle")[2]
            known = await venue.get(path, instId=each["instId"], bar=bar, limit=3)
            assert row[:5] in [each[:5] for each in known]  # a minute may have ended since
            assert len(row) == 6


async def test_liquidation_is_told_to_the_public() -> None:
    async with simulator(accounts=("key:secret:pass:1000",)) as venue, venue.socket("public") as socket:
        await venue.market("50000")
        await socket.subscribe({"channel": "liquidation-orders", "instType": "SWAP"})
        await venue.order(sz="5")
        await venue.market("30000")
        (row,) = (await socket.push("liquidation-orders"))["data"]
        assert (row["instId"], row["details"][0]["side"], row["details"][0]["sz"]) == (BTC, "sell", "5")


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"apiKey": ""}, "60005"),
        ({"apiKey": "other"}, "60032"),
        ({"secret": "other"}, "60007"),
        ({"passphrase": "other"}, "60024"),
        ({"timestamp": "soon"}, "60004"),
        ({"timestamp": "1500000000"}, "60006"),
    ],
)
async def test_wrong_login_is_refused(changes: dict[str, str], code: str) -> None:
    async with simulator() as venue, venue.socket("private") as socket:
        assert (await socket.login(**changes))["code"] == code
        assert (await socket.subscribe(swaps("orders")))[0]["code"] == "60011"
        assert (await socket.login())["event"] == "login"
        assert (await socket.login())["code"] == "60031"


@pytest.mark.parametrize(
    ("path", "frame", "code"),
    [
        ("public", "{", "60012"),
        ("public", '{"op":"subscribe"}', "60012"),
        ("public", '{"op":"dance","args":[{}]}', "60012"),
        ("public", '{"op":[],"args":[{}]}', "60012"),
        ("public", '{"op":"subscribe","args":[{"channel":{},"instId":[]}]}', "60018"),
        ("public", '{"op":"subscribe","args":["tickers"]}', "60012"),
        ("public", '{"op":"subscribe","args":[{"channel":"tickers","instId":"NO-USDT-SWAP"}]}', "60018"),
        ("public", '{"op":"subscribe","args":[{"channel":"candle1m","instId":"BTC-USDT-SWAP"}]}', "60018"),
        ("business", '{"op":"subscribe","args":[{"channel":"candle7m","instId":"BTC-USDT-SWAP"}]}', "60018"),
        ("business", '{"op":"subscribe","args":[{"channel":"tickers","instId":"BTC-USDT-SWAP"}]}', "60018"),
        (
            "public",
            '{"op":"subscribe","args":[{"channel":"books-l2-tbt","instId":"BTC-USDT-SWAP"}]}',
            "60011",
        ),
        ("public", '{"op":"login","args":[{"apiKey":"key"}]}', "60004"),
        ("private", '{"op":"order","id":"1","args":[{}]}', "60011"),
        ("business", '{"op":"order","id":"1","args":[{}]}', "60028"),
    ],
)
async def test_bad_frame_has_the_code_of_the_venue(path: str, frame: str, code: str) -> None:
    async with simulator() as venue, venue.socket(path) as socket:
        await socket.ws.send_str(frame)
        answer = await socket.until(lambda f: f.get("event") == "error")
        assert answer["code"] == code
        await socket.ws.send_str("ping")
        assert await socket.ws.receive_str() == "pong"


async def test_one_bad_arg_does_not_spoil_the_others() -> None:
    async with simulator() as venue, venue.socket("public") as socket:
        answers = await socket.subscribe(arg("tickers"), arg("tickers", instId="NO"), arg("mark-price"))
        assert [answer["event"] for answer in answers] == ["subscribe", "error", "subscribe"]


PUBLIC = [
    *("tickers", "trades", "books", "books5", "bbo-tbt", "mark-price", "funding-rate", "open-interest"),
    "price-limit",
]


@pytest.mark.parametrize("market", ["generated", "manual"])
async def test_a_subscription_brings_the_newest_at_once(market: str) -> None:
    async with simulator(market=market) as venue:
        async with venue.socket("public") as socket:
            for each in PUBLIC:
                await socket.subscribe(arg(each))
                (row,) = (await socket.push(each))["data"]
                assert row["ts"].isdigit()
            await socket.subscribe({"channel": "index-tickers", "instId": "BTC-USDT"})
            assert (await socket.push("index-tickers"))["data"][0]["instId"] == "BTC-USDT"
            await socket.subscribe(swaps("instruments"))
            assert (await socket.push("instruments"))["data"][0]["instId"] == BTC
        async with venue.socket("business") as socket:
            await socket.subscribe(arg("candle1m"), arg("candle1Dutc"))
            assert len((await socket.push("candle1Dutc"))["data"][0]) == 9


def followed(frames: list[Row]) -> dict[str, dict[str, str]]:
    """A book kept by the rules of the sheet; fails on a gap."""
    book: dict[str, dict[str, str]] = {"asks": {}, "bids": {}}
    last = -1
    for frame in frames:
        (row,) = frame["data"]
        assert row["checksum"] == 0
        if frame["action"] == "snapshot":
            assert row["prevSeqId"] == -1
            book = {"asks": {}, "bids": {}}
        else:
            assert row["prevSeqId"] == last, "a gap"
        last = row["seqId"]
        for side in ("asks", "bids"):
            for price, size, *_ in row[side]:
                book[side][price] = size
                if size == "0":
                    del book[side][price]
    return book


async def test_books_are_a_chain_that_ends_in_the_book_of_rest() -> None:
    clock = ScaledClock(20.0, CLOCK.now_ns(), CLOCK.now_ns())
    async with simulator(market="generated", clock=clock) as venue, venue.socket("public") as first:
        await first.subscribe(arg("books"))
        async with venue.socket("public") as second:
            await first.until(lambda f: f.get("action") == "update")
            await second.subscribe(arg("books"))
            for _ in range(15):
                await second.push("books")
            books = [
                [f for f in socket.heard if f.get("arg", {}).get("channel") == "books" and "data" in f]
                for socket in (first, second)
            ]
            late = second.heard[-1]["data"][0]["seqId"]
            await first.push("books", lambda row: row["seqId"] == late)
        books[0] = [f for f in first.heard if "action" in f]
    whole, joined = (followed(frames) for frames in books)
    assert whole == joined
    assert len(whole["asks"]) == len(whole["bids"]) == 10
    assert max(map(float, whole["bids"])) < min(map(float, whole["asks"]))
    numbers = [f["data"][0]["seqId"] for f in books[0]]
    assert all(b > a for a, b in pairwise(numbers))
    assert len([f for f in books[0] if f["action"] == "snapshot"]) == 1


async def test_a_gap_and_a_restart_of_the_numbers_come_on_demand() -> None:
    async with simulator() as venue, venue.socket("public") as socket:
        await socket.subscribe(arg("books"))
        first = (await socket.push("books"))["data"][0]
        await venue.sim("faults", {"kind": "sequence_gap"})
        await venue.market("60000")
        gap = (await socket.push("books", lambda row: bool(row["asks"])))["data"][0]
        assert gap["prevSeqId"] != first["seqId"]
        await venue.sim("faults", {"kind": "sequence_reset"})
        reset = (await socket.push("books"))["data"][0]
        assert (reset["prevSeqId"], reset["seqId"] < gap["seqId"]) == (gap["seqId"], True)
        await venue.market("60001")
        assert (await socket.push("books"))["data"][0]["prevSeqId"] == reset["seqId"]


async def test_every_closed_candle_is_told_once_and_as_rest_has_it() -> None:
    clock = ScaledClock(400.0, CLOCK.now_ns(), CLOCK.now_ns())  # a minute in 0.15 s
    async with simulator(market="generated", clock=clock, rate_limits=False) as venue:
        async with venue.socket("business") as socket:
            await socket.subscribe(arg("candle1m"), arg("candle5m"))
            closed: dict[str, list[list[str]]] = {"candle1m": [], "candle5m": []}
            while len(closed["candle5m"]) < 2:
                frame = await socket.until(lambda f: "data" in f)
                closed[frame["arg"]["channel"]] += [row for row in frame["data"] if row[8] == "1"]
        for channel, rows in closed.items():
            bar = channel.removeprefix("candle")
            known = {r[0]: r for r in await venue.get("market/candles", instId=BTC, bar=bar, limit=300)}
            assert rows == [known[row[0]] for row in rows]
            assert max(Counter(row[0] for row in rows).values()) == 1
            step = 60_000 * int(bar[0])
            assert {int(b[0]) - int(a[0]) for a, b in pairwise(rows)} == {step}


class Heard:
    """A subscriber that only listens."""

    def __init__(self, *channels: str) -> None:
        self.account = ""
        self.subscriptions = {key(arg(channel)): arg(channel) for channel in channels}
        self.told: list[Row] = []

    def send(self, text: str) -> None:
        self.told.append(json.loads(text))


def test_pushes_follow_real_time_however_fast_engine_time_runs() -> None:
    clock = SimClock(1_790_000_000 * NS_PER_S)
    venue = build(Plan(accounts=(ACCOUNT,), symbols=(BTC,)), clock)
    socket = Heard("tickers", "books5", "trades", "mark-price", "open-interest", "candle1m", "funding-rate")
    venue.hub.sockets.add(socket)
    for i in range(80):  # ten real seconds, 25 engine seconds in each eighth
        clock.set(clock.now_ns() + 25 * NS_PER_S)
        venue.step()
        venue.hub.flush(i / 8, clock.now_ns())
    told = Counter(frame["arg"]["channel"] for frame in socket.told)
    closed = [f for f in socket.told if f["arg"]["channel"] == "candle1m" and f["data"][0][8] == "1"]
    sizes = sum(float(f["data"][0]["sz"]) for f in socket.told if f["arg"]["channel"] == "trades")
    played = sum(float(made.size) for made in venue.world.tape.newest_first(BTC))
    assert (told["tickers"], told["books5"], told["mark-price"]) == (80, 80, 40)
    assert told["trades"] <= (80 + 34) * 4  # in each push, and in each minute
    assert sizes > played > 0  # all prints of 2,000 seconds, of which the tape keeps the newest 500
    assert (told["open-interest"], told["funding-rate"]) == (4, 2)
    assert len(closed) == len({f["data"][0][0] for f in closed}) == 33
    assert told["candle1m"] <= 33 + 10


async def test_orders_can_be_sent_over_the_socket_by_number() -> None:
    async with simulator() as venue, venue.socket("private") as socket:
        await venue.market("50000")
        await socket.login()
        (listed,) = await venue.get("public/instruments", instType="SWAP")
        order = {"instIdCode": listed["instIdCode"], "tdMode": "cross", "side": "buy", "posSide": "long"}
        order |= {"ordType": "limit", "px": "49000", "sz": "1", "clOrdId": "ws1"}

        async def operate(request_id: str, op: str, *args: Row) -> Row:
            await socket.say(id=request_id, op=op, args=list(args))
            return await socket.until(lambda frame: frame.get("id") == request_id)

        placed = await operate("1", "order", order)
        refused = await operate("2", "order", order)
        unknown = await operate("3", "order", order | {"instIdCode": 1})
        amended = await operate("4", "amend-order", {"instId": BTC, "clOrdId": "ws1", "newPx": "48000"})
        (pending,) = await venue.get("trade/orders-pending")
        cancelled = await operate("5", "cancel-order", {"instId": BTC, "clOrdId": "ws1"})
        batch = await operate("6", "batch-orders", order | {"clOrdId": "a"}, order | {"clOrdId": "!"})
    assert (placed["op"], placed["code"], placed["data"][0]["ordId"]) == ("order", "0", pending["ordId"])
    assert (refused["code"], refused["data"][0]["sCode"]) == ("1", "51016")
    assert unknown["code"] == "51001"
    assert (amended["code"], pending["px"], cancelled["code"]) == ("0", "48000", "0")
    assert batch["code"] == "2"
    assert placed["inTime"].isdigit()


async def _counted(venue: Client) -> dict[str, int]:
    async with venue.http.get(f"{venue.url}/sim/state") as response:
        state: dict[str, dict[str, int]] = await response.json()
    return state["orders_received"]


@pytest.mark.parametrize(
    ("fault", "arrives"),
    [("drop_before", False), ("drop_after", True), ("code", False), ("code_after", True), ("http", False)],
)
async def test_a_fault_hits_one_request_and_its_outcome_can_be_asked_for(fault: str, arrives: bool) -> None:
    async with simulator() as venue:
        await venue.market("50000")
        await venue.sim("faults", {"kind": fault, "path": "trade/order"})
        try:
            assert (await venue.order(clOrdId="x1"))["sCode"] == "50004"
        except aiohttp.ClientError:
            assert fault in {"drop_before", "drop_after", "http"}
        path = f"/api/v5/trade/order?instId={BTC}&clOrdId=x1"
        assert (await venue.ask("GET", path))[1]["code"] == ("0" if arrives else "51603")
        assert await _counted(venue) == ({"key:x1": 1} if arrives else {})
        assert (await venue.order(clOrdId="x2"))["sCode"] == "0"


async def test_refused_stop_leaves_the_entry_naked() -> None:
    async with simulator() as venue:
        await venue.market("50000")
        await venue.sim("faults", {"kind": "refuse_attached"})
        attached = [{"attachAlgoClOrdId": "stop1", "slTriggerPx": "49000", "slOrdPx": "-1"}]
        assert (await venue.order(attachAlgoOrds=attached))["sCode"] == "0"
        assert await venue.get("trade/orders-algo-pending", ordType="conditional,oco") == []
        await venue.sim("faults", {"kind": "refuse_algo", "code": "51279"})
        body = {"instId": BTC, "tdMode": "cross", "side": "sell", "posSide": "long", "ordType": "conditional"}
        body |= {"sz": "1", "slTriggerPx": "49000", "slOrdPx": "-1"}
        answers = [await venue.post("trade/order-algo", body) for _ in range(2)]
        assert [answer["data"][0]["sCode"] for answer in answers] == ["51279", "0"]


async def test_sockets_are_cut_silenced_refused_and_told_of_an_upgrade_on_demand() -> None:
    async with simulator() as venue:
        async with venue.socket("public") as socket:
            await venue.sim("faults", {"kind": "notice"})
            assert (await socket.until(lambda f: f.get("event") == "notice"))["code"] == "64008"
            await venue.sim("faults", {"kind": "garbage"})
            with pytest.raises(ValueError, match="Expecting"):
                json.loads(await socket.ws.receive_str())
            assert (await socket.ws.receive()).type is aiohttp.WSMsgType.BINARY
            await venue.sim("faults", {"kind": "silence", "seconds": 60})
            await socket.ws.send_str("ping")
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(socket.ws.receive_str(), 0.3)
        async with venue.http.delete(f"{venue.url}/sim/faults") as response:
            assert response.status == 200
        async with venue.socket("private") as socket:
            await venue.sim("faults", {"kind": "login"})
            assert (await socket.login())["code"] == "60009"
            assert (await socket.login())["event"] == "login"
            await venue.sim("faults", {"kind": "cut"})
            assert (await socket.ws.receive()).type is aiohttp.WSMsgType.CLOSE
        await venue.sim("faults", {"kind": "refuse_socket", "path": "private"})
        with pytest.raises(aiohttp.WSServerHandshakeError):
            async with venue.socket("private"):
                pass


async def _advance(clock: SimClock, seconds: float, step_s: float = 0.5) -> None:
    for _ in range(int(seconds / step_s)):
        await clock.advance(step_s)


async def test_idle_socket_is_closed_and_one_that_pings_is_not() -> None:
    clock = SimClock(1_790_000_000 * NS_PER_S)
    async with (
        simulator(clock=clock) as venue,
        venue.socket("public") as idle,
        venue.socket("public") as busy,
    ):
        await _advance(clock, 20)
        await busy.ws.send_str("ping")
        assert await busy.ws.receive_str() == "pong"
        closing = asyncio.ensure_future(idle.ws.receive())
        await _advance(clock, 12)
        message = await asyncio.wait_for(closing, 5)
        assert (message.data, message.extra) == (4004, "No data received in 30s.")
        await busy.ws.send_str("ping")
        assert await busy.ws.receive_str() == "pong"


async def test_still_market_is_repeated_so_that_it_is_not_taken_for_dead() -> None:
    clock = SimClock(1_790_000_000 * NS_PER_S)
    async with simulator(clock=clock) as venue, venue.socket("public") as socket:
        await socket.subscribe(arg("mark-price"), arg("books"), arg("tickers"))
        heartbeat = asyncio.ensure_future(
            socket.until(lambda f: f.get("action") == "update" and not f["data"][0]["asks"])
        )
        for _ in range(5):
            await _advance(clock, 13)
        row = (await heartbeat)["data"][0]
        told = Counter(f["arg"]["channel"] for f in socket.heard if "data" in f)
    assert row["prevSeqId"] == row["seqId"]
    assert told["mark-price"] >= 5
    assert told["tickers"] == 1


async def test_funding_is_charged_at_the_boundary_and_stands_in_the_history() -> None:
    boundary = (1_790_000_000 * NS_PER_S // (8 * NS_PER_HOUR) + 1) * 8 * NS_PER_HOUR
    clock = SimClock(boundary - 10 * NS_PER_S)
    async with simulator(clock=clock) as venue, venue.socket("private") as private:
        await venue.market("50000", funding_rate="0.0003")
        await venue.order()
        await private.login()
        await private.subscribe({"channel": "balance_and_position"})
        await _advance(clock, 11)
        told = await private.push("balance_and_position", lambda row: row["eventType"] == "funding_fee")
        (bill,) = await venue.get("account/bills", type="8")
        rate, before, *_ = await venue.get("public/funding-rate-history", instId=BTC)
        (due,) = await venue.get("public/funding-rate", instId=BTC)
    assert (bill["balChg"], bill["subType"]) == ("-0.15", "173")
    assert told["data"][0]["posData"][0]["instId"] == BTC
    assert (rate["realizedRate"], int(rate["fundingTime"])) == ("0.0003", boundary // 1_000_000)
    assert int(before["fundingTime"]) == (boundary - 8 * NS_PER_HOUR) // 1_000_000
    assert int(due["fundingTime"]) == (boundary + 8 * NS_PER_HOUR) // 1_000_000


async def test_account_is_repeated_every_five_seconds_unless_only_events_are_wanted() -> None:
    clock = SimClock(1_790_000_000 * NS_PER_S)
    async with simulator(clock=clock) as venue, venue.socket("private") as socket:
        await socket.login()
        quiet = {"channel": "positions", "instType": "ANY", "extraParams": '{"updateInterval": "0"}'}
        await socket.subscribe({"channel": "account"}, quiet)
        await _advance(clock, 11)
        for _ in range(2):
            await socket.push("account")
        told = Counter(f["arg"]["channel"] for f in socket.heard if "data" in f)
    assert told == {"account": 3, "positions": 1}


async def test_too_many_subscriptions_in_an_hour_are_refused() -> None:
    async with simulator() as venue, venue.socket("public") as socket:
        for _ in range(480):
            await socket.say(op="subscribe", args=[arg("funding-rate")])
        await socket.say(op="subscribe", args=[arg("funding-rate")])
        assert (await socket.until(lambda f: f.get("event") == "error"))["code"] == "60014"
