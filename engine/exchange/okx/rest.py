"""OKX's REST API: signed requests, rate limits, and what a missing answer means.

Reads are retried, requests that change something never. The time in signatures is the venue's: its offset
to the engine's clock is measured at the first private request and again from time to time.
https://www.okx.com/docs-v5/en/#overview-rest-authentication
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Final, TypeVar
from urllib.parse import urlencode

import aiohttp
import msgspec
import stamina
import structlog
from yarl import URL

from engine.clock import Clock
from engine.config.exchange import OkxConfig
from engine.core.errors import CodecError, OutcomeUnknown, Unavailable, VenueError, VenueMisconfigured
from engine.core.times import NS_PER_MS, NS_PER_S
from engine.exchange.okx.errors import Kind, is_clock, venue_error
from engine.exchange.okx.limits import RateLimits
from engine.exchange.okx.orders_wire import Ack, as_said, decode_acks
from engine.exchange.okx.reference_wire import decode_time
from engine.exchange.okx.sign import Credentials, rest_headers

log = structlog.get_logger()
T = TypeVar("T")
Verdict = Ack | VenueError  # on one order of a request

_READ_ATTEMPTS: Final = 3
_READ_BUDGET_S: Final = 15.0
_OK: Final = "0"
_ITEM_VERDICTS: Final = frozenset({"0", "1", "2"})  # data[i].sCode decides
_LARGEST_OFFSET_S: Final = 5.0  # beyond it the offset is worth a line in the log


class _Call(msgspec.Struct, frozen=True):
    method: str
    endpoint: str  # trade/order
    kind: Kind
    query: str = ""
    body: bytes = b""
    symbols: tuple[str, ...] = ("",)  # what the rate limit counts: one of each order
    private: bool = True
    expires_ns: int = 0  # engine time after which the venue must not carry it out; 0: no limit

    @property
    def path(self) -> str:
        return f"/api/v5/{self.endpoint}{'?' + self.query if self.query else ''}"

    @property
    def name(self) -> str:
        return f"{self.method} {self.endpoint}"


class _Envelope(msgspec.Struct):
    code: str = ""
    msg: str = ""


_envelope: Final = msgspec.json.Decoder(_Envelope)


class _Sent:
    """Whether a request left this machine, as aiohttp's tracing tells it."""

    __slots__ = ("sent",)

    def __init__(self) -> None:
        self.sent = False


