"""A trader's record from its bookings: worked out by hand, and laws that hold for any bookings."""

from __future__ import annotations

import asyncio
from decimal import Decimal
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from engine.cli.main import app
from engine.clock import SystemClock
from engine.core.cash import CashFlow, FlowKind, FundingPayment
from engine.core.errors import InvariantBroken
from engine.core.market import Side
from engine.core.orders import Fill, OrderIntent, PositionSide, Purpose
from engine.core.times import NS_PER_HOUR, NS_PER_MIN
from engine.journal.postgres.journal import PostgresJournal
from engine.journal.postgres.record import TraderResult
from engine.journal.tally import Tally
from tests import journal_parts as parts
from tests.order_parts import intent_of

D = Decimal
BTC = "BTC-USDT-SWAP"
START = 500_000 * NS_PER_HOUR


def fill(
    name: str, minute: int, side: Side, contracts: str, price: str, *, fee: str = "0", **more: object
) -> Fill:
    """Contracts of one coin; long unless said otherwise."""
    position_side = more.get("position_side", PositionSide.LONG)
    assert isinstance(position_side, PositionSide)
    given = {
        "fill_id": name,
        "client_order_id": f"o{name}",
        "venue_order_id": name,
        "trader_id": "t",
        "account_id": "a",
        "symbol": BTC,
        "side": side,
        "position_side": position_side,
        "purpose": Purpose.ENTRY if side is position_side.entry_side else Purpose.EXIT,
        "contracts": D(contracts),
        "price": D(price),
        "contract_value": D(1),
        "fee": D(fee),
        "maker": False,
        "ts_event": START + minute * NS_PER_MIN,
    }
    return Fill(**(given | more))  # type: ignore[arg-type]


def ordered(of: Fill, seen: str) -> OrderIntent:
    return intent_of(
        of.fill_id,
        trader_id="t",
        account_id="a",
        symbol=of.symbol,
        side=of.side,
        position_side=of.position_side,
        purpose=of.purpose,
        contracts=of.contracts,
        decision_price=D(seen),
        ts_created=of.ts_event,
    )


def begun() -> Tally:
    tally = Tally("t", "a")
    tally.on_cash(
        CashFlow(
            flow_id="c", trader_id="t", account_id="a", kind=FlowKind.CAPITAL, amount=D(10_000), ts=START
        )
    )
    return tally


def funding(name: str, minute: int, amount: str) -> FundingPayment:
    return FundingPayment(
        payment_id=name,
        bill_id=name,
        trader_id="t",
        account_id="a",
        symbol=BTC,
        position_side=PositionSide.LONG,
        amount=D(amount),
        contracts=D(1),
        ts_event=START + minute * NS_PER_MIN,
    )


def test_record_of_two_trades_worked_out_by_hand() -> None:
    """Bought 2 at 100 and 2 at 110, funding -1, sold 1 at 120 and 3 at 90: cost 420, back 390.

    Then sold 1 short at 50, bought back at 40 by the stop: 10. Fees 1 each: six.
    """
    tally = begun()
    first = fill("1", 10, Side.BUY, "2", "100", fee="-1")
    tally.on_fill(first, ordered(first, "99"))  # paid 1 more a coin: 2 dollars
    tally.on_fill(fill("2", 20, Side.BUY, "2", "110", fee="-1"))
    tally.on_funding(funding("f", 30, "-1"))
    partial = fill("3", 40, Side.SELL, "1", "120", fee="-1")
    assert tally.on_fill(partial, ordered(partial, "121")) == ()  # got 1 less: 1 dollar
    (trade,) = tally.on_fill(fill("4", 60, Side.SELL, "3", "90", fee="-1"))
    assert (trade.gross, trade.net, trade.funding) == (D(-30), D(-35), D(-1))
    assert (trade.entry_fees, trade.exit_fees) == (D(-2), D(-2))
    assert (trade.entry_price, trade.exit_price) == (D(105), D("97.5"))
    short = PositionSide.SHORT
    tally.on_fill(fill("5", 70, Side.SELL, "1", "50", fee="-1", position_side=short))
    (trade,) = tally.on_fill(
        fill("6", 100, Side.BUY, "1", "40", fee="-1", position_side=short, purpose=Purpose.STOP)
    )
    assert (trade.gross, trade.net) == (D(10), D(8))
    record = tally.record()
    assert (record.capital, record.realised, record.open_positions) == (10_000, -27, 0)
    assert (record.trades, record.win_rate, record.stopped) == (2, 50, 1)
    assert (record.best, record.worst, record.expectancy) == (8, -35, -13.5)
    assert record.profit_factor == pytest.approx(8 / 35, abs=1e-6)
    costs = record.costs
    assert (costs.turnover, costs.fees, costs.funding) == (900, 6, -1)  # 200 + 220 + 120 + 270 + 50 + 40
    assert (costs.fees_share_pct, costs.funding_share_pct) == (60, 10)  # of the 10 that were won
    assert costs.slippage == 3
    assert costs.slippage_bps == 93.75  # 3 of 320 dollars
    assert costs.slippage_known_pct == pytest.approx(100 * 320 / 900, abs=1e-6)
    assert costs.worst_slippage_bps == pytest.approx(10_000 / 99, abs=1e-6)
    assert record.exposure_pct == 80  # minutes 10 to 60 and 70 to 100 of 100
    # 200 for 10 minutes, 420 for 20, 315 for 20, 50 for 30
    assert record.average_exposure == 182
    assert record.tables.longs_shorts_breakdown_table.num_long_trades == 1
    assert record.tables.fee_pnl_moves_breakdown_table.overall_pnl_with_fees == -27


