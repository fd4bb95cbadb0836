"""The picture of `edgewise signals`: price with edges, the indicator with its thresholds, the cycle."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from importlib import import_module
from pathlib import Path
from typing import Any, Final

from engine.config.loader import nearest
from engine.config.market import MarketConfig
from engine.config.market_rules import CrossRule, Rule, SpikeRule, ThresholdRule
from engine.core.decisions import CycleMode, WakeKind
from engine.core.errors import ConfigError
from engine.core.signals import Edge, Signal
from engine.core.times import to_datetime
from engine.core.words import counted
from engine.manager.rehearsal import Rehearsal
from engine.market.review import Replayed

_MARKS: Final = {
    Edge.UP: ("^", "tab:red"),
    Edge.DOWN: ("v", "tab:green"),
    Edge.SPIKE: ("*", "tab:purple"),
    Edge.RECOVERED: ("o", "tab:gray"),
}


def require_matplotlib() -> Any:
    """The module that draws. Raises ConfigError that names the extra."""
    try:
        return import_module("matplotlib.figure")
    except ImportError as error:
        raise ConfigError("--plot needs matplotlib: pip install 'edgewise[plot]'") from error


def draw(path: Path, config: MarketConfig, replayed: Replayed, rehearsal: Rehearsal, detector: str) -> None:
    """Write the picture. Raises ConfigError for an unknown detector or a path that cannot be written."""
    rule = _chosen(config, replayed.signals, detector)
    figure = require_matplotlib().Figure(figsize=(16, 10), layout="constrained")
    price, indicator, cycle = figure.subplots(3, 1, sharex=True, height_ratios=(5, 3, 1))
    samples = [sample for sample in replayed.samples if sample.price is not None]
    price.plot([to_datetime(s.ts) for s in samples], [s.price for s in samples], color="black", linewidth=0.7)
    indicator.plot(*_indicator(replayed, rule), color="tab:blue", linewidth=0.7)
    edges = [signal for signal in replayed.signals if signal.detector == rule.name]
    _mark_edges(price, indicator, edges)
    _mark_levels(indicator, rule)
    _mark_wakeups(price, cycle, rehearsal)
    _mark_cycle(cycle, rehearsal, replayed.end_ns)
    refused = sum(rehearsal.refusals.values())
    price.set_title(
        f"{config.symbols[0]}: {counted(len(replayed.signals), 'signal')}, {len(edges)} of {rule.name}; "
        f"{counted(len(rehearsal.wakes), 'wakeup')}, {rehearsal.merged} merged, {refused} refused"
    )
    price.set_ylabel("price")
    if edges:
        price.legend(loc="upper left")
    indicator.set_ylabel(f"{rule.feature} {rule.timeframe}")
    cycle.set_ylabel("cycle")
    cycle.set_xlabel("wakeups: red by a signal (also over the price), blue by the timer")
    try:
        figure.savefig(path, dpi=110)
    except (OSError, ValueError) as error:
        raise ConfigError(f"--plot {path}: {error}") from error


def _chosen(config: MarketConfig, signals: Sequence[Signal], name: str) -> Rule:
    """The detector of that name, else the threshold or spike with most signals."""
    rules = {rule.name: rule for rule in config.detectors}
    if name:
        if name not in rules:
            raise ConfigError(f"no detector {name!r} for this recording{nearest(name, rules)}")
        return rules[name]
    bands = [rule for rule in config.detectors if isinstance(rule, ThresholdRule | SpikeRule)]
    if not bands:
        raise ConfigError("no threshold detector to draw; name another with --detector")
    return max(bands, key=lambda rule: sum(signal.detector == rule.name for signal in signals))


def _indicator(replayed: Replayed, rule: Rule) -> tuple[list[datetime], list[float]]:
    """The detector's feature over time; unknown values are gaps."""
    points: list[tuple[int, float | None]]
    if rule.timeframe:
        closed = [item for item in replayed.candles if item.candle.timeframe == rule.timeframe]
        points = [(item.candle.ts_event, item.features[rule.feature]) for item in closed]
    else:
        points = [(sample.ts, sample.live[rule.feature]) for sample in replayed.samples]
    return [to_datetime(ts) for ts, _ in points], [float("nan") if v is None else v for _, v in points]


def _mark_edges(price: Any, indicator: Any, edges: Sequence[Signal]) -> None:
    for edge, (marker, color) in _MARKS.items():
        at = [signal for signal in edges if signal.edge is edge]
        if not at:
            continue
        times = [to_datetime(signal.ts_event) for signal in at]
        prices = [float("nan") if signal.price is None else signal.price for signal in at]
        price.scatter(times, prices, marker=marker, color=color, label=edge.value, s=32, zorder=3)
        indicator.scatter(times, [signal.value for signal in at], marker=marker, color=color, s=20, zorder=3)


def _mark_levels(indicator: Any, rule: Rule) -> None:
    """Where the detector fires (solid) and where the excursion is over (dashed)."""
    enter: tuple[float | None, ...] = ()
    leave: tuple[float | None, ...] = ()
    if isinstance(rule, ThresholdRule):
        enter, leave = (rule.upper, rule.lower), (rule.upper_release, rule.lower_release)
    elif isinstance(rule, SpikeRule):
        enter, leave = (rule.threshold, -rule.threshold), (rule.release, -rule.release)
    elif isinstance(rule, CrossRule) and isinstance(rule.against, float):
        enter = (rule.against,)
    for levels, style in ((enter, "-"), (leave, "--")):
        for level in levels:
            if level is not None:
                indicator.axhline(level, color="tab:orange", linestyle=style, linewidth=0.8)


def _mark_wakeups(price: Any, cycle: Any, rehearsal: Rehearsal) -> None:
    """Wakeups by a signal as lines over the price, all of them on the cycle."""
    for wake in rehearsal.wakes:
        by_signal = any(reason.kind is WakeKind.SIGNAL for reason in wake.due.reasons)
        moment, color = to_datetime(wake.ts), "tab:red" if by_signal else "tab:blue"
        cycle.scatter([moment], [wake.due.mode is CycleMode.SHORT], marker="|", color=color, s=90, zorder=3)
        if by_signal:
            price.axvline(moment, color="tab:red", alpha=0.25, linewidth=0.6)


def _mark_cycle(cycle: Any, rehearsal: Rehearsal, end_ns: int) -> None:
    times = [to_datetime(change.ts) for change in rehearsal.cycles]
    levels = [int(change.mode is CycleMode.SHORT) for change in rehearsal.cycles]
    times.append(to_datetime(max(end_ns, rehearsal.cycles[-1].ts)))
    levels.append(levels[-1])
    cycle.step(times, levels, where="post", color="tab:gray", linewidth=0.9)
    cycle.fill_between(times, levels, step="post", color="tab:gray", alpha=0.2)
    cycle.set_yticks([0, 1], ["long", "short"])
    cycle.set_ylim(-0.4, 1.4)
