"""What the engine of one account works with: venue, servers, stores, and the right to be its only engine."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Final

import msgspec
import structlog

from engine.bus_owner import BusClaim
from engine.clock import Clock
from engine.config.exchange import OkxConfig
from engine.config.settings import Settings
from engine.core.errors import BusUnavailable, ConfigError, OutcomeUnknown, Unavailable
from engine.embedded import EmbeddedServers, ServerAddresses, external_addresses
from engine.exchange.okx.feed import OkxMarketFeed
from engine.exchange.okx.links import Network
from engine.exchange.okx.venue import OkxVenue
from engine.journal.postgres.journal import PostgresJournal
from engine.journal.postgres.migrate import migrate
from engine.journal.spool import Spool
from engine.redis_bus import RedisBus
from engine.redis_link import RedisTiming
from engine.retry import patiently
from engine.wiring.belonging import (
    bus_claim,
    claim_account,
    claim_database,
    claim_folder,
    refuse_foreign,
    wrong_folder,
)

log = structlog.get_logger()

_MB: Final = 2**20
_WAIT_S: Final = 1.0


@dataclass(frozen=True, slots=True)
class Outside:
    """Opened by `open_outside`."""

    okx: OkxConfig
    network: Network
    venue: OkxVenue
    postgres_dsn: str
    journal: PostgresJournal
    bus: RedisBus
    bus_claim: BusClaim

    def feed(self, settings: Settings, clock: Clock) -> OkxMarketFeed:
        """Market data of the symbols that are watched; whoever asks for it closes it."""
        market = settings.market
        pushed = market.timeframes[:1] if market.aggregate else market.timeframes
        return OkxMarketFeed(self.okx, market.symbols, pushed, clock, self.network)


async def open_outside(settings: Settings, clock: Clock, stack: AsyncExitStack) -> Outside:
    """Open all of it for as long as `stack` lives; waits for servers and a venue that are away, and while
    another engine has the account.

    A key or an account that cannot work is refused before anything else is started, and servers that belong
    to another environment or account before anything is written to them. Raises ConfigError or
    VenueMisconfigured.
    """
    provider, account_id = settings.provider, settings.provider_id
    if provider.type == "hyperliquid":
        raise ConfigError(f"provider {account_id!r}: type hyperliquid cannot trade yet; use type okx or sim")
    okx = msgspec.structs.replace(provider.okx, account_id=account_id)
    network = Network.of(okx)
    venue = OkxVenue(okx, clock, network)
    stack.push_async_callback(venue.close)
    with suppress(Unavailable, OutcomeUnknown):  # away: it is waited for later
        await venue.check_account()
    if problem := wrong_folder(settings):
        raise ConfigError(problem)
    servers = await stack.enter_async_context(_servers_of(settings, clock))
    await patiently(lambda: refuse_foreign(settings, venue.settings.uid, servers.postgres_dsn))
    await patiently(lambda: migrate(servers.postgres_dsn))
    slow = settings.engine.slow_log
    spool = Spool(settings.home / "spool" / account_id, settings.engine.journal.spool_mb * _MB)
    journal = await stack.enter_async_context(
        PostgresJournal(servers.postgres_dsn, clock, spool, slow_s=slow.sql)
    )
    timing = RedisTiming(slow_s=slow.redis)
    bus = RedisBus(servers.redis_url, settings.engine.env, clock, timing=timing)
    stack.push_async_callback(bus.aclose)
    owner = await claim_database(settings, journal.ownership, clock)
    wanted = await bus_claim(settings, owner, bus)
    await stack.enter_async_context(journal.account_lock(account_id))
    await _refuse_taken(settings, journal)
    await _checked(venue, clock)
    await claim_account(account_id, venue.settings.uid, journal.ownership, clock)
    with suppress(BusUnavailable):  # away: it is claimed before its first message
        await bus.gate.passed()
    claim_folder(settings)
    await patiently(journal.load_standings)
    return Outside(okx, network, venue, servers.postgres_dsn, journal, bus, wanted)


async def _checked(venue: OkxVenue, clock: Clock) -> None:
    """The account is checked, and its number known; waits for a venue that is away."""
    while True:
        try:
            await venue.check_account()
        except (Unavailable, OutcomeUnknown) as error:
            log.warning("venue is away, waiting", error=str(error))
            await clock.sleep_real(_WAIT_S)
        else:
            return


@asynccontextmanager
async def _servers_of(settings: Settings, clock: Clock) -> AsyncIterator[ServerAddresses]:
    """Addresses of the operator's servers, or of embedded ones that live as long as this block."""
    config = settings.engine.servers
    external = external_addresses(
        {"EDGEWISE_POSTGRES_DSN": config.postgres_dsn, "EDGEWISE_REDIS_URL": config.redis_url}
    )
    if external is not None:
        yield external
        return
    home = settings.home
    async with EmbeddedServers(home, clock=clock) as servers, asyncio.TaskGroup() as tasks:
        keeping = tasks.create_task(servers.run(), name="embedded servers")
        yield servers.addresses
        keeping.cancel()


async def _refuse_taken(settings: Settings, journal: PostgresJournal) -> None:
    """Raises ConfigError for traders that run, or hold something, on another account of the same database."""
    names = [trader.id for trader in settings.manager.traders]
    taken = await patiently(lambda: journal.traders_elsewhere(settings.provider_id, names))
    if taken:
        told = ", ".join(f"{name} (account {account})" for name, account in taken.items())
        raise ConfigError(
            f"another account of this database has {told}: its engine runs, or they hold positions or orders "
            "there. Give traders other ids, close what they hold, or use another database"
        )
