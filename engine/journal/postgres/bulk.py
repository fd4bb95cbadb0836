"""Tables that are written in bulk, and how many rows get into one at once."""

from __future__ import annotations

import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from enum import StrEnum
from operator import attrgetter, itemgetter
from types import GenericAlias
from typing import TYPE_CHECKING, Any, Final

import asyncpg
import msgspec

from engine.core.market import Candle
from engine.core.signals import Signal
from engine.journal.ports import AccountCheck, IntegrityEvent, RiskEvent
from engine.journal.postgres.pool import Pool
from engine.journal.snapshots import BalanceSnapshot

if TYPE_CHECKING:
    Connection = asyncpg.Connection[asyncpg.Record]


Row = tuple[Any, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class BulkTable:
    """A table whose key tells a repeated row: it is written once.

    `row` is the type of a row, in the order of `columns`; JSON columns are text. `time_column` is what the
    months are divided by, "" where there are none. `binary` makes COPY's bytes of rows where that is
    quicker than the driver, which asks a codec for every field. With `row_of`, what is written are records
    with the columns among their fields, made rows piece by piece, while the server stores those before.
    """

    name: str
    columns: tuple[str, ...]
    row: Any
    time_column: str = ""
    binary: Callable[[Sequence[Row]], bytes] | None = None
    row_of: Callable[[Any], Row] | None = None

    def plain(self, records: Sequence[Any]) -> Sequence[Row]:
        """The rows of what is written."""
        return records if self.row_of is None else list(map(self.row_of, records))

    def times(self, records: Sequence[Any]) -> Iterator[int]:
        """Of each, what tells its month."""
        if self.row_of is None:
            return map(itemgetter(self.columns.index(self.time_column)), records)
        return map(attrgetter(self.time_column), records)


_HEAD: Final = b"PGCOPY\n\xff\r\n\0" + bytes(8)  # signature, no flags, no extension
_PIECE: Final = 500
_END: Final = b"\xff\xff"
_NUMBERS: Final = struct.Struct(">iq" + 5 * "id")  # one bigint, five doubles, each with its length


def _binary_candles(rows: Sequence[Row]) -> bytes:
    """Rows of KLINES in COPY's binary format: a count of fields, then a length and the bytes of each.

    https://www.postgresql.org/docs/current/sql-copy.html#SQL-COPY-BINARY-FORMAT
    """
    starts: dict[tuple[str, str], bytes] = {}
    pack = _NUMBERS.pack
    out = []
    for symbol, timeframe, ts, open_, high, low, close, volume in rows:
        start = starts.get((symbol, timeframe))
        if start is None:
            texts = [text.encode() for text in (symbol, timeframe)]
            start = b"\0\x08" + b"".join(len(text).to_bytes(4) + text for text in texts)
            starts[symbol, timeframe] = start
        out.append(start + pack(8, ts, 8, open_, 8, high, 8, low, 8, close, 8, volume))
    return b"".join(out)


async def _stream(
    table: BulkTable, encode: Callable[[Sequence[Row]], bytes], records: Sequence[Any]
) -> AsyncIterator[bytes]:
    """The bytes of a COPY, piece by piece: the server stores one while the next is made."""
    yield _HEAD
    for start in range(0, len(records), _PIECE):
        yield encode(table.plain(records[start : start + _PIECE]))
    yield _END


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
    binary=_binary_candles,
)


def _candle_row(candle: Candle) -> Row:
    return msgspec.structs.astuple(candle)[: len(KLINES.columns)]


CANDLES: Final = replace(
    KLINES, row_of=_candle_row
)  # the same table; its columns are a candle's first fields
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
SIGNALS: Final = _of("signals", Signal, "ts_event")
CHECKS: Final = _of("account_checks", AccountCheck, "ts")
BALANCES: Final = _of("balance_snapshots", BalanceSnapshot, "ts")
INTEGRITY: Final = _of("candle_integrity_events", IntegrityEvent)
RISK_EVENTS: Final = _of("risk_events", RiskEvent)
_ALL: Final = (KLINES, INDICATORS, SIGNALS, PERFORMANCE, CHECKS, BALANCES, INTEGRITY, RISK_EVENTS)
_BY_NAME: Final = {table.name: table for table in _ALL}


def table_named(name: str) -> BulkTable:
    """Raises KeyError for a table that is not written in bulk."""
    return _BY_NAME[name]


async def copy_rows(pool: Pool, table: BulkTable, records: Sequence[Any]) -> None:
    """Every row once, whatever of them was there before, in one transaction.

    Straight into the table where all are new, which is nearly always; else past a table of the session.
    Raises StoreUnavailable, or InvariantBroken for a row that a constraint other than the key refuses.
    """

    async def copy(connection: Connection, name: str) -> None:
        if table.binary is None:
            await connection.copy_records_to_table(name, records=table.plain(records), columns=table.columns)
        else:
            source = _stream(table, table.binary, records)
            await connection.copy_to_table(name, source=source, columns=table.columns, format="binary")

    async with pool.connection() as connection:
        try:
            await copy(connection, table.name)  # a transaction by itself, without further round trips
        except asyncpg.UniqueViolationError:  # then nothing of it was written
            async with connection.transaction():
                await _upsert(connection, table, copy)


async def _upsert(
    connection: Connection, table: BulkTable, copy: Callable[[Connection, str], Awaitable[None]]
) -> None:
    stage, names = f"stage_{table.name}", ", ".join(table.columns)
    await connection.execute(
        f"create temp table if not exists {stage} on commit delete rows as "  # noqa: S608 - names of ours
        f"select {names} from {table.name} limit 0"
    )
    await copy(connection, stage)
    await connection.execute(
        f"insert into {table.name} ({names}) select {names} from {stage} on conflict do nothing"  # noqa: S608
    )
