"""One venue account on a real simulator process and a real Postgres, and engine lives that can be ended."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import aiohttp
import asyncpg

from engine.clock import SystemClock
from engine.config.exchange import OkxConfig
from engine.core.books import Books
from engine.core.errors import OutcomeUnknown
from engine.core.instruments import Instrument
from engine.core.market import Side
from engine.core.orders import ExecutionReport, Order, OrderIntent, OrderType, PositionSide, Purpose
from engine.exchange.context import ExchangeContext
from engine.exchange.okx.venue import OkxVenue
from engine.exchange.ports import PositionMode, Protection, VenueEvent
from engine.exchange.service import ExchangeRules, ExchangeService
from engine.exchange.thresholds import Thresholds
from engine.jobs import Jobs
from engine.journal.ports import Journal
from engine.journal.postgres.journal import PostgresJournal
from engine.manager.accounts import TraderAccounts
from engine.memory_bus import MemoryBus
from tests.order_parts import intent_of
from tests.waiting import until

BTC = "BTC-USDT-SWAP"
ETH = "ETH-USDT-SWAP"
D = Decimal
Keys = tuple[str, str, str]
ACCOUNTS = 150  # of one simulator process; each test takes a fresh one
CLOCK = SystemClock()
HASTY = Thresholds(in_flight_s=0.1, between_looks_s=0.05, open_check_s=0.3, quiet_s=0.3, at_start_s=0.05)


class Simulator:
    """One account of an `edgewise simulator --manual` process; prices move only by `price`."""

    def __init__(self, url: str, http: aiohttp.ClientSession, keys: Keys) -> None:
        self.url, self.keys, self._http = url, keys, http

    async def price(self, price: str, symbol: str = BTC, **more: Any) -> None:
        """The market is at `price` from now on."""
        await self._post("/sim/market", {"symbol": symbol, "price": price, **more})

    async def fault(self, kind: str, **more: Any) -> None:
        await self._post("/sim/faults", {"kind": kind, **more})

    async def healthy(self) -> None:
        """No fault waits any more."""
        async with self._http.delete(f"{self.url}/sim/faults") as response:
            assert response.status == 200, await response.text()

    async def orders_received(self) -> dict[str, int]:
        """How often an order with each client id came in."""
        async with self._http.get(f"{self.url}/sim/state") as response:
            state: dict[str, dict[str, int]] = await response.json()
        mine = f"{self.keys[0]}:"
        received = state["orders_received"].items()
        return {name.removeprefix(mine): count for name, count in received if name.startswith(mine)}

    async def _post(self, path: str, body: dict[str, Any]) -> None:
        async with self._http.post(self.url + path, json=body) as response:
            assert response.status == 200, await response.text()


@dataclass
class SimulatedVenue:
    """A simulator process whose accounts are given out one by one."""

    url: str
    http: aiohttp.ClientSession
    given: int = 0

    async def account(self) -> Simulator:
        """A fresh account, the markets where tests expect them, and no fault."""
        keys = _keys(self.given)
        self.given += 1
        taken = Simulator(self.url, self.http, keys)
        await taken.healthy()
        await taken.price("100000")
        await taken.price("4000", ETH)
        return taken


def _keys(number: int) -> Keys:
    return f"key{number}", f"secret{number}", "pass"


@asynccontextmanager
async def simulated_venue(
    position_mode: str = "long_short", usdt: int = 100_000
) -> AsyncIterator[SimulatedVenue]:
    """A simulator process on a free port, gone afterwards."""
    accounts = [":".join((*_keys(number), str(usdt))) for number in range(ACCOUNTS)]
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "engine.cli.main", "simulator", "--manual", "--port", "0", "--no-rate-limit"),
        *("--position-mode", position_mode, "--symbol", "BTC", "--symbol", "ETH"),
        *(part for account in accounts for part in ("--account", account)),
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    url = ""
    async with asyncio.timeout(20):
        while b"ready" not in (line := await process.stdout.readline()):
            assert line, "the simulator ended"
            if line.startswith(b"REST"):
                url = line.split()[1].decode()
    try:
        async with aiohttp.ClientSession() as http:
            yield SimulatedVenue(url, http)
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()
        process.stdout.feed_eof()


class InstrumentBook:
    def __init__(self, instruments: tuple[Instrument, ...]) -> None:
        self._by_symbol = {each.symbol: each for each in instruments}

    def contract_value(self, symbol: str) -> Decimal:
        return self._by_symbol[symbol].contract_value


@dataclass
class Life:
    """The exchange part of an engine between its start and its end."""

    service: ExchangeService
    venue: OkxVenue
    journal: Journal
    books: Books
    jobs: Jobs

    def intent(self, name: str, trader: str = "a", contracts: str = "2", **changes: Any) -> OrderIntent:
        """An entry at market, long, with a stop below and a target above."""
        given: dict[str, Any] = {
            "intent_id": name,
            "trader_id": trader,
            "contracts": D(contracts),
            "stop_loss": D(95_000),
            "take_profit": D(110_000),
            "ts_created": CLOCK.now_ns(),
        }
        return intent_of(**(given | changes))

    def exit(self, name: str, trader: str = "a", contracts: str = "2") -> OrderIntent:
        return self.intent(
            name,
            trader,
            contracts,
            side=Side.SELL,
            purpose=Purpose.EXIT,
            stop_loss=None,
            take_profit=None,
        )

    async def order(self, intent: OrderIntent) -> Order:
        """The order as journalled."""
        found = await self.journal.order(intent.client_order_id)
        assert found is not None
        return found

    async def done(self, intent: OrderIntent, deadline_s: float = 15.0) -> Order:
        """The order once it is final."""
        await until(lambda: intent.client_order_id not in self.service.desk.open, deadline_s)
        await self.service.desk.drained()
        return await self.order(intent)

    def held(self, trader: str = "a", symbol: str = BTC) -> Decimal:
        """Signed contracts of a trader."""
        positions = self.books.account(trader).positions.items()
        return sum((side.sign * h.contracts for (s, side), h in positions if s == symbol), D(0))

    async def balanced(self) -> None:
        """The books equal the venue's, to the last decimal."""
        await self.service.desk.drained()
        check = None
        async with asyncio.timeout(10):
            while check is None:
                check = await self.service.auditor.look()
                await asyncio.sleep(0.02)
        assert check.balanced, check
        assert abs(check.difference) < D("1e-9")


