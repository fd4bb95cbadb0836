"""The API's statistics grow with the journal and are those of the whole history."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path

import msgspec

from api.kept_tallies import FILE, KeptTallies
from api.tallies import Tallies
from engine.core.decisions import Act, Action
from engine.journal.stats import Minutes, Statistics
from engine.journal.views import CountedCycle, CountedTrade, TraderRow

MANY = 5001  # more than one query brings
TRADER = TraderRow(
    trader_id="t",
    name="t",
    kind="model",
    model="m",
    account_id="a",
    config={},
    capital=Decimal(1),
    ts_inception=0,
    invocations=0,
)


def trade(seq: int, net: float = 1.0) -> CountedTrade:
    return CountedTrade(
        seq=seq,
        trader_id=f"t{seq % 2}",
        trade_id=f"trade-{seq}",
        ts_exit=seq,
        gross=net + 0.5,
        net=net,
        fees=0.5,
        notional=100.0 + seq,
        holding_mins=1.0,
        is_long=True,
        leverage=2.0,
    )


def cycle(seq: int, *, is_open: bool = False) -> CountedCycle:
    action = Action(symbol="BTC-USDT-SWAP", act=Act.BUY_TO_ENTER, notional_usd=Decimal(100))
    return CountedCycle(
        seq=seq,
        cycle_id=f"c{seq}",
        trader_id="t1",
        ts_created=seq,
        is_open=is_open,
        actions=() if is_open else (action,),
    )


class Journal:
    """Implements CountedRows over lists, and counts the rows that were asked for."""

    def __init__(self, trades: Sequence[CountedTrade] = (), cycles: Sequence[CountedCycle] = ()) -> None:
        self.trades, self.cycles, self.told = list(trades), list(cycles), 0

    async def trades_after(self, seq: int, limit: int) -> list[CountedTrade]:
        found = sorted((row for row in self.trades if row.seq > seq), key=lambda row: row.seq)[:limit]
        self.told += len(found)
        return found

    async def cycles_after(self, seq: int, limit: int) -> list[CountedCycle]:
        return sorted((row for row in self.cycles if row.seq > seq), key=lambda row: row.seq)[:limit]

    async def cycles_of(self, cycle_ids: Sequence[str]) -> list[CountedCycle]:
        return [row for row in self.cycles if row.cycle_id in cycle_ids]


def whole(trades: Sequence[CountedTrade], trader_id: str) -> object:
    statistics = Statistics()
    for row in trades:
        if row.trader_id == trader_id:
            statistics.add_trade(row)
    return statistics.tables(Minutes())


async def test_statistics_that_grew_are_those_of_the_whole_history() -> None:
    journal = Journal([trade(seq, seq % 7 - 3) for seq in range(1, 2 * MANY)])
    tallies = Tallies(journal)
    await tallies.refresh()
    journal.told = 0
    journal.trades += [trade(2 * MANY + 1, -4.0), trade(2 * MANY + 2, 9.0)]
    await tallies.refresh()
    assert journal.told < MANY  # not the history again
    for trader_id in ("t0", "t1"):
        tally = tallies.of(trader_id)
        assert tally.statistics.tables(Minutes()) == whole(journal.trades, trader_id)
        assert tally.last_trade == max(
            (row for row in journal.trades if row.trader_id == trader_id), key=lambda row: row.seq
        )


async def test_a_start_goes_on_from_what_was_counted(tmp_path: Path) -> None:
    journal = Journal(
        [trade(seq, seq % 7 - 3.25) for seq in range(1, MANY)], [cycle(1), cycle(2, is_open=True)]
    )
    before = Tallies(journal, KeptTallies(tmp_path))
    await before.refresh()
    before.keep()
    journal.told = 0
    journal.trades += [trade(MANY, -4.0), trade(MANY + 1, 9.0)]
    journal.cycles[1] = cycle(2)
    after = Tallies(journal, KeptTallies(tmp_path))
    await after.refresh()
    assert journal.told < MANY // 2  # not the history again
    await before.refresh()
    for name in ("t0", "t1"):
        assert after.of(name).tables(TRADER, [], 10**9) == before.of(name).tables(TRADER, [], 10**9)
        assert after.of(name).last_trade == before.of(name).last_trade
    assert after.of("t1").statistics.signals(Minutes()).total_signals == 2


async def test_what_was_counted_of_another_journal_or_is_broken_is_counted_anew(tmp_path: Path) -> None:
    kept = KeptTallies(tmp_path)
    before = Tallies(Journal([trade(seq) for seq in range(1, 101)]), kept)
    await before.refresh()
    before.keep()
    other = [msgspec.structs.replace(trade(seq), trade_id=f"other-{seq}") for seq in range(1, 121)]
    for damage in (b"", b"\x00" * 100, None):
        if damage is not None:
            (tmp_path / FILE).write_bytes(damage)
        tallies = Tallies(Journal(other), kept)
        await tallies.refresh()
        assert tallies.of("t0").statistics.overall().total_trades == 60
        tallies.keep()
        other = [msgspec.structs.replace(row, trade_id=f"new-{row.seq}") for row in other]


async def test_a_row_that_was_committed_after_its_successor_is_counted_once() -> None:
    late, journal = trade(8), Journal([trade(seq) for seq in (2, 4, 6, 10)])
    tallies = Tallies(journal)
    await tallies.refresh()
    journal.trades.append(late)
    await tallies.refresh()
    await tallies.refresh()
    assert tallies.of("t0").statistics.overall().total_trades == 5


async def test_an_answer_counts_when_it_comes_and_its_cycle_from_its_start() -> None:
    journal = Journal(cycles=[cycle(1), cycle(2, is_open=True)])
    tallies = Tallies(journal)
    await tallies.refresh()
    statistics = tallies.of("t1").statistics
    assert (statistics.invocations().num_invocations, statistics.signals(Minutes()).total_signals) == (2, 1)
    journal.cycles[1] = cycle(2)
    await tallies.refresh()
    await tallies.refresh()
    assert (statistics.invocations().num_invocations, statistics.signals(Minutes()).total_signals) == (2, 2)


async def test_a_journal_that_was_replaced_is_counted_anew() -> None:
    journal = Journal([trade(seq) for seq in range(1, 101)])
    tallies = Tallies(journal)
    await tallies.refresh()
    journal.trades = [msgspec.structs.replace(trade(seq), trader_id="other") for seq in range(1, 4)]
    await tallies.refresh()
    assert tallies.of("other").statistics.overall().total_trades == 3
    assert tallies.of("t1").statistics.overall().total_trades == 0
