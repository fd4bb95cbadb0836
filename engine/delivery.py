"""How a message reaches its handler: the rules of engine.bus that every bus shares."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, Generic, TypeVar

import msgspec
import structlog

from engine.bus import MAX_DELIVERIES, Handler, Message, Topic
from engine.clock import Clock
from engine.core.errors import BusUnavailable, StoreUnavailable
from engine.log import TRACE

T = TypeVar("T")
log = structlog.get_logger()

OnDead = Callable[[str, str, str], None]  # (topic, message id, error)

_LONGEST_WAIT_S: Final = 2.0
_LONGEST_ERROR: Final = 500


def ignore_dead(topic: str, message_id: str, error: str) -> None:
    """The callback of a bus whose owner does not ask about dead letters; they are logged all the same."""


class Batch(Generic[T]):
    """Durable messages that came together, and how many of them were handled or given up."""

    __slots__ = ("messages", "through")

    def __init__(self, messages: Sequence[Message[T]], through: int = 0) -> None:
        self.messages, self.through = messages, through


class Delivery:
    """Hands messages to handlers: one at a time, again after a failure, not without end.

    A failure is an exception of the handler. BusUnavailable and StoreUnavailable are none: the message is
    as good as before and waits, at most two seconds between two tries, until the server is back. Waits are
    real time. Lines that are logged meanwhile, by jobs that a handler starts too, carry the message's trace.
    """

    def __init__(self, clock: Clock, retry_delay_s: float = 0.2) -> None:
        self._clock = clock
        self._retry_delay_s = retry_delay_s

    async def settle(self, topic: Topic[T], group: str, message: Message[T], handler: Handler[T]) -> str:
        """Hand over a durable message; "" once the handler returned, else the error of its last failure."""
        before = TRACE.set(message.trace_id)
        try:
            await handler(message)
        except Exception as error:  # noqa: BLE001 - whatever a handler raises, the next message follows
            return await self._again(topic, group, message, handler, error)
        else:
            return ""
        finally:
            TRACE.reset(before)

    async def settle_batch(self, topic: Topic[T], group: str, batch: Batch[T], handler: Handler[T]) -> str:
        """The same for what is left of a batch, in order; "" once it is through.

        Else the error of message number `batch.through`: count it and call again for those behind it.
        """
        before = TRACE.set("")
        try:
            for message in batch.messages[batch.through :]:
                TRACE.set(message.trace_id)
                try:
                    await handler(message)
                except Exception as error:  # noqa: BLE001 - as above
                    if text := await self._again(topic, group, message, handler, error):
                        return text
                batch.through += 1
            return ""
        finally:
            TRACE.reset(before)

    async def _again(
        self, topic: Topic[T], group: str, message: Message[T], handler: Handler[T], error: Exception
    ) -> str:
        """After a first try that raised: "" once the handler returned, else the error of its last failure."""
        labels = _labels(topic, group, message)
        failures, wait_s, waiting = 0, self._retry_delay_s, False
        attempt, raised = message, error
        while True:
            if isinstance(raised, BusUnavailable | StoreUnavailable):
                if not waiting:
                    waiting = True
                    log.warning("message waits", error=str(raised), **labels)
                await self._clock.sleep_real(wait_s)
                wait_s = min(_LONGEST_WAIT_S, wait_s * 2)
            else:
                failures += 1
                text = _describe(raised)
                log.error("message failed", failures=failures, error=text, exc_info=raised, **labels)
                if failures >= MAX_DELIVERIES:
                    return text
                attempt = msgspec.structs.replace(message, deliveries=message.deliveries + failures)
                await self._clock.sleep_real(self._retry_delay_s)
            try:
                await handler(attempt)
            except Exception as later:  # noqa: BLE001 - as above
                raised = later
            else:
                return ""

    async def offer(self, topic: Topic[T], message: Message[T], handler: Handler[T]) -> None:
        """Hand over a live message once: a newer one follows, so a failure is only logged."""
        before = TRACE.set(message.trace_id)
        try:
            await handler(message)
        except Exception as error:
            labels = _labels(topic, "", message)
            log.exception("live message failed", error=_describe(error), **labels)
        finally:
            TRACE.reset(before)


def _labels(topic: Topic[T], group: str, message: Message[T]) -> dict[str, str]:
    return {"topic": topic.name, "group": group, "message": message.id, "trace": message.trace_id}


def _describe(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"[:_LONGEST_ERROR]
