"""Every trader's statistics, kept up to date: what is new in the journal is added, nothing counted again."""

from __future__ import annotations

import asyncio
import threading
from collections import defaultdict
from collections.abc import Sequence
from typing import Final, Protocol

import msgspec

from engine.core.orders import PositionSide
from engine.core.times import NS_PER_MIN
from engine.journal.stats import Minutes, SignalFigures, Statistics, StatisticsState
from engine.journal.tables import Tables
from engine.journal.views import CountedCycle, CountedTrade, OpenPosition, TraderRow

_CHUNK: Final = 5000  # rows of a query
_LATE: Final = 500  # rows before the newest that are looked at again
_KEEP_EVERY: Final = 5000  # new rows, after which what was counted is kept again


class CountedRows(Protocol):
    """What the journal's reader has that is counted; each may raise StoreUnavailable."""

    async def trades_after(self, seq: int, limit: int) -> list[CountedTrade]: ...
    async def cycles_after(self, seq: int, limit: int) -> list[CountedCycle]: ...
    async def cycles_of(self, cycle_ids: Sequence[str]) -> list[CountedCycle]: ...


class TailState(msgspec.Struct, frozen=True):
    """Which rows were counted; `newest_id` is what the newest of them is about."""

    newest: int
    newest_id: str
    seen: frozenset[int]

    def is_of(self, found: Sequence[tuple[int, str]]) -> bool:
        """Whether the newest row is among these, and about the same."""
        return not self.newest or (self.newest, self.newest_id) in found


class TallyState(msgspec.Struct, frozen=True):
    """One trader's tally as it stands."""

    statistics: StatisticsState
    last_trade: CountedTrade | None
    last_cycle: CountedCycle | None
    symbols: frozenset[str]


class Counted(msgspec.Struct, frozen=True):
    """All that was counted, to go on with after a start."""

    tallies: dict[str, TallyState]
    trades: TailState
    cycles: TailState
    open_cycles: frozenset[str]


class Kept(Protocol):
    """Where what was counted outlives the process. Neither raises: what is lost is counted again."""

    def load(self) -> Counted | None: ...
    def save(self, counted: Counted) -> None: ...


class _Tail:
    """Which rows were counted. Numbers are given before commits: a row may show up after its successor."""

    def __init__(self) -> None:
        self._newest, self._newest_id, self._seen = 0, "", set[int]()

    def state(self) -> TailState:
        return TailState(self._newest, self._newest_id, frozenset(self._seen))

    def restore(self, state: TailState) -> None:
        self._newest, self._newest_id, self._seen = state.newest, state.newest_id, set(state.seen)

    @property
    def after(self) -> int:
        """Rows up to this one are done with."""
        return max(0, self._newest - _LATE)

    def fits(self, found: Sequence[int]) -> bool:
        """Whether the newest row is still there; it is not when another journal was put in its place."""
        return not self._newest or self._newest in found

    def take(self, seq: int, about: str) -> bool:
        """Whether this row is new."""
        if seq in self._seen:
            return False
        self._seen.add(seq)
        if seq > self._newest:
            self._newest, self._newest_id = seq, about
        return True

    def forget(self) -> None:
        """Drop what will not be looked at again."""
        self._seen = {seq for seq in self._seen if seq > self.after}


class Tally:
    """One trader: its statistics, and the newest of what they were made of."""

    def __init__(self) -> None:
        self.statistics = Statistics()
        self.last_trade: CountedTrade | None = None
        self.last_cycle: CountedCycle | None = None
        self._symbols = set[str]()

    def add_trade(self, trade: CountedTrade) -> None:
        self.statistics.add_trade(trade)
        self.last_trade = trade

    def add_cycle(self, cycle: CountedCycle) -> None:
        """Its start; what it wanted comes with `add_answer`."""
        self.statistics.add_invocation(cycle.ts_created)
        self.last_cycle = cycle

    def add_answer(self, cycle: CountedCycle) -> None:
        for action in cycle.actions:
            self._symbols.add(action.symbol)
            self.statistics.add_signal(
                SignalFigures(
                    act=action.act, confidence=float(action.confidence), leverage=float(action.leverage)
                )
            )

    def state(self) -> TallyState:
        return TallyState(self.statistics.state(), self.last_trade, self.last_cycle, frozenset(self._symbols))

    def restore(self, state: TallyState) -> None:
        """Go on from there. Raises ValueError or TypeError for what is no state."""
        self.statistics.restore(state.statistics)
        self.last_trade, self.last_cycle = state.last_trade, state.last_cycle
        self._symbols = set(state.symbols)

    def tables(self, trader: TraderRow, held: Sequence[OpenPosition], now_ns: int) -> Tables:
        """All six as of `now_ns`; `held` is what the trader holds."""

        def open_mins(side: PositionSide) -> float:
            ages = (max(0, now_ns - row.view.ts_opened) for row in held if row.view.side is side)
            return sum(ages) / NS_PER_MIN

        return self.statistics.tables(
            Minutes(
                open_long_mins=open_mins(PositionSide.LONG),
                open_short_mins=open_mins(PositionSide.SHORT),
                alive_mins=max(0, now_ns - trader.ts_inception) / NS_PER_MIN,
                coins=len(self._symbols | {row.view.symbol for row in held}),
            )
        )


