"""Tables that are written in bulk, and how many rows get into one at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from types import GenericAlias
from typing import Any, Final

import asyncpg
import msgspec

from engine.core.signals import Signal
from engine.journal.ports import AccountCheck, IntegrityEvent, RiskEvent
from engine.journal.postgres_pool import Pool
from engine.journal.snapshots import BalanceSnapshot


@dataclass(frozen=True, slots=True, kw_only=True)
class BulkTable:
    """A table whose key tells a repeated row: it is written once.

    `row` is the type of a row, in the order of `columns`; JSON columns are text. `time_column` is what the
    months are divided by, "" where there are none.
    """

    name: str
    columns: tuple[str, ...]
    row: Any
    time_column: str = ""


def _of(name: str, record: type[msgspec.Struct], time_column: str = "") -> BulkTable:
    """The table of a record: its columns are the fields, words of an enumeration are text."""
    fields = msgspec.structs.fields(record)
    kinds = [str if isinstance(f.type, type) and issubclass(f.type, StrEnum) else f.type for f in fields]
    return BulkTable(
        name=name,
        columns=tuple(field.name for field in fields),
        row=GenericAlias(tuple, tuple(kinds)),
        time_column=time_column,
    )


KLINES: Final = BulkTable(
    name="klines",
    columns=("symbol", "timeframe", "ts_open", "open", "high", "low", "close", "volume"),
    row=tuple[str, str, int, float, float, float, float, float],
    time_column="ts_open",
)
INDICATORS: Final = BulkTable(
    name="indicators",
    columns=("symbol", "timeframe", "ts_open", "features"),
    row=tuple[str, str, int, str],
    time_column="ts_open",
)
PERFORMANCE: Final = BulkTable(
    name="trader_performance",
    columns=(
        *("trader_id", "ts", "capital", "cash", "equity", "available", "margin_used", "realised"),
        *("unrealised", "fees", "funding", "sharpe_ratio", "win_rate", "view"),
    ),
    row=tuple[
        str,
        int,
        Decimal,
        Decimal,
        Decimal | None,
        Decimal,
        Decimal,
        Decimal,
        Decimal | None,
        Decimal,
        Decimal,
        float | None,
        float | None,
        bytes,
    ],
    time_column="ts",
)
SIGNALS: Final = _of("signals", Signal)
CHECKS: Final = _of("account_checks", AccountCheck, "ts")
BALANCES: Final = _of("balance_snapshots", BalanceSnapshot, "ts")
INTEGRITY: Final = _of("candle_integrity_events", IntegrityEvent)
RISK_EVENTS: Final = _of("risk_events", RiskEvent)
_ALL: Final = (KLINES, INDICATORS, SIGNALS, PERFORMANCE, CHECKS, BALANCES, INTEGRITY, RISK_EVENTS)
_BY_NAME: Final = {table.name: table for table in _ALL}


def table_named(name: str) -> BulkTable:
    """Raises KeyError for a table that is not written in bulk."""
    return _BY_NAME[name]


async def copy_rows(pool: Pool, table: BulkTable, rows: Sequence[tuple[Any, ...]]) -> None:
    """Every row once, whatever of them was there before, in one transaction.

    Straight into the table where all are new, which is nearly always; else past a table of the session.
    Raises StoreUnavailable, or InvariantBroken for a row that a constraint other than the key refuses.
    """
    async with pool.transaction() as connection:
        try:
            async with connection.transaction():  # a savepoint: what follows goes on in the same commit
                await connection.copy_records_to_table(table.name, records=rows, columns=table.columns)
        except asyncpg.UniqueViolationError:
            await _upsert(connection, table, rows)


async def _upsert(
    connection: asyncpg.pool.PoolConnectionProxy[asyncpg.Record],
    table: BulkTable,
    rows: Sequence[tuple[Any, ...]],
) -> None:
    stage, names = f"stage_{table.name}", ", ".join(table.columns)
    await connection.execute(
        f"create temp table if not exists {stage} on commit delete rows as "  # noqa: S608 - names of ours
        f"select {names} from {table.name} limit 0"
    )
    await connection.copy_records_to_table(stage, records=rows, columns=table.columns)
    await connection.execute(
        f"insert into {table.name} ({names}) select {names} from {stage} on conflict do nothing"  # noqa: S608
    )
