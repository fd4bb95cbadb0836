"""Answers that are bytes already, and leave as they are."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Final

from aiohttp import ClientConnectionResetError, HttpVersion11, web
from aiohttp.abc import AbstractStreamWriter
from aiohttp.helpers import rfc822_formatted_time
from aiohttp.web_request import BaseRequest

HEADERS: Final = {  # of every answer
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
}
_LINES: Final = {
    status: f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode()
    for status in (HTTPStatus.OK, HTTPStatus.NOT_MODIFIED)
}


def lines(headers: Mapping[str, str]) -> bytes:
    """Headers as they go over the wire, those of every answer among them."""
    return "".join(f"{name}: {value}\r\n" for name, value in {**HEADERS, **headers}.items()).encode()


def takes_ready(request: web.Request) -> bool:
    """Whether a request is of the usual kind: a GET of HTTP/1.1, on a connection that stays."""
    return request.method == "GET" and request.keep_alive and request.version == HttpVersion11


class Ready(web.StreamResponse):
    """200 or 304, whose `head` are `lines` of headers: one write, past all that puts other answers together.

    Only for requests that take it (`takes_ready`). What is in `headers` besides goes with it.
    """

    def __init__(self, status: HTTPStatus, head: bytes, body: bytes = b"") -> None:
        super().__init__(status=status, reason=status.phrase)
        self._line, self._head, self._ready_body = _LINES[status], head, body

    @property
    def keep_alive(self) -> bool:
        """The connection stays."""
        return True

    async def prepare(self, request: BaseRequest) -> AbstractStreamWriter | None:
        """Send it all. Raises ClientConnectionResetError for a client that has gone."""
        transport = request.transport
        if transport is None or transport.is_closing():
            raise ClientConnectionResetError("Cannot write to closing transport")
        own = "".join([f"{name}: {value}\r\n" for name, value in self.headers.items()])
        rest = f"{own}Date: {rfc822_formatted_time()}\r\n\r\n".encode()
        transport.write(b"".join((self._line, self._head, rest, self._ready_body)))
        await request.writer.drain()
        return None

    async def write_eof(self, data: bytes = b"") -> None:
        """Nothing is left to send."""
