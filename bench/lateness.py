"""An engine's market side in a process of its own: `python -m bench.lateness MINUTES RATE CPU`.

Prints, as JSON, the nanoseconds from the sending of each frame to the end of the pipeline's work on it. The
venue that sends them has the same processor: nobody else is on it.
"""

from __future__ import annotations

import asyncio
import os
import sys

import msgspec
import structlog

from bench.sockets import late_signals

if __name__ == "__main__":
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    os.sched_setaffinity(0, {int(sys.argv[3])})
    late = asyncio.run(late_signals(int(sys.argv[1]), int(sys.argv[2])))
    print(msgspec.json.encode(late).decode())
