"""`edgewise risk explain`: every check with its numbers, and what would be sent."""

from __future__ import annotations

import asyncio
import json
from decimal import Decimal
from pathlib import Path

import msgspec
import pytest
from typer.testing import CliRunner

from engine.cli.main import app
from engine.clock import SystemClock
from engine.config.settings import load_settings
from engine.core.instruments import FeeTier
from engine.exchange.simulator.universe import LISTINGS
from engine.executor.sample import sample_wakeup
from engine.journal.ports import KeepState
from engine.journal.postgres.journal import PostgresJournal
from engine.manager.risk import REASONS

ETC = str(Path(__file__).parents[1] / "etc")

PRICE = next(iter(sample_wakeup("x", ("BTC-USDT-SWAP",)).market)).price() or 0.0


def explained(**changes: object) -> tuple[int, dict[str, object]]:
    wire = {
        "symbol": "DOGE",
        "signal": "buy_to_enter",
        "leverage": 3,
        "position_size_usd": 5000,
        "confidence": 80,
        **changes,
    }
    command = ["risk", "explain", "--trader", "model-demo", "--etc", ETC, "--json", "--decision"]
    result = CliRunner().invoke(app, [*command, json.dumps({"decisions": [wire]})])
    (each,) = json.loads(result.stdout)
    return result.exit_code, each


def test_an_allowed_entry_shows_its_order() -> None:
    code, each = explained(symbol="BTC", stop_loss=PRICE * 0.99, take_profit=PRICE * 1.03)
    assert (code, each["allowed"]) == (0, True), each
    assert [check["name"] for check in each["checks"]] == list(REASONS)  # type: ignore[attr-defined]
    assert float(each["intent"]["stop_loss"]) == pytest.approx(PRICE * 0.99)  # type: ignore[index]


def test_a_refused_entry_shows_every_check_and_the_first_reason() -> None:
    code, each = explained(stop_loss=0.1, take_profit=0.3)
    assert (code, each["reason"], each["intent"]) == (1, "stop_side", None)
    refused = [check["name"] for check in each["checks"] if not check["passed"]]  # type: ignore[attr-defined]
    assert refused == ["stop_side", "liquidation_before_stop"]
    assert len(each["checks"]) == len(REASONS)  # type: ignore[arg-type]


async def test_steps_are_those_that_the_engine_has_read_at_the_venue(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A contract ten times as large, in lots of five, of which one order takes at most 35."""
    clock = SystemClock()
    listed = msgspec.structs.replace(
        LISTINGS["BTC-USDT-SWAP"].instrument,
        contract_value=Decimal("0.1"),
        lot_size=Decimal("0.05"),
        max_market_size=Decimal("0.35"),
        max_limit_size=None,
    )
    async with PostgresJournal(database, clock) as journal:
        await journal.record_instruments([listed], clock.now_ns())
        fees = msgspec.msgpack.encode(FeeTier("Lv9", Decimal("0.001"), Decimal("0.002")))
        await journal.save_state(KeepState.FEES, load_settings(Path(ETC), {}).provider_id, fees, 1)
        assert await journal.instruments() == (msgspec.structs.replace(listed, inst_id_code=None),)
    monkeypatch.setenv("EDGEWISE_POSTGRES_DSN", database)
    plan = {"symbol": "BTC", "stop_loss": PRICE * 0.99, "take_profit": PRICE * 1.03}
    code, each = await asyncio.to_thread(explained, **plan)
    assert (code, each["intent"]["contracts"]) == (0, "0.35"), each  # type: ignore[index]
    edge = next(check for check in each["checks"] if check["name"] == "edge_below_fees")  # type: ignore[attr-defined]
    assert "fees of 0.4" in edge["detail"]


def test_without_a_database_the_simulators_steps_are_used_and_it_is_said(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("EDGEWISE_POSTGRES_DSN", "postgresql://nobody@127.0.0.1:1/none")
    wire = '{"decisions": [{"symbol": "BTC", "signal": "hold"}]}'
    command = ["risk", "explain", "--trader", "model-demo", "--etc", ETC, "--decision", wire]
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 0
    assert "steps, limits and fees are the simulator's" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--trader", "model-dem", "--decision", "{}"], "did you mean 'model-demo'"),
        (["--trader", "model-demo", "--decision", "all in on DOGE.txt"], "cannot be read"),
        (["--trader", "model-demo", "--decision", '{"decisions": 1}'], "refused before the gate"),
        (["--trader", "model-demo"], "give a decision"),
    ],
)
def test_what_cannot_be_explained_says_why(arguments: list[str], said: str) -> None:
    result = CliRunner().invoke(app, ["risk", "explain", "--etc", ETC, *arguments])
    assert result.exit_code == 2
    assert said in result.stderr
