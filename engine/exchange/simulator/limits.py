"""How many requests the venue answers (docs-v5, «Rate limits» and the page of each endpoint).

Windows slide over two seconds of real time. Orders are counted by account and symbol, REST and sockets
together; a batch counts its orders, one of a single order counts as that order. Others are counted by
account, public ones by address. New and amended orders have a common limit besides.
"""

from __future__ import annotations

from collections import deque
from typing import Final

from engine.exchange.matching.types import VenueRefusal

_WINDOW_S: Final = 2.0
_MOST: Final = {
    "trade/order": 60,
    "trade/batch-orders": 300,
    "trade/cancel-order": 60,
    "trade/cancel-batch-orders": 300,
    "trade/amend-order": 60,
    "trade/amend-batch-orders": 300,
    "trade/order-algo": 20,
    "trade/cancel-algos": 20,
    "trade/amend-algos": 20,
    "query trade/order": 60,
    "query trade/order-algo": 20,
    "trade/close-position": 20,
    "trade/cancel-all-after": 2,
    "trade/orders-pending": 60,
    "trade/orders-history": 40,
    "trade/orders-history-archive": 20,
    "trade/fills": 60,
    "trade/fills-history": 10,
    "trade/orders-algo-pending": 20,
    "trade/orders-algo-history": 20,
    "account/balance": 10,
    "account/positions": 10,
    "account/positions-history": 10,
    "account/account-position-risk": 10,
    "account/config": 5,
    "account/bills": 10,
    "account/bills-archive": 5,
    "account/trade-fee": 5,
    "account/leverage-info": 20,
    "account/set-leverage": 20,
    "account/set-position-mode": 5,
    "account/max-size": 20,
    "account/max-avail-size": 20,
    "account/instruments": 20,
    "account/max-withdrawal": 20,
    "account/risk-state": 10,
    "account/adjust-leverage-info": 5,
    "account/position/margin-balance": 20,
    "account/set-account-level": 5,
    "trade/mass-cancel": 5,
    "trade/order-precheck": 5,
    "public/instruments": 20,
    "public/time": 10,
    "public/mark-price": 10,
    "public/funding-rate": 10,
    "public/funding-rate-history": 10,
    "public/open-interest": 20,
    "public/price-limit": 20,
    "public/position-tiers": 10,
    "market/candles": 40,
    "market/history-candles": 20,
    "market/books": 40,
    "market/tickers": 20,
    "market/ticker": 20,
    "market/trades": 100,
    "market/history-trades": 20,
    "market/index-tickers": 20,
    "market/index-candles": 20,
    "market/history-index-candles": 10,
    "market/mark-price-candles": 20,
    "market/history-mark-price-candles": 20,
    "market/books-full": 10,
    "public/estimated-price": 10,
    "public/convert-contract-coin": 10,
}
_SINGLE: Final = {
    "trade/batch-orders": "trade/order",
    "trade/cancel-batch-orders": "trade/cancel-order",
    "trade/amend-batch-orders": "trade/amend-order",
}
_NEW_OR_AMENDED: Final = frozenset(
    ["trade/order", "trade/batch-orders", "trade/amend-order", "trade/amend-batch-orders"]
)
_MOST_ORDERS: Final = 1_000


class Limiter:
    """Counts requests. `on` False answers any number."""

    def __init__(self, *, on: bool) -> None:
        self.on = on
        self._seen: dict[tuple[str, ...], deque[float]] = {}

    def count(self, now_s: float, path: str, who: str, scope: str = "", weight: int = 1) -> None:
        """Take a request for `weight` orders into account. Raises VenueRefusal 50011 or 50061, uncounted.

        `scope` is the symbol, or what else the venue counts apart.
        """
        if not self.on:
            return
        if weight == 1:
            path = _SINGLE.get(path, path)
        most = _MOST.get(path)
        windows: list[tuple[deque[float], int, str, str]] = []
        if most is not None:
            windows.append((self._window(now_s, path, who, scope), most, "50011", "Too Many Requests"))
        if path in _NEW_OR_AMENDED:
            text = "Cancellation or order rate limit of the sub-account was reached"
            windows.append((self._window(now_s, "orders", who), _MOST_ORDERS, "50061", text))
        for seen, limit, code, message in windows:
            if len(seen) + weight > limit:
                raise VenueRefusal(code, message)
        for seen, *_ in windows:
            seen.extend([now_s] * weight)

    def _window(self, now_s: float, *key: str) -> deque[float]:
        seen = self._seen.setdefault(key, deque())
        while seen and now_s - seen[0] >= _WINDOW_S:
            seen.popleft()
        return seen
