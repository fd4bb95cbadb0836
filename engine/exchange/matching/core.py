"""The entry of the venue core: one synchronous object, told the time by every call.

Nothing here reads a clock, waits or calls back: each call returns the events that it caused, oldest
first. Times do not go backwards: a call whose `ts` is behind the newest one counts as that newest one.
The same calls give the same events, byte for byte.
"""

from collections.abc import Sequence
from decimal import Decimal
from types import TracebackType
from typing import Self

import msgspec

from engine.core.errors import CodecError
from engine.core.instruments import Instrument
from engine.core.market import Side
from engine.exchange.matching import algos, amend, checks, leverage, liquidation, orders, risk, triggers
from engine.exchange.matching.book import Book
from engine.exchange.matching.options import MatchingOptions
from engine.exchange.matching.positions import Execution
from engine.exchange.matching.queries import Queries
from engine.exchange.matching.records import Event, VenueAlgo, VenueOrder
from engine.exchange.matching.state import Account, Market, Step, Travelling, VenueState, money
from engine.exchange.matching.types import (
    AccountSpec,
    AlgoAmend,
    AlgoRequest,
    AmendRequest,
    CloseRequest,
    LeverageRequest,
    MarginRequest,
    OrderRequest,
    TriggerType,
    VenueRefusal,
)
from engine.exchange.ports import PositionMode

PriceLevel = tuple[Decimal, Decimal]  # price, contracts
_NS = 1_000_000_000
_ENCODER = msgspec.msgpack.Encoder()
_DECODER = msgspec.msgpack.Decoder(VenueState)


