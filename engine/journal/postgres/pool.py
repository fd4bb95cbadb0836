"""Connections to Postgres that say clearly when it is away: StoreUnavailable, and one log line a change."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self, TypeVar

import asyncpg
import structlog

from engine.core.errors import InvariantBroken, StoreUnavailable
from engine.journal.postgres.rows import typed

if TYPE_CHECKING:
    Connection = asyncpg.Connection[asyncpg.Record]

log = structlog.get_logger()
T = TypeVar("T")

# Of one transaction, the wait for a connection included.
TIMEOUT_S: Final = 3.0
SLOW_S: Final = 0.5  # a query that takes longer is logged, unless its owner says otherwise
LONG_TIMEOUT_S: Final = 120.0  # of a read that folds a whole history
_LARGEST: Final = 8
_READERS: Final = 4
# What the server or the way to it does when it is away, restarts or is too slow.
AWAY: Final = (
    OSError,
    TimeoutError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,  # one terminated session in five: asyncpg issues 784, 1069
    asyncpg.PostgresConnectionError,
    asyncpg.exceptions.OperatorInterventionError,
    asyncpg.exceptions.InsufficientResourcesError,
    asyncpg.exceptions.TransactionRollbackError,  # a deadlock's victim: again, and it works
)


class Pool:
    """At most `largest` connections, each made when first needed and given up when anything is wrong with it.

    The newest is used first. Its own, because the driver's asks more of a processor than a small query does.
    A query that takes `slow_s` or longer is logged.
    """

    def __init__(
        self,
        dsn: str,
        largest: int = _LARGEST,
        settings: dict[str, str] | None = None,
        *,
        slow_s: float = SLOW_S,
    ) -> None:
        self._dsn, self._largest, self._slow_s = dsn, largest, slow_s
        self._settings = settings or {}
        self._turns = asyncio.Semaphore(largest)  # full: whoever is next waits, as long as its timeout
        self._idle: list[Connection] = []
        self._used: set[Connection] = set()
        self._up = True

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for connection in (*self._idle, *self._used):
            connection.terminate()
        self._idle.clear()

    @asynccontextmanager
    async def transaction(self, timeout_s: float = TIMEOUT_S) -> AsyncIterator[Connection]:
        """A connection inside a transaction. Raises StoreUnavailable; nothing was written then, unless the
        connection broke during the commit, so what is written must be idempotent."""
        async with self.connection(timeout_s) as connection, connection.transaction():
            yield connection

    @asynccontextmanager
    async def connection(self, timeout_s: float = TIMEOUT_S) -> AsyncIterator[Connection]:
        """A connection without a transaction. Raises StoreUnavailable, or InvariantBroken for a row that a
        constraint refuses."""
        try:
            async with asyncio.timeout(timeout_s), self._turns:
                connection = self._waiting() or await self._made()
                self._used.add(connection)
                try:
                    yield connection
                except asyncpg.PostgresError:  # the server has answered; the connection may go on
                    self._give_back(connection)
                    raise
                except BaseException:
                    self._used.remove(connection)
                    connection.terminate()
                    raise
                else:
                    self._give_back(connection)
        except asyncpg.IntegrityConstraintViolationError as error:
            raise InvariantBroken(f"the database refuses a row: {error}") from error
        except ValueError:  # the driver cannot encode a value: a bug, and waiting would not mend it
            raise
        except AWAY as error:
            why = str(error) or type(error).__name__
            self._note(up=False, why=why)
            raise StoreUnavailable(f"Postgres is away: {why}") from error
        self._note(up=True)

    async def fetch(self, sql: str, *values: object) -> list[asyncpg.Record]:
        """Rows of a query. Raises StoreUnavailable."""
        async with self.connection() as connection:
            return await connection.fetch(sql, *values)

    async def execute(self, sql: str, *values: object) -> str:
        """One statement, a transaction of its own; returns what the server says of it.

        Raises StoreUnavailable.
        """
        async with self.connection() as connection:
            return await connection.execute(sql, *values)

    async def execute_many(self, sql: str, rows: Sequence[Sequence[Any]]) -> None:
        """One statement for many rows, all or none. Raises StoreUnavailable."""
        if rows:
            async with (
                self.connection() as connection
            ):  # the driver makes it one transaction, in one round trip
                await connection.executemany(sql, rows)

    def _waiting(self) -> Connection | None:
        """The newest idle connection that the server has not closed."""
        while self._idle:
            if not (connection := self._idle.pop()).is_closed():
                return connection
        return None

    async def _made(self) -> Connection:
        connection = await asyncpg.connect(
            self._dsn,
            timeout=TIMEOUT_S,
            server_settings={"application_name": "edgewise", **self._settings},
        )
        connection.add_query_logger(self._log_slow)
        return connection

    def _give_back(self, connection: Connection) -> None:
        """It is not reset: nothing here leaves a setting, a lock or a cursor behind."""
        self._used.remove(connection)
        if connection.is_closed():
            return
        if connection.is_in_transaction():
            connection.terminate()
        else:
            self._idle.append(connection)

    def _log_slow(self, query: asyncpg.connection.LoggedQuery) -> None:
        """Say which query took long, without its values: they may be somebody's prompt."""
        if query.elapsed >= self._slow_s:
            text = " ".join(query.query.split())[:300]
            log.warning("query was slow", seconds=round(query.elapsed, 3), query=text)

    def _note(self, *, up: bool, why: str = "") -> None:
        if up and not self._up:
            log.info("database is back")
        elif not up and self._up:
            log.warning("database is away", error=why)
        self._up = up


class ReadPool(Pool):
    """Connections of readers: few, and the session refuses writes whatever the role may do."""

    def __init__(self, dsn: str, *, slow_s: float = SLOW_S) -> None:
        settings = {
            "application_name": "edgewise-api",
            "default_transaction_read_only": "on",
            "statement_timeout": str(int(TIMEOUT_S * 1000)),
            "timezone": "UTC",
        }
        super().__init__(dsn, _READERS, settings, slow_s=slow_s)

    async def rows(self, sql: str, *args: object) -> list[asyncpg.Record]:
        """All rows of a query with parameters `$1`… StoreUnavailable too while nobody has migrated."""
        try:
            return await self.fetch(sql, *args)
        except (asyncpg.UndefinedTableError, asyncpg.InvalidCatalogNameError) as error:
            raise StoreUnavailable(f"the database is not ready: {error}") from error

    async def typed(self, type_: type[T], sql: str, *args: object) -> list[T]:
        """All rows as `type_`, whose fields are the columns; json columns are decoded."""
        return typed(type_, await self.rows(sql, *args))
