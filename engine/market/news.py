"""Headlines: each once, dated, with the symbols it is about, and never more than fit. Sans I/O.

A headline is text by strangers that ends in a prompt, so it is cut, freed of markup and of control
characters, and nothing but its words is kept.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from html import unescape
from typing import Final
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from engine.config.market_sources import NewsConfig, NewsSource
from engine.core.instruments import coin, venue_symbol
from engine.core.market import NewsItem
from engine.core.times import NS_PER_S
from engine.market.feed_entries import MOST_ENTRIES, Found

_LONGEST_TITLE: Final = 200
_LONGEST_URL: Final = 500
_KEYS_PER_ITEM: Final = 4  # an item has at most 3, so a forgotten headline is still known for a while
_MARKUP: Final = re.compile(r"<[^<>]*>")
_NO_TEXT: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]+")
_NO_WORD: Final = re.compile(r"\W+")


class NewsBoard:
    """The newest headlines of all sources.

    Rule for full: of more than `max_items` the oldest go. Without sources it stays empty.
    """

    def __init__(self, config: NewsConfig | None = None, symbols: Iterable[str] = ()) -> None:
        self._config = config or NewsConfig()
        self._symbols = tuple(symbols)
        self._words = {symbol: self._names(coin(symbol)) for symbol in self._symbols}
        self._items: list[NewsItem] = []  # oldest first
        self._seen: dict[str, None] = {}
        told = MOST_ENTRIES * len(self._config.sources)  # at once, again at every visit
        self._most_seen = _KEYS_PER_ITEM * (self._config.max_items + told)
        self._max_age_ns = int(self._config.max_age * NS_PER_S)

    def __len__(self) -> int:
        return len(self._items)

    def add(self, source: NewsSource, found: Iterable[Found], now_ns: int) -> int:
        """Take in what a source has; returns how many headlines were new."""
        new: list[NewsItem] = []
        for entry in found:
            title = plain(entry.title)
            ts = now_ns if entry.ts_published is None else min(entry.ts_published, now_ns)
            if not title or now_ns - ts > self._max_age_ns or self._known(source, entry, title):
                continue
            new.append(
                NewsItem(
                    source=source.name,
                    title=title,
                    url=_address(entry.url)[:_LONGEST_URL],
                    ts_published=ts,
                    symbols=self._about(source, title),
                    sentiment=_bounded(entry.sentiment),
                )
            )
        if new:
            self._items = sorted((*self._items, *new), key=lambda item: item.ts_published)
            del self._items[: -self._config.max_items]
        return len(new)

    def newest(self, symbols: Sequence[str], now_ns: int) -> tuple[NewsItem, ...]:
        """Headlines about these symbols or the whole market, newest first, at most `per_wakeup`."""
        wanted = set(symbols)
        chosen: list[NewsItem] = []
        for item in reversed(self._items):
            if len(chosen) == self._config.per_wakeup or now_ns - item.ts_published > self._max_age_ns:
                break
            if not item.symbols or not wanted.isdisjoint(item.symbols):
                chosen.append(item)
        return tuple(chosen)

    def _known(self, source: NewsSource, entry: Found, title: str) -> bool:
        """Whether its id, its address or its words were seen before; they are from now on.

        An id that is no URI, such as 4711, is one only among those of its source.
        """
        keys = [f"words {_NO_WORD.sub(' ', title).strip().lower()}"]
        if address := _address(entry.url):
            keys.append(f"url {address}")
        if entry.entry_id:
            scope = "" if ":" in entry.entry_id else source.name
            keys.append(f"id {scope} {entry.entry_id}")
        known = [self._seen.pop(key, key) is None for key in keys]
        self._seen.update(dict.fromkeys(keys))  # in again as the newest: what is still told is not forgotten
        while len(self._seen) > self._most_seen:
            del self._seen[next(iter(self._seen))]
        return any(known)

    def _about(self, source: NewsSource, title: str) -> tuple[str, ...]:
        if source.symbols:
            told = {venue_symbol(text) for text in source.symbols}
            return tuple(symbol for symbol in self._symbols if symbol in told)
        return tuple(symbol for symbol, words in self._words.items() if words.search(title))

    def _names(self, name: str) -> re.Pattern[str]:
        """The ticker in capitals, or a keyword however it is written, as a word of its own."""
        keywords = self._config.keywords.get(name, ())
        alternatives = [re.escape(name), *(f"(?i:{re.escape(word)})" for word in keywords)]
        return re.compile(rf"(?<!\w)(?:{'|'.join(alternatives)})(?!\w)")


def plain(text: str) -> str:
    """Words without markup, entities, control characters and line breaks, at most 200 characters."""
    bare = _NO_TEXT.sub(" ", unescape(_MARKUP.sub(" ", text)))
    return " ".join(bare.split())[:_LONGEST_TITLE]


def _address(url: str) -> str:
    """Without fragment and without what says by which way a reader came."""
    try:
        parts = urlsplit(url)
        query = urlencode([pair for pair in parse_qsl(parts.query) if not pair[0].startswith("utm_")])
    except ValueError:
        return ""
    return urlunsplit((parts.scheme, parts.netloc, parts.path, query, ""))


def _bounded(sentiment: float | None) -> float | None:
    return None if sentiment is None or not -1.0 <= sentiment <= 1.0 else sentiment
