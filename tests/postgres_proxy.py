"""A way to Postgres that can be cut: at any moment, or just after a commit that nobody hears of."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final
from urllib.parse import quote, unquote

_SOCKET: Final = ".s.PGSQL.5432"
_CHUNK: Final = 65536


# The word, and the end of a COPY that is a transaction by itself (CopyDone).
_COMMITS = (b"COMMIT", b"c\0\0\0\4")
_BIND, _SYNC = b"B", b"S\0\0\0\4"  # a statement that is a transaction by itself begins and ends with them


class Proxy:
    """Relays between sockets.

    `swallow_commits`: the server commits, the client is cut off unanswered.

    `refuses`: new connections are closed at once.
    """

    def __init__(self, server: str) -> None:
        self._server = server
        self._writers: set[asyncio.StreamWriter] = set()
        self.swallow_commits = False
        self.swallowed = 0
        self.refuses = False
        self.dsn = ""

    def cut(self) -> None:
        """Drop every connection."""
        for writer in self._writers:
            writer.close()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.refuses:
            writer.close()
            return
        from_server, to_server = await asyncio.open_unix_connection(self._server)
        self._writers |= {writer, to_server}
        try:
            async with asyncio.TaskGroup() as tasks:
                back = tasks.create_task(self._relay(from_server, writer), name="back")
                tasks.create_task(self._forth(reader, to_server, back), name="forth")
        finally:
            for each in (writer, to_server):
                each.close()
                self._writers.discard(each)

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(_CHUNK):
                writer.write(data)
                await writer.drain()
        writer.close()

    async def _forth(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, back: asyncio.Task[None]
    ) -> None:
        begun = False
        with contextlib.suppress(OSError):
            while data := await reader.read(_CHUNK):
                alone = not begun and data.startswith(_BIND) and data.endswith(_SYNC)
                begun = b"BEGIN" in data or (begun and b"COMMIT" not in data)
                if self.swallow_commits and (alone or any(end in data for end in _COMMITS)):
                    self.swallowed += 1
                    back.cancel()
                    writer.write(data)
                    writer.write_eof()  # the server carries the commit out, and answers nobody
                    break
                writer.write(data)
                await writer.drain()
        if not self.swallow_commits:
            writer.close()


@asynccontextmanager
async def proxied(dsn: str, folder: Path) -> AsyncIterator[Proxy]:
    """A proxy before the server of `dsn`; its own address is `proxy.dsn`."""
    found = re.search(r"host=([^&]+)", dsn)
    assert found is not None
    proxy = Proxy(f"{unquote(found[1])}/{_SOCKET}")
    server = await asyncio.start_unix_server(proxy.serve, folder / _SOCKET)
    proxy.dsn = dsn.replace(found[1], quote(str(folder), safe=""))
    try:
        yield proxy
    finally:
        server.close()
        proxy.cut()
