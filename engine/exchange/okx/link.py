"""A connection that is always there: opens, watches, replaces. The shell around `Session`.

When the venue announces that it will close a connection (64008), a second one is opened and made ready
first; while both are open, what they bring is delivered twice, so a handler must bear duplicates.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Final, Protocol

import msgspec
import structlog

from engine.clock import Clock
from engine.core.errors import CodecError, Unavailable, VenueMisconfigured
from engine.exchange.okx.dispatch import Dispatch, FrameReader
from engine.exchange.okx.errors import closed_because, is_serious_close, remedy
from engine.exchange.okx.frames import Arg, OperationAck
from engine.exchange.okx.session import (
    Action,
    Answer,
    Became,
    Deliver,
    Drop,
    Refused,
    Replace,
    Rules,
    Send,
    Session,
)
from engine.exchange.okx.socket import Connect, ConnectGate, Socket, SocketClosed

log = structlog.get_logger()

_SEND_TIMEOUT_S: Final = 5.0
_TICK_S: Final = 1.0
_LOGIN_REFUSALS: Final = 3  # 60009 has also been seen in passing; in a row it is the key
_LOGIN_FAILED: Final = frozenset({"60009", "4001"})
_SERIOUS_FAILURES: Final = 5  # as many failures as a serious close counts for, in the back-off
_STEADY_S: Final = 30.0  # a connection that lived so long ends the series of failures


class LinkPlan(msgspec.Struct, frozen=True):
    """What a connection is for. `login` makes a fresh login frame; None: no login."""

    name: str
    url: str
    args: tuple[Arg, ...]
    rules: Rules
    connect_s: float
    backoff_first_s: float
    backoff_longest_s: float
    login: Callable[[], Awaitable[bytes]] | None = None


class LinkHandler(Protocol):
    """Where a link's events go; all of it synchronous and quick."""

    def reader(self, link: str, arg: Arg) -> FrameReader:
        """Who reads the data of a subscription. Raises CodecError for one that nobody made."""
        ...

    def on_up(self, link: str) -> None:
        """Logged in, every subscription answered: what happens from now on will be told."""
        ...

    def on_down(self, link: str, reason: str) -> None:
        """Nothing is told any more."""
        ...

    def on_refused(self, link: str, refused: Refused) -> None: ...

    def on_bad_frame(self, link: str, error: CodecError) -> None: ...


