"""How a trader's entries reach the market: at market, with a bound on slippage, or resting at a limit."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.config.manager import RiskConfig
from engine.core.decisions import Act, Action
from engine.core.orders import OrderIntent, OrderType
from tests.gate_world import GateWorld

D = Decimal
BTC = "BTC-USDT-SWAP"
LONG, SHORT = Act.BUY_TO_ENTER, Act.SELL_TO_ENTER


def entry(
    act: Act,
    style: dict[str, Any],
    price: float = 100_000.0,
    limits: tuple[float, float] | None = None,
    **changes: Any,
) -> OrderIntent:
    """The intent of an entry with a stop 1 % away, by a trader of this style."""
    world = GateWorld(RiskConfig(max_spread_bps=D(100), min_edge_fees=D(0)))
    trader = world.traders["t0"]
    trader.config = msgspec.structs.replace(trader.config, **style)
    world.price(BTC, price)
    if limits is not None:
        snapshots = world.market.snapshots
        snapshots[BTC] = msgspec.structs.replace(snapshots[BTC], highest_buy=limits[0], lowest_sell=limits[1])
    away = D("0.99") if act is LONG else D("1.01")
    given = {"notional_usd": D(5_000), "stop_loss": D(str(price)) * away, "leverage": D(5)}
    action = Action(symbol=BTC, act=act, confidence=D("0.9"), **(given | changes))
    verdicts, intents = world.decide("t0", action)
    assert intents, verdicts
    return intents[0]


@pytest.mark.parametrize(
    ("act", "bps", "price"),
    [
        (LONG, "75", "100760.0"),  # ask 100010, and 0.75 % of it, on the tick below
        (SHORT, "75", "99240.1"),  # bid 99990, less 0.75 %, on the tick above
        (LONG, "0", "100010.0"),
    ],
)
def test_market_ioc_is_a_limit_at_the_most_that_it_may_slip(act: Act, bps: str, price: str) -> None:
    intent = entry(act, {"order_style": "market_ioc", "market_ioc_slippage_bps": D(bps)})
    assert (intent.order_type, intent.price) == (OrderType.IOC, D(price))


@pytest.mark.parametrize(("act", "price"), [(LONG, "100300.0"), (SHORT, "99700.1")])
def test_market_ioc_stays_within_what_the_venue_takes(act: Act, price: str) -> None:
    style = {"order_style": "market_ioc", "market_ioc_slippage_bps": D(75)}
    assert entry(act, style, limits=(100_300.05, 99_700.05)).price == D(price)


@given(
    price=st.floats(1_000, 200_000),
    bps=st.decimals("0", "1000", places=1),
    act=st.sampled_from([LONG, SHORT]),
)
def test_market_ioc_never_pays_more_than_its_bound(price: float, bps: Decimal, act: Act) -> None:
    intent = entry(act, {"order_style": "market_ioc", "market_ioc_slippage_bps": bps}, price)
    assert intent.price is not None
    quote = D(str(price)) * (D("1.0001") if act is LONG else D("0.9999"))
    slip_bps = (intent.price / quote - 1) * 10_000 * (1 if act is LONG else -1)
    tick_bps = D("0.1") / quote * 10_000  # the quote itself is rounded to the tick
    assert slip_bps <= bps + tick_bps
    assert intent.price % D("0.1") == 0


@pytest.mark.parametrize(
    ("style", "asked", "expected"),
    [
        ("market", None, (OrderType.MARKET, None)),
        ("limit", D(99_500), (OrderType.LIMIT, D("99500.0"))),
        ("limit", None, (OrderType.MARKET, None)),  # no price was named
    ],
)
def test_style_decides_the_type_of_an_entry(
    style: str, asked: Decimal | None, expected: tuple[OrderType, Decimal | None]
) -> None:
    intent = entry(LONG, {"order_style": style}, entry_price=asked, stop_loss=D(98_500))
    assert (intent.order_type, intent.price) == expected