class MatchingCore(Queries):
    """Accounts trading against one outside market. Requests raise VenueRefusal and then change nothing.

    `account` is AccountSpec.account. Orders never meet each other, only the outside market: what a taker
    took is gone from the book until the next snapshot of it. What the passing of time caused in a call
    that is refused comes with the next call's events.
    """

    def __init__(self, options: MatchingOptions | None = None) -> None:
        super().__init__(VenueState(), options or MatchingOptions())

    # the outside market

    def set_instrument(self, instrument: Instrument) -> None:
        """List a swap, or change its steps and limits; resting orders stay as they are."""
        market = self._state.markets.get(instrument.symbol)
        if market is None:
            self._state.markets[instrument.symbol] = Market(instrument=instrument, book=Book())
        else:
            market.instrument = instrument

    def change_instrument(self, instrument: Instrument) -> None:
        """As set_instrument. Refused 51001 when unlisted, 51000 for a new contract value under positions."""
        known = self._state.market(instrument.symbol).instrument
        held = (each for account in self._state.accounts.values() for each in account.open_holdings())
        revalued = instrument.contract_value != known.contract_value
        if revalued and any(holding.symbol == instrument.symbol for holding in held):
            raise VenueRefusal("51000", "The contract value can't change while there are positions.")
        self.set_instrument(instrument)

    def set_partial_fills(self, *, on: bool) -> None:
        """While on, no execution takes more than half of what an order still wants, and a FOK never fills."""
        self._state.partial_fills = on

    def on_book(
        self, symbol: str, bids: Sequence[PriceLevel], asks: Sequence[PriceLevel], ts: int
    ) -> list[Event]:
        """Replace the visible depth, best first. Resting orders that it crosses fill at their own price."""
        market = self._state.market(symbol)
        step = self._begin(ts)
        market.book.replace(bids, asks)
        orders.match_book(step, market)
        return step.events

    def on_trade(self, symbol: str, price: Decimal, size: Decimal, side: Side, ts: int) -> list[Event]:
        """A print of the outside market, `side` of its taker: fills makers, then fires what watches last."""
        market = self._state.market(symbol)
        step = self._begin(ts)
        market.last = price
        orders.match_trade(step, market, Execution(price=price, size=size), side)
        market.book.printed(price, size)
        triggers.watch(step, market, TriggerType.LAST, price)
        return step.events

    def on_mark(self, symbol: str, price: Decimal, ts: int) -> list[Event]:
        """New mark price: fires what watches it, then liquidates accounts that no longer carry their risk.

        Kept to 12 decimals, so that sums of unrealised profit are exact.
        """
        market = self._state.market(symbol)
        step = self._begin(ts)
        market.mark = money(price)
        triggers.watch(step, market, TriggerType.MARK, price)
        liquidation.liquidate_if_due(step, symbol)
        return step.events

    def on_index(self, symbol: str, price: Decimal, ts: int) -> list[Event]:
        """New index price: fires what watches it."""
        market = self._state.market(symbol)
        step = self._begin(ts)
        market.index = price
        triggers.watch(step, market, TriggerType.INDEX, price)
        return step.events

    def on_funding(self, symbol: str, rate: Decimal, ts: int) -> list[Event]:
        """Charge funding now on every open position at mark; longs pay a positive rate."""
        market = self._state.market(symbol)
        step = self._begin(ts)
        risk.charge_funding(step, market, rate)
        liquidation.liquidate_if_due(step, symbol)
        return step.events

    def advance(self, ts: int) -> list[Event]:
        """Let time pass: travelling requests arrive, dead man's switches fire."""
        return self._begin(ts).events

    # requests

    def open_account(self, spec: AccountSpec) -> None:
        """Known already: nothing changes."""
        self._state.accounts.setdefault(
            spec.account,
            Account(
                name=spec.account,
                cash=spec.balance,
                position_mode=spec.position_mode,
                level=spec.level,
                default_leverage=spec.leverage,
            ),
        )

    def deposit(self, account: str, amount: Decimal, ts: int) -> list[Event]:
        """Add to cash (below 0: take out) with a transfer bill."""
        with self._request(account, ts) as (step, owner):
            risk.book_transfer(step, owner, amount)
            return step.events

    def place(self, account: str, request: OrderRequest, ts: int) -> tuple[VenueOrder, list[Event]]:
        """Take an order; return it as accepted (live, nothing filled) and all events, its own included."""
        with self._request(account, ts) as (step, owner):
            order = orders.accept(step, owner, checks.check_order(step, owner, request))
            orders.send(step, owner, order)
            return order, step.events

    def cancel(
        self, account: str, symbol: str, ts: int, *, order_id: str = "", client_order_id: str = ""
    ) -> list[Event]:
        """Given both ids, `order_id` counts. Refused 51400 when there is nothing to cancel."""
        with self._request(account, ts) as (step, owner):
            orders.cancel(step, owner, symbol, owner.order(order_id, client_order_id))
            return step.events

    def amend(self, account: str, request: AmendRequest, ts: int) -> list[Event]:
        """Change a pending order. Refused 51503 when there is none."""
        with self._request(account, ts) as (step, owner):
            amend.amend_order(step, owner, request)
            return step.events

    def place_algo(self, account: str, request: AlgoRequest, ts: int) -> tuple[VenueAlgo, list[Event]]:
        """Take an algo; return it as accepted and all events, its own included."""
        with self._request(account, ts) as (step, owner):
            return algos.place_algo(step, owner, request), step.events

    def cancel_algo(
        self, account: str, symbol: str, ts: int, *, algo_id: str = "", client_id: str = ""
    ) -> list[Event]:
        """Given both ids, `algo_id` counts. Refused 51400 when there is nothing to cancel."""
        with self._request(account, ts) as (step, owner):
            algos.cancel_algo(step, owner, symbol, owner.algo(algo_id, client_id))
            return step.events

    def amend_algo(self, account: str, request: AlgoAmend, ts: int) -> list[Event]:
        """Change a waiting algo in place: it is never away. Refused 51503 when there is none."""
        with self._request(account, ts) as (step, owner):
            algos.amend_algo(step, owner, request)
            return step.events

    def set_leverage(self, account: str, request: LeverageRequest, ts: int) -> list[Event]:
        """Refused 59102 to 59107; equal changes nothing."""
        with self._request(account, ts) as (step, owner):
            leverage.set_leverage(step, owner, request)
            return step.events

    def adjust_margin(self, account: str, request: MarginRequest, ts: int) -> list[Event]:
        """Refused 59300 without an isolated position, 59301 and 59303 beyond what is free."""
        with self._request(account, ts) as (step, owner):
            leverage.adjust_margin(step, owner, request)
            return step.events

    def set_position_mode(self, account: str, mode: PositionMode, ts: int) -> list[Event]:
        """Refused 59000 while there is a position, a pending order or a waiting algo."""
        with self._request(account, ts) as (step, owner):
            risk.set_position_mode(owner, mode)
            return step.events

    def close_position(self, account: str, request: CloseRequest, ts: int) -> tuple[VenueOrder, list[Event]]:
        """Refused 51023 without a position, 51115 while pending orders close it (unless `auto_cancel`)."""
        with self._request(account, ts) as (step, owner):
            return orders.close_position(step, owner, request), step.events

    def cancel_all_after(self, account: str, timeout_s: int, ts: int) -> int:
        """Arm the dead man's switch: pending orders (not algos) go at the returned time, ns; 0 disarms."""
        with self._request(account, ts) as (step, owner):
            owner.cancel_all_ts = step.ts + timeout_s * _NS if timeout_s else 0
            self._state.undelivered.extend(step.events)
            return owner.cancel_all_ts

    # persistence

    def snapshot(self) -> bytes:
        """Everything that is remembered, but not the options."""
        return _ENCODER.encode(self._state)

    @classmethod
    def restore(cls, data: bytes, options: MatchingOptions | None = None) -> Self:
        """Continue where `snapshot` was taken; equal calls give equal events from there on.

        Raises CodecError when the bytes are no snapshot.
        """
        core = cls(options)
        try:
            core._state = _DECODER.decode(data)
        except msgspec.DecodeError as error:
            raise CodecError("not a snapshot of the venue core", data) from error
        return core

    # time

    def _request(self, account: str, ts: int) -> "_Request":
        owner = self._state.account(account)
        return _Request(self._begin(ts), owner)

    def _begin(self, ts: int) -> Step:
        """Move time to `ts`: everything that was due by then happens first, in its order."""
        state = self._state
        events, state.undelivered = state.undelivered, []
        now = max(ts, state.now)
        while (due := self._next_due(now)) is not None:
            state.now = due
            step = Step(state=state, options=self._options, ts=due, events=events)
            self._cancel_overdue(step)
            while state.travelling and state.travelling[0].ts <= due:
                _arrive(step, state.travelling.pop(0))
        state.now = now
        return Step(state=state, options=self._options, ts=now, events=events)

    def _next_due(self, now: int) -> int | None:
        travelling, due = self._state.travelling, now + 1
        if travelling:
            due = min(due, travelling[0].ts)
        for account in self._state.accounts.values():
            if 0 < account.cancel_all_ts < due:
                due = account.cancel_all_ts
        return due if due <= now else None

    def _cancel_overdue(self, step: Step) -> None:
        for account in self._state.accounts.values():
            if 0 < account.cancel_all_ts <= step.ts:
                account.cancel_all_ts = 0
                for order in tuple(account.orders.values()):
                    orders.end(step, account, order, orders.BY_SWITCH)


class _Request:
    """A step for one account's request; a refusal keeps what time had caused for the next call."""

    __slots__ = ("_owner", "_step")

    def __init__(self, step: Step, owner: Account) -> None:
        self._step, self._owner = step, owner

    def __enter__(self) -> tuple[Step, Account]:
        return self._step, self._owner

    def __exit__(
        self, _: type[BaseException] | None, error: BaseException | None, __: TracebackType | None
    ) -> None:
        if isinstance(error, VenueRefusal):
            self._step.state.undelivered.extend(self._step.events)


def _arrive(step: Step, request: Travelling) -> None:
    account = step.state.account(request.account)
    if request.amend is not None:
        amend.apply_amend(step, account, request.order_id, request.amend)
        return
    order = account.orders.get(request.order_id)
    if order is None:  # it ended meanwhile
        return
    if request.cancel:
        orders.end(step, account, order, orders.BY_USER)
    else:
        orders.enter(step, account, order.order_id)
