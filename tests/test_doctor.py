"""`edgewise doctor`: every check of a real configuration, against servers that are there, wrong or away."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from engine.bus_owner import BusClaim, claim
from engine.clock import SystemClock
from engine.config.settings import load_settings
from engine.doctor import State
from engine.doctor.precautions import precautions, unbound_key
from engine.journal.postgres.journal import PostgresJournal
from engine.journal.postgres.owner import hand_over
from engine.redis_bus import RedisBus
from tests.exchange_world import SimulatedVenue
from tests.fixtures.okx.scripted import ok, scripted
from tests.test_engine_refusal import GOOD

ETC = Path(__file__).parent.parent / "etc"


async def examined(*arguments: str, **environment: str) -> tuple[int, dict[str, tuple[str, str]]]:
    """Exit code, and state and detail of every subject."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "engine.cli.main", "doctor", "--json", *arguments),
        cwd=ETC.parent,
        env={"PATH": "", "EDGEWISE_EXCHANGE": "okx_simulator", **environment},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(60):
        told, complaints = await process.communicate()
    assert process.returncode is not None
    assert b"Traceback" not in complaints, complaints.decode()
    rows: list[dict[str, Any]] = json.loads(told)
    return process.returncode, {row["subject"]: (row["state"], row["detail"]) for row in rows}


async def test_all_fits_with_servers_that_are_there(
    long_short_venue: SimulatedVenue, database: str, redis_url: str
) -> None:
    account = await long_short_venue.account()
    code, found = await examined(
        EDGEWISE_SIMULATOR_URL=account.url,
        EDGEWISE_SIMULATOR_WS=account.url.replace("http", "ws"),
        EDGEWISE_SIMULATOR_KEY=account.keys[0],
        EDGEWISE_SIMULATOR_SECRET=account.keys[1],
        EDGEWISE_SIMULATOR_PASSPHRASE=account.keys[2],
        EDGEWISE_POSTGRES_DSN=database,
        EDGEWISE_REDIS_URL=redis_url,
    )
    assert found.pop("symbols") == ("warn", "2 traded there, 8 not")  # the test's venue is small
    subjects = ("configuration", "program", "disk", "database", "bus", "venue", "account", "capital")
    assert {subject: state for subject, (state, _) in found.items()} == dict.fromkeys(
        (*subjects, "model demo"), "ok"
    ), found
    assert "the next start claims it for simulator" in found["database"][1]
    assert "pure Python" in found["program"][1]
    assert "orders are sent" in found["account"][1]
    assert code == 0


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"posMode": "net_mode"}, "position_mode is long_short but the account is set to net"),
        ({"perm": "read_only,trade,withdraw"}, "the key may withdraw money"),
    ],
)
async def test_what_is_wrong_is_named_and_hides_nothing_else(settings: dict[str, str], words: str) -> None:
    async with scripted() as server:
        server.answers["GET account/config"] = ok(GOOD | settings)
        server.answers["GET account/trade-fee"] = ok()
        code, found = await examined(
            "--ask",
            EDGEWISE_SIMULATOR_URL=server.url,
            EDGEWISE_SIMULATOR_WS=server.url.replace("http", "ws"),
            EDGEWISE_POSTGRES_DSN="postgresql://nobody@127.0.0.1:1/none",
            EDGEWISE_REDIS_URL="redis://127.0.0.1:1/0",
        )
    assert code == 1
    assert found["account"][0] == "wrong"
    assert words in found["account"][1]
    assert {subject for subject, (state, _) in found.items() if state == "wrong"} >= {
        "database",
        "bus",
        "model demo",
    }
    assert "unreachable" in found["model demo"][1]


async def test_stores_of_somebody_else_and_an_account_that_cannot_begin_are_wrong(
    database: str, redis_url: str
) -> None:
    bus = RedisBus(redis_url, "dev", SystemClock())
    async with PostgresJournal(database, SystemClock()) as journal, scripted() as server:
        server.answers["GET account/config"] = ok(GOOD | {"uid": "77"})
        server.answers["GET account/trade-fee"] = ok()
        server.answers["GET account/balance"] = ok({"details": [{"ccy": "USDT", "cashBal": "5", "eq": "5"}]})
        held = {"instType": "SWAP", "instId": "BTC-USDT-SWAP", "posSide": "long", "pos": "2", "avgPx": "1"}
        server.answers["GET account/positions"] = ok(held)
        given = {
            "EDGEWISE_SIMULATOR_URL": server.url,
            "EDGEWISE_SIMULATOR_WS": server.url.replace("http", "ws"),
            "EDGEWISE_POSTGRES_DSN": database,
            "EDGEWISE_REDIS_URL": redis_url,
        }
        owner = await journal.ownership.claim("simulator", 1)
        await claim(
            bus, BusClaim(database_id=owner.database_id, environment="simulator", account_id="another")
        )
        code, first = await examined(**given)
        await journal.ownership.claim_account("another", "77", 1)
        await hand_over(database, "okx-live-global", 1)
        _, then = await examined(**given)
    await bus.aclose()
    assert code == 1
    told = {subject: state for subject, (state, _) in first.items()}
    assert (told["bus"], told["capital"], told["positions"]) == ("wrong", "wrong", "warn")
    assert "5.00 of 90,000.00 that traders get (USDT); lower total_equity_usd" in first["capital"][1]
    assert "BTC-USDT-SWAP held already" in first["positions"][1]
    assert then["database"][0] == "wrong"
    assert "the database belongs to okx-live-global" in then["database"][1]
    assert "which this database knows as another" in then["account"][1]


def test_money_asks_for_precautions_that_demo_trading_does_not() -> None:
    live, demo = (load_settings(ETC, {"EDGEWISE_EXCHANGE": name}) for name in ("okx_live", "okx_demo"))
    assert [finding.subject for finding in precautions(demo)] == []
    assert [finding.subject for finding in precautions(live)] == ["alerts", "limits"]
    assert [list(unbound_key(live, "10.0.0.1")), list(unbound_key(demo, ""))] == [[], []]
    (key,) = unbound_key(live, "")
    assert (key.state, "bind it at OKX" in key.detail) == (State.WARN, True)
    for host, said in (("127.0.0.1", 0), ("localhost", 0), ("10.0.0.1", 1), ("::", 1), ("edge.example", 1)):
        open_ = load_settings(ETC, {"EDGEWISE_EXCHANGE": "okx_demo", "EDGEWISE_API_HOST": host})
        assert len(list(precautions(open_))) == said, host
