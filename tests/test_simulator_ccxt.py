"""ccxt and ccxt.pro, unmodified, trade on the simulator; nothing of them is changed but their URLs."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from itertools import pairwise
from random import Random
from typing import Any

import aiohttp
import pytest

from engine.clock import Clock, ScaledClock, SystemClock
from engine.exchange.simulator.build import Plan, build
from engine.exchange.simulator.manual import Nudge
from engine.exchange.simulator.server import Server
from engine.exchange.simulator.venue import Venue
from tests.waiting import until

pro: Any = pytest.importorskip("ccxt.pro")  # not everybody who develops needs other people's clients
ccxt: Any = pytest.importorskip("ccxt")
ID = "BTC-USDT-SWAP"
BTC = "BTC/USDT:USDT"
ETH = "ETH/USDT:USDT"
CROSS = {"tdMode": "cross"}
DEADLINE_S = 15.0
CLOCK = SystemClock()


@dataclass
class Session:
    """A client, and the hand that moves the market under it."""

    okx: Any
    url: str
    venue: Venue

    def channels(self) -> set[str]:
        """What the client's sockets follow, as the venue knows it."""
        sockets = self.venue.hub.sockets
        return {arg["channel"] for socket in sockets for arg in socket.subscriptions.values()}

    async def market(self, price: str) -> None:
        async with (
            aiohttp.ClientSession() as http,
            http.post(f"{self.url}/sim/market", json={"symbol": ID, "price": price}) as response,
        ):
            assert response.status == 200, await response.text()


def client(url: str, **changes: Any) -> Any:
    """As a user makes it; it does not wait between requests, of which these tests make few."""
    keys = {"apiKey": "key", "secret": "secret", "password": "pass"}
    api = {"rest": url, "ws": f"{url.replace('http', 'ws')}/ws/v5"}
    return pro.okx({**keys, "urls": {"api": api}, "enableRateLimit": False, **changes})


@asynccontextmanager
async def session(clock: Clock = CLOCK, **plan: Any) -> AsyncIterator[Session]:
    """One account with 100,000 USDT in net mode, markets loaded, BTC at 50,000."""
    given = {"accounts": ("key:secret:pass:100000",), "market": "manual", "symbols": (ID, "ETH")}
    venue = build(Plan(**(given | {"position_mode": "net"} | plan)), clock)
    server = Server(venue, 0)
    async with server.running():
        url = f"http://127.0.0.1:{server.port}"
        here = Session(client(url), url, venue)
        try:
            if (given | plan)["market"] == "manual":
                await here.market("50000")
            await here.okx.load_markets()
            yield here
        finally:
            await here.okx.close()


def quick() -> Clock:
    """Ten seconds of the market in one, so that prices change with every push."""
    now = SystemClock().now_ns()
    return ScaledClock(10.0, now, now)


# -- reading


async def test_market_as_ccxt_loads_it() -> None:
    async with session() as here:
        market = here.okx.market(BTC)
        assert set(here.okx.markets) == {BTC, ETH}
        assert (market["id"], market["type"], market["linear"], market["active"]) == (ID, "swap", True, True)
        assert market["contractSize"] == 0.01
        assert (market["precision"]["amount"], market["precision"]["price"]) == (0.01, 0.1)
        assert market["limits"]["amount"]["min"] == 0.01
        assert market["limits"]["leverage"]["max"] == 100


