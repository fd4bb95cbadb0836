"""A shadow or canary trader beside a live one: what is compared, and where it is shown."""

from __future__ import annotations

import asyncio
import os
import sys
from decimal import Decimal

import msgspec
import pytest

from engine.core.decisions import AccountView, Act, Action, Check, Verdict
from engine.core.orders import PositionSide
from engine.core.times import NS_PER_HOUR, NS_PER_MIN
from engine.journal.postgres.journal import PostgresJournal
from engine.journal.postgres.reader import JournalReader
from engine.journal.twins import Account, Cycle, Judged, Point, half, other_decisions, same_decisions
from tests.api_parts import served
from tests.test_shadow import BTC, CLOCK, ENTER, TRADER, world
from tests.waiting import until

BUY, SELL, CLOSE = Act.BUY_TO_ENTER, Act.SELL_TO_ENTER, Act.CLOSE


def test_gates_of_a_trader_and_its_paper_account_agree_or_say_why_not() -> None:
    told = same_decisions(
        [
            Judged("on_paper", "", 5),
            Judged("", None, 2),
            Judged("", "", 3),
            Judged("cooldown", "too_small", 1),
            Judged("", "cooldown", 4),
            Judged(None, "", 5),
            Judged("nothing_to_close", "", 1),  # it holds something on paper only
            Judged("on_paper", None, 9),  # on paper it was never judged: lost, or the engine ended
        ]
    )
    assert (told.agreeing, told.differing, told.only_paper, told.only_live) == (4, 4, 11, 2)
    assert told.reasons == {"approved / cooldown": 4}


def cycle(minute: int, *acts: Act) -> Cycle:
    return Cycle(minute * NS_PER_MIN, tuple(Action(symbol=BTC, act=act) for act in acts))


def test_two_traders_agree_when_they_want_the_same_at_about_the_same_time() -> None:
    paper = [cycle(0, BUY), cycle(60, CLOSE), cycle(120, SELL), cycle(180, BUY), cycle(300, Act.HOLD)]
    live = [cycle(3, BUY), cycle(63, CLOSE), cycle(121, BUY), cycle(240, BUY)]
    told = other_decisions(paper, live)
    assert (told.agreeing, told.differing, told.only_paper, told.only_live) == (2, 1, 1, 1)
    assert told.reasons == {"buy_to_enter / sell_to_enter": 1}


def test_money_paid_in_is_no_profit() -> None:
    points = [Point(hour * NS_PER_HOUR, equity) for hour, equity in enumerate((1000, 1100, 990, 1540))]
    side = half("a", Account(flows=Decimal(500)), points, 1, 4)
    assert (side.pnl, side.return_pct, side.wakeups_pct) == (40.0, 4.0, 25.0)
    assert side.max_drawdown_pct == pytest.approx(10)
    assert side.sharpe is not None
    nothing = half("a", Account(), [], 0, 0)
    assert (nothing.pnl, nothing.sharpe, nothing.wakeups_pct) == (None, None, None)


async def traded(database: str) -> None:
    """A shadow that bought and sold on paper, kept off the market both by its rollout."""
    async with PostgresJournal(database, CLOCK) as journal, world(journal) as now:
        await now.price(100_000.0)
        await now.decide(1, ENTER)
        kept_off = Check("on_paper", False, "")
        verdict = Verdict(
            cycle_id=f"{TRADER}-1",
            trader_id=TRADER,
            symbol=BTC,
            act=BUY,
            approved=False,
            reason="on_paper",
            checks=(kept_off,),
            ts=CLOCK.now_ns(),
        )
        await journal.record_gate([verdict])
        await until(lambda: now.desk.view(TRADER).position(BTC) is not None)
        await journal.record_performance([_named(now.desk.view(TRADER), 0)])
        await now.price(101_000.0)
        await now.decide(2, Action(symbol=BTC, act=CLOSE, confidence=Decimal(1)))
        await until(lambda: now.desk.view(TRADER).position(BTC) is None)
        await until(lambda: now.desk.balanced)
        async with asyncio.timeout(20):  # positions and trades are written when a burst of fills is over
            while not await journal.recent_trades(f"{TRADER}.paper", 1):
                await asyncio.sleep(0.01)
        await journal.record_performance([_named(now.desk.view(TRADER), 2)])


def _named(view: AccountView, minutes: int) -> AccountView:
    ts = CLOCK.now_ns() + minutes * NS_PER_MIN
    return msgspec.structs.replace(view, trader_id=f"{TRADER}.paper", ts=ts)


async def test_report_has_its_figures_from_the_journal_and_every_face_shows_them(
    database: str, database_ro: str, redis_api_url: str
) -> None:
    await traded(database)
    async with JournalReader(database_ro) as reader:
        until_ns = await reader.newest_ns() + 1
        (pair,) = await reader.twins(until_ns - NS_PER_HOUR, until_ns)
        assert await reader.twins(until_ns - NS_PER_HOUR, until_ns, "another") == []
        (beside,) = await reader.twins(until_ns - NS_PER_HOUR, until_ns, TRADER, "range-all")
    paper = pair.paper
    assert (paper.trader_id, paper.trades, paper.wins, paper.filled_orders) == (f"{TRADER}.paper", 1, 1, 2)
    assert paper.pnl is not None
    assert paper.pnl > 0
    assert paper.fees < 0
    assert paper.slippage_bps is not None
    assert (paper.wakeups, paper.wakeups_pct) == (1, 50.0)
    assert (pair.live.trader_id, pair.live.trades, pair.live.filled_orders) == (TRADER, 0, 0)
    assert (pair.decisions.only_paper, pair.decisions.differing) == (2, 0)
    assert beside.live.trader_id == "range-all"
    async with served(database_ro, redis_api_url, clock=CLOCK) as client:
        async with client.get(f"/api/shadow?hours=1&trader={TRADER}") as response:
            (row,) = (await response.json())["shadows"]
        async with client.get("/api/orders") as response:
            orders = (await response.json())["orders"]
    assert (row["paper"]["trades"], row["paper"]["wakeups"]) == (1, 1)
    assert {order["trader_id"] for order in orders} == {f"{TRADER}.paper"}
    assert {order["position_side"] for order in orders} == {PositionSide.LONG.value}

    async def told(*words: str) -> tuple[int | None, str]:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "engine.cli.main", "shadow", "report", "--last", "1h", *words),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            env=os.environ | {"EDGEWISE_POSTGRES_DSN": database_ro, "EDGEWISE_REDIS_URL": redis_api_url},
        )
        async with asyncio.timeout(30):
            out, _ = await process.communicate()
        return process.returncode, out.decode()

    code, text = await told("--json")
    (row,) = msgspec.json.decode(text)["shadows"]
    assert (code, row["paper"]["pnl"]) == (0, paper.pnl)
    code, text = await told()
    assert (code, f"{TRADER}.paper" in text, "0 decisions agree" in text) == (0, True, True)
    code, text = await told("--against", "nobody")
    assert (code, text.startswith("no trader 'nobody'"), text.count("\n")) == (2, True, 1)
