"""What an engine will need, looked at one by one before it is started: every answer has its remedy.

Nothing is written and nothing is sent but questions. A check that fails does not hide the next one.
"""

from __future__ import annotations

from collections.abc import AsyncIterator

from engine import build
from engine.clock import Clock
from engine.config.settings import Settings
from engine.doctor.findings import Finding, State
from engine.doctor.models import models
from engine.doctor.precautions import precautions
from engine.doctor.stores import folder, stores
from engine.doctor.venue import venue

__all__ = ["Finding", "State", "examine"]


async def examine(settings: Settings, clock: Clock, *, ask_models: bool) -> AsyncIterator[Finding]:
    """Build, folder, database, bus, venue, symbols, account, precautions, models.

    `ask_models` asks each model a short question.
    """
    yield Finding("program", State.OK, build.described())
    yield folder(settings)
    found, owned = await stores(settings, clock)
    for finding in found:
        yield finding
    async for finding in venue(settings, owned, clock):
        yield finding
    for finding in precautions(settings):
        yield finding
    async for finding in models(settings, clock, ask=ask_models):
        yield finding
