"""Every fault that can be asked for, as a client meets it on the wire."""

from __future__ import annotations

import asyncio
import json
from itertools import pairwise
from pathlib import Path
from typing import Any
from zlib import crc32

import aiohttp
import pytest
from typer.testing import CliRunner

from engine.cli.main import app
from engine.clock import SimClock
from engine.core.errors import ConfigError
from engine.core.times import NS_PER_S
from engine.exchange.simulator.build import Plan, build
from engine.exchange.simulator.faults import MEANINGS, FaultKind, read_faults
from engine.exchange.simulator.server import Server
from tests.fixtures.simulator.client import ACCOUNT, BTC, CLOCK, Client, Row, Socket, simulator

BOOKS = {"channel": "books", "instId": BTC}
TRADES = {"channel": "trades", "instId": BTC}
STOP = {"attachAlgoClOrdId": "stop1", "slTriggerPx": "49000", "slOrdPx": "-1"}
DEADLINE_S = 10.0


async def asked(venue: Client, kind: str, **more: Any) -> None:
    await venue.sim("faults", {"kind": kind, **more})


async def waits_for(venue: Client, client_id: str, code: str = "0") -> Row:
    """The answer about an order once it has that code."""
    path = f"/api/v5/trade/order?instId={BTC}&clOrdId={client_id}"
    async with asyncio.timeout(DEADLINE_S):
        while True:
            answer = (await venue.ask("GET", path))[1]
            if answer["code"] == code:
                return answer
            await asyncio.sleep(0.02)


def test_every_kind_says_what_it_does() -> None:
    assert set(MEANINGS) == set(FaultKind)
    told = CliRunner().invoke(app, ["simulator", "--list-faults"])
    assert told.exit_code == 0
    assert all(kind.value in told.stdout for kind in FaultKind)


# -- requests


async def test_a_late_order_is_taken_after_its_sender_has_gone() -> None:
    async with simulator() as venue:
        await venue.market("50000")
        await asked(venue, "delay_before", path="trade/order", seconds=0.5)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await venue.order(clOrdId="late")
        await waits_for(venue, "late", "51603")  # not there when it is asked for …
        assert (await waits_for(venue, "late"))["data"][0]["state"] == "filled"  # … and then it is


async def test_delay_holds_the_answer_and_not_the_order() -> None:
    async with simulator() as venue:
        await venue.market("50000")
        await asked(venue, "delay", path="trade/order", seconds=0.5)
        sent = asyncio.ensure_future(venue.order(clOrdId="slow"))
        await waits_for(venue, "slow")
        assert not sent.done()
        assert (await sent)["sCode"] == "0"


@pytest.mark.parametrize(
    ("code", "status"), [("50001", 503), ("50004", 400), ("50011", 429), ("50013", 429), ("50026", 500)]
)
async def test_codes_of_the_venue_come_with_their_status(code: str, status: int) -> None:
    async with simulator() as venue:
        await asked(venue, "code", path="account/balance", code=code)
        got, answer = await venue.ask("GET", "/api/v5/account/balance")
        assert (got, answer["code"], answer["data"]) == (status, code, [])


@pytest.mark.parametrize("status", [500, 502, 504])
async def test_http_errors_are_no_json(status: int) -> None:
    async with simulator() as venue:
        await asked(venue, "http", path="account/balance", status=status)
        headers = venue.headers("GET", "/api/v5/account/balance")
        async with venue.http.get(f"{venue.url}/api/v5/account/balance", headers=headers) as response:
            assert (response.status, response.content_type) == (status, "text/html")


async def test_garbage_answers_an_order_that_was_taken() -> None:
    async with simulator() as venue:
        await venue.market("50000")
        await asked(venue, "garbage", path="trade/order")
        with pytest.raises(ValueError, match=r"decode|utf-8|Expecting"):
            await venue.order(clOrdId="x1")
        await waits_for(venue, "x1")


async def test_an_order_and_an_attached_stop_are_refused_with_their_codes() -> None:
    async with simulator() as venue:
        await venue.market("50000")
        await asked(venue, "refuse_order", code="51008")
        assert (await venue.order(clOrdId="x1"))["sCode"] == "51008"
        await waits_for(venue, "x1", "51603")
        await asked(venue, "refuse_attached", code="51279")
        assert (await venue.order(clOrdId="x2", attachAlgoOrds=[STOP]))["sCode"] == "0"
        (order,) = (await waits_for(venue, "x2"))["data"]
        assert order["attachAlgoOrds"][0]["failCode"] == "51279"
        assert await venue.get("trade/orders-algo-pending", ordType="conditional,oco") == []


