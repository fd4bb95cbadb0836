"""Strategies by name, with their parameters as written in manager.yaml."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Final

import msgspec

from engine.clock import Clock
from engine.config.loader import nearest
from engine.core.errors import ConfigError
from engine.executor.strategies.bollinger_range import BollingerRange
from engine.executor.strategies.buy_and_hold import BuyAndHold
from engine.executor.strategies.ema_trend import EmaTrend
from engine.executor.strategies.rule import Sizing, StrategyDecider

Param = Decimal | str | bool
_RULES: Final[dict[str, type[EmaTrend | BollingerRange | BuyAndHold]]] = {
    "ema_trend": EmaTrend,
    "bollinger_range": BollingerRange,
    "buy_and_hold": BuyAndHold,
}
NAMES: Final = tuple(_RULES)


def make_strategy(name: str, params: Mapping[str, Param], clock: Clock) -> StrategyDecider:
    """The decider `name`. Raises ConfigError for an unknown name or parameter, or a value that cannot be.

    Parameters are the fields of the strategy and, beside them, those of its Sizing.
    """
    rule_type = _RULES.get(name)
    if rule_type is None:
        raise ConfigError(f"no strategy {name!r}{nearest(name, _RULES)}")
    own = {field.name: field.default for field in msgspec.structs.fields(rule_type)}
    inner = own.pop("sizing", None)
    sizing_names = Sizing.__struct_fields__ if isinstance(inner, Sizing) else ()
    if unknown := [key for key in params if key not in own and key not in sizing_names]:
        hint = nearest(unknown[0], (*own, *sizing_names))
        raise ConfigError(f"strategy {name}: no parameter {unknown[0]!r}{hint}")
    values: dict[str, object] = {key: value for key, value in params.items() if key in own}
    try:
        if isinstance(inner, Sizing):
            sized = {key: value for key, value in params.items() if key in sizing_names}
            values["sizing"] = msgspec.convert(msgspec.structs.asdict(inner) | sized, Sizing)
        rule = msgspec.convert(_plain(values), rule_type, from_attributes=True)
    except (msgspec.ValidationError, ValueError) as error:
        raise ConfigError(f"strategy {name}: {error}") from error
    return StrategyDecider(name, rule, clock)


def _plain(values: Mapping[str, object]) -> dict[str, object]:
    """Whole decimals as int and others as they are: msgspec takes a Decimal for a float, not for an int."""
    return {
        key: int(value) if isinstance(value, Decimal) and value == value.to_integral_value() else value
        for key, value in values.items()
    }
