"""The simulator ends in every way, and is whole afterwards."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from engine.clock import SimClock
from engine.core.errors import ConfigError
from engine.core.market import Side
from engine.core.times import NS_PER_HOUR, NS_PER_MIN, NS_PER_S
from engine.exchange.matching.types import OrderRequest, OrdType, PosSide
from engine.exchange.simulator.build import Plan, build
from engine.exchange.simulator.candles import PERIODS
from engine.exchange.simulator.manual import Nudge
from engine.exchange.simulator.requests import Cancel
from engine.exchange.simulator.store import Store
from engine.exchange.simulator.venue import Venue
from tests.fixtures.simulator.client import ACCOUNT, BTC, Client, simulator, write_candles

START = 1_790_000_000 * NS_PER_S
BUY = OrderRequest(symbol=BTC, side=Side.BUY, size=Decimal(1), ord_type=OrdType.MARKET, pos_side=PosSide.LONG)


class Process:
    """`edgewise simulator` as a user starts it."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process, self.url, self.said = process, "", ""

    async def ready(self) -> None:
        assert self.process.stdout is not None
        async with asyncio.timeout(30):
            while "ready" not in self.said:
                line = (await self.process.stdout.readline()).decode()
                assert line, self.said
                self.said += line
                if line.startswith("REST"):
                    self.url = line.split()[1]

    async def end(self, number: int, deadline_s: float = 2.0) -> int:
        self.process.send_signal(number)
        async with asyncio.timeout(deadline_s):
            return await self.process.wait()


@asynccontextmanager
async def process(*words: str) -> AsyncIterator[Process]:
    started = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "engine.cli.main", "simulator", "--port", "0", "--account", ACCOUNT, *words),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env=os.environ | {"PYTHONASYNCIODEBUG": "0"},
    )
    running = Process(started)
    try:
        await running.ready()
        yield running
    finally:
        if started.returncode is None:
            started.kill()
        await started.wait()


async def everything(venue: Client) -> dict[str, Any]:
    """What an account has, without what a moving market changes."""
    return {
        "orders": await venue.get("trade/orders-pending"),
        "ended": await venue.get("trade/orders-history", instType="SWAP"),
        "fills": await venue.get("trade/fills"),
        "bills": await venue.get("account/bills"),
        "algos": await venue.get("trade/orders-algo-pending", ordType="conditional,oco"),
        "cash": (await venue.get("account/balance"))[0]["details"][0]["cashBal"],
        "held": [(p["pos"], p["avgPx"], p["lever"]) for p in await venue.get("account/positions")],
    }


async def test_nothing_acknowledged_is_lost_by_kill_9(tmp_path: Path) -> None:
    words = ("--manual", "--symbol", "BTC", "--state", str(tmp_path), "--no-rate-limit")
    async with aiohttp.ClientSession() as http:
        known: dict[str, Any] = {}
        for i in range(3):
            async with process(*words) as running:
                venue = Client(http, running.url)
                assert not i or await everything(venue) == known
                await venue.market(str(50_000 + i))
                attached = [{"attachAlgoClOrdId": f"stop{i}", "slTriggerPx": "40000", "slOrdPx": "-1"}]
                assert (await venue.order(clOrdId=f"entry{i}", attachAlgoOrds=attached))["sCode"] == "0"
                await venue.post("account/set-leverage", {"instId": BTC, "lever": 5 + i, "mgnMode": "cross"})
                await venue.order(clOrdId=f"rest{i}", ordType="limit", px="49000")
                known = await everything(venue)
                await running.end(signal.SIGKILL)
        assert (len(known["fills"]), len(known["orders"]), len(known["algos"])) == (3, 3, 3)


async def test_generated_market_and_its_account_go_on_after_kill_9(tmp_path: Path) -> None:
    words = ("--symbol", "BTC", "--state", str(tmp_path), "--seed", "7", "--no-rate-limit")
    async with aiohttp.ClientSession() as http:
        async with process(*words) as running:
            venue = Client(http, running.url)
            await venue.order(clOrdId="entry1")
            before = await everything(venue)
            last = Decimal((await venue.get("market/ticker", instId=BTC))[0]["last"])
            await running.end(signal.SIGKILL)
        async with process(*words) as running:
            venue = Client(http, running.url)
            assert await everything(venue) == before
            now = Decimal((await venue.get("market/ticker", instId=BTC))[0]["last"])
            assert await running.end(signal.SIGTERM) == 0
    assert abs(now / last - 1) < Decimal("0.02")


