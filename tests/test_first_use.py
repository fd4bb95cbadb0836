"""What goes wrong at the first use: one line that says what to do, an exit code, and never a traceback."""

from __future__ import annotations

import os
import shutil
import socket
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from engine.cli.main import app
from engine.embedded.folder import lock_file

ETC = Path(__file__).parent.parent / "etc"
AWAY = {
    "EDGEWISE_POSTGRES_DSN": "postgresql://nobody:secret@127.0.0.1:1/none",
    "EDGEWISE_REDIS_URL": "redis://127.0.0.1:1/0",
}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the shipped configuration and some files that are no recordings; no server below it."""
    shutil.copytree(ETC, tmp_path / "etc")
    (tmp_path / "empty.csv").touch()
    rows = ("ts_ms,open,high,low,close,volume", "1651363200000,1,2,1,2,1", "1651363260000,1,2,1,x,1")
    (tmp_path / "candles_btcusdt.csv").write_text("\n".join(rows))
    for name in ("noise.csv", "noise.zst", "noise.gz"):
        (tmp_path / name).write_bytes(b"\xff\xfe\x00" * 100)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def taken() -> Iterator[int]:
    """A port on which somebody else listens."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        yield int(other.getsockname()[1])


def run(*words: str, **environment: str) -> tuple[int, str]:
    """Exit code, and everything that was said."""
    result = CliRunner().invoke(app, words, env=environment)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.output


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        ("config check --etc nowhere", 2, "nowhere/engine.yaml: cannot be read: No such file or directory"),
        ("backtest nowhere.csv --traders trend-majors", 2, "nowhere.csv cannot be read: No such file or dir"),
        ("backtest empty.csv --traders trend-majors", 2, "empty.csv is empty"),
        (
            "backtest noise.csv --traders trend-majors",
            2,
            "noise.csv is no recording: neither text",
        ),
        ("backtest noise.zst --traders trend-majors", 2, "noise.zst cannot be unpacked"),
        ("backtest noise.gz --traders trend-majors", 2, "noise.gz cannot be read: Not a gzipped file"),
        (
            "backtest candles_btcusdt.csv --traders trend-majors",
            2,
            ":3: not a row of this kind (a cell is no number): 1651363260000,",
        ),
        ("backtest candles_btcusdt.csv --html no/where.html", 2, "no/where.html cannot be written: No such"),
        ("record --url 127.0.0.1:8640", 2, "--url 127.0.0.1:8640: expected ws://host:port"),
        ("signals --replay nowhere", 2, "nowhere: no such file or folder"),
        ("signals --replay empty.csv", 2, "empty.csv is empty"),
        (
            "signals --replay noise.csv",
            2,
            "noise.csv is no recording: neither text",
        ),
        ("stats", 2, "no EDGEWISE_POSTGRES_DSN is set, and no server of edgewise runs below"),
        ("journal verify", 2, "no EDGEWISE_POSTGRES_DSN is set"),
        ("replay a-cycle", 2, "no EDGEWISE_POSTGRES_DSN is set"),
        ("trader pause trend-majors", 2, "no EDGEWISE_POSTGRES_DSN is set"),
        ("risk explain --trader nobody --decision x", 2, "no trader 'nobody' (known: buynhold-btc"),
        ("prompt render --trader nobody", 2, "no trader 'nobody' with a model; known: model-demo"),
        ("bus show", 2, "no EDGEWISE_REDIS_URL is set"),
        ("journal export --nof0 files", 2, "no EDGEWISE_POSTGRES_DSN is set"),
        ("simulator --loop --port 0", 2, "--loop and --funding are of a recording"),
        ("simulator --manual --replay empty.csv", 2, "--manual and --replay"),
        ("model-server --weights noise.gz", 2, "--weights names a model for --local"),
        ("signals --replay noise.csv --etc nowhere", 2, "nowhere/engine.yaml: cannot be read"),
        ("stats --trades noise.csv", 2, "noise.csv: not JSON"),
        ("journal show --trader nobody", 2, "no decision file of 'nobody'"),
        ("journal export no/where", 2, "no/where cannot be written: No such"),
        ("journal show a-cycle", 2, "no decision file has the cycle a-cycle"),
        ("engine", 2, "api_key, secret, passphrase not set for account okx_demo"),
    ],
)
def test_mistake_is_one_line(folder: Path, words: str, code: int, says: str) -> None:
    found, output = run(*words.split())
    (line,) = output.splitlines()
    assert (found, says in line) == (code, True), output


