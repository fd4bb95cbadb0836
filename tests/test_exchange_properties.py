"""Any sequence of orders, fills, funding, liquidations, restarts, losses, repeats and disorder: I8 holds.

The desk, recovery, guard and audit on the matching core without a wire, in simulated time. What the venue
pushes is kept back, and delivered in any order, twice, or never.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from dataclasses import replace
from decimal import Decimal
from typing import Any, TypeVar

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from engine.clock import SimClock, cancelled, settle
from engine.core.books import Books
from engine.core.instruments import Instrument
from engine.core.ledger import VirtualAccount
from engine.core.market import Side
from engine.core.orders import UNATTRIBUTED, ZERO, OrderIntent, OrderType, PositionSide, Purpose
from engine.core.times import NS_PER_S
from engine.exchange.context import ExchangeContext
from engine.exchange.matching.core import MatchingCore
from engine.exchange.matching.types import AccountSpec, OrderRequest, OrdType, PosSide, VenueRefusal
from engine.exchange.orders import OrderDesk
from engine.exchange.paper.venue import PaperVenue
from engine.exchange.ports import PositionMode, VenueEvent
from engine.exchange.recovery import Recovery
from engine.exchange.service import ExchangeRules, ExchangeService
from engine.exchange.thresholds import Thresholds
from engine.jobs import Jobs
from engine.journal.in_memory.journal import MemoryJournal
from engine.manager.accounts import TraderAccounts
from engine.memory_bus import MemoryBus
from tests.exchange_world import InstrumentBook
from tests.order_parts import intent_of

T = TypeVar("T")
D = Decimal
BTC = "BTC-USDT-SWAP"
TRADERS = ("a", "b", "c")
CASH = D(100_000)
LISTED = Instrument(
    symbol=BTC,
    base="BTC",
    tick_size=D("0.1"),
    lot_size=D("0.01"),
    min_size=D("0.01"),
    contract_value=D("0.01"),
)
SIDES = st.sampled_from(list(PositionSide))
TRADER = st.sampled_from(TRADERS)
LOTS = st.one_of(st.integers(1, 300), st.integers(1, 60_000)).map(lambda lots: lots * LISTED.lot_size)
TINY = D("1e-9")  # venue and books each cut to 12 places, at their own moments


def state_of(books: Books) -> object:
    """All that the books say, to the last decimal."""
    accounts = {
        name: (a.capital, a.cash, a.realised, a.fees, a.funding, a.cost, contracts_of(a))
        for name, a in books.accounts.items()
        if a.capital or a.cash or a.positions
    }
    lots = {key: (lot.contracts, lot.cost) for key, lot in books.remainder.lots.items()}
    return accounts, lots, books.remainder.cash


def contracts_of(account: VirtualAccount) -> dict[tuple[str, PositionSide], Decimal]:
    return {key: held.contracts for key, held in account.positions.items()}


class HeldBack(PaperVenue):
    """Its pushes wait until the test hands them out."""

    def take(self) -> list[VenueEvent]:
        """Everything pushed since the last call."""
        return [self._events.get_nowait() for _ in range(self._events.qsize())]


class Account(RuleBasedStateMachine):
    """One venue account, its outside market, and the engine's lives on it."""

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.clock = SimClock(1_790_000_000 * NS_PER_S)
        self.core = MatchingCore()
        self.core.set_instrument(LISTED)
        self.journal = MemoryJournal()
        self.waiting: list[VenueEvent] = []
        self.count = 0
        self.mark = D(100_000)

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return self.runner.run(work)

    @initialize(mode=st.sampled_from(list(PositionMode)))
    def begin(self, mode: PositionMode) -> None:
        self.mode = mode
        spec = AccountSpec(account="sim", balance=CASH, position_mode=mode, leverage=D(10))
        self.venue = HeldBack(self.core, spec, self.clock)
        self.move(self.mark)
        self.run(self.start())

    def teardown(self) -> None:
        if hasattr(self, "desk"):
            self.run(self.stop())
        self.runner.close()

    # -- lives

    async def start(self) -> None:
        self.books = Books("sim", TRADERS, netting=self.mode is PositionMode.NET)
        self.jobs = Jobs()
        await self.jobs.__aenter__()
        self.context = ExchangeContext(
            venue=self.venue,
            journal=self.journal,
            bus=MemoryBus(self.clock),
            clock=self.clock,
            jobs=self.jobs,
            books=self.books,
            accounts=TraderAccounts(self.books, self.clock.now_ns),
            contracts=InstrumentBook((LISTED,)),
            position_mode=self.mode,
            trading_enabled=True,
        )
        rules = ExchangeRules(limit_timeout_s=1e9, audit_every_s=1e9)
        self.service = ExchangeService(self.context, dict.fromkeys(TRADERS, D(10_000)), {}, rules)
        starting = asyncio.create_task(self.service.start(), name="start")
        while not starting.done():
            await settle()
            if not starting.done():
                await self.clock.advance(1.0)
        await starting
        self.desk = asyncio.create_task(self.service.desk.run(), name="desk")

    async def stop(self) -> None:
        await cancelled(self.desk)
        await self.jobs.stop()
        await self.jobs.__aexit__(None, None, None)

    @rule()
    def restart(self) -> None:
        """Without goodbye: what was pushed and not read is gone. The journal tells the same books again."""
        self.venue.take()
        self.waiting.clear()
        self.run(self.stop())
        folded = self.run(self.folded())
        assert state_of(folded) == state_of(self.books)
        self.run(self.start())

    async def folded(self) -> Books:
        books = Books("sim", TRADERS, netting=self.mode is PositionMode.NET)
        context = replace(self.context, books=books, accounts=TraderAccounts(books, self.clock.now_ns))
        await Recovery(context, OrderDesk(context), Thresholds()).load()
        return books

    # -- the outside market

    def move(self, price: Decimal) -> None:
        self.mark = price
        now = self.clock.now_ns()
        levels = [D("0.1") * (i + 1) for i in range(5)]
        bids, asks = [(price - step, D(10)) for step in levels], [(price + step, D(10)) for step in levels]
        self.venue.tell(self.core.on_book(BTC, bids, asks, now))
        self.venue.tell(self.core.on_trade(BTC, price, D(3), Side.SELL, now))
        self.venue.tell(self.core.on_mark(BTC, price, now))

    @rule(percent=st.integers(-30, 40))
    def price(self, percent: int) -> None:
        self.clock.set(self.clock.now_ns() + NS_PER_S)
        moved = LISTED.round_price(self.mark * (100 + percent) / 100)
        self.move(min(max(moved, D(1_000)), D(1_000_000)))

    @rule(rate=st.sampled_from([D("0.0001"), D("-0.0003"), D("0.00075")]))
    def funding(self, rate: Decimal) -> None:
        self.run(self.settled())
        self.clock.set(self.clock.now_ns() + NS_PER_S)
        self.venue.tell(self.core.on_funding(BTC, rate, self.clock.now_ns()))
        self.clock.set(self.clock.now_ns() + NS_PER_S)
        self.run(self.service.recovery.book_funding(0))

    @rule(amount=st.integers(-500, 500).filter(bool))
    def transfer(self, amount: int) -> None:
        """A person moves cash to the account, or away from it."""
        self.clock.set(self.clock.now_ns() + NS_PER_S)
        self.venue.tell(self.core.deposit("sim", D(amount), self.clock.now_ns()))

    # -- traders, and a person

    def _intent(self, trader: str, held: PositionSide, contracts: Decimal, **more: Any) -> OrderIntent:
        self.count += 1
        given: dict[str, Any] = {
            "intent_id": f"i{self.count}",
            "trader_id": trader,
            "side": held.entry_side,
            "position_side": held,
            "contracts": contracts,
            "ts_created": self.clock.now_ns(),
        }
        return intent_of(**(given | more))

    @rule(
        trader=TRADER,
        side=SIDES,
        contracts=LOTS,
        ticks=st.none() | st.integers(-50, 50),
        stop=st.none() | st.integers(1, 20),
    )
    def enter(
        self, trader: str, side: PositionSide, contracts: Decimal, ticks: int | None, stop: int | None
    ) -> None:
        more: dict[str, Any] = {}
        if ticks is not None:
            more = {"order_type": OrderType.LIMIT, "price": self.mark + ticks * LISTED.tick_size}
        if stop is not None:
            more["stop_loss"] = LISTED.round_price(self.mark * (100 - side.sign * stop) / 100)
        self.run(self.accepted(self._intent(trader, side, contracts, **more)))

    @rule(trader=TRADER, side=SIDES, contracts=LOTS)
    def leave(self, trader: str, side: PositionSide, contracts: Decimal) -> None:
        more = {"side": side.exit_side, "purpose": Purpose.EXIT}
        self.run(self.accepted(self._intent(trader, side, contracts, **more)))

    async def accepted(self, intent: OrderIntent) -> None:
        await self.service.desk.accept(intent)
        await settle()

    @rule(side=SIDES, buys=st.booleans(), contracts=st.integers(1, 3_000).map(lambda n: n * LISTED.lot_size))
    def by_hand(self, side: PositionSide, buys: bool, contracts: Decimal) -> None:
        self.count += 1
        netting = self.mode is PositionMode.NET
        request = OrderRequest(
            symbol=BTC,
            side=Side.BUY if buys else Side.SELL,
            size=contracts,
            ord_type=OrdType.MARKET,
            pos_side=PosSide.NET if netting else PosSide(side.value),
        )
        try:
            _, events = self.core.place("sim", request, self.clock.now_ns())
        except VenueRefusal:
            return
        self.venue.tell(events)

    # -- what the stream brings, and how

    @rule(data=st.data())
    def deliver(self, data: st.DataObject) -> None:
        """Some of what waits, in any order, some of it twice, some of it never."""
        self.waiting += self.venue.take()
        if not self.waiting:
            return
        order = data.draw(st.permutations(range(len(self.waiting))))
        chosen = order[: data.draw(st.integers(0, len(order)))]
        fates = data.draw(
            st.lists(st.sampled_from([0, 1, 1, 1, 2]), min_size=len(chosen), max_size=len(chosen))
        )
        for index, times in zip(chosen, fates, strict=True):
            for _ in range(times):
                self.run(self.pushed(self.waiting[index]))
        self.waiting = [event for i, event in enumerate(self.waiting) if i not in set(chosen)]

    async def pushed(self, event: VenueEvent) -> None:
        await self.service._on_event(event)
        await settle()

    @rule()
    def look_after_stops(self) -> None:
        self.run(self.service.guard.check())
        self.run(settle())

    async def settled(self) -> None:
        """The venue has been asked for all that it knows."""
        await settle()
        await self.service.recovery.ask_for_all()
        await settle()

    # -- what holds

    @invariant()
    def booked_fills_are_the_venues(self) -> None:
        """At any moment: what is booked is the venue's, once, and divided without a rest."""
        if not hasattr(self, "desk"):
            return
        fills = list(self.journal.fills.values())
        fees = sum((a.fees for a in self.books.traders()), ZERO)
        closed = self.books.remainder
        assert len({fill.fill_id for fill in fills}) == len(fills)
        known = {fill.trade_id: fill for fill in self.core.fills("sim")}
        for fill in fills:
            theirs = known[fill.fill_id.rsplit(":", 1)[1]]
            assert (fill.contracts, fill.price, fill.fee) == (theirs.size, theirs.price, theirs.fee)
        signed = sum((fill.side.sign * fill.contracts for fill in fills), ZERO)
        assert sum(self.books.holdings().values(), ZERO) == signed
        traders_only = all(fill.trader_id != UNATTRIBUTED for fill in fills) and not closed.lots
        if traders_only and not closed.cash:
            assert fees == sum((fill.fee for fill in fills), ZERO)

    @rule()
    def books_balance(self) -> None:
        """I8, when the venue has been asked: every contract, and the cash to the last decimal."""
        self.run(self.settled())
        venue = {
            (p.symbol, p.position_side): p.contracts for p in self.run(self.venue.positions()) if p.contracts
        }
        assert self.books.holdings() == venue
        found = self.run(self.service.auditor._compare())
        if found is not None:
            assert abs(found[1].cash_difference) < TINY, found[1]
        marks = {BTC: self.mark}
        equity = self.books.equity(marks)
        assert equity is not None
        assert abs(equity - self.core.balance("sim").equity) < TINY


Account.TestCase.settings = settings(
    max_examples=100,
    stateful_step_count=40,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
test_I8_holds_whatever_happens = Account.TestCase
