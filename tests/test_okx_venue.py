"""The account against a server that does what it is told: requests by position mode, answers, sockets."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest
import structlog
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st

from engine.clock import SystemClock
from engine.config.values import Duration
from engine.core.errors import OutcomeUnknown, Rejected, Unavailable, VenueMisconfigured
from engine.core.instruments import FeeTier
from engine.core.market import Side
from engine.core.orders import (
    ExecutionReport,
    Order,
    OrderState,
    OrderType,
    PositionSide,
    Purpose,
    client_order_id,
    entry_of,
    stop_client_id,
)
from engine.exchange.okx.account_check import problems_of
from engine.exchange.okx.account_wire import AccountSettings
from engine.exchange.okx.venue import OkxVenue
from engine.exchange.ports import (
    Protection,
    ProtectionRequest,
    StreamStatus,
    Trailing,
    VenueBalance,
    VenueEvent,
    VenuePosition,
)
from tests.fixtures.okx.scripted import ScriptedVenue, item, ok, running, scripted
from tests.order_parts import order_of
from tests.waiting import until

PRIVATE = (Path(__file__).parent / "fixtures" / "okx" / "private.jsonl").read_text().splitlines()
BTC = "BTC-USDT-SWAP"
MS = 1_000_000
ENTRY = client_order_id("entry")
D = Decimal


@pytest.fixture
async def server() -> AsyncIterator[ScriptedVenue]:
    async with scripted() as venue:
        yield venue


@asynccontextmanager
async def account(server: ScriptedVenue, **changes: Any) -> AsyncIterator[OkxVenue]:
    venue = OkxVenue(server.config(**changes), SystemClock())
    try:
        yield venue
    finally:
        await venue.close()


def order(**changes: Any) -> Order:
    given: dict[str, Any] = {
        "intent_id": "entry",
        "cycle_id": "c",
        "trader_id": "t",
        "account_id": "okx",
        "contracts": D("1.20"),
        "stop_loss": D("49000.0"),
        "take_profit": D("52000"),
        "ts_created": SystemClock().now_ns(),
    }
    return order_of(**(given | changes))


def exit_order(**changes: Any) -> Order:
    closing = {"side": Side.SELL, "purpose": Purpose.EXIT, "stop_loss": None, "take_profit": None}
    return order(**(closing | changes))


PLACED = item("0", "Order placed", ordId="9001", ts="1700000000900")
STOPS = {
    "attachAlgoClOrdId": stop_client_id(ENTRY),
    "slTriggerPx": "49000",
    "slTriggerPxType": "mark",
    "slOrdPx": "-1",
    "tpTriggerPx": "52000",
    "tpTriggerPxType": "mark",
    "tpOrdPx": "-1",
}
WHOLE = {
    "instId": BTC,
    "tdMode": "cross",
    "side": "buy",
    "ordType": "market",
    "sz": "1.2",
    "clOrdId": ENTRY,
    "attachAlgoOrds": [STOPS],
}
CLOSE = {"instId": BTC, "tdMode": "cross", "side": "sell", "ordType": "market", "sz": "1.2", "clOrdId": ENTRY}
NET_LONG = ok({"instType": "SWAP", "instId": BTC, "posSide": "net", "pos": "2", "avgPx": "50000"})
NET_SHORT = ok({"instType": "SWAP", "instId": BTC, "posSide": "net", "pos": "-2", "avgPx": "50000"})


@pytest.mark.parametrize(
    ("mode", "positions", "sent", "body"),
    [
        ("long_short", ok(), order(), WHOLE | {"posSide": "long"}),
        ("net", ok(), order(), WHOLE),
        ("long_short", ok(), exit_order(), CLOSE | {"posSide": "long"}),
        ("net", NET_LONG, exit_order(), CLOSE | {"reduceOnly": True}),
        # another trader is short more than this one is long: the close enlarges the venue's net short
        ("net", NET_SHORT, exit_order(), CLOSE),
        (
            "long_short",
            ok(),
            order(order_type=OrderType.POST_ONLY, price=D("49999.90"), stop_loss=None, take_profit=None),
            {k: v for k, v in WHOLE.items() if k != "attachAlgoOrds"}
            | {"ordType": "post_only", "px": "49999.9", "posSide": "long"},
        ),
    ],
)
async def test_order_is_sent_as_the_position_mode_wants_it(
    server: ScriptedVenue, mode: str, positions: dict[str, Any], sent: Order, body: dict[str, Any]
) -> None:
    server.answers |= {"POST trade/order": PLACED, "GET account/positions": positions}
    async with account(server, position_mode=mode) as venue:
        await venue.positions()
        report = await venue.submit(sent)
    assert server.sent("POST trade/order") == [({}, body)]
    assert (report.state, report.venue_order_id, report.client_order_id) == (OrderState.NEW, "9001", ENTRY)
    assert report.position_side is (PositionSide.LONG if mode == "long_short" else None)
    assert report.ts_event == 1_700_000_000_900 * MS


@given(st.text(max_size=80))
def test_O3_client_id_is_the_venues_alphabet_and_the_same_for_the_same_intent(intent_id: str) -> None:
    """The prefix is part of it, and its stops fit as well: at most 32 letters and digits."""
    entry = client_order_id(intent_id)
    for name in (entry, stop_client_id(entry), stop_client_id(entry, 99)):
        assert len(name) <= 32
        assert name.isascii()
        assert name.isalnum()
    assert entry == client_order_id(intent_id)
    assert entry != client_order_id(f"{intent_id}.")
    assert entry_of(stop_client_id(entry, 3)) == entry


async def test_tag_is_sent_only_when_configured(server: ScriptedVenue) -> None:
    server.answers["POST trade/order"] = PLACED
    async with account(server, order_tag="mytag") as venue:
        await venue.submit(order())
    assert server.sent("POST trade/order")[0][1]["tag"] == "mytag"


async def test_O8_price_beyond_the_limits_is_refused_or_clamped_as_configured(server: ScriptedVenue) -> None:
    server.answers["POST trade/order"] = item("51006", "Order price is not within the price limit")
    given = order(order_type=OrderType.IOC, price=D(60_000), stop_loss=None, take_profit=None)
    async with account(server) as venue:
        with pytest.raises(Rejected, match="price limit") as caught:
            await venue.submit(given)
        assert caught.value.code == "51006"
    server.answers["POST trade/order"] = PLACED
    async with account(server, clamp_price=True) as venue:
        await venue.submit(given)
        await venue.submit(order())  # at market: there is no price to move
    assert [body.get("pxAmendType") for _, body in server.sent("POST trade/order")] == [None, "1", None]


async def test_trailing_stop_is_sent_by_its_distance(server: ScriptedVenue) -> None:
    server.answers["POST trade/order-algo"] = {
        "code": "0",
        "msg": "",
        "data": [{"sCode": "0", "algoId": "5"}],
    }
    request = ProtectionRequest(
        client_id=stop_client_id(ENTRY, 1),
        symbol=BTC,
        position_side=PositionSide.LONG,
        contracts=D(2),
        trailing=Trailing(ratio=D("0.010"), activation=D(51_000)),
    )
    async with account(server) as venue:
        placed = await venue.protect(request)
        with pytest.raises(Rejected, match="trailing"):
            await venue.amend_protection(placed, request)
    assert server.sent("POST trade/order-algo")[0][1] == {
        "instId": BTC,
        "tdMode": "cross",
        "side": "sell",
        "posSide": "long",
        "ordType": "move_order_stop",
        "sz": "2",
        "algoClOrdId": stop_client_id(ENTRY, 1),
        "callbackRatio": "0.01",
        "activePx": "51000",
    }


@pytest.mark.parametrize(("tag", "body"), [("", {"timeOut": "60"}), ("me", {"timeOut": "60", "tag": "me"})])
async def test_dead_mans_switch_is_renewed_only_when_asked_for(
    server: ScriptedVenue, tag: str, body: dict[str, str]
) -> None:
    server.answers["POST trade/cancel-all-after"] = ok({"triggerTime": "1700000060000"})
    venue = OkxVenue(server.config(cancel_all_after=Duration(60), order_tag=tag), SystemClock())
    async with running(venue.run()):
        await until(lambda: bool(server.sent("POST trade/cancel-all-after")))
    assert server.sent("POST trade/cancel-all-after") == [({}, body)]
    quiet = OkxVenue(server.config(), SystemClock())
    async with running(quiet.run()):
        await until(lambda: all(link.up for link in quiet.stream.links.values()))
    assert len(server.sent("POST trade/cancel-all-after")) == 1


async def test_duplicate_client_id_means_that_the_first_request_got_through(server: ScriptedVenue) -> None:
    server.answers["POST trade/order"] = item("51016", "Duplicated client order ID")
    async with account(server) as venue:
        with pytest.raises(OutcomeUnknown):
            await venue.submit(order())


async def test_F6_cancel_of_a_missing_order_is_refused_once(server: ScriptedVenue) -> None:
    server.answers["POST trade/cancel-order"] = item("51400", "gone")
    async with account(server) as venue:
        with pytest.raises(Rejected):
            await venue.cancel(order())
    assert server.sent("POST trade/cancel-order") == [({}, {"instId": BTC, "clOrdId": ENTRY})]


RECORD = {
    "instType": "SWAP",
    "instId": BTC,
    "ordId": "9001",
    "clOrdId": ENTRY,
    "side": "buy",
    "posSide": "long",
    "sz": "1.2",
    "state": "filled",
    "accFillSz": "1.2",
    "avgPx": "50000",
    "uTime": "1700000001000",
}
GONE = {"code": "51603", "msg": "Order does not exist", "data": []}


async def test_F1_query_finds_an_order_by_client_id(server: ScriptedVenue) -> None:
    server.answers["GET trade/order"] = ok(RECORD)
    async with account(server) as venue:
        report = await venue.query(order())
    assert report is not None
    assert (report.state, report.filled, report.client_order_id) == (OrderState.FILLED, D("1.2"), ENTRY)
    assert server.sent("GET trade/order")[0][0] == {"instId": BTC, "clOrdId": ENTRY}


async def test_F2_query_searches_the_history_before_it_says_never(server: ScriptedVenue) -> None:
    server.answers |= {"GET trade/order": GONE, "GET trade/orders-history": [ok(RECORD), ok()]}
    async with account(server) as venue:
        found = await venue.query(order())
        missing = await venue.query(order())
    assert found is not None
    assert found.state is OrderState.FILLED
    assert missing is None


@pytest.mark.parametrize(
    "answer", [{"code": "50001", "msg": "down", "data": []}, {"code": "0"}, {"code": "0", "data": [{}]}]
)
async def test_no_answer_is_not_never(server: ScriptedVenue, answer: dict[str, Any]) -> None:
    server.answers |= {"GET trade/order": answer, "GET trade/orders-history": ok()}
    async with account(server) as venue:
        with pytest.raises(Unavailable):
            await venue.query(order())


async def test_order_that_was_taken_and_is_forgotten_was_cancelled_unfilled(server: ScriptedVenue) -> None:
    server.answers |= {"GET trade/order": GONE, "GET trade/orders-history": ok()}
    long_ago = msgspec.structs.replace(order(), venue_order_id="9001", ts_acked=1)
    just_now = msgspec.structs.replace(order(), venue_order_id="9001", ts_acked=SystemClock().now_ns())
    async with account(server) as venue:
        report = await venue.query(long_ago)
        with pytest.raises(Unavailable):
            await venue.query(just_now)
    assert report is not None
    assert report.state is OrderState.CANCELED
    assert server.sent("GET trade/order")[0][0] == {"instId": BTC, "ordId": "9001"}


async def test_open_orders_are_read_page_by_page(server: ScriptedVenue) -> None:
    rows = [RECORD | {"ordId": str(1000 - i), "state": "live", "accFillSz": "0"} for i in range(250)]

    def page(request: web.Request, _: object) -> dict[str, Any]:
        after = int(request.query.get("after", 10_000))
        return ok(*[row for row in rows if int(row["ordId"]) < after][:100])

    server.answers["GET trade/orders-pending"] = page
    async with account(server) as venue:
        reports = await venue.open_orders()
    assert [report.venue_order_id for report in reports] == [row["ordId"] for row in rows]
    assert {report.state for report in reports} == {OrderState.NEW}


FILL = {
    "instType": "SWAP",
    "instId": BTC,
    "ordId": "9001",
    "clOrdId": ENTRY,
    "side": "buy",
    "posSide": "long",
    "execType": "T",
    "fee": "-0.1",
    "fillPx": "50000",
}


def fill(bill: int, size: str, **changes: str) -> dict[str, str]:
    stamp = str(1_700_000_000_000 + bill)
    return (
        FILL
        | {"billId": str(bill), "tradeId": str(bill), "fillSz": size, "ts": stamp, "fillTime": stamp}
        | changes
    )


async def test_executions_are_told_oldest_first_with_running_sums(server: ScriptedVenue) -> None:
    algo_order = RECORD | {
        "ordId": "9002",
        "clOrdId": "",
        "side": "sell",
        "algoId": "5001",
        "algoClOrdId": stop_client_id(ENTRY),
    }
    foreign = RECORD | {"ordId": "9003", "clOrdId": "somebody"}
    orders = {"9002": algo_order, "9003": foreign}
    server.answers |= {
        "GET trade/fills-history": ok(
            fill(15, "0.5", ordId="9004", clOrdId="", tradeId="-7", subType="100", side="sell"),
            fill(14, "0.3", ordId="9003", clOrdId="somebody"),
            fill(13, "1.2", ordId="9002", clOrdId="", side="sell"),
            fill(12, "0.9"),
            fill(11, "0.3"),
        ),
        "GET trade/order": lambda request, _: ok(orders[request.query["ordId"]]),
        "GET trade/order-algo": ok(
            {"algoId": "5001", "instId": BTC, "algoClOrdId": stop_client_id(ENTRY), "actualSide": "tp"}
        ),
    }
    async with account(server) as venue:
        reports = await venue.executions_since(1_700_000_000_000 * MS - 100 * 86_400_000 * MS)
    told = [(r.client_order_id, r.fill.trade_id if r.fill else "", r.filled, r.category) for r in reports]
    assert told == [
        (ENTRY, "11", D("0.3"), None),
        (ENTRY, "12", D("1.2"), None),
        (stop_client_id(ENTRY), "13", D("1.2"), Purpose.TARGET),
        ("", "14", D("0.3"), None),
        ("", "-7", D("0.5"), Purpose.LIQUIDATION),
    ]
    assert {report.state for report in reports} == {OrderState.PARTIALLY_FILLED}  # sums decide what is whole


@pytest.mark.parametrize(("mode", "side"), [("long_short", PositionSide.SHORT), ("net", None)])
async def test_funding_charge_finds_its_side(
    server: ScriptedVenue, mode: str, side: PositionSide | None
) -> None:
    bill = {"billId": "1", "type": "8", "instId": BTC, "balChg": "0.5", "sz": "3", "px": "50000"}
    server.answers |= {
        "GET account/bills": ok(bill | {"ts": "1700006401000"}),
        "GET account/bills-archive": ok(bill | {"ts": "1700006401000"}),
        "GET public/funding-rate-history": ok({"fundingTime": "1700006400000", "realizedRate": "0.0001"}),
    }
    async with account(server, position_mode=mode) as venue:
        (charge,) = await venue.funding_since(1_700_000_000_000 * MS)
    assert (charge.amount, charge.contracts, charge.position_side) == (D("0.5"), D(3), side)


async def test_leverage_is_set_only_when_it_differs(server: ScriptedVenue) -> None:
    server.answers["GET account/leverage-info"] = ok({"lever": "5.00000000", "posSide": "net"})
    async with account(server) as venue:
        await venue.set_leverage(BTC, D(5))
    assert not server.sent("POST account/set-leverage")


async def test_O6_refused_leverage_is_success_when_it_is_equal_and_failure_when_not(
    server: ScriptedVenue,
) -> None:
    server.answers |= {
        "GET account/leverage-info": [ok({"lever": "3"}), ok({"lever": "5"}), ok({"lever": "3"})],
        "POST account/set-leverage": {"code": "59000", "msg": "open positions", "data": []},
    }
    async with account(server) as venue:
        await venue.set_leverage(BTC, D(5))
        with pytest.raises(Rejected):
            await venue.set_leverage(BTC, D(5))


REQUEST = ProtectionRequest(
    client_id=stop_client_id(ENTRY, 1),
    symbol=BTC,
    position_side=PositionSide.SHORT,
    contracts=D("0.50"),
    stop_loss=D(51000),
    take_profit=D(48000),
)
RESTING = Protection(
    client_id=stop_client_id(ENTRY),
    venue_id="5001",
    symbol=BTC,
    position_side=PositionSide.SHORT,
    contracts=D(1),
    stop_loss=D(51000),
    take_profit=D(48000),
)


async def test_standalone_stop_is_sized_by_contracts(server: ScriptedVenue) -> None:
    server.answers["POST trade/order-algo"] = item("0", algoId="5002")
    async with account(server) as venue:
        placed = await venue.protect(REQUEST)
        await venue.protect(msgspec.structs.replace(REQUEST, take_profit=None))
    (_, both), (_, stop) = server.sent("POST trade/order-algo")
    assert both == {
        "instId": BTC,
        "tdMode": "cross",
        "side": "buy",
        "ordType": "oco",
        "sz": "0.5",
        "algoClOrdId": stop_client_id(ENTRY, 1),
        "posSide": "short",
        "slTriggerPx": "51000",
        "slTriggerPxType": "mark",
        "slOrdPx": "-1",
        "tpTriggerPx": "48000",
        "tpTriggerPxType": "mark",
        "tpOrdPx": "-1",
    }
    assert (stop["ordType"], "tpTriggerPx" in stop) == ("conditional", False)
    assert (placed.venue_id, placed.contracts) == ("5002", D("0.50"))


async def test_stop_that_may_not_be_reduce_only_is_sent_without(server: ScriptedVenue) -> None:
    server.answers |= {
        "POST trade/order-algo": [item("51205", "Reduce Only is not available"), item("0", algoId="1")],
        "GET account/positions": NET_SHORT,
    }
    async with account(server, position_mode="net") as venue:
        await venue.positions()
        await venue.protect(REQUEST)
    assert ["reduceOnly" in body for _, body in server.sent("POST trade/order-algo")] == [True, False]


async def test_amendment_names_only_what_differs(server: ScriptedVenue) -> None:
    server.answers["POST trade/amend-algos"] = item("0", algoId="5001")
    async with account(server) as venue:
        await venue.amend_protection(RESTING, msgspec.structs.replace(REQUEST, take_profit=None))
    body = {"instId": BTC, "algoId": "5001", "newSz": "0.5", "newTpTriggerPx": "0"}
    assert server.sent("POST trade/amend-algos") == [({}, body)]


@pytest.mark.parametrize(
    ("code", "cancelled"),
    [("0", True), ("51400", False), ("51416", False), ("51603", False), ("51410", True)],
)
async def test_cancelled_stop_says_whether_it_was_still_there(
    server: ScriptedVenue, code: str, cancelled: bool
) -> None:
    server.answers["POST trade/cancel-algos"] = item(code)
    async with account(server) as venue:
        assert await venue.cancel_protection(RESTING) is cancelled
    assert server.sent("POST trade/cancel-algos") == [({}, [{"instId": BTC, "algoId": "5001"}])]


async def test_resting_stops_of_every_kind_are_listed(server: ScriptedVenue) -> None:
    pair = {
        "algoId": "1",
        "instId": BTC,
        "algoClOrdId": "x",
        "sz": "1",
        "slTriggerPx": "9",
        "tpTriggerPx": "11",
    }
    trailing = {"algoId": "2", "instId": BTC, "posSide": "long", "sz": "2", "moveTriggerPx": "8"}
    whole = {
        "algoId": "3",
        "instId": BTC,
        "posSide": "net",
        "sz": "",
        "closeFraction": "1",
        "slTriggerPx": "7",
    }

    def algos(request: web.Request, _: object) -> dict[str, Any]:
        return ok(pair, whole) if "oco" in request.query["ordType"] else ok(trailing)

    server.answers["GET trade/orders-algo-pending"] = algos
    async with account(server) as venue:
        found = await venue.protections()
    assert [(p.venue_id, p.contracts, p.stop_loss, p.take_profit) for p in found] == [
        ("1", D(1), D(9), D(11)),
        ("3", D(0), D(7), None),
        ("2", D(2), D(8), None),
    ]


# -- may it start

GOOD = AccountSettings(acctLv="2", posMode="long_short_mode", perm="read_only,trade", uid="1")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, []),
        ({"acctLv": "3"}, []),
        ({"posMode": "net_mode"}, ["position_mode", "net"]),  # S15
        ({"acctLv": "1"}, ["Spot mode"]),
        ({"acctLv": "4"}, ["Portfolio margin"]),
        ({"perm": "read_only,withdraw,trade"}, ["withdraw"]),
        ({"perm": "read_only"}, ["may not trade"]),
    ],
)
def test_S15_account_that_does_not_fit_is_refused_by_name(changes: dict[str, str], words: list[str]) -> None:
    config = ScriptedVenue().config()
    problems = problems_of(msgspec.structs.replace(GOOD, **changes), config)
    assert len(problems) == (1 if words else 0)
    assert all(word in problems[0] for word in words)


async def test_S16_start_is_refused_quickly_with_the_remedy(server: ScriptedVenue) -> None:
    server.answers["GET account/config"] = {"code": "50101", "msg": "APIKey does not match", "data": []}
    async with account(server) as venue:
        with pytest.raises(VenueMisconfigured, match="environment"):
            async with asyncio.timeout(5):
                await venue.check_account()
    assert len(server.sent("GET account/config")) == 1


async def test_an_account_that_has_passed_is_not_asked_again(server: ScriptedVenue) -> None:
    server.answers["GET account/config"] = ok({"acctLv": "2", "posMode": "long_short_mode", "perm": "trade"})
    with structlog.testing.capture_logs() as logs:
        async with account(server) as venue:
            await venue.check_account()
            await venue.check_account()
    told = {entry["event"]: entry for entry in logs}
    assert len(server.sent("GET account/config")) == 1
    assert told["venue account checked"]["order_tag"] == ""


async def test_fee_tier_is_that_of_the_dearest_group_positive_where_it_is_charged(
    server: ScriptedVenue,
) -> None:
    groups = [
        {"groupId": "1", "maker": "-0.0002", "taker": "-0.0007"},
        {"groupId": "2", "maker": "0.0001", "taker": "-0.0003"},
    ]
    server.answers["GET account/trade-fee"] = ok({"level": "Lv1", "feeGroup": groups})
    async with account(server) as venue:
        assert await venue.fees() == FeeTier("Lv1", D("0.0002"), D("0.0007"))


async def test_missing_key_is_named_without_asking_anybody(server: ScriptedVenue) -> None:
    async with account(server, passphrase="") as venue:
        with pytest.raises(VenueMisconfigured, match="passphrase"):
            await venue.check_account()
    assert not server.requests


# -- the account's sockets


class Reader:
    def __init__(self, venue: OkxVenue) -> None:
        self.venue = venue
        self.events: list[VenueEvent] = []

    async def run(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self.venue.run())
            tasks.create_task(self._read())

    async def _read(self) -> None:
        async for event in self.venue.events():
            self.events.append(event)

    @property
    def states(self) -> list[bool]:
        return [event.connected for event in self.events if isinstance(event, StreamStatus)]

    @property
    def reports(self) -> list[ExecutionReport]:
        return [event for event in self.events if isinstance(event, ExecutionReport)]


async def test_account_events_arrive_after_the_stream_is_whole(server: ScriptedVenue) -> None:
    reader = Reader(OkxVenue(server.config(), SystemClock()))
    async with running(reader.run()):
        await until(lambda: reader.states == [True])
        for frame in PRIVATE[:3]:
            await server.push("private", frame)
        await until(lambda: any(isinstance(event, VenueBalance) for event in reader.events))
    logins = [text for path, text in server.heard if path == "private"]
    assert '"login"' in logins[0]
    assert '"subscribe"' in logins[1]
    assert sum(isinstance(event, VenuePosition) for event in reader.events) == 4
    assert [report.client_order_id for report in reader.reports] == ["ew01"]


async def test_D8_lost_stream_is_told_and_comes_back_logged_in(server: ScriptedVenue) -> None:
    reader = Reader(OkxVenue(server.config(), SystemClock()))
    async with running(reader.run()):
        await until(lambda: reader.states == [True])
        await server.cut("private")
        await until(lambda: reader.states == [True, False, True])
        await server.cut("business")
        await until(lambda: reader.states == [True, False, True, False, True])
    assert sum('"login"' in text for _, text in server.heard) == 4


async def test_state_of_the_future_keeps_its_exposure_and_is_counted(server: ScriptedVenue) -> None:
    reader = Reader(OkxVenue(server.config(), SystemClock()))
    frozen = RECORD | {"state": "frozen", "accFillSz": "0", "avgPx": "", "newField": {"deep": [1]}}
    async with running(reader.run()):
        await until(lambda: reader.states == [True])
        arg = {"channel": "orders", "instType": "SWAP", "uid": "1"}
        await server.push("private", {"arg": arg, "data": [frozen]})
        await until(lambda: bool(reader.reports))
        assert reader.venue.stream.ages_s()["orders"] < reader.venue.stream.ages_s()["orders-algo"]
    assert [report.state for report in reader.reports] == [OrderState.NEW]
    assert reader.venue.stream.unknown_states == {"frozen": 1}


async def test_D6_refused_account_channel_leaves_the_stream_broken(server: ScriptedVenue) -> None:
    server.refuse["positions"] = "60018"
    venue = OkxVenue(server.config(), SystemClock())
    reader = Reader(venue)
    async with running(reader.run()):
        await until(lambda: "positions" in venue.stream.refused)
        await until(lambda: all(link.up for link in venue.stream.links.values()))
        await server.push("private", PRIVATE[2])
        await until(lambda: bool(reader.events))
        assert reader.states == []


async def test_refused_key_ends_the_stream_with_the_remedy(server: ScriptedVenue) -> None:
    server.login_code = "60024"
    venue = OkxVenue(server.config(), SystemClock())
    with pytest.raises(BaseExceptionGroup) as failed:
        await venue.run()
    assert failed.group_contains(VenueMisconfigured, match="passphrase")


async def test_full_queue_is_a_gap_that_is_told(server: ScriptedVenue) -> None:
    venue = OkxVenue(server.config(queue_limit=2), SystemClock())
    async with running(venue.run()):
        await until(lambda: venue.stream.links["private"].up and venue.stream.links["business"].up)
        await server.push("private", PRIVATE[1])  # four positions, room for one
        await until(lambda: venue.stream.links["private"].connections == 2)
        await until(lambda: all(link.up for link in venue.stream.links.values()))
        told = [
            event.connected async for event in _first(venue.events(), 4) if isinstance(event, StreamStatus)
        ]
    assert venue.stream.lost == 3
    assert told == [True, False, True]


async def _first(events: AsyncIterator[VenueEvent], count: int) -> AsyncIterator[VenueEvent]:
    for _ in range(count):
        yield await anext(events)


def algo_order(price: str, **changes: str) -> dict[str, Any]:
    row = RECORD | {
        "ordId": "9002",
        "clOrdId": "",
        "side": "sell",
        "state": "live",
        "accFillSz": "0",
        "avgPx": "0",
        "lastPx": price,
        "algoId": "5001",
        "algoClOrdId": stop_client_id(ENTRY),
        "category": "normal",
    }
    return {"arg": {"channel": "orders", "instType": "SWAP"}, "data": [row | changes]}


@pytest.mark.parametrize(
    ("price", "category", "purpose"),
    [
        ("49010", "normal", Purpose.STOP),
        ("51990", "normal", Purpose.TARGET),
        ("49010", "full_liquidation", Purpose.LIQUIDATION),
        ("49010", "adl", Purpose.LIQUIDATION),
    ],
)
async def test_order_of_a_fired_stop_carries_the_stops_name(
    server: ScriptedVenue, price: str, category: str, purpose: Purpose
) -> None:
    server.answers["POST trade/order"] = PLACED
    reader = Reader(OkxVenue(server.config(), SystemClock()))
    async with running(reader.run()):
        await until(lambda: reader.states == [True])
        await reader.venue.submit(order())
        await server.push("private", algo_order(price, category=category))
        await until(lambda: bool(reader.reports))
    (report,) = reader.reports
    name = "" if purpose is Purpose.LIQUIDATION else stop_client_id(ENTRY)
    assert (report.client_order_id, report.category) == (name, purpose)


async def test_algo_record_says_which_leg_fired(server: ScriptedVenue) -> None:
    algo = {
        "algoId": "5001",
        "instId": BTC,
        "algoClOrdId": stop_client_id(ENTRY),
        "slTriggerPx": "49000",
        "tpTriggerPx": "52000",
        "actualSide": "tp",
        "state": "effective",
    }
    reader = Reader(OkxVenue(server.config(), SystemClock()))
    async with running(reader.run()):
        await until(lambda: reader.states == [True])
        await server.push("business", {"arg": {"channel": "orders-algo", "instType": "SWAP"}, "data": [algo]})
        await until(lambda: reader.venue.stream.links["business"].frames >= 4)
        await server.push("private", algo_order("49010", algoClOrdId=""))  # known by its algo id alone
        await until(lambda: bool(reader.reports))
    assert (reader.reports[0].client_order_id, reader.reports[0].category) == (
        stop_client_id(ENTRY),
        Purpose.TARGET,
    )
