"""A recording becomes the events of its time, and the same recording the same signals."""

from __future__ import annotations

import gzip
import sys
from itertools import chain
from pathlib import Path

import msgspec
import pytest
import typer
from typer.testing import CliRunner, Result

from engine.cli.recordings import read_all, symbol_of
from engine.cli.signals import signals
from engine.cli.signals_report import Report
from engine.config.market import MarketConfig
from engine.core.errors import ConfigError
from engine.core.market import BookTop, Candle, Level, MarketEvent, Side, Trade
from engine.core.times import NS_PER_DAY, NS_PER_MS, to_datetime
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
    return replay(fitted(MarketConfig(), BTC, [first]), chain((first,), events))


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
        BookTop(BTC, (Level(10.0, 2.0),), (Level(11.0, 3.0),), 5 * NS_PER_MS)
    ]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "holds no events"),
        ("a,b\n1,2\n", ":1: expected"),
        ("ts_ms,open,high,low,close,volume\n0,1,1,1,1,1\n60000,1,x,1,1,1\n", ":3: could not convert"),
        ("ts_ms,open,high,low,close,volume\n0,1,1,1,1,1\n7000,1,1,1,1,1\n", "7 s apart"),
        ("ts_ms,open,high,low,close,volume\n0,1,1,1,1,1\n60000,1,nan,1,1,1\n", ":3: no candle has 1, nan"),
        ("ts_ms,open,high,low,close,volume\n0,1,1,1,1,1\n60000,0,0,0,0,1\n", ":3: no candle has 0"),
        ("ts_ms,open,high,low,close,volume\n0,1,1,1,1,1\n60000,1,1,2,1,1\n", ":3: no candle"),
        ("ts_ms,open,high,low,close,volume\n0,1,1,1,1,1\n60000,1,1\n", ":3: "),
        ("ts_ms,price,size\n0,5,1\n1,inf,1\n", ":3: nobody trades 1 at inf"),
        ("ts_ms,bid,bid_size,ask,ask_size\n0,1,1,2,1\n1,1,1,2,nan\n", ":3: no book has nan at 2"),
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
    config = fitted(MarketConfig(), BTC, walk(1, 1, timeframe="5m"))
    assert config.timeframes == ("5m", "15m")
    assert "rsi_1m" not in {rule.name for rule in config.detectors}
    assert replayed(candle_file(tmp_path, timeframe="5m")).review.signals > 0


def test_candles_of_a_recording_go_before_its_trades() -> None:
    trade = Trade(BTC, 10.5, 2.0, Side.SELL, "7", 5)
    kinds: list[MarketEvent] = [trade, *walk(1, 1, timeframe="15m"), *walk(1, 1, timeframe="5m")]
    config = fitted(MarketConfig(), BTC, kinds)
    assert (config.candles, config.timeframes) == ("venue", ("5m", "15m"))


def test_hole_in_a_recording_does_not_end_it(tmp_path: Path) -> None:
    path = candle_file(tmp_path)
    lines = path.read_text().splitlines()
    path.write_text("\n".join(lines[:500] + lines[537:]))
    after = replayed(path)
    base = [item for item in after.candles if item.candle.timeframe == "1m"]
    assert len(base) == 1500 - 37
    assert any(signal.ts_event > base[600].candle.ts_event for signal in after.signals)


def test_recording_of_another_timeframe_becomes_the_base() -> None:
    first: Candle = walk(1, 1, timeframe="1h")[0]
    assert fitted(MarketConfig(), BTC, [first]).timeframes == ("1h",)


def run(*arguments: str) -> Result:
    app = typer.Typer()
    app.command()(signals)
    return CliRunner().invoke(app, ["--etc", str(ETC), *arguments])


def report(*arguments: str) -> Report:
    answer = run(*arguments, "--json")
    assert answer.exit_code == 0, answer.output
    return msgspec.json.decode(answer.output, type=Report)


def test_command_counts_signals_wakeups_merges_and_refusals(tmp_path: Path) -> None:
    arguments = ["--replay", str(candle_file(tmp_path)), "--symbol", BTC]
    first = report(*arguments)
    review = replayed(tmp_path / "candles.csv").review
    assert (first.signals, first.signals_digest) == (review.signals, review.digest)
    assert first.wakeups == sum(first.wakeup_kinds.values()) > 0
    # Each edge is a reason of a wakeup, or refused with a code, or the end of an excursion.
    above = first.signals - first.edges["RECOVERED"] - sum(first.refusals.values())
    assert 0 < first.wakeup_kinds["signal"] <= above <= first.wakeup_kinds["signal"] + first.merges
    assert report(*arguments) == first
    table = run(*arguments)
    assert table.exit_code == 0
    assert first.digest in table.output


def test_one_day_is_reviewed_and_those_before_warm_up(tmp_path: Path) -> None:
    path = candle_file(tmp_path)
    whole = replayed(path)
    day = to_datetime(whole.candles[-1].candle.ts_event).strftime("%Y-%m-%d")
    begin = whole.candles[-1].candle.ts_event // NS_PER_DAY * NS_PER_DAY
    part = report("--replay", str(path), "--symbol", BTC, "--day", day)
    assert part.signals == sum(signal.ts_event >= begin for signal in whole.signals) > 0
    for day in ("yesterday", "1999-12-31"):
        assert run("--replay", str(path), "--symbol", BTC, "--day", day).exit_code == 2