class _Life:
    """One connection, from connecting to its end."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self.ready = False
        self.ready_s: float | None = None  # since when, once it was
        self.leaving = False
        self.end: Drop | None = None
        self.session: Session | None = None
        self.socket: Socket | None = None

    async def run(self) -> None:
        """Ends when the connection does; `end` says why."""
        plan = self._link.plan
        try:
            await self._link.gate.wait()
            async with asyncio.timeout(plan.connect_s + plan.rules.ack_s):
                login = await plan.login() if plan.login is not None else None
                self.socket = await self._link.connect(plan.url, plan.connect_s)
        except (Unavailable, TimeoutError) as error:
            self._ended(Drop(f"not connected: {error or 'timeout'}"))
            return
        try:
            await self._converse(self.socket, Session(plan.args, plan.rules, login))
        finally:
            await self.socket.close()

    async def _converse(self, socket: Socket, session: Session) -> None:
        self.session = session
        async with asyncio.TaskGroup() as tasks:
            ticker = tasks.create_task(self._tick(session), name=f"{self._link.plan.name} keep-alive")
            try:
                await self.perform(session.opened(self._link.clock.real_s()))
                while self.end is None:
                    await self._take(await socket.recv(), session)
                    self._link.on_read()
            except SocketClosed as error:
                self._ended(Drop(error.reason or str(error), str(error.close_code)))
            finally:
                ticker.cancel()

    async def _take(self, frames: list[bytes], session: Session) -> None:
        """Give data to its handler, and all else to the session. What came together has one time."""
        link, ts_recv = self._link, self._link.clock.now_ns()
        session.heard(link.clock.real_s())
        link.frames += len(frames)
        at = link.data.take(frames, 0, ts_recv)
        while at < len(frames):
            await self._consider(frames[at], session)
            if self.end is not None:
                return
            at = link.data.take(frames, at + 1, ts_recv)

    async def _consider(self, frame: bytes, session: Session) -> None:
        """Let the session look at a frame that is not plain data."""
        try:
            await self.perform(session.received(frame, self._link.clock.real_s()))
        except CodecError as error:
            self._link.note_bad("", error)

    async def _tick(self, session: Session) -> None:
        while self.end is None:
            await self._link.clock.sleep_real(_TICK_S)
            await self.perform(session.tick(self._link.clock.real_s()))

    async def perform(self, actions: list[Action]) -> None:
        """Do what the session says, in order."""
        name, handler = self._link.plan.name, self._link.handler
        for action in actions:
            match action:
                case Send(frame):
                    await self.send(frame)
                case Deliver(arg, frame):
                    handler.reader(name, arg)(frame, self._link.clock.now_ns())
                case Refused():
                    handler.on_refused(name, action)
                case Became():
                    self.ready, self.ready_s = True, self._link.clock.real_s()
                case Replace():
                    self.leaving = True
                    log.info("venue announced the end of a connection", link=name)
                case Drop():
                    await self.drop(action)
                case Answer(ack):
                    self._link.on_answer(ack)
        if actions:
            self._link.changed.set()

    async def drop(self, drop: Drop) -> None:
        """Close this connection; the reader notices."""
        self._ended(drop)
        if self.socket is not None:
            await self.socket.close()

    async def send(self, frame: bytes) -> None:
        if self.socket is None:
            return
        try:
            async with asyncio.timeout(_SEND_TIMEOUT_S):
                await self.socket.send(frame)
        except TimeoutError:
            await self.drop(Drop("the venue does not read"))
        except SocketClosed as error:
            self._ended(Drop(error.reason or str(error), str(error.close_code)))

    def _ended(self, drop: Drop) -> None:
        if self.end is None:
            self.end = drop
        self.ready = False
        self._link.changed.set()


class Link:
    """Keeps one `LinkPlan` connected until cancelled. Counters are for metrics."""

    def __init__(
        self, plan: LinkPlan, handler: LinkHandler, clock: Clock, connect: Connect, gate: ConnectGate
    ) -> None:
        self.plan, self.handler, self.clock = plan, handler, clock
        self.data = Dispatch(partial(handler.reader, plan.name), self.note_bad)
        self.connect, self.gate = connect, gate
        self.on_answer: Callable[[OperationAck], None] = _unasked
        self.on_read: Callable[[], None] = _unnoticed  # what the socket brought at once was handed over
        self.busy: Callable[[], bool] = lambda: False  # answers are awaited: what was replaced stays open
        self.changed = asyncio.Event()
        self.up = False
        self.frames = 0
        self.bad_frames: Counter[tuple[str, str]] = Counter()  # (channel, defect) → frames
        self._channels = frozenset(arg.channel for arg in plan.args)
        self.connections = 0
        self._failures = 0
        self._login_refusals = 0
        self.ends: dict[str, int] = {}  # close code, or "" where there was none → connections that ended so
        self._lives: list[_Life] = []

    async def run(self) -> None:
        """Connect and stay connected. Raises VenueMisconfigured when the venue refuses the key."""
        async with asyncio.TaskGroup() as tasks:
            self._start(tasks)
            while True:
                await self.changed.wait()
                self.changed.clear()
                await self._look(tasks)

    @property
    def ready(self) -> bool:
        """Whether `send` would find a connection."""
        return any(life.ready for life in self._lives)

    async def send(self, frame: bytes) -> bool:
        """Send a frame on the newest ready connection. False: there is none, nothing was sent.

        True proves no arrival: the connection may break under it, and then `on_down` follows.
        """
        for life in reversed(self._lives):
            if life.ready:
                await life.send(frame)
                return True
        return False

    async def resubscribe(self, arg: Arg) -> None:
        """Fresh snapshot of one channel, on the newest connection."""
        life = self._lives[-1] if self._lives else None
        if life is not None and life.session is not None:
            await life.perform(life.session.resubscribe(arg, self.clock.real_s()))

    async def drop(self, reason: str) -> None:
        """Give the connection up and open another: something in it was lost."""
        for life in list(self._lives):
            await life.drop(Drop(reason))

    def note_bad(self, channel: str, error: CodecError) -> None:
        """Count a frame that did not parse; its channel is "" where it is none that was asked for."""
        self.bad_frames[channel if channel in self._channels else "", error.defect] += 1
        self.handler.on_bad_frame(self.plan.name, error)

    def _start(self, tasks: asyncio.TaskGroup) -> None:
        life = _Life(self)
        self._lives.append(life)
        self.connections += 1
        tasks.create_task(life.run(), name=f"{self.plan.name} connection {self.connections}")

    async def _look(self, tasks: asyncio.TaskGroup) -> None:
        """Bring what is connected in line with what happened."""
        ended = [life for life in self._lives if life.end is not None]
        self._lives = [life for life in self._lives if life.end is None]
        for life in ended:
            self._judge(life)
        newest = self._lives[-1] if self._lives else None
        if newest is not None and newest.ready:
            self._login_refusals = 0
            if not self.up:
                self.up = True
                self.handler.on_up(self.plan.name)
            if not self.busy():
                for old in self._lives[:-1]:
                    await old.drop(Drop("replaced"))
        if self.up and not any(life.ready for life in self._lives):
            self.up = False
            reason = ended[0].end.reason if ended and ended[0].end else ""
            self.handler.on_down(self.plan.name, reason)
        if newest is None:
            await self.clock.sleep_real(self._backoff_s())
            self._start(tasks)
        elif newest.leaving and newest.ready and len(self._lives) == 1:
            if self._failures:
                await self.clock.sleep_real(self._backoff_s())
            self._start(tasks)

    def _judge(self, life: _Life) -> None:
        """Log an end that nobody asked for; raise when trying again is useless."""
        end = life.end or Drop("")
        if life.ready_s is not None and self.clock.real_s() - life.ready_s >= _STEADY_S:
            self._failures = 0
        if end.reason == "replaced":
            return
        self._failures += 1
        self.ends[end.code] = self.ends.get(end.code, 0) + 1
        serious = is_serious_close(end.code)
        if serious:
            self._failures = max(self._failures, _SERIOUS_FAILURES)
        once = log.warning if self._failures == 1 else log.debug  # one line for an outage
        tell, why = log.error if serious else once, closed_because(end.code)
        tell("connection lost", link=self.plan.name, reason=end.reason, code=end.code, meaning=why)
        if end.code in _LOGIN_FAILED:
            self._login_refusals += 1
        if end.fatal or self._login_refusals >= _LOGIN_REFUSALS:
            raise VenueMisconfigured(f"{end.reason}; {remedy(end.code)}".rstrip("; "), end.code)

    def _backoff_s(self) -> float:
        """Doubling, with jitter, so that many clients do not come back in one moment."""
        longest = self.plan.backoff_longest_s
        wait_s = min(longest, self.plan.backoff_first_s * 2.0 ** min(self._failures - 1, 16))
        return wait_s * random.uniform(0.5, 1.0)  # noqa: S311 - jitter needs no secrecy


def _unnoticed() -> None:
    """Nobody works on what comes in batches."""


def _unasked(ack: OperationAck) -> None:
    """An answer where nothing was asked: an operation that was given up, or another client's mistake."""
    log.debug("answer to no operation of ours", operation=ack.op, id=ack.id, code=ack.code)
