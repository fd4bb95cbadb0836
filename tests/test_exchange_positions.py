"""What happens to positions at the venue without an order of ours: each is booked, to the right one, once."""

from __future__ import annotations

import asyncio
from decimal import Decimal
from typing import Any

import asyncpg
import pytest

from engine.core.errors import Rejected
from engine.core.market import Side
from engine.core.orders import ExecutionReport, Order, PositionSide, Purpose
from engine.exchange.okx.venue import OkxVenue
from engine.exchange.ports import Protection, ProtectionRequest
from engine.exchange.thresholds import Thresholds
from tests.exchange_world import (
    BTC,
    ETH,
    HASTY,
    Forgetful,
    Life,
    SimulatedVenue,
    Simulator,
    Wrapped,
    alarms,
    by_hand,
    life,
    rows,
    until_stops,
)
from tests.waiting import until

D = Decimal


async def entered(
    now: Life, name: str = "one", trader: str = "a", contracts: str = "2", **more: object
) -> None:
    intent = now.intent(name, trader, contracts, **more)
    await now.service.desk.accept(intent)
    await now.done(intent)


async def look_until_balanced(now: Life) -> None:
    """As the audit does by itself; a difference that is too fresh is not judged."""
    async with asyncio.timeout(10):
        while (check := await now.service.auditor.look()) is None or not check.balanced:
            await asyncio.sleep(0.05)


async def test_P1_a_fresh_difference_is_not_acted_on(sim: Simulator, database: str) -> None:
    patient = Thresholds(quiet_s=3600.0)
    async with life(sim, database, wrap=Forgetful, thresholds=patient) as now:
        await entered(now)
        await by_hand(sim, Side.SELL, "2")
        for _ in range(5):
            assert await now.service.auditor.look() is None
        assert now.held() == 2
        assert now.service.refusal(BTC) == ""
        assert await alarms(database) == []


async def test_P2_S12_a_lasting_difference_stops_entries_and_is_alarmed_once(
    sim: Simulator, database: str
) -> None:
    """And S12: with inference switched off nothing is made up."""
    async with life(sim, database, wrap=Forgetful, infer=False) as now:
        await entered(now)
        await by_hand(sim, Side.SELL, "2")
        before = await rows(database)
        await until_suspicious(now)
        for _ in range(5):
            await now.service.auditor.look()
        assert await alarms(database) == ["imbalance"]
        assert now.service.refusal(BTC) == "books_do_not_balance"
        after = await rows(database)
        assert [after[name] for name in ("trader_orders", "trader_fills")] == [
            before[name] for name in ("trader_orders", "trader_fills")
        ]


async def until_suspicious(now: Life) -> None:
    async with asyncio.timeout(10):
        while not now.service.auditor.suspicious:
            await now.service.auditor.look()
            await asyncio.sleep(0.05)


async def test_P3_a_hundredth_of_a_contract_is_a_position(sim: Simulator, database: str) -> None:
    async with life(sim, database) as now:
        await entered(now, contracts="0.01")
        assert now.held() == D("0.01")
        await until_stops(now, "0.01")
        await now.balanced()


async def test_P4_a_manual_close_makes_its_trader_flat(sim: Simulator, database: str) -> None:
    """Booked as external at the venue's price; the stop and target that are left are removed."""
    async with life(sim, database) as now:
        await entered(now)
        await sim.price("101000")
        await by_hand(sim, Side.SELL, "2")
        await until(lambda: not now.held())
        await now.service.desk.drained()
        await until_stops(now)
        (trade,) = await now.journal.recent_trades("a", 5)
        assert (trade.exit_purpose, trade.exit_price) == (Purpose.EXTERNAL, D("100999.9"))
        assert await alarms(database) == ["closed_externally"]
        assert now.service.refusal(BTC) == ""
        await now.balanced()
    async with life(sim, database) as now:
        assert now.held() == 0
        await now.balanced()


async def test_P4_a_manual_close_that_no_push_told_is_found_by_the_next_check(
    sim: Simulator, database: str
) -> None:
    async with life(sim, database) as now:
        await entered(now)
        await asyncio.sleep(HASTY.quiet_s)
        await sim.fault("missing", path="orders", count=3)
        await by_hand(sim, Side.SELL, "2")
        check = await now.service.auditor.look()
        assert check is not None
        assert check.balanced
        assert now.held() == 0
        await until_stops(now)