@pytest.mark.parametrize(
    ("kind", "taken"),
    [("drop_before", False), ("code", False), ("drop_after", True), ("code_after", True), ("delay", True)],
)
async def test_operations_over_a_socket_meet_the_same_faults(kind: str, taken: bool) -> None:
    async with simulator() as venue, venue.socket("private") as socket:
        await venue.market("50000")
        await socket.login()
        await asked(venue, kind, path="trade/order", seconds=0.3)
        order = {"instId": BTC, "tdMode": "cross", "side": "buy", "posSide": "long", "ordType": "market"}
        await socket.say(id="1", op="order", args=[order | {"sz": "1", "clOrdId": "x1"}])
        await socket.ws.send_str("ping")
        message = await socket.ws.receive()
        if kind == "delay":
            assert message.data == "pong"  # the connection itself is quick
            message = await socket.ws.receive()
        if kind.startswith("drop"):
            async with asyncio.timeout(DEADLINE_S):
                while message.type is not aiohttp.WSMsgType.CLOSE:
                    message = await socket.ws.receive()
        else:
            assert json.loads(message.data)["code"] == ("0" if kind == "delay" else "50004")
        await waits_for(venue, "x1", "0" if taken else "51603")


async def test_partial_fills_only_until_the_faults_are_cleared() -> None:
    async with simulator() as venue:
        await venue.market("50000")
        await asked(venue, "partial_fills")
        await venue.order(sz="8", clOrdId="market1")
        (ended,) = (await waits_for(venue, "market1"))["data"]
        assert (ended["state"], ended["accFillSz"], ended["cancelSource"]) == ("canceled", "4", "14")
        await venue.order(sz="8", ordType="fok", px="50100", clOrdId="fok1")
        assert (await waits_for(venue, "fok1"))["data"][0]["accFillSz"] == "0"
        await venue.order(sz="8", ordType="limit", px="50100", clOrdId="limit1")
        seen = []
        for _ in range(3):
            seen.append((await waits_for(venue, "limit1"))["data"][0]["accFillSz"])
            await venue.market("50000")
        assert seen[0] == "4"
        assert [float(a) < float(b) <= 8 for a, b in pairwise(seen)] == [True, True]
        async with venue.http.delete(f"{venue.url}/sim/faults") as response:
            assert response.status == 200
        await venue.order(sz="8", clOrdId="market2")
        assert (await waits_for(venue, "market2"))["data"][0]["accFillSz"] == "8"


# -- time


async def test_skewed_clock_refuses_honest_signatures_until_the_client_follows_it() -> None:
    async with simulator() as venue:
        await asked(venue, "clock_skew", seconds=45)
        status, answer = await venue.ask("GET", "/api/v5/account/balance")
        assert (status, answer["code"]) == (401, "50102")
        told = (await venue.ask("GET", "/api/v5/public/time"))[1]["data"][0]["ts"]
        assert int(told) - CLOCK.now_ns() // 1_000_000 == pytest.approx(45_000, abs=2_000)
        path = "/api/v5/account/balance"
        headers = venue.headers("GET", path, timestamp=venue.stamp(45))
        assert (await venue.ask("GET", path, headers=headers))[0] == 200
        async with venue.socket("private") as socket:
            assert (await socket.login())["code"] == "60006"


# -- pushes


async def numbers(socket: Socket, count: int) -> list[tuple[int, int]]:
    """(prevSeqId, seqId) of the next pushes of the book."""
    rows = [(await socket.push("books"))["data"][0] for _ in range(count)]
    return [(row["prevSeqId"], row["seqId"]) for row in rows]


async def moved(venue: Client, socket: Socket, *prices: str) -> list[tuple[int, int]]:
    """The pushes of one price after the other."""
    found: list[tuple[int, int]] = []
    for price in prices:
        await venue.market(price)
        found += await numbers(socket, 1)
    return found


async def test_push_comes_twice() -> None:
    async with simulator() as venue, venue.socket("public") as socket:
        await socket.subscribe(BOOKS)
        await numbers(socket, 1)
        await asked(venue, "duplicate", path="books")
        await venue.market("60000")
        first, second = await numbers(socket, 2)
        assert first == second


async def test_push_never_comes() -> None:
    async with simulator() as venue, venue.socket("public") as socket:
        await socket.subscribe(BOOKS)
        ((_, last),) = await numbers(socket, 1)
        await asked(venue, "missing", path="books")
        await venue.market("60000")
        ((previous, _),) = await moved(venue, socket, "60001")
        assert previous > last


async def test_pushes_come_in_the_wrong_order() -> None:
    async with simulator() as venue, venue.socket("public") as socket:
        await socket.subscribe(BOOKS)
        ((_, last),) = await numbers(socket, 1)
        await socket.subscribe(TRADES)
        await asked(venue, "reorder", path="books")
        await venue.market("60000")
        await socket.push("trades", lambda row: row["px"] == "60000")  # other channels are not held up
        later, earlier = [*(await moved(venue, socket, "60001")), *(await numbers(socket, 1))]
        assert earlier[0] == last
        assert later[0] == earlier[1]


