"""The REST client against a real server: signatures, verdicts, and what a missing answer means."""

from __future__ import annotations

import asyncio
import re
import socket as sockets
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from aiohttp import web

from engine.clock import SystemClock
from engine.config.exchange import OkxConfig
from engine.config.values import Duration
from engine.core.errors import OutcomeUnknown, Rejected, Unavailable, VenueError, VenueMisconfigured
from engine.core.times import NS_PER_MS
from engine.exchange.okx.errors import Kind, venue_error
from engine.exchange.okx.limits import LIMITS, RateLimits
from engine.exchange.okx.rest import RestClient
from engine.exchange.okx.sign import Credentials, rest_headers, rest_timestamp, signature
from tests.fixtures.okx.scripted import QUICK, ScriptedVenue, item, ok, scripted

ORDER = b'{"instId":"BTC-USDT-SWAP"}'


@pytest.fixture
async def venue() -> AsyncIterator[ScriptedVenue]:
    async with scripted() as server:
        yield server


@pytest.fixture
async def rest(venue: ScriptedVenue) -> AsyncIterator[RestClient]:
    client = RestClient(venue.config(), SystemClock())
    yield client
    await client.close()


# okx.com's documented example of the prehash, signed with secrets of nobody
@pytest.mark.parametrize(
    ("secret", "prehash", "expected"),
    [
        (
            "22582BD0CFF14C41EDBF1AB98506286D",
            "2020-12-08T09:08:57.715ZGET/api/v5/account/balance?ccy=BTC",
            "HiZhvSfMtWJA3uUIVXV3a/bSXNPCWvYFXoGCVS8V4zY=",
        ),
        (
            "22582BD0CFF14C41EDBF1AB98506286D",
            "1538054050GET/users/self/verify",
            "+LdIr8lkkvhr5hoA3g9TMC0+uQJ849ftAcocA/ouu4M=",
        ),
    ],
)
def test_signature_is_the_venues(secret: str, prehash: str, expected: str) -> None:
    assert signature(secret, prehash) == expected


def test_signed_headers_name_time_and_hide_nothing_needed() -> None:
    ts = 1_607_418_537_715 * NS_PER_MS
    assert rest_timestamp(ts) == "2020-12-08T09:08:57.715Z"
    credentials = Credentials("k", "22582BD0CFF14C41EDBF1AB98506286D", "p")
    headers = rest_headers(credentials, ts, "GET", "/api/v5/account/balance?ccy=BTC")
    assert headers["OK-ACCESS-SIGN"] == "HiZhvSfMtWJA3uUIVXV3a/bSXNPCWvYFXoGCVS8V4zY="
    assert repr(credentials) == "Credentials(***)"


@pytest.mark.parametrize(
    ("code", "status", "write", "read"),
    [
        ("51008", 200, Rejected, Rejected),
        ("51006", 200, Rejected, Rejected),
        ("51121", 200, Rejected, Rejected),
        ("51603", 200, Rejected, Rejected),
        ("99999", 200, Rejected, Rejected),  # unheard of, but an answer
        ("50011", 429, Unavailable, Unavailable),
        ("50011", 200, Unavailable, Unavailable),
        ("50061", 200, Unavailable, Unavailable),
        ("51030", 200, Unavailable, Unavailable),
        ("", 429, Unavailable, Unavailable),
        ("50001", 503, OutcomeUnknown, Unavailable),
        ("50004", 400, OutcomeUnknown, Unavailable),
        ("50013", 429, OutcomeUnknown, Unavailable),
        ("50026", 500, OutcomeUnknown, Unavailable),
        ("51054", 500, OutcomeUnknown, Unavailable),
        ("51149", 500, OutcomeUnknown, Unavailable),
        ("", 502, OutcomeUnknown, Unavailable),
        ("50119", 200, VenueMisconfigured, VenueMisconfigured),
        ("50101", 401, VenueMisconfigured, VenueMisconfigured),
        ("50113", 401, VenueMisconfigured, VenueMisconfigured),
        ("50036", 200, Rejected, Rejected),  # it came after its expTime
        ("50037", 200, Rejected, Rejected),
        ("51513", 200, Unavailable, Unavailable),  # too many amendments under way
        ("51412", 200, OutcomeUnknown, Unavailable),
        ("64007", 200, OutcomeUnknown, Unavailable),
        ("60014", 200, Unavailable, Unavailable),
        ("60032", 200, VenueMisconfigured, VenueMisconfigured),
    ],
)
def test_error_table(code: str, status: int, write: type[VenueError], read: type[VenueError]) -> None:
    assert type(venue_error(code, "text", Kind.WRITE, status)) is write
    assert type(venue_error(code, "text", Kind.READ, status)) is read


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("50119", "region"),
        ("60032", "region"),
        ("50101", "environment"),
        ("50105", "passphrase"),
        ("50113", "secret"),
        ("50110", "address"),
        ("50120", "permission"),
        ("51010", "account mode"),
        ("54092", "OKX"),
    ],
)
def test_S16_configuration_errors_name_the_setting(code: str, words: str) -> None:
    assert words in str(venue_error(code, "no", Kind.READ))


