"""python-okx, unmodified, trades on the simulator; nothing of it is changed but its addresses.

Its sockets insist on TLS: the simulator then has a certificate, which the client trusts by SSL_CERT_FILE.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from engine.clock import SystemClock
from engine.exchange.simulator.build import Plan, build
from engine.exchange.simulator.server import Server

# Not everybody who develops needs other people's clients.
AccountAPI: Any = pytest.importorskip("okx.Account").AccountAPI
MarketAPI: Any = pytest.importorskip("okx.MarketData").MarketAPI
PublicAPI: Any = pytest.importorskip("okx.PublicData").PublicAPI
TradeAPI: Any = pytest.importorskip("okx.Trade").TradeAPI
WsPrivateAsync: Any = pytest.importorskip("okx.websocket.WsPrivateAsync").WsPrivateAsync
WsPublicAsync: Any = pytest.importorskip("okx.websocket.WsPublicAsync").WsPublicAsync
x509: Any = pytest.importorskip("cryptography.x509")
ec: Any = pytest.importorskip("cryptography.hazmat.primitives.asymmetric.ec")
hashes: Any = pytest.importorskip("cryptography.hazmat.primitives.hashes")
serialization: Any = pytest.importorskip("cryptography.hazmat.primitives.serialization")

pytestmark = pytest.mark.filterwarnings(  # the client gives httpx its bodies in a way of old
    "ignore:Use 'content=:DeprecationWarning"
)
BTC = "BTC-USDT-SWAP"
CROSS = {"instId": BTC, "tdMode": "cross"}
DEADLINE_S = 15.0
Row = dict[str, Any]


@dataclass
class Session:
    """The client's parts by topic. They block: `ask` calls them beside the loop of the venue."""

    port: int
    account: Any
    trade: Any
    market: Any
    public: Any

    async def ask(self, call: Callable[..., Any], *given: Any, **named: Any) -> list[Any]:
        """Rows of an answer that must be good."""
        answer = await self.answer(call, *given, **named)
        assert answer["code"] == "0", answer
        rows: list[Any] = answer["data"]
        return rows

    async def answer(self, call: Callable[..., Any], *given: Any, **named: Any) -> Row:
        async with asyncio.timeout(DEADLINE_S):
            answer: Row = await asyncio.to_thread(call, *given, **named)
        return answer


@asynccontextmanager
async def session(certificate: Path | None = None, **plan: Any) -> AsyncIterator[Session]:
    """One account with 100,000 USDT in net mode; BTC stands at its start price of 98,000."""
    given = {"accounts": ("key:secret:pass:100000",), "market": "manual", "symbols": (BTC,)}
    venue = build(Plan(**(given | {"position_mode": "net"} | plan)), SystemClock())
    server = Server(venue, 0, certificate=certificate)
    async with server.running():
        kinds: tuple[Any, ...] = (AccountAPI, TradeAPI, MarketAPI, PublicAPI)
        where = {"flag": "0", "domain": f"http{'s' if certificate else ''}://127.0.0.1:{server.port}"}
        parts = [kind("key", "secret", "pass", **where) for kind in kinds]
        try:
            yield Session(server.port, *parts)
        finally:
            for part in parts:
                part.close()


