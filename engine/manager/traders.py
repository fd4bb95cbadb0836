"""A trader: configuration, breaker, and what it has under way. Sans I/O."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping, Set
from decimal import Decimal
from typing import Final

import msgspec

from engine.config.manager import TraderConfig
from engine.core.errors import CodecError
from engine.core.orders import Order, OrderIntent, Purpose
from engine.core.times import NS_PER_HOUR, NS_PER_S
from engine.manager.breaker import Breaker, TradingState

_TOLD_NS: Final = 60 * NS_PER_S
_KNOWN: Final = 64  # several times the actions of a decision: the newest one may be delivered again
_ENTRIES: Final = 1000


class TraderState(msgspec.Struct, frozen=True):
    """Times are engine nanoseconds, `known` are intent ids."""

    cooldown_until: dict[str, int]
    entries: tuple[int, ...]
    known: tuple[str, ...]


class Trader:
    """Run-time state of one trader; `account` is the breaker that all traders share."""

    def __init__(
        self, config: TraderConfig, symbols: tuple[str, ...], breaker: Breaker, account: Breaker
    ) -> None:
        self.config = config
        self.symbols = symbols
        self.allowed = frozenset(symbols)
        self.limits = config.risk_params
        self.breaker = breaker
        self._account = account
        self.under_way: dict[str, OrderIntent] = {}  # entries, by client order id, until they are done
        self._exits: dict[str, OrderIntent] = {}  # likewise
        self.cooldown_until: dict[str, int] = {}
        self._entries: deque[int] = deque(maxlen=_ENTRIES)
        self._known: dict[str, None] = {}  # intent ids, oldest first

    @property
    def trader_id(self) -> str:
        return self.config.id

    def trading_state(self, now_ns: int) -> tuple[TradingState, str]:
        """What the account's breaker says, and if that is nothing, the trader's own."""
        state, reason = self._account.trading_state(now_ns)
        if state is not TradingState.ENABLED:
            return state, f"of the account: {reason}"
        return self.breaker.trading_state(now_ns)

    def may_enter(self, now_ns: int) -> bool:
        """Whether no breaker holds entries back."""
        return self.trading_state(now_ns)[0] is TradingState.ENABLED

    @property
    def closing(self) -> frozenset[str]:
        """Symbols with an exit under way."""
        return frozenset(intent.symbol for intent in self._exits.values())

    @property
    def known_intents(self) -> Set[str]:
        """Ids of the newest approved intents: none is approved twice."""
        return self._known.keys()

    def on_intent(self, intent: OrderIntent) -> None:
        """An approved intent leaves for the exchange."""
        self._know((intent.intent_id,))
        if intent.purpose is Purpose.ENTRY:
            self.take_up(intent)
            self._entries.append(intent.ts_created)
            while self._entries[0] <= intent.ts_created - NS_PER_HOUR:
                self._entries.popleft()

    def _know(self, intent_ids: Iterable[str]) -> None:
        self._known.update(dict.fromkeys(intent_ids))
        while len(self._known) > _KNOWN:
            del self._known[next(iter(self._known))]

    def take_up(self, intent: OrderIntent) -> None:
        """Count an order of a former life, or a new one, until it is done."""
        if intent.purpose is Purpose.ENTRY:
            self.under_way[intent.client_order_id] = intent
        elif intent.purpose is Purpose.EXIT:
            self._exits[intent.client_order_id] = intent

    def on_order(self, order: Order) -> bool:
        """The venue has finished an order, or changed it; whether `state` is another now."""
        intent = order.intent
        if not order.state.done:
            return False
        self.under_way.pop(order.client_order_id, None)
        self._exits.pop(order.client_order_id, None)
        if intent.purpose.reduces and order.filled:
            stopped = intent.purpose in {Purpose.STOP, Purpose.LIQUIDATION}
            pause_s = self.limits.cooldown_after_stop if stopped else self.limits.cooldown_after_close
            until = order.ts_updated + int(pause_s * NS_PER_S)
            if pause_s and until > self.cooldown_until.get(intent.symbol, 0):
                self.cooldown_until[intent.symbol] = until
                return True
        return False

    def entries_since(self, now_ns: int) -> int:
        """Entries approved within the hour before `now_ns`."""
        return sum(1 for ts in self._entries if ts > now_ns - NS_PER_HOUR)

    def unseen(self, now_ns: int) -> tuple[OrderIntent, ...]:
        """Entries that expired a while ago, and exits as old: what became of them was not told."""
        entries = [intent for intent in self.under_way.values() if intent.ts_expires]
        return tuple(
            intent
            for intent in (*entries, *self._exits.values())
            if now_ns > (intent.ts_expires or intent.ts_created) + _TOLD_NS
        )

    def forget(self, intent: OrderIntent) -> None:
        """The exchange never had it, and it is too late to take it."""
        self.under_way.pop(intent.client_order_id, None)
        self._exits.pop(intent.client_order_id, None)

    def state(self) -> bytes:
        """What a restart must not forget: cooldowns, when entries were made, and which."""
        state = TraderState(self.cooldown_until, tuple(self._entries), tuple(self._known))
        return msgspec.msgpack.encode(state)

    def restore(self, state: bytes) -> None:
        """Continue where `state` was taken. Raises CodecError for a state of a former version."""
        try:
            kept = msgspec.msgpack.decode(state, type=TraderState)
        except msgspec.MsgspecError as error:
            raise CodecError(f"no trader state: {error}", state) from error
        self.cooldown_until = dict(kept.cooldown_until)
        self._entries.extend(kept.entries)
        self._know(kept.known)

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