class RestClient:
    """One key at one host. `close` ends its connections; a later request opens new ones.

    Every request raises Rejected, Unavailable, OutcomeUnknown (writes only) or VenueMisconfigured.
    """

    def __init__(self, config: OkxConfig, clock: Clock) -> None:
        self._config = config
        self._clock = clock
        self._credentials = Credentials(config.api_key, config.secret, config.passphrase)
        self.limits = RateLimits(enabled=config.rate_limits, longest_wait_s=config.timeouts.queue)
        self._session: aiohttp.ClientSession | None = None
        self._synced_s: float | None = None
        self.offset_ns = 0  # venue time minus engine time
        self.requests = 0
        self.failures: dict[str, int] = {}  # code, or class of the error → count

    async def close(self) -> None:
        """Close the connections. Safe to call twice."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    def venue_ns(self) -> int:
        """The venue's time now, as far as it was measured."""
        return self._clock.now_ns() + self.offset_ns

    def venue_ms(self, ts_ns: int) -> str:
        """An engine time as the venue reads it, "" for none (0)."""
        return str((ts_ns + self.offset_ns) // NS_PER_MS) if ts_ns else ""

    async def get(
        self, endpoint: str, query: Mapping[str, str] | None = None, *, symbol: str = "", private: bool = True
    ) -> bytes:
        """Read, at most three times. Raises Rejected, Unavailable, VenueMisconfigured."""
        call = _Call("GET", endpoint, Kind.READ, urlencode(query or {}), b"", (symbol,), private)
        async for attempt in stamina.retry_context(
            on=_retry, attempts=_READ_ATTEMPTS, timeout=_READ_BUDGET_S, wait_jitter=0.2
        ):
            with attempt:
                return await self._call(call, items=False)
        raise AssertionError("retry_context ends only with a result")

    async def change(self, endpoint: str, body: bytes, *, symbol: str = "") -> bytes:
        """Send something that has no `sCode` of its own (leverage). Once. Raises also OutcomeUnknown."""
        return await self._call(_Call("POST", endpoint, Kind.WRITE, "", body, (symbol,)), items=False)

    async def trade(self, endpoint: str, body: bytes, *, symbol: str) -> Ack:
        """Send one algo, its change or its cancel, once, and return the acknowledgement.

        Raises Rejected, Unavailable, OutcomeUnknown, VenueMisconfigured by the item's own code.
        """
        (verdict,) = await self.items(endpoint, body, symbols=(symbol,))
        if isinstance(verdict, VenueError):
            raise verdict
        return verdict

    async def items(
        self, endpoint: str, body: bytes, *, symbols: tuple[str, ...], expires_ns: int = 0
    ) -> list[Verdict]:
        """Send a request about `len(symbols)` orders, once; the verdict on each, in their order.

        Raises Rejected, Unavailable, OutcomeUnknown, VenueMisconfigured for the request as a whole.
        """
        call = _Call("POST", endpoint, Kind.WRITE, "", body, symbols, expires_ns=expires_ns)
        answer = await self._call(call, items=True)
        try:
            acks = decode_acks(answer)
        except CodecError as error:
            raise OutcomeUnknown(f"{endpoint}: {error}") from error
        found = verdicts(acks, len(symbols), endpoint)
        for verdict in found:
            if isinstance(verdict, VenueError):
                self._count(verdict.code)
        return found

    async def sync_clock(self) -> int:
        """Measure the venue's clock against the engine's; returns the offset in ns. Raises Unavailable.

        The venue read its clock at some moment between question and answer. An offset for which there is
        such a moment stays: that the answer was slow says nothing about the clocks.
        """
        before = self._clock.now_ns()
        call = _Call("GET", "public/time", Kind.READ, private=False)
        venue = readable(decode_time, await self._call(call, items=False))
        after = self._clock.now_ns()
        self._synced_s = self._clock.real_s()
        if not before <= venue - self.offset_ns <= after:
            self.offset_ns = venue - (before + after) // 2
            if abs(self.offset_ns) > _LARGEST_OFFSET_S * NS_PER_S:
                log.warning("clock differs from the venue's, corrected", offset_s=self.offset_ns / NS_PER_S)
        return self.offset_ns

    async def _call(self, call: _Call, *, items: bool) -> bytes:
        if call.private:
            await self._sync_if_due()
        await self.limits.acquire(call.name, *call.symbols)
        try:
            return await self._once(call, items=items)
        except VenueMisconfigured as error:
            if not is_clock(error.code):
                raise
            # Refused for its time before anything was done: measure anew and send it one more time.
            await self.sync_clock()
            return await self._once(call, items=items)

    async def _sync_if_due(self) -> None:
        due = self._synced_s is None
        if self._synced_s is not None:
            due = self._clock.real_s() - self._synced_s > self._config.timeouts.clock_sync
        if not due:
            return
        try:
            await self.sync_clock()
        except Unavailable:
            if self._synced_s is None:
                raise
            self._synced_s = self._clock.real_s()  # the old offset serves until the next time

    async def _once(self, call: _Call, *, items: bool) -> bytes:
        """Send, read, judge."""
        status, body = await self._exchange(call)
        try:
            envelope = _envelope.decode(body)
        except (ValueError, RecursionError):
            self._count("unreadable")
            text = body[:200].decode(errors="replace")
            raise _unreadable(call, status, text) from None
        if envelope.code == _OK or (items and envelope.code in _ITEM_VERDICTS and _has_items(body)):
            return body
        self._count(envelope.code or str(status))
        raise venue_error(envelope.code, f"{call.endpoint}: {envelope.msg}", call.kind, status)

    async def _exchange(self, call: _Call) -> tuple[int, bytes]:
        """Status and body of one HTTP exchange. Raises Unavailable or OutcomeUnknown."""
        trace = _Sent()
        self.requests += 1
        try:
            async with (
                asyncio.timeout(self._config.timeouts.request),
                self._http().request(
                    call.method,
                    URL(self._config.hosts.rest + call.path, encoded=True),
                    data=call.body or None,
                    headers=self._headers(call),
                    proxy=self._config.proxy or None,
                    allow_redirects=False,
                    trace_request_ctx=trace,
                ) as response,
            ):
                return response.status, await response.read()
        except (TimeoutError, aiohttp.ClientError, OSError) as error:
            self._count(type(error).__name__)
            what = f"{call.endpoint}: {type(error).__name__} {error}".rstrip()
            if call.kind is Kind.WRITE and trace.sent:
                raise OutcomeUnknown(what) from error
            raise Unavailable(what) from error

    def _headers(self, call: _Call) -> dict[str, str]:
        headers = {"Content-Type": "application/json"}
        if call.expires_ns:
            headers["expTime"] = self.venue_ms(call.expires_ns)
        if self._config.demo:
            headers["x-simulated-trading"] = "1"
        if call.private:
            body = call.body.decode()
            headers |= rest_headers(self._credentials, self.venue_ns(), call.method, call.path, body)
        return headers

    def _http(self) -> aiohttp.ClientSession:
        if self._session is None:
            tracing = aiohttp.TraceConfig()
            tracing.on_request_headers_sent.append(_mark_sent)
            self._session = aiohttp.ClientSession(
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=self._config.timeouts.connect),
                trace_configs=[tracing],
            )
        return self._session

    def _count(self, code: str) -> None:
        self.failures[code] = self.failures.get(code, 0) + 1


