"""What an engine will need, looked at one by one before it is started: every answer has its remedy.

Nothing is written and nothing is sent but questions. A check that fails does not hide the next one.
"""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator
from enum import StrEnum
from pathlib import Path
from typing import Final

import msgspec

from engine import build
from engine.bus_admin import overview
from engine.bus_owner import BusClaim, claimed, conflict
from engine.clock import Clock
from engine.config.settings import Settings
from engine.core.errors import ConfigError, EdgewiseError, VenueError
from engine.core.words import counted
from engine.embedded import external_addresses, known_addresses
from engine.exchange.okx.links import Network
from engine.exchange.okx.venue import OkxVenue
from engine.executor.asking import ChatMessage, ModelFailure, ModelRequest
from engine.executor.llm import LlmClient
from engine.journal.postgres_migrate import migration_states
from engine.journal.postgres_owner import Belonging, belonging
from engine.redis_bus import RedisBus
from engine.wiring.assembly import restrict
from engine.wiring.belonging import wrong_owner

_FREE_GB: Final = 2.0
_GB: Final = 1 << 30
_QUESTION: Final = 'Answer with the JSON object {"ok": true} and nothing else.'
_SCHEMA: Final = (
    b'{"type":"object","properties":{"ok":{"type":"boolean"}},"required":["ok"],"additionalProperties":false}'
)


class State(StrEnum):
    OK = "ok"
    WARN = "warn"  # it will run; somebody should look
    WRONG = "wrong"  # it will not start, or not trade


class Finding(msgspec.Struct, frozen=True):
    """What was looked at, how it is, and where that is not `ok` what to do."""

    subject: str
    state: State
    detail: str


async def examine(settings: Settings, clock: Clock, *, ask_models: bool) -> AsyncIterator[Finding]:
    """Build, folder, database, bus, venue, symbols, models. `ask_models` asks each one a short question."""
    yield Finding("program", State.OK, build.described())
    yield _folder(settings.home)
    async for finding in _stores(settings, clock):
        yield finding
    async for finding in _venue(settings, clock):
        yield finding
    async for finding in _models(settings, clock, ask=ask_models):
        yield finding


def _folder(home: Path) -> Finding:
    there = next(folder for folder in (home, *home.parents) if folder.exists())
    free_gb = shutil.disk_usage(there).free / _GB
    text = f"{home}: {free_gb:.1f} GB free"
    if free_gb < _FREE_GB:
        return Finding("disk", State.WARN, f"{text}; decision files and the spool need room")
    return Finding("disk", State.OK, text)


async def _stores(settings: Settings, clock: Clock) -> AsyncIterator[Finding]:
    servers = settings.engine.servers
    addresses = external_addresses(
        {"EDGEWISE_POSTGRES_DSN": servers.postgres_dsn, "EDGEWISE_REDIS_URL": servers.redis_url}
    )
    if addresses is None and (addresses := known_addresses(settings.home)) is None:
        text = f"none configured: the engine starts Postgres and Valkey of its own below {settings.home}"
        yield Finding("database and bus", State.OK, text)
        return
    owned = Belonging()
    try:
        states = await migration_states(addresses.postgres_dsn)
        owned = await belonging(addresses.postgres_dsn)
    except EdgewiseError as error:
        yield Finding("database", _stopped(settings), str(error))
    else:
        missing = [each.name for each in states if each.applied_at is None]
        text = (
            f"{counted(len(missing), 'migration')} to apply: the engine does at its start"
            if missing
            else "up to date"
        )
        yield _owned(settings, owned, text)
    bus = RedisBus(addresses.redis_url, settings.engine.env, clock)
    try:
        topics = await overview(bus)
        problem = _taken(settings, owned, await claimed(bus))
    except EdgewiseError as error:
        yield Finding("bus", _stopped(settings), str(error))
    else:
        if problem:
            yield Finding("bus", State.WRONG, problem)
            return
        dead = sum(topic.dead for topic in topics)
        text = (
            f"{counted(dead, 'dead letter')} to look at: edgewise bus dead"
            if dead
            else f"{len(topics)} topics, no dead letter"
        )
        yield Finding("bus", State.WARN if dead else State.OK, text)
    finally:
        await bus.aclose()


