"""Rows that wait on disk while the database is away: one file a batch, written whole or not at all.

Rule for full: a batch that does not fit below the bound, or on the disk, is dropped and counted; what waits
already is kept, because it is the beginning of what happened. Nobody waits for room, and trading goes on:
only what can be missed is ever given to a spool.
"""

from __future__ import annotations

import asyncio
import os
from contextlib import suppress
from pathlib import Path
from typing import Final

import structlog

log = structlog.get_logger()

_SUFFIX: Final = ".batch"
_UNFINISHED: Final = ".tmp"
_UNREADABLE: Final = ".unreadable"


class Spool:
    """Batches in the order in which they came. Made anew on the same folder, it has what was left there.

    The folder belongs to one process: the one that holds the account's lock.
    """

    def __init__(self, folder: Path, max_bytes: int) -> None:
        self._folder, self._max_bytes = folder, max_bytes
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        for unfinished in folder.glob(f"*{_UNFINISHED}"):
            unfinished.unlink()
        found = sorted(folder.glob(f"*{_SUFFIX}"))
        self._sizes = {path: path.stat().st_size for path in found}  # oldest first
        self._next = int(found[-1].stem) + 1 if found else 1
        self.bytes = sum(self._sizes.values())
        self._full = False

    def __len__(self) -> int:
        return len(self._sizes)

    async def append(self, batch: bytes) -> bool:
        """Keep a batch through crash and power cut. False: it was dropped, the spool or the disk is full."""
        path = self._folder / f"{self._next:016}{_SUFFIX}"
        if self.bytes + len(batch) > self._max_bytes:
            return self._note_full(f"{self._max_bytes} bytes are the bound")
        try:
            await asyncio.to_thread(self._write, path, batch)
        except OSError as error:
            with suppress(OSError):
                path.with_suffix(_UNFINISHED).unlink()
            return self._note_full(str(error))
        self._next += 1
        self._sizes[path] = len(batch)
        self.bytes += len(batch)
        self._full = False
        return True

    async def oldest(self) -> bytes | None:
        """The batch whose turn it is, until `done`; None when its file cannot be read any more.

        There must be one: see `len`.
        """
        try:
            return await asyncio.to_thread(next(iter(self._sizes)).read_bytes)
        except OSError:
            return None

    def done(self) -> None:
        """The oldest batch is where it belongs."""
        self._forget().unlink(missing_ok=True)

    def set_aside(self, why: str) -> None:
        """The oldest batch cannot be used: keep its file for a person, and go on with the next."""
        path = self._forget()
        with suppress(OSError):
            path.rename(path.with_suffix(_UNREADABLE))
        log.error("spooled batch set aside", file=str(path.with_suffix(_UNREADABLE)), error=why)

    def _forget(self) -> Path:
        path = next(iter(self._sizes))
        self.bytes -= self._sizes.pop(path)
        return path

    def _write(self, path: Path, batch: bytes) -> None:
        unfinished = path.with_suffix(_UNFINISHED)
        with unfinished.open("wb") as file:
            file.write(batch)
            file.flush()
            os.fsync(file.fileno())
        unfinished.rename(path)
        folder = os.open(self._folder, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    def _note_full(self, why: str) -> bool:
        if not self._full:
            log.error("spool full; rows are dropped", folder=str(self._folder), error=why)
        self._full = True
        return False
