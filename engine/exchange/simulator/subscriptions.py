"""Which channels there are, on which path, and how a subscription is known again."""

from __future__ import annotations

from typing import Any, Final, Protocol

import msgspec

from engine.exchange.simulator.candles import PERIODS

Arg = dict[str, Any]
ENCODER: Final = msgspec.json.Encoder()
CANDLES: Final = {f"candle{name}": period for name, period in PERIODS.items()}
PRIVATE: Final = frozenset(
    ["orders", "positions", "account", "balance_and_position", "orders-algo", "algo-advance"]
)
OF_SYMBOL: Final = frozenset(
    [
        *("tickers", "trades", "trades-all", "books", "books5", "bbo-tbt", "mark-price", "index-tickers"),
        *("funding-rate", "open-interest", "price-limit"),
        *CANDLES,
    ]
)
OF_VIP: Final = frozenset(["books-l2-tbt", "books50-l2-tbt", "fills"])  # refused with 64003
COUNTED: Final = frozenset(["orders", "account", "positions", "balance_and_position"])
_ON_BUSINESS: Final = frozenset(["trades-all", "orders-algo", "algo-advance", *CANDLES])
CHANNELS: Final = {
    "public": (OF_SYMBOL - _ON_BUSINESS) | {"instruments", "status", "liquidation-orders", "adl-warning"},
    "private": PRIVATE - _ON_BUSINESS,
    "business": _ON_BUSINESS,
}


class Subscriber(Protocol):
    """One socket. `account` is "" until it has logged in; `subscriptions` by `key`."""

    account: str
    subscriptions: dict[str, Arg]

    def send(self, text: str) -> None: ...


def cleaned(arg: dict[str, Any]) -> Arg:
    """As the venue echoes it: null means absent."""
    return {str(name): value for name, value in arg.items() if value is not None}


def key(arg: Arg) -> str:
    """Equal for equal subscriptions; of a symbol's channel it is the channel and the symbol."""
    if str(arg.get("channel")) in OF_SYMBOL:
        return f"{arg['channel']}:{arg.get('instId', '')}"
    return ENCODER.encode(sorted((name, str(value)) for name, value in arg.items())).decode()


def frame(arg: Arg, rows: list[Any], **more: Any) -> str:
    """A push."""
    return ENCODER.encode({"arg": arg, **more, "data": rows}).decode()
