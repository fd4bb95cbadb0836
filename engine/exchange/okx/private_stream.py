"""The account's own sockets: orders, positions and balance (private), stops and targets (business)."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from functools import partial
from typing import Final

import structlog

from engine.clock import Clock
from engine.config.exchange import OkxConfig
from engine.core.errors import CodecError, Defect
from engine.exchange.okx import account_wire, orders_wire
from engine.exchange.okx.dispatch import FrameReader
from engine.exchange.okx.frames import Arg
from engine.exchange.okx.links import BUSINESS, PRIVATE, Network, build
from engine.exchange.okx.operations import Operations
from engine.exchange.okx.origins import Origins
from engine.exchange.okx.rest import RestClient
from engine.exchange.okx.session import Refused
from engine.exchange.okx.sign import Credentials, login_frame
from engine.exchange.ports import StreamStatus, VenueEvent

log = structlog.get_logger()

_PRIVATE: Final = (
    Arg("orders", instType="SWAP"),
    Arg("positions", instType="SWAP"),
    Arg("account"),
)
_BUSINESS: Final = (Arg("orders-algo", instType="SWAP"), Arg("algo-advance", instType="SWAP"))
_CHANNELS: Final = {PRIVATE: [arg.channel for arg in _PRIVATE], BUSINESS: [arg.channel for arg in _BUSINESS]}
_LOSS_PAUSE_S: Final = 30.0
_NEEDED: Final = frozenset({"orders", "positions", "account", "orders-algo"})


class PrivateStream:
    """Both sockets as one stream of venue events, with a StreamStatus when it becomes whole or breaks.

    Full queue: the event is lost, both connections are dropped, and the StreamStatus pair that follows
    tells the reader to ask the venue for what it missed.
    """

    def __init__(
        self, config: OkxConfig, rest: RestClient, clock: Clock, origins: Origins, network: Network
    ) -> None:
        self._config, self._rest, self._clock, self._origins = config, rest, clock, origins
        self._credentials = Credentials(config.api_key, config.secret, config.passphrase)
        self._queue: deque[VenueEvent] = deque()
        self._filled = asyncio.Event()
        self._overflowed = asyncio.Event()
        self._whole = False
        self._heard_s = {channel: clock.real_s() for each in _CHANNELS.values() for channel in each}
        make = build(config, network, clock, self)
        self.links = {
            PRIVATE: make(PRIVATE, _PRIVATE, self._login),
            BUSINESS: make(BUSINESS, _BUSINESS, self._login),
        }
        self.operations = Operations(self.links[PRIVATE], config.timeouts.operation)
        self.refused: dict[str, str] = {}  # channel → code and text
        self.unknown_states: dict[str, int] = {}  # order states that this version does not know
        self.lost = 0  # events for which the queue had no room

    async def run(self) -> None:
        """Bring events until cancelled. Raises VenueMisconfigured when the venue refuses the key."""
        async with asyncio.TaskGroup() as tasks:
            for name, link in self.links.items():
                tasks.create_task(link.run(), name=f"{name} account socket")
            tasks.create_task(self._recover_from_overflow(), name="private stream overflow")

    async def events(self) -> AsyncIterator[VenueEvent]:
        """Everything in order of arrival."""
        while True:
            while not self._queue:
                self._filled.clear()
                await self._filled.wait()
            yield self._queue.popleft()

    def ages_s(self) -> dict[str, float]:
        """Real seconds since the last data by channel; positions and account come every few seconds."""
        now_s = self._clock.real_s()
        return {channel: now_s - heard_s for channel, heard_s in self._heard_s.items()}

    async def _login(self) -> bytes:
        """A fresh login with the venue's time. Raises Unavailable."""
        await self._rest.sync_clock()
        return login_frame(self._credentials, self._rest.venue_ns())

    # -- what the links tell

    def reader(self, link: str, arg: Arg) -> FrameReader:
        """Decode and queue. Raises CodecError."""
        readers: dict[str, FrameReader] = {
            "orders": self._on_orders,
            "positions": self._on_positions,
            "account": self._on_account,
            "orders-algo": self._on_algos,
            "algo-advance": self._on_algos,
        }
        read = readers.get(arg.channel)
        if read is None:
            raise CodecError(f"no codec for channel {arg.channel[:40]!r}", defect=Defect.UNKNOWN)
        return partial(self._heard, arg.channel, read)

    def _heard(self, channel: str, read: FrameReader, frame: bytes, ts_recv: int) -> None:
        self._heard_s[channel] = self._clock.real_s()
        read(frame, ts_recv)

    def _on_positions(self, frame: bytes, ts_recv: int) -> None:
        for position in account_wire.decode_positions(frame):
            self._put(position)

    def _on_account(self, frame: bytes, ts_recv: int) -> None:
        balance = account_wire.decode_balance(frame, self._config.settle_currency)
        if balance is not None:
            self._put(balance)

    def _on_algos(self, frame: bytes, ts_recv: int) -> None:
        for algo in orders_wire.decode_algos(frame):
            self._origins.learn(algo)

    def _on_orders(self, frame: bytes, ts_recv: int) -> None:
        for record in orders_wire.decode_orders(frame):
            if not orders_wire.known_state(record.state):
                self.unknown_states[record.state] = self.unknown_states.get(record.state, 0) + 1
            origin = self._origins.of(record)
            self._put(orders_wire.report(record, origin, ts_recv, pushed=True))

    def on_up(self, link: str) -> None:
        """Whole only when both sockets are, and no channel that matters was refused."""
        if all(each.up for each in self.links.values()) and not self.refused:
            self._become(whole=True)

    def on_down(self, link: str, reason: str) -> None:
        log.warning("account socket lost", link=link, reason=reason)
        if link == PRIVATE:
            self.operations.lost(reason)
        for channel in _CHANNELS[link]:
            self.refused.pop(channel, None)
        self._become(whole=False)

    def on_refused(self, link: str, refused: Refused) -> None:
        """A refused account channel leaves the stream blind: it is never whole then."""
        channel = refused.arg.channel
        text = f"{refused.code} {refused.message}".strip()
        if channel not in _NEEDED:
            log.warning("subscription refused", link=link, channel=channel, code=refused.code)
            return
        log.error("subscription refused", link=link, channel=channel, code=refused.code)
        self.refused[channel] = text
        self._become(whole=False)

    def on_bad_frame(self, link: str, error: CodecError) -> None:
        """Something of the account was not understood; asking the venue fills the gap."""
        log.error("account frame did not parse", link=link, error=str(error))
        self._overflowed.set()

    # -- inside

    def _become(self, *, whole: bool) -> None:
        if whole is not self._whole:
            self._whole = whole
            self._queue.append(StreamStatus(whole, self._clock.now_ns()))
            self._filled.set()

    def _put(self, event: VenueEvent) -> None:
        if len(self._queue) >= self._config.queue_limit:
            self.lost += 1
            self._overflowed.set()
            return
        self._queue.append(event)
        self._filled.set()

    async def _recover_from_overflow(self) -> None:
        """Drop the connections after a loss, so that the reader learns of the gap; not in a hot loop."""
        while True:
            await self._overflowed.wait()
            self._overflowed.clear()
            for link in self.links.values():
                await link.drop("events were lost")
            await self._clock.sleep_real(_LOSS_PAUSE_S)
