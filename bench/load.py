"""Load for an HTTP server, from a process of its own: connections that ask again once they are answered.

`python -m bench.load` reads jobs from its input, one JSON a line, and answers each with what it saw. Nobody
thinks between two requests, so the server is busy all the time and latencies are those of a full house.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from importlib import import_module
from time import perf_counter_ns
from typing import Final, cast

import msgspec

_END_OF_HEAD: Final = b"\r\n\r\n"
_LENGTH: Final = b"content-length: "
_BITS: Final = 7  # of a latency that are kept: it is known to 1.6 %
_NS_PER_S: Final = 1_000_000_000
_NS_PER_US: Final = 1000


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """Ask `port` of this machine for `paths` in turns, on some connections for some time."""

    port: int
    paths: list[str]
    connections: int
    seconds: float
    cpu: int | None = None  # this process stays on


class Seen(msgspec.Struct, frozen=True, kw_only=True):
    """How many requests were answered, by status, and how long they took."""

    seconds: float
    statuses: dict[int, int]
    body_bytes: int
    p50_us: float
    p99_us: float

    @property
    def per_s(self) -> float:
        """Requests a second."""
        return sum(self.statuses.values()) / self.seconds


class Histogram:
    """Counts of durations, in buckets that grow with them, as HdrHistogram has them."""

    def __init__(self) -> None:
        self._counts: Counter[int] = Counter()

    def add(self, ns: int) -> None:
        shift = max(0, ns.bit_length() - _BITS)
        self._counts[ns >> shift << shift] += 1

    def at(self, share: float) -> int:
        """Nanoseconds that this share of the durations did not exceed; 0 of none."""
        lengths = sorted(self._counts)
        totals = itertools.accumulate(self._counts[ns] for ns in lengths)
        wanted = share * self._counts.total()
        return next((ns for ns, total in zip(lengths, totals, strict=True) if total >= wanted), 0)


class _Totals:
    """Of all connections of a job."""

    def __init__(self, requests: Sequence[bytes], seconds: float) -> None:
        self.requests: Iterator[bytes] = itertools.cycle(requests)
        self.until_ns = perf_counter_ns() + int(seconds * _NS_PER_S)
        self.latencies, self.statuses, self.body_bytes = Histogram(), Counter[int](), 0


class _Connection(asyncio.Protocol):
    """Asks, reads the whole answer, asks again."""

    def __init__(self, totals: _Totals) -> None:
        self._totals = totals
        self._transport: asyncio.WriteTransport | None = None
        self._head, self._left, self._status, self._began_ns = b"", 0, 0, 0
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.WriteTransport, transport)  # uvloop's is no subclass
        self._ask()

    def _ask(self) -> None:
        assert self._transport is not None
        self._began_ns = perf_counter_ns()
        if self._began_ns < self._totals.until_ns:
            self._transport.write(next(self._totals.requests))
        else:
            self._transport.close()

    def data_received(self, data: bytes) -> None:
        if not self._status:
            head, end, rest = (self._head + data).partition(_END_OF_HEAD)
            if not end:
                self._head += data
                return
            self._read_head(head.lower())
            data = rest
        self._left -= len(data)
        if not self._left:
            self._totals.latencies.add(perf_counter_ns() - self._began_ns)
            self._totals.statuses[self._status] += 1
            self._head, self._status = b"", 0
            self._ask()

    def _read_head(self, head: bytes) -> None:
        self._status = int(head[9:12])
        length = head.partition(_LENGTH)[2].partition(b"\r\n")[0]
        self._left = int(length or 0)
        self._totals.body_bytes += self._left

    def connection_lost(self, error: Exception | None) -> None:
        self.ended.set_result(None)


async def load(job: Job) -> Seen:
    """Do a job. Raises OSError when nobody listens."""
    requests = [f"GET {path} HTTP/1.1\r\nHost: bench\r\n\r\n".encode() for path in job.paths]
    totals, began_ns = _Totals(requests, job.seconds), perf_counter_ns()
    loop = asyncio.get_running_loop()
    made = [
        await loop.create_connection(lambda: _Connection(totals), "127.0.0.1", job.port)
        for _ in range(job.connections)
    ]
    await asyncio.gather(*(connection.ended for _, connection in made))
    return Seen(
        seconds=(perf_counter_ns() - began_ns) / _NS_PER_S,
        statuses=dict(totals.statuses),
        body_bytes=totals.body_bytes,
        p50_us=totals.latencies.at(0.5) / _NS_PER_US,
        p99_us=totals.latencies.at(0.99) / _NS_PER_US,
    )


def fastest_loop() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """uvloop's, where it is installed."""
    try:
        new: Callable[[], asyncio.AbstractEventLoop] = import_module("uvloop").new_event_loop
    except ImportError:
        return None
    return new


def main() -> None:
    with asyncio.Runner(loop_factory=fastest_loop()) as runner:
        for line in sys.stdin:
            job = msgspec.json.decode(line, type=Job)
            if job.cpu is not None:
                os.sched_setaffinity(0, {job.cpu})
            print(msgspec.json.encode(runner.run(load(job))).decode(), flush=True)


if __name__ == "__main__":
    main()
