"""One account of the matching core behind the Venue port.

The same core trades behind the simulator's wire, so an order meets the same rules on either way. Nothing here
waits: a request is carried out at the time of the clock.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine, Iterable, Sequence
from decimal import Decimal
from types import TracebackType
from typing import Final, TypeVar

from engine.clock import Clock
from engine.core.cash import VenueFunding, VenueTransfer
from engine.core.errors import Rejected, TriggerPassed, VenueError
from engine.core.instruments import FeeTier, Instrument
from engine.core.orders import ExecutionReport, Order, OrderIntent, OrderType, Purpose, stop_client_id
from engine.exchange.matching.algos import TRIGGER_PASSED
from engine.exchange.matching.core import MatchingCore
from engine.exchange.matching.records import BillType, Event, OrderChanged, VenueAlgo, VenueFill, VenueOrder
from engine.exchange.matching.types import (
    AccountSpec,
    AlgoAmend,
    AlgoRequest,
    AlgoType,
    AmendRequest,
    AttachedAlgo,
    LeverageRequest,
    OrderRequest,
    OrdType,
    PosSide,
    TriggerType,
    VenueRefusal,
)
from engine.exchange.paper import reports
from engine.exchange.ports import (
    Amendment,
    PositionMode,
    Protection,
    ProtectionRequest,
    StreamStatus,
    Trailing,
    VenueBalance,
    VenueEvent,
    VenuePosition,
)

T = TypeVar("T")
_CURRENCY: Final = "USDT"
_REMOVED: Final = Decimal(0)


class PaperVenue:
    """`Venue` of one paper account. See engine.exchange.ports.Venue for what each method promises.

    Whoever moves the core's outside market gives what it caused to `tell`, in order. `trigger` is the price
    that fires stops and targets. The queue of events holds what one moment of the market caused.
    """

    def __init__(
        self,
        core: MatchingCore,
        account: AccountSpec,
        clock: Clock,
        trigger: TriggerType = TriggerType.MARK,
    ) -> None:
        self.account_id = account.account
        self._core, self._clock, self._trigger = core, clock, trigger
        self._mode = account.position_mode
        self._events: asyncio.Queue[VenueEvent] = asyncio.Queue()
        core.open_account(account)

    def tell(self, events: Iterable[Event]) -> None:
        """Pass on what happened to the account's orders."""
        for event in events:
            if isinstance(event, OrderChanged) and event.order.account == self.account_id:
                self._events.put_nowait(self._report(event.order, event.fill))

    def _report(self, order: VenueOrder, fill: VenueFill | None) -> ExecutionReport:
        return reports.execution_report(order, fill, self._sender(order), self._clock.now_ns())

    def _sender(self, order: VenueOrder) -> VenueAlgo | None:
        return self._core.algo(self.account_id, algo_id=order.algo_id) if order.algo_id else None

    async def run(self) -> None:
        """There is no connection to keep; the stream is up for as long as this runs."""
        await self._events.put(StreamStatus(connected=True, ts=self._clock.now_ns()))
        await asyncio.get_running_loop().create_future()

    async def events(self) -> AsyncIterator[VenueEvent]:
        """What happened, in order, for ever."""
        while True:
            yield await self._events.get()

    # -- the account

    async def check_account(self) -> None:
        """Nothing can be wrong with it."""

    async def fees(self) -> FeeTier:
        fees = self._core.fees
        return FeeTier("paper", fees.maker, fees.taker)

    async def instruments(self) -> tuple[Instrument, ...]:
        return self._core.instruments()

    async def balance(self) -> VenueBalance:
        return reports.balance(self._core.balance(self.account_id), _CURRENCY)

    async def positions(self) -> tuple[VenuePosition, ...]:
        return tuple(map(reports.position, self._core.positions(self.account_id)))

    async def set_leverage(self, symbol: str, leverage: Decimal) -> None:
        if self._core.leverage(self.account_id, symbol) != leverage:
            request = LeverageRequest(symbol=symbol, leverage=leverage)
            with self._request() as ts:
                self.tell(self._core.set_leverage(self.account_id, request, ts))

    # -- orders

    async def submit(self, order: Order) -> ExecutionReport:
        with self._request() as ts:
            taken, events = self._core.place(self.account_id, self._order_request(order), ts)
        self.tell(events)
        return self._report(taken, None)

    async def cancel(self, order: Order) -> None:
        with self._request() as ts:
            self.tell(
                self._core.cancel(
                    self.account_id,
                    order.intent.symbol,
                    ts,
                    order_id=order.venue_order_id,
                    client_order_id=order.client_order_id,
                )
            )

    async def submit_many(self, orders: Sequence[Order]) -> tuple[ExecutionReport | VenueError, ...]:
        return tuple([await _answer(self.submit(order)) for order in orders])

    async def cancel_many(self, orders: Sequence[Order]) -> tuple[VenueError | None, ...]:
        return tuple([await _answer(self.cancel(order)) for order in orders])

    async def amend(self, order: Order, change: Amendment) -> None:
        request = AmendRequest(
            symbol=order.intent.symbol,
            order_id=order.venue_order_id,
            client_order_id=order.client_order_id,
            size=change.contracts,
            price=change.price,
            req_id=change.request_id,
        )
        with self._request() as ts:
            self.tell(self._core.amend(self.account_id, request, ts))

    async def amend_many(self, changes: Sequence[tuple[Order, Amendment]]) -> tuple[VenueError | None, ...]:
        return tuple([await _answer(self.amend(order, change)) for order, change in changes])

    async def query(self, order: Order) -> ExecutionReport | None:
        try:
            found = self._core.order(
                self.account_id, order_id=order.venue_order_id, client_order_id=order.client_order_id
            )
        except VenueRefusal:
            return None
        return self._report(found, None)

    async def open_orders(self) -> tuple[ExecutionReport, ...]:
        return tuple(self._report(order, None) for order in self._core.pending_orders(self.account_id))

    async def executions_since(self, ts_ns: int) -> tuple[ExecutionReport, ...]:
        fills = self._core.fills(self.account_id, ts_ns)
        return tuple(
            self._report(self._core.order(self.account_id, order_id=fill.order_id), fill)
            for fill in reversed(fills)
        )

    async def funding_since(self, ts_ns: int) -> tuple[VenueFunding, ...]:
        bills = [
            bill for bill in self._core.bills(self.account_id, ts_ns) if bill.bill_type is BillType.FUNDING
        ]
        return tuple(map(reports.funding, reversed(bills)))

    async def transfers_since(self, ts_ns: int) -> tuple[VenueTransfer, ...]:
        bills = [
            bill
            for bill in self._core.bills(self.account_id, ts_ns)
            if bill.bill_type is not BillType.FUNDING and not bill.trade_id
        ]
        return tuple(map(reports.transfer, reversed(bills)))

    # -- stops and targets

    async def protections(self) -> tuple[Protection, ...]:
        return tuple(map(reports.protection, self._core.pending_algos(self.account_id)))

    async def protect(self, request: ProtectionRequest) -> Protection:
        with self._request() as ts:
            algo, events = self._core.place_algo(self.account_id, self._algo_request(request), ts)
        self.tell(events)
        return reports.protection(algo)

    async def amend_protection(self, protection: Protection, request: ProtectionRequest) -> None:
        if protection.trailing or request.trailing is not None:
            raise Rejected("a trailing stop cannot be changed: cancel it and place another")
        change = AlgoAmend(
            symbol=protection.symbol,
            algo_id=protection.venue_id,
            size=request.contracts,
            sl_trigger=_changed(protection.stop_loss, request.stop_loss),
            tp_trigger=_changed(protection.take_profit, request.take_profit),
        )
        with self._request() as ts:
            self.tell(self._core.amend_algo(self.account_id, change, ts))

    async def cancel_protection(self, protection: Protection) -> bool:
        try:
            events = self._core.cancel_algo(
                self.account_id, protection.symbol, self._clock.now_ns(), algo_id=protection.venue_id
            )
        except VenueRefusal:
            return False
        self.tell(events)
        return True

    # -- words

    def _request(self) -> _Request:
        return _Request(self._clock.now_ns())

    def _order_request(self, order: Order) -> OrderRequest:
        intent = order.intent
        return OrderRequest(
            symbol=intent.symbol,
            side=intent.side,
            size=intent.contracts,
            ord_type=OrdType(intent.order_type.value),
            price=None if intent.order_type is OrderType.MARKET else intent.price,
            pos_side=self._pos_side(intent.position_side.value),
            client_order_id=order.client_order_id,
            reduce_only=intent.purpose.reduces and self._mode is PositionMode.NET and self._covers(intent),
            attached=self._attached(order),
        )

    def _covers(self, intent: OrderIntent) -> bool:
        """In net mode one trader's close may enlarge the net of all: it is no reduction then."""
        held = self._core.net_contracts(self.account_id, intent.symbol)
        return held * -intent.side.sign >= intent.contracts

    def _algo_request(self, request: ProtectionRequest) -> AlgoRequest:
        kind, trailing = AlgoType.CONDITIONAL, request.trailing or Trailing()
        if request.trailing is not None:
            kind = AlgoType.MOVE_ORDER_STOP
        elif request.stop_loss is not None and request.take_profit is not None:
            kind = AlgoType.OCO
        return AlgoRequest(
            symbol=request.symbol,
            side=request.position_side.exit_side,
            algo_type=kind,
            size=request.contracts,
            pos_side=self._pos_side(request.position_side.value),
            client_id=request.client_id,
            tp_trigger=request.take_profit,
            tp_trigger_type=self._trigger,
            sl_trigger=request.stop_loss,
            sl_trigger_type=self._trigger,
            callback_ratio=trailing.ratio,
            callback_spread=trailing.distance,
            active_price=trailing.activation,
        )

    def _pos_side(self, side: str) -> PosSide:
        return PosSide.NET if self._mode is PositionMode.NET else PosSide(side)

    def _attached(self, order: Order) -> tuple[AttachedAlgo, ...]:
        """Stop and target of an entry in one, so that the one cancels the other."""
        intent = order.intent
        if intent.purpose is not Purpose.ENTRY or (intent.stop_loss is None and intent.take_profit is None):
            return ()
        return (
            AttachedAlgo(
                client_id=stop_client_id(order.client_order_id),
                tp_trigger=intent.take_profit,
                tp_trigger_type=self._trigger,
                sl_trigger=intent.stop_loss,
                sl_trigger_type=self._trigger,
            ),
        )


class _Request:
    """The time of a request; the core's refusal is the venue's."""

    __slots__ = ("_ts",)

    def __init__(self, ts: int) -> None:
        self._ts = ts

    def __enter__(self) -> int:
        return self._ts

    def __exit__(
        self, _: type[BaseException] | None, error: BaseException | None, __: TracebackType | None
    ) -> None:
        if isinstance(error, VenueRefusal):
            refused = TriggerPassed if error.code in TRIGGER_PASSED else Rejected
            raise refused(error.message, error.code) from error


async def _answer(request: Coroutine[None, None, T]) -> T | VenueError:
    """One of several requests: a refusal is its answer, not the others'."""
    try:
        return await request
    except VenueError as error:
        return error


def _changed(before: Decimal | None, after: Decimal | None) -> Decimal | None:
    """A trigger in an amendment: None keeps it, 0 removes it."""
    if after == before:
        return None
    return _REMOVED if after is None else after
