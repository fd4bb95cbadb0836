"""The books of one venue account: whose is what the venue holds, to the last decimal (invariant I8).

Single writer: the exchange part applies bookings that the journal has; everybody else reads. Folding the
same bookings again, in the same order, gives the same books.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterable, Mapping
from decimal import Decimal
from operator import attrgetter
from typing import Final, NamedTuple

import msgspec

from engine.core.cash import CashFlow, FundingPayment, VenueFunding
from engine.core.ledger import ClosedTrade, Held, VirtualAccount, split
from engine.core.orders import UNATTRIBUTED, ZERO, Fill, OrderIntent, PositionSide
from engine.core.shares import divide_fill, share_contracts

_REMEMBERED: Final = 10_000
RESERVE: Final = "reserve"  # cash of the venue account that no trader has


class Lot(msgspec.Struct):
    """Signed contracts of a side that no trader explains, and their signed cost."""

    contracts: Decimal = ZERO
    cost: Decimal = ZERO
    contract_value: Decimal = ZERO


class Remainder:
    """What happened at the venue and belongs to no trader. Any open lot stops entries in its symbol.

    Lots are kept by (symbol, side), side None where the account nets.
    """

    def __init__(self, *, netting: bool) -> None:
        self.cash = ZERO
        self.lots: dict[tuple[str, PositionSide | None], Lot] = {}
        self._netting = netting

    def _key(self, fill: Fill) -> tuple[str, PositionSide | None]:
        return fill.symbol, None if self._netting else fill.position_side

    def reduced_by(self, fill: Fill) -> Decimal:
        """Contracts of an open lot that the fill takes back."""
        lot = self.lots.get(self._key(fill))
        return min(fill.contracts, max(ZERO, -fill.side.sign * lot.contracts)) if lot else ZERO

    def apply_fill(self, fill: Fill) -> None:
        """Book a fill, or the part of one, that no trader can own."""
        key = self._key(fill)
        lot = self.lots.setdefault(key, Lot(contract_value=fill.contract_value))
        lot.contracts += fill.side.sign * fill.contracts
        lot.cost += fill.side.sign * fill.notional
        self.cash += fill.fee
        if not lot.contracts:
            self.cash -= lot.cost
            del self.lots[key]

    @property
    def symbols(self) -> frozenset[str]:
        return frozenset(symbol for symbol, _ in self.lots)

    @property
    def cost(self) -> Decimal:
        return sum((lot.cost for lot in self.lots.values()), ZERO)


class VenueHolding(msgspec.Struct, frozen=True, gc=False):
    """A venue position for the comparison: signed contracts, None side when the account nets."""

    symbol: str
    position_side: PositionSide | None
    contracts: Decimal
    cost: Decimal  # signed: mark value minus the venue's unrealised profit


class Difference(msgspec.Struct, frozen=True, gc=False):
    """A holding of which the venue and the books say different things: signed contracts."""

    symbol: str
    position_side: PositionSide | None
    venue: Decimal
    books: Decimal

    def __str__(self) -> str:
        return f"{self.symbol} {self.position_side or 'net'}: venue {self.venue}, books {self.books}"


class Comparison(msgspec.Struct, frozen=True, gc=False):
    """Books against venue. `cash_difference` is venue minus books, free of any price."""

    positions: tuple[Difference, ...]
    cash_difference: Decimal

    def __str__(self) -> str:
        return "; ".join(map(str, self.positions))


class Change(NamedTuple):
    """A position grew or shrank; lets the past be told: who held what when funding was charged."""

    ts_event: int
    trader_id: str
    symbol: str
    side: PositionSide
    contracts: Decimal  # signed by growth, not by side


_happened = attrgetter("ts_event")


def _by_name(holding: tuple[str, PositionSide | None]) -> tuple[str, str]:
    return holding[0], holding[1] or ""


class Booked(msgspec.Struct, frozen=True, gc=False):
    """What one fill did: the traders it touched, the trades it closed, what it opened of nobody's."""

    traders: tuple[str, ...]
    trades: tuple[ClosedTrade, ...]
    unowned: Decimal = ZERO