async def test_public_reads_agree_with_each_other() -> None:
    async with session() as here:
        okx = here.okx
        ticker = await okx.fetch_ticker(BTC)
        book = await okx.fetch_order_book(BTC, limit=5)
        minutes = await okx.fetch_ohlcv(BTC, "1m", limit=5)
        since = minutes[-1][0] - 1_800_000
        fives = await okx.fetch_ohlcv(BTC, "5m", since=since, limit=3)
        trades = await okx.fetch_trades(BTC)
        rate = await okx.fetch_funding_rate(BTC)
        interest = await okx.fetch_open_interest(BTC)
        mark = await okx.fetch_mark_price(BTC)
        tiers = await okx.fetch_market_leverage_tiers(BTC)
        assert (ticker["bid"], ticker["last"], ticker["ask"]) == (49_999.9, 50_000.0, 50_000.1)
        assert (book["bids"][0][:2], book["asks"][0][:2]) == ([49_999.9, 100_000.0], [50_000.1, 100_000.0])
        assert len(book["bids"]) == len(book["asks"]) == 5
        assert [b[0] - a[0] for a, b in pairwise(minutes)] == [60_000] * 4
        assert minutes[-1][4] == 50_000.0
        assert [each[0] % 300_000 for each in fives] == [0, 0, 0]
        assert fives[0][0] >= since
        assert trades[-1]["price"] == 50_000.0
        assert (rate["fundingRate"], rate["interval"]) == (0.0001, "8h")
        assert interest["openInterestAmount"] > 0
        assert mark["markPrice"] == 50_000.0
        assert tiers[0]["maxLeverage"] == 100
        assert await okx.fetch_time() >= ticker["timestamp"]
        assert (await okx.fetch_status())["status"] == "ok"
        assert set(await okx.fetch_tickers([BTC, ETH])) == {BTC, ETH}


@pytest.mark.parametrize(
    ("timeframe", "least"), [("5m", 300), ("1h", 300), ("4h", 300), ("1d", 300), ("1w", 50), ("1M", 11)]
)
async def test_candles_of_every_length_reach_far_back_without_holes(timeframe: str, least: int) -> None:
    async with session(market="generated") as here:
        bars = await here.okx.fetch_ohlcv(BTC, timeframe, limit=300)
        assert len(bars) >= least
        opened = [datetime.fromtimestamp(each[0] / 1000, UTC) for each in bars]
        if timeframe == "1M":
            assert {each.day for each in opened} == {1}
            assert [(b.month - a.month) % 12 for a, b in pairwise(opened)] == [1] * (len(bars) - 1)
        else:
            step = here.okx.parse_timeframe(timeframe)
            assert {(b - a).total_seconds() for a, b in pairwise(opened)} == {step}
        if timeframe == "1w":
            assert {each.weekday() for each in opened} == {0}
        assert all(
            low <= min(first, last) <= max(first, last) <= high for _, first, high, low, last, _ in bars
        )
        assert all(abs(math.log(b[1] / a[4])) < 0.03 for a, b in pairwise(bars))  # one path


async def test_statistics_of_the_market_move_slowly() -> None:
    async with session(market="generated") as here:
        okx = here.okx
        interest = await okx.fetch_open_interest_history(BTC, "5m", limit=50)
        amounts = [each["openInterestAmount"] for each in interest]
        assert len(amounts) == 50
        assert all(abs(b / a - 1) < 0.005 for a, b in pairwise(amounts))
        now = (await okx.fetch_open_interest(BTC))["openInterestAmount"]
        assert now == pytest.approx(amounts[-1], rel=0.02)
        assert len(await okx.fetch_long_short_ratio_history(BTC, "5m", limit=20)) == 20
        rates = await okx.fetch_funding_rate_history(BTC)
        assert {b["timestamp"] - a["timestamp"] for a, b in pairwise(rates)} == {8 * 3_600_000}
        bars = await okx.fetch_mark_ohlcv(BTC, "1h", limit=10)
        assert len(bars) == len(await okx.fetch_index_ohlcv(BTC, "1h", limit=10)) == 10


