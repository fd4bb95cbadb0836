"""What a model is shown, as types: unknown is null and never 0, long and short are alike."""

from __future__ import annotations

from decimal import Decimal

import msgspec

from engine.core.orders import PositionSide


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """What code will enforce, whatever is answered. Percentages are of equity unless they say otherwise."""

    max_positions: int
    max_position_size_usd: Decimal
    max_margin_usage_pct: Decimal
    risk_per_trade_pct: Decimal
    max_stop_distance_pct: Decimal  # of price
    min_risk_reward_ratio: Decimal
    min_confidence_pct: Decimal
    stop_loss_required: bool
    take_profit_required: bool
    stop_may_loosen: bool
    fee_pct_round_trip: Decimal  # of notional


class Account(msgspec.Struct, frozen=True, kw_only=True):
    capital: Decimal
    cash: Decimal
    equity: Decimal | None
    available: Decimal
    margin_used: Decimal
    realised: Decimal
    unrealised: Decimal | None
    fees: Decimal
    funding: Decimal
    return_pct: Decimal | None


class Position(msgspec.Struct, frozen=True, kw_only=True):
    """One of the trader's own positions, with the plan it was entered on."""

    symbol: str
    side: PositionSide
    coins: Decimal
    notional_usd: Decimal | None
    leverage: Decimal
    entry_price: Decimal
    price: Decimal | None
    unrealised: Decimal | None
    return_on_margin_pct: Decimal | None
    fees: Decimal
    funding: Decimal
    liquidation_price: Decimal | None
    stop_loss: Decimal | None
    take_profit: Decimal | None
    invalidation_condition: str
    confidence: Decimal | None
    held_s: int


class Frame(msgspec.Struct, frozen=True, kw_only=True):
    """Indicators of one timeframe at its newest closed candle, `age_s` ago; closes are oldest first."""

    timeframe: str
    age_s: int
    warming_up: bool  # some of the features are not known yet
    features: dict[str, float | None]
    closes: tuple[float, ...]


class Market(msgspec.Struct, frozen=True, kw_only=True):
    """One symbol. `price` is the mark price, or the last trade; ages in seconds, null when never seen.

    `quote_age_s` is of bid and ask; the reference price is the index's or another venue's. What is in `live`
    is null once its source is silent.
    """

    symbol: str
    max_leverage: Decimal
    price: float | None
    price_age_s: float | None
    bid: float | None
    ask: float | None
    quote_age_s: float | None
    last: float | None
    last_age_s: float | None
    index: float | None
    index_age_s: float | None
    reference_price: float | None
    reference_age_s: float | None
    change_24h_pct: float | None
    volume_24h_coins: float | None
    funding_rate: float | None
    funding_age_s: float | None
    funding_in_s: int | None
    open_interest: float | None
    open_interest_age_s: float | None
    silent_channels: tuple[str, ...]
    live: dict[str, float | None]
    frames: tuple[Frame, ...]


class Reason(msgspec.Struct, frozen=True, kw_only=True):
    """Why the trader was woken; the fields of a signal are null for a timer."""

    kind: str
    age_s: float
    symbol: str | None = None
    what: str | None = None
    edge: str | None = None
    value: float | None = None
    threshold: float | None = None
    salience: float | None = None


class Trade(msgspec.Struct, frozen=True, kw_only=True):
    """A position that was closed; net is after fees and funding."""

    symbol: str
    side: PositionSide
    ended_s_ago: int
    held_s: int
    notional_usd: Decimal
    leverage: Decimal
    entry_price: Decimal
    exit_price: Decimal
    exit: str
    net: Decimal


class SideResult(msgspec.Struct, frozen=True, kw_only=True):
    """How one side did over the trades that were looked at, shown or not."""

    side: PositionSide
    trades: int
    wins: int
    net: Decimal


class PastAction(msgspec.Struct, frozen=True, kw_only=True):
    """`outcome`: what risk said, or how the trade ended; null where nothing was to be done."""

    symbol: str
    signal: str
    size_usd: Decimal | None
    confidence: Decimal
    why: str
    outcome: str | None


class PastDecision(msgspec.Struct, frozen=True, kw_only=True):
    """An earlier answer; `refused` says why it came to nothing, when it did."""

    age_s: int
    status: str
    refused: str
    actions: tuple[PastAction, ...]


class RememberedTrade(msgspec.Struct, frozen=True, kw_only=True):
    """A trade of the past that fits the moment, with the reasons of then; net is after fees and funding."""

    symbol: str
    side: PositionSide
    ended_s_ago: int
    held_s: int
    net: Decimal
    exit: str
    why: str
    invalidation_condition: str
    closed_because: str


class News(msgspec.Struct, frozen=True, kw_only=True):
    """A headline. `sentiment` is -1 (bad) to 1 (good), null when nobody judged it."""

    source: str
    title: str
    age_s: int
    symbols: tuple[str, ...]
    sentiment: float | None


class Context(msgspec.Struct, frozen=True, kw_only=True):
    """Everything in the data block of a prompt; the order of the fields is the order in the prompt."""

    trader: str
    now: str
    mode: str
    woken_by: tuple[Reason, ...]
    limits: Limits
    account: Account
    positions: tuple[Position, ...]
    market: tuple[Market, ...]
    sides: tuple[SideResult, ...]
    closed_trades: tuple[Trade, ...]
    recent_decisions: tuple[PastDecision, ...]
    news: tuple[News, ...]
    memory: str
    remembered_trades: tuple[RememberedTrade, ...]
    notes: tuple[str, ...]
    left_out: tuple[str, ...] = ()