async def test_public_reads() -> None:
    async with session() as here:
        (instrument,) = await here.ask(here.public.get_instruments, "SWAP", instId=BTC)
        assert (instrument["ctVal"], instrument["tickSz"], instrument["lotSz"]) == ("0.01", "0.1", "0.01")
        (ticker,) = await here.ask(here.market.get_ticker, BTC)
        assert (ticker["bidPx"], ticker["last"], ticker["askPx"]) == ("97999.9", "98000", "98000.1")
        assert [each["instId"] for each in await here.ask(here.market.get_tickers, "SWAP")] == [BTC]
        (book,) = await here.ask(here.market.get_orderbook, BTC, sz="3")
        assert [len(book["bids"]), len(book["asks"])] == [3, 3]
        candles = await here.ask(here.market.get_candlesticks, BTC, bar="5m", limit="4")
        assert [int(a[0]) - int(b[0]) for a, b in pairwise(candles)] == [300_000] * 3
        older = await here.ask(here.market.get_history_candlesticks, BTC, bar="5m", after=candles[-1][0])
        assert int(older[0][0]) == int(candles[-1][0]) - 300_000
        (rate,) = await here.ask(here.public.get_funding_rate, BTC)
        assert rate["fundingRate"] == "0.0001"
        (mark,) = await here.ask(here.public.get_mark_price, "SWAP", instId=BTC)
        assert mark["markPx"] == "98000"
        assert await here.ask(here.public.get_open_interest, "SWAP", instId=BTC)
        tiers = await here.ask(here.public.get_position_tiers, "SWAP", "cross", instFamily="BTC-USDT")
        assert tiers[0]["maxLever"] == "100"
        (now,) = await here.ask(here.public.get_system_time)
        assert abs(int(now["ts"]) - SystemClock().now_ns() // 1_000_000) < 5_000


async def test_every_list_that_the_client_knows_is_answered() -> None:
    async with session() as here:
        account, market, public, trade = here.account, here.market, here.public, here.trade
        calls: list[tuple[Callable[..., Any], dict[str, str]]] = [
            (account.get_position_risk, {}),
            (account.get_account_bills, {"instType": "SWAP"}),
            (account.get_account_bills_archive, {}),
            (account.get_max_order_size, {"instId": BTC, "tdMode": "cross"}),
            (account.get_max_avail_size, {"instId": BTC, "tdMode": "cross"}),
            (account.get_instruments, {"instType": "SWAP"}),
            (account.get_max_loan, {"instId": BTC, "mgnMode": "cross"}),
            (account.get_fee_rates, {"instType": "SWAP", "instFamily": "BTC-USDT"}),
            (account.get_interest_accrued, {}),
            (account.get_interest_rate, {}),
            (account.get_interest_limits, {}),
            (account.get_max_withdrawal, {}),
            (account.get_greeks, {}),
            (account.get_account_position_tiers, {"instType": "SWAP", "uly": "BTC-USDT"}),
            (account.get_bill_type, {}),
            (account.set_greeks, {"greeksType": "PA"}),
            (account.set_isolated_mode, {"isoMode": "automatic", "type": "CONTRACTS"}),
            (market.get_index_tickers, {"instId": "BTC-USDT"}),
            (market.get_rpi_orderbook, {"instId": BTC, "sz": "5"}),
            (market.get_index_candlesticks, {"instId": "BTC-USDT", "bar": "1W"}),
            (market.get_mark_price_candlesticks, {"instId": BTC, "bar": "1Dutc"}),
            (market.get_trades, {"instId": BTC}),
            (market.get_history_trades, {"instId": BTC}),
            (market.get_volume, {}),
            (market.get_exchange_rate, {}),
            (market.get_order_lite_book, {"instId": BTC}),
            (market.get_block_tickers, {"instType": "SWAP"}),
            (public.funding_rate_history, {"instId": BTC}),
            (public.get_price_limit, {"instId": BTC}),
            (public.get_underlying, {"instType": "SWAP"}),
            (public.get_insurance_fund, {"instType": "SWAP", "uly": "BTC-USDT"}),
            (public.get_convert_contract_coin, {"type": "1", "instId": BTC, "sz": "1"}),
            (public.get_interest_rate_loan_quota, {}),
            (public.discount_interest_free_quota, {}),
            (trade.get_orders_history_archive, {"instType": "SWAP"}),
            (trade.get_fills_history, {"instType": "SWAP"}),
            (trade.order_algos_history, {"ordType": "oco", "state": "effective"}),
            (trade.get_easy_convert_history, {}),
        ]
        empty = {
            *("get_max_loan", "get_interest_accrued", "get_greeks", "get_account_position_tiers"),
            *("get_block_tickers", "get_interest_rate_loan_quota", "discount_interest_free_quota"),
            *("get_account_bills", "get_account_bills_archive", "get_orders_history_archive"),
            *("get_fills_history", "order_algos_history", "get_easy_convert_history"),
        }
        for call, given in calls:
            rows = await here.ask(call, **given)
            assert bool(rows) == (call.__name__ not in empty), call.__name__
        components = await here.answer(market.get_index_components, index="BTC-USDT")
        assert components["data"]["index"] == "BTC-USDT"


async def test_account_settings() -> None:
    async with session(position_mode="long_short") as here:
        (config,) = await here.ask(here.account.get_account_config)
        assert (config["posMode"], config["acctLv"]) == ("long_short_mode", "2")
        await here.ask(here.account.set_position_mode, "net_mode")
        (config,) = await here.ask(here.account.get_account_config)
        assert config["posMode"] == "net_mode"
        (told,) = await here.ask(here.account.set_leverage, lever="7", mgnMode="cross", instId=BTC)
        assert told["lever"] == "7"
        (told,) = await here.ask(here.account.get_leverage, "cross", instId=BTC)
        assert told["lever"] == "7"
        (balance,) = await here.ask(here.account.get_account_balance)
        assert balance["details"][0]["availBal"] == "100000"
        assert await here.ask(here.account.get_positions, instType="SWAP") == []


async def test_limit_order_rests_is_amended_and_cancelled() -> None:
    async with session() as here:
        trade = here.trade
        order = CROSS | {"side": "buy", "ordType": "limit", "sz": "2", "px": "95000", "clOrdId": "mine1"}
        (placed,) = await here.ask(trade.place_order, **order)
        assert (placed["sCode"], placed["sMsg"]) == ("0", "Order placed")
        (resting,) = await here.ask(trade.get_order_list, instType="SWAP")
        assert (resting["ordId"], resting["state"], resting["sz"]) == (placed["ordId"], "live", "2")
        (amended,) = await here.ask(trade.amend_order, BTC, ordId=placed["ordId"], newSz="3", newPx="95500")
        assert (amended["sCode"], amended["clOrdId"]) == ("0", "mine1")  # either id is told for the other
        (known,) = await here.ask(trade.get_order, BTC, clOrdId="mine1")
        assert (known["sz"], known["px"]) == ("3", "95500")
        (cancelled,) = await here.ask(trade.cancel_order, BTC, clOrdId="mine1")
        assert (cancelled["sCode"], cancelled["ordId"]) == ("0", placed["ordId"])
        assert await here.ask(trade.get_order_list) == []
        (past,) = await here.ask(trade.get_orders_history, "SWAP", state="canceled")
        assert (past["ordId"], past["cancelSource"]) == (placed["ordId"], "1")


async def test_round_trip_has_the_figures_of_the_fees_and_the_spread() -> None:
    async with session() as here:
        trade = here.trade
        market = CROSS | {"ordType": "market", "sz": "2"}
        (bought,) = await here.ask(trade.place_order, side="buy", **market)
        (fill,) = await here.ask(trade.get_fills, instType="SWAP", ordId=bought["ordId"])
        assert (fill["fillPx"], fill["fillSz"], fill["fee"]) == ("98000.1", "2", "-0.980001")
        (position,) = await here.ask(here.account.get_positions, instId=BTC)
        assert (position["pos"], position["avgPx"], position["posSide"]) == ("2", "98000.1", "net")
        await here.ask(trade.close_positions, BTC, "cross")
        assert await here.ask(here.account.get_positions, instId=BTC) == []
        (balance,) = await here.ask(here.account.get_account_balance, ccy="USDT")
        assert balance["details"][0]["cashBal"] == "99998.036"  # two fees, two ticks of two contracts
        (closed,) = await here.ask(here.account.get_positions_history, instType="SWAP")
        assert (closed["openAvgPx"], closed["closeAvgPx"]) == ("98000.1", "97999.9")


async def test_attached_and_standalone_algos_rest_and_are_cancelled() -> None:
    async with session() as here:
        trade = here.trade
        market = CROSS | {"ordType": "market", "sz": "2", "side": "buy"}
        guards = {"slTriggerPx": "95000", "slOrdPx": "-1", "tpTriggerPx": "99000", "tpOrdPx": "-1"}
        await here.ask(trade.place_order, **market, attachAlgoOrds=[guards])
        (attached,) = await here.ask(trade.order_algos_list, ordType="oco")
        assert (attached["slTriggerPx"], attached["tpTriggerPx"]) == ("95000", "99000")
        stop = {"ordType": "conditional", "side": "sell", "sz": "1", "reduceOnly": "true"}
        (placed,) = await here.ask(trade.place_algo_order, **CROSS, **stop, slTriggerPx="96000", slOrdPx="-1")
        (amended,) = await here.ask(
            trade.amend_algo_order, BTC, algoId=placed["algoId"], newSlTriggerPx="96500"
        )
        assert amended["sCode"] == "0"
        (known,) = await here.ask(trade.get_algo_order_details, algoId=placed["algoId"])
        assert (known["state"], known["slTriggerPx"]) == ("live", "96500")
        both = [{"instId": BTC, "algoId": each["algoId"]} for each in (attached, placed)]
        assert [each["sCode"] for each in await here.ask(trade.cancel_algo_order, both)] == ["0", "0"]
        for kind in ("oco", "conditional"):
            assert await here.ask(trade.order_algos_list, ordType=kind) == []


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"sz": "0.015"}, "51121"),
        ({"sz": "0.001"}, "51020"),
        ({"sz": "20000"}, "51008"),
        ({"px": "990000"}, "51006"),
        ({"instId": "NO-USDT-SWAP"}, "51001"),
        ({"side": "sideways"}, "51000"),
        ({"clOrdId": "taken"}, "51016"),
    ],
)
async def test_refused_order_has_its_code(changes: dict[str, str], code: str) -> None:
    async with session() as here:
        good = CROSS | {"side": "buy", "ordType": "limit", "sz": "1", "px": "97000"}
        await here.ask(here.trade.place_order, **good, clOrdId="taken")
        answer = await here.answer(here.trade.place_order, **(good | changes))
        assert (answer["code"], answer["data"][0]["sCode"]) == ("1", code)
        assert len(await here.ask(here.trade.get_order_list)) == 1


