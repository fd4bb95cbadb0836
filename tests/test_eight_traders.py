"""Eight traders of different kinds for an hour of scaled time: none over its limits, all of it explained."""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
from decimal import Decimal
from pathlib import Path

import asyncpg
import msgspec
import pytest

from engine.core.decisions import AccountView
from engine.embedded import EmbeddedServers

D = Decimal
ETC = Path(__file__).parents[1] / "etc"
REAL_S, SPEED = 26, 140  # an hour of engine time
LIMITS = {"max_positions": 2, "max_position_size_usd": 9000, "max_margin_usage_pct": 50}
LEVERAGE = {"major": 8, "alt": 4}
MODELS = """
  late: { provider: demo, model_name: rules-only-demo+slow:0.3 }
  busy: { provider: demo, model_name: "rules-only-demo+flaky:1", fallbacks: [broken] }
  wrong: { provider: demo, model_name: rules-only-demo+wrong-enum, fallbacks: [garbage] }
  garbage: { provider: demo, model_name: rules-only-demo+garbage, fallbacks: [cut] }
  cut: { provider: demo, model_name: rules-only-demo+truncated, fallbacks: [broken] }
  broken: { provider: demo, model_name: "rules-only-demo+status:500" }
"""
TRADERS = {
    "late": "model: late",
    "busy": "model: busy",
    "wrong": "model: wrong",
    "trend": "strategy: { name: ema_trend, params: { timeframe: 1m } }",
    "trend-slow": "strategy: { name: ema_trend, params: { timeframe: 5m } }",
    "range": "strategy: { name: bollinger_range, params: { timeframe: 1m } }",
    "portfolio": "strategy: { name: portfolio, params: { timeframe: 1m } }",
    "hold": "strategy: { name: buy_and_hold }\n    symbols: [BTC]",
}
_TRADER = """
  - id: {name}
    {decider}
    allocation_pct: 12
    rhythm: {{ long_cycle: 6m, short_cycle: 2m, grace: 10s, min_salience: 0.3 }}
    risk_params:
      max_positions: {max_positions}
      max_position_size_usd: {max_position_size_usd}
      max_margin_usage_pct: {max_margin_usage_pct}
      major_coin_leverage: {major}
      altcoin_leverage: {alt}
      stop_loss_enabled: {stops}
"""


def configuration(folder: Path) -> Path:
    """The shipped configuration with eight traders of ours, three of them models that misbehave."""
    shutil.copytree(ETC, folder)
    with (folder / "llm.yaml").open("a") as file:
        file.write("\n")
    text = (folder / "llm.yaml").read_text()
    (folder / "llm.yaml").write_text(text.replace("\nmodels:\n", f"\nmodels:{MODELS}", 1))
    traders = "".join(
        _TRADER.format(name=name, decider=decider, stops=str(name != "hold").lower(), **LIMITS, **LEVERAGE)
        for name, decider in TRADERS.items()
    )
    head = "manager: { total_equity_usd: 100000, max_symbol_exposure_pct: 30 }\n"
    (folder / "manager.yaml").write_text(f"{head}traders:{traders}")
    return folder


async def run_demo(folder: Path, etc: Path) -> tuple[int | None, str]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "engine.cli.main", "demo", "--fresh", "--port", "0", "--seed", "3"),
        *("--for", f"{REAL_S}s", "--speed", str(SPEED), "--home", str(folder), "--etc", str(etc)),
        stdout=asyncio.subprocess.PIPE,
        env=os.environ | {"COLUMNS": "200"},
    )
    output, _ = await process.communicate()
    return process.returncode, output.decode()


@pytest.mark.timeout(240)
async def test_eight_traders_stay_within_their_limits_and_their_books_balance(tmp_path: Path) -> None:
    home = tmp_path / "demo"
    code, output = await run_demo(home, configuration(tmp_path / "etc"))
    assert code == 0, output[-4000:]  # it traded, and the books balance
    async with EmbeddedServers(home / "servers") as servers:
        journal = await asyncpg.connect(servers.addresses.postgres_dsn)
        try:
            await assert_within_limits(journal)
            await assert_explained(journal)
        finally:
            await journal.close()


async def assert_within_limits(journal: asyncpg.Connection) -> None:
    """Every entry as it was approved, and every account as it was measured."""
    entries = await journal.fetch(
        """select i.trader_id, i.leverage, i.stop_loss, split_part(i.symbol, '-', 1) as coin,
        i.contracts * a.contract_value * coalesce(i.price, i.decision_price) as notional
        from order_intents i join assets a using (symbol) where i.purpose = 'entry'"""
    )
    assert len({row["trader_id"] for row in entries}) >= 4, "several traders traded"
    for row in entries:
        assert row["notional"] <= D(LIMITS["max_position_size_usd"]) * D("1.01"), row
        assert row["leverage"] <= LEVERAGE["major" if row["coin"] in {"BTC", "ETH"} else "alt"], row
        assert row["stop_loss"] is not None or row["trader_id"] == "hold", row
    views = [
        msgspec.msgpack.decode(row["view"], type=AccountView)
        for row in await journal.fetch("select view from trader_performance")
    ]
    assert {view.trader_id for view in views} >= set(TRADERS)
    for view in views:
        assert len(view.positions) <= LIMITS["max_positions"], view
        most = (view.equity or D(0)) * LIMITS["max_margin_usage_pct"] / 100
        assert view.margin_used <= most * D("1.05"), view
    checks = await journal.fetch("select balanced from account_checks order by ts desc limit 1")
    assert checks[0]["balanced"]


async def assert_explained(journal: asyncpg.Connection) -> None:
    """Each refusal has its code and its numbers; what a model did wrong is a refusal, never a trade."""
    for row in await journal.fetch("select * from decision_validations where not approved"):
        assert row["reason"] not in {"", "malformed", "symbol_unknown"}, row  # deciders of ours make none
        checks = msgspec.json.decode(row["checks"])
        assert not checks or not checks[-1]["passed"], row
    cycles = await journal.fetch("select trader_id, status, refusal, reasons from decision_cycles")
    by_trader = {name: [row for row in cycles if row["trader_id"] == name] for name in TRADERS}
    assert all(by_trader.values()), {name: len(rows) for name, rows in by_trader.items()}
    assert any(row["status"] == "decided" for row in by_trader["late"])
    answered = [row for row in by_trader["wrong"] if row["status"] != "pending"]
    assert answered
    assert all(row["status"] != "decided" and row["refusal"] for row in answered), answered
    assert not await journal.fetch("select 1 from order_intents where trader_id = 'wrong'")
