"""A trader: configuration, breaker, and what it has under way. Sans I/O."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from decimal import Decimal

from engine.config.manager import TraderConfig
from engine.core.orders import Order, OrderIntent, Purpose
from engine.core.times import NS_PER_HOUR, NS_PER_S
from engine.manager.breaker import Breaker


class Trader:
    """Run-time state of one trader. Cooldowns and entry counts are told anew by the journal at start."""

    def __init__(self, config: TraderConfig, symbols: tuple[str, ...], state: bytes = b"") -> None:
        self.config = config
        self.symbols = symbols
        self.limits = config.risk_params
        self.breaker = Breaker(config.risk_params, state)
        self.under_way: dict[str, OrderIntent] = {}  # entries, by client order id, until they are done
        self.cooldown_until: dict[str, int] = {}
        self._entries: deque[int] = deque(maxlen=1000)
        self._known: deque[str] = deque(maxlen=1000)

    @property
    def trader_id(self) -> str:
        return self.config.id

    @property
    def known_intents(self) -> frozenset[str]:
        """Ids of the newest approved intents: none is approved twice."""
        return frozenset(self._known)

    def on_intent(self, intent: OrderIntent) -> None:
        """An approved intent leaves for the exchange."""
        self._known.append(intent.intent_id)
        if intent.purpose is Purpose.ENTRY:
            self.under_way[intent.client_order_id] = intent
            self._entries.append(intent.ts_created)

    def on_order(self, order: Order) -> None:
        """The venue has finished an order, or changed it."""
        intent = order.intent
        if not order.state.done:
            return
        self.under_way.pop(order.client_order_id, None)
        if intent.purpose.reduces and order.filled:
            stopped = intent.purpose in {Purpose.STOP, Purpose.LIQUIDATION}
            pause_s = self.limits.cooldown_after_stop if stopped else self.limits.cooldown_after_close
            until = order.ts_updated + int(pause_s * NS_PER_S)
            self.cooldown_until[intent.symbol] = max(self.cooldown_until.get(intent.symbol, 0), until)

    def entries_since(self, now_ns: int) -> int:
        """Entries approved within the hour before `now_ns`."""
        return sum(1 for ts in self._entries if ts > now_ns - NS_PER_HOUR)

    def forget_expired(self, open_orders: Iterable[str], now_ns: int) -> None:
        """Drop entries that expired unseen: the desk does not have them and may not take them any more."""
        known = set(open_orders)
        for client_id, intent in list(self.under_way.items()):
            if intent.ts_expires and now_ns > intent.ts_expires + 60 * NS_PER_S and client_id not in known:
                del self.under_way[client_id]

    def exposure(self, prices: Mapping[str, Decimal], values: Mapping[str, Decimal]) -> dict[str, Decimal]:
        """Notional of entries under way, by symbol. `values`: coins in one contract."""
        total: dict[str, Decimal] = {}
        for intent in self.under_way.values():
            total[intent.symbol] = total.get(intent.symbol, Decimal(0)) + _notional(intent, prices, values)
        return total

    def pending_margin(self, prices: Mapping[str, Decimal], values: Mapping[str, Decimal]) -> Decimal:
        """Margin that the entries under way will take."""
        margins = (_notional(each, prices, values) / each.leverage for each in self.under_way.values())
        return sum(margins, Decimal(0))


def _notional(intent: OrderIntent, prices: Mapping[str, Decimal], values: Mapping[str, Decimal]) -> Decimal:
    price = intent.price or prices.get(intent.symbol) or intent.decision_price or Decimal(0)
    return intent.contracts * values[intent.symbol] * price
