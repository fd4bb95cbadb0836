"""`edgewise doctor`: every check of a real configuration, against servers that are there, wrong or away."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.exchange_world import SimulatedVenue
from tests.fixtures.okx.scripted import ok, scripted

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
    assert {subject: state for subject, (state, _) in found.items()} == dict.fromkeys(
        ("configuration", "program", "disk", "database", "bus", "venue", "account", "model demo"), "ok"
    ), found
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
    good = {"acctLv": "2", "posMode": "long_short_mode", "perm": "read_only,trade"}
    async with scripted() as server:
        server.answers["GET account/config"] = ok(good | settings)
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