def test_fill_that_flips_closes_one_trade_and_opens_the_next() -> None:
    tally = begun()
    tally.on_fill(fill("1", 0, Side.BUY, "2", "100"))
    (trade,) = tally.on_fill(fill("2", 10, Side.SELL, "5", "110", fee="-5"))
    assert (trade.contracts, trade.gross, trade.exit_fees) == (D(2), D(20), D(-2))
    (held,) = tally.account.positions.values()
    assert (held.side, held.contracts, held.fees) == (PositionSide.SHORT, D(3), D(-3))
    assert tally.account.cash == 10_000 + 20 - 5


def test_liquidation_and_external_close_are_told_apart() -> None:
    tally = begun()
    for minute, purpose in ((0, Purpose.LIQUIDATION), (20, Purpose.EXTERNAL), (40, Purpose.TARGET)):
        tally.on_fill(fill(f"{minute}", minute, Side.BUY, "1", "100"))
        tally.on_fill(fill(f"{minute}x", minute + 5, Side.SELL, "1", "90", purpose=purpose))
    record = tally.record()
    assert (record.liquidated, record.closed_externally, record.targets, record.stopped) == (1, 1, 1, 0)


def test_booking_that_comes_twice_counts_once_and_nothing_closes_nothing() -> None:
    tally = begun()
    bought = fill("1", 0, Side.BUY, "1", "100", fee="-1")
    tally.on_fill(bought)
    before = tally.record()
    assert tally.on_fill(bought) == ()
    assert tally.record() == before
    with pytest.raises(InvariantBroken):
        tally.on_fill(fill("2", 1, Side.BUY, "1", "100", position_side=PositionSide.SHORT))


def test_ratios_are_of_the_last_equity_of_each_hour() -> None:
    tally = begun()
    for hour, equity in enumerate((100.0, 110.0, 99.0, 108.9, 1.0)):
        tally.on_equity(START + hour * NS_PER_HOUR, 77.0)  # overtaken within the hour
        tally.on_equity(START + hour * NS_PER_HOUR + NS_PER_MIN, equity)
    assert tally.record().ratios.sharpe == pytest.approx(0.288675 * (24 * 365) ** 0.5, abs=1e-3)
    assert tally.record().ratios.max_drawdown_pct == 10


_STEPS = st.lists(
    st.tuples(
        st.booleans(),
        st.decimals("0.01", "50", places=2),
        st.decimals("1", "1000", places=2),
        st.decimals("-3", "0.5", places=4),
    ),
    max_size=40,
)


@given(_STEPS)
def test_any_fills_add_up_and_the_whole_history_gives_the_same(
    steps: list[tuple[bool, Decimal, Decimal, Decimal]],
) -> None:
    def run(count: int) -> Tally:
        tally = begun()
        for number, (buys, contracts, price, fee) in enumerate(steps[:count]):
            held = next(iter(tally.account.positions.values()), None)
            side = Side.BUY if buys else Side.SELL
            position_side = held.side if held else PositionSide.LONG if buys else PositionSide.SHORT
            tally.on_fill(
                fill(
                    str(number),
                    number,
                    side,
                    str(contracts),
                    str(price),
                    fee=str(fee),
                    position_side=position_side,
                )
            )
        return tally

    tally = run(len(steps))
    account, record = tally.account, tally.record()
    spent = sum((c * p * (-1 if buys else 1) for buys, c, p, _ in steps), D(0))
    fees = sum((fee for *_, fee in steps), D(0))
    assert account.cash - account.cost == 10_000 + spent + fees
    net = record.tables.fee_pnl_moves_breakdown_table.overall_pnl_with_fees
    open_part = sum((float(h.realised + h.fees) for h in account.positions.values()), 0.0)
    assert record.realised == pytest.approx(net + open_part, abs=1e-5)
    assert msgspec.json.encode(run(len(steps)).record()) == msgspec.json.encode(record)


async def test_command_recomputes_every_trader_from_the_journal(database: str) -> None:
    entry = parts.order(msgspec.structs.replace(parts.intent(cycle_id=""), decision_price=D("63999")))
    closing = parts.order(msgspec.structs.replace(parts.close_intent(), cycle_id=""))
    async with PostgresJournal(database, SystemClock()) as journal:
        await journal.record_traders([parts.TRADER])
        await journal.record_cash_flow(
            CashFlow(
                flow_id="c",
                trader_id="alice",
                account_id=parts.ACCOUNT,
                kind=FlowKind.CAPITAL,
                amount=D(10_000),
                ts=parts.T0,
            )
        )
        for order, price in ((entry, "64000.123456789012345678"), (closing, "64100.5")):
            await journal.insert_order(order)
            await journal.record_execution(*parts.filled(order, price=price))
    env = {"EDGEWISE_POSTGRES_DSN": database, "EDGEWISE_REDIS_URL": "redis://127.0.0.1:1"}
    for words in (["--json"], []):
        etc = str(Path(__file__).parent.parent / "etc")
        done = await asyncio.to_thread(CliRunner().invoke, app, ["stats", *words, "--etc", etc], env=env)
        assert done.exit_code == 0, done.output
        if words:
            (found,) = msgspec.json.decode(done.output, type=list[TraderResult])
            assert (found.trader_id, found.record.trades, found.record.capital) == ("alice", 1, 10_000)
            assert found.record.realised == pytest.approx(float(parts.closed().net), abs=1e-6)
            assert found.record.costs.slippage == pytest.approx(0.022469, abs=1e-6)  # 1.12… on 0.02 coins
        else:
            assert "slippage, bps" in done.output
