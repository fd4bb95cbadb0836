"""Tells people outside what needs them: one webhook with JSON, and any chat that `apprise` reaches.

Never on the trading path: what happens is put into a bounded queue and sent by a task of its own. A full
queue drops the newest; a kind is told once per `alert_min_interval` about a trader, and the next telling says
how many were left out. A chat that is away loses what was for it; the journal has everything.
"""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from importlib.util import find_spec
from typing import TYPE_CHECKING, Final

import aiohttp
import msgspec
import structlog

from engine.clock import Clock
from engine.config.loader import Secret
from engine.config.manager import MonitoringConfig
from engine.core.errors import ConfigError
from engine.journal.ports import RiskEvent

if TYPE_CHECKING:
    from apprise import Apprise

log = structlog.get_logger()

_QUEUE: Final = 200
_SEND_S: Final = 15.0
_HOUR_S: Final = 3600.0
_QUIET: Final = frozenset({"command_applied", "command_refused"})  # who gave the command has the answer
_REFUSED: Final = 300  # HTTP status from which a webhook did not take it


def _chats(addresses: tuple[Secret, ...]) -> Apprise:
    """Raises ConfigError without the extra, or for an address that names no chat."""
    if find_spec("apprise") is None:
        raise ConfigError("monitoring.alerts needs the extra `alerts`: pip install 'edgewise[alerts]'")
    import apprise

    chats = apprise.Apprise()
    for number, address in enumerate(addresses):
        if not chats.add(address.reveal()):
            raise ConfigError(f"monitoring.alerts[{number}] names no chat that apprise knows")
    return chats


class Alert(msgspec.Struct, frozen=True, kw_only=True):
    """What the webhook gets, as JSON. `ts` is UTC nanoseconds of the engine, `left_out` counts the unsaid."""

    account: str
    kind: str
    trader: str
    symbol: str
    detail: str
    ts: int
    left_out: int = 0

    def text(self) -> str:
        """One line for a chat."""
        about = " ".join(part for part in (self.trader, self.symbol) if part)
        more = f" (and {self.left_out} more of the kind)" if self.left_out else ""
        return f"{self.kind}{f' {about}' if about else ''}: {self.detail}{more}"


class Alerts:
    """The alerts of one account. `take` may be called from anywhere in the loop; `run` sends."""

    def __init__(self, config: MonitoringConfig, account_id: str, clock: Clock) -> None:
        self._config = config
        self._account_id = account_id
        self._clock = clock
        self._queue: asyncio.Queue[Alert] = asyncio.Queue(_QUEUE)
        self._told_s: dict[tuple[str, str], float] = {}
        self._left_out: Counter[tuple[str, str]] = Counter()
        self._sent_s: deque[float] = deque(maxlen=config.alerts_per_hour)
        self._chats = _chats(config.alerts) if config.alerts else None
        self.dropped = 0
        self.failed = 0

    def take(self, event: RiskEvent) -> None:
        """Queue an event unless the same was told a moment ago; never waits, never raises."""
        if event.kind in _QUIET or not (self._config.alert_webhook.reveal() or self._config.alerts):
            return
        key, now_s = (event.kind, event.trader_id), self._clock.real_s()
        if self._too_soon(key, now_s):
            self._left_out[key] += 1
            return
        alert = Alert(
            account=self._account_id,
            kind=event.kind,
            trader=event.trader_id,
            symbol=event.symbol,
            detail=event.detail,
            ts=event.ts,
            left_out=self._left_out.pop(key, 0),
        )
        try:
            self._queue.put_nowait(alert)
        except asyncio.QueueFull:
            self.dropped += 1
            return
        self._told_s[key] = now_s
        self._sent_s.append(now_s)

    def _too_soon(self, key: tuple[str, str], now_s: float) -> bool:
        told = self._told_s.get(key)
        if told is not None and now_s - told < self._config.alert_min_interval:
            return True
        return len(self._sent_s) == self._sent_s.maxlen and now_s - self._sent_s[0] < _HOUR_S

    async def run(self) -> None:
        """Send for ever, one after the other."""
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=_SEND_S)) as http:
            while True:
                alert = await self._queue.get()
                if webhook := self._config.alert_webhook.reveal():
                    await self._post(http, webhook, alert)
                if self._chats is not None:
                    await self._tell(self._chats, alert)

    async def _post(self, http: aiohttp.ClientSession, url: str, alert: Alert) -> None:
        headers = {"Content-Type": "application/json"}
        try:
            async with http.post(url, data=msgspec.json.encode(alert), headers=headers) as response:
                if response.status >= _REFUSED:
                    self._failure("webhook", f"status {response.status}")
        except (aiohttp.ClientError, TimeoutError, ValueError) as error:
            self._failure("webhook", type(error).__name__)

    async def _tell(self, chats: Apprise, alert: Alert) -> None:
        try:
            async with asyncio.timeout(_SEND_S):
                if await chats.async_notify(body=alert.text(), title=f"edgewise {self._account_id}"):
                    return
        except TimeoutError:
            pass
        self._failure("chat", "not taken by every one")

    def _failure(self, where: str, reason: str) -> None:
        """Addresses hold keys: they are not logged."""
        self.failed += 1
        log.warning("alert not delivered", where=where, reason=reason)