async def test_S17_signature_uses_the_venues_clock(venue: ScriptedVenue, rest: RestClient) -> None:
    venue.answers["GET account/config"] = ok({})
    await rest.get("account/config")
    stamp = venue.headers[-1]["OK-ACCESS-TIMESTAMP"]
    assert stamp.startswith("2023-11-14T22:13:2")  # the server's 1700000000, not this machine's time
    assert venue.headers[-1]["x-simulated-trading"] == "1"


async def test_refused_time_is_measured_anew_and_sent_once_more(
    venue: ScriptedVenue, rest: RestClient
) -> None:
    venue.answers["POST trade/order"] = [
        web.json_response({"code": "50102", "msg": "expired", "data": []}, status=401),
        item("0", ordId="1"),
    ]
    ack = await rest.trade("trade/order", ORDER, symbol="BTC-USDT-SWAP")
    assert ack.ordId == "1"
    assert len(venue.sent("GET public/time")) == 2


async def test_S17_persisting_time_refusal_does_not_loop(venue: ScriptedVenue, rest: RestClient) -> None:
    venue.answers["POST trade/order"] = {"code": "50102", "msg": "expired", "data": []}
    with pytest.raises(VenueMisconfigured, match="clock"):
        await rest.trade("trade/order", ORDER, symbol="BTC-USDT-SWAP")
    assert len(venue.sent("POST trade/order")) == 2


async def test_F8_item_code_is_the_verdict(venue: ScriptedVenue, rest: RestClient) -> None:
    venue.answers["POST trade/order"] = item("51008", "Insufficient margin")
    with pytest.raises(Rejected) as refused:
        await rest.trade("trade/order", ORDER, symbol="BTC-USDT-SWAP")
    assert refused.value.code == "51008"
    assert rest.failures == {"51008": 1}


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        ({"code": "50001", "msg": "down", "data": []}, OutcomeUnknown),  # F9
        ({"code": "50004", "msg": "timeout", "data": []}, OutcomeUnknown),
        ({"code": "50011", "msg": "Too Many Requests", "data": []}, Unavailable),
        ({"code": "1", "msg": "failed", "data": []}, Rejected),
        ({"code": "0", "msg": "", "data": []}, OutcomeUnknown),
    ],
)
async def test_order_verdicts(
    venue: ScriptedVenue, rest: RestClient, answer: dict[str, Any], error: type[VenueError]
) -> None:
    venue.answers["POST trade/order"] = answer
    with pytest.raises(error):
        await rest.trade("trade/order", ORDER, symbol="BTC-USDT-SWAP")
    assert len(venue.sent("POST trade/order")) == 1


@pytest.mark.parametrize(
    ("status", "error"), [(502, OutcomeUnknown), (403, Unavailable), (200, OutcomeUnknown)]
)
async def test_gateway_page_instead_of_an_answer(
    venue: ScriptedVenue, rest: RestClient, status: int, error: type[VenueError]
) -> None:
    venue.answers["POST trade/order"] = lambda *_: web.Response(status=status, text="<html>")
    with pytest.raises(error):
        await rest.trade("trade/order", ORDER, symbol="BTC-USDT-SWAP")


async def test_F1_timeout_after_sending_is_unknown_and_not_repeated(venue: ScriptedVenue) -> None:
    async def late(*_: object) -> web.Response:
        await asyncio.sleep(2)
        return web.json_response(item("0", ordId="1"))

    quick = msgspec.structs.replace(QUICK, request=Duration(0.1))
    rest = RestClient(venue.config(timeouts=quick), SystemClock())
    venue.answers["POST trade/order"] = late
    with pytest.raises(OutcomeUnknown):
        await rest.trade("trade/order", ORDER, symbol="BTC-USDT-SWAP")
    assert len(venue.sent("POST trade/order")) == 1
    await rest.close()


