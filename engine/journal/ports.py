"""What the parts write down and read back. PostgresJournal is the truth; MemoryJournal serves backtests.

Every method is one transaction, idempotent by the ids in its arguments: writing the same thing twice
leaves it there once. Raises StoreUnavailable when the store does not answer within its timeout.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from enum import StrEnum
from typing import Final, Protocol

import msgspec

from engine.core.cash import CashFlow, FundingPayment
from engine.core.decisions import AccountView, CycleRecord, Decision, ModelCall, Verdict, Wakeup
from engine.core.instruments import Instrument
from engine.core.ledger import ClosedTrade
from engine.core.market import Candle
from engine.core.memory import CoreBlock, Episode, MemoryQuery
from engine.core.orders import Fill, Order, OrderIntent, StopMove
from engine.core.signals import Signal
from engine.core.times import NEVER_NS
from engine.journal.snapshots import BalanceSnapshot


class TraderRecord(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """A trader as configured: `config` is its JSON without secrets, `kind` its decider."""

    trader_id: str
    name: str
    kind: str
    model: str
    account_id: str
    config: bytes
    ts: int


class RiskEvent(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """A breaker, an alarm, a refusal that is not about one decision. `trader_id` "" is the whole account."""

    event_id: str
    trader_id: str
    symbol: str
    kind: str
    detail: str
    ts: int


TOLERANCE_USD: Final = Decimal("0.01")  # venues round average prices and unrealised profit for the wire


class AccountCheck(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """One comparison of the traders' books with the venue's (invariant I8); `difference` is 0 if it holds."""

    account_id: str
    ts: int
    balanced: bool
    venue_equity: Decimal
    traders_equity: Decimal
    reserve: Decimal  # cash of the account that no trader has
    difference: Decimal
    detail: str

    @property
    def agrees(self) -> bool:
        """Books and venue hold the same, whether or not all of it belongs to a trader."""
        return not self.detail and abs(self.difference) <= TOLERANCE_USD


class VenuePositionRow(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """A position as the venue has it; `contracts` signed. `position_side` is long, short or net."""

    symbol: str
    position_side: str
    contracts: Decimal
    average_price: Decimal
    unrealised: Decimal | None
    leverage: Decimal | None
    liquidation_price: Decimal | None


class FeatureRow(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """Indicators as of the close of a candle; None where the warm-up is not over."""

    symbol: str
    timeframe: str
    ts_open: int
    values: Mapping[str, float | None]


class IntegrityKind(StrEnum):
    GAP = "gap"  # candles are missing
    DUPLICATE = "duplicate"
    REPAIRED = "repaired"  # what was missing has been fetched


class IntegrityEvent(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """Something was wrong with the candles that open from `ts_from` to before `ts_to`."""

    symbol: str
    timeframe: str
    kind: IntegrityKind
    ts_from: int
    ts_to: int
    ts: int


class BacktestRun(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """A finished backtest. `config`, `metrics` and `equity_curve` are JSON; `digest` is its journal's."""

    run_id: str
    name: str
    config: bytes
    digest: str
    metrics: bytes
    equity_curve: bytes
    ts_from: int  # engine time that was played
    ts_to: int
    ts_created: int


