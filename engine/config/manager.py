"""`manager.yaml`: the traders, their capital and their limits. Keys of nof0 keep their names and meaning."""

from __future__ import annotations

from decimal import Decimal
from enum import StrEnum
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from engine.config.loader import Duration, Secret
from engine.config.scheduler import BudgetConfig, RhythmConfig, RolloutConfig

Percent = Annotated[Decimal, Meta(ge=0, le=100)]
Positive = Annotated[Decimal, Meta(gt=0)]
Name = Annotated[str, Meta(pattern=r"^[A-Za-z0-9_.-]{1,48}$")]


class BreakerAction(StrEnum):
    """What happens when a breaker trips. Closing passes in every case."""

    REDUCE_ONLY = "reduce_only"  # no entries for the cool-off
    HALT = "halt"  # no entries until an operator resumes
    FLATTEN = "flatten"  # own positions are closed at market, and no entries for the cool-off


class RiskConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Limits of one trader. The gate checks them on venue quantities, in the order of engine.manager.risk."""

    max_positions: Annotated[int, Meta(ge=1)] = 3
    max_position_size_usd: Positive = Decimal(10_000)  # notional of one position
    max_margin_usage_pct: Percent = Decimal(60)  # of equity
    major_coin_leverage: Positive = Decimal(20)
    altcoin_leverage: Positive = Decimal(10)
    min_risk_reward_ratio: Annotated[Decimal, Meta(ge=0)] = Decimal(0)
    min_confidence: Percent = Decimal(0)
    stop_loss_enabled: bool = True  # an entry without a stop is refused
    take_profit_enabled: bool = False  # an entry without a target is refused
    max_stop_distance_pct: Percent = Decimal(20)
    trailing_stop_pct: Percent = Decimal(0)  # the engine moves the stop after the mark; 0: it stays
    max_holding: Duration | None = None  # a position is closed at market after this long
    allow_stop_loosening: bool = False  # a stop may be moved away from the price, toward more risk
    risk_per_trade_pct: Percent = Decimal(2)  # of equity, from entry to stop
    max_concentration_pct: Positive = Decimal(1000)  # notional of one position, of equity
    liquidation_buffer_pct: Percent = Decimal("0.2")  # of price, between the stop and liquidation
    max_spread_bps: Positive = Decimal(20)
    max_slippage_bps: Positive = Decimal(30)  # of the whole size, walked over the shown book
    max_price_band_bps: Positive = Decimal(300)  # between the order's price and the mark
    max_reference_gap_bps: Positive = Decimal(100)  # between this venue and a second source
    max_reference_age: Duration = Duration(60)
    require_reference: bool = False  # no entry without a fresh price of a second source
    max_price_age: Duration = Duration(10)
    max_price_move_bps: Positive = Decimal(50)  # since the prompt: the answer is stale beyond it
    min_edge_fees: Annotated[Decimal, Meta(ge=0)] = Decimal(2)  # target distance in round-trip fees
    cooldown_after_close: Duration = Duration(60)
    cooldown_after_stop: Duration = Duration(300)
    max_entries_per_hour: Annotated[int, Meta(ge=1)] = 12
    max_daily_loss_pct: Percent = Decimal(10)
    max_drawdown_pct: Percent = Decimal(30)
    max_losses_in_row: Annotated[int, Meta(ge=0)] = 8  # closed trades; 0: not watched
    max_model_failures: Annotated[int, Meta(ge=0)] = 20  # decisions in a row that could not be had
    max_order_rejects: Annotated[int, Meta(ge=0)] = 5  # entries in a row that the venue did not take
    breaker_action: BreakerAction = BreakerAction.REDUCE_ONLY
    cool_off: Duration = Duration(14_400)


class StrategyConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A decider without a model: its name and its numbers."""

    name: Name
    params: dict[str, Decimal | str | bool] = {}


class MemberConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One voice of an ensemble: a model with its system prompt, or a strategy."""

    model: str = ""
    prompt_template: str = ""
    strategy: StrategyConfig | None = None

    def __post_init__(self) -> None:
        if bool(self.model) == (self.strategy is not None):
            raise ValueError("expected either a model or a strategy")


class EnsembleConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Several deciders about each wakeup: more than half of them must agree, or `judge` chooses one's answer.

    Every member is asked once a decision, without a repair, and the judge at most once; it is not asked
    when the members cost `max_cost_usd` already, then the majority decides.
    """

    members: Annotated[tuple[MemberConfig, ...], Meta(min_length=2, max_length=7)]
    judge: str = ""  # an alias of llm.yaml
    max_cost_usd: Positive = Decimal("0.50")


class TraderConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One trader: who decides, on what, how often, with how much, within which limits."""

    id: Name
    name: str = ""
    exchange_provider: str = ""
    market_provider: str = ""
    order_style: Literal["market", "market_ioc", "limit"] = "market"
    market_ioc_slippage_bps: Annotated[Decimal, Meta(ge=0, le=1000)] = Decimal(75)
    prompt_template: str = ""
    executor_prompt_template: str = ""
    model: str = ""
    strategy: StrategyConfig | None = None
    ensemble: EnsembleConfig | None = None
    memory: Literal["off", "local", "letta"] = "off"  # of a model: what it is reminded of
    decision_interval: Duration | None = None  # the long cycle; overrides rhythm.long_cycle
    allocation_pct: Percent
    auto_start: bool = True
    symbols: tuple[str, ...] = ()  # empty: all of market.yaml
    rhythm: RhythmConfig = RhythmConfig()
    rollout: RolloutConfig = RolloutConfig()  # how much of it is live, how much on paper
    risk_params: RiskConfig = RiskConfig()

    @property
    def models(self) -> tuple[str, ...]:
        """The aliases that it asks, the first one first."""
        if self.ensemble is None:
            return (self.model,) if self.model else ()
        found = (*(member.model for member in self.ensemble.members), self.ensemble.judge)
        return tuple(dict.fromkeys(alias for alias in found if alias))

    @property
    def decider(self) -> str:
        """Who decides: the model's alias, the strategy's name, or `ensemble`."""
        if self.ensemble is not None:
            return "ensemble"
        return self.model or (self.strategy.name if self.strategy else "")


class AccountBreakerConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Limits of all traders together, on the equity of the venue account. 0 in a row: not watched."""

    max_daily_loss_pct: Percent = Decimal(20)
    max_drawdown_pct: Percent = Decimal(50)
    max_losses_in_row: Annotated[int, Meta(ge=0)] = 0
    max_model_failures: Annotated[int, Meta(ge=0)] = 0
    max_order_rejects: Annotated[int, Meta(ge=0)] = 20
    breaker_action: BreakerAction = BreakerAction.REDUCE_ONLY
    cool_off: Duration = Duration(14_400)


class AllocationConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Numbers of the rule in engine.manager.allocation, in percent."""

    smoothing_pct: Percent = Decimal(30)  # of a new return in the score; the rest is the score before
    scale_pct: Positive = Decimal(10)  # a score of this doubles a trader's weight
    floor_pct: Percent = Decimal(50)  # of its own share: nobody is taken below it
    cap_pct: Annotated[Decimal, Meta(ge=100, le=1000)] = Decimal(200)  # of its own share: nobody gets more
    max_move_pct: Percent = Decimal(10)  # of the giver's equity, at one rebalance


class CapitalConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How much of the venue account is traded, and how it is divided."""

    total_equity_usd: Positive = Decimal(10_000)
    reserve_equity_pct: Percent = Decimal(10)
    allocation_strategy: Literal["fixed", "equal", "performance_based"] = "fixed"
    rebalance_interval: Duration = Duration(3600)
    allocation: AllocationConfig = AllocationConfig()
    state_storage_backend: Literal["file", "postgres"] = "postgres"
    state_storage_path: str = ""
    max_gross_exposure_pct: Annotated[Decimal, Meta(gt=0, le=10_000)] = Decimal(400)  # of account equity
    max_symbol_exposure_pct: Annotated[Decimal, Meta(gt=0, le=10_000)] = Decimal(200)
    breaker: AccountBreakerConfig = AccountBreakerConfig()
    daily_reset_utc: Annotated[str, Meta(pattern=r"^([01][0-9]|2[0-3]):[0-5][0-9]$")] = "00:00"
    major_coins: tuple[str, ...] = ("BTC", "ETH")
    limit_order_timeout: Duration = Duration(120)

    @property
    def daily_reset_s(self) -> int:
        """Seconds after midnight UTC at which the day of the daily loss begins."""
        hours, minutes = self.daily_reset_utc.split(":")
        return int(hours) * 3600 + int(minutes) * 60


class MonitoringConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How often accounts are measured, and who is told what needs a person. Alert times are real seconds."""

    update_interval: Duration = Duration(15)
    alert_webhook: Secret = Secret("")  # gets each alert as JSON
    alerts: tuple[Secret, ...] = ()  # chats, as addresses of apprise: slack://, tgram://, discord:// ...
    alert_min_interval: Duration = Duration(60)  # between two of a kind about a trader
    alerts_per_hour: Annotated[int, Meta(ge=1)] = 30
    metrics_exporter: Literal["prometheus"] = "prometheus"


class ManagerConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The whole file."""

    manager: CapitalConfig = CapitalConfig()
    traders: Annotated[tuple[TraderConfig, ...], Meta(min_length=1)]
    monitoring: MonitoringConfig = MonitoringConfig()
    budget: BudgetConfig = BudgetConfig()

    def capital(self, trader: TraderConfig) -> Decimal:
        """Start capital: the trader's percentage of what is not reserved; equal parts if so configured."""
        traded = self.manager.total_equity_usd * (100 - self.manager.reserve_equity_pct) / 100
        if self.manager.allocation_strategy == "equal":
            return traded / len(self.traders)
        return traded * trader.allocation_pct / 100
