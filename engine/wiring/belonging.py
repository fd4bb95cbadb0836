"""May this engine use this database, this account's books and this Redis? Asked at every start.

A database belongs to one environment (see ProviderConfig.environment): what is kept by symbol has the prices
of one venue. Accounts of that environment share it. A Redis belongs to one database, and each bus in it to
one account. The folder of the engine, with its decision files and its spool, belongs to an environment too.
The first engine that comes claims what nobody has; nobody needs to set anything.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import Final

import structlog

from engine.bus_owner import BusClaim, claim, claimed, conflict
from engine.clock import Clock
from engine.config.settings import Settings
from engine.core.errors import BusUnavailable, ConfigError
from engine.journal.postgres.owner import Owner, OwnerTables, VenueAccount, belonging
from engine.redis_bus import RedisBus
from engine.retry import patiently

log = structlog.get_logger()

_MARK: Final = "environment"  # a file in the engine's folder
_OWN_SERVERS: Final = (
    "give each environment a database and a Redis of its own (EDGEWISE_HOME, or EDGEWISE_POSTGRES_DSN and "
    "EDGEWISE_REDIS_URL); if only the environment's name has changed: edgewise db claim"
)


def wrong_owner(owner: Owner, settings: Settings) -> str:
    """Why the engine of `settings` must not use a database that is claimed; "" when it may."""
    ours = settings.provider.environment
    if owner.environment == ours:
        return ""
    return (
        f"the database belongs to {owner.environment}, and {settings.provider_id} is {ours}, with other "
        f"prices, signals and money: {_OWN_SERVERS}"
    )


def wrong_past(accounts: Sequence[str], settings: Settings) -> str:
    """The same for one that nobody has claimed, because it is of an older version: by whose traders it has.

    An account that has traded on it may go on, and so may one of which the others cannot be told apart.
    """
    ours, providers = settings.provider.environment, settings.exchange.providers
    if settings.provider_id in accounts:
        return ""
    others = {name: providers[name].environment for name in accounts if name in providers}
    foreign = {name: environment for name, environment in others.items() if environment != ours}
    if not foreign:
        return ""
    told = ", ".join(f"{name} ({environment})" for name, environment in foreign.items())
    return f"the database has traders of {told}, and {settings.provider_id} is {ours}: {_OWN_SERVERS}"


def wrong_account(known: Iterable[VenueAccount], account_id: str, uid: str) -> str:
    """Why the key's account at the venue must not be traded under this name; "" when it may.

    `known`: the accounts of the database. uid: the venue's number; an account without one is not looked at.
    """
    if not uid:
        return ""
    for account in known:
        if account.account_id == account_id and account.uid != uid:
            return (
                f"the key of {account_id} is one of account {uid} at the venue, and this database has the "
                f"books of account {account.uid} under that name: use its key, or name the other account "
                "differently in exchange.yaml"
            )
        if account.uid == uid and account.account_id != account_id:
            return (
                f"the key of {account_id} is one of account {uid} at the venue, which this database knows as "
                f"{account.account_id}: keep that name in exchange.yaml"
            )
    return ""


async def refuse_foreign(settings: Settings, uid: str, dsn: str) -> None:
    """Before a migration, and before anybody stands by: raises ConfigError for a database that belongs to
    somebody else or knows the account (`uid`, "" while it is not known) otherwise, and StoreUnavailable."""
    found = await belonging(dsn)
    problem = wrong_owner(found.owner, settings) if found.owner else wrong_past(found.traded, settings)
    if problem := problem or wrong_account(found.accounts, settings.provider_id, uid):
        raise ConfigError(problem)


async def claim_database(settings: Settings, tables: OwnerTables, clock: Clock) -> Owner:
    """The database is this environment's from now on; waits for one that is away. Raises ConfigError."""
    owner = await patiently(lambda: tables.claim(settings.provider.environment, clock.now_ns()))
    if problem := wrong_owner(owner, settings):
        raise ConfigError(problem)
    log.info("database opened", environment=owner.environment, database=owner.database_id)
    return owner


async def claim_account(account_id: str, uid: str, tables: OwnerTables, clock: Clock) -> None:
    """The name is that of this account at the venue from now on. Raises ConfigError."""
    if not uid:  # a venue that does not number its accounts
        return
    known = await patiently(lambda: tables.claim_account(account_id, uid, clock.now_ns()))
    if problem := wrong_account((known,), account_id, uid):
        raise ConfigError(problem)


def wrong_folder(settings: Settings) -> str:
    """Why the engine of `settings` must not write into its folder; "" when it may."""
    ours, marked = settings.provider.environment, settings.home / _MARK
    theirs = marked.read_text().strip() if marked.exists() else ours
    if theirs == ours:
        return ""
    return (
        f"{settings.home} has decision files and more of {theirs}, and {settings.provider_id} is {ours}: "
        "set a folder of its own (EDGEWISE_HOME)"
    )


def claim_folder(settings: Settings) -> None:
    """The folder is this environment's from now on, whoever had it before."""
    settings.home.mkdir(parents=True, exist_ok=True)
    (settings.home / _MARK).write_text(settings.provider.environment + "\n")


async def bus_claim(settings: Settings, owner: Owner, bus: RedisBus) -> BusClaim:
    """What to claim of the bus. Nothing passes it before it is claimed, and nothing is claimed yet.

    A Redis that is away is not waited for: recovery does not need it. Raises ConfigError when somebody else
    has the bus; whoever comes to it later raises it then.
    """
    wanted = BusClaim(
        database_id=owner.database_id, environment=owner.environment, account_id=settings.provider_id
    )
    bus.gate.admit = lambda: claim(bus, wanted)
    with suppress(BusUnavailable):
        if problem := conflict(await claimed(bus), wanted, bus.env):
            raise ConfigError(problem)
    return wanted