class Tallies:
    """The tallies of all traders. The first question counts the whole journal, later ones what came since.

    With `kept`, the first one goes on from what a former process has counted of this journal.
    """

    def __init__(self, reader: CountedRows, kept: Kept | None = None) -> None:
        self._reader, self._turn = reader, asyncio.Lock()
        self._kept, self._began = kept, False
        self._counting = threading.Lock()  # a chunk is counted whole, also when who asked is gone
        self._begin()

    def _begin(self) -> None:
        self._tallies = defaultdict[str, Tally](Tally)
        self._trades, self._cycles = _Tail(), _Tail()
        self._open = set[str]()  # cycles that were not answered yet
        self._unkept = 0  # rows

    def of(self, trader_id: str) -> Tally:
        return self._tallies[trader_id]

    async def refresh(self) -> None:
        """Count what is new. Raises StoreUnavailable; what was counted until then stays counted."""
        async with self._turn:
            if not self._began:
                await self._go_on()
                self._began = True
            if not (await self._refresh_trades() and await self._refresh_cycles()):
                self._begin()
                await self._refresh_trades()
                await self._refresh_cycles()
            if self._unkept >= _KEEP_EVERY:
                await asyncio.to_thread(self.keep)

    def keep(self) -> None:
        """Keep what was counted, if anything is new."""
        if self._kept is None or not self._unkept:
            return
        with self._counting:
            self._unkept = 0
            counted = Counted(
                tallies={name: tally.state() for name, tally in self._tallies.items()},
                trades=self._trades.state(),
                cycles=self._cycles.state(),
                open_cycles=frozenset(self._open),
            )
        self._kept.save(counted)

    async def _go_on(self) -> None:
        """From what was kept, unless it was counted from another journal. Raises StoreUnavailable."""
        if self._kept is None or (counted := await asyncio.to_thread(self._kept.load)) is None:
            return
        trades = await self._reader.trades_after(counted.trades.newest - 1, 1)
        cycles = await self._reader.cycles_after(counted.cycles.newest - 1, 1)
        same = counted.trades.is_of([(row.seq, row.trade_id) for row in trades])
        if not (same and counted.cycles.is_of([(row.seq, row.cycle_id) for row in cycles])):
            return
        self._trades.restore(counted.trades)
        self._cycles.restore(counted.cycles)
        self._open = set(counted.open_cycles)
        try:
            for name, state in counted.tallies.items():
                self._tallies[name].restore(state)
        except (ValueError, TypeError):
            self._begin()

    async def _refresh_trades(self) -> bool:
        """False when the journal is another one than before."""
        while True:
            rows = await self._reader.trades_after(self._trades.after, _CHUNK)
            if not self._trades.fits([row.seq for row in rows]):
                return False
            # A history takes seconds: not in the loop that answers everybody else.
            await asyncio.to_thread(self._add_trades, rows)
            if len(rows) < _CHUNK:
                return True

    def _add_trades(self, rows: Sequence[CountedTrade]) -> None:
        with self._counting:
            for row in rows:
                if self._trades.take(row.seq, row.trade_id):
                    self._tallies[row.trader_id].add_trade(row)
                    self._unkept += 1
            self._trades.forget()

    async def _refresh_cycles(self) -> bool:
        while True:
            rows = await self._reader.cycles_after(self._cycles.after, _CHUNK)
            if not self._cycles.fits([row.seq for row in rows]):
                return False
            await asyncio.to_thread(self._add_cycles, rows)
            if len(rows) < _CHUNK:
                break
        self._add_answers(await self._reader.cycles_of(sorted(self._open)) if self._open else ())
        return True

    def _add_cycles(self, rows: Sequence[CountedCycle]) -> None:
        with self._counting:
            new = [row for row in rows if self._cycles.take(row.seq, row.cycle_id)]
            self._cycles.forget()
            self._unkept += len(new)
            for row in new:
                self._tallies[row.trader_id].add_cycle(row)
                self._open.add(row.cycle_id)
            self._add_answers(new)

    def _add_answers(self, rows: Sequence[CountedCycle]) -> None:
        for row in rows:
            if not row.is_open:
                self._open.discard(row.cycle_id)
                self._tallies[row.trader_id].add_answer(row)