async def test_command_stops_within_two_seconds_with_clients_connected(tmp_path: Path) -> None:
    for number in (signal.SIGTERM, signal.SIGINT):
        async with process("--manual") as running, aiohttp.ClientSession() as http:
            venue = Client(http, running.url)
            async with venue.socket("public") as socket:
                await socket.subscribe({"channel": "tickers", "instId": BTC})
                assert await running.end(number) == 0
                assert "Traceback" not in running.said


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--account", "key:secret"), "KEY:SECRET:PASSPHRASE:USDT"),
        (("--position-mode", "hedge"), "long_short or net"),
        (("--symbol", "SHIB"), "does not list"),
        (("--state", "/dev/null/x"), "--state"),
    ],
)
async def test_wrong_option_is_one_clear_line(words: tuple[str, ...], says: str) -> None:
    started = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "engine.cli.main", "simulator", "--port", "0", *words),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, error = await asyncio.wait_for(started.communicate(), 30)
    assert started.returncode == 2
    assert says in error.decode()
    assert b"Traceback" not in out + error


async def test_port_that_is_taken_is_one_clear_line() -> None:
    async with simulator() as venue:
        with pytest.raises(ConfigError, match="Address already in use; set another --port"):
            async with simulator(port=int(venue.url.rpartition(":")[2])):
                pass


# -- without a process: every moment of the journal


