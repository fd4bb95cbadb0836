"""A recording becomes the events of its time, and the same recording the same signals."""

from __future__ import annotations

import gzip
import json
from itertools import chain
from pathlib import Path

import msgspec
import pytest
import typer
from typer.testing import CliRunner

from engine.cli.signals import signals
from engine.config.market import MarketConfig
from engine.core.errors import ConfigError
from engine.core.market import BookTop, Candle, MarketEvent, Side, Trade
from engine.core.times import NS_PER_MS
from engine.market.recording import read_events
from engine.market.review import Replayed, fitted, replay
from tests.market_world import BTC, walk

ETC = Path(__file__).parent.parent / "etc"


def candle_file(folder: Path, *, timeframe: str = "1m", zipped: bool = False) -> Path:
    rows = ["ts_ms,open,high,low,close,volume"]
    for c in walk(12, 1500, step=0.002, timeframe=timeframe):
        rows.append(f"{c.ts_open // NS_PER_MS},{c.open},{c.high},{c.low},{c.close},{c.volume}")
    path = folder / f"candles.csv{'.gz' if zipped else ''}"
    text = "\n".join(rows)
    path.write_bytes(gzip.compress(text.encode()) if zipped else text.encode())
    return path


def write(folder: Path, text: str) -> Path:
    path = folder / "recording.csv"
    path.write_text(text)
    return path


def replayed(path: Path) -> Replayed:
    events = read_events(path, BTC)
    first = next(events)
    return replay(fitted(MarketConfig(), BTC, first), chain((first,), events))


@pytest.mark.parametrize("zipped", [False, True])
def test_candles_of_a_file_are_told_when_they_closed(tmp_path: Path, zipped: bool) -> None:
    events: list[MarketEvent] = list(read_events(candle_file(tmp_path, zipped=zipped), BTC))
    assert events == walk(12, 1500, step=0.002)


def test_prints_and_quotes_of_a_file(tmp_path: Path) -> None:
    prints = "trade_ts_ms,local_ts_ns,trade_id,price,size,taker_side\n5,6,77,10.5,2,sell\n"
    assert list(read_events(write(tmp_path, prints), BTC)) == [
        Trade(BTC, 10.5, 2.0, Side.SELL, "77", 5 * NS_PER_MS)
    ]
    quotes = "ts_ms,update_id,bid,bid_size,ask,ask_size\n5,1,10,2,11,3\n"
    assert list(read_events(write(tmp_path, quotes), BTC)) == [
        BookTop(BTC, ((10.0, 2.0),), ((11.0, 3.0),), 5 * NS_PER_MS)
    ]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "holds no events"),
        ("a,b\n1,2\n", ":1: expected"),
        ("ts_ms,open,high,low,close,volume\n0,1,1,1,1,1\n60000,1,x,1,1,1\n", ":3: could not convert"),
        ("ts_ms,open,high,low,close,volume\n0,1,1,1,1,1\n7000,1,1,1,1,1\n", "7 s apart"),
    ],
)
def test_unreadable_recording_names_the_place(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        list(read_events(write(tmp_path, text), BTC))


def test_same_recording_gives_the_same_digest(tmp_path: Path) -> None:
    path = candle_file(tmp_path)
    first, second = replayed(path), replayed(path)
    assert first.review.signals > 0
    assert first.review == second.review
    assert sum(tally.count for tally in first.review.tallies) == len(first.signals)
    assert sum(first.review.edges.values()) == first.review.signals


def test_longer_recording_leaves_out_what_is_shorter(tmp_path: Path) -> None:
    config = fitted(MarketConfig(), BTC, walk(1, 1, timeframe="5m")[0])
    assert config.timeframes == ("5m", "15m")
    assert "rsi_1m" not in {rule.name for rule in config.detectors}
    assert replayed(candle_file(tmp_path, timeframe="5m")).review.signals > 0


def test_recording_of_another_timeframe_becomes_the_base() -> None:
    first: Candle = walk(1, 1, timeframe="1h")[0]
    assert fitted(MarketConfig(), BTC, first).timeframes == ("1h",)


def test_command_prints_table_or_json(tmp_path: Path) -> None:
    app = typer.Typer()
    app.command()(signals)
    path = candle_file(tmp_path)
    arguments = ["--replay", str(path), "--market", str(ETC / "market.yaml")]
    table = CliRunner().invoke(app, arguments)
    assert table.exit_code == 0
    assert "digest of the signals" in table.output
    answer = CliRunner().invoke(app, [*arguments, "--json"])
    assert answer.exit_code == 0
    assert json.loads(answer.output) == json.loads(msgspec.json.encode(replayed(path).review))
    missing = CliRunner().invoke(app, ["--replay", str(tmp_path / "none.csv")])
    assert missing.exit_code == 2
