"""What was written, as one digest; and what was written before."""

from __future__ import annotations

import hashlib
from typing import Final

import msgspec

_HASHED_AT: Final = 65_536  # bytes of notes: hashing many at once costs less than each by itself
_ENCODER: Final = msgspec.msgpack.Encoder(order="deterministic")


class Notes:
    """Facts in the order in which they were written."""

    def __init__(self) -> None:
        self._hash = hashlib.sha256()
        self._waiting = bytearray()  # not hashed yet
        self._ids: set[tuple[str, ...]] = set()

    def add(self, kind: str, *values: object) -> None:
        """Enter a fact as it is now: its values may change later."""
        _ENCODER.encode_into((kind, *values), self._waiting, -1)
        if len(self._waiting) > _HASHED_AT:
            self._hash_waiting()

    def once(self, kind: str, *key: str) -> bool:
        """True the first time; False for an id that was written before."""
        if (kind, *key) in self._ids:
            return False
        self._ids.add((kind, *key))
        return True

    def digest(self) -> str:
        """SHA-256 over all facts, in order."""
        self._hash_waiting()
        return self._hash.hexdigest()

    def _hash_waiting(self) -> None:
        self._hash.update(self._waiting)
        self._waiting.clear()
