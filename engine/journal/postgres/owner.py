"""To whom a database belongs: whose prices are in it, and which account is which at the venue."""

from __future__ import annotations

from typing import Final

import asyncpg
import msgspec

from engine.core.paper import PAPER
from engine.journal.postgres.migrate import connected
from engine.journal.postgres.pool import TIMEOUT_S, Pool

OWNER: Final = "select database_id::text, environment, ts_claimed from database_owner"
_CLAIM: Final = "insert into database_owner (environment, ts_claimed) values ($1, $2) on conflict do nothing"
_HAND_OVER: Final = """
insert into database_owner (environment, ts_claimed) values ($1, $2)
on conflict (only_row) do update set environment = excluded.environment, ts_claimed = excluded.ts_claimed,
  database_id = gen_random_uuid()
where database_owner.environment <> excluded.environment
"""
_CLAIM_ACCOUNT: Final = """
insert into venue_accounts (account_id, uid, ts_claimed) values ($1, $2, $3) on conflict do nothing
"""
_ACCOUNTS: Final = "select account_id, uid, ts_claimed from venue_accounts order by account_id"
_TRADED: Final = f"""
select distinct account_id from traders where account_id not like '%{PAPER}' order by 1
"""  # noqa: S608 - a constant
# Engines hold their account's lock by its name: see PostgresJournal.account_lock.
_RUNNING: Final = """
select distinct t.account_id from traders t join pg_locks l
  on (l.classid::bigint << 32) + l.objid::bigint = hashtextextended(t.account_id, 0)
where l.locktype = 'advisory' and l.objsubid = 1 and l.granted
  and l.database = (select oid from pg_database where datname = current_database())
order by 1
"""


class Owner(msgspec.Struct, frozen=True, kw_only=True):
    """The environment that a database belongs to. `database_id` is unique and goes with a backup."""

    database_id: str
    environment: str
    ts_claimed: int


class VenueAccount(msgspec.Struct, frozen=True, kw_only=True):
    """An account as exchange.yaml names it, and its number at the venue."""

    account_id: str
    uid: str
    ts_claimed: int


class OwnerTables:
    """The engine's side. Every method raises StoreUnavailable."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def claim(self, environment: str, ts: int) -> Owner:
        """Take the database if nobody has it; returns whose it is now."""
        await self._pool.execute(_CLAIM, environment, ts)
        return Owner(**dict((await self._pool.fetch(OWNER))[0]))

    async def claim_account(self, account_id: str, uid: str, ts: int) -> VenueAccount:
        """Note which account at the venue this is, if neither is known; returns what is known of either.

        Where it is not what was asked for, `account_id` is another account at the venue, or another name has
        this one.
        """
        await self._pool.execute(_CLAIM_ACCOUNT, account_id, uid, ts)
        known = [VenueAccount(**dict(row)) for row in await self._pool.fetch(_ACCOUNTS)]
        return next(each for each in known if account_id == each.account_id or uid == each.uid)


class Belonging(msgspec.Struct, frozen=True, kw_only=True):
    """What an operator is told. `owner` None: unclaimed, or not migrated yet."""

    owner: Owner | None = None
    accounts: tuple[VenueAccount, ...] = ()
    running: tuple[str, ...] = ()  # accounts whose engine runs on it now
    traded: tuple[str, ...] = ()  # accounts that its traders were on last


async def belonging(dsn: str) -> Belonging:
    """Looked at without writing. Raises StoreUnavailable, or ConfigError when we are not let in."""
    async with connected(dsn) as connection:
        return await _belonging(connection)


async def hand_over(dsn: str, environment: str, ts: int) -> Belonging:
    """Give the database to another environment; what is in it stays. Returns how it was before.

    It gets a new id, so that a Redis with messages of the former time is not taken for its own. Does nothing
    while an engine runs on it (`running` tells). Raises as `belonging`.
    """
    async with connected(dsn) as connection:
        before = await _belonging(connection)
        if not before.running:
            await connection.execute(_HAND_OVER, environment, ts, timeout=TIMEOUT_S)
        return before


async def _belonging(connection: asyncpg.Connection[asyncpg.Record]) -> Belonging:
    if not await _there(connection, "traders"):
        return Belonging()
    traded = tuple(str(row["account_id"]) for row in await connection.fetch(_TRADED, timeout=TIMEOUT_S))
    if not await _there(connection, "database_owner"):
        return Belonging(traded=traded)
    owners = await connection.fetch(OWNER, timeout=TIMEOUT_S)
    accounts = await connection.fetch(_ACCOUNTS, timeout=TIMEOUT_S)
    running = await connection.fetch(_RUNNING, timeout=TIMEOUT_S)
    return Belonging(
        owner=Owner(**dict(owners[0])) if owners else None,
        accounts=tuple(VenueAccount(**dict(row)) for row in accounts),
        running=tuple(str(row["account_id"]) for row in running),
        traded=traded,
    )


async def _there(connection: asyncpg.Connection[asyncpg.Record], table: str) -> bool:
    return bool(await connection.fetchval("select to_regclass($1) is not null", table, timeout=TIMEOUT_S))