@pytest.mark.parametrize(
    "words", ["db status", "db stats", "stats", "memory show model-demo", "replay a-cycle"]
)
def test_database_that_is_away_is_one_line(folder: Path, words: str) -> None:
    code, output = run(*words.split(), **AWAY)
    (line,) = output.splitlines()
    assert (code, line.startswith("Postgres is away: ")) == (1, True), output
    assert "secret" not in output


@pytest.mark.parametrize("command", ["config check", "engine", "api", "db status"])
def test_address_that_names_no_server_is_told_with_its_key_and_never_shown(
    folder: Path, command: str
) -> None:
    code, output = run(*command.split(), EDGEWISE_POSTGRES_DSN="mysql://me:secret@here/db")
    said = output.splitlines()
    assert (code, {line.partition(": ")[2] for line in said}) == (
        2,
        {
            "$.servers.postgres_dsn: expected postgresql://user:password@host:port/database",
        },
    ), output
    assert "secret" not in output


def test_demo_tells_a_mistake_in_the_configuration_before_it_starts_anything(folder: Path) -> None:
    manager = folder / "etc" / "manager.yaml"
    manager.write_text(manager.read_text().replace("\ntraders:", "\ntradres:"))
    code, output = run("demo", "--port", "0")
    assert (code, "unknown key 'tradres', did you mean 'traders'?" in output) == (2, True), output
    assert not (folder / ".edgewise").exists()


def test_redis_that_is_away_is_one_line(folder: Path) -> None:
    code, output = run("halt", **AWAY)
    (line,) = output.splitlines()
    assert (code, line.startswith("redis: ")) == (1, True), output


def test_port_that_is_taken_is_one_line_with_the_key_to_change(folder: Path, taken: int) -> None:
    code, output = run("api", EDGEWISE_API_PORT=str(taken), **AWAY)
    line = output.splitlines()[-1]
    assert code == 2
    assert line == (
        f"cannot listen on 127.0.0.1:{taken}: Address already in use; "
        "set api.port of engine.yaml (EDGEWISE_API_PORT)"
    )
    code, output = run("model-server", "--port", str(taken))
    assert (code, output.count("\n")) == (2, 1)
    assert "set another --port or --host" in output
    code, output = run("demo", "--port", str(taken))
    assert (code, output.count("\n")) == (2, 1)
    assert f"port {taken} is taken, by another demo perhaps; choose another with --port" in output
    assert run("simulator", "--port", "99999")[0] == 2


def test_fresh_demo_takes_nothing_from_one_that_runs(folder: Path) -> None:
    servers = folder / "home" / "servers"
    servers.mkdir(parents=True)
    fd = lock_file(servers / "owner.lock")
    assert fd is not None
    try:
        code, output = run("demo", "--fresh", "--port", "0", "--home", "home")
    finally:
        os.close(fd)
    assert (code, output.strip()) == (2, f"{folder / 'home'} is in use by another demo; stop it first")
    assert servers.exists()


def test_without_a_command_there_is_help() -> None:
    code, output = run()
    assert code == 2  # typer's code for a missing command
    assert "demo" in output


def _commands(group: typer.Typer, words: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    for command in group.registered_commands:
        assert command.callback is not None
        yield (*words, command.name or command.callback.__name__)
    for inner in group.registered_groups:
        assert inner.typer_instance is not None
        yield from _commands(inner.typer_instance, (*words, str(inner.name)))


def test_every_help_is_what_was_written() -> None:
    """No `:secret:` that became a picture, no paragraph that breaks where the source does, no --no-thing."""
    for words in _commands(app):
        code, text = run(*words, "--help", COLUMNS="900")
        assert code == 0
        assert not [sign for sign in text if ord(sign) > 0x2600], text
        told = text.partition("Usage:")[2].partition("╭")[0].splitlines()[1:]
        assert all(not a.strip() or not b.strip() for a, b in pairwise(told)), text
        assert "--no-" not in text.replace("--no-rate-limit", ""), text