async def test_P4_a_manual_part_close_is_shared_and_the_stops_follow(sim: Simulator, database: str) -> None:
    """Pro rata in whole lots, to the last decimal; a restart tells the same."""
    async with life(sim, database) as now:
        await entered(now, "one", "a", "2")
        await entered(now, "two", "b", "1")
        await by_hand(sim, Side.SELL, "1.5")
        await until(lambda: now.held("a") + now.held("b") == D("1.5"))
        assert (now.held("a"), now.held("b")) == (D(1), D("0.5"))
        await until_stops(now, "1", "0.5")
        await now.balanced()
        cash = now.books.account("a").cash
    async with life(sim, database) as now:
        assert (now.held("a"), now.held("b"), now.books.account("a").cash) == (D(1), D("0.5"), cash)
        await now.balanced()


async def test_P4_closing_by_hand_what_was_opened_by_hand_touches_no_trader(
    sim: Simulator, database: str
) -> None:
    async with life(sim, database) as now:
        await entered(now)
        await by_hand(sim, Side.BUY, "3")
        await until(lambda: now.service.refusal(BTC) == "unattributed_position")
        assert now.service.refusal(ETH) == ""
        await by_hand(sim, Side.SELL, "3")
        await until(lambda: now.service.refusal(BTC) == "")
        assert now.held() == 2
        await until_stops(now, "2")
        await now.balanced()


async def test_P4_in_a_netting_account_a_manual_trade_closes_only_what_is_net(
    net_sim: Simulator, database: str
) -> None:
    """S9: long 2 of one, short 1 of another: selling 3 by hand closes the net 1 and opens 2 of nobody's."""
    async with life(net_sim, database, position_mode="net") as now:
        await entered(now, "one", "a", "2")
        short = {"side": Side.SELL, "position_side": PositionSide.SHORT}
        await entered(now, "two", "b", "1", **short, stop_loss=D(105_000), take_profit=D(90_000))
        await by_hand(net_sim, Side.SELL, "3", mode="net")
        await until(lambda: now.held("a") == 1)
        assert now.held("b") == -1
        assert now.books.remainder.lots[BTC, None].contracts == -2
        await by_hand(net_sim, Side.BUY, "2", mode="net")
        await until(lambda: not now.books.remainder.lots)
        await now.balanced()


async def test_P5_a_liquidation_is_booked_with_its_category_and_alarmed(
    sim: Simulator, database: str
) -> None:
    async with life(sim, database) as now:
        naked = {"stop_loss": None, "take_profit": None}
        await entered(now, "one", "a", "200", **naked)
        await entered(now, "two", "b", "100", **naked)
        await sim.price("66950")
        await until(lambda: not now.held("a") and not now.held("b"))
        await now.service.desk.drained()
        for trader in ("a", "b"):
            (trade,) = await now.journal.recent_trades(trader, 5)
            assert trade.exit_purpose is Purpose.LIQUIDATION
        assert await alarms(database) == ["liquidation", "liquidation"]
        assert now.books.remainder.cash == 0
        await now.balanced()
    async with life(sim, database) as now:
        assert (now.held("a"), now.held("b")) == (D(0), D(0))
        await now.balanced()


@pytest.mark.parametrize("pushed", [True, False])
async def test_P5_a_liquidation_beyond_the_last_cent_leaves_balanced_books(
    sim: Simulator, database: str, pushed: bool
) -> None:
    """The insurance fund's payment is booked too. OKX may say nothing of such orders on the socket."""
    async with life(sim, database) as now:
        await entered(now, contracts="200", stop_loss=None, take_profit=None)
        await entered(now, "two", "b", "100", stop_loss=None, take_profit=None)
        if not pushed:
            await sim.fault("missing", path="orders", count=20)
        await sim.price("60000")
        await now.balanced()
        assert (now.held("a"), now.held("b")) == (D(0), D(0))
        assert await alarms(database) == ["liquidation", "liquidation"]
        assert now.books.equity({}) == 0
    async with life(sim, database) as now:
        await now.balanced()


async def test_P6_what_stays_after_a_part_close_has_a_stop_of_its_size(sim: Simulator, database: str) -> None:
    async with life(sim, database) as now:
        await entered(now)
        part = now.exit("half", contracts="0.5")
        await now.service.desk.accept(part)
        await now.done(part)
        assert now.held() == D("1.5")
        await until_stops(now, "1.5")
        await now.balanced()


