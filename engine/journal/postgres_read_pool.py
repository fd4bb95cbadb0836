"""Connections of readers: few, read-only, quick to give up, and back by themselves when the server is."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from types import TracebackType
from typing import Any, Final, Self, TypeVar

import asyncpg
import msgspec
import structlog

from engine.core.errors import StoreUnavailable

log = structlog.get_logger()
T = TypeVar("T")

_QUERY_TIMEOUT_S: Final = 3.0
_LONGEST_WAIT_S: Final = 4.0  # for a connection and the query together
_CONNECTIONS: Final = 4
_AWAY: Final = (
    OSError,
    TimeoutError,
    asyncpg.PostgresConnectionError,
    asyncpg.InterfaceError,
    asyncpg.CannotConnectNowError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.TooManyConnectionsError,
    asyncpg.QueryCanceledError,
    asyncpg.UndefinedTableError,  # the engine has not migrated it yet
    asyncpg.InvalidCatalogNameError,
)


class ReadPool:
    """A pool that connects when it is first asked; StoreUnavailable while the server is away.

    The session refuses writes (default_transaction_read_only) whatever the role may do.
    """

    def __init__(self, dsn: str) -> None:
        self._dsn = dsn
        self._pool: asyncpg.Pool[asyncpg.Record] | None = None
        self._is_up = True

    async def __aenter__(self) -> Self:
        self._pool = await asyncpg.create_pool(
            self._dsn,
            min_size=0,
            max_size=_CONNECTIONS,
            max_inactive_connection_lifetime=60.0,
            timeout=_QUERY_TIMEOUT_S,
            command_timeout=_QUERY_TIMEOUT_S,
            server_settings={
                "application_name": "edgewise-api",
                "default_transaction_read_only": "on",
                "statement_timeout": str(int(_QUERY_TIMEOUT_S * 1000)),
                "timezone": "UTC",
            },
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._pool is not None:
            self._pool.terminate()  # nothing to save: these connections only read
            self._pool = None

    async def rows(self, sql: str, *args: object) -> list[asyncpg.Record]:
        """All rows of a query with parameters `$1`…"""
        if self._pool is None:
            raise StoreUnavailable("the reader is not open")
        try:
            async with asyncio.timeout(_LONGEST_WAIT_S), self._pool.acquire() as connection:
                found: list[asyncpg.Record] = await connection.fetch(sql, *args)
        except _AWAY as error:
            if self._is_up:
                self._is_up = False
                log.warning("database went away", error=f"{type(error).__name__}: {error}")
            raise StoreUnavailable(str(error) or type(error).__name__) from error
        if not self._is_up:
            self._is_up = True
            log.info("database came back")
        return found

    async def typed(self, type_: type[T], sql: str, *args: object) -> list[T]:
        """All rows as `type_`, whose fields are the columns; json columns are decoded."""
        return typed(type_, await self.rows(sql, *args))


def typed(type_: type[T], rows: Sequence[asyncpg.Record]) -> list[T]:
    """Rows as Structs. Raises msgspec.ValidationError when the query and the type do not fit."""
    if not rows:
        return []
    json_columns = _json_columns(type_)
    return [msgspec.convert(_plain(row, json_columns), type_, strict=False) for row in rows]


def _json_columns(type_: Any) -> frozenset[str]:
    return _JSON_COLUMNS & frozenset(type_.__struct_fields__)


_JSON_COLUMNS: Final = frozenset({"config", "reasons", "decisions", "prices", "checks", "actions"})


def _plain(row: asyncpg.Record, json_columns: frozenset[str]) -> dict[str, Any]:
    return {
        name: msgspec.json.decode(value) if name in json_columns else value for name, value in row.items()
    }