async def test_what_the_account_never_has_is_empty_and_not_an_error() -> None:
    async with session() as here:
        okx = here.okx
        for call in (
            *(okx.fetch_deposits, okx.fetch_withdrawals, okx.fetch_transfers, okx.fetch_borrow_interest),
            *(okx.fetch_convert_trade_history, okx.fetch_funding_history, okx.fetch_ledger),
        ):
            assert await call() == []
        with pytest.raises(ccxt.InsufficientFunds, match="58350"):
            await okx.transfer("USDT", 1, "funding", "trading")
        with pytest.raises(ccxt.ExchangeError, match="50120"):
            await okx.withdraw("USDT", 1, "an-address", params={"fee": 0, "network": "TRC20"})
        asked = {"instId": ID, "tdMode": "cross", "side": "buy", "ordType": "market", "sz": "2"}
        (checked,) = (await okx.private_post_trade_order_precheck(asked))["data"]
        assert float(checked["imrChg"]) == pytest.approx(1000 / 3, rel=0.01)
        assert await okx.fetch_open_orders() == await okx.fetch_closed_orders(BTC) == []


async def test_key_that_may_only_read_places_nothing() -> None:
    async with session(accounts=("key:secret:pass:100000:read_only",)) as here:
        assert (await here.okx.fetch_balance())["USDT"]["free"] == 100_000
        with pytest.raises(ccxt.ExchangeError, match="50120"):
            await here.okx.create_order(BTC, "limit", "buy", 1, 48_000, CROSS)
        with pytest.raises(ccxt.ExchangeError, match="50120"):
            await here.okx.create_order_ws(BTC, "limit", "buy", 1, 48_000, CROSS)


async def test_candles_come_in_pages_without_holes() -> None:
    async with session() as here:
        newest = (await here.okx.fetch_ohlcv(BTC, "1m", limit=1))[0][0]
        params = {"paginate": True, "paginationCalls": 3}
        wanted = range(newest - 249 * 60_000, newest + 1, 60_000)
        found = await here.okx.fetch_ohlcv(BTC, "1m", since=wanted[0], params=params)
        assert [each[0] for each in found][: len(wanted)] == list(wanted)


# -- the account


async def test_account_settings_are_taken_and_told() -> None:
    async with session(position_mode="long_short") as here:
        okx = here.okx
        assert (await okx.fetch_position_mode(BTC))["hedged"] is True
        await okx.set_position_mode(False)
        assert (await okx.fetch_position_mode(BTC))["hedged"] is False
        await okx.set_leverage(7, BTC, {"mgnMode": "cross"})
        told = await okx.fetch_leverage(BTC, {"mgnMode": "cross"})
        assert (told["longLeverage"], told["shortLeverage"]) == (7, 7)
        assert (await okx.fetch_balance())["USDT"] == {"free": 100_000.0, "used": 0.0, "total": 100_000.0}
        fee = await okx.fetch_trading_fee(BTC)
        assert (fee["maker"], fee["taker"]) == (0.0002, 0.0005)
        assert await okx.fetch_positions() == []
        with pytest.raises(ccxt.ExchangeError, match="59102"):  # more than the market allows
            await okx.set_leverage(101, BTC, {"mgnMode": "cross"})


# -- orders


async def test_limit_order_rests_is_amended_and_cancelled() -> None:
    async with session() as here:
        okx = here.okx
        order = await okx.create_order(BTC, "limit", "buy", 2, 48_000, CROSS | {"clientOrderId": "mine1"})
        resting = await okx.fetch_order(order["id"], BTC)
        assert (resting["status"], resting["price"], resting["amount"]) == ("open", 48_000.0, 2.0)
        assert (resting["filled"], resting["remaining"], resting["clientOrderId"]) == (0.0, 2.0, "mine1")
        assert [each["id"] for each in await okx.fetch_open_orders(BTC)] == [order["id"]]
        assert (await okx.fetch_balance())["USDT"]["used"] > 0
        await okx.edit_order(order["id"], BTC, "limit", "buy", 3, 48_500)
        amended = await okx.fetch_order(None, BTC, {"clOrdId": "mine1"})
        assert (amended["id"], amended["price"], amended["amount"]) == (order["id"], 48_500.0, 3.0)
        await okx.cancel_order(order["id"], BTC)
        assert (await okx.fetch_order(order["id"], BTC))["status"] == "canceled"
        assert await okx.fetch_open_orders(BTC) == []
        assert [each["id"] for each in await okx.fetch_canceled_orders(BTC)] == [order["id"]]
        assert (await okx.fetch_balance())["USDT"]["used"] == 0


