"""What the engine tells the faces: its status, prices and accounts in Redis, and the metrics page."""

from __future__ import annotations

from typing import Final

import msgspec

from engine.core.instruments import coin
from engine.telemetry.meters import Meters, Reported
from engine.telemetry.metrics import Metrics
from engine.telemetry.status import STATUS_TTL_S, BooksStatus, EngineStatus, status_key

_EVERY_S: Final = 1.0
_VALUES_TTL_S: Final = 600.0


class Reporter:
    """Writes once a second, real time; an outage of Redis drops what could not be written."""

    def __init__(self, of: Reported, metrics: Metrics) -> None:
        self._of, self._parts = of, of.parts
        self._meters = Meters(of, metrics)
        self._ts_started = of.clock.now_ns()

    async def run(self) -> None:
        """Report for ever."""
        while True:
            await self.report()
            await self._of.clock.sleep_real(_EVERY_S)

    async def report(self) -> None:
        """One round."""
        self._meters.update()
        cache = self._of.cache
        told_at = status_key(self._of.settings.engine.env)
        await cache.set_json(told_at, msgspec.json.encode(self.status()), STATUS_TTL_S)
        assets = tuple(self._parts.view.instruments.values())
        await cache.set_json("market:assets", msgspec.json.encode(assets), _VALUES_TTL_S)
        if prices := self._prices():
            await cache.set_hash("market:prices", prices)
        for symbol, snapshot in self._parts.view.snapshots.items():
            await cache.set_json(f"market:snapshot:{symbol}", msgspec.json.encode(snapshot), _VALUES_TTL_S)
        for trader_id in self._parts.scheduler.traders:
            rhythm = msgspec.json.encode(self._parts.scheduler.rhythm(trader_id))
            await cache.set_json(f"cycle:{trader_id}", rhythm, _VALUES_TTL_S)
        for view in self._parts.accounts.views():
            key = f"trader:{view.trader_id}"
            await cache.set_json(f"{key}:equity", msgspec.json.encode(view.equity), _VALUES_TTL_S)
            await cache.set_json(f"{key}:margin_used", msgspec.json.encode(view.margin_used), _VALUES_TTL_S)
            await cache.set_json(f"{key}:positions", msgspec.json.encode(view.positions), _VALUES_TTL_S)
        account, exchange = f"exchange:{self._of.settings.provider_id}", self._parts.exchange
        if exchange.balance:
            await cache.set_json(f"{account}:account", msgspec.json.encode(exchange.balance), _VALUES_TTL_S)
        if (held := exchange.auditor.positions) is not None:
            await cache.set_json(f"{account}:positions", msgspec.json.encode(held), _VALUES_TTL_S)

    def _prices(self) -> dict[str, bytes]:
        """Coin → JSON of nof1's price object; times in ms."""
        return {
            coin(symbol): msgspec.json.encode(
                {"symbol": coin(symbol), "price": price, "timestamp": snapshot.ts_price // 1_000_000}
            )
            for symbol, snapshot in self._parts.view.snapshots.items()
            if (price := snapshot.price()) is not None
        }

    def status(self) -> EngineStatus:
        """Everything that an operator asks first."""
        of, parts = self._of, self._parts
        return EngineStatus(
            account_id=of.settings.provider_id,
            provider=of.settings.provider.type,
            trading_enabled=of.settings.provider.may_trade,
            speed=of.settings.engine.clock.speed,
            ts=of.clock.now_ns(),
            ts_started=self._ts_started,
            connections=self._connections(),
            counts={
                "frames": of.feed.frames,
                "bad_frames": of.feed.bad_frames.total(),
                "wakeups": parts.manager.wakeups.total(),
                "cycles": sum(parts.executor.cycles.values()),
                "open_orders": len(parts.exchange.desk.open),
                "fills_booked": parts.exchange.desk.booking.fills,
                "unprotected": parts.exchange.guard.unprotected,
            },
            refusals=dict(parts.manager.refusals),
            entries_refused=parts.exchange.refusal("*"),
            books=self._books(),
        )

    def _connections(self) -> dict[str, str]:
        parts, feed = self._parts, self._of.feed
        sockets = {name: "live" if up else "down" for name, up in feed.connected.items()}
        sockets["private"] = "live" if parts.exchange.stream_up else "down"
        sockets["market"] = "ready" if parts.market.warm.is_set() else "warming up"
        return sockets

    def _books(self) -> BooksStatus | None:
        check = self._parts.exchange.auditor.newest
        if check is None:
            return None
        return BooksStatus(
            balanced=check.balanced,
            difference=float(check.difference),
            venue_equity=float(check.venue_equity),
            traders_equity=float(check.traders_equity),
            reserve=float(check.reserve),
            detail=check.detail,
            ts=check.ts,
        )