def venue_of(sim: Simulator, position_mode: str = "long_short") -> OkxVenue:
    """The OKX adapter on the simulator."""
    sockets = sim.url.replace("http", "ws")
    return OkxVenue(
        OkxConfig(
            account_id="sim",
            api_key=sim.keys[0],
            secret=sim.keys[1],
            passphrase=sim.keys[2],
            rest_url=sim.url,
            ws_public_url=f"{sockets}/ws/v5/public",
            ws_private_url=f"{sockets}/ws/v5/private",
            ws_business_url=f"{sockets}/ws/v5/business",
            position_mode=PositionMode(position_mode).value,
            rate_limits=False,
        ),
        CLOCK,
    )


@asynccontextmanager
async def aclosing_venue(venue: OkxVenue) -> AsyncIterator[None]:
    """Close the adapter however the block ends."""
    try:
        yield
    finally:
        await venue.close()


@asynccontextmanager
async def life(sim: Simulator, dsn: str, **options: Any) -> AsyncIterator[Life]:
    """Start an engine's exchange part by recovery, as it would after anything; ends without goodbye."""
    traders: tuple[str, ...] = options.get("traders", ("a", "b"))
    journal = PostgresJournal(dsn, CLOCK)
    mode = options.get("position_mode", "long_short")
    venue = venue_of(sim, mode)
    books = Books("sim", traders, netting=mode == "net")
    async with journal, aclosing_venue(venue), Jobs() as jobs:
        context = ExchangeContext(
            venue=options.get("wrap", lambda v: v)(venue),
            journal=options.get("wrap_journal", lambda j: j)(journal),
            bus=options.get("bus") or MemoryBus(CLOCK),
            clock=CLOCK,
            jobs=jobs,
            books=books,
            accounts=TraderAccounts(books, CLOCK.now_ns),
            contracts=InstrumentBook(await venue.instruments()),
            position_mode=PositionMode(mode),
            trading_enabled=options.get("trading_enabled", True),
        )
        service = ExchangeService(
            context,
            capital=options.get("capital", dict.fromkeys(traders, D(20_000))),
            leverage={BTC: D(10), ETH: D(10)},
            rules=ExchangeRules(
                limit_timeout_s=options.get("limit_timeout_s", 60.0),
                audit_every_s=options.get("audit_every_s", 3600.0),
                infer_missing_fills=options.get("infer", True),
                thresholds=options.get("thresholds", HASTY),
            ),
        )
        await service.start()
        running = asyncio.create_task(service.run(), name="exchange life")
        try:
            await until(lambda: (service.stream_up and service.ready) or running.done())
            yield Life(service, venue, journal, books, jobs)
        finally:
            running.cancel()
            with suppress(asyncio.CancelledError):
                await running


