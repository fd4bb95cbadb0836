"""`python -m bench [--json] [SECTION ...]`. Exit code 1 when a path and its reference are not equal."""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Callable
from time import monotonic
from typing import Final

import msgspec
import structlog
from rich.console import Console

from bench import (
    api,
    backtest,
    decision,
    feeds,
    indicators,
    machines,
    market,
    reconcile,
    sockets,
    storage,
    wire,
)
from bench.measure import Row, Run, Unequal
from bench.table import Report, report, show
from engine.build import described

Section = Callable[[Run], list[Row]]
SECTIONS: Final[dict[str, Section]] = {
    "decode": wire.decoding,
    "book": wire.books,
    "feeds": feeds.feeds,
    "pipeline": market.pipeline,
    "sockets": sockets.sockets,
    "indicators": indicators.closed_candles,
    "scheduler": machines.scheduler,
    "matching": machines.matching,
    "backtest": backtest.crosses,
    "storage": storage.storage,
    "reconcile": reconcile.reconcile,
    "decision": decision.decision,
    "api": api.api,
}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument(
        "sections", nargs="*", metavar="SECTION", help=f"all, or some of {', '.join(SECTIONS)}"
    )
    parser.add_argument("--json", action="store_true", help="the rows as JSON")
    parser.add_argument("--quick", action="store_true", help="small sizes: does every path work?")
    parser.add_argument(
        "--scale", type=float, default=1.0, help="of the journal behind the API; 1: a million fills"
    )
    parser.add_argument("--folder", default="", help="where that journal stays, and is found again")
    options = parser.parse_args()
    if unknown := [name for name in options.sections if name not in SECTIONS]:
        parser.error(f"no section {unknown[0]!r}; there are {', '.join(SECTIONS)}")
    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
    load, began = os.getloadavg()[0], monotonic()
    progress = Console(stderr=True)
    rows: list[Row] = []
    run = Run(quick=options.quick, scale=options.scale, folder=options.folder)
    run.notes.append(f"edgewise {described()}")
    try:
        for name in options.sections or SECTIONS:
            with progress.status(f"measuring {name}"):
                rows += SECTIONS[name](run)
    except Unequal as error:
        progress.print(f"{name}: not equal, so not measured: {error}")
        return 1
    finally:  # what took minutes to measure is shown, whatever fails after it
        if rows:
            _print(report(rows, run.notes, load, monotonic() - began), as_json=options.json)
    return 0


def _print(made: Report, *, as_json: bool) -> None:
    if as_json:
        print(msgspec.json.format(msgspec.json.encode(made), indent=2).decode())
    else:
        # A table in a file or a pipe is as wide as it needs to be.
        show(made, Console(width=None if sys.stdout.isatty() else 170))


if __name__ == "__main__":
    sys.exit(main())
