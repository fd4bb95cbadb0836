"""What the journal holds, row by row, as the API shows it. Money and sizes are Decimal and exact.

`timestamp` and other float times are epoch seconds of engine time. `seq` is the order of writing; a page
continues with the rows before the smallest one it had.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import msgspec


class SignalRow(msgspec.Struct, frozen=True, kw_only=True):
    seq: int
    signal_id: str
    symbol: str
    detector: str
    feature: str
    timeframe: str
    edge: str
    value: float
    threshold: float
    release: float
    score: float
    price: float | None
    timestamp: float


class ReasonSignal(msgspec.Struct, frozen=True, kw_only=True):
    """The signal of a reason, as the trader saw it."""

    signal_id: str
    symbol: str
    detector: str
    feature: str
    timeframe: str
    edge: str
    value: float
    threshold: float
    score: float
    price: float | None
    timestamp: float


class ReasonRow(msgspec.Struct, frozen=True, kw_only=True):
    """Why a trader was woken: a timer, the start, an operator, or a signal."""

    kind: str
    signal: ReasonSignal | None
    timestamp: float


class DecisionRow(msgspec.Struct, frozen=True, kw_only=True):
    """A decision cycle without its prompts."""

    seq: int
    cycle_id: str
    trader_id: str
    mode: str
    status: str
    reasons: tuple[ReasonRow, ...]
    decider: str
    model: str
    prompt_version: str
    prompt_digest: str
    decisions: Any
    prices: dict[str, float]
    refusal: str
    error: str
    tokens_in: int
    tokens_out: int
    tokens_cached: int
    cost_usd: Decimal
    latency_ms: int
    timestamp: float
    decided_at: float


class VerdictRow(msgspec.Struct, frozen=True, kw_only=True):
    """What risk said of one action, with the numbers of every check."""

    cycle_id: str
    trader_id: str
    symbol: str
    act: str
    approved: bool
    reason: str
    checks: Any
    timestamp: float


class IntentRow(msgspec.Struct, frozen=True, kw_only=True):
    intent_id: str
    client_order_id: str
    cycle_id: str | None
    trader_id: str
    account_id: str
    symbol: str
    side: str
    position_side: str
    purpose: str
    order_type: str
    contracts: Decimal
    price: Decimal | None
    leverage: Decimal
    stop_loss: Decimal | None
    take_profit: Decimal | None
    decision_price: Decimal | None
    confidence: Decimal | None
    risk_usd: Decimal | None
    invalidation: str
    timestamp: float


class OrderRow(msgspec.Struct, frozen=True, kw_only=True):
    seq: int
    client_order_id: str
    venue_order_id: str
    cycle_id: str | None
    trader_id: str
    account_id: str
    symbol: str
    side: str
    position_side: str
    purpose: str
    order_type: str
    state: str
    venue_state: str
    contracts: Decimal
    filled: Decimal
    price: Decimal | None
    average_price: Decimal | None
    fees: Decimal
    reason: str
    timestamp: float
    sent_at: float
    acked_at: float
    updated_at: float


class FillRow(msgspec.Struct, frozen=True, kw_only=True):
    """One execution; `fee` has the venue's sign: negative was paid."""

    seq: int
    fill_id: str
    client_order_id: str
    venue_order_id: str
    trader_id: str
    account_id: str
    symbol: str
    side: str
    position_side: str
    purpose: str
    contracts: Decimal
    price: Decimal
    contract_value: Decimal
    fee: Decimal
    maker: bool
    timestamp: float


class CapitalMove(msgspec.Struct, frozen=True, kw_only=True):
    """Money that came into a trader's account (negative: left it) and is no profit."""

    seq: int
    flow_id: str
    trader_id: str
    account_id: str
    kind: str
    amount: Decimal
    timestamp: float


class RiskEventRow(msgspec.Struct, frozen=True, kw_only=True):
    seq: int
    event_id: str
    trader_id: str
    symbol: str
    kind: str
    detail: str
    timestamp: float


class CheckRow(msgspec.Struct, frozen=True, kw_only=True):
    """The newest comparison of an account's books with the venue."""

    account_id: str
    balanced: bool
    venue_equity: Decimal
    traders_equity: Decimal
    reserve: Decimal
    difference: Decimal
    detail: str
    timestamp: float


class NoteRow(msgspec.Struct, frozen=True, kw_only=True):
    """A signal that did not wake, or was merged, and why; a cycle that expired; `older`: how many more."""

    code: str
    subject: str
    timestamp: float


class CallRow(msgspec.Struct, frozen=True, kw_only=True):
    """One question to a model; `failure` is empty when it answered, `cut` when the answer is whole.

    Times are 0 for calls of older versions. `answer` is the raw text.
    """

    n: int
    asked: str
    alias: str
    model: str
    digest: str
    answer: str
    reasoning: str
    cut: str
    failure: str
    detail: str
    tokens_in: int
    tokens_out: int
    tokens_cached: int
    cost_usd: Decimal
    latency_ms: int
    asked_at: float
    answered_at: float


class TradeRow(msgspec.Struct, frozen=True, kw_only=True):
    """A closed trade: net = gross + fees + funding, negative was paid."""

    trade_id: str
    trader_id: str
    account_id: str
    symbol: str
    side: str
    contracts: Decimal
    coins: Decimal
    entry_price: Decimal
    exit_price: Decimal
    entry_time: float
    exit_time: float
    entry_fees: Decimal
    exit_fees: Decimal
    funding: Decimal
    gross: Decimal
    net: Decimal
    leverage: Decimal
    confidence: Decimal | None
    exit_purpose: str
    entry_client_order_id: str
    exit_client_order_id: str
    entry_fill_id: str
    exit_fill_id: str
    entry_cycle_id: str


class CycleChain(msgspec.Struct, frozen=True, kw_only=True):
    """One cycle from the signals that woke it to the trades it opened or closed."""

    cycle: DecisionRow
    signals: tuple[SignalRow, ...]
    notes: tuple[NoteRow, ...]  # since the trader's wakeup before
    system_prompt: str
    user_prompt: str
    answer: str
    reasoning: str
    calls: tuple[CallRow, ...]
    validations: tuple[VerdictRow, ...]
    intents: tuple[IntentRow, ...]
    orders: tuple[OrderRow, ...]
    fills: tuple[FillRow, ...]
    trades: tuple[TradeRow, ...]
