"""Values for tests of the journal: one trader that buys two contracts and sells them again."""

from __future__ import annotations

from decimal import Decimal
from typing import Final

import msgspec

from engine.core.cash import FundingPayment
from engine.core.decisions import (
    AccountView,
    Act,
    Action,
    Check,
    CycleMode,
    CycleRecord,
    CycleStatus,
    Decision,
    PositionView,
    Verdict,
    WakeKind,
    WakeNote,
    WakeReason,
    Wakeup,
)
from engine.core.ledger import ClosedTrade, VirtualAccount
from engine.core.market import Side
from engine.core.orders import (
    Fill,
    Order,
    OrderIntent,
    OrderState,
    PositionSide,
    Purpose,
)
from engine.core.signals import Edge, MarketSnapshot, Signal
from engine.core.times import NS_PER_S
from engine.journal.ports import TraderRecord
from tests.order_parts import intent_of

T0: Final = 1_790_000_000 * NS_PER_S
ACCOUNT: Final = "okx-1"
TRADER: Final = TraderRecord(
    trader_id="alice", name="Alice", kind="model", model="demo", account_id=ACCOUNT, config=b'{"a": 1}', ts=T0
)
SIGNAL: Final = Signal(
    signal_id="BTC-USDT-SWAP:rsi:UP:1",
    symbol="BTC-USDT-SWAP",
    detector="rsi",
    feature="rsi_14",
    timeframe="1m",
    edge=Edge.UP,
    value=71.2,
    threshold=70.0,
    release=65.0,
    score=0.7,
    price=64000.1,
    ts_event=T0,
)


def position(contracts: str = "2") -> PositionView:
    return PositionView(
        symbol="BTC-USDT-SWAP",
        side=PositionSide.LONG,
        contracts=Decimal(contracts),
        coins=Decimal(contracts) / 100,
        entry_price=Decimal("64000.123456789012345"),
        mark_price=Decimal(64100),
        notional=Decimal(1282),
        leverage=Decimal(3),
        margin=Decimal("426.67"),
        unrealised=Decimal("1.99"),
        realised=Decimal(0),
        fees=Decimal("-0.64"),
        funding=Decimal(0),
        liquidation_price=None,
        stop_loss=Decimal(63000),
        take_profit=None,
        confidence=Decimal("0.6"),
        risk_usd=None,
        invalidation="below 63000",
        ts_opened=T0,
        entry_client_order_id="x",
    )


def view(ts: int = T0, *positions: PositionView) -> AccountView:
    return AccountView(
        trader_id="alice",
        ts=ts,
        capital=Decimal(10000),
        cash=Decimal("9999.36"),
        equity=Decimal("10001.350000000000000001"),
        available=Decimal(9500),
        margin_used=Decimal("426.67"),
        realised=Decimal(0),
        unrealised=Decimal("1.99"),
        fees=Decimal("-0.64"),
        funding=Decimal(0),
        positions=positions,
    )


def wakeup(cycle_id: str = "alice-1") -> Wakeup:
    return Wakeup(
        cycle_id=cycle_id,
        trader_id="alice",
        ts=T0,
        mode=CycleMode.SHORT,
        reasons=(WakeReason(WakeKind.SIGNAL, T0, SIGNAL), WakeReason(WakeKind.SHORT_TIMER, T0)),
        account=view(),
        market=(MarketSnapshot(symbol="BTC-USDT-SWAP", ts=T0, last=64000.1),),
        deadline_ns=T0 + NS_PER_S,
        notes=(WakeNote(T0, "cooldown", "BTC-USDT-SWAP:rsi:UP:0"),),
    )


def record(cycle_id: str = "alice-1") -> CycleRecord:
    action = Action(symbol="BTC-USDT-SWAP", act=Act.BUY_TO_ENTER, notional_usd=Decimal("1280.10"))
    decision = Decision(
        cycle_id=cycle_id,
        trader_id="alice",
        decider="demo",
        actions=(action,),
        prices={"BTC-USDT-SWAP": 64000.1},
        ts_decided=T0 + 5,
    )
    return CycleRecord(
        decision=decision,
        status=CycleStatus.DECIDED,
        model="rules-only-demo",
        prompt_digest="d",
        system_prompt="You trade.",
        user_prompt="Now?",
        answer="{}",
        reasoning="because",
        tokens_in=10,
        cost_usd=Decimal("0.000123456789"),
        latency_ms=7,
        ts_started=T0 + 1,
    )


def verdict(cycle_id: str = "alice-1") -> Verdict:
    return Verdict(
        cycle_id=cycle_id,
        trader_id="alice",
        symbol="BTC-USDT-SWAP",
        act=Act.BUY_TO_ENTER,
        approved=True,
        reason="",
        checks=(Check("fresh price", passed=True, detail="age 0.1 s"),),
        ts=T0 + 6,
    )


def intent(intent_id: str = "alice-1:BTC:entry", cycle_id: str = "alice-1") -> OrderIntent:
    return intent_of(
        intent_id,
        cycle_id=cycle_id,
        trader_id="alice",
        account_id=ACCOUNT,
        contracts=Decimal(2),
        leverage=Decimal(3),
        stop_loss=Decimal(63000),
        confidence=Decimal("0.6"),
        invalidation="below 63000",
        ts_created=T0 + 7,
        ts_expires=T0 + 60 * NS_PER_S,
    )


def close_intent() -> OrderIntent:
    return msgspec.structs.replace(
        intent("alice-1:BTC:exit"), side=Side.SELL, purpose=Purpose.EXIT, stop_loss=None, ts_created=T0 + 20
    )


def order(of: OrderIntent) -> Order:
    return Order(client_order_id=of.client_order_id, intent=of)


def filled(
    before: Order, contracts: str = "2", price: str = "64000.123456789012345678"
) -> tuple[Order, Fill]:
    """The order after one more fill."""
    total = before.filled + Decimal(contracts)
    fill = Fill(
        fill_id=f"{before.client_order_id}:{total}",
        client_order_id=before.client_order_id,
        venue_order_id="v1",
        trader_id=before.intent.trader_id,
        account_id=before.intent.account_id,
        symbol=before.intent.symbol,
        side=before.intent.side,
        position_side=before.intent.position_side,
        purpose=before.intent.purpose,
        contracts=Decimal(contracts),
        price=Decimal(price),
        contract_value=Decimal("0.01"),
        fee=Decimal("-0.640001234567890123"),
        maker=False,
        ts_event=T0 + 10,
        ts_recv=T0 + 11,
    )
    done = total == before.intent.contracts
    after = msgspec.structs.replace(
        before,
        state=OrderState.FILLED if done else OrderState.PARTIALLY_FILLED,
        venue_order_id="v1",
        filled=total,
        claimed=total,
        average_price=Decimal(price),
        fees=before.fees + fill.fee,
        ts_updated=T0 + 10,
    )
    return after, fill


def closed() -> ClosedTrade:
    """What the books make of buying and selling two contracts."""
    account = VirtualAccount("alice", ACCOUNT)
    account.apply_fill(filled(order(intent()))[1], intent())
    _, trade = account.apply_fill(filled(order(close_intent()), price="64100.5")[1])
    assert trade is not None
    return trade


def funding(trader_id: str = "alice", amount: str = "-1.000000000001") -> FundingPayment:
    return FundingPayment(
        payment_id=f"b1:{trader_id}",
        bill_id="b1",
        trader_id=trader_id,
        account_id=ACCOUNT,
        symbol="BTC-USDT-SWAP",
        position_side=PositionSide.LONG,
        amount=Decimal(amount),
        contracts=Decimal(2),
        ts_event=T0 + 30,
    )
