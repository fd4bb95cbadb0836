"""One connection as a state machine: connect, log in, subscribe, ready. No sockets, no clock.

    CONNECTED ─▶ LOGIN ─▶ SUBSCRIBING ─▶ READY ─▶ (REPLACE: the venue will close it) ─▶ DEAD

Each input returns what to do, in order. Times are real seconds. OKX's rules of the session:
https://www.okx.com/docs-v5/en/#overview-websocket-connect and, for the text ping, -overview.
"""

from __future__ import annotations

from collections import deque
from enum import Enum, auto
from typing import Final

import msgspec

from engine.exchange.okx.frames import (
    PING,
    Arg,
    Event,
    OperationAck,
    Pong,
    Push,
    arg_in_text,
    classify,
    request,
)

_REQUESTS_PER_HOUR: Final = 480  # subscribe, unsubscribe and login, per connection
_HOUR_S: Final = 3600.0
_ARGS_PER_REQUEST: Final = 100  # about 7 KB of the 64 KB that a request may have
_FATAL: Final = frozenset({"60005", "60007", "60008", "60024", "60026", "60032"})
_LOGIN_CODES: Final = frozenset({"60004", "60006", "60009", "60011", "63999", *_FATAL})
_UPGRADE: Final = "64008"
_TOO_FREQUENT: Final = "60014"
_TIMEOUT: Final = "no answer"
OPERATION: Final = "o"  # ids of order operations start so, those of subscriptions with s


class Phase(Enum):
    LOGIN = auto()
    SUBSCRIBING = auto()
    READY = auto()
    DEAD = auto()


class Send(msgspec.Struct, frozen=True):
    """Put this on the wire."""

    frame: bytes


class Became(msgspec.Struct, frozen=True):
    """Every subscription has been answered, with yes or no."""

    phase: Phase


class Refused(msgspec.Struct, frozen=True):
    """The venue does not give this subscription; it stays off until the next connection."""

    arg: Arg
    code: str
    message: str


class Deliver(msgspec.Struct, frozen=True):
    """Data of a subscription."""

    arg: Arg
    frame: bytes


class Answer(msgspec.Struct, frozen=True):
    """The answer to an order operation."""

    ack: OperationAck


class Replace(msgspec.Struct, frozen=True):
    """The venue closes this connection within a minute: open another one first, then leave this one."""


class Drop(msgspec.Struct, frozen=True):
    """Close the connection. `fatal`: a new one would fare no better."""

    reason: str
    code: str = ""
    fatal: bool = False


Action = Send | Became | Refused | Deliver | Answer | Replace | Drop


class Rules(msgspec.Struct, frozen=True):
    """Patience, in real seconds."""

    silence_s: float = 20.0
    pong_s: float = 10.0
    ack_s: float = 8.0


class _Waiting(msgspec.Struct):
    """A subscription request without an answer."""

    args: dict[tuple[str, str], Arg]
    since_s: float
    alone: bool = False  # sent by itself, so that an error can only be about it


