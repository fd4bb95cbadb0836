"""A Journal in memory, for backtests: the same promises, and one digest over all that was written."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from decimal import Decimal
from itertools import islice

from engine.core.cash import CashFlow, FundingPayment
from engine.core.decisions import AccountView, CycleRecord, Decision, ModelCall, Verdict, Wakeup
from engine.core.instruments import Instrument
from engine.core.ledger import ClosedTrade
from engine.core.market import Candle
from engine.core.memory import CoreBlock, CoreLabel, Episode, MemoryQuery
from engine.core.orders import Fill, Order, OrderIntent, StopMove
from engine.core.signals import Signal
from engine.core.times import NEVER_NS
from engine.journal.in_memory.cycles import MemoryCycles
from engine.journal.in_memory.episodes import Episodes
from engine.journal.in_memory.notes import Notes
from engine.journal.in_memory.orders import MemoryOrders
from engine.journal.ports import (
    AccountCheck,
    BacktestRun,
    Bookings,
    FeatureRow,
    IntegrityEvent,
    KeepState,
    KeptCycle,
    KeptState,
    RiskEvent,
    TraderRecord,
    Validity,
    VenuePositionRow,
)
from engine.journal.snapshots import BalanceSnapshot


class MemoryJournal:
    """Keeps what recovery and reports read back; the rest only enters the digest.

    Grows with the run it records: a backtest is bounded by its input. Of the cycles the newest are kept.
    """

    def __init__(self) -> None:
        self._notes = Notes()
        self._note, self._once = self._notes.add, self._notes.once
        self._cycles = MemoryCycles()
        self.cycles = self._cycles.records  # cycle id → its answer, oldest first
        self.refusals: Counter[str] = self._cycles.refusals  # of the gate, by reason
        self.undecided: Counter[tuple[str, str]] = self._cycles.undecided  # cycles, by trader and why
        self._candles: dict[tuple[str, str], int] = {}  # symbol, timeframe → open of the newest
        self._states: dict[tuple[KeepState, str], bytes] = {}
        self._accounts: dict[str, str] = {}  # trader id → account
        self._episodes = Episodes()
        self._blocks: dict[tuple[str, CoreLabel], CoreBlock] = {}
        self._orders = MemoryOrders(self._notes)
        self.orders = self._orders.orders  # client order id → order, oldest first
        self.fills = self._orders.fills  # account, fill id → fill, in booking order
        self.cash_flows: dict[str, CashFlow] = {}
        self.funding: dict[str, FundingPayment] = {}
        self.trades: dict[str, ClosedTrade] = {}  # trade id → trade, in the order in which they closed
        self.performance: list[AccountView] = []
        self.checks: list[AccountCheck] = []
        self.risk_events: list[RiskEvent] = []
        self.stop_moves: list[StopMove] = []
        self.signals: list[Signal] = []

    def digest(self) -> str:
        """SHA-256 over everything written, in order: equal runs have equal digests (I10)."""
        return self._notes.digest()

    @property
    def closed(self) -> int:
        """Cycles that were answered."""
        return self._cycles.closed

    # -- market

    async def record_instruments(self, instruments: Sequence[Instrument], ts: int) -> None:
        for instrument in instruments:
            self._note("instrument", instrument, ts)

    async def record_candles(self, candles: Sequence[Candle]) -> None:
        new: list[Candle] = []
        for candle in candles:
            series = (candle.symbol, candle.timeframe)
            if candle.closed and candle.ts_open > self._candles.get(series, -1):
                self._candles[series] = candle.ts_open
                new.append(candle)
        if new:
            self._note("candles", new)

    async def record_signals(self, signals: Sequence[Signal]) -> None:
        for signal in signals:
            if self._once("signal", signal.signal_id):
                self.signals.append(signal)
                self._note("signal", signal)

    async def record_features(self, rows: Sequence[FeatureRow]) -> None:
        """Nothing: they follow from the candles, which are in the digest."""

    async def record_integrity(self, events: Sequence[IntegrityEvent]) -> None:
        for event in events:
            key = (event.symbol, event.timeframe, event.kind, str(event.ts_from), str(event.ts_to))
            if self._once("integrity", *key):
                self._note("integrity", event)

    # -- deciding

    async def record_traders(self, traders: Sequence[TraderRecord]) -> None:
        for trader in traders:
            self._accounts[trader.trader_id] = trader.account_id
            self._note("trader", trader)

    async def record_wakeup(self, wakeup: Wakeup) -> None:
        if self._once("wakeup", wakeup.cycle_id):
            self._cycles.begin(wakeup)
            self._note("wakeup", wakeup)

    async def record_question(self, cycle_id: str, system_prompt: str, user_prompt: str, ts: int) -> None:
        """Nothing: it comes with the answer."""

    async def record_cycle(self, record: CycleRecord) -> bool:
        if not self._cycles.close(record):
            return False
        self._note("cycle", record)
        return True

    async def record_gate(
        self,
        verdicts: Sequence[Verdict],
        intents: Sequence[OrderIntent] = (),
        states: Sequence[KeptState] = (),
        answer: Decision | None = None,
    ) -> Validity:
        validity = Validity.IN_FORCE if answer is None else self._cycles.validity(answer)
        if validity is not Validity.IN_FORCE:
            return validity
        for verdict in verdicts:
            if self._once("verdict", verdict.cycle_id, verdict.trader_id, verdict.symbol, verdict.act):
                self._cycles.judge(verdict)
                self._note("verdict", verdict)
        for intent in intents:
            self._orders.intend(intent.client_order_id, intent)
        for kept in states:
            await self.save_state(kept.kind, kept.trader_id, kept.state, kept.ts)
        return validity

    async def record_stop_moves(self, moves: Sequence[StopMove]) -> None:
        for move in moves:
            if self._once("stop", move.move_id):
                self.stop_moves.append(move)
                self._note("stop", move)

    # -- orders

    async def insert_order(self, order: Order) -> bool:
        return self._orders.insert(order)

    async def record_execution(self, order: Order, fill: Fill | None, raw: bytes = b"") -> bool:
        return self._orders.execute(order, fill)

    async def fill_booked(self, account_id: str, fill_id: str) -> bool:
        return (account_id, fill_id) in self.fills

    # -- books

    async def record_cash_flow(self, flow: CashFlow) -> bool:
        if flow.flow_id in self.cash_flows:
            return False
        self.cash_flows[flow.flow_id] = flow
        self._note("cash", flow)
        return True

    async def record_transfer(self, flows: Sequence[CashFlow]) -> bool:
        return all([await self.record_cash_flow(flow) for flow in flows])

    async def record_funding(self, payments: Sequence[FundingPayment]) -> bool:
        if not payments or not self._once("bill", payments[0].account_id, payments[0].bill_id):
            return False
        for payment in payments:
            self.funding[payment.payment_id] = payment
            self._note("funding", payment)
        return True

    async def record_position(self, view: AccountView, trades: Sequence[ClosedTrade]) -> None:
        self._note("positions", view)
        for trade in trades:
            if trade.trade_id not in self.trades:
                self.trades[trade.trade_id] = trade
                self._note("trade", trade)
                self._remember(trade)

    def _remember(self, trade: ClosedTrade) -> None:
        intent = self._orders.intent(trade.exit_client_order_id)
        thesis = self._cycles.reason(trade.entry_cycle_id, trade.symbol)
        ending = self._cycles.reason(intent.cycle_id, trade.symbol) if intent else ""
        self._episodes.add(trade, thesis, ending)

    async def record_performance(self, views: Sequence[AccountView]) -> None:
        for view in views:
            if self._once("performance", view.trader_id, str(view.ts)):
                self.performance.append(view)
                self._note("performance", view)

    async def record_check(self, check: AccountCheck) -> None:
        if self._once("check", check.account_id, str(check.ts)):
            self.checks.append(check)
            self._note("check", check)

    async def record_risk_event(self, event: RiskEvent) -> None:
        if self._once("risk", event.event_id):
            self.risk_events.append(event)
            self._note("risk", event)

    async def risk_event(self, event_id: str) -> RiskEvent | None:
        return next((event for event in self.risk_events if event.event_id == event_id), None)

    async def record_balance(self, snapshot: BalanceSnapshot) -> None:
        if self._once("balance", snapshot.account_id, str(snapshot.ts)):
            self._note("balance", snapshot)

    async def record_venue_positions(
        self, account_id: str, positions: Sequence[VenuePositionRow], ts: int
    ) -> None:
        self._note("venue positions", account_id, positions, ts)

    async def record_initial_equity(self, account_id: str, amount: Decimal, ts: int) -> None:
        self._note("initial equity", amount, ts)

    async def record_backtest(self, run: BacktestRun) -> None:
        if self._once("backtest", run.run_id):
            self._note("backtest", run)

    # -- states of parts

    async def save_state(self, kind: KeepState, trader_id: str, state: bytes, ts: int) -> None:
        self._states[kind, trader_id] = state
        self._note("state", kind, trader_id, state, ts)

    async def load_states(self, kind: KeepState) -> dict[str, bytes]:
        return {trader_id: state for (of, trader_id), state in self._states.items() if of is kind}

    # -- recovery

    async def open_orders(self, account_id: str) -> tuple[Order, ...]:
        return self._orders.open_of(account_id)

    async def order(self, client_order_id: str) -> Order | None:
        return self.orders.get(client_order_id)

    async def pending_intents(self, account_id: str, since_ns: int) -> tuple[OrderIntent, ...]:
        return self._orders.pending_of(account_id, since_ns)

    async def bookings(self, account_id: str) -> Bookings:
        return Bookings(
            cash_flows=tuple(flow for flow in self.cash_flows.values() if flow.account_id == account_id),
            fills=self._orders.fills_of(account_id),
            entries=self._orders.entries_of(account_id),
            funding=tuple(
                sorted(
                    (each for each in self.funding.values() if each.account_id == account_id),
                    key=lambda payment: payment.ts_event,
                )
            ),
            stop_moves=tuple(move for move in self.stop_moves if move.account_id == account_id),
        )

    async def newest_fill_ns(self, account_id: str) -> int:
        return max((fill.ts_event for fill in self._orders.fills_of(account_id)), default=0)

    async def agreed_ns(self, account_id: str) -> int:
        agreed = [check.ts for check in self.checks if check.account_id == account_id and check.agrees]
        return max(agreed, default=0)

    async def open_cycles(self, account_id: str) -> tuple[str, ...]:
        return self._cycles.open_of({name for name, its in self._accounts.items() if its == account_id})

    async def is_open(self, cycle_id: str) -> bool:
        return self._cycles.is_open(cycle_id)

    # -- what a decider is told of the past

    async def recent_cycles(self, trader_id: str, limit: int, before: str = "") -> tuple[CycleRecord, ...]:
        return self._cycles.recent(trader_id, limit, before)

    async def recent_trades(
        self, trader_id: str, limit: int, until_ns: int = NEVER_NS
    ) -> tuple[ClosedTrade, ...]:
        found = (
            trade
            for trade in reversed(self.trades.values())
            if trade.trader_id == trader_id and trade.ts_exit <= until_ns
        )
        return tuple(islice(found, limit))

    async def verdicts_of(self, cycle_ids: Sequence[str]) -> tuple[Verdict, ...]:
        return self._cycles.verdicts_of(cycle_ids)

    # -- what a trader remembers

    async def episodes(self, query: MemoryQuery) -> tuple[Episode, ...]:
        return self._episodes.recall(query)

    async def episodes_after(self, trader_id: str, trade_id: str, limit: int) -> tuple[Episode, ...]:
        return self._episodes.after(trader_id, trade_id, limit)

    async def core_blocks(self, trader_id: str) -> tuple[CoreBlock, ...]:
        return tuple(block for (of, _), block in sorted(self._blocks.items()) if of == trader_id)

    async def set_core_block(self, trader_id: str, block: CoreBlock, ts: int) -> None:
        self._blocks[trader_id, block.label] = block
        self._note("core", trader_id, block, ts)

    # -- replay

    async def cycle(self, cycle_id: str) -> KeptCycle | None:
        return self._cycles.kept(cycle_id)

    async def recorded_call(self, digest: str, alias: str) -> ModelCall | None:
        return self._cycles.call(digest, alias)
