"""What a trader remembers: rules it holds to, and closed trades with their reasons and how they ended."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from decimal import Decimal
from enum import StrEnum
from typing import Final

import msgspec

from engine.core.orders import PositionSide, Purpose

EPISODES_KEPT: Final = 2000  # of each trader; older ones are forgotten
_WORD: Final = re.compile(r"[a-z]{3,}")
_SYMBOL_WEIGHT: Final = 3  # words that the same market is worth


class CoreLabel(StrEnum):
    """The blocks of core memory."""

    PRINCIPLES = "principles"
    RED_LINES = "red_lines"
    OUTPUT_RULES = "output_rules"


class CoreBlock(msgspec.Struct, frozen=True, kw_only=True):
    """One block of core memory: an operator's words, part of the system prompt."""

    label: CoreLabel
    text: str


class Episode(msgspec.Struct, frozen=True, kw_only=True):
    """A closed trade as it is remembered: `thesis` is why it was entered, `close_reason` why it ended."""

    trade_id: str
    trader_id: str
    symbol: str
    side: PositionSide
    ts_entry: int
    ts_exit: int
    entry_price: Decimal
    exit_price: Decimal
    leverage: Decimal
    net: Decimal  # after fees and funding
    exit: Purpose
    thesis: str = ""
    invalidation: str = ""
    close_reason: str = ""

    def words(self) -> frozenset[str]:
        """The words of its texts, as they are compared."""
        return words_of(self.thesis, self.invalidation, self.close_reason, self.side)


class MemoryQuery(msgspec.Struct, frozen=True, kw_only=True):
    """What a trader tries to remember: trades that ended until `until_ns`, alike in market and words."""

    trader_id: str
    symbols: tuple[str, ...]
    words: tuple[str, ...]  # lower case, letters only
    until_ns: int
    limit: int


def words_of(*texts: str) -> frozenset[str]:
    """The words of three letters and more in `texts`, in lower case."""
    return frozenset(word for text in texts for word in _WORD.findall(text.lower()))


def choose(candidates: Iterable[Episode], query: MemoryQuery) -> tuple[Episode, ...]:
    """Half of the limit the most relevant, the rest the most recent; newest first, none twice.

    Relevance is the number of words in common, and the same market counts like three.
    """
    newest_first = sorted(candidates, key=lambda each: (-each.ts_exit, each.trade_id))
    wanted, symbols = frozenset(query.words), frozenset(query.symbols)

    def relevance(episode: Episode) -> int:
        return len(wanted & episode.words()) + _SYMBOL_WEIGHT * (episode.symbol in symbols)

    alike = [each for each in newest_first if relevance(each) > 0]
    alike.sort(key=relevance, reverse=True)  # stable: of equals the newest
    chosen = {each.trade_id for each in alike[: (query.limit + 1) // 2]}
    for episode in newest_first:
        if len(chosen) >= query.limit:
            break
        chosen.add(episode.trade_id)
    return tuple(each for each in newest_first if each.trade_id in chosen)[: query.limit]


def merged(defaults: Sequence[CoreBlock], own: Sequence[CoreBlock]) -> tuple[CoreBlock, ...]:
    """A trader's own blocks in place of the general ones; an empty text leaves a block out."""
    blocks = {block.label: block for block in (*defaults, *own)}
    return tuple(blocks[label] for label in CoreLabel if label in blocks and blocks[label].text.strip())
