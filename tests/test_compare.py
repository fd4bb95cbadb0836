"""A backtest beside the engine itself over the simulator: the same trades, and why they differ at all."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
import sys
from decimal import Decimal
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.backtest.run import run_backtest
from engine.compare.answers import HeardModel, RetoldModel
from engine.compare.clock import HeldClock
from engine.compare.explain import Reason, Touches, explain
from engine.compare.pairs import Execution, Pair, paired
from engine.config.settings import load_settings
from engine.core.market import Side
from engine.core.times import NS_PER_S
from engine.exchange.simulator.recording import read_recording
from engine.executor.asking import ChatMessage, ModelReply, ModelRequest, call_record
from engine.executor.recorded import AnswerFile
from engine.executor.sample import sample_wakeup

MADE = Path(__file__).parent / "fixtures" / "recordings" / "btcusdt_1m_made.csv"
BTC = "BTC-USDT-SWAP"
RECORDING = read_recording(MADE, corners=True)
START = RECORDING.first_ns
TRADERS = """
manager: {total_equity_usd: 100000}
traders:
  - id: trend
    strategy: {name: ema_trend, params: {timeframe: 1m, fast: 5, slow: 10, rsi_most: 100, enter_gap: 0.3}}
    symbols: [BTC]
    allocation_pct: 40
    rhythm: {long_cycle: 1h, short_cycle: 1h, grace: 10s, min_salience: 0.1, cooldown: 30s}
    risk_params: {max_positions: 1, major_coin_leverage: 5}
  - id: hold
    strategy: {name: buy_and_hold, params: {size_pct: 50, stop_pct: 5}}
    symbols: [BTC]
    allocation_pct: 40
    rhythm: {long_cycle: 1h, short_cycle: 1h}
  - id: model
    model: demo
    symbols: [BTC]
    allocation_pct: 10
    rhythm: {long_cycle: 10m, short_cycle: 10m}
    risk_params: {max_positions: 1, major_coin_leverage: 5}
