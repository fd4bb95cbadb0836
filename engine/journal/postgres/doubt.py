"""Writes whose commit was not confirmed. Tried again, they are ours, not somebody's duplicates.

A connection can drop between the commit and its confirmation. The caller sees StoreUnavailable and tries
again; the row is there then. Without this memory the answer would be «booked before», and a fill that no
books have yet would be taken for a repeated one.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Final

from engine.core.errors import StoreUnavailable
from engine.journal.postgres.pool import Pool

if TYPE_CHECKING:
    import asyncpg

    Connection = asyncpg.Connection[asyncpg.Record]

_REMEMBERED: Final = 10_000  # full: the oldest is forgotten, and its repetition counts as a duplicate


class Doubts:
    """Keys of writes of this process that may have been committed."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._keys: dict[tuple[str, ...], None] = {}

    async def once(self, key: tuple[str, ...], write: Callable[[Connection], Awaitable[bool]]) -> bool:
        """`write` in a transaction; it says whether it was new. True too when an
        earlier, doubtful try was it.

        Only a try that found itself new and failed at its commit leaves a doubt: one that failed before
        wrote nothing, and a later «not new» is somebody's true duplicate.
        """
        new = False
        try:
            async with self._pool.transaction() as connection:
                new = await write(connection)
        except StoreUnavailable:
            if new:
                self._remember(key)
            raise
        doubtful = key in self._keys
        self._keys.pop(key, None)
        return new or doubtful

    async def stated_once(
        self, key: tuple[str, ...], write: Callable[[], Awaitable[bool]], ours: Callable[[], Awaitable[bool]]
    ) -> bool:
        """The same for a `write` of one statement, whose answer comes with its commit or not at all.

        After a try without an answer, one that is «not new» asks `ours` whose row it is that is there.
        """
        try:
            new = await write()
        except StoreUnavailable:
            self._remember(key)
            raise
        if not new and key in self._keys:
            new = await ours()
        self._keys.pop(key, None)
        return new

    def _remember(self, key: tuple[str, ...]) -> None:
        self._keys[key] = None
        if len(self._keys) > _REMEMBERED:
            del self._keys[next(iter(self._keys))]
