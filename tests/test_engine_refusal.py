"""An engine whose account cannot work: refused at once, in one line with the remedy, with exit code 2."""

from __future__ import annotations

import asyncio
import shutil
import sys
from pathlib import Path

import pytest

from tests.fixtures.okx.scripted import ScriptedVenue, ok, scripted

ETC = Path(__file__).parent.parent / "etc"
GOOD = {"acctLv": "2", "posMode": "long_short_mode", "perm": "read_only,trade"}


async def refused(server: ScriptedVenue, folder: Path, **more: str) -> tuple[int, str]:
    """Exit code and last words of `edgewise engine` against this venue."""
    ws = server.url.replace("http", "ws")
    environment = {
        "PATH": "",
        "EDGEWISE_EXCHANGE": "okx_simulator",
        "EDGEWISE_SIMULATOR_URL": server.url,
        "EDGEWISE_SIMULATOR_WS": ws,
        **more,
    }
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "engine.cli.main", "engine", "--etc", str(folder)),
        cwd=ETC.parent,
        env=environment,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    async with asyncio.timeout(60):
        told, _ = await process.communicate()
    assert process.returncode is not None
    return process.returncode, told.decode().strip().splitlines()[-1]


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"code": "50119", "msg": "API key doesn't exist", "data": []}, "set `region` to eea"),
        ({"code": "50101", "msg": "APIKey does not match", "data": []}, "set `environment` to demo or live"),
        (ok(GOOD | {"posMode": "net_mode"}), "position_mode is long_short but the account is set to net"),
        (ok(GOOD | {"perm": "read_only,trade,withdraw"}), "the key may withdraw money"),
    ],
    ids=["S16 region", "S16 environment", "S15 position mode", "withdraw"],
)
async def test_S15_S16_account_that_cannot_work_starts_nothing(
    tmp_path: Path, config: dict[str, object], words: str
) -> None:
    folder = Path(shutil.copytree(ETC, tmp_path / "etc"))
    async with scripted() as server:
        server.answers["GET account/config"] = config
        server.answers["GET account/trade-fee"] = ok()
        code, last = await refused(server, folder)
        assert (code, words in last) == (2, True), last
        assert len(server.sent("GET account/config")) == 1  # no storm
    assert not (tmp_path / ".edgewise").exists()
