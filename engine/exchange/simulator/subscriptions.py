"""Which channels there are, on which path, and how a subscription is known again."""

from __future__ import annotations

from typing import Any, Final, Protocol

import msgspec

from engine.exchange.simulator.candles import PERIODS

Arg = dict[str, Any]
ENCODER: Final = msgspec.json.Encoder()
CANDLES: Final = {  # of trades, of the mark and of the index
    f"{of}candle{name}": period for of in ("", "mark-price-", "index-") for name, period in PERIODS.items()
}
SECONDS: Final = "candle1s"  # of trades only
BOOKS: Final = ("books", "books-l2-tbt", "books50-l2-tbt")  # one chain, however they are called
PRIVATE: Final = frozenset(
    [
        *("orders", "positions", "account", "balance_and_position", "orders-algo", "algo-advance", "fills"),
        *("liquidation-warning", "account-greeks"),
    ]
)
OF_SYMBOL: Final = frozenset(
    [
        *("tickers", "trades", "trades-all", *BOOKS, "books5", "bbo-tbt", "mark-price", "index-tickers"),
        *("funding-rate", "open-interest", "price-limit"),
        *CANDLES,
        SECONDS,
    ]
)
OF_VIP: Final = frozenset(["books-l2-tbt", "books50-l2-tbt", "fills"])  # for others refused with 64003
COUNTED: Final = frozenset(["orders", "account", "positions", "balance_and_position"])
_ON_BUSINESS: Final = frozenset(["trades-all", "orders-algo", "algo-advance", SECONDS, *CANDLES])
CHANNELS: Final = {
    "public": (OF_SYMBOL - _ON_BUSINESS)
    | {"instruments", "status", "liquidation-orders", "adl-warning", "estimated-price", "opt-summary"},
    "private": PRIVATE - _ON_BUSINESS,
    "business": _ON_BUSINESS,
}


class Subscriber(Protocol):
    """One socket. `account` is "" until it has logged in; `subscriptions` by `key`."""

    account: str
    subscriptions: dict[str, Arg]

    def send(self, text: str) -> None: ...


def swap_of(arg: Arg) -> str:
    """Symbol of the market that a subscription is about; an index is named without -SWAP."""
    name = str(arg.get("instId", ""))
    return f"{name}-SWAP" if str(arg.get("channel")).startswith("index-") else name


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
