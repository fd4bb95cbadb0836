"""`edgewise data`: a market's past from the venue's REST, in files that the other commands play."""

from __future__ import annotations

import asyncio
import sys
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path

import pytest

from engine.core.errors import ConfigError
from engine.core.market import Candle
from engine.core.times import NS_PER_MIN, NS_PER_S
from engine.market.recording import read_events
from engine.market.table import CandleTable
from tests.exchange_world import BTC, SimulatedVenue

START = 1_700_000_040 * NS_PER_S


def candle(minute: int) -> Candle:
    ts = START + minute * NS_PER_MIN
    price = 0.1 + minute * 1e-7
    return Candle(
        symbol=BTC,
        timeframe="1m",
        ts_open=ts,
        open=price,
        high=price + 1e-6,
        low=price,
        close=price,
        volume=1e-9,
        closed=True,
        ts_event=ts + NS_PER_MIN,
    )


async def data(folder: Path, *arguments: str) -> tuple[int, str]:
    """Exit code and last words."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "engine.cli.main", "data", *arguments),
        cwd=folder,
        env={"PATH": "", "PYTHONPATH": str(Path(__file__).parent.parent)},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(60):
        told, complaints = await process.communicate()
    assert process.returncode is not None
    return process.returncode, (told or complaints).decode().strip()


async def test_candles_come_whole_once_and_a_second_run_brings_only_what_is_new(
    long_short_venue: SimulatedVenue, tmp_path: Path
) -> None:
    where = ("--url", long_short_venue.url)
    now = datetime.now(UTC).replace(second=0, microsecond=0)
    begin, middle, end = (f"{now - timedelta(minutes=n):%Y-%m-%dT%H:%M}" for n in (290, 150, 20))
    first = await data(tmp_path, "candles", "BTC", "--from", begin, "--to", middle, *where)
    assert first == (0, "btc-usdt-swap_1m.csv.gz: 140 candles more")
    second = await data(tmp_path, "candles", "BTC", "--from", begin, "--to", end, *where)
    assert second == (0, "btc-usdt-swap_1m.csv.gz: 130 candles more")
    third = await data(tmp_path, "candles", "BTC", "--from", begin, "--to", end, *where)
    assert third == (0, "btc-usdt-swap_1m.csv.gz: 0 candles more")
    found = [one for one in read_events(tmp_path / "btc-usdt-swap_1m.csv.gz", BTC) if isinstance(one, Candle)]
    assert len(found) == 270
    assert {b.ts_open - a.ts_open for a, b in pairwise(found)} == {NS_PER_MIN}
    code, words = await data(tmp_path, "funding", "BTC", *where)
    assert code == 0
    assert len(list(read_events(tmp_path / "btc-usdt-swap_funding.csv.gz", BTC))) == int(words.split()[1])


async def test_file_that_begins_with_the_venues_first_candle_is_continued_and_no_later_one(
    long_short_venue: SimulatedVenue, tmp_path: Path
) -> None:
    now = datetime.now(UTC).replace(second=0, microsecond=0)
    end, inside = (f"{now - timedelta(minutes=n):%Y-%m-%dT%H:%M}" for n in (20, 60))
    old = f"{now - timedelta(days=3):%Y-%m-%d}"  # the simulator knows less
    where = ("--timeframe", "5m", "--url", long_short_venue.url)
    code, told = await data(tmp_path, "candles", "BTC", "--from", old, "--to", inside, *where)
    assert (code, told.endswith("candles more")) == (0, True), told
    code, told = await data(tmp_path, "candles", "BTC", "--from", old, "--to", end, *where)
    assert (code, told) == (0, "btc-usdt-swap_5m.csv.gz: 8 candles more")
    late = ("candles", "ETH", "--out", "eth.csv")
    assert (await data(tmp_path, *late, "--from", inside, "--to", end, *where))[0] == 0
    code, told = await data(tmp_path, *late, "--from", old, "--to", end, *where)
    assert (code, told.startswith("eth.csv begins later than --from")) == (2, True), told


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("candles", "BTC", "--from", "yesterday"), "--from yesterday: expected 2026-01-31"),
        (
            ("candles", "BTC", "--from", "2026-01-01", "--timeframe", "7m"),
            "--timeframe 7m: expected one",
        ),
        (("candles", "BTC", "--from", "2026-01-02", "--to", "2026-01-01"), "is not before --to 2026-01-01"),
        (("candles", "BTC", "--from", "2026-01-01", "--url", "http://127.0.0.1:1"), "market/history-candles"),
    ],
)
async def test_what_cannot_be_brought_is_one_line(
    tmp_path: Path, arguments: tuple[str, ...], words: str
) -> None:
    code, told = await data(tmp_path, *arguments)
    assert code != 0
    assert words in told
    assert "Traceback" not in told


@pytest.mark.parametrize("name", ["c.csv", "c.csv.gz"])
def test_a_table_reads_back_as_it_was_and_counts_the_holes(tmp_path: Path, name: str) -> None:
    written = [candle(minute) for minute in (0, 1, 4, 5)]
    CandleTable(tmp_path / name, "1m").append(written[:2])
    table = CandleTable(tmp_path / name, "1m")
    assert table.continued(START) == written[1].ts_event
    table.append(written[2:])
    assert list(read_events(tmp_path / name, BTC)) == written
    assert (table.rows, table.holes) == (2, 2)


@pytest.mark.parametrize(
    ("text", "since", "words"),
    [
        ("a,b\n1,2\n", START, "expected ts_ms"),
        ("ts_ms,open,high,low,close,volume\n60000,1,1,1,1,1\n90000,1,1,1,1,1\n", 0, "no 1m candles in order"),
    ],
)
def test_a_file_of_something_else_is_left_alone(tmp_path: Path, text: str, since: int, words: str) -> None:
    path = tmp_path / "c.csv"
    path.write_text(text)
    with pytest.raises(ConfigError, match=words):
        CandleTable(path, "1m").continued(since)
    assert path.read_text() == text
