"""One OKX account behind the Venue port: requests by socket or REST, news by the private sockets."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from decimal import Decimal
from typing import Final

import structlog

from engine.clock import Clock
from engine.config.exchange import OkxConfig
from engine.core.cash import VenueFunding, VenueTransfer
from engine.core.errors import OutcomeUnknown, Rejected, Unavailable, VenueError
from engine.core.instruments import FeeTier, Instrument
from engine.core.orders import ZERO, ExecutionReport, Order, OrderState, Purpose
from engine.exchange.okx import account_check, account_wire, orders_wire, reference_wire
from engine.exchange.okx.dead_man import DeadMansSwitch
from engine.exchange.okx.errors import is_duplicate
from engine.exchange.okx.history import History
from engine.exchange.okx.links import Network
from engine.exchange.okx.numbers import ms_to_ns, plain
from engine.exchange.okx.order_entry import AMEND, CANCEL, PLACE, OrderEntry
from engine.exchange.okx.orders_wire import FillRecord, OrderRecord, OrderSums, Origin
from engine.exchange.okx.origins import Origins, ours
from engine.exchange.okx.private_stream import PrivateStream
from engine.exchange.okx.protections import Protections
from engine.exchange.okx.requests_wire import (
    TradeTerms,
    amend_body,
    cancel_body,
    leverage_body,
    order_body,
)
from engine.exchange.okx.rest import RestClient, Verdict, readable, understood
from engine.exchange.ports import (
    Amendment,
    PositionMode,
    Protection,
    ProtectionRequest,
    VenueBalance,
    VenueEvent,
    VenuePosition,
)

log = structlog.get_logger()

_REMEMBERED_ORDERS: Final = 5_000


class OkxVenue:
    """`Venue` of OKX for one account. See engine.exchange.ports.Venue for what each method promises.

    `run` also closes the REST connections when it ends; `close` does so where `run` was never started.
    """

    def __init__(self, config: OkxConfig, clock: Clock, network: Network | None = None) -> None:
        self.account_id = config.account_id
        self.position_mode = PositionMode(config.position_mode)
        self._config, self._clock = config, clock
        self._terms = TradeTerms(
            self.position_mode,
            config.margin_mode,
            config.trigger_price,
            config.order_tag,
            config.clamp_price,
        )
        self._checked = False
        self.settings = account_wire.AccountSettings()  # of the account, once it was checked
        self._origins = Origins()
        self._codes: dict[str, int] = {}  # symbol → how the socket names it
        self._net: dict[str, Decimal] = {}  # symbol → signed contracts, where the account nets
        self._owners: dict[str, tuple[Origin, Decimal]] = {}  # venue order id → whose, and its size
        self.rest = RestClient(config, clock)
        self._history = History(self.rest)
        self._protections = Protections(self.rest, self._history, self._origins, self._terms)
        self.stream = PrivateStream(config, self.rest, clock, self._origins, network or Network.of(config))
        term_s = config.cancel_all_after
        self._switch = DeadMansSwitch(self.rest, clock, term_s, config.order_tag) if term_s else None
        self._entry = OrderEntry(
            self.rest, self.stream.operations, self._codes, socket=config.order_entry == "websocket"
        )

    async def run(self) -> None:
        """Keep the account's sockets open until cancelled. Raises VenueMisconfigured."""
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self.stream.run(), name="account sockets")
                if self._switch is not None:
                    tasks.create_task(self._switch.run(), name="dead man's switch")
        finally:
            await self.close()

    async def close(self) -> None:
        """End the REST connections; safe to call twice."""
        await self.rest.close()

    async def events(self) -> AsyncIterator[VenueEvent]:
        """What the account's sockets bring, in order."""
        async for event in self.stream.events():
            if isinstance(event, VenuePosition):
                self._note_positions([event])
            yield event

    async def check_account(self) -> None:
        """Raises VenueMisconfigured with what to change, Unavailable. Passed once, it is not asked again."""
        if not self._checked:
            self.settings = await account_check.check(self.rest, self._config)
            self._checked = True

    async def fees(self) -> FeeTier:
        query = {"instType": "SWAP", "instFamily": f"BTC-{self._config.settle_currency}"}
        return readable(account_wire.decode_fees, await self.rest.get("account/trade-fee", query))

    async def instruments(self) -> tuple[Instrument, ...]:
        body = await self.rest.get("public/instruments", {"instType": "SWAP"}, private=False)
        found = readable(reference_wire.decode_instruments, body)
        self.note_listed(found)
        return tuple(each for each in found if each.settle == self._config.settle_currency)

    def note_listed(self, found: Iterable[Instrument]) -> None:
        """Remember by which number the socket knows an instrument; it may change."""
        self._codes |= {each.symbol: each.inst_id_code for each in found if each.inst_id_code is not None}

    async def balance(self) -> VenueBalance:
        currency = self._config.settle_currency
        body = await self.rest.get("account/balance", {"ccy": currency})
        balance = readable(lambda raw: account_wire.decode_balance(raw, currency), body)
        if balance is None:  # an account that never held the currency lists nothing
            return VenueBalance(currency=currency, cash=ZERO, equity=ZERO, available=ZERO)
        return balance

    async def positions(self) -> tuple[VenuePosition, ...]:
        body = await self.rest.get("account/positions", {"instType": "SWAP"})
        found = [each for each in readable(account_wire.decode_positions, body) if each.contracts]
        self._net.clear()
        self._note_positions(found)
        return tuple(found)

    async def set_leverage(self, symbol: str, leverage: Decimal) -> None:
        """Read, compare, set; a refusal (59000: something is open) is success when it is equal anyway."""
        wanted = frozenset({plain(leverage)})
        if await self._leverage(symbol) == wanted:
            return
        body = leverage_body(symbol, plain(leverage), self._config.margin_mode)
        try:
            await self.rest.change("account/set-leverage", body, symbol=symbol)
        except (Rejected, OutcomeUnknown):
            if await self._leverage(symbol) != wanted:
                raise
        log.info("leverage set", symbol=symbol, leverage=plain(leverage))

    async def _leverage(self, symbol: str) -> frozenset[str]:
        query = {"instId": symbol, "mgnMode": self._config.margin_mode}
        return readable(account_wire.decode_leverage, await self.rest.get("account/leverage-info", query))

    # -- orders

    async def submit(self, order: Order) -> ExecutionReport:
        """Send once. A client id that is in use means that an earlier request got through: ask for it."""
        (answer,) = await self.submit_many([order])
        if isinstance(answer, VenueError):
            raise answer
        return answer

    async def submit_many(self, orders: Sequence[Order]) -> tuple[ExecutionReport | VenueError, ...]:
        for order in orders:
            self._origins.expect(order)
        bodies = [order_body(order, self._terms, reduce_only=self._reduces(order)) for order in orders]
        lives = [order.intent.ts_expires for order in orders]
        expires_ns = min(lives) if all(lives) and lives else 0  # a close waits for nothing and never expires
        verdicts = await self._entry.send(PLACE, bodies, expires_ns)
        return tuple(self._answer(order, verdict) for order, verdict in zip(orders, verdicts, strict=True))

    def _answer(self, order: Order, verdict: Verdict) -> ExecutionReport | VenueError:
        if isinstance(verdict, VenueError):
            taken = isinstance(verdict, Rejected) and is_duplicate(verdict.code)
            return OutcomeUnknown(str(verdict), verdict.code) if taken else verdict
        intent, now = order.intent, self._clock.now_ns()
        return ExecutionReport(
            client_order_id=order.client_order_id,
            venue_order_id=verdict.ordId,
            symbol=intent.symbol,
            side=intent.side,
            position_side=intent.position_side if self.position_mode is PositionMode.LONG_SHORT else None,
            state=OrderState.NEW,
            contracts=intent.contracts,
            ts_event=ms_to_ns(verdict.ts) or now,
            ts_recv=now,
            raw=orders_wire.as_said(verdict),
        )

    def _reduces(self, order: Order) -> bool:
        """Whether to say reduceOnly, in net mode.

        There, the position is the sum of several traders': closing one's long may enlarge a net short, and
        the venue would refuse that. So it is said only when the net position is known to cover the order.
        """
        purpose, intent = order.intent.purpose, order.intent
        if not purpose.reduces:
            return False
        return self._covers(intent.symbol, -intent.side.sign, intent.contracts)

    def _covers(self, symbol: str, sign: int, contracts: Decimal) -> bool:
        return self._net.get(symbol, ZERO) * sign >= contracts

    async def cancel(self, order: Order) -> None:
        """Raises Rejected when it is gone already; then a query tells how it ended."""
        _raise(await self.cancel_many([order]))

    async def cancel_many(self, orders: Sequence[Order]) -> tuple[VenueError | None, ...]:
        return _errors(await self._entry.send(CANCEL, [cancel_body(order) for order in orders]))

    async def amend(self, order: Order, change: Amendment) -> None:
        """Raises Rejected when it is gone already or cannot be so; the outcome comes as an event."""
        _raise(await self.amend_many([(order, change)]))

    async def amend_many(self, changes: Sequence[tuple[Order, Amendment]]) -> tuple[VenueError | None, ...]:
        return _errors(
            await self._entry.send(
                AMEND, [amend_body(order, change, self._terms) for order, change in changes]
            )
        )

    async def query(self, order: Order) -> ExecutionReport | None:
        """An order that was taken once and is in no list any more was cancelled unfilled (OKX: after 2 h)."""
        record = await self._history.order(order)
        if record is not None:
            return self._told(record, Origin(order.client_order_id, (await self._origin(record)).category))
        if not order.venue_order_id:
            return None
        if not self._history.surely_gone(order):
            raise Unavailable(f"order {order.client_order_id} is not visible yet")
        return ExecutionReport(
            client_order_id=order.client_order_id,
            venue_order_id=order.venue_order_id,
            symbol=order.intent.symbol,
            side=order.intent.side,
            position_side=order.intent.position_side,
            state=OrderState.CANCELED,
            contracts=order.intent.contracts,
            filled=order.claimed,
            reason="the venue has forgotten it: cancelled without a fill",
            ts_event=self._clock.now_ns(),
        )

    async def open_orders(self) -> tuple[ExecutionReport, ...]:
        records = await self._history.open_orders()
        return tuple([self._told(record, await self._origin(record)) for record in records])

    def _told(self, record: OrderRecord, origin: Origin) -> ExecutionReport:
        now = self._clock.now_ns()
        return understood(lambda: orders_wire.report(record, origin, now, pushed=False))

    async def executions_since(self, ts_ns: int) -> tuple[ExecutionReport, ...]:
        records = await self._history.fills(ts_ns)
        owners = {record.ordId: await self._owner(record) for record in records}
        now = self._clock.now_ns()
        return understood(lambda: tuple(_executions(records, owners, now)))

    async def _owner(self, fill: FillRecord) -> tuple[Origin, Decimal]:
        """Whose fill, and the size of its order; the venue is asked when the fill names no id of ours."""
        if client_id := ours(fill.clOrdId):
            return Origin(client_id, None), ZERO
        if fill.liquidation:
            return Origin("", Purpose.LIQUIDATION), ZERO
        known = self._owners.get(fill.ordId)
        if known is None:
            record = await self._history.order_by_id(fill.instId, fill.ordId)
            known = (Origin("", None), ZERO)
            if record is not None:
                known = (await self._origin(record), self._told(record, Origin("", None)).contracts)
            self._owners[fill.ordId] = known
            if len(self._owners) > _REMEMBERED_ORDERS:
                del self._owners[next(iter(self._owners))]
        return known

    async def _origin(self, record: OrderRecord) -> Origin:
        """As Origins.of, after asking for a protection that this process has not met."""
        if self._origins.unsure(record):
            algo = await self._history.algo(record.algoClOrdId or "")
            if algo is not None:
                self._origins.learn(algo)
        return self._origins.of(record)

    async def funding_since(self, ts_ns: int) -> tuple[VenueFunding, ...]:
        charges = await self._history.funding(ts_ns)
        if self.position_mode is PositionMode.LONG_SHORT:
            charges = await self._history.with_sides(charges)
        return tuple(charges)

    async def transfers_since(self, ts_ns: int) -> tuple[VenueTransfer, ...]:
        return tuple(await self._history.transfers(ts_ns, self._config.settle_currency))

    # -- stops and targets

    async def protections(self) -> tuple[Protection, ...]:
        return await self._protections.resting()

    async def protect(self, request: ProtectionRequest) -> Protection:
        covered = self._covers(request.symbol, request.position_side.sign, request.contracts)
        return await self._protections.place(request, reduce_only=covered)

    async def amend_protection(self, protection: Protection, request: ProtectionRequest) -> None:
        await self._protections.amend(protection, request)

    async def cancel_protection(self, protection: Protection) -> bool:
        return await self._protections.cancel(protection)

    def _note_positions(self, positions: Iterable[VenuePosition]) -> None:
        for position in positions:
            if position.position_side is None:
                self._net[position.symbol] = position.contracts


def _errors(verdicts: Iterable[Verdict]) -> tuple[VenueError | None, ...]:
    return tuple(verdict if isinstance(verdict, VenueError) else None for verdict in verdicts)


def _raise(errors: Iterable[VenueError | None]) -> None:
    for error in errors:
        if error is not None:
            raise error


def _executions(
    records: list[FillRecord], owners: dict[str, tuple[Origin, Decimal]], ts_recv: int
) -> Iterator[ExecutionReport]:
    """A report for each fill, with the sum of its order so far. Raises CodecError."""
    totals: dict[str, Decimal] = {}
    for record in records:
        totals[record.ordId] = totals.get(record.ordId, ZERO) + record.contracts
    sums: dict[str, Decimal] = {}
    for record in records:
        origin, contracts = owners[record.ordId]
        sums[record.ordId] = sums.get(record.ordId, ZERO) + record.contracts
        whole = OrderSums(max(contracts, totals[record.ordId]), sums[record.ordId])
        yield orders_wire.fill_report(record, origin, whole, ts_recv)
