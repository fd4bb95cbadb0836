"""Disk, database and bus: there, up to date, of this environment, and safe to rely on."""

from __future__ import annotations

import shutil
from typing import Final

from engine.bus_admin import eviction_policy, overview
from engine.bus_owner import BusClaim, claimed, conflict
from engine.clock import Clock
from engine.config.settings import Settings
from engine.core.errors import EdgewiseError
from engine.core.words import counted
from engine.doctor.findings import Finding, State
from engine.doctor.precautions import is_money
from engine.embedded import external_addresses, known_addresses
from engine.journal.postgres.migrate import lossy_settings, migration_states
from engine.journal.postgres.owner import Belonging, belonging
from engine.redis_bus import RedisBus
from engine.wiring.belonging import wrong_folder, wrong_owner, wrong_past

_FREE_GB: Final = 2.0
_GB: Final = 1 << 30


def folder(settings: Settings) -> Finding:
    """Whether the folder of the engine is this environment's, and there is room below it."""
    home = settings.home
    if problem := wrong_folder(settings):
        return Finding("disk", State.WRONG, problem)
    there = next(folder for folder in (home, *home.parents) if folder.exists())
    free_gb = shutil.disk_usage(there).free / _GB
    text = f"{home}: {free_gb:.1f} GB free"
    if free_gb < _FREE_GB:
        return Finding("disk", State.WARN, f"{text}; decision files and the spool need room")
    return Finding("disk", State.OK, text)


async def stores(settings: Settings, clock: Clock) -> tuple[list[Finding], Belonging]:
    """Database and bus, and to whom the database belongs."""
    servers = settings.engine.servers
    addresses = external_addresses(
        {"EDGEWISE_POSTGRES_DSN": servers.postgres_dsn, "EDGEWISE_REDIS_URL": servers.redis_url}
    )
    if addresses is None and (addresses := known_addresses(settings.home)) is None:
        text = f"none configured: the engine starts Postgres and Valkey of its own below {settings.home}"
        return [Finding("database and bus", State.OK, text)], Belonging()
    found, owned = await _database(settings, addresses.postgres_dsn)
    return [*found, *await _bus(settings, addresses.redis_url, owned, clock)], owned


async def _database(settings: Settings, dsn: str) -> tuple[list[Finding], Belonging]:
    try:
        states = await migration_states(dsn)
        owned = await belonging(dsn)
        lossy = await lossy_settings(dsn)
    except EdgewiseError as error:
        return [Finding("database", _stopped(settings), str(error))], Belonging()
    missing = [each.name for each in states if each.applied_at is None]
    text = (
        f"{counted(len(missing), 'migration')} to apply: the engine does at its start"
        if missing
        else "up to date"
    )
    found = [_owned(settings, owned, text)]
    if lossy:
        text = f"{', '.join(lossy)}: a crash of the server may lose what was journalled; set them on"
        found.append(Finding("durability", State.WRONG if is_money(settings) else State.WARN, text))
    return found, owned


async def _bus(settings: Settings, url: str, owned: Belonging, clock: Clock) -> list[Finding]:
    bus = RedisBus(url, settings.engine.env, clock)
    try:
        topics = await overview(bus)
        problem = _taken(settings, owned, await claimed(bus))
        policy = await eviction_policy(bus)
    except EdgewiseError as error:
        return [Finding("bus", _stopped(settings), str(error))]
    finally:
        await bus.aclose()
    if problem:
        return [Finding("bus", State.WRONG, problem)]
    dead = sum(topic.dead for topic in topics)
    text = (
        f"{counted(dead, 'dead letter')} to look at: edgewise bus dead"
        if dead
        else f"{len(topics)} topics, no dead letter"
    )
    found = [Finding("bus", State.WARN if dead else State.OK, text)]
    if policy:
        text = f"a full Redis drops keys ({policy}), unread messages too; set maxmemory-policy noeviction"
        found.append(Finding("eviction", State.WARN, text))
    return found


def _owned(settings: Settings, owned: Belonging, text: str) -> Finding:
    """Whose the database is, and whether an engine of the account runs on it."""
    if owned.owner is None:
        if problem := wrong_past(owned.traded, settings):
            return Finding("database", State.WRONG, problem)
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
