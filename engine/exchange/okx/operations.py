"""Order operations over the private socket: each has an id, and gets the answer with that id.

https://www.okx.com/docs-v5/en/#order-book-trading-trade-ws-place-order. An answer that does not come, for
whatever reason, proves nothing: the operation may have been carried out.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from itertools import count

import msgspec

from engine.core.errors import CodecError, OutcomeUnknown, Unavailable
from engine.exchange.okx.errors import Kind, venue_error
from engine.exchange.okx.frames import OperationAck
from engine.exchange.okx.link import Link
from engine.exchange.okx.orders_wire import Ack, decode_verdicts
from engine.exchange.okx.requests_wire import Body
from engine.exchange.okx.session import OPERATION

_JUDGED = frozenset({"0", "1", "2"})  # the verdicts are in the items


class NotConnected(Unavailable):
    """The socket is not ready; nothing was sent."""


class _Operation(msgspec.Struct, omit_defaults=True):
    id: str
    op: str
    args: Sequence[Body]
    expTime: str = ""


class Operations:
    """Correlates what is sent on one link with what comes back."""

    def __init__(self, link: Link, timeout_s: float) -> None:
        self._link, self._timeout_s = link, timeout_s
        self._ids = count(1)
        self._waiting: dict[str, asyncio.Future[OperationAck]] = {}
        self.sent = 0
        link.on_answer = self._answered
        link.busy = lambda: bool(self._waiting)

    @property
    def ready(self) -> bool:
        return self._link.ready

    async def ask(self, operation: str, bodies: Sequence[Body], expires_ms: str = "") -> list[Ack]:
        """Send once and wait for the answer: a verdict for each body, in their order.

        The venue drops an operation that arrives after `expires_ms` of its time ("": no limit).

        Raises NotConnected when nothing was sent, OutcomeUnknown when no answer came or it says nothing, and
        what the answer's code means when the venue refused the operation as a whole.
        """
        request_id = f"{OPERATION}{next(self._ids)}"
        frame = msgspec.json.encode(_Operation(request_id, operation, bodies, expires_ms))
        answer: asyncio.Future[OperationAck] = asyncio.get_running_loop().create_future()
        self._waiting[request_id] = answer
        try:
            async with asyncio.timeout(self._timeout_s):
                if not await self._link.send(frame):
                    raise NotConnected("the private socket is not ready")
                self.sent += 1
                ack = await answer
        except TimeoutError as error:
            raise OutcomeUnknown(f"{operation} was not answered in {self._timeout_s:g} s") from error
        finally:
            del self._waiting[request_id]
            self._link.changed.set()
        if ack.code not in _JUDGED:
            raise venue_error(ack.code, f"{operation}: {ack.msg}", Kind.WRITE)
        try:
            return decode_verdicts(bytes(ack.data))
        except CodecError as error:
            raise OutcomeUnknown(f"{operation}: {error}") from error

    def lost(self, reason: str) -> None:
        """The connection is gone, and with it every answer that was still to come."""
        for answer in self._waiting.values():
            if not answer.done():
                answer.set_exception(OutcomeUnknown(f"connection lost before the answer: {reason}"))

    def _answered(self, ack: OperationAck) -> None:
        answer = self._waiting.get(ack.id)
        if answer is not None and not answer.done():
            answer.set_result(ack)
