"""What a trader is reminded of before it decides: a port, and the memory that lives in the journal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import msgspec

from engine.config.executor import MemoryConfig
from engine.core.decisions import Wakeup
from engine.core.memory import CoreBlock, CoreLabel, Episode, MemoryQuery, merged, words_of
from engine.executor.budget import find_block
from engine.journal.ports import Journal, KeptCycle


class Recalled(msgspec.Struct, frozen=True, kw_only=True):
    """What came to mind. `source` names the memory, `missing` says why something that should be here is not.

    `core` is an operator's words and part of the system prompt; the rest is data.
    """

    source: str = "off"
    missing: str = ""
    core: tuple[CoreBlock, ...] = ()
    episodes: tuple[Episode, ...] = ()
    notes: tuple[str, ...] = ()


class Memory(Protocol):
    """Reminds one kind of trader."""

    async def recall(self, query: MemoryQuery) -> Recalled:
        """Core memory and what fits the query. Raises StoreUnavailable; any other memory that is away is
        named in `missing`, and nobody waits for it longer than its timeout."""
        ...


class MemoryOff:
    """Implements Memory for traders that have none."""

    async def recall(self, query: MemoryQuery) -> Recalled:
        return Recalled()


class LocalMemory:
    """Implements Memory with the journal, where an episode is part of the transaction that closes a trade."""

    def __init__(self, journal: Journal, config: MemoryConfig) -> None:
        self._journal = journal
        self._defaults = default_blocks(config)

    async def recall(self, query: MemoryQuery) -> Recalled:
        own = await self._journal.core_blocks(query.trader_id)
        episodes = await self._journal.episodes(query)
        return Recalled(source="local", core=merged(self._defaults, own), episodes=episodes)


class NotesOfThen:
    """Implements Memory for a cycle that is gone through again: core memory of today, the notes of then."""

    def __init__(self, kept: KeptCycle, journal: Journal, config: MemoryConfig) -> None:
        self._kept = kept
        self._core = LocalMemory(journal, config)

    async def recall(self, query: MemoryQuery) -> Recalled:
        then = find_block(self._kept.record.user_prompt)
        source, _, missing = then.memory.partition("; ") if then else ("", "", "")
        today = await self._core.recall(msgspec.structs.replace(query, limit=0))
        notes = then.notes if then else ()
        return Recalled(source=source, missing=missing, core=today.core, notes=notes)


def default_blocks(config: MemoryConfig) -> tuple[CoreBlock, ...]:
    """Core memory of every trader that has no words of its own."""
    return tuple(CoreBlock(label=label, text=getattr(config, label.value)) for label in CoreLabel)


def query_of(wakeup: Wakeup, limit: int) -> MemoryQuery:
    """What to remember at a wakeup: the markets that woke the trader or that it holds, and why they did."""
    signals = [reason.signal for reason in wakeup.reasons if reason.signal is not None]
    held = wakeup.account.positions
    symbols = {signal.symbol for signal in signals} | {view.symbol for view in held}
    words = words_of(
        *(f"{each.detector} {each.feature} {each.edge}" for each in signals), *(view.side for view in held)
    )
    return MemoryQuery(
        trader_id=wakeup.trader_id,
        symbols=tuple(sorted(symbols or {view.symbol for view in wakeup.market})),
        words=tuple(sorted(words)),
        until_ns=wakeup.ts,
        limit=limit,
    )


def core_text(blocks: Sequence[CoreBlock]) -> str:
    """Core memory as a section of the system prompt; "" without any."""
    return "\n\n".join(
        f"### {block.label.replace('_', ' ').capitalize()}\n{block.text.strip()}" for block in blocks
    )