async def test_orders_in_one_request_each_have_their_verdict() -> None:
    async with session() as here:
        okx = here.okx
        asked = [
            {"symbol": BTC, "type": "limit", "side": "buy", "amount": 1, "price": price, "params": CROSS}
            for price in (48_000, 48_100)
        ]
        placed = await okx.create_orders(asked)
        ids = [each["id"] for each in placed]
        assert sorted(each["id"] for each in await okx.fetch_open_orders()) == sorted(ids)
        await okx.cancel_orders(ids, BTC)
        assert await okx.fetch_open_orders() == []


@pytest.mark.parametrize(
    ("price", "params"),
    [(50_100, {"postOnly": True}), (48_000, {"timeInForce": "IOC"}), (48_000, {"timeInForce": "FOK"})],
)
async def test_order_that_may_not_rest_ends_cancelled(price: float, params: dict[str, Any]) -> None:
    async with session() as here:
        order = await here.okx.create_order(BTC, "limit", "buy", 1, price, CROSS | params)
        ended = await here.okx.fetch_order(order["id"], BTC)
        assert (ended["status"], ended["filled"]) == ("canceled", 0.0)


async def test_round_trip_has_the_figures_of_the_fees_and_the_spread() -> None:
    async with session() as here:
        okx = here.okx
        await okx.set_leverage(5, BTC, {"mgnMode": "cross"})
        order = await okx.create_order(BTC, "market", "buy", 2, None, CROSS)
        bought = await okx.fetch_order(order["id"], BTC)
        assert (bought["status"], bought["average"], bought["filled"]) == ("closed", 50_000.1, 2.0)
        assert bought["fee"] == {"cost": 0.500001, "currency": "USDT"}  # paid: ccxt's cost is positive
        (trade,) = await okx.fetch_my_trades(BTC)
        assert (trade["order"], trade["takerOrMaker"], trade["amount"]) == (order["id"], "taker", 2.0)
        assert trade["fee"] == {"cost": 0.500001, "currency": "USDT"}
        assert [each["id"] for each in await okx.fetch_order_trades(order["id"], BTC)] == [trade["id"]]
        position = await okx.fetch_position(BTC)
        assert (position["side"], position["contracts"], position["entryPrice"]) == ("long", 2.0, 50_000.1)
        assert (position["marginMode"], position["leverage"], position["hedged"]) == ("cross", 5.0, False)
        assert position["unrealizedPnl"] == pytest.approx(-0.002)
        assert position["notional"] == pytest.approx(1000.0)
        assert position["initialMargin"] == pytest.approx(200.0)

        await okx.create_order(BTC, "market", "sell", 2, None, CROSS | {"reduceOnly": True})
        assert await okx.fetch_positions([BTC]) == []
        (past,) = await okx.fetch_positions_history([BTC])
        assert past["entryPrice"] == 50_000.1
        assert (await okx.fetch_balance())["USDT"]["total"] == 99_998.996
        bills = await okx.fetch_ledger("USDT", params={"type": "swap"})
        assert sum(Decimal(each["info"]["balChg"]) for each in bills) == Decimal("-1.004")