class Books:
    """All virtual accounts of one venue account, and the remainder.

    `netting`: the venue keeps one position a symbol, the sum of all, not one a side.
    """

    def __init__(self, account_id: str, traders: Iterable[str], *, netting: bool = False) -> None:
        self.account_id = account_id
        self.netting = netting
        self.accounts = {name: VirtualAccount(name, account_id) for name in (*traders, RESERVE)}
        self.remainder = Remainder(netting=netting)
        self._changes: list[Change] = []  # by ts_event
        self._remainder_seen: dict[str, None] = {}

    def account(self, trader_id: str) -> VirtualAccount:
        """The trader's account; one that is no longer configured is kept as long as it holds anything."""
        if trader_id not in self.accounts:
            self.accounts[trader_id] = VirtualAccount(trader_id, self.account_id)
        return self.accounts[trader_id]

    def traders(self) -> tuple[VirtualAccount, ...]:
        """Every account but the reserve."""
        return tuple(account for name, account in self.accounts.items() if name != RESERVE)

    def knows(self, fill_id: str) -> bool:
        """Whether a fill was booked, whoever's it is; False for one that is long ago."""
        return fill_id in self._remainder_seen or any(
            account.knows(fill_id) for account in self.accounts.values()
        )

    def apply_cash(self, flow: CashFlow) -> bool:
        """Book a cash flow; False when it was booked before."""
        return self.account(flow.trader_id).apply_cash(flow)

    def apply_funding(self, payment: FundingPayment) -> bool:
        """Book one trader's part of a funding charge; False when it was booked before."""
        if payment.trader_id != UNATTRIBUTED:
            return self.account(payment.trader_id).apply_funding(payment)
        if self._seen(payment.payment_id):
            return False
        self.remainder.cash += payment.amount
        return True

    def apply_fill(self, fill: Fill, intent: OrderIntent | None = None) -> Booked:
        """Book a fill once. What its trader does not hold goes to the remainder.

        A fill of nobody's order (by hand, by another program, a liquidation) is shared by those whose
        position it closes. `intent` is that of an entry, for the exit plan.
        """
        if fill.trader_id == UNATTRIBUTED:
            return self._apply_foreign(fill)
        account = self.account(fill.trader_id)
        excess = account.excess(fill)
        if account.knows(fill.fill_id) or (excess and self._seen(fill.fill_id)):
            return Booked((), ())
        owners = [(fill.trader_id, fill.contracts - excess), (UNATTRIBUTED, excess)]
        return self._apply_parts(fill, [owner for owner in owners if owner[1]], intent)

    def _apply_foreign(self, fill: Fill) -> Booked:
        """What nobody's order did: first it takes back what nobody holds, then it closes, pro rata.

        What closes nothing opens a position of nobody's.
        """
        if self._seen(fill.fill_id):
            return Booked((), ())
        side = PositionSide.closed_by(fill.side)
        holders = {account.trader_id: held.contracts for account, held in self._holders(fill.symbol, side)}
        closes = min(self._closable(fill) - self.remainder.reduced_by(fill), sum(holders.values(), ZERO))
        shares = share_contracts(max(ZERO, closes), holders)
        rest = fill.contracts - sum(shares.values(), ZERO)
        return self._apply_parts(
            msgspec.structs.replace(fill, position_side=side) if shares else fill,
            [*shares.items(), *([(UNATTRIBUTED, rest)] if rest else [])],
        )

    def _closable(self, fill: Fill) -> Decimal:
        """Contracts of the venue's position that a fill closes; beyond them it opens a new one."""
        if not self.netting and fill.side is fill.position_side.entry_side:
            return ZERO
        side = None if self.netting else fill.position_side
        held = self.holdings().get((fill.symbol, side), ZERO)
        return min(fill.contracts, max(ZERO, -fill.side.sign * held))

    def _apply_parts(
        self, fill: Fill, owners: list[tuple[str, Decimal]], intent: OrderIntent | None = None
    ) -> Booked:
        traders, trades, unowned = [], [], ZERO
        for part in divide_fill(fill, owners):
            if part.trader_id == UNATTRIBUTED:
                unowned = part.contracts - self.remainder.reduced_by(part)
                self.remainder.apply_fill(part)
                continue
            _, trade = self.account(part.trader_id).apply_fill(part, intent)
            self._note(part)
            traders.append(part.trader_id)
            trades += [trade] if trade else []
        return Booked(tuple(traders), tuple(trades), unowned)

    def _seen(self, booking_id: str) -> bool:
        if booking_id in self._remainder_seen:
            return True
        self._remainder_seen[booking_id] = None
        if len(self._remainder_seen) > _REMEMBERED:
            del self._remainder_seen[next(iter(self._remainder_seen))]
        return False

    def _note(self, fill: Fill) -> None:
        grew = fill.contracts if fill.side is fill.position_side.entry_side else -fill.contracts
        change = Change(fill.ts_event, fill.trader_id, fill.symbol, fill.position_side, grew)
        insort(self._changes, change, key=_happened)
        del self._changes[:-_REMEMBERED]

    def held_at(self, symbol: str, side: PositionSide, ts_ns: int) -> dict[str, Decimal]:
        """Contracts by trader just before `ts_ns`: what is held now, less what has happened since."""
        held = {account.trader_id: h.contracts for account, h in self._holders(symbol, side)}
        since = bisect_left(self._changes, ts_ns, key=_happened)
        for change in self._changes[since:]:
            if (change.symbol, change.side) == (symbol, side):
                held[change.trader_id] = held.get(change.trader_id, ZERO) - change.contracts
        return {trader_id: contracts for trader_id, contracts in held.items() if contracts > 0}

    def _holders(self, symbol: str, side: PositionSide) -> list[tuple[VirtualAccount, Held]]:
        """By name, so that a change of the configuration's order changes no share."""
        accounts = [self.accounts[name] for name in sorted(self.accounts)]
        found = [(account, account.positions.get((symbol, side))) for account in accounts]
        return [(account, held) for account, held in found if held is not None]

    def split_funding(self, charge: VenueFunding) -> tuple[FundingPayment, ...]:
        """A charge of the venue account, divided by virtual contracts; the parts add up exactly.

        In net mode a long pays what a short receives: shares are signed. What the traders' positions do
        not explain goes to the remainder.
        """
        shares: list[tuple[str, PositionSide, Decimal]] = []
        for side in (charge.position_side,) if charge.position_side else tuple(PositionSide):
            sign = 1 if charge.position_side else side.sign
            holders = self.held_at(charge.symbol, side, charge.ts_event)
            shares += [(who, side, sign * contracts) for who, contracts in holders.items()]
        held = sum((share for _, _, share in shares), ZERO)
        whole = charge.contracts.copy_sign(held) if held else charge.contracts
        parts = [(who, side, split(charge.amount, share, whole), abs(share)) for who, side, share in shares]
        rest = charge.amount - sum((part[2] for part in parts), ZERO)
        if rest and parts and held == whole:  # only what the divisions rounded: the largest part takes it
            i = max(range(len(parts)), key=lambda n: parts[n][3])
            parts[i] = (*parts[i][:2], parts[i][2] + rest, parts[i][3])
        elif rest:
            parts.append((UNATTRIBUTED, charge.position_side or PositionSide.LONG, rest, ZERO))
        return tuple(
            FundingPayment(
                payment_id=f"{charge.bill_id}:{who}:{side}",
                bill_id=charge.bill_id,
                trader_id=who,
                account_id=self.account_id,
                symbol=charge.symbol,
                position_side=side,
                amount=amount,
                contracts=contracts,
                ts_event=charge.ts_event,
            )
            for who, side, amount, contracts in parts
        )

    # -- what the venue should hold

    def holdings(self) -> dict[tuple[str, PositionSide | None], Decimal]:
        """Signed contracts that the venue must have, by (symbol, side), side None when the account nets."""
        total: dict[tuple[str, PositionSide | None], Decimal] = {}
        for account in self.accounts.values():
            for (symbol, side), held in account.positions.items():
                key = (symbol, None if self.netting else side)
                total[key] = total.get(key, ZERO) + side.sign * held.contracts
        for lot_key, lot in self.remainder.lots.items():
            total[lot_key] = total.get(lot_key, ZERO) + lot.contracts
        return {key: contracts for key, contracts in total.items() if contracts}

    def average_price(self, symbol: str, side: PositionSide | None) -> Decimal:
        """What a holding was entered at, all holders together, side None both; 0 when nothing is held."""
        found = [
            (held.coins, abs(held.cost))
            for account in self.accounts.values()
            for held in account.positions.values()
            if held.symbol == symbol and side in {None, held.side}
        ]
        coins = sum((part[0] for part in found), ZERO)
        return sum((part[1] for part in found), ZERO) / coins if coins else ZERO

    @property
    def priceless_cash(self) -> Decimal:
        """Cash minus cost of everything: what equity would be if every price were zero."""
        traders = sum((account.cash - account.cost for account in self.accounts.values()), ZERO)
        return traders + self.remainder.cash - self.remainder.cost

    def compare(self, holdings: Iterable[VenueHolding], cash: Decimal) -> Comparison:
        """Books against what the venue says it holds and its cash balance (unrealised excluded)."""
        ours = self.holdings()
        venue = {(h.symbol, h.position_side): h for h in holdings if h.contracts}
        differences = [
            Difference(symbol, side, theirs, mine)
            for symbol, side in sorted({*ours, *venue}, key=_by_name)
            if (mine := ours.get((symbol, side), ZERO))
            != (theirs := venue[symbol, side].contracts if (symbol, side) in venue else ZERO)
        ]
        venue_priceless = cash - sum((h.cost for h in venue.values()), ZERO)
        return Comparison(tuple(differences), venue_priceless - self.priceless_cash)

    def equity(self, marks: Mapping[str, Decimal]) -> Decimal | None:
        """Equity of all accounts, reserve and remainder included; None while a held symbol has no mark."""
        total = self.remainder.cash
        for (symbol, _), lot in self.remainder.lots.items():
            if symbol not in marks:
                return None
            total += lot.contracts * lot.contract_value * marks[symbol] - lot.cost
        for account in self.accounts.values():
            equity = account.equity(marks)
            if equity is None:
                return None
            total += equity
        return total
