"""The embedded servers keep their data, their secrets and their promise to go when their owner goes."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import stat
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest
import redis
import redis.asyncio

from engine.clock import SystemClock
from engine.core.errors import ConfigError
from engine.embedded import EmbeddedServers, ServerAddresses, external_addresses, known_addresses
from engine.embedded.folder import ServerFolder, ServerUser, blocked_at, lock_file
from engine.lifeline import tied
from tests.processes import is_gone
from tests.waiting import until

OWNER_PROCESS = """
import asyncio, sys
from pathlib import Path
from engine.embedded import EmbeddedServers

async def main():
    async with EmbeddedServers(Path(sys.argv[1])) as servers:
        print("pids", *servers.pids().values(), flush=True)
        await servers.run()

asyncio.run(main())
"""


class HastyClock(SystemClock):
    """Passes real time without waiting for it."""

    def __init__(self) -> None:
        super().__init__()
        self._ahead_s = 0.0

    def real_s(self) -> float:
        return super().real_s() + self._ahead_s

    async def sleep_real(self, seconds: float) -> None:
        self._ahead_s += seconds
        await asyncio.sleep(0)


async def write_one(addresses: ServerAddresses) -> None:
    database = await asyncpg.connect(addresses.postgres_dsn)
    await database.execute("CREATE TABLE IF NOT EXISTS t (x int); INSERT INTO t VALUES (1)")
    await database.close()
    async with redis.asyncio.Redis.from_url(addresses.redis_url) as client:
        await client.incr("x")


async def read_all(addresses: ServerAddresses) -> tuple[int, int]:
    database = await asyncpg.connect(addresses.postgres_dsn)
    rows = await database.fetchval("SELECT count(*) FROM t")
    await database.close()
    async with redis.asyncio.Redis.from_url(addresses.redis_url) as client:
        return rows, int(await client.get("x") or 0)


async def test_killed_owner_takes_its_servers_along_and_loses_nothing(home: Path) -> None:
    owner = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", OWNER_PROCESS, str(home)), stdout=asyncio.subprocess.PIPE
    )
    assert owner.stdout is not None
    while not (line := await owner.stdout.readline()).startswith(b"pids"):
        assert line, "the owner did not start"
    pids = [int(word) for word in line.split()[1:]]
    addresses = known_addresses(home)
    assert addresses is not None
    assert len(pids) == 2
    await write_one(addresses)

    owner.kill()
    await owner.wait()
    await until(lambda: all(is_gone(pid) for pid in pids))

    async with EmbeddedServers(home) as servers:
        assert await read_all(servers.addresses) == (1, 1)


async def test_server_that_dies_is_restarted_at_the_same_address(home: Path) -> None:
    async with EmbeddedServers(home) as servers, asyncio.TaskGroup() as tasks:
        running = tasks.create_task(servers.run())
        await write_one(servers.addresses)
        for name in ("valkey", "postgres"):
            dead = servers.pids()[name]
            os.kill(dead, signal.SIGKILL)
            async with asyncio.timeout(20):
                while servers.pids().get(name, dead) == dead or not await answers(servers.addresses):
                    await asyncio.sleep(0.02)
        assert await read_all(servers.addresses) == (1, 1)
        running.cancel()


async def answers(addresses: ServerAddresses) -> bool:
    with contextlib.suppress(OSError, redis.ConnectionError, asyncpg.PostgresError):
        await read_all(addresses)
        return True
    return False


async def test_second_owner_is_refused(home: Path) -> None:
    async with EmbeddedServers(home):
        with pytest.raises(ConfigError, match="in use by another"):
            await EmbeddedServers(home).start()


@pytest.mark.parametrize("server", ["valkey", "postgres"])
async def test_no_second_server_beside_an_orphan(home: Path, server: str) -> None:
    async with EmbeddedServers(home):
        pass
    orphan = lock_file(home / f"{server}.lock")  # as a server holds it that outlived its owner
    assert orphan is not None
    try:
        with pytest.raises(ConfigError, match=f"earlier {server}"):
            await EmbeddedServers(home, clock=HastyClock()).start()
    finally:
        os.close(orphan)


async def test_pid_file_that_names_another_process_does_not_bar_the_start(home: Path) -> None:
    async with EmbeddedServers(home) as servers:
        await write_one(servers.addresses)
    data = home / "postgres" / "data"
    (data / "postmaster.pid").write_text(f"{os.getpid()}\n{data}\n1\n5432\n\n\n\n")
    async with EmbeddedServers(home) as servers:
        assert await read_all(servers.addresses) == (1, 1)


async def test_folder_too_long_for_a_socket_works(tmp_path: Path) -> None:
    home = tmp_path / ("a_long_name_" * 8)
    async with EmbeddedServers(home) as servers:
        await write_one(servers.addresses)
        sockets = Path(os.fsdecode((home / "sockets_at").read_bytes()))
        assert not sockets.is_relative_to(home)
    assert not sockets.exists()
    async with EmbeddedServers(home) as servers:
        assert await read_all(servers.addresses) == (1, 1)


async def test_nothing_is_open_to_other_users(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEWISE_LLM_API_KEY", "sesame")
    async with EmbeddedServers(home) as servers:
        for path in (home, *home.glob("*"), *home.glob("run/*")):
            assert stat.S_IMODE(path.stat().st_mode) & 0o007 == 0, path
        for path in (home / "passwords.json", home / "addresses.json", home / "valkey" / "users.acl"):
            assert stat.S_IMODE(path.stat().st_mode) == 0o600, path
        assert "sesame" not in repr(servers.addresses)
        secrets = servers.addresses.postgres_dsn.split("@")[0].split(":")[-1]
        assert secrets not in repr(servers.addresses)
        for pid in servers.pids().values():
            environment = Path(f"/proc/{pid}/environ")
            if environment.exists() and os.geteuid() == 0:
                assert b"sesame" not in environment.read_bytes()


async def test_lost_passwords_are_said_and_not_made_anew(home: Path) -> None:
    async with EmbeddedServers(home):
        pass
    (home / "passwords.json").unlink()
    with pytest.raises(ConfigError, match=r"passwords\.json is gone"):
        await EmbeddedServers(home).start()


@pytest.fixture
async def reader(database: str, database_ro: str) -> AsyncIterator[asyncpg.Connection]:
    owner = await asyncpg.connect(database)
    await owner.execute("CREATE TABLE t (x int); INSERT INTO t VALUES (1)")
    await owner.close()
    connection = await asyncpg.connect(database_ro)
    yield connection
    await connection.close()


@pytest.mark.parametrize(
    "sql",
    [
        "INSERT INTO t VALUES (2)",
        "SET default_transaction_read_only = off; INSERT INTO t VALUES (2)",
        "SET default_transaction_read_only = off; DROP TABLE t",
        "SET default_transaction_read_only = off; CREATE TABLE u (x int)",
        "SET ROLE edgewise",
        "ALTER ROLE edgewise_api SUPERUSER",
        "CREATE DATABASE d",
        "COPY t TO PROGRAM 'true'",
    ],
)
async def test_api_role_reads_and_cannot_write(reader: asyncpg.Connection, sql: str) -> None:
    assert await reader.fetchval("SELECT x FROM t") == 1
    assert await reader.fetchval("SHOW statement_timeout") == "5s"
    with pytest.raises((asyncpg.InsufficientPrivilegeError, asyncpg.ReadOnlySQLTransactionError)):
        await reader.execute(sql)


@pytest.mark.parametrize(
    "command",
    [
        ("SET", "market:prices", "1"),
        ("SET", "api", "1"),
        ("XADD", "edgewise:signals", "*", "a", "1"),
        ("XREADGROUP", "GROUP", "g", "c", "STREAMS", "s", ">"),
        ("DEL", "market:prices"),
        ("FLUSHALL",),
        ("FLUSHDB",),
        ("CONFIG", "GET", "*"),
        ("KEYS", "*"),
        ("EVAL", "return 1", "0"),
        ("PUBLISH", "c", "m"),
        ("CLIENT", "KILL", "TYPE", "normal"),
        ("ACL", "LIST"),
        ("SHUTDOWN",),
        ("RENAME", "market:prices", "api:prices"),
        ("COPY", "market:prices", "api:prices"),
    ],
)
def test_api_user_writes_its_own_keys_only(
    redis_url: str, redis_api_url: str, command: tuple[str, ...]
) -> None:
    with redis.Redis.from_url(redis_url) as engine, redis.Redis.from_url(redis_api_url) as api:
        engine.set("market:prices", "7")
        engine.xadd("s", {"a": "1"})
        assert api.get("market:prices") == b"7"
        assert api.xlen("s") == 1
        assert api.set("api:totals", "8", ex=10)
        assert api.pipeline(transaction=True).get("api:totals").get("market:prices").execute() == [b"8", b"7"]
        with pytest.raises(redis.exceptions.NoPermissionError):
            api.execute_command(*command)


def test_stranger_is_not_served(servers: ServerAddresses) -> None:
    socket = servers.redis_url.split("@")[1].partition("?")[0]
    with (
        redis.Redis.from_url(f"unix://{socket}") as stranger,
        pytest.raises(redis.exceptions.AuthenticationError),
    ):
        stranger.ping()


PG, RO, RED, API = "postgresql://a", "postgresql://b", "redis://a", "redis://b"


@pytest.mark.parametrize(
    ("env", "expected"),
    [
        ({}, None),
        ({"EDGEWISE_POSTGRES_DSN": "", "EDGEWISE_REDIS_URL": ""}, None),
        (
            {"EDGEWISE_POSTGRES_DSN": PG, "EDGEWISE_REDIS_URL": RED},
            ServerAddresses(PG, PG, RED, RED),
        ),
        (ServerAddresses(PG, RO, RED, API).environment(), ServerAddresses(PG, RO, RED, API)),
    ],
)
def test_variables_switch_to_external_servers(env: dict[str, str], expected: ServerAddresses | None) -> None:
    assert external_addresses(env) == expected


def test_one_external_server_alone_is_refused() -> None:
    with pytest.raises(ConfigError, match="EDGEWISE_REDIS_URL is not set"):
        external_addresses({"EDGEWISE_POSTGRES_DSN": PG})


def test_folder_that_bars_the_way_is_found(tmp_path: Path) -> None:
    barred = tmp_path / "barred"
    barred.mkdir(mode=0o700)
    inside = barred / "inside"
    inside.mkdir()
    stranger, owner = ServerUser(uid=54321, gid=54321), ServerUser(os.getuid(), os.getgid())
    assert blocked_at(inside, owner) is None
    assert blocked_at(inside, stranger) is not None
    assert blocked_at(Path("/nowhere"), stranger) is None


def test_folder_of_another_user_is_refused_clearly(tmp_path: Path) -> None:
    if os.geteuid() == 0:
        pytest.skip("root may use every folder")
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o500)
    with pytest.raises(ConfigError, match="cannot be used: Permission denied"):
        ServerFolder(closed / "home").claim()


PARENT_PROCESS = """
import subprocess, sys, time
from engine.lifeline import Leash, tied
piped = sys.argv[1] == "piped"
leash = Leash(piped=piped)
child = subprocess.Popen(tied(["sleep", "600"], 15, piped=piped), stdin=leash.stdin)
leash.hand_over()
print(child.pid, flush=True)
time.sleep(600)
"""


@pytest.mark.parametrize("piped", [True, False])
def test_tied_child_ends_with_its_killed_parent(piped: bool) -> None:
    if not piped and not sys.platform.startswith("linux"):
        pytest.skip("only Linux tells a child that its parent died")
    command = [sys.executable, "-c", PARENT_PROCESS, "piped" if piped else "kernel"]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        assert not is_gone(child)
        parent.kill()
    asyncio.run(until(lambda: is_gone(child)))


def test_program_that_does_not_exist_is_named() -> None:
    result = subprocess.run(
        tied(["/no/such/program"], signal.SIGTERM, piped=False), capture_output=True, text=True, check=False
    )
    assert result.returncode == 1
    assert "cannot start /no/such/program" in result.stderr
