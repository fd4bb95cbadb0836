"""The engine's parts over a recording, on simulated time."""

from __future__ import annotations

import math
import subprocess
import sys
from decimal import Decimal
from pathlib import Path

import msgspec
import pytest

from engine.backtest.figures import backtest_run, trades_of
from engine.backtest.run import Outcome, run_backtest
from engine.clock import SystemClock
from engine.config.settings import Settings, load_settings
from engine.core.orders import OrderState
from engine.core.times import NS_PER_MIN
from engine.exchange.simulator.recording import read_recording
from engine.executor.asking import ModelFailure, ModelReply, ModelRequest
from engine.journal.postgres.journal import PostgresJournal
from engine.journal.postgres.reader import JournalReader

START_MS = 1_750_000_020_000 - 1_750_000_020_000 % 60_000
MINUTES = 900


class NoModel:
    async def ask(self, request: ModelRequest) -> ModelReply | ModelFailure:
        raise AssertionError(f"no trader here asks a model: {request}")


def candles(path: Path, minutes: int = MINUTES) -> Path:
    """Slow waves under quick ones, so that trends and ranges both appear; made here, the same every time."""
    lines, price = ["ts_ms,open,high,low,close,volume"], 60_000.0
    for i in range(minutes):
        after = 60_000 + 900 * math.sin(i / 70) + 160 * math.sin(i / 9) + 40 * math.sin(i * 1.7)
        high, low = max(price, after) + 12, min(price, after) - 12
        row = f"{START_MS + i * 60_000},{price:.1f},{high:.1f},{low:.1f},{after:.1f},{20 + i % 17}"
        lines.append(row)
        price = round(after, 1)
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def strategies() -> Settings:
    """The shipped configuration with its traders that ask no model."""
    settings = load_settings(Path("etc"), {})
    traders = tuple(trader for trader in settings.manager.traders if trader.strategy)
    return settings.with_traders(traders)


def run(folder: Path) -> Outcome:
    recording = read_recording(candles(folder / "btcusdt_1m.csv"), corners=True)
    return run_backtest(strategies(), [recording], NoModel())


@pytest.fixture(scope="module")
def outcome(tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    return run(tmp_path_factory.mktemp("backtest"))


def test_same_input_gives_the_same_journal(outcome: Outcome, tmp_path: Path) -> None:
    again = run(tmp_path)
    assert again.journal.digest() == outcome.journal.digest()
    assert again.views == outcome.views


def test_traders_of_the_shipped_files_trade_and_the_books_balance(outcome: Outcome) -> None:
    journal = outcome.journal
    assert outcome.balanced
    assert len(journal.trades) >= 3
    assert {fill.trader_id for fill in journal.fills.values()} >= {"trend-majors", "buynhold-btc"}
    assert not journal.risk_events


def test_every_order_follows_from_a_cycle_that_was_journalled(outcome: Outcome) -> None:
    journal = outcome.journal
    cycles = set(journal.cycles)
    for order in journal.orders.values():
        assert order.state in {OrderState.FILLED, OrderState.CANCELED}
        assert order.intent.cycle_id in cycles


def test_no_fill_uses_a_price_that_came_later(outcome: Outcome) -> None:
    """A market order is worse than the newest price before it by the spread and little more."""
    for order in outcome.journal.orders.values():
        if order.intent.decision_price is None or order.average_price is None:
            continue
        worse = (order.average_price / order.intent.decision_price - 1) * order.intent.side.sign
        assert Decimal(0) <= worse < Decimal("0.001")


def test_equity_is_cash_and_what_is_open(outcome: Outcome) -> None:
    start = {view.trader_id: view.capital for view in outcome.views}
    for view in outcome.views:
        assert view.equity is not None
        moved = view.realised + view.fees + view.funding + (view.unrealised or 0)
        assert view.equity == start[view.trader_id] + moved


def edgewise(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "engine.cli.main", "backtest", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=100)


def test_command_gives_the_same_report_twice_and_a_page(outcome: Outcome, tmp_path: Path) -> None:
    recording, page = candles(tmp_path / "btcusdt_1m.csv"), tmp_path / "report.html"
    chosen = ",".join(view.trader_id for view in outcome.views)
    done = [edgewise(recording, "--traders", chosen, "--json", "--html", page) for _ in range(2)]
    assert [each.returncode for each in done] == [0, 0], done[0].stderr
    assert done[0].stdout == done[1].stdout
    told = msgspec.json.decode(done[0].stdout)
    assert told["digest"] == outcome.journal.digest()
    assert told["balanced"] is True
    totals = {row["trader_id"]: row for row in told["traders"]}
    assert {name: row["trades"] for name, row in totals.items()} == {
        view.trader_id: len(trades_of(outcome, view.trader_id)) for view in outcome.views
    }
    html = page.read_text(encoding="utf-8")
    assert html.count("<svg") == 2
    assert "http" not in html.replace("http-equiv", "")  # nothing is fetched
    assert told["digest"] in html


async def test_a_run_is_kept_in_the_journal_for_the_api(outcome: Outcome, database: str) -> None:
    run = backtest_run(outcome, "waves", START_MS * 1_000_000)
    async with PostgresJournal(database, SystemClock()) as journal, JournalReader(database) as reader:
        await journal.record_backtest(run)
        (row,) = await reader.backtests(10)
        detail = await reader.backtest(row.run_id)
    assert (row.name, row.digest) == ("waves", outcome.journal.digest())
    assert detail is not None
    assert detail.metrics["balanced"] is True
    assert set(detail.equity_curve) == {view.trader_id for view in outcome.views}
    assert detail.equity_curve["buynhold-btc"][-1][1] == float(outcome.views[-1].equity or 0)


def test_command_says_what_cannot_run(tmp_path: Path) -> None:
    recording = candles(tmp_path / "btcusdt_1m.csv", 30)
    for arguments, said in (
        (("--traders", "trend-mayors"), "trend-majors"),  # the nearest spelling
        (("--traders", "model-demo"), "no trader is left"),
        (("--answers", tmp_path / "none.jsonl"), "cannot be read"),
    ):
        done = edgewise(recording, *arguments)
        assert done.returncode == 2
        assert said in done.stderr


def test_nobody_sees_into_a_candle_before_its_end(tmp_path: Path) -> None:
    """Extremes fill and trigger what rests; whoever decides within a candle knows its open alone."""
    path = tmp_path / "btcusdt_5m.csv"
    rows = [f"{START_MS + i * 300_000},60000,60500,59500,60100,50" for i in range(20)]
    path.write_text("\n".join(["ts_ms,open,high,low,close,volume", *rows]) + "\n", encoding="utf-8")
    points = read_recording(path, corners=True).points
    for start in range(0, len(points), 4):
        opened, *rest = points[start : start + 4]
        assert opened.price == 60000
        assert {point.price for point in rest} == {Decimal(60500), Decimal(59500), Decimal(60100)}
        end = opened.after_ns + 5 * NS_PER_MIN
        assert all(end - 3_000_000 <= point.after_ns < end for point in rest)
