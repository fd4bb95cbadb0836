"""The OKX client and the simulator over the wire: orders, stops, faults, both position modes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from itertools import pairwise
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import pytest

from engine.clock import Clock, ScaledClock, SystemClock
from engine.config.exchange import OkxConfig
from engine.core.errors import OutcomeUnknown, Rejected, VenueMisconfigured
from engine.core.market import Candle, MarketEvent, Side
from engine.core.orders import (
    ExecutionReport,
    Order,
    OrderState,
    OrderType,
    PositionSide,
    Purpose,
    stop_client_id,
)
from engine.core.times import NS_PER_HOUR, NS_PER_MIN, NS_PER_S
from engine.exchange.okx.dead_man import DeadMansSwitch
from engine.exchange.okx.feed import OkxMarketFeed
from engine.exchange.okx.venue import OkxVenue
from engine.exchange.ports import ProtectionRequest, StreamStatus, Trailing, VenueEvent
from engine.exchange.simulator.build import Plan, build
from engine.exchange.simulator.server import Server
from tests.fixtures.okx.scripted import QUICK, running
from tests.order_parts import order_of
from tests.waiting import until

BTC = "BTC-USDT-SWAP"
D = Decimal
CLOCK = SystemClock()


@dataclass
class World:
    """One simulated venue, one account of ours on it, and what its sockets told."""

    url: str
    venue: OkxVenue
    http: aiohttp.ClientSession
    events: list[VenueEvent] = field(default_factory=list)
    count: int = 0

    async def market(self, price: str, **details: str) -> None:
        await self._post("/sim/market", {"symbol": BTC, "price": price, **details})

    async def fault(self, **fault: Any) -> None:
        await self._post("/sim/faults", fault)

    async def received(self) -> dict[str, int]:
        async with self.http.get(f"{self.url}/sim/state") as response:
            state: dict[str, dict[str, int]] = await response.json()
        return {name.rsplit(":", 1)[-1]: count for name, count in state["orders_received"].items()}

    async def _post(self, path: str, body: dict[str, Any]) -> None:
        async with self.http.post(self.url + path, json=body) as response:
            assert response.status == 200, await response.text()

    def order(self, **changes: Any) -> Order:
        self.count += 1
        given: dict[str, Any] = {
            "intent_id": f"intent {self.count} of {id(self)}",
            "cycle_id": "c",
            "trader_id": "t",
            "account_id": "okx",
            "contracts": D("1.5"),
            "ts_created": CLOCK.now_ns(),
        }
        return order_of(**(given | changes))

    def reports(self, client_id: str) -> list[ExecutionReport]:
        return [e for e in self.events if isinstance(e, ExecutionReport) and e.client_order_id == client_id]

    async def report(self, client_id: str, wanted: Callable[[ExecutionReport], bool]) -> ExecutionReport:
        await until(lambda: any(wanted(report) for report in self.reports(client_id)))
        return next(report for report in self.reports(client_id) if wanted(report))

    @property
    def states(self) -> list[bool]:
        return [event.connected for event in self.events if isinstance(event, StreamStatus)]


def config(url: str, **changes: Any) -> OkxConfig:
    ws = url.replace("http", "ws")
    given: dict[str, Any] = {
        "api_key": "key",
        "secret": "secret",
        "passphrase": "pass",
        "rest_url": url,
        "ws_public_url": f"{ws}/ws/v5/public",
        "ws_private_url": f"{ws}/ws/v5/private",
        "ws_business_url": f"{ws}/ws/v5/business",
        "timeouts": QUICK,
    }
    return OkxConfig(**(given | changes))


@asynccontextmanager
async def simulator(clock: Clock = CLOCK, port: int = 0, **plan: Any) -> AsyncIterator[str]:
    given: dict[str, Any] = {"accounts": ("key:secret:pass:100000",), "market": "manual", "symbols": (BTC,)}
    server = Server(build(Plan(**(given | plan)), clock), port)
    async with server.running():
        yield f"http://127.0.0.1:{server.port}"


@asynccontextmanager
async def world(mode: str = "long_short", clock: Clock = CLOCK) -> AsyncIterator[World]:
    async with simulator(clock, position_mode=mode) as url, aiohttp.ClientSession() as http:
        venue = OkxVenue(config(url, position_mode=mode), clock)
        here = World(url, venue, http)

        async def listen() -> None:
            async for event in venue.events():
                here.events.append(event)

        async def live() -> None:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(venue.run())
                tasks.create_task(listen())

        async with running(live()):
            await until(lambda: here.states == [True])
            await here.market("50000")
            yield here


def filled(report: ExecutionReport) -> bool:
    return report.state is OrderState.FILLED


@pytest.mark.parametrize("mode", ["long_short", "net"])
async def test_entry_with_stop_fills_rests_and_is_told_everywhere(mode: str) -> None:
    async with world(mode) as here:
        await here.venue.check_account()
        await here.venue.set_leverage(BTC, D(4))
        await here.venue.set_leverage(BTC, D(4))
        order = here.order(stop_loss=D(49000), take_profit=D(52000))
        ack = await here.venue.submit(order)
        done = await here.report(order.client_order_id, filled)
        fills = [r.fill for r in here.reports(order.client_order_id) if r.fill]
        known = await here.venue.query(order)
        executions = await here.venue.executions_since(CLOCK.now_ns() - NS_PER_MIN)
        (position,) = await here.venue.positions()
        (protection,) = await here.venue.protections()
        balance = await here.venue.balance()
    assert ack.venue_order_id == done.venue_order_id
    assert sum((fill.contracts for fill in fills), D(0)) == D("1.5") == done.filled
    assert known is not None
    assert (known.state, known.filled) == (OrderState.FILLED, D("1.5"))
    assert [report.fill for report in executions] == fills  # the same ids, prices and fees by both paths
    assert {report.client_order_id for report in executions} == {order.client_order_id}
    assert (position.contracts, position.leverage) == (D("1.5"), D(4))
    assert position.position_side is (PositionSide.LONG if mode == "long_short" else None)
    assert protection.client_id == stop_client_id(order.client_order_id)
    assert (protection.contracts, protection.stop_loss, protection.take_profit) == (
        D("1.5"),
        D(49000),
        D(52000),
    )
    assert balance.cash == D(100_000) + sum((fill.fee for fill in fills), D(0))
    assert all(fill.fee < 0 for fill in fills)


@pytest.mark.parametrize(("price", "purpose"), [("48900", Purpose.STOP), ("52100", Purpose.TARGET)])
@pytest.mark.parametrize("mode", ["long_short", "net"])
async def test_L8_fired_stop_or_target_is_told_under_its_own_name(
    mode: str, price: str, purpose: Purpose
) -> None:
    async with world(mode) as here:
        order = here.order(stop_loss=D(49000), take_profit=D(52000))
        await here.venue.submit(order)
        await here.report(order.client_order_id, filled)
        await here.market(price)
        name = stop_client_id(order.client_order_id)
        done = await here.report(name, filled)
        assert {report.category for report in here.reports(name)} == {purpose}
        later = await here.venue.executions_since(CLOCK.now_ns() - NS_PER_MIN)
        assert await here.venue.positions() == ()
        assert await here.venue.protections() == ()
    told = [report for report in later if report.client_order_id == name]
    assert sum((report.fill.contracts for report in told if report.fill), D(0)) == done.filled == D("1.5")
    assert {report.category for report in told} == {purpose}


async def test_F1_order_that_arrived_although_the_answer_was_lost_is_found() -> None:
    async with world() as here:
        order = here.order()
        await here.fault(kind="drop_after", path="trade/order")
        with pytest.raises(OutcomeUnknown):
            await here.venue.submit(order)
        known = await here.venue.query(order)
        assert known is not None
        assert known.state is OrderState.FILLED
        assert await here.received() == {order.client_order_id: 1}


async def test_F2_order_that_never_arrived_is_surely_unknown() -> None:
    async with world() as here:
        order = here.order()
        await here.fault(kind="drop_before", path="trade/order")
        with pytest.raises(OutcomeUnknown):
            await here.venue.submit(order)
        assert await here.venue.query(order) is None


@pytest.mark.parametrize("code", ["50001", "50004"])
async def test_F9_busy_venue_proves_nothing(code: str) -> None:
    async with world() as here:
        order = here.order()
        await here.fault(kind="code_after", path="trade/order", code=code)
        with pytest.raises(OutcomeUnknown):
            await here.venue.submit(order)
        assert await here.venue.query(order) is not None


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"contracts": D(1_000_000)}, ""),
        ({"contracts": D("0.001")}, ""),
        ({"symbol": "NOPE-USDT-SWAP"}, "51001"),
        ({"order_type": OrderType.LIMIT, "price": D(90_000)}, "51006"),  # O8
        ({"stop_loss": D(51_000)}, ""),  # above the price of a long
    ],
)
async def test_refused_order_is_refused_for_good(changes: dict[str, Any], code: str) -> None:
    async with world() as here:
        with pytest.raises(Rejected) as refused:
            await here.venue.submit(here.order(**changes))
        assert not code or refused.value.code == code
        assert await here.venue.positions() == ()


async def test_resting_order_is_listed_and_cancelled_once() -> None:
    async with world() as here:
        order = here.order(order_type=OrderType.LIMIT, price=D(49500))
        await here.venue.submit(order)
        (resting,) = await here.venue.open_orders()
        await here.venue.cancel(order)
        done = await here.report(order.client_order_id, lambda report: report.state is OrderState.CANCELED)
        with pytest.raises(Rejected):  # F6
            await here.venue.cancel(order)
        known = await here.venue.query(order)
    assert (resting.client_order_id, resting.state) == (order.client_order_id, OrderState.NEW)
    assert (done.reason_code, done.filled) == ("1", D(0))
    assert known is not None
    assert known.state is OrderState.CANCELED


@pytest.mark.parametrize("mode", ["long_short", "net"])
async def test_standalone_stop_is_placed_amended_and_cancelled(mode: str) -> None:
    async with world(mode) as here:
        order = here.order(side=Side.SELL, position_side=PositionSide.SHORT)
        await here.venue.submit(order)
        await here.report(order.client_order_id, filled)
        await here.venue.positions()
        request = ProtectionRequest(
            client_id=stop_client_id(order.client_order_id, 1),
            symbol=BTC,
            position_side=PositionSide.SHORT,
            contracts=D("1.5"),
            stop_loss=D(51000),
            take_profit=None,
        )
        placed = await here.venue.protect(request)
        smaller = ProtectionRequest(
            client_id="ignored",
            symbol=BTC,
            position_side=PositionSide.SHORT,
            contracts=D("0.7"),
            stop_loss=D(50900),
            take_profit=None,
        )
        await here.venue.amend_protection(placed, smaller)
        (resting,) = await here.venue.protections()
        assert await here.venue.cancel_protection(resting)
        assert not await here.venue.cancel_protection(resting)
    assert (resting.venue_id, resting.contracts, resting.stop_loss) == (placed.venue_id, D("0.7"), D(50900))


async def test_trailing_stop_follows_and_closes_under_its_own_name() -> None:
    async with world() as here:
        entry = here.order()
        await here.venue.submit(entry)
        await here.report(entry.client_order_id, filled)
        name = stop_client_id(entry.client_order_id, 1)
        request = ProtectionRequest(
            client_id=name,
            symbol=BTC,
            position_side=PositionSide.LONG,
            contracts=D("1.5"),
            trailing=Trailing(ratio=D("0.01")),
        )
        await here.venue.protect(request)
        await here.market("52000")
        (resting,) = await here.venue.protections()
        assert (resting.trailing, resting.stop_loss) == (True, D(51_480))
        await here.market("51400")
        fired = await here.report(name, filled)
        assert fired.category is Purpose.STOP
        assert await here.venue.positions() == ()


async def test_dead_mans_switch_cancels_what_rests_when_nobody_renews_it() -> None:
    clock = ScaledClock(60.0, CLOCK.now_ns(), CLOCK.now_ns())  # the venue's minute is our second
    async with world(clock=clock) as here:
        given = here.order(order_type=OrderType.LIMIT, price=D(40_000))
        await here.venue.submit(given)
        switch = DeadMansSwitch(here.venue.rest, clock, 10, "")
        await switch.renew()
        assert switch.armed
        gone = await here.report(given.client_order_id, lambda report: report.state is OrderState.CANCELED)
        assert gone.reason == "dead man's switch"


@pytest.mark.parametrize("mode", ["long_short", "net"])
async def test_close_leaves_nothing(mode: str) -> None:
    async with world(mode) as here:
        order = here.order()
        await here.venue.submit(order)
        await here.report(order.client_order_id, filled)
        await here.venue.positions()
        close = here.order(side=Side.SELL, purpose=Purpose.EXIT)
        await here.venue.submit(close)
        await here.report(close.client_order_id, filled)
        assert await here.venue.positions() == ()


async def test_two_traders_of_a_netting_account_can_both_close() -> None:
    """Long 1 beside short 3 nets to short 2: closing the long enlarges it, and must not be refused."""
    async with world("net") as here:
        for changes in (
            {"contracts": D(1)},
            {"contracts": D(3), "side": Side.SELL, "position_side": PositionSide.SHORT},
            {"contracts": D(1), "side": Side.SELL, "purpose": Purpose.EXIT},
            {"contracts": D(3), "purpose": Purpose.EXIT, "position_side": PositionSide.SHORT},
        ):
            order = here.order(**changes)
            await here.venue.submit(order)
            await here.report(order.client_order_id, filled)
        assert await here.venue.positions() == ()


async def test_D8_cut_sockets_come_back_and_say_so() -> None:
    async with world() as here:
        await here.fault(kind="cut")
        await until(lambda: here.states == [True, False, True], deadline_s=10)
        order = here.order()
        await here.venue.submit(order)
        await here.report(order.client_order_id, filled)


@pytest.mark.parametrize("mode", ["long_short", "net"])
async def test_funding_is_charged_to_the_side_that_holds(mode: str) -> None:
    boundary = (CLOCK.now_ns() // (8 * NS_PER_HOUR) + 1) * 8 * NS_PER_HOUR
    clock = ScaledClock(1.0, boundary - 3 * NS_PER_S, CLOCK.now_ns())  # funding is due in three seconds
    async with world(mode, clock) as here:
        long = here.order(contracts=D(1))
        short = here.order(contracts=D(3), side=Side.SELL, position_side=PositionSide.SHORT)
        for order in (long, short):
            await here.venue.submit(order)
            await here.report(order.client_order_id, filled)
        await clock.sleep_until(boundary + NS_PER_S // 2)
        await here.market("50000")
        charges = await here.venue.funding_since(boundary - NS_PER_MIN)
    told = {charge.position_side: (charge.contracts, charge.amount) for charge in charges}
    if mode == "net":
        assert told == {None: (D(2), D("0.1"))}
    else:
        assert told == {PositionSide.LONG: (D(1), D("-0.05")), PositionSide.SHORT: (D(3), D("0.15"))}


async def test_D8_restarted_venue_is_found_again() -> None:
    events: list[VenueEvent] = []

    def states() -> list[bool]:
        return [event.connected for event in events if isinstance(event, StreamStatus)]

    async with simulator() as url:
        venue = OkxVenue(config(url), CLOCK)

    async def listen() -> None:
        async for event in venue.events():
            events.append(event)

    port = urlsplit(url).port or 0
    async with running(venue.run()), running(listen()):
        for expected in ([True], [True, False, True]):
            async with simulator(port=port):
                await until(lambda wanted=expected: states() == wanted)  # type: ignore[misc]
                assert (await venue.balance()).cash == D(100_000)
            await until(lambda wanted=expected: states() == [*wanted, False])  # type: ignore[misc]


async def test_S15_other_position_mode_and_wrong_keys_are_refused() -> None:
    async with simulator(position_mode="net") as url:
        for changes, word in (
            ({"position_mode": "long_short"}, "position_mode"),
            ({"secret": "other"}, "secret"),
            ({"passphrase": "other"}, "passphrase"),
        ):
            venue = OkxVenue(config(url, **changes), CLOCK)
            with pytest.raises(VenueMisconfigured, match=word):
                await venue.check_account()
            await venue.close()


@pytest.mark.parametrize(("keys", "other"), [("demo", "live"), ("live", "demo")])
async def test_S16_keys_of_the_other_environment_are_refused_by_name(keys: str, other: str) -> None:
    async with simulator(environment=keys) as url:
        for environment in (keys, other):
            venue = OkxVenue(config(url, environment=environment), CLOCK)
            try:
                if environment == keys:
                    await venue.check_account()
                else:
                    with pytest.raises(VenueMisconfigured, match="set `environment` to demo or live"):
                        await venue.check_account()
            finally:
                await venue.close()


async def test_seconds_flow_as_candles_and_equal_the_history() -> None:
    """market/candles does not know them, so the feed asks market/history-candles alone."""
    clock = ScaledClock(20.0, CLOCK.now_ns(), CLOCK.now_ns())
    async with simulator(clock, market="generated") as url:
        feed = OkxMarketFeed(config(url), [BTC], ["1s"], clock)
        told: list[Candle] = []

        async def read() -> None:
            async for events in feed.events():
                told.extend(event for event in events if isinstance(event, Candle) and event.closed)

        async with running(feed.run()), running(read()):
            await until(lambda: len(told) > 60, deadline_s=20)
            kept = {each.ts_open: each for each in await feed.candles(BTC, "1s", 500)}
    assert {b.ts_open - a.ts_open for a, b in pairwise(told)} == {NS_PER_S}
    known = [each for each in told if each.ts_open in kept]
    assert len(known) > 60
    for each in known:
        stored = kept[each.ts_open]
        bar = (each.open, each.high, each.low, each.close, each.volume)
        assert bar == (stored.open, stored.high, stored.low, stored.close, stored.volume)


async def test_generated_market_flows_and_warms_up() -> None:
    async with simulator(market="generated", symbols=(BTC, "ETH-USDT-SWAP")) as url:
        feed = OkxMarketFeed(config(url), [BTC, "ETH-USDT-SWAP"], ["1m", "1h"], CLOCK)
        seen: dict[str, set[str]] = {BTC: set(), "ETH-USDT-SWAP": set()}

        async def read() -> None:
            async for events in feed.events():
                for event in events:
                    name: type[MarketEvent] = type(event)
                    seen[event.symbol].add(name.__name__)

        everything = {
            *("Trade", "Ticker", "MarkPrice", "IndexPrice", "FundingRate", "OpenInterest", "BookTop"),
            *("PriceLimits", "Candle", "FeedStatus"),
        }
        async with running(feed.run()), running(read()):
            await until(lambda: all(kinds == everything for kinds in seen.values()), deadline_s=20)
            listed = {instrument.symbol for instrument in await feed.instruments()}
            minutes = await feed.candles(BTC, "1m", 350)
            hours = await feed.candles(BTC, "1h", 5)
    assert listed == {BTC, "ETH-USDT-SWAP"}
    assert not feed.refused
    assert not feed.bad_frames
    assert len(minutes) == 350
    assert all(b.ts_open - a.ts_open == NS_PER_MIN for a, b in pairwise(minutes))
    assert all(b.ts_open - a.ts_open == NS_PER_HOUR for a, b in pairwise(hours))
    assert all(isinstance(candle, Candle) and candle.closed for candle in (*minutes, *hours))
