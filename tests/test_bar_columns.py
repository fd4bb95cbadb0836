"""Candles by column give back what was put in, as bars and as a feed's candles."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.core.errors import ConfigError
from engine.core.instruments import Instrument
from engine.core.times import NS_PER_MIN
from engine.exchange.simulator.bar_columns import BarColumns
from engine.exchange.simulator.recorded_candles import read_candles
from engine.exchange.simulator.universe import LISTINGS

BTC = LISTINGS["BTC-USDT-SWAP"].instrument
TICKS = ("0.1", "0.5", "0.00001", "1", "5", "0.25")


def instrument(tick: str) -> Instrument:
    return msgspec.structs.replace(BTC, tick_size=Decimal(tick))


@given(
    tick=st.sampled_from(TICKS),
    prices=st.lists(st.decimals("0.0001", "900000", places=6), min_size=4, max_size=4),
    contracts=st.decimals(0, 10**9, places=8),
)
def test_a_bar_has_its_prices_on_the_tick_and_whole_lots(
    tick: str, prices: list[Decimal], contracts: Decimal
) -> None:
    market = instrument(tick)
    low, opened, close, high = sorted(prices)
    columns = BarColumns(market)
    columns.add(60, [str(opened), str(high), str(low), str(close)])
    columns.set_contracts([contracts])
    (bar,) = columns
    rounded = [market.round_price(price) for price in (opened, high, low, close)]
    assert str(bar[1:]) == str((*rounded, market.floor_size(contracts)))
    (candle,) = columns.candles(range(1), "1m", NS_PER_MIN, 1_000)
    told = (candle.open, candle.high, candle.low, candle.close, candle.volume)
    assert told == (*map(float, rounded), float(market.coins(bar.volume)))
    assert (candle.ts_open, candle.ts_event) == (1_060, 1_060 + NS_PER_MIN)


def columns_of(rows: list[tuple[int, str, str]]) -> BarColumns:
    """Minute, low, high; open and close in the middle of them."""
    columns = BarColumns(BTC)
    for minute, low, high in rows:
        middle = str((Decimal(low) + Decimal(high)) / 2)
        columns.add(minute * NS_PER_MIN, [middle, high, low, middle])
    columns.set_contracts([BTC.lot_size * 4] * len(rows))
    return columns


@pytest.mark.parametrize(
    ("calm", "count"),
    [
        (("0", "Infinity"), 3),  # the fourth has a hole after it
        (("99", "111"), 3),
        (("100", "Infinity"), 0),  # a price that is reached is not calm
        (("99.95", "Infinity"), 3),
        (("0", "110"), 2),
        (("0", "110.01"), 3),
    ],
)
def test_candles_are_calm_up_to_a_price_that_somebody_waits_for_or_a_hole(
    calm: tuple[str, str], count: int
) -> None:
    columns = columns_of(
        [(0, "100", "109"), (1, "101", "109"), (2, "102", "110"), (3, "103", "104"), (9, "1", "2")]
    )
    between = (Decimal(calm[0]), Decimal(calm[1]))
    assert columns.calm(range(4), NS_PER_MIN, between, 4) == count
    assert columns.calm(range(1), NS_PER_MIN, between, 4) == min(count, 1)
    assert columns.calm(range(4), NS_PER_MIN, between, 5) == 0


@pytest.mark.parametrize(
    "row", ["1,1,2,1,1,1e400", "1,nan,2,1,1,1", "1,1,2,x,1,1", "1,3,2,1,1,1", "x,1,2,1,1,1"]
)
def test_what_is_no_candle_is_refused(row: str) -> None:
    rows = (line.split(",") for line in ("60000,1,2,1,1,1", row))
    with pytest.raises(ConfigError):
        read_candles(Path("made.csv"), LISTINGS["BTC-USDT-SWAP"], rows)
