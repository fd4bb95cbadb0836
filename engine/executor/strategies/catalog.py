"""Strategies by name, with their parameters as written in manager.yaml."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Final

import msgspec

from engine.clock import Clock
from engine.config.loader import nearest
from engine.core.errors import ConfigError
from engine.executor.strategies.bollinger_range import BollingerRange
from engine.executor.strategies.buy_and_hold import BuyAndHold
from engine.executor.strategies.ema_cross import EmaCross
from engine.executor.strategies.ema_trend import EmaTrend
from engine.executor.strategies.funding_rate_arbitrage import FundingRateArbitrage
from engine.executor.strategies.portfolio import Portfolio
from engine.executor.strategies.rule import StrategyDecider

Param = Decimal | str | bool
_Rule = EmaTrend | EmaCross | BollingerRange | FundingRateArbitrage | BuyAndHold | Portfolio
_RULES: Final[dict[str, type[_Rule]]] = {
    "ema_trend": EmaTrend,
    "ema_cross": EmaCross,
    "bollinger_range": BollingerRange,
    "funding_rate_arbitrage": FundingRateArbitrage,
    "buy_and_hold": BuyAndHold,
    "portfolio": Portfolio,
}
NAMES: Final = tuple(_RULES)


def make_strategy(
    name: str, params: Mapping[str, Param], clock: Clock, timeframes: Sequence[str] = ()
) -> StrategyDecider:
    """The decider `name`. Raises ConfigError for an unknown name or parameter, or a value that cannot be.

    `timeframes` are those that are watched, where that is known: on another one it would be silent for ever.
    Parameters are the fields of the strategy and, beside them, those of its parts (Sizing, RegimeDetector).
    """
    rule_type = _RULES.get(name)
    if rule_type is None:
        raise ConfigError(f"no strategy {name!r}{nearest(name, _RULES)}")
    defaults = {field.name: field.default for field in msgspec.structs.fields(rule_type)}
    parts = {key: part for key, part in defaults.items() if isinstance(part, msgspec.Struct)}
    own = [key for key in defaults if key not in parts]
    known = (*own, *(key for part in parts.values() for key in part.__struct_fields__))
    if unknown := [key for key in params if key not in known]:
        raise ConfigError(f"strategy {name}: no parameter {unknown[0]!r}{nearest(unknown[0], known)}")
    values: dict[str, object] = {key: value for key, value in params.items() if key in own}
    try:
        values |= {key: _part(part, params) for key, part in parts.items()}
        rule = msgspec.convert(_plain(values), rule_type, from_attributes=True)
    except (msgspec.ValidationError, ValueError) as error:
        raise ConfigError(f"strategy {name}: {error}") from error
    timeframe = _timeframe(rule)
    if timeframes and timeframe and timeframe not in timeframes:
        raise ConfigError(f"strategy {name}: nobody watches {timeframe!r}; known: {', '.join(timeframes)}")
    return StrategyDecider(name, rule, clock)


def _timeframe(rule: object) -> str:
    """The timeframe that a rule looks at; "" for one that looks at none."""
    if isinstance(rule, Portfolio):
        return rule.regime.timeframe
    return rule.timeframe if isinstance(rule, EmaTrend | EmaCross | BollingerRange) else ""


def _part(default: msgspec.Struct, params: Mapping[str, Param]) -> msgspec.Struct:
    """A part of a strategy with the parameters that are its own."""
    given = {key: value for key, value in params.items() if key in default.__struct_fields__}
    return msgspec.convert(_plain(msgspec.structs.asdict(default) | given), type(default))


def _plain(values: Mapping[str, object]) -> dict[str, object]:
    """Whole decimals as int and others as they are: msgspec takes a Decimal for a float, not for an int."""
    return {
        key: int(value) if isinstance(value, Decimal) and value == value.to_integral_value() else value
        for key, value in values.items()
    }
