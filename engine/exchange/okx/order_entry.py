"""How orders, cancels and amendments reach OKX: over the private socket, or by REST. Never by both.

The way is chosen before anything is sent. REST is taken while the socket is not ready, for an instrument
without a number, and for an order with a stop or target attached, which OKX documents for REST only. Once
something was sent on the socket, only an answer that proves that it was not carried out lets the same
request go by REST: the demo environment for instance refuses its own instrument numbers (51001).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import msgspec
import structlog

from engine.core.errors import Rejected, VenueError
from engine.exchange.okx.operations import NotConnected, Operations
from engine.exchange.okx.requests_wire import Body, OrderBody, for_socket
from engine.exchange.okx.rest import RestClient, Verdict, verdicts

log = structlog.get_logger()

_MOST: Final = 20  # orders in one request
_NO_SUCH_NUMBER: Final = "51001"
# refused for how it was sent, not for what it says: not logged in, unknown operation or parameter, wrong URL
_WRONG_WAY: Final = frozenset({_NO_SUCH_NUMBER, "60011", "60012", "60013", "60019", "60028"})


class Route(msgspec.Struct, frozen=True):
    """Names of one kind of request: the socket's for one and for many, REST's for one and for many."""

    operation: str
    operations: str
    endpoint: str
    endpoints: str


PLACE: Final = Route("order", "batch-orders", "trade/order", "trade/batch-orders")
CANCEL: Final = Route(
    "cancel-order", "batch-cancel-orders", "trade/cancel-order", "trade/cancel-batch-orders"
)
AMEND: Final = Route("amend-order", "batch-amend-orders", "trade/amend-order", "trade/amend-batch-orders")


class _Asked(msgspec.Struct, frozen=True):
    """One request: what is sent, and until when (engine time, 0: no limit) the venue may carry it out."""

    route: Route
    bodies: Sequence[Body]
    expires_ns: int

    @property
    def symbols(self) -> tuple[str, ...]:
        return tuple(body.instId for body in self.bodies)

    @property
    def single(self) -> bool:
        return len(self.bodies) == 1

    @property
    def operation(self) -> str:
        return self.route.operation if self.single else self.route.operations

    @property
    def endpoint(self) -> str:
        return self.route.endpoint if self.single else self.route.endpoints

    def part(self, indices: Sequence[int]) -> _Asked:
        """The same about some of the bodies."""
        return _Asked(self.route, [self.bodies[i] for i in indices], self.expires_ns)


class OrderEntry:
    """Sends requests about orders. `codes` are the socket's numbers of the instruments, by symbol."""

    def __init__(
        self, rest: RestClient, operations: Operations, codes: Mapping[str, int], *, socket: bool
    ) -> None:
        self._rest, self._operations, self._codes, self._socket = rest, operations, codes, socket
        self._refused_codes: dict[str, int] = {}  # symbol → its number that the socket did not know

    async def send(self, route: Route, bodies: Sequence[Body], expires_ns: int = 0) -> list[Verdict]:
        """Send in as few requests as the venue allows; each body has its own verdict, at its place.

        A request that arrives after `expires_ns` of engine time is dropped by the venue (Rejected).
        """
        asked, found = _Asked(route, bodies, expires_ns), dict[int, Verdict]()
        ways: dict[bool, list[int]] = {True: [], False: []}  # chosen once: each body is in one of them
        for index, body in enumerate(bodies):
            ways[self._by_socket(body)].append(index)
        for indices in ways.values():
            for start in range(0, len(indices), _MOST):
                part = indices[start : start + _MOST]
                found |= zip(part, await self._request(asked.part(part)), strict=True)
        return [found[i] for i in range(len(bodies))]

    async def _request(self, asked: _Asked) -> list[Verdict]:
        """One request; an error of the whole is the verdict on each of its bodies."""
        try:
            if not all(map(self._by_socket, asked.bodies)):
                return await self._by_rest(asked)
            return await self._by_socket_or_rest(asked)
        except VenueError as error:
            return [error] * len(asked.bodies)

    async def _by_socket_or_rest(self, asked: _Asked) -> list[Verdict]:
        """What the socket refused for the way it was sent goes by REST; nothing else does."""
        try:
            found = await self._over_socket(asked)
        except NotConnected:
            return await self._by_rest(asked)
        except Rejected as error:
            if error.code not in _WRONG_WAY:
                raise
            log.warning("orders go by REST: the socket refused an operation", code=error.code)
            return await self._by_rest(asked)
        again = [i for i, verdict in enumerate(found) if self._wrong_way(asked.bodies[i], verdict)]
        if again:
            for i, verdict in zip(again, await self._request(asked.part(again)), strict=True):
                found[i] = verdict
        return found

    def _wrong_way(self, body: Body, verdict: Verdict) -> bool:
        """Whether an order was refused only because of the socket's way to name it."""
        if not isinstance(verdict, Rejected) or verdict.code != _NO_SUCH_NUMBER:
            return False
        if body.instId not in self._refused_codes:
            log.warning("orders go by REST: the socket does not know the instrument", symbol=body.instId)
        self._refused_codes[body.instId] = self._codes[body.instId]
        return True

    def _by_socket(self, body: Body) -> bool:
        code = self._codes.get(body.instId)
        if not self._socket or code is None or code == self._refused_codes.get(body.instId):
            return False
        if isinstance(body, OrderBody) and body.attachAlgoOrds:
            return False
        return self._operations.ready

    async def _over_socket(self, asked: _Asked) -> list[Verdict]:
        """Takes from the rate limit that the operation shares with its REST twin."""
        await self._rest.limits.acquire(f"POST {asked.endpoint}", *asked.symbols)
        args = [for_socket(body, self._codes[body.instId]) for body in asked.bodies]
        acks = await self._operations.ask(asked.operation, args, self._rest.venue_ms(asked.expires_ns))
        return verdicts(acks, len(args), asked.operation)

    async def _by_rest(self, asked: _Asked) -> list[Verdict]:
        body = msgspec.json.encode(asked.bodies[0] if asked.single else asked.bodies)
        return await self._rest.items(
            asked.endpoint, body, symbols=asked.symbols, expires_ns=asked.expires_ns
        )
