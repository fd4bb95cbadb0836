"""`llm.yaml`: the models that traders may name, where each is reached, and what a token costs.

Keys of nof0 keep their names and meaning: `base_url` and `api_key` reach every model whose `provider` has
no entry of its own in `providers`. Times are real seconds.
"""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta

from engine.config.loader import Duration, Secret, nearest
from engine.core.errors import ConfigError

RECORDED: Final = "recorded"  # the alias that asks nobody: it answers what was answered before

Name = Annotated[str, Meta(pattern=r"^[A-Za-z0-9_.:/-]{1,64}$")]
Price = Annotated[Decimal, Meta(ge=0)]
Structured = Literal["auto", "json_schema", "json_object", "text"]
LengthKey = Literal["auto", "max_tokens", "max_completion_tokens"]

_NEW_LENGTH_KEY = frozenset({"openai", "azure", "xai", "grok"})  # these deprecate or refuse `max_tokens`


class LlmProviderConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One endpoint, with what it can take. `structured: auto` tries json_schema, json_object, text once."""

    base_url: str
    api_key: Secret = Secret("")
    structured: Structured = "auto"
    length_key: LengthKey = "auto"
    max_retries: Annotated[int, Meta(ge=0, le=10)] | None = None  # null: as the file's
    requests_per_min: Annotated[float, Meta(gt=0)] = 60.0
    concurrency: Annotated[int, Meta(ge=1, le=1000)] = 8
    breaker_failures: Annotated[int, Meta(ge=1)] = 5  # in a row; then nothing is asked for breaker_pause
    breaker_pause: Duration = Duration(60)


class LlmModelConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One alias. Prices are USD per million tokens; `price_cached_in` null: cached tokens cost `price_in`.

    `extra_body` is sent as it stands beside the usual keys, such as `{enable_thinking: false}`.
    `fallbacks` are aliases that are asked, in order, when this one cannot be.
    """

    provider: Name
    model_name: Annotated[str, Meta(min_length=1)]
    temperature: Annotated[float, Meta(ge=0, le=2)] | None = None  # null: not sent, the model's default
    top_p: Annotated[float, Meta(gt=0, le=1)] | None = None
    seed: int | None = None
    max_completion_tokens: Annotated[int, Meta(ge=1)] = 4096
    reasoning_effort: Literal["none", "minimal", "low", "medium", "high"] | None = None
    timeout: Duration | None = None  # of one attempt at this model; null: as the file's
    structured: Structured | None = None  # null: as the provider's
    price_in: Price = Decimal(0)
    price_cached_in: Price | None = None
    price_out: Price = Decimal(0)
    fallbacks: tuple[Name, ...] = ()
    extra_body: dict[str, Any] = {}  # JSON of the endpoint's own, not ours to type


class Endpoint(msgspec.Struct, frozen=True, kw_only=True):
    """An alias with everything that is needed to ask it."""

    alias: str
    name: str  # of the provider
    provider: LlmProviderConfig
    model: LlmModelConfig
    timeout_s: float
    max_retries: int

    @property
    def structured(self) -> Structured:
        return self.model.structured or self.provider.structured

    @property
    def length_key(self) -> Literal["max_tokens", "max_completion_tokens"]:
        """How this endpoint calls the bound on an answer's length."""
        if self.provider.length_key != "auto":
            return self.provider.length_key
        return "max_completion_tokens" if self.name in _NEW_LENGTH_KEY else "max_tokens"

    def cost_usd(self, tokens_in: int, tokens_out: int, tokens_cached: int) -> Decimal:
        """Price of one call; `tokens_cached` are among `tokens_in`."""
        model = self.model
        cached = model.price_in if model.price_cached_in is None else model.price_cached_in
        fresh = max(0, tokens_in - tokens_cached)
        total = fresh * model.price_in + tokens_cached * cached + tokens_out * model.price_out
        return total / 1_000_000


class LlmConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The whole file. Traders with `model: recorded` find answers in `recorded`; null: in the journal."""

    base_url: str = ""
    api_key: Secret = Secret("")
    default_model: str = ""
    timeout: Duration = Duration(60)
    max_retries: Annotated[int, Meta(ge=0, le=10)] = 3
    log_level: Literal["debug", "info", "warn", "warning", "error"] = "info"
    recorded: Path | None = None
    providers: dict[Name, LlmProviderConfig] = {}
    models: dict[Name, LlmModelConfig] = {}

    def __post_init__(self) -> None:
        if RECORDED in self.models:
            raise ValueError(f"models.{RECORDED}: the name is taken by answers of the past")
        if self.default_model and self.default_model not in self.models:
            hint = nearest(self.default_model, self.models)
            raise ValueError(f"default_model: no model {self.default_model!r}{hint}")
        for alias, model in self.models.items():
            for other in model.fallbacks:
                if other not in self.models or other == alias:
                    hint = nearest(other, [name for name in self.models if name != alias])
                    raise ValueError(f"models.{alias}.fallbacks: no other model {other!r}{hint}")
            if model.provider not in self.providers and not self.base_url:
                hint = nearest(model.provider, self.providers)
                raise ValueError(f"models.{alias}.provider: no provider {model.provider!r}{hint}")

    def endpoint(self, alias: str) -> Endpoint:
        """How `alias` is asked. Raises ConfigError when there is no such alias."""
        model = self.models.get(alias)
        if model is None:
            raise ConfigError(f"llm.yaml has no model {alias!r}{nearest(alias, self.models)}")
        provider = self.providers.get(model.provider)
        if provider is None:
            provider = LlmProviderConfig(base_url=self.base_url, api_key=self.api_key)
        retries = self.max_retries if provider.max_retries is None else provider.max_retries
        return Endpoint(
            alias=alias,
            name=model.provider,
            provider=provider,
            model=model,
            timeout_s=float(self.timeout if model.timeout is None else model.timeout),
            max_retries=retries,
        )

    def chain(self, alias: str) -> tuple[Endpoint, ...]:
        """The alias and its fallbacks, in the order in which they are asked."""
        first = self.endpoint(alias)
        return (first, *(self.endpoint(other) for other in first.model.fallbacks))
