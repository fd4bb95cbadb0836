"""`edgewise signals`: which edges a recording has, how salient they are, and whom they would have woken."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from engine.cli.output import print_json, wide_console
from engine.cli.startup import Etc, Json, fail_clearly, settings_of
from engine.core.words import counted

if TYPE_CHECKING:
    from engine.cli.signals_report import Report
    from engine.config.manager import TraderConfig
    from engine.config.market import MarketConfig
    from engine.manager.rehearsal import Rehearsal
    from engine.market.review import Replayed, Window


def signals(
    recordings: Annotated[
        list[Path],
        typer.Option("--replay", help="Candles, trades, quotes, books or OKX frames; several are merged."),
    ],
    symbol: Annotated[str, typer.Option(help="The market; else what the file's name says.")] = "",
    day: Annotated[str, typer.Option(help="Review this UTC day (2022-01-24); what is before warms up.")] = "",
    etc: Etc = Path("etc"),
    market: Annotated[Path | None, typer.Option(help="Detectors and indicators of another file.")] = None,
    manager: Annotated[Path | None, typer.Option(help="Traders and rhythms of another file.")] = None,
    trader: Annotated[str, typer.Option(help="Whose rhythm; else the first who trades the market.")] = "",
    thinking: Annotated[str, typer.Option(help="How long the trader thinks.")] = "20s",
    as_json: Json = False,
    plot: Annotated[Path | None, typer.Option(help="Draw price, indicator, wakeups, cycle (.png).")] = None,
    detector: Annotated[str, typer.Option(help="The detector to draw; else the busiest with a band.")] = "",
) -> None:
    """Send a recording through candles, indicators, detectors and scheduler; count signals and wakeups."""
    with fail_clearly():
        if plot is not None:
            from engine.cli.signals_plot import require_matplotlib

            require_matplotlib()  # before the work, not after it
        from engine.cli.signals_report import report
        from engine.core.errors import ConfigError

        rules, traders = _configured(etc, market, manager)
        config, replayed = _replay(recordings, symbol, rules, _window(day))
        if day and not replayed.review.events:
            raise ConfigError(f"--day {day}: the recording has nothing of that day")
        who = _trader(traders, trader, config.symbols[0])
        rehearsal = _rehearse(who, replayed, thinking)
        if plot is not None:
            from engine.cli.signals_plot import draw

            draw(plot, config, replayed, rehearsal, detector)
        _show(report(who.id, replayed, rehearsal), as_json=as_json)


def _configured(
    etc: Path, market: Path | None, manager: Path | None
) -> tuple[MarketConfig, tuple[TraderConfig, ...]]:
    """Detectors and traders of the folder, or of the files that stand in for its own. Raises ConfigError."""
    import os

    from engine.config.loader import load
    from engine.config.manager import ManagerConfig
    from engine.config.market import MarketConfig

    rules = load(market, MarketConfig, os.environ) if market else settings_of(etc).market
    traders = load(manager, ManagerConfig, os.environ) if manager else settings_of(etc).manager
    return rules, traders.traders


def _replay(
    paths: list[Path], symbol: str, rules: MarketConfig, window: Window
) -> tuple[MarketConfig, Replayed]:
    from engine.cli.recordings import read_all, symbol_of
    from engine.market.review import fitted, replay

    symbol = symbol_of(paths, symbol)
    kinds, events = read_all(paths, symbol)
    config = fitted(rules, symbol, kinds)
    return config, replay(config, events, window)


def _window(day: str) -> Window:
    from datetime import UTC, datetime

    from engine.core.errors import ConfigError
    from engine.core.times import NS_PER_DAY, from_datetime
    from engine.market.review import ALL, Window

    if not day:
        return ALL
    try:
        begin = from_datetime(datetime.strptime(day, "%Y-%m-%d").replace(tzinfo=UTC))
    except ValueError as error:
        raise ConfigError(f"--day {day}: expected a date such as 2022-01-24") from error
    return Window(begin, begin + NS_PER_DAY)


def _trader(traders: tuple[TraderConfig, ...], asked: str, symbol: str) -> TraderConfig:
    from engine.config.loader import nearest
    from engine.core.errors import ConfigError
    from engine.core.instruments import venue_symbol

    if asked:
        named = {trader.id: trader for trader in traders}
        if asked not in named:
            raise ConfigError(f"no trader {asked!r}{nearest(asked, named)}")
        return named[asked]
    trading = (t for t in traders if not t.symbols or symbol in map(venue_symbol, t.symbols))
    return next(trading, traders[0])


def _rehearse(trader: TraderConfig, replayed: Replayed, thinking: str) -> Rehearsal:
    from engine.core.errors import ConfigError
    from engine.core.times import NS_PER_S, parse_duration_s
    from engine.manager.rehearsal import rehearse

    try:
        thinking_ns = int(parse_duration_s(thinking) * NS_PER_S)
    except ValueError as error:
        raise ConfigError(f"--thinking: {error}") from error
    rhythm = trader.rhythm.every(trader.decision_interval)
    return rehearse(rhythm, replayed.signals, replayed.begin_ns, replayed.end_ns, thinking_ns)


def _show(shown: Report, *, as_json: bool) -> None:
    if as_json:
        print_json(shown)
        return
    from rich.table import Table

    edges = Table("detector", "edge", title=f"{counted(shown.signals, 'signal')} in {shown.days:.1f} days")
    for name in ("count", "a day", "mean score", "highest"):
        edges.add_column(name, justify="right")
    for tally in shown.tallies:
        numbers = (f"{tally.per_day:.1f}", f"{tally.score_mean:.2f}", f"{tally.score_max:.2f}")
        edges.add_row(tally.detector, tally.edge, str(tally.count), *numbers)
    woken = Table("what", "which", title=f"{counted(shown.wakeups, 'wakeup')} of {shown.trader}")
    for name in ("count", "a day"):
        woken.add_column(name, justify="right")
    rows = [("wakeup", kind, count) for kind, count in shown.wakeup_kinds.items()]
    rows.append(("merged", "into a pending wakeup", shown.merges))
    rows.append(("merged", "of these while thinking", shown.merged_while_thinking))
    rows += [("refused", code, count) for code, count in shown.refusals.items()]
    for what, which, count in rows:
        woken.add_row(what, which, str(count), f"{count / shown.days:.1f}")
    console = wide_console()
    console.print(edges)
    console.print(woken)
    console.print(
        f"{shown.symbol}: {counted(shown.events, 'event')}, {counted(shown.closed, 'closed candle')}"
    )
    console.print(f"digest of signals and wakeups {shown.digest}", soft_wrap=True)