def _owned(settings: Settings, owned: Belonging, text: str) -> Finding:
    """Whose the database is, and whether an engine of the account runs on it."""
    if owned.owner is None:
        environment = settings.provider.environment
        return Finding("database", State.OK, f"{text}; the next start claims it for {environment}")
    if problem := wrong_owner(owned.owner, settings):
        return Finding("database", State.WRONG, problem)
    text = f"{text}; belongs to {owned.owner.environment}"
    if settings.provider_id in owned.running:
        text += f"; an engine of {settings.provider_id} runs: another one would stand by"
    return Finding("database", State.OK, text)


def _taken(settings: Settings, owned: Belonging, found: BusClaim) -> str:
    """Why the bus is somebody else's; "" where it is not, or where the database has no owner to compare."""
    if owned.owner is None or wrong_owner(owned.owner, settings):
        return ""
    owner, account_id = owned.owner, settings.provider_id
    wanted = BusClaim(database_id=owner.database_id, environment=owner.environment, account_id=account_id)
    return conflict(found, wanted, settings.engine.env)


def _stopped(settings: Settings) -> State:
    """Embedded servers run with the engine: that they are away while it is stopped is no fault."""
    return State.WRONG if settings.engine.servers.postgres_dsn else State.OK


async def _venue(settings: Settings, clock: Clock) -> AsyncIterator[Finding]:
    provider, name = settings.provider, settings.provider_id
    if provider.type == "hyperliquid":
        yield Finding("venue", State.WRONG, f"{name}: type hyperliquid cannot trade yet; use type okx or sim")
        return
    okx = msgspec.structs.replace(provider.okx, account_id=name)
    venue = OkxVenue(okx, clock, Network.of(okx))
    try:
        async for finding in _market(settings, venue):
            yield finding
        yield await _account(settings, venue)
    finally:
        await venue.close()


async def _market(settings: Settings, venue: OkxVenue) -> AsyncIterator[Finding]:
    try:
        listed = await venue.instruments()
    except VenueError as error:
        yield Finding("venue", State.WRONG, f"{settings.provider_id}: {error}")
        return
    yield Finding("venue", State.OK, f"{settings.provider_id}: reached, {len(listed)} swaps are listed")
    try:
        kept = restrict(settings, listed, partly=settings.provider.local)
    except ConfigError as error:
        yield Finding("symbols", State.WRONG, str(error))
        return
    lost = len(settings.market.symbols) - len(kept.market.symbols)
    text = f"{len(kept.market.symbols)} traded there" + (f", {lost} not" if lost else "")
    yield Finding("symbols", State.WARN if lost else State.OK, text)


async def _account(settings: Settings, venue: OkxVenue) -> Finding:
    try:
        await venue.check_account()
    except VenueError as error:
        return Finding("account", State.WRONG, str(error))
    trading = "orders are sent" if settings.provider.may_trade else "no orders are sent (trading_enabled)"
    text = f"key, permissions, account level, position mode and clock fit; {trading}"
    return Finding("account", State.OK, text)


async def _models(settings: Settings, clock: Clock, *, ask: bool) -> AsyncIterator[Finding]:
    aliases = {alias for trader in settings.manager.traders for alias in trader.models}
    client = LlmClient(settings.llm, clock)
    try:
        for alias in sorted(aliases & settings.llm.models.keys()):
            subject, endpoint = f"model {alias}", settings.llm.endpoint(alias)
            where = f"{endpoint.model.model_name} at {endpoint.provider.base_url}"
            if not ask:
                yield Finding(subject, State.OK, f"{where}; not asked (--ask)")
                continue
            question = (ChatMessage("user", _QUESTION),)
            reply = await client.ask(
                ModelRequest(alias=alias, messages=question, schema=_SCHEMA, deadline_s=endpoint.timeout_s)
            )
            if isinstance(reply, ModelFailure):
                yield Finding(subject, State.WRONG, f"{where}: {reply.failure.value}: {reply.detail}")
            else:
                yield Finding(subject, State.OK, f"{where}: answered in {reply.latency_ms} ms")
    finally:
        await client.aclose()