class Bookings(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """All that a ledger is folded from, each kind oldest first; `entries` are the intents of entry fills."""

    cash_flows: tuple[CashFlow, ...]
    fills: tuple[Fill, ...]
    entries: tuple[OrderIntent, ...]
    funding: tuple[FundingPayment, ...]
    stop_moves: tuple[StopMove, ...] = ()


class KeptCycle(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """A cycle as it was: what the decider was woken with, and its answer with prompts and calls."""

    wakeup: Wakeup
    record: CycleRecord


class KeepState(StrEnum):
    """Which of a trader's states is kept: see Journal.save_state."""

    SCHEDULER = "scheduler"
    BREAKER = "breaker"  # of a trader, or of a whole account: see account_key
    TRADER = "trader"  # cooldowns and entry counts
    MARKET = "market"  # of a symbol, kept under its id
    FEES = "fees"  # of a venue account, kept under its id: what trades cost it
    ALLOCATION = "allocation"  # of a whole account: when capital last moved, and the scores
    VENUE = "venue"  # of a paper account's venue, kept under its id
    MEMORY = "memory"  # the newest episode that a memory outside the journal was told


class KeptState(msgspec.Struct, frozen=True):
    """A state as it is kept: bytes of its owner, by which it goes on."""

    kind: KeepState
    trader_id: str
    state: bytes
    ts: int


class Validity(StrEnum):
    """Whether a decision is its cycle's answer."""

    IN_FORCE = "in_force"
    OPEN = "open"  # the cycle has no answer yet
    VOID = "void"  # the cycle was closed without it, or nobody was woken


def account_key(account_id: str) -> str:
    """What a state of a whole account is kept under: no trader has such an id."""
    return f"*{account_id}"


class Journal(Protocol):
    """Writes in the order of a cycle's life, then what recovery reads."""

    # -- market
    async def record_instruments(self, instruments: Sequence[Instrument], ts: int) -> None: ...
    async def record_candles(self, candles: Sequence[Candle]) -> None: ...
    async def record_signals(self, signals: Sequence[Signal]) -> None: ...
    async def record_features(self, rows: Sequence[FeatureRow]) -> None: ...
    async def record_integrity(self, events: Sequence[IntegrityEvent]) -> None: ...

    # -- deciding
    async def record_traders(self, traders: Sequence[TraderRecord]) -> None: ...
    async def record_wakeup(self, wakeup: Wakeup) -> None:
        """A decision cycle is open (status PENDING), linked to the signals that woke it."""
        ...

    async def record_question(self, cycle_id: str, system_prompt: str, user_prompt: str, ts: int) -> None:
        """What a model is being asked in an open cycle, so that only the answer is left to be written.

        The record that closes the cycle has the prompts too: they are kept whether or not this came first.
        """
        ...

    async def record_cycle(self, record: CycleRecord) -> bool:
        """Close the cycle with its answer. False when it was closed before: then do not act on it."""
        ...

    async def record_gate(
        self,
        verdicts: Sequence[Verdict],
        intents: Sequence[OrderIntent] = (),
        states: Sequence[KeptState] = (),
        answer: Decision | None = None,
    ) -> Validity:
        """What became of a decision, and the states that go with it; the intents are in force from now on.

        answer: the decision that all of it follows from. Nothing is written unless its cycle is closed with
        it; a close that is under way is waited for. Without one, everything is always in force.
        """
        ...

    async def record_stop_moves(self, moves: Sequence[StopMove]) -> None: ...

    # -- orders: insert_order is committed before a byte goes to the venue (I1)
    async def insert_order(self, order: Order) -> bool:
        """False when the order was there already: then it must be recovered, not sent."""
        ...

    async def record_execution(self, order: Order, fill: Fill | None, raw: bytes = b"") -> bool:
        """The order's new state, an order event, and its fill, in one transaction.

        The event keeps `raw`, what the venue said, as it came; b"" where no venue spoke.
        False, and nothing is written, when `fill` was booked before. For an order that the journal does
        not have (a stop that fired, somebody else's) the row is made.
        """
        ...

    async def fill_booked(self, account_id: str, fill_id: str) -> bool: ...

    # -- books
    async def record_cash_flow(self, flow: CashFlow) -> bool: ...
    async def record_transfer(self, flows: Sequence[CashFlow]) -> bool:
        """All of them or none. False, and nothing is written, when they were booked before."""
        ...

    async def record_funding(self, payments: Sequence[FundingPayment]) -> bool:
        """The parts of one charge. False, and nothing is written, when its bill was booked before."""
        ...

    async def record_position(self, view: AccountView, trades: Sequence[ClosedTrade]) -> None:
        """The trader's open positions replace the former ones; closed trades are added."""
        ...

    async def record_performance(self, views: Sequence[AccountView]) -> None: ...
    async def record_check(self, check: AccountCheck) -> None: ...
    async def record_risk_event(self, event: RiskEvent) -> None: ...
    async def risk_event(self, event_id: str) -> RiskEvent | None:
        """The event, once it is written; writing may lag behind `record_risk_event` a little."""
        ...

    async def record_balance(self, snapshot: BalanceSnapshot) -> None: ...
    async def record_venue_positions(
        self, account_id: str, positions: Sequence[VenuePositionRow], ts: int
    ) -> None:
        """The account's open positions at the venue replace the former ones."""
        ...

    async def record_initial_equity(self, account_id: str, amount: Decimal, ts: int) -> None:
        """What all traders of the account began with: one row, overwritten by a later one."""
        ...

    async def record_backtest(self, run: BacktestRun) -> None: ...

    # -- states of parts, exact across a crash
    async def save_state(self, kind: KeepState, trader_id: str, state: bytes, ts: int) -> None: ...
    async def load_states(self, kind: KeepState) -> dict[str, bytes]: ...

    # -- recovery
    async def open_orders(self, account_id: str) -> tuple[Order, ...]: ...
    async def order(self, client_order_id: str) -> Order | None: ...
    async def pending_intents(self, account_id: str, since_ns: int) -> tuple[OrderIntent, ...]:
        """Intents without an order row, not older than `since_ns`."""
        ...

    async def bookings(self, account_id: str) -> Bookings: ...
    async def newest_fill_ns(self, account_id: str) -> int: ...
    async def agreed_ns(self, account_id: str) -> int:
        """When the books last held what the venue held, to the cent; 0: never."""
        ...

    async def open_cycles(self, account_id: str) -> tuple[str, ...]:
        """Ids of the cycles of the account's traders that nobody closed, oldest first."""
        ...

    async def is_open(self, cycle_id: str) -> bool: ...

    # -- what a decider is told of the past
    async def recent_cycles(self, trader_id: str, limit: int, before: str = "") -> tuple[CycleRecord, ...]:
        """Closed cycles without their texts and calls, newest first; `before`: woken before that one."""
        ...

    async def recent_trades(
        self, trader_id: str, limit: int, until_ns: int = NEVER_NS
    ) -> tuple[ClosedTrade, ...]:
        """Newest first, those that ended until `until_ns`."""
        ...

    async def verdicts_of(self, cycle_ids: Sequence[str]) -> tuple[Verdict, ...]:
        """What risk said of the actions of these cycles, live; on paper they have another trader's name."""
        ...

    # -- what a trader remembers: episodes are made by record_position, of the trades that it closes
    async def episodes(self, query: MemoryQuery) -> tuple[Episode, ...]:
        """The most relevant and the most recent closed trades: see engine.core.memory.choose."""
        ...

    async def episodes_after(self, trader_id: str, trade_id: str, limit: int) -> tuple[Episode, ...]:
        """Those recorded after the episode `trade_id` ("": all), oldest first."""
        ...

    async def core_blocks(self, trader_id: str) -> tuple[CoreBlock, ...]: ...
    async def set_core_block(self, trader_id: str, block: CoreBlock, ts: int) -> None:
        """Replace one block of a trader's core memory; an empty text takes the general one away too."""
        ...

    # -- replay
    async def cycle(self, cycle_id: str) -> KeptCycle | None:
        """A cycle with all that it was decided from; None when there is no such cycle."""
        ...

    async def recorded_call(self, digest: str, alias: str) -> ModelCall | None:
        """The newest answer to a question, of `alias` if it was ever asked; None when nobody answered."""
        ...