"""
TURNS = (
    {"signal": "buy_to_enter", "leverage": 2, "position_size_usd": 5000, "confidence": 0.9}
    | {"stop_loss": 57000, "profit_target": 69000, "invalidation_condition": "none", "reasoning": "made"},
    {"signal": "close", "reasoning": "made"},
    {"signal": "hold", "reasoning": "made"},
)
MINUTE = 60 * NS_PER_S


def execution(ts: int, price: object = "60000", side: Side = Side.BUY, trader: str = "a") -> Execution:
    return Execution(
        order=f"{trader}{ts}",
        trader_id=trader,
        symbol=BTC,
        side=side,
        purpose="entry",
        contracts=Decimal(1),
        price=Decimal(str(price)),
        ts=ts,
    )


@pytest.fixture
def etc(tmp_path: Path) -> Path:
    """The shipped files with three traders: one looks once, one asks a model every so often, one is woken by
    edges in the middle of a candle.
    """
    folder = tmp_path / "etc"
    shutil.copytree("etc", folder)
    (folder / "manager.yaml").write_text(TRADERS, encoding="utf-8")
    market = (folder / "market.yaml").read_text(encoding="utf-8")
    quick = market.replace("  - ema_12\n", "  - ema_5\n  - ema_10\n  - ema_12\n")
    (folder / "market.yaml").write_text(quick, encoding="utf-8")
    return folder


@pytest.fixture
def answers(etc: Path, tmp_path: Path) -> Path:
    """What a model answered in a backtest: to buy, to close, to hold."""
    file = tmp_path / "answers.jsonl"
    file.touch()
    run_backtest(load_settings(etc, {}), [RECORDING], Speaking(file))
    return file


def reply_of(request: ModelRequest, text: str) -> ModelReply:
    return ModelReply(
        alias=request.alias,
        model="made",
        text=text,
        reasoning="",
        cut=None,
        tokens_in=1,
        tokens_out=1,
        tokens_cached=0,
        cost_usd=Decimal(0),
        latency_ms=2_000,
    )


class Speaking:
    """Implements ModelClient: answers by turns, and keeps each in a file."""

    def __init__(self, path: Path) -> None:
        self._file = AnswerFile(path)
        self._turns = iter(TURNS)

    async def ask(self, request: ModelRequest) -> ModelReply:
        actions = [next(self._turns) | {"symbol": BTC}]
        reply = reply_of(request, msgspec.json.encode({"reasoning": "made", "decisions": actions}).decode())
        self._file.add(call_record(request, reply))
        return reply


@pytest.mark.timeout(150)
def test_T1_engine_over_the_simulator_trades_what_the_backtest_trades(etc: Path, answers: Path) -> None:
    """Sockets, Postgres, Valkey and a clock that waits for nobody: a trade may be late, and nothing else."""
    done = subprocess.run(
        [
            *(sys.executable, "-m", "engine.cli.main", "compare", str(MADE)),
            *("--etc", str(etc), "--answers", str(answers), "--json"),
        ],
        capture_output=True,
        text=True,
        check=False,
        timeout=140,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    told = msgspec.json.decode(done.stdout)
    assert told["explained"] is True
    assert {each["reason"] for each in told["differences"]} <= {"same", "latency"}
    counts = {row["trader_id"]: (row["backtest"], row["live"]) for row in told["traders"]}
    assert counts == {"trend": (2, 2), "hold": (1, 1), "model": (2, 2)}
    asked = {row["trader_id"]: (row["asked"], row["told"], row["unanswered"]) for row in told["traders"]}
    assert asked == {"trend": (0, 0, 0), "hold": (0, 0, 0), "model": (3, 3, 0)}
    # A stop rests at the venue: it fills at the same moment in both, however slow this machine is.
    (stop,) = (each for each in told["differences"] if each["pair"]["live"]["purpose"] == "stop")
    assert stop["reason"] == "same"


def test_one_execution_without_partner_does_not_shift_the_others() -> None:
    mine = [execution(START + n * MINUTE) for n in (1, 5, 9)]
    theirs = [execution(START + n * MINUTE + NS_PER_S) for n in (1, 9)]
    pairs = paired(mine, theirs, MINUTE)
    assert [pair.backtest is not None and pair.live is not None for pair in pairs] == [True, False, True]


@given(st.lists(st.integers(0, 40)), st.lists(st.integers(0, 40)))
def test_every_execution_is_in_one_pair_and_partners_are_near(mine: list[int], theirs: list[int]) -> None:
    one = [execution(ts, trader="ab"[ts % 2]) for ts in mine]
    other = [execution(ts, trader="ab"[ts % 2]) for ts in theirs]
    pairs = paired(one, other, 3)
    assert sorted(pair.backtest.ts for pair in pairs if pair.backtest) == sorted(mine)
    assert sorted(pair.live.ts for pair in pairs if pair.live) == sorted(theirs)
    for pair in pairs:
        if pair.backtest and pair.live:
            assert abs(pair.backtest.ts - pair.live.ts) <= 3
            assert pair.backtest.trader_id == pair.live.trader_id


def test_a_difference_is_explained_by_the_market_or_not_at_all() -> None:
    touches = Touches([RECORDING])
    early, late = START + MINUTE + NS_PER_S, START + 3 * MINUTE + NS_PER_S
    seen = touches.between(BTC, early, late)
    first, last = seen[0].ask, seen[-1].ask
    spread = seen[0].ask - seen[0].bid
    assert first != last
    most = max(each.ask for each in seen) - min(each.ask for each in seen)
    for ts, price, reason in (
        (early, first, Reason.SAME),
        (early + NS_PER_S, first, Reason.LATENCY),  # the price stood still
        (late, last, Reason.LATENCY),
        (early + NS_PER_S, first + spread, Reason.SPREAD),
        (early + NS_PER_S, first + 3 * spread + 1, Reason.UNEXPLAINED),
        (late, first + most + 3 * spread + 1, Reason.UNEXPLAINED),
    ):
        found = explain(Pair(execution(early, first), execution(ts, price)), touches)
        assert found.reason is reason, (ts - early, price)
        assert found.later_ms == (ts - early) // 1_000_000
    assert not explain(Pair(None, execution(late)), touches).reason.explained
    assert not explain(Pair(execution(late), None), touches).reason.explained


def test_worse_is_worse_for_the_trader_on_either_side() -> None:
    touches = Touches([RECORDING])
    for side, price in ((Side.BUY, "60060"), (Side.SELL, "59940")):
        pair = Pair(execution(START, side=side), execution(START + 1, price, side))
        assert explain(pair, touches).worse_bps == Decimal("10.00")


async def test_engine_time_stands_still_until_it_is_released() -> None:
    clock = HeldClock(START, 1000.0)
    sleeping = asyncio.create_task(clock.sleep(1.0), name="sleeper")
    await clock.sleep_real(0.01)
    assert clock.now_ns() == START
    assert not sleeping.done()
    clock.release()
    async with asyncio.timeout(5):
        await sleeping
    assert clock.now_ns() >= START + NS_PER_S


async def test_a_live_cycle_is_told_what_its_nearest_partner_heard_once() -> None:
    """Prices differ by a moment, so no question is the same; which cycle asked says which answer fits."""
    heard = HeardModel(Echo())
    for n in (1, 5, 9):
        await heard.ask(question(n, "demo"))
        await heard.ask(question(n, "judge"))
    retold = RetoldModel(heard, MINUTE, START + 9 * MINUTE)

    async def told(n: float, alias: str = "demo") -> str:
        reply = await retold.ask(question(n, alias, live="live "))
        return reply.text if isinstance(reply, ModelReply) else reply.failure

    assert await told(5.5) == "5 demo"
    assert await told(5.5, "judge") == "5 judge"
    assert await told(5.5) == "not_recorded"  # its partner asked once
    assert await told(4.5) == "not_recorded"  # the partner is another's
    assert await told(0.2) == "1 demo"
    assert await told(20) == "not_recorded"  # the backtest had ended
    assert (retold.heard("a"), retold.told["a"], retold.unanswered["a"]) == (3, 2, 1)


class Echo:
    """Implements ModelClient: answers with the question."""

    async def ask(self, request: ModelRequest) -> ModelReply:
        return reply_of(request, request.messages[0].content)


def question(n: float, alias: str, live: str = "") -> ModelRequest:
    wakeup = msgspec.structs.replace(
        sample_wakeup("a", (BTC,)), cycle_id=f"{live}{n}", ts=START + int(n * MINUTE)
    )
    messages = (ChatMessage("user", f"{live}{n} {alias}"),)
    return ModelRequest(alias=alias, messages=messages, schema=b"{}", deadline_s=1, wakeup=wakeup)