async def test_lost_connection_after_sending_is_unknown(venue: ScriptedVenue, rest: RestClient) -> None:
    def hang_up(request: web.Request, _: object) -> web.Response:
        assert request.transport is not None
        request.transport.abort()
        return web.Response()

    venue.answers["POST trade/order"] = hang_up
    with pytest.raises(OutcomeUnknown):
        await rest.trade("trade/order", ORDER, symbol="BTC-USDT-SWAP")
    assert len(venue.sent("POST trade/order")) == 1


async def test_refused_connection_surely_sent_nothing(venue: ScriptedVenue, rest: RestClient) -> None:
    with sockets.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    await rest.sync_clock()
    elsewhere = RestClient(venue.config(rest_url=f"http://127.0.0.1:{port}"), SystemClock())
    elsewhere._synced_s = 1e18  # as if the clock had been measured just before the venue went away
    with pytest.raises(Unavailable):
        await elsewhere.trade("trade/order", ORDER, symbol="BTC-USDT-SWAP")
    await elsewhere.close()


async def test_reads_are_retried_when_the_venue_is_away(venue: ScriptedVenue, rest: RestClient) -> None:
    venue.answers["GET account/config"] = [
        web.json_response({"code": "50001", "msg": "down", "data": []}, status=503),
        ok({"uid": "7"}),
    ]
    assert b'"7"' in await rest.get("account/config")


async def test_S16_wrong_key_is_not_retried(venue: ScriptedVenue, rest: RestClient) -> None:
    venue.answers["GET account/config"] = {"code": "50119", "msg": "API key doesn't exist", "data": []}
    with pytest.raises(VenueMisconfigured, match="region"):
        await rest.get("account/config")
    assert len(venue.sent("GET account/config")) == 1


async def test_rate_limit_lets_a_burst_pass_and_then_waits() -> None:
    limits = RateLimits(longest_wait_s=0.05)
    burst = int(LIMITS["POST trade/order-algo"].count / 2)
    for _ in range(burst):
        await limits.acquire("POST trade/order-algo", "BTC-USDT-SWAP")
    await limits.acquire("POST trade/order-algo", "ETH-USDT-SWAP")  # counted for each instrument
    with pytest.raises(Unavailable):
        await limits.acquire("POST trade/order-algo", "BTC-USDT-SWAP")


async def test_batch_takes_one_of_its_limit_for_each_order() -> None:
    limits = RateLimits(longest_wait_s=0.02)
    batch = ("BTC-USDT-SWAP",) * 20
    for _ in range(7):  # 140 of 150 that may go at once
        await limits.acquire("POST trade/batch-orders", *batch)
    await limits.acquire("POST trade/batch-orders", *("ETH-USDT-SWAP",) * 20)
    with pytest.raises(Unavailable):
        await limits.acquire("POST trade/batch-orders", *batch)
    await limits.acquire("POST trade/order", "BTC-USDT-SWAP")  # a single order has a limit of its own


async def test_new_and_amended_orders_of_the_account_share_a_limit_and_cancels_do_not() -> None:
    limits = RateLimits(longest_wait_s=0.02)
    for number in range(25):
        await limits.acquire("POST trade/batch-orders", *(f"X{number}-USDT-SWAP",) * 20)
    with pytest.raises(Unavailable):
        await limits.acquire("POST trade/batch-orders", *("BTC-USDT-SWAP",) * 20)
    with pytest.raises(Unavailable):
        await limits.acquire("POST trade/amend-batch-orders", *("BTC-USDT-SWAP",) * 20)
    await limits.acquire("POST trade/cancel-batch-orders", *("BTC-USDT-SWAP",) * 20)


def test_every_endpoint_that_is_used_has_its_limit() -> None:
    """An endpoint without one would fall back to the slowest."""
    sources = (Path(__file__).parent.parent / "engine" / "exchange" / "okx").glob("*.py")
    text = "\n".join(source.read_text() for source in sources)
    used = set(re.findall(r'"((?:trade|account|public|market)/[a-z-]+)"', text))
    assert used - {name.split()[1] for name in LIMITS} == set()


def test_hosts_follow_region_and_environment() -> None:
    assert (
        OkxConfig(region="eea", environment="demo").hosts.private
        == "wss://wseeapap.okx.com:8443/ws/v5/private"
    )
    assert OkxConfig(region="us", environment="live").hosts.rest == "https://us.okx.com"
    assert OkxConfig(rest_url="http://127.0.0.1:1/").hosts.rest == "http://127.0.0.1:1"
    assert "secret" not in repr(OkxConfig(api_key="a", secret="secret"))
