"""A trader's whole record, from nothing but its bookings: cash flows, fills, funding, equities. Pure.

Each booking updates everything in constant time (medians: the logarithm of the number of trades), so the
figures are ready at any moment; the same bookings in the same order give the same figures, always.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Final

import msgspec

from engine.core.cash import CashFlow, FundingPayment
from engine.core.errors import InvariantBroken
from engine.core.ledger import ClosedTrade, VirtualAccount, split
from engine.core.orders import ZERO, Fill, OrderIntent, PositionSide, Purpose
from engine.core.times import NS_PER_HOUR
from engine.journal.moments import Moments, rounded, share
from engine.journal.ratios import HOURLY, Curve, Ratios, profit_factor
from engine.journal.stats import Minutes, Statistics, figures
from engine.journal.tables import Tables

_BPS: Final = 10_000


class Costs(msgspec.Struct, frozen=True, kw_only=True):
    """What trading cost, dollars; fees and slippage positive when paid, funding negative when paid.

    Slippage is against the price that the decision saw, positive when worse, in bps weighted by notional;
    `slippage_known_pct` is the share of the turnover whose decision price is on record. `*_share_pct` are of
    gross winnings, the money that costs come out of.
    """

    turnover: float
    fees: float
    fees_share_pct: float
    funding: float
    funding_share_pct: float
    slippage: float
    slippage_bps: float
    slippage_known_pct: float
    worst_slippage_bps: float


class TradingRecord(msgspec.Struct, frozen=True, kw_only=True):
    """How a trader did. Profits in dollars after fees and funding; times in minutes.

    `exposure_pct`: part of the time since the first booking in which anything was held.
    `average_exposure`: what was held at cost, dollars, averaged over that whole time. `realised` differs from
    the trades' net by what open positions have booked so far.
    """

    capital: float
    realised: float
    open_positions: int
    trades: int
    win_rate: float
    profit_factor: float | None
    expectancy: float
    best: float
    worst: float
    average_winner: float
    average_loser: float
    exposure_pct: float
    average_exposure: float
    stopped: int
    targets: int
    liquidated: int
    closed_externally: int
    costs: Costs
    ratios: Ratios
    tables: Tables


class Tally:
    """Feed it the bookings of one trader, in the order in which they were booked."""

    def __init__(self, trader_id: str, account_id: str, risk_free_pct: float = 0.0) -> None:
        self.account = VirtualAccount(trader_id, account_id)
        self.statistics = Statistics()
        self._curve = Curve(HOURLY, risk_free_pct)
        self._hour, self._equity = -1, 0.0
        self._net, self._won, self._lost = Moments(), Moments(), Moments()
        self._gross_won = Moments()
        self._ends = dict.fromkeys(Purpose, 0)
        self._turnover = self._known = self._slippage = ZERO
        self._worst_bps: Decimal | None = None
        self._first_ns = self._last_ns = 0
        self._held_ns = 0
        self._exposure = ZERO  # dollars at cost · nanoseconds

    def on_cash(self, flow: CashFlow) -> None:
        """Money came in or went out."""
        self._pass_time(flow.ts)
        self.account.apply_cash(flow)

    def on_funding(self, payment: FundingPayment) -> None:
        """Funding was paid or received."""
        self._pass_time(payment.ts_event)
        self.account.apply_funding(payment)

    def on_fill(self, fill: Fill, intent: OrderIntent | None = None) -> tuple[ClosedTrade, ...]:
        """A fill; `intent` is its order's. Returns the trades that it closed.

        One that reduces more than is held closes the position and opens the opposite one with the rest.
        Raises InvariantBroken when there is nothing that it could reduce.
        """
        if self.account.knows(fill.fill_id):
            return ()
        self._pass_time(fill.ts_event)
        self._slip(fill, intent)
        excess = self.account.excess(fill)
        parts = [fill] if not excess else _flipped(fill, excess)
        closed = [trade for part in parts if (trade := self.account.apply_fill(part, intent)[1])]
        for trade in closed:
            self._close(trade)
        return tuple(closed)

    def on_equity(self, ts: int, equity: float) -> None:
        """The account's worth; the last of each hour is a point of the curve."""
        self._pass_time(ts)
        hour = ts // NS_PER_HOUR
        if hour > self._hour >= 0:
            self._curve.add(self._equity)
        self._hour, self._equity = max(hour, self._hour), equity

    def _pass_time(self, ts: int) -> None:
        self._first_ns = self._first_ns or ts
        passed = max(0, ts - self._last_ns) if self._last_ns else 0
        self._last_ns = max(ts, self._last_ns)
        if passed and self.account.positions:
            self._held_ns += passed
            held = sum((abs(each.cost) for each in self.account.positions.values()), ZERO)
            self._exposure += held * passed

    def _slip(self, fill: Fill, intent: OrderIntent | None) -> None:
        self._turnover += fill.notional
        seen = intent.decision_price if intent is not None else None
        if not seen:
            return
        worse = (fill.price - seen) * (1 if fill.side is PositionSide.LONG.entry_side else -1)
        self._known += fill.notional
        self._slippage += worse * fill.contracts * fill.contract_value
        bps = worse / seen * _BPS
        self._worst_bps = bps if self._worst_bps is None else max(bps, self._worst_bps)

    def _close(self, trade: ClosedTrade) -> None:
        made = figures(trade)
        self.statistics.add_trade(made)
        self._net.add(made.net)
        (self._won if made.net > 0 else self._lost).add(made.net)
        if made.gross > 0:
            self._gross_won.add(made.gross)
        self._ends[trade.exit_purpose] += 1

    def record(self) -> TradingRecord:
        """Everything, as of the last booking."""
        account, span = self.account, self._last_ns - self._first_ns
        curve = self._curve.ratios()
        return TradingRecord(
            capital=float(account.capital),
            realised=rounded(float(account.realised + account.fees + account.funding)),
            open_positions=len(account.positions),
            trades=self._net.count,
            win_rate=share(self._won.count, self._net.count),
            profit_factor=profit_factor(self._won.total, -self._lost.total),
            expectancy=self._net.mean,
            best=self._net.largest,
            worst=self._net.smallest,
            average_winner=self._won.mean,
            average_loser=self._lost.mean,
            exposure_pct=share(self._held_ns, span),
            average_exposure=rounded(float(self._exposure / span)) if span else 0.0,
            stopped=self._ends[Purpose.STOP],
            targets=self._ends[Purpose.TARGET],
            liquidated=self._ends[Purpose.LIQUIDATION],
            closed_externally=self._ends[Purpose.EXTERNAL],
            costs=self._costs(),
            ratios=curve,
            tables=self.statistics.tables(Minutes()),
        )

    def _costs(self) -> Costs:
        account, winnings = self.account, self._gross_won.total
        return Costs(
            turnover=rounded(float(self._turnover)),
            fees=rounded(float(-account.fees)),
            fees_share_pct=share(float(-account.fees), winnings),
            funding=rounded(float(account.funding)),
            funding_share_pct=share(float(-account.funding), winnings),
            slippage=rounded(float(self._slippage)),
            slippage_bps=rounded(float(self._slippage / self._known * _BPS)) if self._known else 0.0,
            slippage_known_pct=share(float(self._known), float(self._turnover)),
            worst_slippage_bps=rounded(float(self._worst_bps)) if self._worst_bps is not None else 0.0,
        )


def _flipped(fill: Fill, excess: Decimal) -> list[Fill]:
    """What closes, and what opens the other side; the fee is shared by size."""
    closing = fill.contracts - excess
    if closing <= 0:
        raise InvariantBroken(f"fill {fill.fill_id} reduces what is not held")
    fee = split(fill.fee, closing, fill.contracts)
    other = PositionSide.SHORT if fill.position_side is PositionSide.LONG else PositionSide.LONG
    return [
        msgspec.structs.replace(fill, contracts=closing, fee=fee),
        msgspec.structs.replace(
            fill,
            fill_id=f"{fill.fill_id}:flip",
            contracts=excess,
            fee=fill.fee - fee,
            position_side=other,
            purpose=Purpose.ENTRY,
        ),
    ]
