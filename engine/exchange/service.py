"""The exchange part of one venue account: start by recovery, then carry intents out until stopped."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from decimal import Decimal
from functools import partial
from typing import Final

import structlog

from engine.bus import INTENTS, STOP_MOVES, TRANSFERS, Message
from engine.core.cash import Transfer
from engine.core.errors import OutcomeUnknown, Rejected, Unavailable
from engine.core.orders import ExecutionReport, Order, OrderIntent, OrderType, Purpose, StopMove
from engine.core.times import NS_PER_HOUR, NS_PER_S
from engine.exchange.audit import Auditor
from engine.exchange.context import ExchangeContext
from engine.exchange.fees import FeeWatch
from engine.exchange.opening import move_capital, open_books
from engine.exchange.orders import OrderDesk
from engine.exchange.ports import StreamStatus, VenueBalance, VenueEvent
from engine.exchange.protection import Guard
from engine.exchange.recovery import Recovery
from engine.exchange.thresholds import Thresholds
from engine.exchange.watch import Watch

log = structlog.get_logger()

_FUNDING_EVERY_S: Final = 5.0
_START_WAIT_S: Final = 1.0
_LEVERAGE_EVERY_S: Final = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ExchangeRules:
    """How patient and how strict the order path of one account is. Real seconds but for `limit_timeout_s`.

    `infer_missing_fills`: a position that no execution of the venue explains is booked as the fill that
    explains it; else it stops entries in its symbol until a person has acted.
    """

    limit_timeout_s: float  # engine time that an entry may rest
    audit_every_s: float
    infer_missing_fills: bool = True
    thresholds: Thresholds = field(default_factory=Thresholds)


class ExchangeService:
    """One venue account. `refusal` says why entries must wait; closes are taken whenever there is a way."""

    def __init__(
        self,
        context: ExchangeContext,
        capital: dict[str, Decimal],
        leverage: dict[str, Decimal],
        rules: ExchangeRules,
    ) -> None:
        self._context = context
        self._capital, self._leverage, self._rules = capital, leverage, rules
        self.desk = OrderDesk(context)
        self.recovery = Recovery(context, self.desk, rules.thresholds)
        self.watch = Watch(context, self.desk, self.recovery, rules.thresholds)
        self.guard = Guard(context, self.desk, self.recovery)
        self.auditor = Auditor(
            context, self.desk, self.recovery, rules.thresholds, infer=rules.infer_missing_fills
        )
        self.desk.release, self.desk.look_back = self.guard.release, self.recovery.look_back
        self.fees = FeeWatch(context)
        self.halted = ""  # reason; entries wait until an operator resumes
        self.ready = False
        self.stream_up = False
        self._leverage_refused: set[str] = set()
        self._leverage_stuck = asyncio.Event()  # set while one is refused
        self._gap = asyncio.Event()  # the private stream was down
        self.balance: VenueBalance | None = None

    @property
    def account_id(self) -> str:
        """The venue account's name."""
        return self._context.books.account_id

    @property
    def taker_fee(self) -> Decimal:
        """What taking costs the account, as a fraction of notional."""
        return self.fees.tier.taker

    def refusal(self, symbol: str) -> str:
        """Why an entry in `symbol` must not be sent now; "" when it may."""
        if not self._context.trading_enabled:
            return "trading_disabled"
        if self.halted:
            return self.halted
        if not self.ready:
            return "recovering"
        if not self.stream_up:
            return "private_stream_down"
        if symbol in self._leverage_refused:
            return "leverage_not_set"
        if symbol in self._context.books.remainder.symbols:
            return "unattributed_position"
        if self.auditor.suspicious & {symbol, "*"}:
            return "books_do_not_balance"
        return ""

    def halt(self, reason: str) -> None:
        """No entry in any symbol until `resume`; closes pass."""
        self.halted = reason

    def resume(self) -> None:
        """End a halt."""
        self.halted = ""

    async def start(self) -> None:
        """Load the journal, check the account, reconcile, hand out capital; trade only after it (I5).

        Waits for a venue that is away. Raises VenueMisconfigured when it must not start.
        """
        await self.recovery.load()
        async with asyncio.TaskGroup() as tasks:
            applying = tasks.create_task(self.desk.run(), name="desk while recovering")
            while True:
                try:
                    await self._synchronise()
                    break
                except (Unavailable, OutcomeUnknown) as error:
                    log.warning("venue is away, waiting", error=str(error))
                    await self._context.clock.sleep_real(_START_WAIT_S)
            await self.desk.drained()
            applying.cancel()
        await self.fees.read()
        self.ready = True
        self.guard.look_soon()

    async def _synchronise(self) -> None:
        await self._context.venue.check_account()
        await self.recovery.reconcile()
        await open_books(self._context, self._capital)
        await self.auditor.settle()
        if self._context.trading_enabled:
            await self.set_leverage()
        await self.recovery.resume_intents()

    async def set_leverage(self) -> None:
        """At the venue, for every symbol; one that it refuses gets no entry until it takes it.

        Raises Unavailable or OutcomeUnknown when the venue does not answer.
        """
        for symbol, leverage in self._leverage.items():
            try:
                await self._context.venue.set_leverage(symbol, leverage)
                self._leverage_refused.discard(symbol)
            except Rejected as error:
                self._leverage_refused.add(symbol)
                self._leverage_stuck.set()
                log.warning("leverage not set, no entries", symbol=symbol, error=str(error))

    async def _repeat_leverage(self) -> None:
        """An order or a position that stood in the way may be gone."""
        while True:
            await self._leverage_stuck.wait()
            await self._context.clock.sleep_real(_LEVERAGE_EVERY_S)
            try:
                await self.set_leverage()
            except (Unavailable, OutcomeUnknown) as error:
                log.warning("leverage not asked for", error=str(error))
            if not self._leverage_refused:
                self._leverage_stuck.clear()

    async def run(self) -> None:
        """Everything that goes on beside each other; ends only with an error."""
        async with asyncio.TaskGroup() as tasks:
            for name, work in (
                ("venue", self._context.venue.run()),
                ("venue events", self._listen()),
                ("reconcile", self._reconcile()),
                ("order desk", self.desk.run()),
                ("order updates", self.desk.updates.publish()),
                ("stops", self.guard.run()),
                ("patrol", self.guard.patrol()),
                ("orders under way", self.watch.under_way(self._cancel_stale)),
                ("open orders", self.watch.resting()),
                ("audit", self.auditor.run(self._rules.audit_every_s)),
                ("funding", self._funding()),
                ("fees", self.fees.run()),
                ("leverage", self._repeat_leverage()),
                ("lost intents", self._resume_lost()),
                ("intents", self._context.bus.consume(INTENTS, "exchange", self._on_intent)),
                ("transfers", self._context.bus.consume(TRANSFERS, "exchange", self._on_transfer)),
                ("stop moves", self._context.bus.consume(STOP_MOVES, "exchange", self._on_stop_move)),
            ):
                tasks.create_task(work, name=name)

    async def _on_intent(self, message: Message[OrderIntent]) -> None:
        intent = message.body
        if intent.account_id == self._context.books.account_id:
            await self.desk.accept(intent)

    async def _resume_lost(self) -> None:
        """What the manager has journalled is carried out, also when its message was lost with Redis."""
        while True:
            await self._context.clock.sleep_real(self._rules.thresholds.intents_s)
            await self.recovery.resume_intents()

    async def _on_stop_move(self, message: Message[StopMove]) -> None:
        if message.body.account_id == self._context.books.account_id:
            self.guard.move(message.body)

    async def _on_transfer(self, message: Message[Transfer]) -> None:
        if message.body.account_id == self._context.books.account_id:
            await move_capital(self._context, message.body)

    async def _listen(self) -> None:
        async for event in self._context.venue.events():
            await self._on_event(event)

    async def _on_event(self, event: VenueEvent) -> None:
        if isinstance(event, ExecutionReport):
            await self.desk.report(event)
        elif isinstance(event, VenueBalance):
            self.balance = event
        elif isinstance(event, StreamStatus):
            self.stream_up = event.connected
            log.info("private stream changed", connected=event.connected)
            if event.connected:
                self.ready = False
                self._gap.set()
        # Positions are fetched by the audit at quiet moments, funding comes with its bill.

    async def _reconcile(self) -> None:
        """Catch up on what the private stream did not say whenever it was down, for ever."""
        while True:
            await self._gap.wait()
            self._gap.clear()
            try:
                await self.recovery.reconcile()
            except (Unavailable, OutcomeUnknown, Rejected) as error:
                log.warning("venue not reconciled, waiting", error=str(error))
                self._gap.set()
                await self._context.clock.sleep_real(_START_WAIT_S)
            else:
                self.ready = not self._gap.is_set()  # else the stream was away again meanwhile

    async def _funding(self) -> None:
        """Ask for funding bills; the venue pushes balances, not whose they are."""
        clock, since = self._context.clock, self._context.clock.now_ns()
        while True:
            await clock.sleep_real(_FUNDING_EVERY_S)
            now = clock.now_ns()
            try:
                await self.recovery.book_funding(since - NS_PER_HOUR)
                since = now
            except (Unavailable, OutcomeUnknown, Rejected) as error:
                log.warning("funding not asked for", error=str(error))

    def _cancel_stale(self, order: Order) -> None:
        """Cancel an entry that rests for longer than it may."""
        if self._is_stale(order):
            self._context.jobs.start(f"cancel:{order.client_order_id}", partial(self.desk.cancel, order))

    def _is_stale(self, order: Order) -> bool:
        intent = order.intent
        rests = intent.order_type in {OrderType.LIMIT, OrderType.POST_ONLY}
        age_ns = self._context.clock.now_ns() - intent.ts_created
        return rests and intent.purpose is Purpose.ENTRY and age_ns > self._rules.limit_timeout_s * NS_PER_S
