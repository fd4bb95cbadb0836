"""The files of a nof0 front end: what the API answers, as files, whole at any moment."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import msgspec
from typer.testing import CliRunner

from api.export import NAMES
from engine.cli.main import app
from engine.core.decisions import Act
from tests.api_parts import fill_journal

ETC = str(Path(__file__).parent.parent / "etc")


async def run(dsn: str, redis_url: str, *words: str) -> int:
    env = {"EDGEWISE_POSTGRES_DSN": dsn, "EDGEWISE_REDIS_URL": redis_url}
    arguments = ["journal", "export", *words, "--etc", ETC]
    return (await asyncio.to_thread(CliRunner().invoke, app, arguments, env=env)).exit_code


async def test_S5_184_the_files_hold_what_the_api_answers(
    database: str, redis_url: str, tmp_path: Path
) -> None:
    await fill_journal(database)
    folder = tmp_path / "data"
    assert await run(database, redis_url, "--nof0", str(folder)) == 0
    models = ("alice", "bob")
    assert {path.name for path in folder.iterdir()} == {f"{name}.json" for name in NAMES} | {
        f"analytics-{model}.json" for model in models
    }

    def read(name: str) -> Any:
        return msgspec.json.decode((folder / f"{name}.json").read_bytes())

    assert [row["model_id"] for row in read("trades")["trades"]] == ["alice"]
    assert [item["model_id"] for item in read("analytics")["analytics"]] == list(models)
    assert read("analytics-alice")["analytics"][0]["overall_trades_overview_table"]["total_trades"] == 1
    assert {row["id"] for row in read("leaderboard")["leaderboard"]} == set(models)
    assert read("conversations")["conversations"][0]["llm_response"]["BTC"]["signal"] == Act.BUY_TO_ENTER
    assert read("since-inception-values")["sinceInceptionValues"]
    assert read("account-totals")["accountTotals"]
    assert read("positions")["accountTotals"]
    assert "prices" in read("crypto-prices")
    shares, moves = read("manager_state")["traders"], read("manager_state")["moves"]
    assert [(row["trader_id"], row["capital"]) for row in shares] == [("alice", 10_000), ("bob", 0)]
    assert [(row["kind"], row["amount"]) for row in moves] == [("capital", 10_000)]

    (folder / "trades.json").write_text("half")
    assert await run(database, redis_url, "--nof0", str(folder)) == 0
    assert read("trades")["trades"]


async def test_export_that_names_nothing_or_finds_no_database_says_so(redis_url: str, tmp_path: Path) -> None:
    assert await run("postgresql://nobody@127.0.0.1:1/x", redis_url) == 2
    folder = tmp_path / "data"
    assert await run("postgresql://nobody@127.0.0.1:1/x", redis_url, "--nof0", str(folder)) == 1
    assert not folder.exists()