class Begin:
    """Builds venues; those whose process is said to be killed are left as they are until the test is over."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.venues = folder, list[Venue]()

    def __call__(self, clock: SimClock, **plan: Any) -> Venue:
        given: dict[str, Any] = {"accounts": (ACCOUNT,), "symbols": (BTC,), "market": "manual"}
        self.venues.append(build(Plan(**(given | {"folder": self.folder} | plan)), clock))
        return self.venues[-1]


@pytest.fixture
def begin(tmp_path: Path) -> Iterator[Begin]:
    made = Begin(tmp_path)
    yield made
    for venue in made.venues:
        venue.world.close()


def snapshot(venue: Venue) -> bytes:
    return venue.world.core.snapshot()


@pytest.mark.parametrize("market", ["manual", "generated"])
@pytest.mark.parametrize("saves", [False, True])
def test_inputs_after_the_state_are_played_again_to_the_byte(begin: Begin, market: str, saves: bool) -> None:
    clock = SimClock(START)
    venue = begin(clock, market=market)
    for i in range(20):
        clock.set(clock.now_ns() + 3 * NS_PER_S)
        venue.step()
        if market == "manual":
            venue.nudge(Nudge(BTC, Decimal(50_000 + 100 * i)))
        order = venue.request("key", BUY).result
        assert order is not None
        if saves and i == 10:
            venue.world.save()
    again = begin(clock, market=market)
    assert snapshot(again) == snapshot(venue)
    assert again.world.bars.dump() == venue.world.bars.dump()


def test_a_refused_request_changes_nothing_that_is_played_again(begin: Begin) -> None:
    clock = SimClock(START)
    venue = begin(clock)
    venue.step()
    for order_id in ("1", "2"):
        with pytest.raises(Exception, match="51400"):
            venue.request("key", Cancel(BTC, order_id))
    first = venue.request("key", BUY)
    again = begin(clock)
    assert again.world.core.fills("key") == venue.world.core.fills("key")
    assert len(again.world.core.fills("key")) == 1 == len([first.result])


def test_a_kill_at_any_moment_of_a_save_leaves_a_whole_pair(
    tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    store = Store(tmp_path)
    request.addfinalizer(store.close)
    assert store.load() == (None, [])
    store.save(b"one")
    for line in (b"a", b"bb"):
        store.append(line, flush=True)
    moments = [{path.name: path.read_bytes() for path in tmp_path.iterdir()}]
    (tmp_path / "journal.2").write_bytes(b"")  # the new journal is there, the state is the old one
    moments.append({path.name: path.read_bytes() for path in tmp_path.iterdir()})
    assert Store(tmp_path).load() == (b"one", [b"a", b"bb"])
    store.save(b"two")
    (tmp_path / "journal.1").write_bytes(moments[0]["journal.1"])  # … the old journal is not yet gone
    assert Store(tmp_path).load() == (b"two", [])
    store.append(b"c", flush=True)
    cut = (tmp_path / "journal.2").read_bytes() + b"\x05\x00\x00\x00half"
    (tmp_path / "journal.2").write_bytes(cut)  # the last line was being written
    assert Store(tmp_path).load() == (b"two", [b"c"])


def test_no_bar_is_missing_after_a_long_pause(begin: Begin) -> None:
    clock = SimClock(START)
    venue = begin(clock, market="generated")
    clock.set(START + 90 * NS_PER_S)
    venue.step()
    venue.world.close()
    clock.set(START + 5 * NS_PER_HOUR)
    again = begin(clock, market="generated")
    again.step()
    clock.set(clock.now_ns() + 2 * NS_PER_MIN)
    again.step()
    bars = [bar.ts_open for bar, _ in again.world.bars.bars(BTC, PERIODS["1m"])]
    assert bars == list(range(bars[0], bars[0] + len(bars) * NS_PER_MIN, NS_PER_MIN))
    assert bars[-1] <= clock.now_ns() < bars[-1] + NS_PER_MIN


@pytest.mark.parametrize(
    ("plan", "earlier_s", "says"),
    [
        ({"market": "generated"}, 0, "another market"),
        ({"symbols": (BTC, "ETH")}, 0, "another market"),
        ({}, 3600, "has come to"),
    ],
)
def test_state_of_another_market_or_a_later_time_is_refused(
    begin: Begin, plan: dict[str, Any], earlier_s: int, says: str
) -> None:
    venue = begin(SimClock(START))
    venue.step()
    venue.world.close()
    with pytest.raises(ConfigError, match=says):
        begin(SimClock(START - earlier_s * NS_PER_S), **plan)


def test_a_market_that_is_a_little_ahead_waits_and_takes_orders(begin: Begin) -> None:
    venue = begin(SimClock(START), market="generated")
    venue.step()
    venue.world.save()
    clock = SimClock(START - 90 * NS_PER_S)
    again = begin(clock, market="generated")
    last = again.quote(BTC)
    again.request("key", BUY)
    assert again.quote(BTC) == last
    clock.set(START + NS_PER_S)
    again.step()
    assert again.quote(BTC).ts == START + NS_PER_S
    assert len(again.world.core.fills("key")) >= 1


def test_a_state_that_is_none_is_one_clear_line(tmp_path: Path, begin: Begin) -> None:
    (tmp_path / "state").write_bytes(b"what is this")
    with pytest.raises(ConfigError, match="no state of this simulator"):
        begin(SimClock(START))


async def test_recording_is_traded_over_the_wire(tmp_path: Path) -> None:
    rows = [(100.0 + i, 104.5 + i, 98.1 + i, 101.0 + i, 12.0) for i in range(40)]
    path = write_candles(tmp_path / "btc_usdt_1m.csv", rows)
    clock = SimClock(START)
    async with simulator(clock=clock, market="recorded", recording=path, rate_limits=False) as venue:
        known = [row for row in await venue.get("market/candles", instId=BTC) if row[8] == "1"]
        assert [float(row[4]) for row in known][::-1][-20:] == [row[3] for row in rows[:20]]
        assert (await venue.order())["sCode"] == "0"
        await clock.advance(30 * 60)
        (held,) = await venue.get("account/positions")
        played = [r for r in await venue.get("market/candles", instId=BTC) if r[8] == "1" and float(r[5])]
        assert [tuple(map(float, row[1:5])) for row in played[::-1]] == [row[:4] for row in rows]
        assert float(held["upl"]) > 0
        async with venue.http.get(f"{venue.url}/sim/state") as response:
            assert "ended" in (await response.json())["market"]
