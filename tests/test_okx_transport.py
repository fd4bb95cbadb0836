"""The seam to a WebSocket library holds for each of them, against a real server with real misbehaviour."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
from websockets.asyncio.server import ServerConnection, serve
from websockets.frames import Frame, Opcode
from websockets.http11 import Request
from websockets.server import ServerProtocol

from engine.core.errors import VenueMisconfigured
from engine.exchange.okx import links, socket
from engine.exchange.okx.links import connector
from engine.exchange.okx.socket import FRAMES_WAITING, LARGEST_FRAME, Connect, Socket, SocketClosed

PATIENCE_S = 20.0
SMALL = 128  # bytes at a time, too few for long frames


@pytest.fixture(params=["websockets", "picows"])
def connect(request: pytest.FixtureRequest) -> Connect:
    if request.param == "picows":
        pytest.importorskip("picows")
    return connector(request.param)


@asynccontextmanager
async def talking(
    connect: Connect, serving: Callable[[ServerConnection], Awaitable[None]]
) -> AsyncIterator[Socket]:
    """An open socket to a server that does `serving` with each connection."""
    async with serve(serving, "127.0.0.1", 0, max_size=2 * LARGEST_FRAME) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        opened = await connect(f"ws://127.0.0.1:{port}/ws/v5/public", 5.0)
        try:
            async with asyncio.timeout(PATIENCE_S):
                yield opened
        finally:
            await opened.close()


async def frames(opened: Socket, count: int) -> list[bytes]:
    """The next frames; that there are more at once is an error."""
    found: list[bytes] = []
    while len(found) < count:
        found += await opened.recv()
    assert len(found) == count
    return found


async def closed_by(opened: Socket) -> SocketClosed:
    """Read until the end."""
    try:
        while True:
            await opened.recv()
    except SocketClosed as end:
        return end


async def test_frames_go_both_ways_in_order_whole_and_as_text(connect: Connect) -> None:
    async def echo(server: ServerConnection) -> None:
        async for message in server:
            assert isinstance(message, str)  # OKX reads only text frames
            await server.send(message)
            await server.send([message, "+", message])  # one message in three frames
            await server.send(message.encode())

    async with talking(connect, echo) as opened:
        for frame in (b"ping", b'{"op":"subscribe"}', b"x" * 300_000):
            await opened.send(frame)
            assert await frames(opened, 3) == [frame, frame + b"+" + frame, frame]


@pytest.mark.parametrize("size", [1, 2, 3, 129, 70_000, 1_000_000])
async def test_frames_are_whole_however_the_bytes_are_cut(connect: Connect, size: int) -> None:
    """Right behind the answer to the handshake, `size` bytes at a time: every length of header, a message in
    parts with a ping between them, bytes that are no text.
    """
    lengths = (0, 1, 5, 125, 126, 127, *((65_535, 65_536) if size > SMALL else ()))
    sent = [
        *(Frame(Opcode.TEXT, b"x" * length) for length in lengths),
        *(Frame(Opcode.TEXT, b"in ", fin=False), Frame(Opcode.PING, b"?"), Frame(Opcode.CONT, b"parts")),
        *(Frame(Opcode.BINARY, b"bytes"), Frame(Opcode.PONG, b"!"), Frame(Opcode.TEXT, b"last")),
    ]

    async def serve_raw(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        protocol = ServerProtocol()
        protocol.receive_data(await reader.readuntil(b"\r\n\r\n"))
        (request,) = protocol.events_received()
        assert isinstance(request, Request)
        protocol.send_response(protocol.accept(request))
        data = b"".join([*protocol.data_to_send(), *(frame.serialize(mask=False) for frame in sent)])
        for at in range(0, len(data), size):
            writer.write(data[at : at + size])
            await writer.drain()
            await asyncio.sleep(0)  # the client reads
        writer.close()

    server = await asyncio.start_server(serve_raw, "127.0.0.1", 0)
    async with server:
        opened = await connect(f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}/", 5.0)
        async with asyncio.timeout(PATIENCE_S):
            told = [b"x" * length for length in lengths]
            assert await frames(opened, len(told) + 3) == [*told, b"in parts", b"bytes", b"last"]
        await opened.close()


@pytest.mark.parametrize("close", [(4004, "no data received in 30s"), (1001, "")])
async def test_close_code_and_reason_come_after_the_last_frame(
    connect: Connect, close: tuple[int, str]
) -> None:
    async def leave(server: ServerConnection) -> None:
        await server.send("last")
        await server.close(*close)

    async with talking(connect, leave) as opened:
        assert await frames(opened, 1) == [b"last"]
        end = await closed_by(opened)
        assert (end.close_code, end.reason) == close
        with pytest.raises(SocketClosed):
            await opened.send(b"ping")


async def test_a_close_without_code_or_reason_is_told_as_such(connect: Connect) -> None:
    async def leave(server: ServerConnection) -> None:
        server.protocol.send_close()
        for data in server.protocol.data_to_send():
            server.transport.write(data)
        await server.wait_closed()

    async with talking(connect, leave) as opened:
        end = await closed_by(opened)
        assert (end.close_code, end.reason) == (1005, "")


async def test_a_cut_connection_has_code_1006(connect: Connect) -> None:
    async def vanish(server: ServerConnection) -> None:
        await server.recv()
        server.transport.abort()

    async with talking(connect, vanish) as opened:
        await opened.send(b"hello")
        assert (await closed_by(opened)).close_code == 1006


async def test_protocol_ping_is_answered(connect: Connect) -> None:
    answered = asyncio.Event()

    async def ping(server: ServerConnection) -> None:
        await (await server.ping())
        answered.set()
        await server.wait_closed()

    async with talking(connect, ping) as opened:
        reader = asyncio.create_task(closed_by(opened), name="reader")
        await answered.wait()
        await opened.close()
        await reader


async def test_a_frame_beyond_the_limit_ends_the_connection(connect: Connect) -> None:
    async def flood(server: ServerConnection) -> None:
        await server.send("x" * (LARGEST_FRAME + 1))
        await server.wait_closed()

    async with talking(connect, flood) as opened:
        await closed_by(opened)


async def test_a_slow_reader_holds_the_server_back_and_loses_nothing(connect: Connect) -> None:
    size, count = 64 * 1024, 4 * FRAMES_WAITING
    sent = 0

    async def push(server: ServerConnection) -> None:
        nonlocal sent
        for number in range(count):
            await server.send(f"{number:08}" + "x" * size)
            sent += 1

    async with talking(connect, push) as opened:
        found = [frame[:8] for frame in await opened.recv()]
        seen = -1
        while seen != sent:  # until the server stands still
            seen = sent
            await asyncio.sleep(0.2)
        assert sent < count
        while len(found) < count:
            found += [frame[:8] for frame in await opened.recv()]
        assert found == [f"{number:08}".encode() for number in range(count)]
        assert (await closed_by(opened)).close_code == 1000


async def test_waiting_for_a_frame_can_be_cancelled_and_begun_again(connect: Connect) -> None:
    async def answer(server: ServerConnection) -> None:
        async for message in server:
            await server.send(message)

    async with talking(connect, answer) as opened:
        for _ in range(3):
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.02):
                    await opened.recv()
        await opened.send(b"now")
        assert await frames(opened, 1) == [b"now"]


async def test_where_nobody_listens_the_socket_is_closed_at_once(connect: Connect) -> None:
    async with serve(lambda server: server.wait_closed(), "127.0.0.1", 0) as server:
        port = next(iter(server.sockets)).getsockname()[1]
    with pytest.raises(SocketClosed) as caught:
        await connect(f"ws://127.0.0.1:{port}/", 5.0)
    assert caught.value.close_code == 1006


async def test_a_server_that_does_not_answer_the_handshake_times_out(connect: Connect) -> None:
    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    server = await asyncio.start_server(silent, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        with pytest.raises((TimeoutError, SocketClosed)):
            await connect(f"ws://127.0.0.1:{port}/", 0.2)


async def test_a_refused_handshake_is_a_closed_socket(connect: Connect) -> None:
    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(refuse, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(SocketClosed, match="503"):
            await connect(f"ws://127.0.0.1:{port}/", 5.0)


def test_auto_takes_what_is_installed_and_a_missing_library_has_a_remedy(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(links, "find_spec", lambda name: None)
    assert isinstance(connector("auto"), socket.WebsocketsConnect)
    with pytest.raises(VenueMisconfigured, match=r"pip install 'edgewise\[fast\]'"):
        connector("picows")
