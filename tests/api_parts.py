"""A journal with one round trip in it, and the API over it, for tests that speak HTTP."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from decimal import Decimal

import msgspec
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from api.app import make_app
from api.cache import LiveCache
from api.endpoint import Sources
from api.tallies import Tallies
from engine.clock import Clock, SimClock, SystemClock
from engine.config.engine import ApiConfig, EngineConfig
from engine.core.cash import CashFlow, FlowKind
from engine.core.decisions import ModelCall
from engine.core.instruments import Instrument
from engine.core.market import Candle
from engine.core.times import NS_PER_HOUR, NS_PER_MIN
from engine.journal.ports import (
    AccountCheck,
    BacktestRun,
    IntegrityEvent,
    IntegrityKind,
    RiskEvent,
)
from engine.journal.postgres.journal import PostgresJournal
from engine.journal.postgres.reader import JournalReader
from engine.journal.snapshots import BalanceSnapshot
from engine.telemetry.spans import Export
from tests import journal_parts as parts
from tests.journal_parts import ACCOUNT, T0

NOW = T0 + 2 * NS_PER_HOUR
IDLE = msgspec.structs.replace(parts.TRADER, trader_id="bob", name="Bob", kind="strategy", config=b"{}")

Client = TestClient[web.Request, web.Application]


async def fill_journal(dsn: str) -> None:
    """Two traders; alice was woken by a signal, bought, sold, and holds a new position."""
    async with PostgresJournal(dsn, SystemClock()) as journal:
        await journal.ownership.claim("okx-demo-global", T0)
        await journal.record_traders([parts.TRADER, IDLE])
        await journal.record_cash_flow(
            CashFlow(
                flow_id="c1",
                trader_id="alice",
                account_id=ACCOUNT,
                kind=FlowKind.CAPITAL,
                amount=Decimal(10_000),
                ts=T0,
            )
        )
        await journal.record_signals([parts.SIGNAL])
        await journal.record_wakeup(parts.wakeup())
        await journal.record_cycle(msgspec.structs.replace(parts.record(), calls=(CALL,)))
        await journal.record_gate([parts.verdict()])
        entry, leaving = parts.order(parts.intent()), parts.order(parts.close_intent())
        for order in (entry, leaving):
            await journal.record_gate((), [order.intent])
            await journal.insert_order(order)
            await journal.record_execution(*parts.filled(order, price="64100.5"))
        await journal.record_position(parts.view(T0, parts.position()), [parts.closed()])
        await _fill_books(journal)


async def _fill_books(journal: PostgresJournal) -> None:
    curve = ((0, 10_000), (60, 10_100), (61, 10_200), (119, 10_050))
    await journal.record_performance(
        [
            msgspec.structs.replace(
                parts.view(T0 + minutes * NS_PER_MIN, parts.position()), equity=Decimal(equity)
            )
            for minutes, equity in curve
        ]
    )
    await journal.record_check(
        AccountCheck(
            account_id=ACCOUNT,
            ts=T0,
            balanced=True,
            venue_equity=Decimal(100_000),
            traders_equity=Decimal(10_050),
            reserve=Decimal(89_950),
            difference=Decimal(0),
            detail="",
        )
    )
    await journal.record_risk_event(
        RiskEvent(event_id="r1", trader_id="alice", symbol="", kind="daily_loss", detail="2 %", ts=T0)
    )
    await journal.record_instruments([INSTRUMENT], T0)
    await journal.record_candles(
        [msgspec.structs.replace(CANDLE, ts_open=T0 + minutes * NS_PER_MIN) for minutes in (0, 1, 3)]
    )
    await journal.record_integrity(
        [
            IntegrityEvent(
                symbol=CANDLE.symbol,
                timeframe="1m",
                kind=IntegrityKind.GAP,
                ts_from=T0 + 2 * NS_PER_MIN,
                ts_to=T0 + 3 * NS_PER_MIN,
                ts=T0 + 4 * NS_PER_MIN,
            )
        ]
    )
    await journal.record_balance(BALANCE)
    await journal.record_backtest(BACKTEST)


CALL = ModelCall(
    digest="d",
    asked="demo",
    alias="demo",
    model="rules-only-demo",
    answer="{}",
    tokens_out=3,
    latency_ms=7,
    ts_asked=T0 + 1,
    ts_answered=T0 + 5,
)
BALANCE = BalanceSnapshot(
    account_id=ACCOUNT,
    ts=T0,
    cash=Decimal("99990.5"),
    equity=Decimal(100_000),
    available=Decimal(90_000),
)
BACKTEST = BacktestRun(
    run_id="run-1",
    name="may",
    config=b'{"traders": ["alice"]}',
    digest="d1",
    metrics=b'{"return_pct": 1.5}',
    equity_curve=b"[[0, 1]]",
    ts_from=T0,
    ts_to=T0 + NS_PER_HOUR,
    ts_created=T0,
)
INSTRUMENT = Instrument(
    symbol="BTC-USDT-SWAP",
    base="BTC",
    tick_size=Decimal("0.1"),
    lot_size=Decimal("0.01"),
    min_size=Decimal("0.01"),
    contract_value=Decimal("0.01"),
)
CANDLE = Candle(
    symbol="BTC-USDT-SWAP",
    timeframe="1m",
    ts_open=T0,
    open=64000.0,
    high=64200.0,
    low=63900.0,
    close=64123.5,
    volume=3.0,
    closed=True,
    ts_event=T0 + NS_PER_MIN,
)


@asynccontextmanager
async def served(
    dsn: str,
    redis_url: str,
    config: ApiConfig | None = None,
    clock: Clock | None = None,
    export: Export | None = None,
) -> AsyncIterator[Client]:
    """A client of the API over these stores; engine time stands two hours after the start."""
    clock = clock or SimClock(NOW)
    async with JournalReader(dsn) as reader, LiveCache(redis_url, "dev", clock) as cache:
        sources = Sources(reader=reader, cache=cache, clock=clock, tallies=Tallies(reader))
        service = make_app(sources, EngineConfig(api=config or ApiConfig()), export)
        async with TestClient(server := TestServer(service.app)) as client, asyncio.TaskGroup() as tasks:
            assert server.runner is not None
            service.front.stand_before(server.runner)
            hearing = tasks.create_task(service.broadcast.run(), name="broadcast")
            yield client
            hearing.cancel()
