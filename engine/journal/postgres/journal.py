"""The journal on Postgres: the truth. Every method is one transaction and idempotent by its ids."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from types import TracebackType
from typing import Final, Self

import asyncpg
import structlog

from engine.clock import Clock
from engine.core.errors import StoreUnavailable
from engine.journal.postgres.accounts import AccountTables
from engine.journal.postgres.answers import AnswerTables
from engine.journal.postgres.batches import Batches
from engine.journal.postgres.decisions import DecisionTables
from engine.journal.postgres.filing import FilingTables
from engine.journal.postgres.market import MarketTables
from engine.journal.postgres.memory import MemoryTables
from engine.journal.postgres.orders import OrderTables
from engine.journal.postgres.owner import OwnerTables
from engine.journal.postgres.partitions import Partitions
from engine.journal.postgres.pool import AWAY, SLOW_S, TIMEOUT_S, Pool
from engine.journal.postgres.thinning import Thinning
from engine.journal.spool import Spool

log = structlog.get_logger()

_RETRY_S: Final = 0.5
_HEARTBEAT_S: Final = 1.0
_ELSEWHERE: Final = """
select t.trader_id, t.account_id from traders t where t.trader_id = any($1) and t.account_id <> $2 and (
  exists (select from pg_locks l
          where (l.classid::bigint << 32) + l.objid::bigint = hashtextextended(t.account_id, 0)
            and l.locktype = 'advisory' and l.objsubid = 1 and l.granted
            and l.database = (select oid from pg_database where datname = current_database()))
  or exists (select from trader_positions p where p.trader_id = t.trader_id)
  or exists (select from trader_orders o where o.account_id = t.account_id and o.trader_id = t.trader_id
             and o.state in ('PENDING_NEW', 'NEW', 'PARTIALLY_FILLED')))
order by 1
"""


class PostgresJournal(OrderTables, DecisionTables, AnswerTables, MemoryTables, MarketTables, AccountTables):
    """Implements engine.journal.ports.Journal. Use as a context.

    With a `spool`, what nothing waits for to act (candles, signals, features, performance, checks, balances,
    risk events) goes to disk while Postgres is away and into it afterwards; without, every write raises
    StoreUnavailable meanwhile.
    """

    def __init__(self, dsn: str, clock: Clock, spool: Spool | None = None, *, slow_s: float = SLOW_S) -> None:
        self._dsn, self._clock = dsn, clock
        DecisionTables.__init__(self, pool := Pool(dsn, slow_s=slow_s), Partitions(pool))
        self.batches = Batches(pool, self.partitions, clock, spool)
        self.filing = FilingTables(pool)
        self.ownership = OwnerTables(pool)
        self.thinning = Thinning(pool)
        OrderTables.__init__(self, pool)
        MarketTables.__init__(self, pool, self.batches)
        AccountTables.__init__(self, pool, self.batches)
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
        connections = [await self._locked(account_id, wait=True)]  # the last one holds the lock
        try:
            async with asyncio.TaskGroup() as tasks:
                holding = tasks.create_task(self._hold(account_id, connections), name="account lock")
                yield
                holding.cancel()
        finally:  # not in the task: one that is cancelled before it began cleans nothing up
            connections[-1].terminate()

    async def traders_elsewhere(self, account_id: str, trader_ids: Sequence[str]) -> dict[str, str]:
        """Those of the traders that another account has: its engine runs on this database now, or the trader
        holds a position or an open order there; id → account."""
        rows = await self._pool.fetch(_ELSEWHERE, list(trader_ids), account_id)
        return {str(row["trader_id"]): str(row["account_id"]) for row in rows}

    async def lost(self) -> None:
        """Returns when another engine has taken the account: stop at once."""
        await self._lost.wait()

    async def _hold(self, account_id: str, connections: list[asyncpg.Connection[asyncpg.Record]]) -> None:
        while True:
            try:
                await self._beat(connections[-1])
            except (asyncpg.PostgresError, *AWAY):
                log.warning("connection of the account lock broke")
                connections[-1].terminate()
                connections[:] = [await self._locked(account_id, wait=False)]
                log.info("account lock taken again")

    async def _beat(self, connection: asyncpg.Connection[asyncpg.Record]) -> None:
        """Wait a second and ask the server; a dropped connection ends the wait at once.

        The server has freed the lock by then: every moment that it goes unnoticed is one with two engines.
        """
        dropped = asyncio.Event()

        def note(_: object) -> None:
            dropped.set()

        connection.add_termination_listener(note)
        try:
            with suppress(TimeoutError):
                async with asyncio.timeout(_HEARTBEAT_S):
                    await dropped.wait()
            await connection.execute("select 1", timeout=TIMEOUT_S)
        finally:
            connection.remove_termination_listener(note)

    async def _locked(self, account_id: str, *, wait: bool) -> asyncpg.Connection[asyncpg.Record]:
        """A connection that holds the lock. Not waiting: if another engine has it, says so through `lost`."""
        waiting = away = False
        while True:
            try:
                connection = await self._try_lock(account_id)
            except (asyncpg.PostgresError, *AWAY) as error:
                if not away:
                    why = str(error) or type(error).__name__
                    log.warning("account lock waits for the database", account=account_id, error=why)
                    away = True
                await self._clock.sleep_real(_RETRY_S)
                continue
            if connection is not None:
                return connection
            if not wait:
                self._lost.set()
                raise StoreUnavailable(f"another engine has taken the account {account_id}")
            if not waiting:
                log.info("another engine has the account; standing by", account=account_id)
                waiting = True
            await self._clock.sleep_real(_RETRY_S)

    async def _try_lock(self, account_id: str) -> asyncpg.Connection[asyncpg.Record] | None:
        """A new connection that holds the lock; None when another engine has it."""
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
        taken = False
        try:
            sql = "select pg_try_advisory_lock(hashtextextended($1, 0))"
            taken = await connection.fetchval(sql, account_id, timeout=TIMEOUT_S)
        finally:
            if not taken:
                connection.terminate()
        return connection if taken else None
