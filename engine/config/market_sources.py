"""Second sources beside the venue's feed: a reference price, and headlines. Keys of `market.yaml`."""

from __future__ import annotations

import re
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from engine.config.loader import Duration
from engine.config.market_rules import Name


class ReferenceConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where a second opinion on the price comes from.

    `index`: the venue's index, made of other venues' prices. `http`: `url` with {base}, {quote} and {symbol}
    filled in, asked for each symbol; `field` is the path to the price in its JSON, as in `data.0.last`.
    """

    source: Literal["index", "http"] = "index"
    url: str = ""
    field: str = "price"
    every: Duration = Duration(5)  # real time
    timeout: Duration = Duration(5)  # real time

    def __post_init__(self) -> None:
        if self.source == "http" and not self.url.startswith(("http://", "https://")):
            raise ValueError("source http needs a url such as https://venue/ticker?symbol={base}{quote}")
        places = set(re.findall(r"{.*?}", self.url))
        if self.source == "http" and not {"{base}", "{symbol}"} & places:
            raise ValueError("url must hold {base} or {symbol}, or every market would have the same price")
        if unknown := places - {"{base}", "{quote}", "{symbol}"}:
            raise ValueError(
                f"url: only {{base}}, {{quote}} and {{symbol}} are filled in, not {min(unknown)}"
            )
        if not all(self.field.split(".")):
            raise ValueError("field is the path to the price in the answer, such as price or data.0.last")
        if min(self.every, self.timeout) <= 0:
            raise ValueError("every and timeout must be above 0")


class NewsSource(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One RSS or Atom feed. `symbols`: what all of it is about; none: told by the headlines."""

    name: Name
    url: Annotated[str, Meta(pattern=r"^https?://[^/\s]+")]
    symbols: tuple[str, ...] = ()


def _keywords() -> dict[str, tuple[str, ...]]:
    """Words that name a coin, besides its ticker."""
    return {
        "BTC": ("bitcoin",),
        "ETH": ("ethereum", "ether"),
        "SOL": ("solana",),
        "DOGE": ("dogecoin",),
        "XRP": ("ripple",),
        "ADA": ("cardano",),
        "AVAX": ("avalanche",),
        "DOT": ("polkadot",),
        "POL": ("polygon", "matic"),
        "LTC": ("litecoin",),
    }


class NewsConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Headlines for the traders; off while there is no source."""

    sources: tuple[NewsSource, ...] = ()
    every: Duration = Duration(300)  # real time
    timeout: Duration = Duration(10)  # real time
    max_age: Duration = Duration(86_400)  # engine time; older headlines are forgotten
    max_items: Annotated[int, Meta(ge=1, le=5000)] = 500  # of all sources; the oldest go
    per_wakeup: Annotated[int, Meta(ge=1, le=50)] = 10
    keywords: dict[str, tuple[str, ...]] = msgspec.field(default_factory=_keywords)

    def __post_init__(self) -> None:
        names = [source.name for source in self.sources]
        if len(set(names)) != len(names):
            raise ValueError("sources: a name stands twice")
        if not all(word.strip() for words in self.keywords.values() for word in words):
            raise ValueError("keywords: an empty one would be in every headline")
        if min(self.every, self.timeout, self.max_age) <= 0:
            raise ValueError("every, timeout and max_age must be above 0")
