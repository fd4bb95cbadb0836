"""What a market said is on disk as it came, whatever ended the recorder, and plays as it was."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from decimal import Decimal
from pathlib import Path

import pytest
import structlog

from engine.cli.recordings import read_all
from engine.clock import ScaledClock, SystemClock, cancelled
from engine.config.exchange import OkxConfig
from engine.core.errors import ConfigError, VenueMisconfigured
from engine.core.market import Trade
from engine.core.times import NS_PER_HOUR, NS_PER_MS, NS_PER_S
from engine.exchange.okx.recorder import DEFAULT_CHANNELS, Recorder, args_of
from engine.exchange.simulator.build import Plan, build
from engine.exchange.simulator.candles import PERIODS, BarStore
from engine.exchange.simulator.recording import read_recording
from engine.exchange.simulator.replay import RecordedMarket
from engine.recordings import RecordingFolder, read_lines
from tests.fixtures.simulator.client import ACCOUNT, BTC, Client, simulator
from tests.waiting import until

ETH = "ETH-USDT-SWAP"
CLOCK = SystemClock()
DEADLINE_S = 15.0
START = 1_790_000_000 * NS_PER_S // NS_PER_HOUR * NS_PER_HOUR


def folder_in(path: Path, *, keep: int = 1 << 30, largest: int = 1 << 20) -> RecordingFolder:
    return RecordingFolder(path, "okx", rotate_ns=NS_PER_HOUR, largest=largest, keep=keep)


@asynccontextmanager
async def recording(venue: Client, path: Path, *channels: str) -> AsyncIterator[Recorder]:
    """A recorder of BTC that is connected."""
    base = venue.url.replace("http", "ws") + "/ws/v5"
    config = OkxConfig(ws_public_url=f"{base}/public", ws_business_url=f"{base}/business")
    args = args_of((BTC,), channels or DEFAULT_CHANNELS)
    recorder = Recorder(config, args, folder_in(path), CLOCK)
    running = asyncio.create_task(recorder.run(), name="recorder")
    try:
        await until(lambda: recorder.progress.up == 2 or running.done())
        yield recorder
    finally:
        await cancelled(running)


def busy(speed: float = 60.0) -> ScaledClock:
    """So many seconds of the market in one."""
    return ScaledClock(speed, CLOCK.now_ns(), CLOCK.now_ns())


async def test_recorded_market_plays_with_the_same_trades(tmp_path: Path) -> None:
    async with (
        simulator(market="generated", clock=busy(), rate_limits=False) as venue,
        recording(venue, tmp_path) as recorder,
    ):
        await until(lambda: recorder.progress.frames > 200)
        await venue.sim("faults", {"kind": "cut"})
        await until(lambda: recorder.progress.gaps >= 2 and recorder.progress.up == 2)
        await until(lambda: recorder.progress.frames > 500)
    assert recorder.progress.dropped == recorder.progress.bad == recorder.progress.refused == 0
    frames = [json.loads(line) for line in read_lines(tmp_path)]
    assert {frame["frame"]["arg"]["channel"] for frame in frames if "arg" in frame["frame"]} == set(
        DEFAULT_CHANNELS
    )
    assert [f["frame"]["event"] for f in frames if "event" in f["frame"]].count("down") == 2

    rows = [
        row
        for f in frames
        if f["frame"].get("arg", {}).get("channel") == "trades"
        for row in f["frame"]["data"]
    ]
    trades = {row["tradeId"]: row for row in rows}
    _, events = read_all([tmp_path], BTC)
    told = [event for event in events if isinstance(event, Trade)]
    assert {str(event.trade_id) for event in told} == set(trades)

    played = read_recording(tmp_path, ("BTC",))
    quotes = RecordedMarket(played, START).advance(START + 24 * NS_PER_HOUR)
    prints = [quote for quote in quotes if quote.size]
    assert [(quote.price, quote.side.value) for quote in prints] == [
        (Decimal(row["px"]), row["side"])
        for row in sorted(trades.values(), key=lambda row: int(row["tradeId"]))
    ]
    assert sum(quote.size for quote in prints) == sum(Decimal(row["sz"]) for row in trades.values())
    assert any(not quote.size for quote in quotes)  # best prices move between prints


async def test_candles_of_a_replay_are_those_of_the_recorded_market(tmp_path: Path) -> None:
    known: dict[int, list[str]] = {}
    async with (
        simulator(market="generated", clock=busy(30.0), rate_limits=False) as venue,
        recording(venue, tmp_path, "trades", "candle1m"),
    ):
        while sum(row[8] == "1" for row in known.values()) < 102:  # two minutes have ended
            await asyncio.sleep(0.2)
            rows = await venue.get("market/candles", instId=BTC, limit=100)
            known |= {int(row[0]): row for row in rows}
    played = read_recording(tmp_path)
    bars = BarStore()
    for quote in RecordedMarket(played, played.first_ns).advance(played.first_ns + NS_PER_HOUR):
        bars.on_quote(quote)
    whole = [bar for bar, closed in bars.bars(BTC, PERIODS["1m"]) if closed and bar.ts_open > played.first_ns]
    assert whole
    for bar in whole:
        row = known[bar.ts_open // NS_PER_MS]
        assert [Decimal(text) for text in row[1:6]] == [*bar[1:5], bar.volume]


async def test_every_recorded_market_plays_beside_generated_ones(tmp_path: Path) -> None:
    async with simulator(
        market="generated", clock=busy(), rate_limits=False, symbols=("BTC", "ETH")
    ) as venue:
        base = venue.url.replace("http", "ws") + "/ws/v5"
        config = OkxConfig(ws_public_url=f"{base}/public", ws_business_url=f"{base}/business")
        recorder = Recorder(config, args_of((BTC, ETH), ("trades", "bbo-tbt")), folder_in(tmp_path), CLOCK)
        running = asyncio.create_task(recorder.run(), name="recorder")
        await until(lambda: recorder.progress.frames > 100)
        await cancelled(running)
    plan = Plan(accounts=(ACCOUNT,), market="recorded", recording=tmp_path, symbols=("SOL", "ETH", "BTC"))
    world = build(plan, CLOCK).world
    assert [each.instrument.symbol for each in world.source.listings][2:] == ["SOL-USDT-SWAP"]
    world.step(CLOCK.now_ns() + NS_PER_HOUR // 60)
    assert set(world.quotes) == {BTC, ETH, "SOL-USDT-SWAP"}


async def test_killed_recorder_loses_its_last_second_at_most(tmp_path: Path) -> None:
    async with simulator(market="generated", clock=busy(), rate_limits=False) as venue:
        command = (
            sys.executable,
            "-m",
            "engine.cli.main",
            "record",
            "--symbol",
            "BTC",
            "--out",
            str(tmp_path),
        )
        for number in (signal.SIGKILL, signal.SIGINT):
            process = await asyncio.create_subprocess_exec(
                *(*command, "--out", str(tmp_path), "--url", venue.url.replace("http", "ws")),
                stdout=asyncio.subprocess.PIPE,
            )
            files = len(list(tmp_path.iterdir()))
            await until(lambda files=files: len(list(tmp_path.iterdir())) > files)  # type: ignore[misc]
            process.send_signal(number)
            out, _ = await asyncio.wait_for(process.communicate(), DEADLINE_S)
    assert b" frames, " in out
    assert len(list(tmp_path.iterdir())) == 2
    assert sum(1 for _ in read_lines(tmp_path)) > 100


def test_torn_block_costs_its_last_line_and_says_so(tmp_path: Path) -> None:
    folder = folder_in(tmp_path)
    for i in range(3):
        folder.append(b"".join(b'{"n":%d}\n' % (1000 * i + j) for j in range(1000)), CLOCK.now_ns())
    folder.close()
    (path,) = tmp_path.iterdir()
    path.write_bytes(path.read_bytes()[:-5])
    with structlog.testing.capture_logs() as said:
        lines = list(read_lines(tmp_path))
    assert 2000 <= len(lines) < 3000
    assert [json.loads(line)["n"] for line in lines] == list(range(len(lines)))
    assert [each["event"] for each in said] == ["recording was cut short"]
    assert said[0]["lines"] == len(lines)


def test_files_are_rotated_and_the_oldest_make_room(tmp_path: Path) -> None:
    folder = folder_in(tmp_path, keep=3 << 20)
    noise = b"".join(b"%064x\n" % (i * 2654435761**7) for i in range(20_000))
    names: set[str] = set()
    for hour in range(8):
        folder.append(noise, START + hour * NS_PER_HOUR)
        names |= {path.name for path in tmp_path.iterdir()}
    folder.close()
    left = sorted(path.name for path in tmp_path.iterdir())
    assert len(names) == 8
    assert left == sorted(names)[-len(left) :]
    assert 1 <= len(left) < 8
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) <= 3 << 20


async def test_recorder_of_nothing_ends_with_a_reason(tmp_path: Path) -> None:
    async with simulator() as venue:
        base = venue.url.replace("http", "ws") + "/ws/v5"
        config = OkxConfig(ws_public_url=f"{base}/public", ws_business_url=f"{base}/business")
        recorder = Recorder(config, args_of(("NO-USDT-SWAP",), ("tickers",)), folder_in(tmp_path), CLOCK)
        with pytest.RaisesGroup(VenueMisconfigured):
            await asyncio.wait_for(recorder.run(), DEADLINE_S)


def test_empty_folder_and_damaged_file_are_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="holds no recording"):
        list(read_lines(tmp_path))
    (tmp_path / "okx.jsonl.zst").write_bytes(b"this is no zstd at all")
    with pytest.raises(ConfigError, match=r"okx.jsonl.zst cannot be unpacked"):
        list(read_lines(tmp_path))
