"""Virtual accounts as traders see them: equity, margin and the price at which they would be liquidated."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.core.books import Books
from engine.core.cash import CashFlow, FlowKind
from engine.core.market import Side
from engine.core.orders import Fill, OrderIntent, PositionSide
from engine.manager.accounts import TraderAccounts
from tests.order_parts import intent_of

D = Decimal
BTC, ETH = "BTC-USDT-SWAP", "ETH-USDT-SWAP"
MAINTENANCE = D("0.005")


class World:
    """Two traders with 10,000 each, on an account that nets or does not."""

    def __init__(self, *, netting: bool = False) -> None:
        self.books = Books("sim", ("a", "b"), netting=netting)
        for name in ("a", "b"):
            flow = CashFlow(
                flow_id=name, trader_id=name, account_id="sim", kind=FlowKind.CAPITAL, amount=D(10_000), ts=1
            )
            self.books.apply_cash(flow)
        self.accounts = TraderAccounts(self.books, lambda: 5)
        self.accounts.marks |= {BTC: D(100_000), ETH: D(4_000)}
        self._count = 0

    def enter(
        self, trader: str, side: PositionSide, coins: str, symbol: str = BTC, leverage: str = "5"
    ) -> None:
        """A filled entry at the mark, without a fee; one contract is one coin."""
        self._count += 1
        intent = intent_of(
            f"entry {self._count}",
            trader_id=trader,
            symbol=symbol,
            side=side.entry_side,
            position_side=side,
            contracts=D(coins),
            leverage=D(leverage),
            stop_loss=D(1),
            invalidation="closes below 98k",
        )
        self.books.apply_fill(self._fill(intent, side.entry_side, coins), intent)

    def _fill(self, intent: OrderIntent, side: Side, coins: str) -> Fill:
        return Fill(
            fill_id=f"fill {self._count}",
            client_order_id=intent.client_order_id,
            venue_order_id="1",
            trader_id=intent.trader_id,
            account_id="sim",
            symbol=intent.symbol,
            side=side,
            position_side=intent.position_side,
            purpose=intent.purpose,
            contracts=D(coins),
            price=self.accounts.marks[intent.symbol],
            contract_value=D(1),
            fee=D(0),
            maker=False,
            ts_event=2,
        )


@pytest.mark.parametrize("netting", [False, True])
def test_traders_may_hold_opposite_sides_in_either_position_mode(netting: bool) -> None:
    world = World(netting=netting)
    world.enter("a", PositionSide.LONG, "0.2")
    world.enter("b", PositionSide.SHORT, "0.3")
    world.accounts.marks[BTC] = D(101_000)
    long, short = world.accounts.view("a"), world.accounts.view("b")
    assert (long.unrealised, short.unrealised) == (D(200), D(-300))
    assert (long.equity, short.equity) == (D(10_200), D(9_700))
    assert (long.margin_used, short.margin_used) == (D(4_000), D(6_000))
    assert (long.available, short.available) == (D(6_200), D(3_700))
    total = world.books.equity(world.accounts.marks)
    assert total == D(19_900), "what one wins of the other is nobody's gain"


@given(
    side=st.sampled_from(PositionSide),
    coins=st.decimals("0.05", "1.5", places=2),
    other=st.decimals("0", "2", places=2),
    eth=st.decimals("3000", "5000", places=0),
)
def test_at_the_liquidation_price_equity_is_what_maintenance_asks(
    side: PositionSide, coins: Decimal, other: Decimal, eth: Decimal
) -> None:
    world = World()
    world.enter("a", side, str(coins))
    if other:
        world.enter("a", PositionSide.LONG, str(other), ETH)
        world.accounts.marks[ETH] = eth
    held = world.accounts.view("a").position(BTC)
    assert held is not None
    if held.liquidation_price is None:
        return  # no price of BTC takes all of the equity
    world.accounts.marks[BTC] = held.liquidation_price
    equity = world.accounts.view("a").equity
    assert equity is not None
    assert abs(equity - coins * held.liquidation_price * MAINTENANCE) < D("1e-12")


def test_a_long_that_its_cash_pays_for_is_never_liquidated() -> None:
    world = World()
    world.enter("a", PositionSide.LONG, "0.09", leverage="1")
    held = world.accounts.view("a").position(BTC)
    assert held is not None
    assert held.liquidation_price is None
    assert held.invalidation == "closes below 98k"


def test_a_position_without_a_mark_leaves_nothing_to_spend() -> None:
    world = World()
    world.enter("a", PositionSide.LONG, "0.1")
    del world.accounts.marks[BTC]
    view = world.accounts.view("a")
    assert (view.equity, view.unrealised, view.available) == (None, None, D(0))
    assert world.accounts.view("b").equity == D(10_000)
