"""`edgewise record`: what a market says, kept for `--replay`."""

from __future__ import annotations

import asyncio
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from engine.cli.startup import fail_clearly
from engine.core.words import counted

if TYPE_CHECKING:
    from engine.clock import Clock
    from engine.config.exchange import OkxConfig, Region
    from engine.exchange.okx.recorder import Recorder
    from engine.recordings import RecordingFolder

_GB = 1 << 30
_LARGEST = 256 << 20
_OVER = "\r\x1b[K"  # what is said next stands where the last line stood


def record(
    out: Annotated[Path, typer.Option(help="Folder for the files.")] = Path("recordings"),
    symbol: Annotated[list[str] | None, typer.Option(help="Markets; default BTC and ETH.")] = None,
    channel: Annotated[
        list[str] | None, typer.Option(help="Public channels of OKX; default: what the engine reads.")
    ] = None,
    region: Annotated[Literal["global", "eea", "us"], typer.Option(help="Which of OKX's hosts.")] = "global",
    demo: Annotated[bool, typer.Option("--demo", help="Demo trading's hosts.")] = False,
    url: Annotated[str, typer.Option(help="Another host, such as ws://127.0.0.1:8640 of a simulator.")] = "",
    rotate: Annotated[str, typer.Option(help="A new file after so long.")] = "1h",
    keep_gb: Annotated[
        float, typer.Option(help="The folder's bound; beyond it the oldest files go.", min=0.5)
    ] = 20.0,
    duration: Annotated[str, typer.Option("--for", help="Stop after so long, such as 30m.")] = "",
) -> None:
    """Record public channels into compressed files, which `--replay` of other commands plays back.

    No key is needed. Files are of whole blocks: a crash costs at most the last second. Stop with Ctrl-C.
    """
    from engine.clock import SystemClock
    from engine.core.errors import ConfigError
    from engine.core.instruments import venue_symbol
    from engine.core.times import NS_PER_S, parse_duration_s
    from engine.exchange.okx.recorder import DEFAULT_CHANNELS, Recorder, args_of
    from engine.recordings import RecordingFolder

    with fail_clearly("warning"):
        try:
            rotate_ns = int(parse_duration_s(rotate) * NS_PER_S)
            limit_s = parse_duration_s(duration) if duration else None
        except ValueError as error:
            raise ConfigError(f"expected a duration such as 30m or 1h: {error}") from error
        symbols = tuple(venue_symbol(each) for each in symbol or ["BTC", "ETH"])
        folder = RecordingFolder(
            out, "okx", rotate_ns=max(rotate_ns, NS_PER_S), largest=_LARGEST, keep=int(keep_gb * _GB)
        )
        clock = SystemClock()
        args = args_of(symbols, tuple(channel or DEFAULT_CHANNELS))

        async def main() -> None:
            await _run(Recorder(_config(region, url, demo=demo), args, folder, clock), folder, clock, limit_s)

        asyncio.run(main())


def _config(region: Region, url: str, *, demo: bool) -> OkxConfig:
    """Hosts to record from; no keys."""
    from engine.config.exchange import OkxConfig

    base = f"{_of_sockets(url).rstrip('/').removesuffix('/ws/v5')}/ws/v5"
    return OkxConfig(
        region=region,
        environment="demo" if demo else "live",
        ws_public_url=f"{base}/public" if url else "",
        ws_business_url=f"{base}/business" if url else "",
    )


def _of_sockets(url: str) -> str:
    """A host's address as its sockets have it; that of its REST (http) is understood. Raises ConfigError."""
    from engine.core.errors import ConfigError

    if not url or url.startswith(("ws://", "wss://")):
        return url
    if url.startswith(("http://", "https://")):
        return "ws" + url.removeprefix("http")
    raise ConfigError(f"--url {url}: expected ws://host:port")


async def _run(recorder: Recorder, folder: RecordingFolder, clock: Clock, limit_s: float | None) -> None:
    from engine.core.errors import Unavailable

    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with asyncio.TaskGroup() as tasks:
        recording = tasks.create_task(recorder.run(), name="recorder")
        telling = tasks.create_task(_tell(recorder, folder, clock), name="progress")
        try:
            async with asyncio.timeout(limit_s):
                await stop.wait()
        except TimeoutError:
            pass
        telling.cancel()
        recording.cancel()
    print(_line(recorder, folder))
    if not recorder.progress.frames:
        raise Unavailable("nothing was recorded")


async def _tell(recorder: Recorder, folder: RecordingFolder, clock: Clock) -> None:
    """One line that is written over on a terminal; a line a minute elsewhere."""
    terminal = sys.stderr.isatty()
    start, end = (_OVER, "") if terminal else ("", "\n")
    try:
        while True:
            await clock.sleep_real(1.0 if terminal else 60.0)
            print(f"{start}{_line(recorder, folder)}", end=end, file=sys.stderr, flush=True)
    finally:
        if terminal:
            print(_OVER, end="", file=sys.stderr, flush=True)


def _line(recorder: Recorder, folder: RecordingFolder) -> str:
    done = recorder.progress
    troubles = {"dropped": done.dropped, "bad": done.bad, "gaps": done.gaps, "channels refused": done.refused}
    told = "".join(f", {count:,} {name}" for name, count in troubles.items() if count)
    size = f"{folder.written / 1e6:,.2f} MB in {counted(folder.files, 'file')}"
    return f"{counted(done.frames, 'frame')}, {size}, {counted(done.up, 'connection')}{told}"
