"""A wakeup carries all that a decider may know; a decision says what it wants. Code decides the rest."""

from __future__ import annotations

from decimal import Decimal
from enum import StrEnum

import msgspec

from engine.core.instruments import USUAL_FEES
from engine.core.market import NewsItem
from engine.core.orders import PositionSide
from engine.core.signals import MarketSnapshot, Signal


class WakeKind(StrEnum):
    START = "start"  # first look after the engine started
    LONG_TIMER = "long_timer"
    SHORT_TIMER = "short_timer"
    SIGNAL = "signal"
    OPERATOR = "operator"


class CycleMode(StrEnum):
    LONG = "long"
    SHORT = "short"


class WakeReason(msgspec.Struct, frozen=True, gc=False):
    kind: WakeKind
    ts: int
    signal: Signal | None = None


class WakeNote(msgspec.Struct, frozen=True, gc=False):
    """What did not become a reason of its own, and why: `subject` is a signal's id, or a cycle's.

    A first note with the code `older` stands for as many, until its time, as its subject says.
    """

    ts: int
    code: str  # engine.manager.rhythm_state.Refusal or engine.manager.budget.Shortage
    subject: str


class PositionView(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """One virtual position of a trader, marked at `mark_price`. Contracts and coins are positive."""

    symbol: str
    side: PositionSide
    contracts: Decimal
    coins: Decimal
    entry_price: Decimal
    mark_price: Decimal | None
    notional: Decimal | None
    leverage: Decimal
    margin: Decimal
    unrealised: Decimal | None
    realised: Decimal  # of the part already closed, before fees
    fees: Decimal
    funding: Decimal
    liquidation_price: Decimal | None
    stop_loss: Decimal | None
    take_profit: Decimal | None
    confidence: Decimal | None
    risk_usd: Decimal | None
    invalidation: str
    ts_opened: int
    entry_client_order_id: str


class AccountView(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """A trader's virtual account at `ts`. `equity` is None while a position has no price."""

    trader_id: str
    ts: int
    capital: Decimal  # what was put in, net of what was taken out
    cash: Decimal
    equity: Decimal | None
    available: Decimal  # free for new margin
    margin_used: Decimal
    realised: Decimal  # closed profit and loss before fees and funding
    unrealised: Decimal | None
    fees: Decimal  # negative was charged
    funding: Decimal
    positions: tuple[PositionView, ...] = ()

    def position(self, symbol: str) -> PositionView | None:
        """The position in `symbol`, None when flat."""
        return next((view for view in self.positions if view.symbol == symbol), None)


class Wakeup(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """Asks one trader to decide, with everything it may look at: a cycle can be replayed from it alone.

    `notes`: what was refused or merged since the trader's last wakeup, oldest first, at most 64.
    `news`: headlines about its symbols, newest first. `on_paper`: symbols not to be entered live by it.
    `taker_fee`: of its account, as a fraction of notional.
    """

    cycle_id: str
    trader_id: str
    ts: int
    mode: CycleMode
    reasons: tuple[WakeReason, ...]
    account: AccountView
    market: tuple[MarketSnapshot, ...]
    deadline_ns: int  # engine time after which an answer is stale
    notes: tuple[WakeNote, ...] = ()
    news: tuple[NewsItem, ...] = ()
    on_paper: tuple[str, ...] = ()
    taker_fee: Decimal = USUAL_FEES.taker

    def snapshot(self, symbol: str) -> MarketSnapshot | None:
        """What is known of `symbol`, None when nothing is."""
        return next((view for view in self.market if view.symbol == symbol), None)


class Act(StrEnum):
    """Signals of the nof0 wire schema, and two of our own."""

    BUY_TO_ENTER = "buy_to_enter"
    SELL_TO_ENTER = "sell_to_enter"
    HOLD = "hold"
    CLOSE = "close_position"
    REDUCE = "reduce_position"
    MOVE_STOP = "move_stop"

    @property
    def enters(self) -> bool:
        return self in {Act.BUY_TO_ENTER, Act.SELL_TO_ENTER}


class Action(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """What a decider wants with one symbol. Sizes are dollars of notional; risk and code set contracts."""

    symbol: str  # venue id
    act: Act
    notional_usd: Decimal | None = None
    leverage: Decimal = Decimal(1)
    entry_price: Decimal | None = None  # a limit price; None takes the market
    stop_loss: Decimal | None = None
    take_profit: Decimal | None = None
    risk_usd: Decimal | None = None
    confidence: Decimal = Decimal(0)  # 0..1
    close_fraction: Decimal = Decimal(1)
    invalidation: str = ""
    justification: str = ""


class Decision(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """The answer to a wakeup. `prices` are the marks that were shown, to tell whether it is stale."""

    cycle_id: str
    trader_id: str
    decider: str  # strategy name or model alias
    actions: tuple[Action, ...]
    prices: dict[str, float]
    ts_decided: int
    refusal: str = ""  # why it became «hold»: reason code of DecisionRefused, or timeout, unavailable
    cost_usd: Decimal = Decimal(0)  # of all model calls of the cycle


class CycleStatus(StrEnum):
    PENDING = "pending"
    DECIDED = "decided"
    REFUSED = "refused"
    TIMEOUT = "timeout"
    UNAVAILABLE = "unavailable"
    ABANDONED = "abandoned"  # the engine died while it was thinking


class ModelCall(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """One question to a model and what came of it; found again by the digest of the question.

    `answer` is the raw text, whole or not. `failure` says why there is none, and is "" when there is one.
    The times are engine time, 0 where nobody looked; `latency_ms` is real time, as the client measured it.
    """

    digest: str  # sha256 of the messages: see engine.executor.asking.question_digest
    asked: str  # the alias
    alias: str  # who answered: the one that was asked, or one of its fallbacks
    model: str = ""
    answer: str = ""
    reasoning: str = ""
    cut: str = ""  # why the answer is not whole
    failure: str = ""
    detail: str = ""
    tokens_in: int = 0
    tokens_out: int = 0
    tokens_cached: int = 0
    cost_usd: Decimal = Decimal(0)
    latency_ms: int = 0
    ts_asked: int = 0
    ts_answered: int = 0


class CycleRecord(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """All that is kept of one decision cycle beside its wakeup."""

    decision: Decision
    status: CycleStatus
    model: str = ""  # the name the endpoint was asked for
    prompt_version: str = ""
    prompt_digest: str = ""  # sha256 of system and user prompt
    system_prompt: str = ""
    user_prompt: str = ""
    answer: str = ""
    reasoning: str = ""
    error: str = ""
    tokens_in: int = 0
    tokens_out: int = 0
    tokens_cached: int = 0
    cost_usd: Decimal = Decimal(0)
    latency_ms: int = 0
    ts_started: int = 0
    calls: tuple[ModelCall, ...] = ()  # each question to a model, in order


class Check(msgspec.Struct, frozen=True, gc=False):
    """One line of the risk gate: what was asked, with its numbers."""

    name: str
    passed: bool
    detail: str = ""


class Verdict(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """What risk said of one action. `reason` is "" when approved, else the code of the first refusal."""

    cycle_id: str
    trader_id: str
    symbol: str
    act: Act
    approved: bool
    reason: str
    checks: tuple[Check, ...]
    ts: int
