"""Rows that the journal writes in bulk, beside a COPY of bytes that were encoded before the clock started."""

from __future__ import annotations

import gc
import io
import struct
from time import perf_counter_ns
from typing import Final

import asyncpg

from bench.measure import Row, Run, Title, of_rounds, same
from engine.clock import SystemClock
from engine.core.market import Candle
from engine.core.times import NS_PER_MIN, NS_PER_S
from engine.journal.postgres.journal import PostgresJournal

_ROWS: Final = 50_000
_ROUNDS: Final = 5
_BATCH: Final = 5000  # of a transaction, on both sides
_START: Final = 1_790_812_800 * NS_PER_S  # a first of the month: all within two
_COLUMNS: Final = ("symbol", "timeframe", "ts_open", "open", "high", "low", "close", "volume")
_FLOOR: Final = """
create table bench_klines (like klines including all) partition by range (ts_open);
create table bench_klines_all partition of bench_klines for values from (minvalue) to (maxvalue)
"""


async def bulk(run: Run, dsn: str) -> list[Row]:
    """Appending new candles, and writing candles of which every one is there already."""
    candles = _candles(run.of(_ROWS, _BATCH))
    batches = [candles[start : start + _BATCH] for start in range(0, len(candles), _BATCH)]
    ready = [_binary(batch) for batch in batches]
    bare = await asyncpg.connect(dsn)
    try:
        await bare.execute(_FLOOR)
        async with PostgresJournal(dsn, SystemClock()) as journal:
            return await _rounds(run, journal, bare, batches, ready)
    finally:
        await bare.close()


async def _rounds(
    run: Run,
    journal: PostgresJournal,
    bare: asyncpg.Connection[asyncpg.Record],
    batches: list[list[Candle]],
    ready: list[bytes],
) -> list[Row]:
    await journal.record_candles(batches[0])  # makes the months
    appends, upserts = list[tuple[float, float]](), list[tuple[float, float]]()
    for _ in range(run.of(_ROUNDS, 1) + 1):
        await bare.execute("truncate klines, bench_klines")
        floor = await _copied_us(bare, ready)
        append = await _written_us(journal, batches)
        upsert = await _written_us(journal, batches)
        appends.append((append, floor))
        upserts.append((upsert, floor))
    query = "select * from {} order by ts_open"
    wanted = await bare.fetch(query.format("bench_klines"))
    same("candles in the journal", await bare.fetch(query.format("klines")), wanted)
    section, floor_name = "Journal on Postgres, in bulk", "asyncpg: COPY of ready binary rows"
    equal, count = "every row, once", len(wanted)
    return [
        of_rounds(
            Title(section, "append a candle", floor_name, equal, aim=0.85), appends[1:] or appends, count
        ),
        of_rounds(
            Title(section, "upsert a candle that is there", floor_name, equal, aim=0.45),
            upserts[1:] or upserts,
            count,
        ),
    ]


async def _written_us(journal: PostgresJournal, batches: list[list[Candle]]) -> float:
    gc.collect()
    began = perf_counter_ns()
    for batch in batches:
        await journal.record_candles(batch)
    return (perf_counter_ns() - began) / 1000


async def _copied_us(bare: asyncpg.Connection[asyncpg.Record], ready: list[bytes]) -> float:
    gc.collect()
    began = perf_counter_ns()
    for rows in ready:
        await bare.copy_to_table("bench_klines", source=io.BytesIO(rows), columns=_COLUMNS, format="binary")
    return (perf_counter_ns() - began) / 1000


def _candles(count: int) -> list[Candle]:
    return [
        Candle(
            symbol="BTC-USDT-SWAP",
            timeframe="1m",
            ts_open=(ts := _START + number * NS_PER_MIN),
            open=64_000.1 + number,
            high=64_020.5 + number,
            low=63_990.2 + number,
            close=64_010.3 + number,
            volume=12.5,
            closed=True,
            ts_event=ts,
        )
        for number in range(count)
    ]


def _binary(candles: list[Candle]) -> bytes:
    """Rows as COPY's binary format has them (PostgreSQL's documentation of COPY, «Binary Format»)."""
    out = [b"PGCOPY\n\xff\r\n\0" + struct.pack(">ii", 0, 0)]
    for candle in candles:
        fields = [candle.symbol.encode(), candle.timeframe.encode(), struct.pack(">q", candle.ts_open)]
        numbers = (candle.open, candle.high, candle.low, candle.close, candle.volume)
        fields += [struct.pack(">d", number) for number in numbers]
        out.append(struct.pack(">h", len(fields)))
        out += [struct.pack(">i", len(field)) + field for field in fields]
    out.append(struct.pack(">h", -1))
    return b"".join(out)
