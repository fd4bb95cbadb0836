"""The report of a backtest as one HTML file: no script, no font and no picture from anywhere else."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from itertools import cycle
from typing import Final

from jinja2 import Environment, PackageLoader, StrictUndefined

from engine.backtest.figures import Curve, Report, curve
from engine.backtest.run import Outcome
from engine.core.instruments import coin
from engine.core.ledger import ClosedTrade
from engine.core.orders import PositionSide
from engine.core.times import to_datetime

_WIDTH: Final = 1000.0
_HEIGHT: Final = 280.0
_POINTS: Final = 800
_TRADES: Final = 500
# Okabe and Ito's colours, told apart by every kind of eye.
_COLOURS: Final = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#7F7F7F", "#B8A100")


@dataclass(frozen=True, slots=True)
class Line:
    """A line of a chart: SVG points, and what it is."""

    name: str
    colour: str
    points: str


@dataclass(frozen=True, slots=True)
class Marker:
    """A trade on a price chart: entry to exit, green or red by what it made."""

    x1: float
    y1: float
    x2: float
    y2: float
    won: bool
    title: str


@dataclass(frozen=True, slots=True)
class Tick:
    """A labelled place on an axis, in chart units."""

    at: float
    label: str


@dataclass(frozen=True, slots=True)
class Chart:
    """A picture of lines over time, in a box of width 1000 and height 280."""

    title: str
    lines: tuple[Line, ...]
    rows: tuple[Tick, ...]
    columns: tuple[Tick, ...]
    markers: tuple[Marker, ...] = ()


class _Scale:
    """From time and value to chart units; a flat series lies in the middle."""

    def __init__(self, curves: Iterable[Curve]) -> None:
        points = [point for each in curves for point in each]
        self.start, self.end = min(ts for ts, _ in points), max(ts for ts, _ in points)
        low, high = min(value for _, value in points), max(value for _, value in points)
        margin = (high - low or abs(high) or 1.0) * 0.05
        self.low, self.high = low - margin, high + margin

    def x(self, ts: int) -> float:
        return round(_WIDTH * (ts - self.start) / max(1, self.end - self.start), 1)

    def y(self, value: float) -> float:
        return round(_HEIGHT * (self.high - value) / (self.high - self.low), 1)

    def rows(self) -> tuple[Tick, ...]:
        """At round values, some five of them."""
        rough = (self.high - self.low) / 5
        power = 10.0 ** math.floor(math.log10(rough))
        step = next(power * digit for digit in (1, 2, 5, 10) if power * digit >= rough)
        first = math.ceil(self.low / step)
        values = [n * step for n in range(first, math.floor(self.high / step) + 1)]
        return tuple(Tick(self.y(value), f"{value:,.10g}") for value in values)

    def columns(self) -> tuple[Tick, ...]:
        times = [self.start + (self.end - self.start) * part // 6 for part in range(7)]
        return tuple(Tick(self.x(ts), to_datetime(ts).strftime("%d %b %H:%M")) for ts in times)


def page(outcome: Outcome, report: Report) -> str:
    """The whole file."""
    templates = Environment(
        loader=PackageLoader("engine.backtest", ""),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    trades = list(outcome.journal.trades.values())
    return templates.get_template("page.html.j2").render(
        report=report,
        charts=[chart for chart in (_equity(outcome), *_prices(outcome, trades)) if chart is not None],
        trades=trades[-_TRADES:][::-1],
        left_out=max(0, len(trades) - _TRADES),
        coin=coin,
        when=lambda ts: to_datetime(ts).strftime("%Y-%m-%d %H:%M"),
    )


def _equity(outcome: Outcome) -> Chart | None:
    """Every trader's equity as percent of its capital, so that they can be compared."""
    curves: dict[str, Curve] = {}
    for view in outcome.views:
        capital = float(view.capital)
        found = curve(outcome, view.trader_id)
        if found and capital:
            curves[view.trader_id] = tuple((ts, 100 * dollars / capital) for ts, dollars in found)
    if not curves:
        return None
    scale = _Scale(curves.values())
    lines = (
        _line(name, colour, each, scale) for (name, each), colour in zip(curves.items(), cycle(_COLOURS))
    )
    return Chart("Equity, percent of capital", tuple(lines), scale.rows(), scale.columns())


def _prices(outcome: Outcome, trades: Sequence[ClosedTrade]) -> Iterable[Chart]:
    for symbol, closes in outcome.prices.items():
        if not closes:
            continue
        scale = _Scale([closes])
        mine = [trade for trade in trades if trade.symbol == symbol and trade.ts_entry >= scale.start]
        yield Chart(
            f"{symbol} with trades",
            (_line(symbol, "currentColor", closes, scale),),
            scale.rows(),
            scale.columns(),
            tuple(_marker(trade, scale) for trade in mine[-_TRADES:]),
        )


def _line(name: str, colour: str, points: Curve, scale: _Scale) -> Line:
    step = max(1, len(points) // _POINTS)
    shown = [*points[:-1:step], points[-1]]
    return Line(name, colour, " ".join(f"{scale.x(ts)},{scale.y(value)}" for ts, value in shown))


def _marker(trade: ClosedTrade, scale: _Scale) -> Marker:
    side = "long" if trade.side is PositionSide.LONG else "short"
    return Marker(
        scale.x(trade.ts_entry),
        scale.y(float(trade.entry_price)),
        scale.x(trade.ts_exit),
        scale.y(float(trade.exit_price)),
        trade.net > 0,
        f"{trade.trader_id}: {side} {_plain(trade.contracts)} at {trade.entry_price:f}, out at"
        f" {trade.exit_price:f} by {trade.exit_purpose}, net {trade.net:.2f}",
    )


def _plain(value: Decimal) -> str:
    return f"{value.normalize():f}"
