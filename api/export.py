"""The JSON files of a nof0 data folder, with what the API would answer: for front ends that read files."""

from __future__ import annotations

import asyncio
import os
import re
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import structlog

from api.app import ENDPOINTS
from api.cache import LiveCache
from api.endpoint import Sources
from api.http import encode
from api.routes.analytics import OneQuery
from api.routes.analytics import one as analytics_of
from api.tallies import Tallies
from engine.clock import Clock
from engine.core.errors import StoreUnavailable
from engine.files import writing
from engine.journal.postgres.reader import JournalReader

log = structlog.get_logger()

NAMES: Final = (
    *("crypto-prices", "account-totals", "trades", "positions", "analytics", "leaderboard"),
    *("since-inception-values", "conversations", "manager_state"),
)
_ROUTES: Final = {"manager_state": "allocations"}  # of files that are not named for theirs
_MAKERS: Final = {endpoint.path.removeprefix("/api/"): endpoint for endpoint in ENDPOINTS}
_STRANGE: Final = re.compile(r"[^A-Za-z0-9._-]")  # not in a file's name


async def export(sources: Sources, folder: Path) -> list[str]:
    """Write the files, each whole or not at all: nine, and `analytics-{modelId}.json` for every trader.

    Raises StoreUnavailable before the first file is touched, and ConfigError when one cannot be written.
    """
    files: dict[str, bytes] = {}
    for name in NAMES:
        endpoint: Any = _MAKERS[_ROUTES.get(name, name)]
        files[f"{name}.json"] = encode(await endpoint.make(sources, endpoint.query()))
    for trader in await sources.reader.traders():
        name = _STRANGE.sub("_", trader.trader_id)
        query = OneQuery(model_id=trader.trader_id)
        files[f"analytics-{name}.json"] = encode(await analytics_of(sources, query))
    await asyncio.to_thread(_write, folder, files)
    return sorted(files)


def _write(folder: Path, files: dict[str, bytes]) -> None:
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in files.items():
            unfinished = folder / f".{name}.tmp"
            unfinished.write_bytes(content)
            os.replace(unfinished, folder / name)


@dataclass(frozen=True, slots=True)
class Stores:
    """What is exported: addresses of the database and of Redis, the environment there, its engine time."""

    postgres: str
    redis: str
    env: str
    clock: Clock


async def keep_exporting(stores: Stores, folder: Path, every_s: float) -> list[str]:
    """Export once and return the names, or every so many real seconds until cancelled.

    A database that is away is waited for when it is asked again and again. Raises StoreUnavailable when it
    is asked once.
    """
    clock = stores.clock
    async with AsyncExitStack() as stack:
        reader = await stack.enter_async_context(JournalReader(stores.postgres))
        cache = await stack.enter_async_context(LiveCache(stores.redis, stores.env, clock))
        sources = Sources(reader=reader, cache=cache, clock=clock, tallies=Tallies(reader))
        while True:
            try:
                names = await export(sources, folder)
                if not every_s:
                    return names
            except StoreUnavailable as error:
                if not every_s:
                    raise
                log.warning("not exported", error=str(error))
            await clock.sleep_real(every_s)
