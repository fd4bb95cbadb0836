"""The entries of an RSS or Atom feed: bytes by strangers in, a few plain fields out.

The parser is large, and slow on what was made to be: an address of 100 kB keeps it busy for a minute, in a
regular expression that lets nothing else run. So it works in a process of its own (`read_entries`), with a
bound on time and memory, which is killed when it is not done: nothing it does can hold up or end ours.

Run as a program it reads a feed from stdin and writes `Entries` to stdout.
"""

from __future__ import annotations

import asyncio
import calendar
import os
import sys
from importlib import import_module
from io import BytesIO
from typing import Any, Final

import msgspec

from engine.core.times import NS_PER_S

MOST_ENTRIES: Final = 200  # of one visit
_LONGEST_FIELD: Final = 4_000  # characters; what is shown is cut further
_TIMEOUT_S: Final = 30.0  # real time, its start included
_CPU_S: Final = 10
_MEMORY_BYTES: Final = 1 << 30
_LATEST_NS: Final = 2**63


class Found(msgspec.Struct, frozen=True, kw_only=True):
    """One entry of a feed as it was read. `ts_published` is None where the feed gives no date."""

    title: str
    url: str = ""
    entry_id: str = ""
    ts_published: int | None = None
    sentiment: float | None = None


class Entries(msgspec.Struct, frozen=True):
    """What a feed holds. `defect` says why it is no feed at all."""

    found: list[Found] = []
    defect: str = ""


_NOTHING: Final = Entries(defect="the parser failed")


async def read_entries(body: bytes) -> Entries:
    """Parse a feed beside this process. Raises OSError (TimeoutError too) when that cannot be done."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-P", "-m", __name__),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        env={"PYTHONPATH": os.pathsep.join(sys.path)},  # and none of our secrets
    )
    try:
        async with asyncio.timeout(_TIMEOUT_S):
            output, _ = await process.communicate(body)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return msgspec.msgpack.decode(output, type=Entries) if process.returncode == 0 else _NOTHING


def entries(body: bytes) -> Entries:
    """Parse a feed in this process."""
    feed = import_module("feedparser").parse(BytesIO(body))  # a stream: bytes alone could name a file
    if feed.bozo and not feed.entries:
        return Entries(defect=f"no feed: {feed.bozo_exception}"[:200])
    return Entries([_found(entry) for entry in feed.entries[:MOST_ENTRIES]])


def _found(entry: Any) -> Found:
    return Found(
        title=_text(entry.get("title")),
        url=_text(entry.get("link")),
        entry_id=_text(entry.get("id")),
        ts_published=_moment(entry),
        sentiment=_number(entry.get("sentiment")),
    )


def _text(value: object) -> str:
    """As it can be written down: half a surrogate pair is no character."""
    return "" if value is None else str(value)[:_LONGEST_FIELD].encode(errors="replace").decode()


def _moment(entry: Any) -> int | None:
    """When it was published; None for no date, and for years such as 0 and 9999 that stand for none."""
    for name in ("published_parsed", "updated_parsed"):
        if name in entry and (parsed := entry[name]) is not None:
            try:
                ts = calendar.timegm(parsed) * NS_PER_S
            except (ValueError, OverflowError):
                continue
            return ts if 0 < ts < _LATEST_NS else None
    return None


def _number(text: object) -> float | None:
    """Some feeds carry a `sentiment` of -1 to 1 with each entry."""
    try:
        return float(str(text))
    except ValueError:
        return None


def _main() -> None:
    import resource  # there is none on Windows

    os.nice(10)
    for kind, bound in ((resource.RLIMIT_CPU, _CPU_S), (resource.RLIMIT_AS, _MEMORY_BYTES)):
        _, most = resource.getrlimit(kind)
        resource.setrlimit(kind, (bound if most == resource.RLIM_INFINITY else min(bound, most), most))
    made = msgspec.msgpack.encode(entries(sys.stdin.buffer.read()))
    sys.stdout.buffer.write(made)


if __name__ == "__main__":
    _main()