async def test_each_order_of_a_batch_has_its_verdict() -> None:
    async with session() as here:
        good = CROSS | {"side": "buy", "ordType": "limit", "sz": "1", "px": "97000"}
        answer = await here.answer(here.trade.place_multiple_orders, [good, good | {"sz": "0.015"}])
        assert (answer["code"], [each["sCode"] for each in answer["data"]]) == ("2", ["0", "51121"])


async def test_wrong_secret_is_refused() -> None:
    async with session() as here:
        stranger: Any = AccountAPI("key", "wrong", "pass", flag="0", domain=here.account.domain)
        answer = await here.answer(stranger.get_account_balance)
        stranger.close()
        assert answer["code"] == "50113"


# -- sockets


def certificate(folder: Path) -> Path:
    """A certificate for 127.0.0.1 and its key, in one file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "simulator")])
    now = datetime.fromtimestamp(SystemClock().now_ns() / 1e9, UTC)
    signed = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    form = (serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    file = folder / "simulator.pem"
    file.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, *form) + signed.public_bytes(serialization.Encoding.PEM)
    )
    return file


async def heard(frames: list[Row], wanted: Callable[[Row], bool]) -> Row:
    async with asyncio.timeout(DEADLINE_S):
        while not any(wanted(frame) for frame in frames):
            await asyncio.sleep(0.01)
    return next(frame for frame in frames if wanted(frame))


def pushed(channel: str) -> Callable[[Row], bool]:
    return lambda frame: frame.get("arg", {}).get("channel") == channel and bool(frame.get("data"))


async def stop(socket: Any, reader: asyncio.Task[None]) -> None:
    await socket.stop()
    async with asyncio.timeout(DEADLINE_S):
        await reader


async def test_public_socket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = certificate(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(file))
    async with session(file, market="generated") as here:
        socket: Any = WsPublicAsync(f"wss://127.0.0.1:{here.port}/ws/v5/public")
        reader = await socket.start()
        frames: list[Row] = []
        channels = ("tickers", "books", "trades", "mark-price", "funding-rate")
        asked = [{"channel": channel, "instId": BTC} for channel in channels]
        await socket.subscribe(asked, lambda text: frames.append(json.loads(text)))
        for channel in channels:
            await heard(frames, pushed(channel))
        first = await heard(frames, lambda frame: frame.get("action") == "snapshot")
        update = await heard(frames, lambda frame: frame.get("action") == "update")
        assert update["data"][0]["prevSeqId"] == first["data"][0]["seqId"]
        await stop(socket, reader)


async def test_private_socket_tells_and_takes_orders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = certificate(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(file))
    async with session(file) as here:
        socket: Any = WsPrivateAsync("key", "pass", "secret", f"wss://127.0.0.1:{here.port}/ws/v5/private")
        assert (await here.ask(here.account.get_account_balance))[0]["totalEq"] == "100000"
        reader = await socket.start()
        frames: list[Row] = []
        take: Callable[[str], None] = lambda text: frames.append(json.loads(text))  # noqa: E731
        asked = [{"channel": "orders", "instType": "SWAP"}, {"channel": "positions", "instType": "SWAP"}]
        await socket.subscribe([*asked, {"channel": "account"}], take)
        await heard(frames, lambda frame: frame.get("event") == "login" and frame["code"] == "0")
        await heard(frames, pushed("account"))
        order = CROSS | {"side": "buy", "ordType": "market", "sz": "2", "clOrdId": "mine1"}
        await socket.place_order([order], id="1")
        answer = await heard(frames, lambda frame: frame.get("id") == "1")
        assert (answer["op"], answer["code"], answer["data"][0]["clOrdId"]) == ("order", "0", "mine1")
        done = await heard(
            frames, lambda frame: pushed("orders")(frame) and frame["data"][0]["state"] == "filled"
        )
        assert (done["data"][0]["clOrdId"], done["data"][0]["fillFee"]) == ("mine1", "-0.980001")
        held = await heard(frames, pushed("positions"))
        assert held["data"][0]["pos"] == "2"
        await stop(socket, reader)