async def by_hand(
    sim: Simulator,
    side: Side,
    contracts: str,
    position_side: PositionSide = PositionSide.LONG,
    mode: str = "long_short",
    **more: Any,
) -> Order:
    """Trade on the account as a person does in the venue's app: with no id that edgewise knows."""
    purpose = Purpose.ENTRY if side is position_side.entry_side else Purpose.EXIT
    given: dict[str, Any] = {"order_type": OrderType.MARKET, "symbol": BTC}
    intent = intent_of(
        "by hand",
        trader_id="",
        side=side,
        position_side=position_side,
        purpose=purpose,
        contracts=D(contracts),
        ts_created=CLOCK.now_ns(),
        **(given | more),
    )
    order = Order(client_order_id=f"byhand{CLOCK.now_ns()}", intent=intent)
    venue = venue_of(sim, mode)
    async with aclosing_venue(venue):
        await venue.submit(order)
    return order


class Wrapped:
    """A venue with some of its methods changed by a subclass."""

    def __init__(self, venue: OkxVenue) -> None:
        self.venue = venue

    def __getattr__(self, name: str) -> Any:
        return getattr(self.venue, name)


class Forgetful(Wrapped):
    """Shows no execution and no order that is not ours, by any way, until it `remembers`."""

    remembers = False

    async def events(self) -> AsyncIterator[VenueEvent]:
        async for event in self.venue.events():
            if self._shown(event):
                yield event

    async def executions_since(self, ts_ns: int) -> tuple[ExecutionReport, ...]:
        return tuple(filter(self._shown, await self.venue.executions_since(ts_ns)))

    async def open_orders(self) -> tuple[ExecutionReport, ...]:
        return tuple(filter(self._shown, await self.venue.open_orders()))

    def _shown(self, event: VenueEvent) -> bool:
        return self.remembers or not isinstance(event, ExecutionReport) or bool(event.client_order_id)


class Deaf(Wrapped):
    """Sends orders and never hears the answer."""

    async def submit(self, order: Order) -> ExecutionReport:
        await self.venue.submit(order)
        await asyncio.Event().wait()
        raise AssertionError


class Mute(Wrapped):
    """Believes to have sent what never left."""

    async def submit(self, order: Order) -> ExecutionReport:
        raise OutcomeUnknown(f"no answer for {order.client_order_id}")


async def rows(dsn: str) -> dict[str, list[tuple[Any, ...]]]:
    """Everything that the journal says of orders and money."""
    tables = (
        *("order_intents", "trader_orders", "order_events", "trader_fills", "funding_payments"),
        *("cash_flows", "closed_trades", "risk_events"),
    )
    connection = await asyncpg.connect(dsn)
    try:
        found = {name: await connection.fetch(f"select * from {name}") for name in tables}  # noqa: S608 - ours
        return {name: [tuple(row) for row in table] for name, table in found.items()}
    finally:
        await connection.close()


async def alarms(dsn: str) -> list[str]:
    """Kinds of the risk events in the journal, oldest first."""
    connection = await asyncpg.connect(dsn)
    try:
        return [row["kind"] for row in await connection.fetch("select kind from risk_events order by seq")]
    finally:
        await connection.close()


async def stops(now: Life) -> list[Protection]:
    """What rests at the venue to protect positions."""
    return list(await now.venue.protections())


async def until_stops(now: Life, *contracts: str) -> None:
    """Wait until stops of exactly these sizes rest."""
    wanted = sorted(map(D, contracts))
    async with asyncio.timeout(10):
        while sorted(stop.contracts for stop in await stops(now)) != wanted:
            await asyncio.sleep(0.05)