class Seen(Wrapped):
    """Notes which stops rest in the moment in which a close leaves, and may refuse to change one."""

    def __init__(self, venue: OkxVenue, *, stiff: bool) -> None:
        super().__init__(venue)
        self.stiff = stiff
        self.at_close: list[Decimal] = []

    async def submit(self, order: Order) -> ExecutionReport:
        if order.intent.purpose is Purpose.EXIT:
            self.at_close = [stop.contracts for stop in await self.venue.protections()]
        return await self.venue.submit(order)

    async def amend_protection(self, protection: Protection, request: ProtectionRequest) -> None:
        if self.stiff:
            raise Rejected("this one cannot be changed")
        await self.venue.amend_protection(protection, request)


@pytest.mark.parametrize(("stiff", "at_close"), [(False, ["1.5"]), (True, [])])
async def test_I7_a_stop_shrinks_before_a_part_is_closed(
    sim: Simulator, database: str, *, stiff: bool, at_close: list[str]
) -> None:
    """Fired after the close, one of the old size would sell what belongs to another trader."""
    seen: list[Seen] = []

    def wrap(venue: OkxVenue) -> Seen:
        seen.append(Seen(venue, stiff=stiff))
        return seen[0]

    async with life(sim, database, wrap=wrap) as now:
        await entered(now)
        await until_stops(now, "2")
        part = now.exit("half", contracts="0.5")
        await now.service.desk.accept(part)
        await now.done(part)
        assert seen[0].at_close == [D(size) for size in at_close]
        await until_stops(now, "1.5")
        await now.balanced()


class Asked(Wrapped):
    """Counts how often it was asked what rests."""

    times = 0

    async def protections(self) -> tuple[Protection, ...]:
        self.times += 1
        return await self.venue.protections()


@pytest.mark.parametrize(
    ("plan", "asks"),
    [
        ({"stop_loss": None, "take_profit": None}, False),
        ({"stop_loss": None}, True),
        ({"take_profit": None}, True),
    ],
    ids=["neither", "target", "stop"],
)
async def test_a_close_waits_for_the_stops_of_its_position_only_where_there_are_some(
    sim: Simulator, database: str, plan: dict[str, Any], *, asks: bool
) -> None:
    venues: list[Asked] = []

    def wrap(venue: OkxVenue) -> Asked:
        venues.append(Asked(venue))
        return venues[0]

    async with life(sim, database, wrap=wrap) as now:
        await entered(now, **plan)
        before = venues[0].times
        assert await now.service.guard.release(now.exit("all"))
        assert (venues[0].times > before) is asks


async def test_I7_a_stop_grows_back_when_the_part_close_never_left(sim: Simulator, database: str) -> None:
    async with life(sim, database) as now:
        await entered(now)
        await until_stops(now, "2")
        await now.service.guard.release(now.exit("none", contracts="0.5"))
        await until_stops(now, "1.5")
        now.service.guard.look_soon()
        await until_stops(now, "2")


async def test_I7_a_position_whose_stop_is_passed_is_closed_at_once(sim: Simulator, database: str) -> None:
    async with life(sim, database) as now:
        await entered(now)
        await until_stops(now, "2")
        held = now.books.account("a").positions[BTC, PositionSide.LONG]
        await now.service.guard.release(now.exit("none"))  # cancelled, and the close is never sent
        await sim.price("120000")  # beyond the target
        now.service.guard.look_soon()
        await until(lambda: now.held() == 0)
        assert held.contracts == 0
        await now.balanced()


async def test_P7_of_two_accounts_only_the_discrepant_one_acts(
    long_short_venue: SimulatedVenue, database: str, second_database: str
) -> None:
    one, two = await long_short_venue.account(), await long_short_venue.account()
    async with (
        life(one, database, wrap=Forgetful, infer=False) as bad,
        life(two, second_database, wrap=Forgetful, infer=False) as good,
    ):
        for now in (bad, good):
            await entered(now)
        await by_hand(one, Side.SELL, "2")
        await until_suspicious(bad)
        await good.balanced()
        assert bad.service.refusal(BTC) == "books_do_not_balance"
        assert good.service.refusal(BTC) == ""
        assert (await alarms(database), await alarms(second_database)) == (["imbalance"], [])


