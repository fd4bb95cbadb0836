"""The message bus: the contract, the topics, and nothing of Redis.

Durable topics are at least once: a handler may see a message again and must do nothing the second time.
A message is acknowledged after its handler returned. A handler that raises sees the message again; after
three failures it goes to the dead letters, with the error, and the next message follows. A topic whose reader
is too far behind takes no more until it has caught up.
Live topics carry only what is newest; a consumer starts with the next message and may miss some.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Final, Generic, Protocol, TypeVar

import msgspec

from engine.core.cash import Transfer
from engine.core.decisions import Decision, Wakeup
from engine.core.orders import Fill, Order, OrderIntent, StopMove
from engine.core.signals import MarketSnapshot, Signal

T = TypeVar("T")
MAX_DELIVERIES: Final = 3
IN_ONE_PIECE: Final = 100  # messages of `publish_many` that go in one piece, at most


class Topic(msgspec.Struct, Generic[T], frozen=True):
    """A named stream of one message type. `max_len` bounds a live topic."""

    name: str
    type: type[T]
    durable: bool = True
    max_len: int = 1000


class Message(msgspec.Struct, Generic[T], frozen=True, gc=False):
    """What a handler gets. `id` is unique in the topic; `deliveries` counts from 1."""

    id: str
    body: T
    trace_id: str
    ts_published: int
    deliveries: int = 1


class OrderUpdate(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """An order after a change that is already in the journal, with the fill that made it, if any.

    `traders` are those whose positions the fill changed: several for an order that was nobody's.
    """

    order: Order
    fill: Fill | None = None
    traders: tuple[str, ...] = ()


class Command(msgspec.Struct, frozen=True, kw_only=True):
    """An operator's order to the engine: pause, resume, close, flatten (a trader), halt, resume_all.

    The answer is a risk event `command:<command_id>`, kind `command_applied` or `command_refused`.
    """

    command_id: str
    name: str
    trader_id: str = ""
    reason: str = ""


SIGNALS: Final = Topic("signals", Signal)
WAKEUPS: Final = Topic("wakeups", Wakeup)
DECISIONS: Final = Topic("decisions", Decision)  # on their way into the journal: for the gate, which asks it
CLOSED_CYCLES: Final = Topic("closed_cycles", Decision)  # the same ones, journalled: for everybody else
INTENTS: Final = Topic("intents", OrderIntent)
STOP_MOVES: Final = Topic("stop_moves", StopMove)
TRANSFERS: Final = Topic("transfers", Transfer)
ORDERS: Final = Topic("orders", OrderUpdate)
COMMANDS: Final = Topic("commands", Command)
SNAPSHOTS: Final = Topic("snapshots", MarketSnapshot, durable=False, max_len=400)
TOPICS: Final = (
    SIGNALS,
    WAKEUPS,
    DECISIONS,
    CLOSED_CYCLES,
    INTENTS,
    STOP_MOVES,
    TRANSFERS,
    ORDERS,
    COMMANDS,
    SNAPSHOTS,
)

Handler = Callable[[Message[T]], Awaitable[None]]


class Bus(Protocol):
    """Publish and consume. Raises BusUnavailable only from `publish`; `consume` waits for the bus."""

    async def publish(self, topic: Topic[T], body: T, *, trace_id: str = "") -> str:
        """Add a message; returns its id once the bus has it. Raises BusUnavailable."""
        ...

    async def publish_many(self, topic: Topic[T], bodies: Sequence[T], *, trace_id: str = "") -> None:
        """Add messages in order; each hundred goes in one piece, all or none. Raises BusUnavailable."""
        ...

    async def consume(self, topic: Topic[T], group: str, handler: Handler[T], *, consumer: str = "0") -> None:
        """Hand every message of `topic` to `handler`, one at a time, until cancelled.

        Durable: first what this consumer had not acknowledged, then what dead consumers left, then new
        ones. Live: `group` is ignored, the newest message onwards.
        """
        ...
