"""A million candles through the whole engine, beside other backtesters: equal trades, or no row."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from bench.cross import WARM, CrossTrade, cross_settings, made_candles, played, recording, trades_of
from bench.cross_peers import PEERS, bare
from bench.measure import Kind, Row, Run, Title, Unequal, of_rounds, same, timed
from bench.peers import missing

_CANDLES: Final = 1_000_000
_QUICK: Final = 1_200
_TICK: Final = 0.1  # the engine's market has a bid and an ask, the others' one price
_SECTION: Final = "Backtest of an EMA cross"
_EQUAL: Final = "every trade: side, candles, prices and net to the tick"
_AIMS: Final = {"backtesting.py": 3.0}


def crosses(run: Run) -> list[Row]:
    """Long and short, 0.05 % a fill; each library is timed once over the same candles."""
    count = run.of(_CANDLES, _QUICK)
    candles, settings = made_candles(count), cross_settings()
    recorded = recording(candles)
    trades: list[CrossTrade] = []
    engine_us = timed(lambda: trades.extend(trades_of(played(recorded, settings))))
    first = trades[0].entry - 1
    rows = [_beside_itself(count, engine_us)] if not run.quick else []
    loop = bare(candles, first)
    peers = [("plain Python loop", Kind.LIMIT, loop)]
    for name, (package, make) in PEERS.items():
        if missing(package):
            run.notes.append(f"{name} is not installed, so it has no row (make bench installs it)")
        else:
            make(made_candles(_QUICK), WARM)()  # what is compiled or imported once is not its speed
            peers.append((name, Kind.PEER, make(candles, first)))
    for name, kind, backtest in peers:
        found: list[CrossTrade] = []
        peer_us = timed(lambda: found.extend(backtest()))  # noqa: B023 - called at once
        _compare(name, trades, found)
        title = Title(_SECTION, "whole engine, a candle", name, _EQUAL, kind, _AIMS.get(name))
        rows.append(of_rounds(title, [(engine_us, peer_us)], count - WARM))
        run.notes.append(f"{name}: {count / peer_us * 1e6:,.0f} candles a second")
    speed = (count - WARM) / engine_us * 1e6
    run.notes.append(f"backtest: {speed:,.0f} candles a second, {len(trades):,} trades of {count:,} candles")
    return rows


def _beside_itself(count: int, engine_us: float) -> Row:
    """Is a candle of a long run as cheap as one of a short run?"""
    tenth = count // 10
    settings, recorded = cross_settings(), recording(made_candles(tenth))
    short_us = timed(lambda: played(recorded, settings))
    a_candle = short_us / (tenth - WARM)
    title = Title(_SECTION, f"a candle of {count:,}", f"a candle of {tenth:,}", "the same trader", aim=0.8)
    return of_rounds(title, [(engine_us, a_candle * (count - WARM))], count - WARM)


def _compare(name: str, ours: Sequence[CrossTrade], theirs: Sequence[CrossTrade]) -> None:
    """Raises Unequal. A trade that is open at the end counts for nobody."""
    same(f"{name}: number of trades", len(theirs), len(ours))
    for number, (own, other) in enumerate(zip(ours, theirs, strict=True)):
        same(f"{name}: trade {number}", other[:3], own[:3])
        apart = max(abs(own.entry_price - other.entry_price), abs(own.exit_price - other.exit_price))
        if apart > 1.01 * _TICK or abs(own.net - other.net) > 2.02 * _TICK:
            raise Unequal(f"{name}: trade {number}: {other} is not {own}")