@pytest.mark.parametrize("restarts", [0, 1])
async def test_S7_a_position_that_vanished_without_a_trace_is_closed_by_an_inferred_fill(
    sim: Simulator, database: str, restarts: int
) -> None:
    """In the same position, at the price that the account's cash tells: to the last decimal, fee included."""
    async with life(sim, database, wrap=Forgetful) as now:
        await entered(now)
        await sim.price("101000")
        if not restarts:
            await by_hand(sim, Side.SELL, "2")
            await look_until_balanced(now)
    if restarts:
        await by_hand(sim, Side.SELL, "2")
    kept = []
    for _ in range(2):
        async with life(sim, database, wrap=Forgetful) as now:
            assert now.held() == 0
            assert not now.books.remainder.lots
            (trade,) = await now.journal.recent_trades("a", 5)
            fees = D(2) * D("0.01") * D("100999.9") * D("0.0005")
            assert trade.exit_price == D("100999.9") - fees / D("0.02")
            assert trade.exit_purpose is Purpose.EXTERNAL
            await now.balanced()
        kept.append(await rows(database))
    assert kept[0] == kept[1]


@pytest.mark.parametrize(("moved", "explained"), [("0.99", True), ("1.09", False)])
async def test_S7_several_positions_that_vanished_are_closed_where_their_cash_explains_them(
    sim: Simulator, database: str, moved: str, *, explained: bool
) -> None:
    """Both closed by hand, which nothing tells. Far from every price that is known here, nobody guesses."""
    async with life(sim, database, wrap=Forgetful) as now:
        await entered(now)
        eth = {"symbol": ETH, "stop_loss": D(3_000), "take_profit": D(5_000)}
        await entered(now, "two", "b", "30", **eth)
        await look_until_balanced(now)
        await sim.price(str(100_000 * D(moved)))
        await sim.price(str(4_000 * D(moved)), ETH)
        await by_hand(sim, Side.SELL, "2")
        await by_hand(sim, Side.SELL, "30", symbol=ETH)
        async with asyncio.timeout(10):
            while not (await alarms(database)):
                await now.service.auditor.look()
                await asyncio.sleep(0.05)
        if explained:
            assert (now.held(), now.held("b", ETH)) == (D(0), D(0))
            assert set(await alarms(database)) == {"closed_externally"}
            await now.balanced()
        else:
            assert (now.held(), now.held("b", ETH)) == (D(2), D(30))
            assert await alarms(database) == ["imbalance"]
            assert now.service.refusal(ETH) == "books_do_not_balance"


async def test_S9_a_position_that_crossed_zero_unseen_is_closed_then_opened(
    net_sim: Simulator, database: str
) -> None:
    """The trader's short is closed; the long that is there now is nobody's and stops entries."""
    async with life(net_sim, database, position_mode="net", wrap=Forgetful) as now:
        short = {"side": Side.SELL, "position_side": PositionSide.SHORT}
        await entered(now, "one", "a", "2", **short, stop_loss=D(105_000), take_profit=D(90_000))
        await by_hand(net_sim, Side.BUY, "3", mode="net")
        await until_lots(now)
        assert now.held() == 0
        assert now.books.remainder.lots[BTC, None].contracts == 1
        check = await now.service.auditor.look()
        assert check is not None
        assert check.detail == ""
        assert abs(check.difference) < D("1e-9")
        assert now.service.refusal(BTC) == "unattributed_position"


async def until_lots(now: Life) -> None:
    async with asyncio.timeout(10):
        while not now.books.remainder.lots:
            await now.service.auditor.look()
            await asyncio.sleep(0.05)


async def test_the_account_at_the_venue_is_on_record(sim: Simulator, database: str) -> None:
    async def held() -> list[tuple[object, ...]]:
        connection = await asyncpg.connect(database)
        found = await connection.fetch("select symbol, position_side, contracts from exchange_positions")
        equities = await connection.fetch("select equity from balance_snapshots")
        await connection.close()
        assert equities
        return [tuple(row) for row in found]

    async with life(sim, database) as now:
        await entered(now)
        await look_until_balanced(now)
        assert await held() == [(BTC, "long", D(2))]
        closing = now.exit("two", contracts="1")
        await now.service.desk.accept(closing)
        await now.done(closing)
        await look_until_balanced(now)
        assert await held() == [(BTC, "long", D(1))]
