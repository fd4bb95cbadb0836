"""Rate limits as OKX counts them: per endpoint, and per instrument where the venue says so.

https://www.okx.com/docs-v5/en/#overview-rate-limits. Each entry is requests per window in real seconds; of
batches it is orders, and a batch of one counts as a single order. An operation on the socket takes from the
bucket of its REST twin. A leaky bucket of half the count per window allows bursts and can never exceed the
count in any window. A cancel has buckets of its own, so nothing else can hold it back.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Final

import msgspec
from aiolimiter import AsyncLimiter

from engine.core.errors import Unavailable


class Limit(msgspec.Struct, frozen=True):
    """`count` requests (orders, of a batch) per `window_s`; for each instrument when `per_instrument`."""

    count: float
    window_s: float = 2.0
    per_instrument: bool = False


LIMITS: Final[dict[str, Limit]] = {
    "POST trade/order": Limit(60, per_instrument=True),
    "POST trade/batch-orders": Limit(300, per_instrument=True),
    "POST trade/cancel-order": Limit(60, per_instrument=True),
    "POST trade/cancel-batch-orders": Limit(300, per_instrument=True),
    "POST trade/amend-order": Limit(60, per_instrument=True),
    "POST trade/amend-batch-orders": Limit(300, per_instrument=True),
    "POST trade/cancel-all-after": Limit(1, 1.0),
    "POST trade/order-algo": Limit(20, per_instrument=True),
    "POST trade/cancel-algos": Limit(20, per_instrument=True),
    "POST trade/amend-algos": Limit(20, per_instrument=True),
    "GET trade/order": Limit(60, per_instrument=True),
    "GET trade/orders-pending": Limit(60),
    "GET trade/orders-history": Limit(40),
    "GET trade/orders-history-archive": Limit(20),
    "GET trade/fills": Limit(60),
    "GET trade/fills-history": Limit(10),
    "GET trade/order-algo": Limit(20),
    "GET trade/orders-algo-pending": Limit(20),
    "GET trade/orders-algo-history": Limit(20),
    "GET account/balance": Limit(10),
    "GET account/positions": Limit(10),
    "GET account/config": Limit(5),
    "GET account/leverage-info": Limit(20),
    "GET account/trade-fee": Limit(5),
    "GET account/bills": Limit(5, 1.0),
    "GET account/bills-archive": Limit(5),
    "POST account/set-leverage": Limit(20),
    "GET public/instruments": Limit(20),
    "GET public/time": Limit(10),
    "GET public/funding-rate-history": Limit(10, per_instrument=True),
    "GET market/books": Limit(40),
    "GET market/candles": Limit(40),
    "GET market/history-candles": Limit(20),
}
_UNKNOWN: Final = Limit(5)
_NEW_AND_AMEND: Final = frozenset(
    {
        "POST trade/order",
        "POST trade/batch-orders",
        "POST trade/amend-order",
        "POST trade/amend-batch-orders",
    }
)
_SUB_ACCOUNT: Final = Limit(1000)  # 50061: new and amended orders of the whole sub-account


class RateLimits:
    """Waits until a request may be sent. One object per account and address."""

    def __init__(self, *, enabled: bool = True, longest_wait_s: float = 10.0) -> None:
        self._enabled = enabled
        self._longest_wait_s = longest_wait_s
        self._buckets: dict[tuple[str, str], AsyncLimiter] = {}
        self._sub_account = _bucket(_SUB_ACCOUNT)

    async def acquire(self, endpoint: str, *symbols: str) -> None:
        """Take one request of `endpoint`, written `GET trade/order`; of a batch, one for each order's symbol.

        Raises Unavailable when the queue is longer than `longest_wait_s`: nothing was sent then.
        """
        if not self._enabled:
            return
        limit = LIMITS.get(endpoint, _UNKNOWN)
        counts = Counter(symbols) if limit.per_instrument and symbols else Counter({"": max(1, len(symbols))})
        try:
            async with asyncio.timeout(self._longest_wait_s):
                for symbol, count in counts.items():
                    await self._bucket(endpoint, symbol, limit).acquire(count)
                if endpoint in _NEW_AND_AMEND:
                    await self._sub_account.acquire(counts.total())
        except TimeoutError as error:
            raise Unavailable(f"{endpoint} waited too long for its rate limit") from error

    def _bucket(self, endpoint: str, symbol: str, limit: Limit) -> AsyncLimiter:
        bucket = self._buckets.get((endpoint, symbol))
        if bucket is None:
            bucket = self._buckets[endpoint, symbol] = _bucket(limit)
        return bucket


def _bucket(limit: Limit) -> AsyncLimiter:
    if limit.count < 2:  # noqa: PLR2004 - a burst of one and one refill: at most one a window
        return AsyncLimiter(1, 2 * limit.window_s)
    return AsyncLimiter(limit.count / 2, limit.window_s)