async def test_books_carry_a_checksum_and_then_zero_again() -> None:
    async with simulator() as venue, venue.socket("public") as socket:
        await socket.subscribe(BOOKS)
        assert (await socket.push("books"))["data"][0]["checksum"] == 0
        sums = []
        for kind in ("checksum", "zero_checksum"):
            await asked(venue, kind)
            await venue.market("60000" if kind == "checksum" else "60001")
            sums.append((await socket.push("books"))["data"][0]["checksum"])
        levels = [f"{60_000 - i / 10}:100000:{60_000 + i / 10}:100000" for i in range(1, 6)]
    assert [sums[0] % (1 << 32), sums[1]] == [crc32(":".join(levels).encode()), 0]


async def test_changed_instrument_is_told_and_its_steps_hold_from_then_on() -> None:
    async with simulator() as venue, venue.socket("public") as socket:
        await venue.market("50000")
        await socket.subscribe({"channel": "instruments", "instType": "SWAP"})
        await socket.push("instruments")
        await asked(venue, "instrument", symbol=BTC, tick="1", lot="0.5", least="0.5", value="0.1")
        (row,) = (await socket.push("instruments"))["data"]
        steps = ("0.1", "1", "0.5", "0.5")
        assert (row["ctVal"], row["tickSz"], row["lotSz"], row["minSz"]) == steps
        (listed,) = await venue.get("public/instruments", instType="SWAP")
        assert listed == row
        await venue.market("50000.4")
        (book,) = await venue.get("market/books", instId=BTC, sz=5)
        assert {float(level[0]) % 1 for side in ("asks", "bids") for level in book[side]} == {0}
        assert (await venue.order(sz="0.7"))["sCode"] == "51121"
        assert (await venue.order(sz="0.5", ordType="limit", px="49000.5"))["sCode"] == "51150"
        assert (await venue.order(sz="0.5"))["sCode"] == "0"
        body = {"kind": "instrument", "symbol": BTC, "value": "0.01"}
        async with venue.http.post(f"{venue.url}/sim/faults", json=body) as response:
            assert response.status == 409  # no venue does that to a position
        await asked(venue, "instrument", symbol=BTC, state="suspend")
        assert (await socket.push("instruments"))["data"][0]["state"] == "suspend"


async def test_upgrade_closes_the_connection_a_minute_after_it_was_announced() -> None:
    clock = SimClock(1_790_000_000 * NS_PER_S)
    async with simulator(clock=clock) as venue, venue.socket("public") as socket:
        await asked(venue, "notice")
        assert (await socket.until(lambda f: f.get("event") == "notice"))["code"] == "64008"
        for _ in range(3):
            await clock.advance(19)
            await socket.ws.send_str("ping")
            assert await socket.ws.receive_str() == "pong"
        closing = asyncio.ensure_future(socket.ws.receive())
        await clock.advance(4)
        message = await asyncio.wait_for(closing, DEADLINE_S)
        assert (message.type, message.data) == (aiohttp.WSMsgType.CLOSE, 1001)


async def test_cut_can_be_of_one_kind_of_socket() -> None:
    async with simulator() as venue, venue.socket("public") as public, venue.socket("private") as private:
        await asked(venue, "cut", path="private")
        assert (await private.ws.receive()).type is aiohttp.WSMsgType.CLOSE
        await public.ws.send_str("ping")
        assert await public.ws.receive_str() == "pong"


# -- asked for in a file


async def test_faults_of_a_file_come_by_the_clock_again_and_again(tmp_path: Path) -> None:
    path = tmp_path / "faults.yaml"
    path.write_text("faults:\n  - {kind: http, path: public/time, status: 502, after_s: 4, every_s: 10}\n")
    clock = SimClock(1_790_000_000 * NS_PER_S)
    venue = build(Plan(accounts=(ACCOUNT,), market="manual", symbols=(BTC,)), clock)
    server = Server(venue, 0, faults=read_faults(path, {}))
    seen = []
    async with server.running(), aiohttp.ClientSession() as http:
        for _ in range(7):
            async with http.get(f"http://127.0.0.1:{server.port}/api/v5/public/time") as response:
                seen.append(response.status)
            await clock.advance(3.0)
    assert seen == [200, 200, 502, 200, 200, 502, 200]


def test_mistake_in_the_file_is_one_line_with_its_place(tmp_path: Path) -> None:
    path = tmp_path / "faults.yaml"
    path.write_text("faults:\n  - kind: drop_aftr\n    path: trade/order\n")
    with pytest.raises(ConfigError, match=r"faults.yaml:2:\d+: .*kind.*drop_after"):
        read_faults(path, {})


async def test_what_fails_inside_comes_out_plainly() -> None:
    with pytest.raises(ZeroDivisionError):
        async with simulator():
            raise ZeroDivisionError
