"""How a message reaches its handler: the rules of engine.bus that every bus shares."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, TypeVar

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
        trace = TRACE.set(message.trace_id)
        failures, wait_s, waiting = 0, self._retry_delay_s, False
        attempt = message
        try:
            while True:
                try:
                    await handler(attempt)
                except (BusUnavailable, StoreUnavailable) as outage:
                    if not waiting:
                        waiting = True
                        log.warning("message waits", error=str(outage), **_labels(topic, group, message))
                    await self._clock.sleep_real(wait_s)
                    wait_s = min(_LONGEST_WAIT_S, wait_s * 2)
                except Exception as error:  # whatever a handler raises, the next message follows
                    failures += 1
                    text = _describe(error)
                    labels = _labels(topic, group, message)
                    log.exception("message failed", failures=failures, error=text, **labels)
                    if failures >= MAX_DELIVERIES:
                        return text
                    attempt = msgspec.structs.replace(message, deliveries=message.deliveries + failures)
                    await self._clock.sleep_real(self._retry_delay_s)
                else:
                    return ""
        finally:
            TRACE.reset(trace)

    async def offer(self, topic: Topic[T], message: Message[T], handler: Handler[T]) -> None:
        """Hand over a live message once: a newer one follows, so a failure is only logged."""
        trace = TRACE.set(message.trace_id)
        try:
            await handler(message)
        except Exception as error:
            labels = _labels(topic, "", message)
            log.exception("live message failed", error=_describe(error), **labels)
        finally:
            TRACE.reset(trace)


def _labels(topic: Topic[T], group: str, message: Message[T]) -> dict[str, str]:
    return {"topic": topic.name, "group": group, "message": message.id, "trace": message.trace_id}


def _describe(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"[:_LONGEST_ERROR]