async def test_an_isolated_position_has_its_own_margin_and_takes_and_gives_it() -> None:
    async with session() as here:
        okx, alone = here.okx, {"tdMode": "isolated"}
        await okx.set_leverage(5, BTC, {"mgnMode": "isolated", "posSide": "net"})
        await okx.create_order(BTC, "market", "buy", 2, None, alone)
        position = await okx.fetch_position(BTC)
        assert (position["marginMode"], position["leverage"]) == ("isolated", 5.0)
        assert position["collateral"] == pytest.approx(200.0004 - 0.002)  # margin, and what it made since
        assert position["info"]["margin"] == "200.0004"
        limit = (50_000.1 - 200.0004 / 0.02) / (1 - 0.0045)
        assert position["liquidationPrice"] == pytest.approx(limit)

        async def change(kind: str, amount: str) -> None:  # ccxt's add_margin cannot read its own answer
            asked = {"instId": "BTC-USDT-SWAP", "posSide": "net", "type": kind, "amt": amount}
            (row,) = (await okx.private_post_account_position_margin_balance(asked))["data"]
            assert row == asked | {"leverage": "5", "ccy": "USDT"}

        await change("add", "50")
        assert (await okx.fetch_position(BTC))["info"]["margin"] == "250.0004"
        await change("reduce", "20")
        assert (await okx.fetch_position(BTC))["liquidationPrice"] < limit
        with pytest.raises(ccxt.ExchangeError, match="59301"):
            await change("reduce", "200")
        balance = (await okx.fetch_balance())["info"]["data"][0]["details"][0]
        assert (balance["isoEq"], balance["isoUpl"]) == ("229.9984", "-0.002")
        await okx.close_position(BTC, params={"mgnMode": "isolated"})
        assert await okx.fetch_positions([BTC]) == []


async def test_position_closes_by_one_request() -> None:
    async with session() as here:
        await here.okx.create_order(BTC, "market", "sell", 3, None, CROSS)
        assert (await here.okx.fetch_position(BTC))["side"] == "short"
        await here.okx.close_position(BTC, None, {"marginMode": "cross"})
        assert await here.okx.fetch_positions([BTC]) == []


# -- algo orders


async def test_attached_stop_and_target_rest_as_one_algo_and_fire() -> None:
    async with session() as here:
        okx = here.okx
        guards = {"stopLoss": {"triggerPrice": 49_000}, "takeProfit": {"triggerPrice": 52_000}}
        await okx.create_order(BTC, "market", "buy", 2, None, CROSS | guards)
        (algo,) = await okx.fetch_open_orders(BTC, params={"ordType": "oco", "trigger": True})
        assert (algo["stopLossPrice"], algo["takeProfitPrice"]) == (49_000.0, 52_000.0)
        assert (algo["side"], algo["reduceOnly"]) == ("sell", True)
        await here.market("48999")
        assert await okx.fetch_positions([BTC]) == []
        assert await okx.fetch_open_orders(BTC, params={"ordType": "oco", "trigger": True}) == []


@pytest.mark.parametrize(
    ("kind", "price", "params"),
    [
        ("market", None, {"stopLossPrice": 49_000, "reduceOnly": True}),
        ("market", None, {"takeProfitPrice": 51_000, "reduceOnly": True}),
        ("limit", 48_900, {"triggerPrice": 49_000}),
        ("market", None, {"trailingPercent": 1, "reduceOnly": True}),
    ],
)
async def test_standalone_algo_rests_and_is_cancelled(
    kind: str, price: float | None, params: dict[str, Any]
) -> None:
    async with session() as here:
        okx = here.okx
        await okx.create_order(BTC, "market", "buy", 2, None, CROSS)
        algo = await okx.create_order(BTC, kind, "sell", 1, price, CROSS | params)
        family: dict[str, Any] = {"trailing": True} if "trailingPercent" in params else {"trigger": True}
        if "trigger" in family and "triggerPrice" not in params:
            family["ordType"] = "conditional"
        assert [each["id"] for each in await okx.fetch_open_orders(BTC, params=family)] == [algo["id"]]
        await okx.cancel_order(algo["id"], BTC, {key: True for key in family if key != "ordType"})
        assert await okx.fetch_open_orders(BTC, params=family) == []


# -- refusals


