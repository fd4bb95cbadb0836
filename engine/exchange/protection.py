"""Every filled entry has a live stop of its size at the venue, or is closed at market (I7)."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from decimal import Decimal
from typing import Final
from weakref import WeakValueDictionary

import structlog

from engine.core.errors import OutcomeUnknown, Rejected, TriggerPassed, Unavailable
from engine.core.ledger import Held
from engine.core.orders import (
    OrderIntent,
    OrderType,
    Purpose,
    StopMove,
    entry_of,
    stop_attempt,
    stop_client_id,
)
from engine.exchange.context import ExchangeContext
from engine.exchange.orders import OrderDesk
from engine.exchange.ports import Protection, ProtectionRequest
from engine.exchange.recovery import Recovery
from engine.journal.ports import RiskEvent
from engine.retry import patiently

log = structlog.get_logger()

_APPEARS_S: Final = 0.4  # an attached stop shows at the venue this soon after the fill
_PATROL_S: Final = 15.0
_ATTEMPTS: Final = 5  # an id may have been used by an earlier life, so a refusal tries the next


class Guard:
    """Compares positions with the stops that rest at the venue, and mends what differs."""

    def __init__(self, context: ExchangeContext, desk: OrderDesk, recovery: Recovery) -> None:
        self._context = context
        self._desk = desk
        self._recovery = recovery
        self._releasing: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()  # by entry
        self.unprotected = 0  # positions without a stop at the last look
        self.looks = 0  # in this life
        self._attempts: dict[str, int] = {}  # entry → newest replacement of its stop that was seen
        self._kept: dict[str, str] = {}  # entry → stop that the venue refused while its former one rests
        self._due = asyncio.Event()
        desk.booking.on_fill.append(lambda _fill, _intent: self._due.set())

    def look_soon(self) -> None:
        """Look at all stops without waiting for a fill."""
        self._due.set()

    async def patrol(self) -> None:
        """A look every 15 s of real time, for ever, whatever happens."""
        while True:
            await self._context.clock.sleep_real(_PATROL_S)
            self._due.set()

    async def run(self) -> None:
        """Look after every fill, for ever. Real time."""
        clock = self._context.clock
        while True:
            await self._due.wait()
            self._due.clear()
            await clock.sleep_real(_APPEARS_S)
            try:
                await self.check()
            except (Unavailable, OutcomeUnknown, Rejected) as error:
                log.warning("stops not checked", error=str(error))
                self._due.set()  # look again at once: the venue may be back

    async def check(self) -> None:
        """One look: missing stops are placed, wrong sizes amended, orphans cancelled."""
        if not self._context.trading_enabled:
            return
        resting: dict[str, list[Protection]] = {}
        for protection in await self._context.venue.protections():
            if owner := entry_of(protection.client_id):
                resting.setdefault(owner, []).append(protection)
                self._seen(owner, protection.client_id)
        self.unprotected = 0
        for trader_id, held in self._positions():
            found = resting.pop(held.entry_client_order_id, [])
            if not self._closing(trader_id, held):
                await self._mend(trader_id, held, found)
        for owner, orphans in resting.items():
            if owner not in self._desk.open:
                await self._cancel(orphans)
        self._forget({held.entry_client_order_id for _, held in self._positions()})
        self.looks += 1

    def _forget(self, held: set[str]) -> None:
        """What is known of the stops of closed positions."""
        self._attempts = {entry: number for entry, number in self._attempts.items() if entry in held}
        self._kept = {entry: stop for entry, stop in self._kept.items() if entry in held}

    def move(self, move: StopMove) -> None:
        """A stop belongs elsewhere from now on: the next look, at once, amends it where it rests."""
        if self._context.books.account(move.trader_id).move_stop(move):
            self._due.set()
        else:
            log.info("stop of a closed position not moved", trader=move.trader_id, symbol=move.symbol)

    async def release(self, intent: OrderIntent) -> bool:
        """Take the stops off what is about to be closed. False: one has fired, do not close.

        Of a position that is closed in part the stops shrink to what stays, before the close is sent: a
        stop of the old size that fires after it would eat into the positions of other traders. A stop that
        should rest and does not may have fired unseen: then its order is looked for first. A venue that
        does not answer blocks no close: what is left behind is mended or cancelled at the next look. It is
        not asked about a position whose entry named neither stop nor target.
        """
        held = self._held(intent)
        if held is None:
            return False
        if _bare(held):
            return True
        # two closes of one position at a time: what the other has cancelled did not fire
        async with self._releasing.setdefault(held.entry_client_order_id, asyncio.Lock()):
            try:
                return await self._free(intent)
            except (Rejected, Unavailable, OutcomeUnknown) as error:
                log.warning("stops not cancelled before a close", trader=intent.trader_id, error=str(error))
                return True

    async def _free(self, intent: OrderIntent) -> bool:
        held = self._held(intent)
        if held is None:
            return False
        protections = await self._context.venue.protections()
        mine = [p for p in protections if entry_of(p.client_id) == held.entry_client_order_id]
        if not mine and held.stop_loss is not None:
            await self._recovery.look_back()
            return self._held(intent) is not None
        stays = self._desk.closable(intent) - intent.contracts
        return await (self._shrink(intent, mine, stays) if stays > 0 else self._cancel(mine))

    async def _shrink(self, intent: OrderIntent, mine: list[Protection], stays: Decimal) -> bool:
        """True when each guards no more than `stays`; one that cannot be changed is cancelled instead."""
        rigid = []
        for protection in mine:
            if protection.contracts <= stays:
                continue
            smaller = ProtectionRequest(
                client_id=protection.client_id,
                symbol=protection.symbol,
                position_side=intent.position_side,
                contracts=stays,
                stop_loss=protection.stop_loss,
                take_profit=protection.take_profit,
            )
            try:
                await self._context.venue.amend_protection(protection, smaller)
            except Rejected as error:
                log.warning(
                    "stop not shrunk", trader=intent.trader_id, symbol=intent.symbol, error=str(error)
                )
                rigid.append(protection)
        return await self._cancel(rigid)

    def _held(self, intent: OrderIntent) -> Held | None:
        account = self._context.books.account(intent.trader_id)
        return account.positions.get((intent.symbol, intent.position_side))

    def _positions(self) -> list[tuple[str, Held]]:
        """Every position whose entry named a stop."""
        return [
            (account.trader_id, held)
            for account in self._context.books.traders()
            for held in account.positions.values()
            if held.stop_loss is not None
        ]

    def _closing(self, trader_id: str, held: Held) -> bool:
        return any(
            order.intent.purpose.reduces
            and (order.intent.trader_id, order.intent.symbol) == (trader_id, held.symbol)
            for order in self._desk.open.values()
        )

    async def _mend(self, trader_id: str, held: Held, found: list[Protection]) -> None:
        if not found:
            await self._recovery.look_back()  # the stop may be away because it has just fired
            self.unprotected += bool(held.contracts)
            if await self._place(trader_id, held) is None:
                self.unprotected -= bool(held.contracts)
            else:
                await self._close(trader_id, held)
            return
        keep, *extra = sorted(found, key=lambda each: not _fits(each, held))
        await self._cancel(extra)
        if not _fits(keep, held):
            await self._change(trader_id, held, keep)

    async def _change(self, trader_id: str, held: Held, resting: Protection) -> None:
        """Amend a stop where it rests; one that cannot be amended is replaced."""
        request = self._request(held, 0)
        if request is None:
            return
        try:
            await self._context.venue.amend_protection(resting, request)
        except Rejected as error:
            log.warning("stop not amended", trader=trader_id, symbol=held.symbol, error=str(error))
            await self._recovery.look_back()  # it may have fired meanwhile
            await self._replace(trader_id, held, resting)
        else:
            log.info(
                "stop amended",
                trader=trader_id,
                symbol=held.symbol,
                contracts=str(held.contracts),
                stop=str(held.stop_loss),
            )

    async def _replace(self, trader_id: str, held: Held, old: Protection) -> None:
        """The new stop first, then the old one goes, so that there is always one.

        Where the venue refuses the new one, the old one stays if its size is right. What would fire at once
        has been reached: the position is closed, and its old stop rests until then.
        """
        entry, stop = held.entry_client_order_id, str(held.stop_loss)
        refusal = await self._place(trader_id, held, 1 if self._kept.get(entry) == stop else _ATTEMPTS)
        if refusal is None:
            await self._cancel([old])
        elif isinstance(refusal, TriggerPassed) or old.contracts != held.contracts:
            await self._close(trader_id, held)
        elif self._kept.get(entry) != stop:
            self._kept[entry] = stop
            detail = f"{old.stop_loss} stays, the venue refused {stop}: {refusal}"
            await self._tell("stop_not_moved", trader_id, held, stop, detail)

    async def _place(self, trader_id: str, held: Held, attempts: int = _ATTEMPTS) -> Rejected | None:
        """Let a standalone stop rest. What comes back is the venue's refusal, TriggerPassed at the first."""
        entry, refusal = held.entry_client_order_id, None
        for _ in range(attempts):
            request = self._request(held, self._attempts.get(entry, 0) + 1)
            if request is None:
                return None
            self._seen(entry, request.client_id)
            try:
                await self._context.venue.protect(request)
            except Rejected as error:
                log.warning("stop refused", trader=trader_id, symbol=held.symbol, error=str(error))
                refusal = error
                if isinstance(error, TriggerPassed):
                    break
            else:
                log.info("stop placed", trader=trader_id, symbol=held.symbol, stop=str(request.stop_loss))
                return None
        return refusal

    def _seen(self, entry: str, client_id: str) -> None:
        self._attempts[entry] = max(self._attempts.get(entry, 0), stop_attempt(client_id))

    async def _close(self, trader_id: str, held: Held) -> None:
        if not held.contracts:
            return
        log.error("unprotected position closed at market", trader=trader_id, symbol=held.symbol)
        entry = held.entry_client_order_id
        await self._desk.accept(
            OrderIntent(
                intent_id=f"{entry}:unprotected:{held.contracts}",
                cycle_id="",
                trader_id=trader_id,
                account_id=self._context.books.account_id,
                symbol=held.symbol,
                side=held.side.exit_side,
                position_side=held.side,
                purpose=Purpose.EXIT,
                order_type=OrderType.MARKET,
                contracts=held.contracts,
                ts_created=self._context.clock.now_ns(),
            )
        )
        detail = f"no stop could rest for {held.contracts} contracts: closed at market"
        await self._tell("unprotected", trader_id, held, str(held.contracts), detail)

    async def _tell(self, kind: str, trader_id: str, held: Held, what: str, detail: str) -> None:
        alarm = RiskEvent(
            event_id=f"{kind}:{held.entry_client_order_id}:{what}",
            trader_id=trader_id,
            symbol=held.symbol,
            kind=kind,
            detail=detail,
            ts=self._context.clock.now_ns(),
        )
        await patiently(lambda: self._context.journal.record_risk_event(alarm))

    def _request(self, held: Held, attempt: int) -> ProtectionRequest | None:
        """None for a position that was closed meanwhile, and for one that has no stop."""
        if not held.contracts or held.stop_loss is None:
            return None
        return ProtectionRequest(
            client_id=stop_client_id(held.entry_client_order_id, attempt),
            symbol=held.symbol,
            position_side=held.side,
            contracts=held.contracts,
            stop_loss=held.stop_loss,
            take_profit=held.intent.take_profit if held.intent else None,
        )

    async def _cancel(self, protections: Iterable[Protection]) -> bool:
        """True when every one was still there to be cancelled."""
        cancelled = [await self._context.venue.cancel_protection(protection) for protection in protections]
        return all(cancelled)


def _bare(held: Held) -> bool:
    """Nothing rests for it: it has one entry, which named neither stop nor target, and got no stop since."""
    entry = held.intent
    if entry is None or entry.client_order_id != held.entry_client_order_id:
        return False
    return held.stop_loss is None and entry.take_profit is None


def _fits(resting: Protection, held: Held) -> bool:
    """It guards the whole position from where its stop belongs; a trailing one is wherever it is."""
    rightly = resting.trailing or resting.stop_loss in {None, held.stop_loss}
    return rightly and resting.contracts == held.contracts
