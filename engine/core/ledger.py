"""A trader's virtual account, folded from cash flows, fills and funding alone.

Exact by construction: a position keeps its *cost* (what was paid for what is still held), not a rounded
average price, so `cash + unrealised = capital + everything ever booked` to the last decimal, however the
cost of a partial close is rounded.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import ROUND_DOWN, Decimal
from typing import Final

import msgspec

from engine.core.cash import CashFlow, FundingPayment
from engine.core.errors import InvariantBroken
from engine.core.orders import ZERO, Fill, OrderIntent, PositionSide, Purpose, StopMove

_REMEMBERED: Final = 10_000
_SHARE_STEP: Final = Decimal("1e-12")


def split(amount: Decimal, part: Decimal, whole: Decimal) -> Decimal:
    """`amount · part / whole`, cut to 12 places: so that what is left, by subtraction, is exact too."""
    return (amount * part / whole).quantize(_SHARE_STEP, ROUND_DOWN)


class Held(msgspec.Struct, kw_only=True):
    """An open virtual position; mutable, owned by its VirtualAccount."""

    symbol: str
    side: PositionSide
    contract_value: Decimal
    contracts: Decimal = ZERO
    cost: Decimal = ZERO  # signed: positive for a long, negative for a short
    realised: Decimal = ZERO
    fees: Decimal = ZERO
    entry_fees: Decimal = ZERO
    funding: Decimal = ZERO
    entered: Decimal = ZERO  # contracts bought in all
    entered_value: Decimal = ZERO  # notional of all entries
    exited_value: Decimal = ZERO
    exited: Decimal = ZERO
    ts_opened: int = 0
    entry_client_order_id: str = ""
    entry_venue_order_id: str = ""
    entry_fill_id: str = ""
    entry_maker: bool = False
    intent: OrderIntent | None = None  # of the newest entry: exit plan, leverage, confidence
    moved_stop: Decimal | None = None

    @property
    def coins(self) -> Decimal:
        return self.contracts * self.contract_value

    @property
    def stop_loss(self) -> Decimal | None:
        """Where the stop belongs: as it was moved, else as the entry said."""
        return self.moved_stop or (self.intent.stop_loss if self.intent else None)

    @property
    def entry_price(self) -> Decimal:
        return abs(self.cost) / self.coins if self.contracts else ZERO

    @property
    def leverage(self) -> Decimal:
        return self.intent.leverage if self.intent else Decimal(1)

    def value(self, mark: Decimal) -> Decimal:
        """Signed market value."""
        return self.side.sign * self.coins * mark

    def unrealised(self, mark: Decimal) -> Decimal:
        return self.value(mark) - self.cost

    @property
    def margin(self) -> Decimal:
        """Initial margin at cost: notional over leverage."""
        return abs(self.cost) / self.leverage


class ClosedTrade(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """A position from its first entry to flat. Money in quote currency; fees and funding negative when paid.

    net = gross + fees + funding. `contracts` and `coins` are what was entered in all, positive.
    """

    trade_id: str
    trader_id: str
    account_id: str
    symbol: str
    side: PositionSide
    contracts: Decimal
    coins: Decimal
    entry_price: Decimal
    exit_price: Decimal
    ts_entry: int
    ts_exit: int
    entry_fees: Decimal
    exit_fees: Decimal
    funding: Decimal
    gross: Decimal
    net: Decimal
    leverage: Decimal
    confidence: Decimal | None
    exit_purpose: Purpose
    entry_client_order_id: str
    exit_client_order_id: str
    entry_venue_order_id: str
    exit_venue_order_id: str
    entry_fill_id: str
    exit_fill_id: str
    entry_maker: bool
    exit_maker: bool
    entry_cycle_id: str
    exit_plan: str  # invalidation text of the entry
    stop_loss: Decimal | None
    take_profit: Decimal | None


class VirtualAccount:
    """Cash, positions and profit of one trader. Feed it each booking once; a repeated one is ignored."""

    def __init__(self, trader_id: str, account_id: str) -> None:
        self.trader_id = trader_id
        self.account_id = account_id
        self.capital = ZERO
        self.cash = ZERO
        self.realised = ZERO
        self.fees = ZERO
        self.funding = ZERO
        self.positions: dict[tuple[str, PositionSide], Held] = {}
        self._booked: dict[str, None] = {}  # newest ids; the journal refuses older duplicates

    def apply_cash(self, flow: CashFlow) -> bool:
        """Book a cash flow; False when it was booked before."""
        if not self._once(flow.flow_id):
            return False
        self.capital += flow.amount
        self.cash += flow.amount
        return True

    def apply_funding(self, payment: FundingPayment) -> bool:
        """Book a funding payment; False when it was booked before."""
        if not self._once(payment.payment_id):
            return False
        self.cash += payment.amount
        self.funding += payment.amount
        held = self.positions.get((payment.symbol, payment.position_side))
        if held is not None:
            held.funding += payment.amount
        return True

    def knows(self, booking_id: str) -> bool:
        """Whether a booking was made here before."""
        return booking_id in self._booked

    def excess(self, fill: Fill) -> Decimal:
        """Contracts of a reducing fill that this account does not hold: they belong to somebody else."""
        if fill.side is fill.position_side.entry_side:
            return ZERO
        held = self.positions.get((fill.symbol, fill.position_side))
        return max(ZERO, fill.contracts - (held.contracts if held else ZERO))

    def apply_fill(self, fill: Fill, intent: OrderIntent | None = None) -> tuple[bool, ClosedTrade | None]:
        """Book a fill: (whether it was new, the trade that it closed).

        `intent` is the entry order's, for the exit plan. Raises InvariantBroken when a reducing fill is
        larger than the position: a virtual position never flips.
        """
        if self.knows(fill.fill_id):
            return False, None
        key = (fill.symbol, fill.position_side)
        held = self.positions.get(key)
        if fill.side is fill.position_side.entry_side:
            self._charge(fill)
            self._enter(key, held, fill, intent)
            return True, None
        if held is None or fill.contracts > held.contracts:
            raise InvariantBroken(f"fill {fill.fill_id} closes more than {self.trader_id} holds")
        self._charge(fill)
        return True, self._exit(key, held, fill)

    def _charge(self, fill: Fill) -> None:
        self._once(fill.fill_id)
        self.cash += fill.fee
        self.fees += fill.fee

    def _once(self, booking_id: str) -> bool:
        if booking_id in self._booked:
            return False
        self._booked[booking_id] = None
        if len(self._booked) > _REMEMBERED:
            del self._booked[next(iter(self._booked))]
        return True

    def _enter(
        self, key: tuple[str, PositionSide], held: Held | None, fill: Fill, intent: OrderIntent | None
    ) -> None:
        if held is None:
            held = Held(
                symbol=fill.symbol,
                side=fill.position_side,
                contract_value=fill.contract_value,
                ts_opened=fill.ts_event,
                entry_client_order_id=fill.client_order_id,
                entry_venue_order_id=fill.venue_order_id,
                entry_fill_id=fill.fill_id,
                entry_maker=fill.maker,
            )
            self.positions[key] = held
        if intent is not None:
            held.intent = intent
        held.contracts += fill.contracts
        held.cost += held.side.sign * fill.notional
        held.entered += fill.contracts
        held.entered_value += fill.notional
        held.fees += fill.fee
        held.entry_fees += fill.fee

    def move_stop(self, move: StopMove) -> bool:
        """Take over where a stop belongs; False when its position is gone, or another one by now."""
        held = self.positions.get((move.symbol, move.position_side))
        if held is None or held.entry_client_order_id != move.entry_client_order_id:
            return False
        held.moved_stop = move.stop_loss
        return True

    def _exit(self, key: tuple[str, PositionSide], held: Held, fill: Fill) -> ClosedTrade | None:
        whole = fill.contracts == held.contracts
        released = held.cost if whole else split(held.cost, fill.contracts, held.contracts)
        profit = held.side.sign * fill.notional - released
        held.cost -= released
        held.contracts -= fill.contracts
        held.realised += profit
        held.fees += fill.fee
        held.exited += fill.contracts
        held.exited_value += fill.notional
        self.realised += profit
        self.cash += profit
        if held.contracts:
            return None
        del self.positions[key]
        return self._closed(held, fill)

    def _closed(self, held: Held, fill: Fill) -> ClosedTrade:
        plan = held.intent
        return ClosedTrade(
            trade_id=f"{self.trader_id}:{held.entry_fill_id}",
            trader_id=self.trader_id,
            account_id=self.account_id,
            symbol=held.symbol,
            side=held.side,
            contracts=held.entered,
            coins=held.entered * held.contract_value,
            entry_price=held.entered_value / (held.entered * held.contract_value),
            exit_price=held.exited_value / (held.exited * held.contract_value),
            ts_entry=held.ts_opened,
            ts_exit=fill.ts_event,
            entry_fees=held.entry_fees,
            exit_fees=held.fees - held.entry_fees,
            funding=held.funding,
            gross=held.realised,
            net=held.realised + held.fees + held.funding,
            leverage=held.leverage,
            confidence=plan.confidence if plan else None,
            exit_purpose=fill.purpose,
            entry_client_order_id=held.entry_client_order_id,
            exit_client_order_id=fill.client_order_id,
            entry_venue_order_id=held.entry_venue_order_id,
            exit_venue_order_id=fill.venue_order_id,
            entry_fill_id=held.entry_fill_id,
            exit_fill_id=fill.fill_id,
            entry_maker=held.entry_maker,
            exit_maker=fill.maker,
            entry_cycle_id=plan.cycle_id if plan else "",
            exit_plan=plan.invalidation if plan else "",
            stop_loss=plan.stop_loss if plan else None,
            take_profit=plan.take_profit if plan else None,
        )

    # -- what it is worth

    @property
    def margin_used(self) -> Decimal:
        total = ZERO
        for held in self.positions.values():
            total += held.margin
        return total

    def unrealised(self, marks: Mapping[str, Decimal]) -> Decimal | None:
        """Open profit at `marks`; None when a held symbol has no mark."""
        total = ZERO
        for held in self.positions.values():
            mark = marks.get(held.symbol)
            if mark is None:
                return None
            total += held.unrealised(mark)
        return total

    def equity(self, marks: Mapping[str, Decimal]) -> Decimal | None:
        """Cash and open profit; None when a held symbol has no mark."""
        unrealised = self.unrealised(marks)
        return None if unrealised is None else self.cash + unrealised

    @property
    def cost(self) -> Decimal:
        """Signed cost of all that is held: `cash - cost` depends on no price, which is how books compare."""
        return sum((held.cost for held in self.positions.values()), ZERO)