@pytest.mark.parametrize(
    ("amount", "price", "params", "error", "code"),
    [
        (20_000, 50_000, {}, ccxt.InsufficientFunds, "51008"),
        (2_000_000, None, {}, ccxt.InvalidOrder, "51202"),
        (1, 90_000, {}, ccxt.InvalidOrder, "51006"),
        (1, 48_000, {"clientOrderId": "taken"}, ccxt.InvalidOrder, "51016"),  # ccxt has no closer class
        (1, 48_000, {"tdMode": "nonsense"}, ccxt.BadRequest, "51000"),
    ],
)
async def test_refused_order_raises_the_class_that_ccxt_has_for_the_code(
    amount: float, price: float | None, params: dict[str, Any], error: type[Exception], code: str
) -> None:
    async with session() as here:
        await here.okx.create_order(BTC, "limit", "buy", 1, 48_000, CROSS | {"clientOrderId": "taken"})
        kind = "limit" if price else "market"
        with pytest.raises(error, match=f'"sCode":"{code}"'):
            await here.okx.create_order(BTC, kind, "buy", amount, price, CROSS | params)
        assert len(await here.okx.fetch_open_orders(BTC)) == 1


async def test_price_beyond_the_limits_becomes_the_limit_for_those_who_wish_it() -> None:
    async with session() as here:
        okx, wish = here.okx, {"pxAmendType": "1"}
        order = await okx.create_order(BTC, "limit", "sell", 1, 30_000, CROSS | wish | {"postOnly": True})
        assert (await okx.fetch_order(order["id"], BTC))["price"] == 47_500.0
        resting = await okx.create_order(BTC, "limit", "sell", 1, 51_000, CROSS)
        with pytest.raises(ccxt.InvalidOrder, match="51006"):
            await okx.edit_order(resting["id"], BTC, "limit", "sell", 1, 30_000)
        await okx.edit_order(resting["id"], BTC, "limit", "sell", 1, 30_000, wish)
        assert (await okx.fetch_order(resting["id"], BTC))["price"] == 47_500.0


async def test_unknown_orders_and_markets_raise_their_classes() -> None:
    async with session() as here:
        okx = here.okx
        with pytest.raises(ccxt.OrderNotFound, match="51603"):
            await okx.fetch_order("123", BTC)
        with pytest.raises(ccxt.OrderNotFound, match="51400"):
            await okx.cancel_order("123", BTC)
        with pytest.raises(ccxt.OrderNotFound, match="51503"):
            await okx.edit_order("123", BTC, "limit", "buy", 1, 48_000)
        with pytest.raises(ccxt.BadSymbol, match="51001"):
            await okx.public_get_market_ticker({"instId": "NO-USDT-SWAP"})


async def test_too_many_requests_raise_the_rate_limit() -> None:
    async with session() as here:
        with pytest.raises(ccxt.RateLimitExceeded, match="50011"):
            await asyncio.gather(*(here.okx.fetch_time() for _ in range(30)))
        patient = client(here.url, enableRateLimit=True)
        try:
            assert len(await patient.fetch_tickers([BTC, ETH])) == 2
        finally:
            await patient.close()


@pytest.mark.parametrize(("field", "code"), [("secret", "50113"), ("password", "50105")])
async def test_wrong_secret_is_an_authentication_error(field: str, code: str) -> None:
    async with session() as here:
        stranger = client(here.url, **{field: "wrong"})
        try:
            with pytest.raises(ccxt.AuthenticationError, match=code):
                await stranger.fetch_balance()
        finally:
            await stranger.close()


# -- watching


async def test_market_channels_are_watched() -> None:
    async with session(clock=quick(), market="generated") as here:
        okx = here.okx

        async def thrice(call: Callable[[], Awaitable[Any]]) -> Any:
            return [await call() for _ in range(3)][-1]

        async with asyncio.timeout(DEADLINE_S), asyncio.TaskGroup() as tasks:
            ticker = tasks.create_task(thrice(lambda: okx.watch_ticker(BTC)))
            trades = tasks.create_task(thrice(lambda: okx.watch_trades(BTC)))
            bars = tasks.create_task(thrice(lambda: okx.watch_ohlcv(BTC, "1m")))
            mark = tasks.create_task(thrice(lambda: okx.watch_mark_price(BTC)))
            best = tasks.create_task(thrice(lambda: okx.watch_bids_asks([ETH])))
            five = tasks.create_task(thrice(lambda: okx.watch_order_book(ETH, params={"depth": "books5"})))
            rate = tasks.create_task(okx.watch_funding_rate(BTC))
        assert ticker.result()["bid"] < ticker.result()["ask"]
        assert trades.result()[0]["symbol"] == BTC
        assert bars.result()[-1][0] % 60_000 == 0
        assert mark.result()["markPrice"] > 0
        assert best.result()[ETH]["bid"] < best.result()[ETH]["ask"]
        assert len(five.result()["bids"]) == 5
        assert abs(rate.result()["fundingRate"]) < 0.01


