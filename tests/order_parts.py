"""Orders to trade with: an entry at market unless a test wants something else."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from engine.core.market import Side
from engine.core.orders import Order, OrderIntent, OrderType, PositionSide, Purpose


def intent_of(intent_id: str = "entry", **changes: Any) -> OrderIntent:
    """One contract of BTC long, at market, of trader `a` on the account `sim`."""
    given: dict[str, Any] = {
        "cycle_id": "",
        "trader_id": "a",
        "account_id": "sim",
        "symbol": "BTC-USDT-SWAP",
        "side": Side.BUY,
        "position_side": PositionSide.LONG,
        "purpose": Purpose.ENTRY,
        "order_type": OrderType.MARKET,
        "contracts": Decimal(1),
        "ts_created": 1,
    }
    return OrderIntent(intent_id=intent_id, **(given | changes))


def order_of(intent_id: str = "entry", **changes: Any) -> Order:
    """The order of `intent_of`, not sent yet."""
    intent = intent_of(intent_id, **changes)
    return Order(client_order_id=intent.client_order_id, intent=intent)