def test_another_file_stands_in_for_that_of_the_folder(tmp_path: Path) -> None:
    path, other = candle_file(tmp_path), tmp_path / "market.yaml"
    other.write_text("symbols: [BTC]\ndetectors: []\n")
    found = report("--replay", str(path), "--symbol", BTC, "--market", str(other))
    assert (found.signals, found.wakeups > 0) == (0, True)


def test_picture_is_drawn_or_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("matplotlib")
    picture = tmp_path / "out.png"
    arguments = ["--replay", str(candle_file(tmp_path)), "--symbol", BTC, "--plot", str(picture)]
    assert run(*arguments).exit_code == 0
    assert picture.read_bytes().startswith(b"\x89PNG")
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)  # as if it were not installed
    missing = run(*arguments)
    assert missing.exit_code == 2
    assert "edgewise[plot]" in missing.output


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--replay", "none.csv", "--symbol", "BTC"], "no such file"),
        (["--replay", "table.csv.gz", "--symbol", "BTC"], "cannot be read"),
        (["--replay", "table.csv.gz"], "cannot be read"),
        (["--replay", "table.csv"], "does not name its market"),
    ],
)
def test_mistake_of_the_caller_is_told(
    arguments: list[str], says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "table.csv.gz").write_bytes(b"not packed")
    (tmp_path / "table.csv").write_text("ts_ms,open,high,low,close,volume\n")
    monkeypatch.chdir(tmp_path)
    answer = run(*arguments)
    assert answer.exit_code == 2
    assert says in answer.output


def test_book_is_followed_from_its_snapshot(tmp_path: Path) -> None:
    path = tmp_path / "depth.jsonl"
    path.write_text(
        '{"T":1,"u":3,"b":[["9","1"]],"a":[]}\n'
        '{"snapshot":true,"T":2,"lastUpdateId":5,"bids":[["10","1"],["9","2"]],"asks":[["11","3"]]}\n'
        '{"T":3,"u":5,"b":[["10","0"]],"a":[]}\n'
        '{"T":4,"u":6,"b":[["10","0"]],"a":[["12","4"]]}\n'
    )
    assert list(read_events(path, BTC)) == [
        BookTop(BTC, (Level(10.0, 1.0), Level(9.0, 2.0)), (Level(11.0, 3.0),), 2 * NS_PER_MS),
        BookTop(BTC, (Level(9.0, 2.0),), (Level(11.0, 3.0), Level(12.0, 4.0)), 4 * NS_PER_MS),
    ]


def test_frames_of_okx_go_through_its_codec(tmp_path: Path) -> None:
    path = tmp_path / "frames.jsonl"
    trade = (
        '{"arg":{"channel":"trades","instId":"BTC-USDT-SWAP"},"data":[{"instId":"BTC-USDT-SWAP",'
        '"tradeId":"7","px":"10.5","sz":"2","side":"sell","ts":"5"}]}'
    )
    path.write_text(
        '{"recv":"1.5","frame":{"event":"subscribe","arg":{"channel":"trades","instId":"BTC-USDT-SWAP"}}}\n'
        f'{{"recv":"1.5","frame":{trade}}}\n{trade}\n'
    )
    assert symbol_of([path], "") == BTC
    beginning, events = read_all([path], BTC)
    expected = Trade(BTC, 10.5, 2.0, Side.SELL, "7", 5 * NS_PER_MS, 1_500_000_000)
    assert beginning == [expected, msgspec.structs.replace(expected, ts_recv=0)]
    assert list(events) == beginning
    with pytest.raises(ConfigError, match="has nothing of ETH-USDT-SWAP; it has BTC-USDT-SWAP"):
        read_all([path], "ETH-USDT-SWAP")


def test_files_of_one_market_are_merged_by_time(tmp_path: Path) -> None:
    prints, charges = tmp_path / "prints.csv", tmp_path / "charges.csv"
    prints.write_text("ts_ms,price,size,taker_side\n5,10,1,buy\n9,11,1,sell\n")
    charges.write_text("funding_ts_ms,funding_rate\n7,0.0001\n")
    _, events = read_all([prints, charges], BTC)
    assert [event.ts_event // NS_PER_MS for event in events] == [5, 7, 9]


DATA = Path(__file__).parents[2] / "shared" / "data"  # recordings that are not part of the project


@pytest.mark.skipif(not DATA.is_dir(), reason="no recordings here")
def test_a_recorded_day_goes_through_the_real_path() -> None:
    path = next(DATA.glob("btc_perp_1m_2022-01*"))
    day = report("--replay", str(path), "--day", "2022-01-24")
    assert day.events == 1440
    assert day.wakeup_kinds["signal"] > 10
    assert day.wakeups < 288  # never more often than the short cycle
