"""`executor.yaml`: how deciders are run, and limits that bound every trader's own. nof0's keys are kept."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta

from engine.config.loader import Duration, Secret
from engine.config.manager import RiskConfig

Percent = Annotated[Decimal, Meta(ge=0, le=100)]
Positive = Annotated[Decimal, Meta(gt=0)]


class LettaConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A Letta server that keeps notes for traders with `memory: letta`; `{trader}` is the trader's id.

    `agent` is the model id of the trader's agent, `session` the key of the conversation that is continued.
    Times are real seconds. It is only asked for notes and told of closed trades.
    """

    base_url: str = "http://127.0.0.1:14500/v1"
    api_key: Secret = Secret("")
    agent: Annotated[str, Meta(min_length=1)] = "edgewise-{trader}"
    session: Annotated[str, Meta(min_length=1)] = "edgewise-{trader}"
    timeout: Duration = Duration(5)
    breaker_failures: Annotated[int, Meta(ge=1)] = 3  # in a row; then it is left alone for breaker_pause
    breaker_pause: Duration = Duration(60)


class MemoryConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Memory of model traders that have it switched on.

    The texts are core memory of every such trader, part of its system prompt; `edgewise memory set` gives
    one trader its own. `episodes` bounds the past trades that are recalled.
    """

    principles: str = ""
    red_lines: str = ""
    output_rules: str = ""
    episodes: Annotated[int, Meta(ge=0, le=50)] = 6
    letta: LettaConfig = LettaConfig()


class ExecutorConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The whole file.

    The first five bound every trader's `risk_params` (the stricter of both counts, see `tighten`); null
    leaves a trader its own. `decision_interval` is the rhythm of traders that name none.
    """

    major_coin_leverage: Positive | None = None
    altcoin_leverage: Positive | None = None
    min_confidence: Percent | None = None
    min_risk_reward: Annotated[Decimal, Meta(ge=0)] | None = None
    max_positions: Annotated[int, Meta(ge=1)] | None = None
    decision_interval: Duration | None = None
    decision_timeout: Duration = Duration(60)  # real time from the start of a cycle to its decision
    max_concurrent_decisions: Annotated[int, Meta(ge=1, le=10_000)] = 16  # in a process; others wait
    prompt_token_budget: Annotated[int, Meta(ge=500)] = 12_000  # system and user prompt together
    recent_decisions: Annotated[int, Meta(ge=0, le=100)] = 10  # shown to a model, at most
    recent_trades: Annotated[int, Meta(ge=0, le=100)] = 15
    repair: bool = True  # one more request, with the errors named, when an answer cannot be read
    memory: MemoryConfig = MemoryConfig()
    prompts: Path | None = None  # folder of templates; null: those of edgewise

    def tighten(self, risk: RiskConfig) -> RiskConfig:
        """A trader's limits, none looser than this file's."""
        return msgspec.structs.replace(
            risk,
            major_coin_leverage=_least(risk.major_coin_leverage, self.major_coin_leverage),
            altcoin_leverage=_least(risk.altcoin_leverage, self.altcoin_leverage),
            min_confidence=max(risk.min_confidence, self.min_confidence or Decimal(0)),
            min_risk_reward_ratio=max(risk.min_risk_reward_ratio, self.min_risk_reward or Decimal(0)),
            max_positions=min(risk.max_positions, self.max_positions or risk.max_positions),
        )


def _least(own: Decimal, bound: Decimal | None) -> Decimal:
    return own if bound is None else min(own, bound)
