"""Whose a Redis is: one journal's, and within it each bus one account's.

Values of the cache are kept under names of traders and symbols, and what two engines read from one bus each
gets only a part of. So the hash `edgewise:owner` says which database all of it belongs to, and which account
each bus (`env`). It is lost with everything else in there, and written anew.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from engine.clock import Clock
from engine.core.errors import BusUnavailable, ConfigError
from engine.redis_bus import RedisBus
from engine.redis_replies import text

KEY: Final = "edgewise:owner"
DATABASE: Final = "database_id"
_ENVIRONMENT: Final = "environment"
_ACCOUNT: Final = "account:"  # then the name of the bus
_EVERY_S: Final = 5.0
# Everything that engines and the API write.
_OURS: Final = ("edgewise:*", "market:*", "exchange:*", "trader:*", "cycle:*", "api:answer:*")
_TOGETHER: Final = 500  # keys of one command


class BusClaim(msgspec.Struct, frozen=True, kw_only=True):
    """Who uses a bus: an account, whose journal is the database `database_id`. Empty: nobody yet."""

    database_id: str = ""
    environment: str = ""
    account_id: str = ""


async def claimed(bus: RedisBus) -> BusClaim:
    """Whose the bus is now. Raises BusUnavailable."""
    with bus.streams.watched("hgetall", KEY):
        raw: Any = await bus.streams.client.hgetall(KEY)
    fields = {text(name): text(value) for name, value in raw.items()}
    return BusClaim(
        database_id=fields.get(DATABASE, ""),
        environment=fields.get(_ENVIRONMENT, ""),
        account_id=fields.get(_ACCOUNT + bus.env, ""),
    )


def conflict(found: BusClaim, wanted: BusClaim, env: str) -> str:
    """Why an engine must not use the bus, with the remedy; "" when it may."""
    if found.database_id and found.database_id != wanted.database_id:
        whose = f"another database of {found.environment}"
        if found.environment != wanted.environment:
            whose = f"a database of {found.environment}, not of {wanted.environment}"
        return (
            f"Redis holds messages and prices of {whose}: use another one (EDGEWISE_REDIS_URL; redis://host/1"
            " is another number of the same server), or forget what is in it with: edgewise bus clear"
        )
    if found.account_id and found.account_id != wanted.account_id:
        return (
            f"the bus {env!r} of this Redis is that of account {found.account_id}: give the engine of "
            f"{wanted.account_id} another `env` in engine.yaml (EDGEWISE_ENV)"
        )
    return ""


async def claim(bus: RedisBus, wanted: BusClaim) -> None:
    """Take the bus if nobody has it. Raises ConfigError when somebody else has, BusUnavailable."""
    client: Any = bus.streams.client
    with bus.streams.watched("multi", KEY):
        async with client.pipeline(transaction=True) as pipeline:
            pipeline.hsetnx(KEY, DATABASE, wanted.database_id)
            pipeline.hsetnx(KEY, _ENVIRONMENT, wanted.environment)
            await pipeline.execute()
    found = await claimed(bus)
    if found.database_id == wanted.database_id and not found.account_id:
        with bus.streams.watched("hsetnx", KEY):
            await client.hsetnx(KEY, _ACCOUNT + bus.env, wanted.account_id)
        found = await claimed(bus)
    if problem := conflict(found, wanted, bus.env):
        raise ConfigError(problem)


async def clear(bus: RedisBus) -> int:
    """Forget everything that edgewise keeps in this Redis, of every bus; returns how many keys went.

    Nothing is lost that the journal does not have; engines must not run. Raises BusUnavailable.
    """
    client: Any = bus.streams.client
    gone = 0
    with bus.streams.watched():
        for pattern in _OURS:
            keys = [key async for key in client.scan_iter(pattern, count=_TOGETHER)]
            for start in range(0, len(keys), _TOGETHER):
                gone += await client.unlink(*keys[start : start + _TOGETHER])
    return gone


class ClaimKeeper:
    """Claims the bus again and again: a Redis that lost its data is free for everybody until then."""

    def __init__(self, bus: RedisBus, wanted: BusClaim, clock: Clock, every_s: float = _EVERY_S) -> None:
        self._bus, self._wanted, self._clock, self._every_s = bus, wanted, clock, every_s

    async def run(self) -> None:
        """For ever. Raises ConfigError when another engine was quicker: this one must stop."""
        while True:
            await self._clock.sleep_real(self._every_s)
            try:
                await claim(self._bus, self._wanted)
            except BusUnavailable:  # said once, by the link
                continue