async def _mark_sent(
    _: aiohttp.ClientSession, context: object, __: aiohttp.TraceRequestHeadersSentParams
) -> None:
    trace = getattr(context, "trace_request_ctx", None)
    if isinstance(trace, _Sent):
        trace.sent = True


def verdicts(acks: Sequence[Ack], count: int, what: str) -> list[Verdict]:
    """What each item's own code says. Raises OutcomeUnknown when there is not one for each of `count`."""
    if len(acks) != count:
        raise OutcomeUnknown(f"{what} was answered with {len(acks)} verdicts for {count}")
    return [ack if ack.sCode == _OK else _refusal(ack, what) for ack in acks]


def _refusal(ack: Ack, what: str) -> VenueError:
    error = venue_error(ack.sCode, ack.message or what, Kind.WRITE)
    error.raw = as_said(ack)
    return error


def readable(decode: Callable[[bytes], T], body: bytes) -> T:
    """What an answer to a read says. Raises Unavailable when it does not parse: ask again."""
    return understood(lambda: decode(body))


def understood(make: Callable[[], T]) -> T:
    """The result of `make`. Raises Unavailable for a CodecError: the answer was of no use."""
    try:
        return make()
    except CodecError as error:
        raise Unavailable(f"unreadable answer: {error}") from error


def _retry(error: Exception) -> bool | float:
    if not isinstance(error, Unavailable):
        return False
    return error.retry_after_s or True


def _has_items(body: bytes) -> bool:
    """Whether the answer judges its items one by one."""
    try:
        return bool(decode_acks(body))
    except CodecError:
        return False


def _unreadable(call: _Call, status: int, text: str) -> VenueError:
    """The error for a body that is no JSON: a gateway's page, mostly."""
    message = f"{call.endpoint}: HTTP {status} with an unreadable body {text!r}"
    refused_before_okx = 400 <= status < 500  # noqa: PLR2004 - a gateway's refusal
    if call.kind is Kind.READ or refused_before_okx:
        return Unavailable(message)
    return OutcomeUnknown(message)