async def test_channels_of_many_markets_and_of_high_fee_tiers_are_watched() -> None:
    async with session(clock=quick(), market="generated", vip=True) as here:
        okx, both = here.okx, [BTC, ETH]
        async with asyncio.timeout(DEADLINE_S), asyncio.TaskGroup() as tasks:
            told = {
                name: tasks.create_task(call)
                for name, call in {
                    "trades": okx.watch_trades_for_symbols(both),
                    "tickers": okx.watch_tickers(both),
                    "marks": okx.watch_mark_prices(both),
                    "rates": okx.watch_funding_rates(both),
                    "bars": okx.watch_ohlcv_for_symbols([[BTC, "1m"], [ETH, "1w"]]),
                    "month": okx.watch_ohlcv(BTC, "1M"),
                    "best": okx.watch_order_book(BTC, 1),
                    "books": okx.watch_order_book_for_symbols(both),
                    "fifty": okx.watch_order_book(BTC, 50),
                    "all": okx.watch_order_book(ETH, params={"depth": "books-l2-tbt"}),
                }.items()
            }
        for name in ("best", "books", "fifty", "all"):
            book = told[name].result()
            assert book["bids"][0][0] < book["asks"][0][0]
        asked = await okx.public_get_market_candles({"instId": ID, "bar": "1M", "limit": "1"})
        assert told["month"].result()[-1][0] == int(asked["data"][0][0])
        assert set(told["tickers"].result()) <= set(both)


async def test_liquidations_are_watched_by_everybody_and_by_their_owner() -> None:
    async with session(accounts=("key:secret:pass:1000",)) as here:
        okx = here.okx
        await okx.create_order(BTC, "market", "buy", 5, None, CROSS)
        async with asyncio.timeout(DEADLINE_S), asyncio.TaskGroup() as tasks:
            public = tasks.create_task(okx.watch_liquidations_for_symbols([BTC]))
            own = tasks.create_task(okx.watch_my_liquidations_for_symbols([BTC]))
            while not here.channels() >= {"liquidation-orders", "balance_and_position"}:
                await asyncio.sleep(0.01)
            await here.market("30000")
        assert public.result()[0]["contracts"] == 5.0
        assert own.result()[0]["symbol"] == BTC
        assert await okx.fetch_positions([BTC]) == []


async def test_order_book_stays_whole_by_the_clients_own_sequence_check() -> None:
    """ccxt raises ChecksumError when a number does not follow; snapshot, updates and REST are one book."""
    async with session(clock=quick(), market="generated") as here:
        okx = here.okx
        numbers: set[int] = set()
        async with asyncio.timeout(DEADLINE_S):
            while len(numbers) < 30:
                watched = await okx.watch_order_book(BTC)
                numbers.add(watched["nonce"])
                prices = [row[0] for row in watched["bids"][::-1]] + [row[0] for row in watched["asks"]]
                assert prices == sorted(set(prices))
            while (told := await okx.fetch_order_book(BTC))["timestamp"] != watched["timestamp"]:
                watched = await okx.watch_order_book(BTC)
        for side in ("bids", "asks"):
            assert [row[:2] for row in told[side]] == [list(row[:2]) for row in watched[side]]


