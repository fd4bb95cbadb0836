"""All files of `etc/` together, with the rules that reach across them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TypeVar

import msgspec

from engine.config.engine import EngineConfig
from engine.config.executor import ExecutorConfig
from engine.config.llm import RECORDED, LlmConfig
from engine.config.loader import Located, environment, load_located, nearest
from engine.config.manager import ManagerConfig, TraderConfig
from engine.config.market import MarketConfig
from engine.config.nof0 import MAIN_FILE, Nof0Config, UnsetIsEmpty, remarks
from engine.config.providers import ExchangeConfig, ProviderConfig
from engine.core.errors import ConfigError
from engine.core.instruments import venue_symbol

T = TypeVar("T")


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """What an engine is built from. `folder` is where engine.yaml lies.

    `remarks`: keys of a foreign file that do nothing here, one line each. `places`: where a trader (its id)
    says who decides, as `file:line:column: $.key`.
    """

    folder: Path
    engine: EngineConfig
    market: MarketConfig
    exchange: ExchangeConfig
    executor: ExecutorConfig
    manager: ManagerConfig
    llm: LlmConfig
    remarks: tuple[str, ...] = ()
    places: dict[str, str] = {}

    @property
    def provider_id(self) -> str:
        """The account that this engine trades: one engine, one account."""
        named = {trader.exchange_provider for trader in self.manager.traders} - {""}
        return next(iter(named), self.exchange.default)

    @property
    def provider(self) -> ProviderConfig:
        return self.exchange.providers[self.provider_id]

    @property
    def home(self) -> Path:
        """Folder of what the engine keeps on this machine."""
        return self.folder.absolute().parent / self.engine.servers.home

    def symbols(self, trader: TraderConfig) -> tuple[str, ...]:
        """Venue ids that a trader may trade: its own list, else all that is watched."""
        return tuple(venue_symbol(text) for text in trader.symbols or self.market.symbols)

    def with_traders(self, traders: Iterable[TraderConfig]) -> Settings:
        """The same with these traders only."""
        manager = msgspec.structs.replace(self.manager, traders=tuple(traders))
        return msgspec.structs.replace(self, manager=manager)


def load_settings(folder: Path, env: Mapping[str, str]) -> Settings:
    """Read `engine.yaml` in `folder` (or `nof0.yaml`) and the files it names; `.env` beside the folder too.

    Raises ConfigError with everything that is wrong, in all files, one line each.
    """
    variables = environment(env, folder.parent / ".env")
    foreign: Nof0Config | None = None
    if not (folder / "engine.yaml").exists() and (folder / MAIN_FILE).exists():
        variables = UnsetIsEmpty(variables)
        foreign = load_located(folder / MAIN_FILE, Nof0Config, variables).value
        engine = foreign.engine()
    else:
        engine = load_located(folder / "engine.yaml", EngineConfig, variables).value
    problems: list[str] = []
    market = _read(folder / engine.files.market, MarketConfig, variables, problems)
    exchange = _read(folder / engine.files.exchange, ExchangeConfig, variables, problems)
    executor = _read(folder / engine.files.executor, ExecutorConfig, variables, problems)
    manager = _read(folder / engine.files.manager, ManagerConfig, variables, problems)
    llm = _read(folder / engine.files.llm, LlmConfig, variables, problems)
    if market and exchange and executor and manager and llm:
        settings = Settings(
            folder=folder,
            engine=engine,
            market=market.value,
            exchange=exchange.value,
            executor=executor.value,
            manager=manager.value,
            llm=llm.value,
            places=_places(manager),
        )
        problems += _dangling(settings, exchange, manager)
        if not problems and foreign is not None and isinstance(variables, UnsetIsEmpty):
            said = tuple(remarks(foreign, variables, settings))
            return msgspec.structs.replace(settings, remarks=said)
        if not problems:
            return settings
    raise ConfigError("\n".join(problems))


def _read(path: Path, type_: type[T], env: Mapping[str, str], problems: list[str]) -> Located[T] | None:
    try:
        return load_located(path, type_, env)
    except ConfigError as error:
        problems.append(str(error))
        return None


def _places(manager: Located[ManagerConfig]) -> dict[str, str]:
    deciders = ("strategy", "ensemble", "model")
    return {
        trader.id: manager.place(("traders", i, *(name for name in deciders if getattr(trader, name))))
        for i, trader in enumerate(manager.value.traders)
    }


def _dangling(
    settings: Settings, exchange: Located[ExchangeConfig], manager: Located[ManagerConfig]
) -> Iterable[str]:
    """References to what is not there, and combinations that cannot work."""
    providers = settings.exchange.providers
    if settings.exchange.default not in providers:
        yield exchange.problem(("default",), _unknown("provider", settings.exchange.default, providers))
    if settings.provider_id in providers and settings.engine.clock.speed != 1 and not settings.provider.local:
        yield exchange.problem(("default",), "engine time can run faster only on the local simulator")
    total = sum(trader.allocation_pct for trader in settings.manager.traders)
    if settings.manager.manager.allocation_strategy != "equal" and total > 100:  # noqa: PLR2004 - percent
        yield manager.problem(("traders",), f"allocation_pct adds up to {total}, more than 100")
    for alias in settings.manager.budget.model_concurrency:
        if alias not in settings.llm.models:
            message = _unknown("model", alias, settings.llm.models)
            yield manager.problem(("budget", "model_concurrency", alias), message)
    seen: set[str] = set()
    for i, trader in enumerate(settings.manager.traders):
        if trader.id in seen:
            yield manager.problem(("traders", i, "id"), f"trader {trader.id!r} stands twice")
        seen.add(trader.id)
        for key, message in _trader_problems(settings, trader):
            yield manager.problem(("traders", i, *key), message)


def _trader_problems(settings: Settings, trader: TraderConfig) -> Iterable[tuple[tuple[str | int, ...], str]]:
    """What one trader names and nobody has, as (key below the trader, sentence)."""
    providers, models = settings.exchange.providers, settings.llm.models
    if sum((bool(trader.model), trader.strategy is not None, trader.ensemble is not None)) != 1:
        yield (), "expected one of model, strategy and ensemble"
    for alias in trader.models:
        if alias not in models and alias != RECORDED:
            key = ("model",) if trader.ensemble is None else ("ensemble",)
            yield key, _unknown("model", alias, models)
    if trader.exchange_provider and trader.exchange_provider not in providers:
        yield ("exchange_provider",), _unknown("provider", trader.exchange_provider, providers)
    elif trader.exchange_provider not in {"", settings.provider_id}:
        yield ("exchange_provider",), "one engine trades one account; start another engine for this one"
    timeframe = trader.strategy.params.get("timeframe") if trader.strategy else None
    if timeframe is not None and timeframe not in settings.market.timeframes:
        known = ", ".join(settings.market.timeframes)
        yield ("strategy", "params", "timeframe"), f"{timeframe!r} is not a timeframe of market.yaml: {known}"
    watched = {venue_symbol(text) for text in settings.market.symbols}
    named: list[tuple[tuple[str | int, ...], str]] = [
        *((("symbols", n), text) for n, text in enumerate(trader.symbols)),
        *((("rollout", "symbols", text), text) for text in trader.rollout.symbols),
    ]
    for place, text in named:
        if venue_symbol(text) not in watched:
            yield place, f"{text!r} is not among the symbols of market.yaml"


def _unknown(kind: str, name: str, known: Iterable[str]) -> str:
    return f"unknown {kind} {name!r}{nearest(name, known)}"
