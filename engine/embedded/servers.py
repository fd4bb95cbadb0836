"""The pair of embedded servers under one supervisor."""

from __future__ import annotations

import asyncio
from pathlib import Path
from types import TracebackType
from typing import Final, Protocol, Self

import structlog

from engine.clock import Clock, SystemClock
from engine.core.errors import BusUnavailable, ConfigError, StoreUnavailable
from engine.embedded.addresses import ServerAddresses, embedded_addresses, publish_addresses
from engine.embedded.folder import ServerFolder
from engine.embedded.postgres import PostgresServer, find_binaries
from engine.embedded.process import ServerProcess
from engine.embedded.valkey import ValkeyServer, find_binary

log = structlog.get_logger()

_FIRST_BACKOFF_S: Final = 0.2
_LONGEST_BACKOFF_S: Final = 5.0


class _Server(Protocol):
    @property
    def name(self) -> str: ...
    @property
    def process(self) -> ServerProcess: ...
    async def start(self) -> None: ...
    async def stop(self) -> None: ...


class EmbeddedServers:
    """Postgres and Valkey on one folder, kept running by `run`, gone when this process is gone.

    Call it from the thread that lives as long as the process: on Linux a child is tied to the thread that
    started it. `async with EmbeddedServers(folder) as servers` starts and stops them; `run` belongs into a
    TaskGroup inside.
    """

    def __init__(self, folder: Path, *, postgres_bin: Path | None = None, clock: Clock | None = None) -> None:
        self._folder = ServerFolder(folder)
        self._postgres_bin = postgres_bin
        self._clock = clock or SystemClock()
        self._servers: tuple[_Server, ...] = ()
        self._stopping = False
        self._addresses: ServerAddresses | None = None

    @property
    def addresses(self) -> ServerAddresses:
        """Where the servers are. Raises RuntimeError before `start`."""
        if self._addresses is None:
            raise RuntimeError("the embedded servers were not started")
        return self._addresses

    def pids(self) -> dict[str, int]:
        """Process id of each server that is there, by name."""
        return {server.name: pid for server in self._servers if (pid := server.process.pid) is not None}

    async def start(self) -> ServerAddresses:
        """Claim the folder and start both servers; returns when both answer.

        The first start makes the cluster (about a second). Raises ConfigError (folder in use or out of
        reach, no binaries), StoreUnavailable or BusUnavailable (the server's own words are in the text).
        """
        binaries, valkey_binary = find_binaries(self._postgres_bin), find_binary()
        self._folder.claim()
        self._stopping = False
        try:
            passwords = self._folder.passwords()
            valkey = ValkeyServer(self._folder, valkey_binary, passwords, self._clock)
            self._servers = (valkey, PostgresServer(self._folder, binaries, passwords, self._clock))
            for server in self._servers:
                await server.start()
            self._addresses = embedded_addresses(self._folder.sockets / "postgres", valkey.socket, passwords)
            publish_addresses(self._folder.home, self._addresses)
        except BaseException:
            await self.stop()
            raise
        log.info("embedded servers started", folder=str(self._folder.home), **self.pids())
        return self._addresses

    async def run(self) -> None:
        """Restart a server that died, until cancelled (do so before `stop`). The addresses stay the same."""
        async with asyncio.TaskGroup() as tasks:
            for server in self._servers:
                tasks.create_task(self._keep(server), name=f"embedded {server.name}")

    async def stop(self) -> None:
        """End both servers (at most 4.5 s) and give the folder up. Does nothing when not started."""
        self._stopping = True
        async with asyncio.TaskGroup() as tasks:
            for server in self._servers:
                tasks.create_task(server.stop(), name=f"stop {server.name}")
        self._servers = ()
        self._folder.release()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    async def _keep(self, server: _Server) -> None:
        while True:
            exit_code = await server.process.exited()
            if self._stopping:
                return
            log.warning("embedded server died", server=server.name, exit_code=exit_code)
            await self._restart(server)

    async def _restart(self, server: _Server) -> None:
        backoff_s = _FIRST_BACKOFF_S
        while not self._stopping:
            try:
                await server.start()
            except (StoreUnavailable, BusUnavailable, ConfigError) as error:
                await server.stop()
                log.warning("embedded server did not start", server=server.name, error=str(error))
                await self._clock.sleep_real(backoff_s)
                backoff_s = min(_LONGEST_BACKOFF_S, backoff_s * 2)
            else:
                log.info("embedded server restarted", server=server.name, pid=server.process.pid)
                return
