"""Recovery of an account with 1,000 orders: journal and venue brought together, as at every start.

Half of the orders rest, half filled while the engine was down. The venue is the simulator over its wire, the
journal is on Postgres. Beside it: the same reads from both, and one bare row committed for each fill. All
share one loop and one machine, so the venue's own work counts on both sides.
"""

from __future__ import annotations

import asyncio
import gc
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from decimal import Decimal
from pathlib import Path
from time import perf_counter_ns
from typing import Final

import aiohttp
import asyncpg

from bench.measure import Row, Run, Title, of_rounds, same
from engine.clock import SystemClock, cancelled
from engine.config.exchange import OkxConfig
from engine.core.books import Books
from engine.core.market import Side
from engine.core.orders import Order, OrderIntent, OrderState, OrderType, PositionSide, Purpose
from engine.embedded import EmbeddedServers
from engine.exchange.context import ExchangeContext
from engine.exchange.okx.venue import OkxVenue
from engine.exchange.orders import OrderDesk
from engine.exchange.ports import PositionMode
from engine.exchange.recovery import Recovery
from engine.exchange.simulator.build import Plan, build
from engine.exchange.simulator.server import Server
from engine.exchange.thresholds import Thresholds
from engine.jobs import Jobs
from engine.journal.postgres.journal import PostgresJournal
from engine.journal.postgres.migrate import migrate
from engine.manager.accounts import TraderAccounts
from engine.memory_bus import MemoryBus
from engine.wiring.listing import InstrumentBook

_ORDERS: Final = 1000
_ROUNDS: Final = 3
_BTC: Final = "BTC-USDT-SWAP"
_ACCOUNT: Final = "bench"
_TABLES: Final = "order_events, trader_fills, trader_orders, order_intents, trader_positions"
_FILLS_AT, _RESTS_AT = Decimal(101_000), Decimal(97_000)


def reconcile(run: Run) -> list[Row]:
    """On servers that are made for it and gone afterwards."""
    return asyncio.run(_reconcile(run))


async def _reconcile(run: Run) -> list[Row]:
    with tempfile.TemporaryDirectory(prefix="edgewise-bench-") as folder:
        async with EmbeddedServers(Path(folder) / "servers") as servers, _venue() as venue:
            dsn = servers.addresses.postgres_dsn
            await migrate(dsn)
            orders = [await _sent(venue, number) for number in range(run.of(_ORDERS, 20))]
            return [await _rounds(orders, venue, dsn, run.of(_ROUNDS, 1))]


@asynccontextmanager
async def _venue() -> AsyncIterator[OkxVenue]:
    """The OKX client on a simulated venue whose market moves only when told to."""
    clock = SystemClock()
    plan = Plan(accounts=("key:secret:pass:10000000",), market="manual", symbols=("BTC",), rate_limits=False)
    server = Server(build(plan, clock), 0)
    async with server.running():
        rest, sockets = f"http://127.0.0.1:{server.port}", f"ws://127.0.0.1:{server.port}/ws/v5"
        config = OkxConfig(
            account_id=_ACCOUNT,
            api_key="key",
            secret="secret",  # noqa: S106 - of a simulator
            passphrase="pass",  # noqa: S106
            rest_url=rest,
            ws_public_url=f"{sockets}/public",
            ws_private_url=f"{sockets}/private",
            ws_business_url=f"{sockets}/business",
            rate_limits=False,
        )
        venue = OkxVenue(config, clock)
        try:
            await _price(rest, 100_000)
            yield venue
        finally:
            await venue.close()


async def _price(rest: str, price: int) -> None:
    async with (
        aiohttp.ClientSession() as http,
        http.post(f"{rest}/sim/market", json={"symbol": _BTC, "price": str(price)}) as answer,
    ):
        answer.raise_for_status()


async def _rounds(orders: list[Order], venue: OkxVenue, dsn: str, rounds: int) -> Row:
    filled = len(orders) // 2
    bare = await asyncpg.connect(dsn)
    pairs = []
    try:
        await bare.execute("create table bench_reconcile (id text primary key, body text)")
        async with PostgresJournal(dsn, SystemClock()) as journal:
            for number in range(rounds + 1):
                await bare.execute(f"truncate {_TABLES}, bench_reconcile cascade")
                for order in orders:
                    await journal.insert_order(order)
                ours = await _took_us(lambda: _recovered(venue, journal))
                ended = [await journal.order(order.client_order_id) for order in orders]
                states = [order.state for order in ended if order is not None]
                same("orders filled", states.count(OrderState.FILLED), filled)
                same("orders that rest", states.count(OrderState.NEW), len(orders) - filled)
                theirs = await _took_us(lambda: _read(venue, journal, bare))
                if number:
                    pairs.append((ours, theirs))
    finally:
        await bare.close()
    title = Title(
        "Recovery",
        f"reconcile {len(orders)} orders, an order",
        "the reads, and a bare row committed for each fill",
        "every order's state",
    )
    return of_rounds(title, pairs, len(orders))


async def _sent(venue: OkxVenue, number: int) -> Order:
    """An order that the venue has taken; every second one will fill."""
    intent = OrderIntent(
        intent_id=f"bench:{number}",
        cycle_id="",
        trader_id="a",
        account_id=_ACCOUNT,
        symbol=_BTC,
        side=Side.BUY,
        position_side=PositionSide.LONG,
        purpose=Purpose.ENTRY,
        order_type=OrderType.LIMIT,
        contracts=Decimal("0.01"),
        price=_RESTS_AT if number % 2 else _FILLS_AT,
        ts_created=SystemClock().now_ns(),
    )
    order = Order(client_order_id=intent.client_order_id, intent=intent)
    await venue.submit(order)
    return order


async def _recovered(venue: OkxVenue, journal: PostgresJournal) -> None:
    """A start: fold the journal, ask the venue, apply."""
    clock, books = SystemClock(), Books(_ACCOUNT, ["a"])
    async with Jobs() as jobs:
        context = ExchangeContext(
            venue=venue,
            journal=journal,
            bus=MemoryBus(clock),
            clock=clock,
            jobs=jobs,
            books=books,
            accounts=TraderAccounts(books, clock.now_ns),
            contracts=InstrumentBook(await venue.instruments()),
            position_mode=PositionMode.LONG_SHORT,
            trading_enabled=True,
        )
        desk = OrderDesk(context)
        recovery = Recovery(context, desk, Thresholds())
        await recovery.load()
        applying = asyncio.create_task(desk.run(), name="desk")
        try:
            await recovery.reconcile()
        finally:
            await cancelled(applying)


async def _read(venue: OkxVenue, journal: PostgresJournal, bare: asyncpg.Connection[asyncpg.Record]) -> None:
    """What no recovery can do without."""
    await venue.instruments()
    await journal.bookings(_ACCOUNT)
    await journal.open_orders(_ACCOUNT)
    await venue.open_orders()
    for report in await venue.executions_since(0):
        await bare.execute(
            "insert into bench_reconcile values ($1, $2)", report.client_order_id, str(report.fill)
        )
    await venue.funding_since(0)


async def _took_us(work: Callable[[], Awaitable[None]]) -> float:
    gc.collect()
    began = perf_counter_ns()
    await work()
    return (perf_counter_ns() - began) / 1000