class Session:
    """State of one connection. `login` is the frame to log in with, None where no login is needed."""

    def __init__(self, args: tuple[Arg, ...], rules: Rules, login: bytes | None = None) -> None:
        self._args = {arg.key: arg for arg in args}
        self._rules = rules
        self._login = login
        self._requests: deque[float] = deque()
        self._waiting: dict[str, _Waiting] = {}
        self._leaving: dict[tuple[str, str], float] = {}  # unsubscribed, to be subscribed again
        self._count = 0
        self._heard_s = 0.0
        self._pinged_s: float | None = None
        self._login_s = 0.0
        self.phase = Phase.DEAD

    def opened(self, now_s: float) -> list[Action]:
        """The socket is open."""
        self._heard_s = self._login_s = now_s
        if self._login is None:
            return self._subscribe(now_s)
        self.phase = Phase.LOGIN
        self._requests.append(now_s)
        return [Send(self._login)]

    def received(self, frame: bytes, now_s: float) -> list[Action]:
        """A frame that is not plain data of a channel (see `heard`). Raises CodecError for garbage."""
        self.heard(now_s)
        message = classify(frame)
        match message:
            case Pong():
                return []
            case Push(arg):
                return [Deliver(arg, frame)]
            case OperationAck():
                return [Answer(message)]
        return self._on_event(message, now_s)

    def heard(self, now_s: float) -> None:
        """Anything at all came in: the connection lives."""
        self._heard_s = now_s
        self._pinged_s = None

    def tick(self, now_s: float) -> list[Action]:
        """Time passes; call it about once a second."""
        if self.phase is Phase.DEAD:
            return []
        if self._pinged_s is not None:
            if now_s - self._pinged_s >= self._rules.pong_s:
                return self._drop("no answer to a ping")
        elif now_s - self._heard_s >= self._rules.silence_s:
            self._pinged_s = now_s
            return [Send(PING)]
        if self.phase is Phase.LOGIN and now_s - self._login_s >= self._rules.ack_s:
            return self._drop("no answer to the login")
        return self._overdue(now_s)

    def resubscribe(self, arg: Arg, now_s: float) -> list[Action]:
        """Leave a channel and enter it again, for a fresh snapshot. Nothing when that is under way."""
        if self.phase not in {Phase.READY, Phase.SUBSCRIBING} or arg.key in self._leaving:
            return []
        if arg.key not in self._args or any(arg.key in wait.args for wait in self._waiting.values()):
            return []
        if not self._allowed(now_s):
            return self._drop("too many subscription requests in an hour")
        self._leaving[arg.key] = now_s
        return [Send(request(self._next_id(), "unsubscribe", (arg,)))]

    # -- events

    def _on_event(self, event: Event, now_s: float) -> list[Action]:
        if event.event == "login" and self.phase is Phase.LOGIN:
            return self._subscribe(now_s) if event.code in {"0", ""} else self._login_refused(event)
        if event.event == "subscribe" and event.arg is not None:
            return self._acknowledged(event.arg.key)
        if event.event == "unsubscribe" and event.arg is not None:
            return self._left(event.arg.key, now_s)
        if event.event == "notice" and event.code == _UPGRADE:
            return [Replace()]
        if event.event == "channel-conn-count-error":
            return self._ended(event)
        if event.event == "error":
            return self._on_error(event, now_s)
        return []

    def _on_error(self, event: Event, now_s: float) -> list[Action]:
        if event.id.startswith(OPERATION):
            return [Answer(OperationAck("", event.id, event.code, event.msg))]
        if self.phase is Phase.LOGIN or event.code in _LOGIN_CODES:
            return self._login_refused(event)
        if event.code == _TOO_FREQUENT:
            return self._drop("too many subscription requests", event.code)
        wait = self._waiting.get(event.id)
        named = arg_in_text(event.msg)
        for key, arg in self._args.items():
            if named is not None and key[0] == named[0] and named[1] in {key[1], ""}:
                return self._refuse(key, arg, event)
        if wait is not None and len(wait.args) == 1:
            ((key, arg),) = wait.args.items()
            return self._refuse(key, arg, event)
        if wait is None and len(pending := self._pending()) == 1:
            ((key, arg),) = pending.items()
            return self._refuse(key, arg, event)
        return self._one_by_one(event.id, now_s)

    def _login_refused(self, event: Event) -> list[Action]:
        return self._drop(event.msg or "login refused", event.code, fatal=event.code in _FATAL)

    def _refuse(self, key: tuple[str, str], arg: Arg, event: Event) -> list[Action]:
        self._args.pop(key, None)
        self._leaving.pop(key, None)
        return [Refused(arg, event.code, event.msg), *self._acknowledged(key)]

    def _ended(self, event: Event) -> list[Action]:
        """The venue took a subscription back because the account has too many connections for it."""
        message = f"{event.connCount} connections have this channel"
        refused = [arg for key, arg in self._args.items() if key[0] == event.channel]
        actions: list[Action] = []
        for arg in refused:
            del self._args[arg.key]
            actions += [Refused(arg, event.event, message), *self._acknowledged(arg.key)]
        return actions

    def _acknowledged(self, key: tuple[str, str]) -> list[Action]:
        for request_id, wait in list(self._waiting.items()):
            wait.args.pop(key, None)
            if not wait.args:
                del self._waiting[request_id]
        return self._settled()

    def _left(self, key: tuple[str, str], now_s: float) -> list[Action]:
        arg = self._args.get(key)
        if self._leaving.pop(key, None) is None or arg is None:
            return []
        return self._ask((arg,), now_s, alone=True)

    # -- requests

    def _subscribe(self, now_s: float) -> list[Action]:
        self.phase = Phase.SUBSCRIBING
        args, actions = tuple(self._args.values()), list[Action]()
        for start in range(0, len(args), _ARGS_PER_REQUEST):
            actions += self._ask(args[start : start + _ARGS_PER_REQUEST], now_s, alone=len(args) == 1)
        return actions or self._settled()

    def _ask(self, args: tuple[Arg, ...], now_s: float, *, alone: bool) -> list[Action]:
        if not self._allowed(now_s):
            return self._drop("too many subscription requests in an hour")
        request_id = self._next_id()
        self._waiting[request_id] = _Waiting({arg.key: arg for arg in args}, now_s, alone)
        return [Send(request(request_id, "subscribe", args))]

    def _one_by_one(self, request_id: str, now_s: float) -> list[Action]:
        """An error that names no subscription: ask again for each alone, so that the next one does."""
        actions: list[Action] = []
        for name, wait in list(self._waiting.items()):
            if wait.alone or request_id not in {name, ""}:
                continue
            del self._waiting[name]
            for arg in wait.args.values():
                actions += self._ask((arg,), now_s, alone=True)
        return actions

    def _overdue(self, now_s: float) -> list[Action]:
        """Subscriptions without an answer are asked for once more, alone; then they count as refused."""
        actions: list[Action] = []
        for name, wait in list(self._waiting.items()):
            if now_s - wait.since_s < self._rules.ack_s:
                continue
            del self._waiting[name]
            for key, arg in wait.args.items():
                if wait.alone:
                    self._args.pop(key, None)
                    actions.append(Refused(arg, "", _TIMEOUT))
                else:
                    actions += self._ask((arg,), now_s, alone=True)
        for key, since_s in list(self._leaving.items()):
            if now_s - since_s >= self._rules.ack_s:
                actions += self._left(key, now_s)
        return actions + self._settled()

    def _settled(self) -> list[Action]:
        if self.phase is Phase.SUBSCRIBING and not self._waiting:
            self.phase = Phase.READY
            return [Became(Phase.READY)]
        return []

    def _drop(self, reason: str, code: str = "", *, fatal: bool = False) -> list[Action]:
        self.phase = Phase.DEAD
        return [Drop(reason, code, fatal)]

    def _pending(self) -> dict[tuple[str, str], Arg]:
        return {key: arg for wait in self._waiting.values() for key, arg in wait.args.items()}

    def _allowed(self, now_s: float) -> bool:
        while self._requests and now_s - self._requests[0] > _HOUR_S:
            self._requests.popleft()
        if len(self._requests) >= _REQUESTS_PER_HOUR:
            return False
        self._requests.append(now_s)
        return True

    def _next_id(self) -> str:
        self._count += 1
        return f"s{self._count}"
