"""REST and sockets through a forward proxy: with `proxy` set nothing reaches the venue beside it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from engine.clock import SystemClock
from engine.exchange.okx.feed import OkxMarketFeed
from engine.exchange.okx.venue import OkxVenue
from tests.fixtures.okx.scripted import ok, running, scripted
from tests.waiting import until


@dataclass
class Proxy:
    """A forward proxy for plain HTTP and for tunnels (CONNECT); `asked` are the first lines of what came."""

    url: str = ""
    asked: list[str] = field(default_factory=list)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            head = await reader.readuntil(b"\r\n\r\n")
            method, target, _ = head.split(b"\r\n", 1)[0].decode().split()
            self.asked.append(f"{method} {target}")
            tunnel = method == "CONNECT"
            host, port = target.split(":") if tunnel else _address(target)
            there, back = await asyncio.open_connection(host, int(port))
            if tunnel:
                writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
            else:
                back.write(head)
            try:
                await asyncio.gather(_pipe(reader, back), _pipe(there, writer))
            finally:
                back.close()
        writer.close()


def _address(url: str) -> tuple[str, str]:
    parts = urlsplit(url)
    return str(parts.hostname), str(parts.port)


async def _pipe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65_536):
        writer.write(data)
        await writer.drain()
    with suppress(OSError):
        writer.write_eof()


@asynccontextmanager
async def proxied() -> AsyncIterator[Proxy]:
    proxy = Proxy()
    server = await asyncio.start_server(proxy.serve, "127.0.0.1", 0)
    async with server:
        proxy.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        yield proxy


async def test_rest_and_sockets_go_through_the_proxy() -> None:
    async with scripted() as venue, proxied() as proxy:
        venue.answers["GET account/balance"] = ok({"details": []})
        config = venue.config(proxy=proxy.url)
        feed = OkxMarketFeed(config, ["BTC-USDT-SWAP"], ["1m"], SystemClock())
        account = OkxVenue(config, SystemClock())
        async with running(feed.run()), running(account.run()):
            await account.balance()
            await until(lambda: all(feed.connected.values()))
            await until(lambda: all(link.up for link in account.stream.links.values()))
            host = venue.url.removeprefix("http://")
            assert proxy.asked.count(f"CONNECT {host}") == 4
            assert any(line.startswith(f"GET {venue.url}/api/v5/public/time") for line in proxy.asked)
            sockets = {path: len(all_) for path, all_ in venue.sockets.items()}
            assert sockets == {"public": 1, "private": 1, "business": 2}
