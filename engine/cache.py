"""Newest values for the faces, kept beside the truth: losing them loses nothing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol


class Cache(Protocol):
    """Key and value. No method raises when the store is away: writes are dropped and counted, reads miss."""

    async def set_hash(self, key: str, mapping: Mapping[str, bytes]) -> None:
        """Set fields of the hash `key`; other fields stay."""
        ...

    async def set_json(self, key: str, value: bytes, ttl_s: float = 0) -> None:
        """Replace the value of `key`; `ttl_s` above 0 lets it go after that many real seconds."""
        ...

    async def get(self, key: str) -> bytes | None:
        """The value, None when there is none or the store is away."""
        ...

    async def get_hash(self, key: str) -> dict[str, bytes]:
        """The fields, empty when there are none or the store is away."""
        ...


class MemoryCache:
    """A Cache in the process, for backtests and tests. Values do not expire."""

    def __init__(self) -> None:
        self._values: dict[str, bytes] = {}
        self._hashes: dict[str, dict[str, bytes]] = {}

    async def set_hash(self, key: str, mapping: Mapping[str, bytes]) -> None:
        self._hashes.setdefault(key, {}).update(mapping)

    async def set_json(self, key: str, value: bytes, ttl_s: float = 0) -> None:
        self._values[key] = value

    async def get(self, key: str) -> bytes | None:
        return self._values.get(key)

    async def get_hash(self, key: str) -> dict[str, bytes]:
        return dict(self._hashes.get(key, {}))