async def test_order_book_follows_three_thousand_updates_without_a_gap() -> None:
    """The client checks every number, and raises ChecksumError where one does not follow."""
    async with session() as here:
        okx, random, price = here.okx, Random(7), Decimal(50_000)  # noqa: S311 - a walk
        first = (await okx.watch_order_book(BTC))["nonce"]
        told = here.venue.hub.market.books[ID]
        async with asyncio.timeout(DEADLINE_S):
            for _ in range(30):
                for _ in range(100):
                    price += Decimal(random.randint(1, 9)) / 10 * random.choice((-1, 1))
                    here.venue.nudge(Nudge(symbol=ID, price=price, depth=Decimal(random.randint(1, 900))))
                    here.venue.flush()
                while (known := await okx.watch_order_book(BTC))["nonce"] < told.number:
                    pass
        assert told.number - first == 3_000 * 7  # each update raises the number by seven
        rest = await okx.fetch_order_book(BTC)
        for side in ("asks", "bids"):
            assert [row[:2] for row in rest[side]] == [list(row[:2]) for row in known[side]]


async def test_account_channels_tell_of_a_trade_from_entry_to_stop() -> None:
    async with session() as here:
        okx = here.okx
        await okx.authenticate({"url": f"{here.url.replace('http', 'ws')}/ws/v5/private"})
        orders: list[Any] = []
        algos: list[str] = []
        trades: list[Any] = []
        balances: list[float] = []
        sizes: list[float] = []

        async def watch(call: Callable[[], Awaitable[Any]], take: Callable[[Any], None]) -> None:
            while True:
                take(await call())

        async with asyncio.TaskGroup() as tasks:
            watchers = [
                tasks.create_task(watch(lambda: okx.watch_orders(BTC), orders.extend)),
                tasks.create_task(
                    watch(
                        lambda: okx.watch_orders(BTC, params={"trigger": True}),
                        lambda told: algos.extend(each["status"] for each in told),
                    )
                ),
                tasks.create_task(watch(lambda: okx.watch_my_trades(BTC), trades.extend)),
                tasks.create_task(
                    watch(okx.watch_balance, lambda told: balances.append(told["USDT"]["total"]))
                ),
                tasks.create_task(
                    watch(
                        lambda: okx.watch_positions([BTC]),
                        lambda told: sizes.extend(each["contracts"] for each in told),
                    )
                ),
            ]
            await until(lambda: bool(balances))
            await until(lambda: _subscribed(okx) >= {"orders", "orders-algo", "account", "positions"})
            stop = {"stopLoss": {"triggerPrice": 49_000}}
            entry = await okx.create_order(BTC, "market", "buy", 2, None, CROSS | stop)
            await until(lambda: 2.0 in sizes and bool(algos))
            await here.market("48999")
            await until(lambda: sizes[-1:] == [0.0] and len(trades) == 2 and balances[-1] < 99_980)
            for watcher in watchers:
                watcher.cancel()
        by_entry = [each for each in orders if each["id"] == entry["id"]]
        assert by_entry[-1]["status"] == "closed"
        assert [each["side"] for each in trades] == ["buy", "sell"]
        assert trades[0]["info"]["fee"] == "-0.500001"
        assert algos[0] == "open"
        assert algos[-1] == "closed"
        assert balances[-1] == pytest.approx((await okx.fetch_balance())["USDT"]["total"])


async def test_orders_are_placed_amended_and_cancelled_on_the_socket() -> None:
    async with session() as here:
        okx = here.okx
        order = await okx.create_order_ws(BTC, "limit", "buy", 1, 48_000, CROSS)
        await okx.edit_order_ws(order["id"], BTC, "limit", "buy", 2, 48_500)
        resting = await okx.fetch_order(order["id"], BTC)
        assert (resting["price"], resting["amount"]) == (48_500.0, 2.0)
        await okx.cancel_order_ws(order["id"], BTC)
        assert (await okx.fetch_order(order["id"], BTC))["status"] == "canceled"
        with pytest.raises(ccxt.ExchangeError, match="51400"):
            await okx.cancel_order_ws(order["id"], BTC)


def _subscribed(okx: Any) -> set[str]:
    """Channels that the client's sockets have asked for."""
    return {
        str(name).split(":")[0].split("::")[0] for each in okx.clients.values() for name in each.subscriptions
    }
