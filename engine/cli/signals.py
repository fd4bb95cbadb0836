"""`edgewise signals`: which edges a recording has, and how salient they are."""

from __future__ import annotations

from importlib import import_module
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from engine.cli.startup import fail_clearly

if TYPE_CHECKING:
    from engine.config.market import MarketConfig
    from engine.config.market_rules import ThresholdRule
    from engine.market.review import Replayed, Review


def signals(
    recording: Annotated[Path, typer.Option("--replay", help="Candles, trades or quotes, .csv or .csv.gz.")],
    symbol: Annotated[str, typer.Option(help="The market in the file.")] = "BTC-USDT-SWAP",
    market: Annotated[Path, typer.Option(help="Detectors and indicators.")] = Path("etc/market.yaml"),
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object instead of a table.")] = False,
    plot: Annotated[Path | None, typer.Option(help="Draw price, indicator and edges (.png).")] = None,
    detector: Annotated[str, typer.Option(help="The threshold detector to draw.")] = "rsi_5m",
) -> None:
    """Send a recording through candles, indicators, detectors and scorer, and count the signals."""
    with fail_clearly():
        config, replayed = _replay(recording, symbol, market)
        if plot is not None:
            _draw(plot, config, replayed, detector)
        _show(replayed.review, as_json=as_json)


def _replay(path: Path, symbol: str, market: Path) -> tuple[MarketConfig, Replayed]:
    import os

    from engine.config.loader import load
    from engine.config.market import MarketConfig
    from engine.market.recording import read_events
    from engine.market.review import fitted, replay

    events = read_events(path, symbol)
    first = next(events)
    config = fitted(load(market, MarketConfig, os.environ), symbol, first)
    return config, replay(config, chain((first,), events))


def _show(review: Review, *, as_json: bool) -> None:
    import msgspec

    if as_json:
        print(msgspec.json.encode(review).decode())
        return
    from rich.console import Console
    from rich.table import Table

    table = Table("detector", "edge", title=f"{review.signals} signals in {review.days:.1f} days")
    for name in ("count", "a day", "mean score", "highest"):
        table.add_column(name, justify="right")
    for tally in review.tallies:
        numbers = (f"{tally.per_day:.1f}", f"{tally.score_mean:.2f}", f"{tally.score_max:.2f}")
        table.add_row(tally.detector, tally.edge, str(tally.count), *numbers)
    console = Console()
    console.print(table)
    console.print(f"{review.symbol}: {review.events} events, {review.closed} closed candles")
    console.print(f"digest of the signals {review.digest}", soft_wrap=True)


def _draw(path: Path, config: MarketConfig, replayed: Replayed, detector: str) -> None:
    rule = _drawn(config, detector)
    from engine.core.times import to_datetime

    try:
        drawing = import_module("matplotlib.figure")  # not installed with edgewise
    except ImportError as error:
        from engine.core.errors import ConfigError

        raise ConfigError("--plot needs matplotlib: pip install matplotlib") from error

    closed = [item for item in replayed.candles if item.candle.timeframe == rule.timeframe]
    times = [to_datetime(item.candle.ts_event) for item in closed]
    figure = drawing.Figure(figsize=(16, 9), layout="constrained")
    price, indicator = figure.subplots(2, 1, sharex=True, height_ratios=(2, 1))
    price.plot(times, [item.candle.close for item in closed], color="black", linewidth=0.7)
    indicator.plot(times, [item.features[rule.feature] for item in closed], color="tab:blue", linewidth=0.7)
    _mark(price, indicator, replayed, rule)
    price.set_title(f"{config.symbols[0]}: edges of {rule.name}")
    price.set_ylabel("price")
    indicator.set_ylabel(f"{rule.feature} {rule.timeframe}")
    price.legend(loc="upper left")
    figure.savefig(path, dpi=110)


def _mark(price: Any, indicator: Any, replayed: Replayed, rule: ThresholdRule) -> None:
    """Edges on the price, thresholds (solid) and releases (dashed) on the indicator."""
    from engine.core.times import to_datetime

    for edge, marker, color in (
        ("UP", "^", "tab:red"),
        ("DOWN", "v", "tab:green"),
        ("RECOVERED", "o", "tab:gray"),
    ):
        at = [s for s in replayed.signals if s.detector == rule.name and s.edge == edge]
        times = [to_datetime(s.ts_event) for s in at]
        price.scatter(times, [s.price for s in at], marker=marker, color=color, label=edge, s=30, zorder=3)
        indicator.scatter(times, [s.value for s in at], marker=marker, color=color, s=18, zorder=3)
    for level, style in (
        (rule.upper, "-"),
        (rule.upper_release, "--"),
        (rule.lower, "-"),
        (rule.lower_release, "--"),
    ):
        if level is not None:
            indicator.axhline(level, color="tab:orange", linestyle=style, linewidth=0.8)


def _drawn(config: MarketConfig, name: str) -> ThresholdRule:
    from engine.config.loader import nearest
    from engine.config.market_rules import ThresholdRule
    from engine.core.errors import ConfigError

    rules = {r.name: r for r in config.detectors if isinstance(r, ThresholdRule) and r.timeframe}
    if name not in rules:
        raise ConfigError(f"no threshold detector {name!r} on a timeframe{nearest(name, rules)}")
    return rules[name]
