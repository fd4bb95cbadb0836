"""A journal as years of trading leave it, for questions that are quick only on a small one.

At scale 1: 200 traders, 1 million fills with their orders, intents and half as many closed trades, 10 million
candles, 1 million accounts, 250,000 decision cycles with 50,000 conversations, 200,000 signals. The server
makes the rows itself, so it takes minutes, not an hour.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Final

import asyncpg
import msgspec

from engine.core.decisions import AccountView, PositionView
from engine.core.orders import PositionSide
from engine.core.times import NS_PER_DAY, NS_PER_MIN
from engine.journal.postgres.migrate import PARTITIONED, migrate

ACCOUNT: Final = "venue"
SYMBOLS: Final = 20
_DAYS: Final = 100  # of trading; candles go back further
_MONTHS: Final = 14
_CHUNK: Final = 250_000  # rows of a statement


class Size(msgspec.Struct, frozen=True):
    """How much of everything there is."""

    scale: float = 1.0

    def of(self, full: int) -> int:
        return max(SYMBOLS, int(full * self.scale))

    @property
    def traders(self) -> int:
        return self.of(200)

    @property
    def fills(self) -> int:
        return self.of(1_000_000)


_TRADER: Final = "'trader-' || to_char(n % traders, 'FM000')"
_COIN: Final = f"'COIN' || (n % {SYMBOLS}) || '-USDT-SWAP'"
_CYCLE: Final = "'cycle-' || (n / 4)"  # of an order: four belong together
_SIDE: Final = "case when n % 2 = 0 then 'buy' else 'sell' end"
_PURPOSE: Final = "case when n % 2 = 0 then 'entry' else 'exit' end"
_AT: Final = "start + n * apart"  # the n-th of evenly spread times
_SERIES: Final = """
from generate_series($1::bigint, $2::bigint - 1) n
cross join (select $3::bigint as traders, $4::bigint as start, $5::bigint as apart) plan"""

# Table → how many at scale 1, and what makes the rows n = $1 to $2 - 1.
_ROWS: Final[tuple[tuple[str, int, str], ...]] = (
    (
        "traders",
        200,
        f"""(trader_id, name, kind, model, account_id, config, ts_created, ts_updated)
        select {_TRADER}, 'Trader ' || n, case when n % 5 = 0 then 'model' else 'strategy' end, 'deepseek',
        '{ACCOUNT}', '{{"risk_params": {{"risk_per_trade": 0.01}}, "symbols": ["COIN0-USDT-SWAP"]}}', start,
        start {_SERIES}""",
    ),
    (
        "cash_flows",
        200,
        f"""(flow_id, trader_id, account_id, kind, amount, ts)
        select 'c' || n, {_TRADER}, '{ACCOUNT}', 'capital', 10000, start {_SERIES}""",
    ),
    (
        "assets",
        SYMBOLS,
        f"""select {_COIN}, 'COIN' || n, 'USDT', 0.1, 0.01, 0.01, 0.01, 50, true, start {_SERIES}""",
    ),
    (
        "signals",
        200_000,
        f"""(signal_id, symbol, detector, feature, timeframe, edge, value, threshold, release, score, price,
        ts_event, ts_recv)
        select 's' || n, {_COIN}, 'rsi', 'rsi_14', '1m', 'UP', 71.25, 70, 65, 0.7, 64000.1, {_AT}, {_AT}
        {_SERIES}""",
    ),
    (
        "decision_cycles",
        250_000,
        f"""(cycle_id, trader_id, mode, status, wakeup, reasons, decider, model, prompt_version,
        prompt_digest, decisions, prices, tokens_in, tokens_out, cost_usd, latency_ms,
        ts_created, ts_started, ts_decided)
        select 'cycle-' || n, {_TRADER}, 'short', case when n % 20 = 0 then 'refused' else 'decided' end, '',
        '[{{"kind": "long_timer", "ts": 1790000000000000000}}]', 'deepseek', 'deepseek-chat', 'default@1',
        md5(n::text),
        jsonb_build_array(jsonb_build_object('symbol', {_COIN}, 'act', 'hold', 'confidence', '0.6')),
        jsonb_build_object({_COIN}, 64000.1), 3000, 200, 0.0021, 900, {_AT}, {_AT}, {_AT} + 900000000
        {_SERIES}""",
    ),
    (
        "llm_conversations",
        50_000,
        f"""select 'cycle-' || n * 5, 'trader-' || to_char(n * 5 % traders, 'FM000'),
        repeat('You trade perpetual swaps. ', 60), repeat('COIN' || n || ' last 64000.1 ema_12 63990.2 ', 80),
        '{{"decisions": []}}', repeat('The trend is weak. ', 20), {_AT} {_SERIES}""",
    ),
    (
        "llm_calls",
        50_000,
        f"""(cycle_id, n, trader_id, digest, alias, model, answer, reasoning, cut, failure, detail, tokens_in,
        tokens_out, tokens_cached, cost_usd, latency_ms, ts, asked)
        select 'cycle-' || n * 5, 0, 'trader-' || to_char(n * 5 % traders, 'FM000'), md5(n::text), 'deepseek',
        'deepseek-chat', '{{}}', '', '', '', '', 3000, 200, 0, 0.0021, 900, {_AT}, 'deepseek' {_SERIES}""",
    ),
    (
        "order_intents",
        1_000_000,
        f"""(intent_id, client_order_id, cycle_id, trader_id, account_id, symbol, side, position_side,
        purpose, order_type, contracts, leverage, stop_loss, decision_price, confidence, risk_usd,
        invalidation, ts_created, ts_expires)
        select 'i' || n, 'o' || n, {_CYCLE}, {_TRADER}, '{ACCOUNT}', {_COIN}, {_SIDE}, 'long', {_PURPOSE},
        'market', 2, 3, 63000, 64000.1, 0.6, 12.5, 'below 63000', {_AT}, {_AT} + 60000000000 {_SERIES}""",
    ),
    (
        "trader_orders",
        1_000_000,
        f"""(client_order_id, trader_id, account_id, symbol, state, venue_state, venue_order_id, contracts,
        filled, claimed, average_price, fees, reason, ts_created, ts_sent, ts_acked, ts_updated)
        select 'o' || n, {_TRADER}, '{ACCOUNT}', {_COIN}, 'FILLED', 'FILLED', 'v' || n, 2, 2, 2, 64000.1,
        -0.64, '', {_AT}, {_AT}, {_AT}, {_AT} {_SERIES}""",
    ),
    (
        "trader_fills",
        1_000_000,
        f"""(account_id, fill_id, client_order_id, venue_order_id, trader_id, symbol, side, position_side,
        purpose, contracts, price, contract_value, fee, maker, ts_event, ts_recv)
        select '{ACCOUNT}', 'f' || n, 'o' || n, 'v' || n, {_TRADER}, {_COIN}, {_SIDE}, 'long', {_PURPOSE}, 2,
        64000.5 + n % 100, 0.01, -0.64, false, {_AT}, {_AT} {_SERIES}""",
    ),
    (
        "closed_trades",
        500_000,
        f"""(trade_id, trader_id, account_id, symbol, side, contracts, coins, entry_price, exit_price,
        ts_entry, ts_exit, entry_fees, exit_fees, funding, gross, net, leverage, confidence, exit_purpose,
        entry_client_order_id, exit_client_order_id, entry_venue_order_id, exit_venue_order_id, entry_fill_id,
        exit_fill_id, entry_maker, exit_maker, entry_cycle_id, exit_plan, stop_loss)
        select 't' || n, {_TRADER}, '{ACCOUNT}', {_COIN}, 'long', 2, 0.02, 64000.5, 64010.5 + n % 7 - 3,
        {_AT}, {_AT} + 60000000000, -0.64, -0.64, 0, (n % 7 - 3) * 0.5, (n % 7 - 3) * 0.5 - 1.28, 3, 0.6,
        'exit', 'o' || n * 2, 'o' || n * 2 + 1, 'v' || n * 2, 'v' || n * 2 + 1, 'f' || n * 2,
        'f' || n * 2 + 1, false, false, 'cycle-' || n / 2, '', 63000 {_SERIES}""",
    ),
    (
        "klines",
        10_000_000,
        f"""select {_COIN}, '1m', start + n / {SYMBOLS} * 60000000000, p, p + 20, p - 10, p + 5, 12.5
        from (select n, start, 64000.1 + n % 997 as p {_SERIES}) candle""",  # noqa: S608 - constants only
    ),
    (
        "risk_events",
        10_000,
        f"""(event_id, trader_id, symbol, kind, detail, ts)
        select 'r' || n, {_TRADER}, '', 'daily_loss', 'lost 2.1 % of the day''s equity', {_AT} {_SERIES}""",
    ),
)
_PERFORMANCE: Final = f"""
insert into trader_performance (trader_id, ts, capital, cash, equity, available, margin_used, realised,
unrealised, fees, funding, sharpe_ratio, win_rate, view)
select {_TRADER}, start + n / traders * apart, 10000, 9990, 10000 + n % 997, 9500, 426.67, 0, 1.99, -0.64, 0,
0.01, 52.5, $6::bytea {_SERIES}"""
_POSITIONS: Final = f"""
insert into trader_positions (trader_id, symbol, position_side, contracts, coins, entry_price, leverage,
margin, realised, fees, funding, stop_loss, confidence, invalidation, entry_client_order_id, ts_opened,
ts_updated)
select {_TRADER}, {_COIN}, 'long', 2, 0.02, 64000.5, 3, 426.67, 0, -0.64, 0, 63000, 0.6, 'below 63000',
'o' || n, start, start {_SERIES}"""
_BOOKS: Final = f"""
insert into account_checks values ('{ACCOUNT}', $1, true, 2000000, 1999000, 1000, 0, '');
insert into balance_snapshots values ('{ACCOUNT}', $1, 2000000, 2000000, 1900000)"""  # noqa: S608 - constants only


async def fill(dsn: str, size: Size, now_ns: int) -> None:
    """Migrate and fill an empty database; one that was filled is left as it is."""
    await migrate(dsn)
    connection = await asyncpg.connect(dsn)
    try:
        if await connection.fetchval("select exists (select from balance_snapshots)"):
            return
        await _fill(connection, size, now_ns)
    finally:
        await connection.close()


async def _fill(connection: asyncpg.Connection[asyncpg.Record], size: Size, now_ns: int) -> None:
    start = now_ns - _DAYS * NS_PER_DAY
    candles = now_ns // NS_PER_MIN * NS_PER_MIN - size.of(10_000_000) // SYMBOLS * NS_PER_MIN
    for table in PARTITIONED:
        first = candles if table == "klines" else start
        await connection.execute("select ensure_partitions($1, $2, $3)", table, first, _MONTHS)
    await connection.execute("set synchronous_commit = off")
    for table, full, rows in _ROWS:
        count = size.of(full)
        first = candles if table == "klines" else start
        await _insert(
            connection, f"insert into {table} {rows}", (count, size.traders, first, (now_ns - start) // count)
        )
    points = size.of(1_000_000)
    apart = (now_ns - start) // (points // size.traders + 1)
    view = msgspec.msgpack.encode(_view(start))
    await _insert(connection, _PERFORMANCE, (points, size.traders, start, apart), view)
    await _insert(connection, _POSITIONS, (size.traders, size.traders, start, 0))
    for statement in _BOOKS.split(";"):
        await connection.execute(statement, now_ns)
    await connection.execute("vacuum analyze")


async def _insert(
    connection: asyncpg.Connection[asyncpg.Record],
    statement: str,
    plan: tuple[int, int, int, int],
    *more: object,
) -> None:
    """In pieces: a statement keeps a note of every row whose reference it has to look at."""
    count, *rest = plan
    for first in range(0, count, _CHUNK):
        await connection.execute(statement, first, min(count, first + _CHUNK), *rest, *more)


def _view(ts: int) -> AccountView:
    position = PositionView(
        symbol="COIN0-USDT-SWAP",
        side=PositionSide.LONG,
        contracts=Decimal(2),
        coins=Decimal("0.02"),
        entry_price=Decimal("64000.5"),
        mark_price=Decimal(64100),
        notional=Decimal(1282),
        leverage=Decimal(3),
        margin=Decimal("426.67"),
        unrealised=Decimal("1.99"),
        realised=Decimal(0),
        fees=Decimal("-0.64"),
        funding=Decimal(0),
        liquidation_price=None,
        stop_loss=Decimal(63000),
        take_profit=None,
        confidence=Decimal("0.6"),
        risk_usd=None,
        invalidation="below 63000",
        ts_opened=ts,
        entry_client_order_id="o0",
    )
    return AccountView(
        trader_id="trader-000",
        ts=ts,
        capital=Decimal(10_000),
        cash=Decimal(9_990),
        equity=Decimal("10001.35"),
        available=Decimal(9_500),
        margin_used=Decimal("426.67"),
        realised=Decimal(0),
        unrealised=Decimal("1.99"),
        fees=Decimal("-0.64"),
        funding=Decimal(0),
        positions=(position,),
    )
