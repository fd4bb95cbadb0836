"""What the demo shows, read from the API like any other client would."""

from __future__ import annotations

from typing import Any

import aiohttp
import msgspec

_TIMEOUT_S = 2.0


class Health(msgspec.Struct, frozen=True, kw_only=True):
    """The parts of `/api/health` that the demo judges by."""

    status: str
    counts: dict[str, int] = {}
    connections: dict[str, str] = {}
    books: dict[str, Any] = {}

    @property
    def balanced(self) -> bool:
        return self.books.get("balanced") is True


class View(msgspec.Struct, frozen=True, kw_only=True):
    """One look at everything; what could not be had is empty."""

    health: Health | None = None
    prices: dict[str, dict[str, Any]] = {}
    leaderboard: list[dict[str, Any]] = []
    positions: list[dict[str, Any]] = []
    trades: list[dict[str, Any]] = []
    signals: list[dict[str, Any]] = []
    decisions: list[dict[str, Any]] = []


class Watcher:
    """Asks the API; a service that is not there gives an empty view, never an error."""

    def __init__(self, session: aiohttp.ClientSession, base_url: str) -> None:
        self._session = session
        self._base_url = base_url

    async def look(self) -> View:
        """Health, prices, leaderboard, positions and the newest events."""
        health = await self._get("/api/health")
        if not health:
            return View()
        return View(
            health=msgspec.convert(health, Health),
            prices=(await self._get("/api/crypto-prices")).get("prices", {}),
            leaderboard=(await self._get("/api/leaderboard")).get("leaderboard", []),
            positions=(await self._get("/api/positions")).get("accountTotals", []),
            trades=(await self._get("/api/trades?limit=8")).get("trades", []),
            signals=(await self._get("/api/signals?limit=8")).get("signals", []),
            decisions=(await self._get("/api/decisions?limit=8")).get("decisions", []),
        )

    async def _get(self, path: str) -> dict[str, Any]:
        timeout = aiohttp.ClientTimeout(total=_TIMEOUT_S)
        try:
            async with self._session.get(self._base_url + path, timeout=timeout) as response:
                answer = msgspec.json.decode(await response.read())
        except (aiohttp.ClientError, TimeoutError, msgspec.DecodeError):
            return {}
        return answer if isinstance(answer, dict) else {}
