"""The journal on Postgres: the truth. Every method is one transaction and idempotent by its ids."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from types import TracebackType
from typing import Final, Self

import asyncpg
import structlog

from engine.clock import Clock
from engine.core.errors import StoreUnavailable
from engine.journal.postgres_decisions import DecisionTables
from engine.journal.postgres_market import MarketTables
from engine.journal.postgres_orders import OrderTables
from engine.journal.postgres_pool import TIMEOUT_S, Pool

log = structlog.get_logger()

_RETRY_S: Final = 0.5
_HEARTBEAT_S: Final = 1.0


class PostgresJournal(OrderTables, DecisionTables, MarketTables):
    """Implements engine.journal.ports.Journal. Use as a context."""

    def __init__(self, dsn: str, clock: Clock) -> None:
        self._dsn, self._clock = dsn, clock
        super().__init__(Pool(dsn))
        self._lost = asyncio.Event()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._pool.__aexit__(kind, error, trace)

    # -- one engine an account

    @asynccontextmanager
    async def account_lock(self, account_id: str) -> AsyncIterator[None]:
        """Be the only engine of this account; waits as standby while another one is.

        The lock lives as long as its connection. It is taken again after an outage of Postgres if nobody
        else has it; if somebody has, `lost` returns.
        """
        connection = await self._locked(account_id, wait=True)
        async with asyncio.TaskGroup() as tasks:
            holding = tasks.create_task(self._hold(account_id, connection), name="account lock")
            yield
            holding.cancel()

    async def lost(self) -> None:
        """Returns when another engine has taken the account: stop at once."""
        await self._lost.wait()

    async def _hold(self, account_id: str, connection: asyncpg.Connection[asyncpg.Record]) -> None:
        try:
            while True:
                await self._clock.sleep_real(_HEARTBEAT_S)
                try:
                    await connection.execute("select 1", timeout=TIMEOUT_S)
                except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError):
                    log.warning("connection of the account lock broke")
                    connection = await self._locked(account_id, wait=False)
                    log.info("account lock taken again")
        finally:
            with suppress(OSError, TimeoutError, asyncpg.InterfaceError):
                connection.terminate()

    async def _locked(self, account_id: str, *, wait: bool) -> asyncpg.Connection[asyncpg.Record]:
        """A connection that holds the lock. Not waiting: if another engine has it, says so through `lost`."""
        waiting = False
        while True:
            try:
                connection = await asyncpg.connect(
                    self._dsn,
                    timeout=TIMEOUT_S,
                    server_settings={
                        "application_name": "edgewise lock",
                        # A client that vanished is noticed in seconds, not hours.
                        "tcp_keepalives_idle": "5",
                        "tcp_keepalives_interval": "2",
                        "tcp_keepalives_count": "3",
                    },
                )
                if await connection.fetchval(
                    "select pg_try_advisory_lock(hashtextextended($1, 0))", account_id
                ):
                    return connection
                await connection.close(timeout=TIMEOUT_S)
            except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError):
                await self._clock.sleep_real(_RETRY_S)
                continue
            if not wait:
                self._lost.set()
                raise StoreUnavailable(f"another engine has taken the account {account_id}")
            if not waiting:
                log.info("another engine has the account; standing by", account=account_id)
                waiting = True
            await self._clock.sleep_real(_RETRY_S)
