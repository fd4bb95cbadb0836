"""Sources beside the venue's feed: headlines, and reference prices of another venue.

Each source has a task of its own and real time limits; one that is down, slow or talks nonsense is noted
once, asked less often, and holds up nobody.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from hashlib import sha256
from importlib.util import find_spec
from math import isfinite
from typing import Any, Final

import aiohttp
import msgspec
import structlog

from engine.clock import Clock
from engine.config.market import MarketConfig
from engine.config.market_sources import NewsConfig, NewsSource, ReferenceConfig
from engine.core.errors import CodecError, ConfigError
from engine.core.instruments import coin
from engine.market.feed_entries import read_entries
from engine.market.news import NewsBoard

log = structlog.get_logger()

_MOST_BYTES: Final = 2_000_000
_PARSERS: Final = 2  # processes at a time: sources that begin together share the processor with trading
_SLOWEST: Final = 8  # a source that fails is asked this many times less often at most
_HEADERS: Final = {"User-Agent": "edgewise (+feed reader)"}
_UNCHANGED: Final = 304
_OK: Final = 200
_AWAY: Final = (
    aiohttp.ClientError,
    OSError,
    CodecError,
    ValueError,
)  # the last: sent on to a host such as a..b


class Sources:
    """All that a configuration names. Raises ConfigError when the parser of feeds is not installed."""

    name = "sources"

    def __init__(
        self,
        config: MarketConfig,
        board: NewsBoard,
        refer: Callable[[str, float, int], None],
        clock: Clock,
    ) -> None:
        if config.news.sources and find_spec("feedparser") is None:
            raise ConfigError("news.sources need feedparser: pip install 'edgewise[news]'")
        self._clock = clock
        self._readers: list[NewsReader | ReferenceReader] = []
        parsing = asyncio.Semaphore(_PARSERS)
        self._readers += [
            NewsReader(source, config.news, board, parsing, clock) for source in config.news.sources
        ]
        if config.reference.source == "http":
            self._readers += [
                ReferenceReader(symbol, config.reference, refer, clock) for symbol in config.symbols
            ]

    async def run(self) -> None:
        """Ask every source again and again until cancelled; returns at once when there is none."""
        if not self._readers:
            return
        async with aiohttp.ClientSession(headers=_HEADERS) as session, asyncio.TaskGroup() as tasks:
            for reader in self._readers:
                tasks.create_task(_follow(reader, session, self._clock), name=reader.name)


class NewsReader:
    """Reads one feed into the board."""

    def __init__(
        self,
        source: NewsSource,
        config: NewsConfig,
        board: NewsBoard,
        parsing: asyncio.Semaphore,
        clock: Clock,
    ) -> None:
        self.name = f"news {source.name}"
        self.every_s: float = config.every
        self._timeout_s: float = config.timeout
        self._source, self._board, self._parsing, self._clock = source, board, parsing, clock
        self._validators: dict[str, str] = {}  # what the server needs to say that nothing changed
        self._digest = b""  # of the body that was read last: some servers never say so

    async def read(self, session: aiohttp.ClientSession) -> None:
        """One visit. Raises one of _AWAY."""
        async with (
            asyncio.timeout(self._timeout_s),
            session.get(self._source.url, headers=self._validators) as response,
        ):
            if response.status == _UNCHANGED:
                return
            body, validators = await _body(response), conditions(response.headers)
        if (digest := sha256(body).digest()) != self._digest:
            async with self._parsing:
                entries = await read_entries(body)
            if entries.defect:
                raise CodecError(entries.defect, body[:200])
            new = self._board.add(self._source, entries.found, self._clock.now_ns())
            log.debug("news read", source=self._source.name, entries=len(entries.found), new=new)
        self._digest, self._validators = digest, validators


class ReferenceReader:
    """Asks another venue for the price of one symbol."""

    def __init__(
        self, symbol: str, config: ReferenceConfig, refer: Callable[[str, float, int], None], clock: Clock
    ) -> None:
        self.name = f"reference {symbol}"
        self.every_s: float = config.every
        self._timeout_s: float = config.timeout
        quote = symbol.split("-")[1] if "-" in symbol else ""
        filled = config.url.replace("{base}", coin(symbol)).replace("{quote}", quote)
        self._url = filled.replace("{symbol}", symbol)
        self._path = config.field.split(".")
        self._symbol, self._refer, self._clock = symbol, refer, clock

    async def read(self, session: aiohttp.ClientSession) -> None:
        """One visit. Raises one of _AWAY."""
        async with asyncio.timeout(self._timeout_s), session.get(self._url) as response:
            body = await _body(response)
        self._refer(self._symbol, price_in(body, self._path), self._clock.now_ns())


async def _follow(reader: NewsReader | ReferenceReader, session: aiohttp.ClientSession, clock: Clock) -> None:
    failures = 0
    while True:
        try:
            await reader.read(session)
        except _AWAY as error:
            if not failures:
                log.warning("source is away", source=reader.name, error=str(error) or type(error).__name__)
            failures += 1
        else:
            if failures:
                log.info("source is back", source=reader.name, failures=failures)
            failures = 0
        await clock.sleep_real(reader.every_s * min(_SLOWEST, 2**failures))


async def _body(response: aiohttp.ClientResponse) -> bytes:
    """What the server says, if it is well and not endless. Raises CodecError."""
    if response.status != _OK:
        raise CodecError(f"status {response.status}", b"")
    body = bytearray()
    async for chunk in response.content.iter_chunked(65_536):
        body += chunk
        if len(body) > _MOST_BYTES:
            raise CodecError(f"more than {_MOST_BYTES} bytes", b"")
    return bytes(body)


def conditions(headers: Mapping[str, str]) -> dict[str, str]:
    """The headers with which a server need not send again what it sent with these."""
    told = {"If-None-Match": headers.get("ETag"), "If-Modified-Since": headers.get("Last-Modified")}
    return {name: text for name, text in told.items() if text and text.isprintable()}  # else not to be sent


def price_in(body: bytes, path: Sequence[str]) -> float:
    """The price at a path such as data, 0, last. Raises CodecError when none is there."""
    try:
        value: Any = msgspec.json.decode(body)
        for key in path:
            value = value[int(key)] if isinstance(value, list) else value[key]
        price = float(value)
    except (ValueError, TypeError, LookupError, RecursionError, OverflowError) as error:
        raise CodecError(f"no price at {'.'.join(path)}", body) from error
    if not (isfinite(price) and price > 0):
        raise CodecError(f"{price} is no price", body)
    return price
