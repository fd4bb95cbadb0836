"""What came of a backtest, in figures: one row a trader, and the digest that two equal runs share."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from decimal import Decimal
from typing import Final

import msgspec

from engine.backtest.run import Outcome
from engine.config.values import plain
from engine.core.decisions import AccountView
from engine.core.ledger import ClosedTrade
from engine.core.orders import ZERO
from engine.core.times import NS_PER_HOUR, NS_PER_MIN, NS_PER_MS, NS_PER_S, iso
from engine.journal.ports import BacktestRun
from engine.journal.ratios import profit_factor, ratios

_KEPT_POINTS: Final = 5_000
Curve = tuple[tuple[int, float], ...]  # (engine ns, dollars)


class TraderFigures(msgspec.Struct, frozen=True, kw_only=True):
    """One trader over the whole run. Dollars; fees and funding are negative when paid.

    sharpe, sortino, calmar: of hourly returns, annualised, risk-free rate 0 (see engine.journal.ratios).
    `max_drawdown_pct` is of every measured moment, not of the hours.
    """

    trader_id: str
    capital: Decimal
    equity: Decimal | None
    return_pct: float | None
    trades: int
    wins: int
    win_rate_pct: float | None
    gross: Decimal
    fees: Decimal
    funding: Decimal
    max_drawdown_pct: float
    sharpe: float | None
    sortino: float | None
    calmar: float | None
    profit_factor: float | None
    expectancy: float
    holding_mins: float
    open_positions: int


class Undecided(msgspec.Struct, frozen=True):
    """How many cycles of a trader came to no decision for one reason, such as `not_recorded`."""

    trader_id: str
    reason: str
    cycles: int


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """The run. `refusals` counts by reason what the gate refused; `digest` is SHA-256 of the journal."""

    symbols: tuple[str, ...]
    start: str
    end: str
    moments: int
    signals: int
    cycles: int
    orders: int
    fills: int
    refusals: dict[str, int]
    undecided: tuple[Undecided, ...]
    traders: tuple[TraderFigures, ...]
    balanced: bool
    digest: str


def report(outcome: Outcome) -> Report:
    """All figures of a run."""
    journal = outcome.journal
    return Report(
        symbols=outcome.settings.market.symbols,
        start=iso(outcome.start_ns),
        end=iso(outcome.end_ns),
        moments=outcome.moments,
        signals=len(journal.signals),
        cycles=journal.closed,
        orders=len(journal.orders),
        fills=len(journal.fills),
        refusals=dict(sorted(journal.refusals.items())),
        undecided=tuple(Undecided(*why, count) for why, count in sorted(journal.undecided.items())),
        traders=tuple(_figures(outcome, view) for view in outcome.views),
        balanced=outcome.balanced,
        digest=journal.digest(),
    )


def backtest_run(outcome: Outcome, name: str, now_ns: int) -> BacktestRun:
    """The run as the journal keeps it: its id follows from what was played, when and by whom."""
    figures = report(outcome)
    curves = {view.trader_id: _thinned(curve(outcome, view.trader_id)) for view in outcome.views}
    return BacktestRun(
        run_id=f"{name}-{now_ns // NS_PER_S}-{figures.digest[:12]}",
        name=name,
        config=msgspec.json.encode(outcome.settings.manager, enc_hook=plain),
        digest=figures.digest,
        metrics=msgspec.json.encode(figures),
        equity_curve=msgspec.json.encode(
            {trader: [(ts // NS_PER_MS, dollars) for ts, dollars in each] for trader, each in curves.items()}
        ),
        ts_from=outcome.start_ns,
        ts_to=outcome.end_ns,
        ts_created=now_ns,
    )


def trades_of(outcome: Outcome, trader_id: str) -> list[ClosedTrade]:
    """A trader's closed trades, oldest first."""
    return [trade for trade in outcome.journal.trades.values() if trade.trader_id == trader_id]


def curve(outcome: Outcome, trader_id: str) -> Curve:
    """A trader's equity over time, its end included; without the moments at which it was unknown."""
    views = [view for view in outcome.journal.performance if view.trader_id == trader_id]
    views += [view for view in outcome.views if view.trader_id == trader_id]
    return tuple((view.ts, float(view.equity)) for view in views if view.equity is not None)


def _figures(outcome: Outcome, view: AccountView) -> TraderFigures:
    trades = trades_of(outcome, view.trader_id)
    equities = curve(outcome, view.trader_id)
    hourly = ratios(_hourly(equities))
    nets = [float(trade.net) for trade in trades]
    wins = sum(net > 0 for net in nets)
    gained = None if view.equity is None or not view.capital else view.equity / view.capital - 1
    return TraderFigures(
        trader_id=view.trader_id,
        capital=view.capital,
        equity=view.equity,
        return_pct=None if gained is None else round(float(gained) * 100, 4),
        trades=len(trades),
        wins=wins,
        win_rate_pct=round(100 * wins / len(trades), 2) if trades else None,
        gross=view.realised + (view.unrealised or ZERO),
        fees=view.fees,
        funding=view.funding,
        max_drawdown_pct=ratios(dollars for _, dollars in equities).max_drawdown_pct,
        sharpe=hourly.sharpe,
        sortino=hourly.sortino,
        calmar=hourly.calmar,
        profit_factor=profit_factor(sum(n for n in nets if n > 0), -sum(n for n in nets if n < 0)),
        expectancy=_mean(nets),
        holding_mins=_mean([(trade.ts_exit - trade.ts_entry) / NS_PER_MIN for trade in trades]),
        open_positions=len(view.positions),
    )


def _thinned(points: Curve) -> Curve:
    """At most so many points as are kept, evenly, the last one among them."""
    step = len(points) // _KEPT_POINTS + 1
    return points[::-1][::step][::-1]


def _hourly(equities: Iterable[tuple[int, float]]) -> list[float]:
    """The last equity of each hour."""
    hours: dict[int, float] = {}
    for ts, dollars in equities:
        hours[ts // NS_PER_HOUR] = dollars
    return list(hours.values())


def _mean(values: Sequence[float]) -> float:
    return round(sum(values) / len(values), 2) if values else 0.0
