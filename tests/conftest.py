"""Real servers for the tests: one pair a test process, a database a test."""

from __future__ import annotations

import asyncio
import logging
import os
import shutil
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from uuid import uuid4

import asyncpg
import pytest
import redis
import structlog
from hypothesis import settings

from engine.embedded import EmbeddedServers, ServerAddresses
from engine.journal.postgres.migrate import migrate
from tests.exchange_world import SimulatedVenue, Simulator, simulated_venue

settings.register_profile("edgewise", deadline=None, derandomize="CI" in os.environ, print_blob=True)
settings.load_profile("edgewise")

TEMPLATE = "test_template"


@pytest.fixture(autouse=True)
def own_log() -> Iterator[None]:
    """A command that a test runs in this process configures the log; the next test finds it as it was."""
    root = logging.getLogger()
    handlers, level = root.handlers, root.level
    yield
    structlog.reset_defaults()
    root.handlers, root.level = handlers, level


@pytest.fixture(scope="session")
async def embedded_servers(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[EmbeddedServers]:
    """The running pair of this test process. A test that kills a server starts its own (`home`)."""
    async with EmbeddedServers(tmp_path_factory.mktemp("servers")) as servers:
        yield servers


@pytest.fixture(scope="session")
def servers(embedded_servers: EmbeddedServers) -> ServerAddresses:
    """Where this test process' Postgres and Valkey are."""
    return embedded_servers.addresses


@pytest.fixture(scope="session")
async def template(servers: ServerAddresses) -> str:
    """Name of a database with the journal's tables, to be copied: faster than migrating each time."""
    await _create(servers, TEMPLATE, "template1")
    await migrate(_in_database(servers.postgres_dsn, TEMPLATE))
    return TEMPLATE


@pytest.fixture
async def database(servers: ServerAddresses, template: str) -> AsyncIterator[str]:
    """Address of a database of this test alone, as its owner, with the journal's empty tables."""
    async with _database(servers, template) as dsn:
        yield dsn


@pytest.fixture
async def second_database(servers: ServerAddresses, template: str) -> AsyncIterator[str]:
    """Another one like `database`, for a test of two."""
    async with _database(servers, template) as dsn:
        yield dsn


@pytest.fixture
async def empty_database(servers: ServerAddresses) -> AsyncIterator[str]:
    """Address of a database of this test alone, as its owner, with nothing in it."""
    async with _database(servers, "template1") as dsn:
        yield dsn


@pytest.fixture
def database_ro(servers: ServerAddresses, database: str) -> str:
    """Address of the same database for the role that may only read."""
    return _in_database(servers.postgres_ro_dsn, database.rpartition("?")[0].rpartition("/")[2])


@pytest.fixture
def redis_url(servers: ServerAddresses) -> str:
    """Address of an empty Valkey, as the user that may do everything."""
    with redis.Redis.from_url(servers.redis_url) as client:
        client.flushall()
    return servers.redis_url


@pytest.fixture
def redis_api_url(servers: ServerAddresses, redis_url: str) -> str:
    """Address of the same Valkey for the API's user."""
    return servers.redis_api_url


@asynccontextmanager
async def _database(servers: ServerAddresses, template: str) -> AsyncIterator[str]:
    name = f"test_{uuid4().hex}"
    await _create(servers, name, template)
    yield _in_database(servers.postgres_dsn, name)
    await _drop(servers, name)


async def _create(servers: ServerAddresses, name: str, template: str) -> None:
    await _as_owner(servers, f"CREATE DATABASE {name} TEMPLATE {template}")


async def _drop(servers: ServerAddresses, name: str) -> None:
    """Autovacuum may be in the database, and its owner may not end that: it leaves by itself."""
    async with asyncio.timeout(30):
        while True:
            try:
                await _as_owner(servers, f"DROP DATABASE {name} WITH (FORCE)")
            except (asyncpg.InsufficientPrivilegeError, asyncpg.ObjectInUseError):
                await asyncio.sleep(0.1)
            else:
                return


async def _as_owner(servers: ServerAddresses, sql: str) -> None:
    owner = await asyncpg.connect(servers.postgres_dsn)
    try:
        await owner.execute(sql)
    finally:
        await owner.close()


def _in_database(dsn: str, name: str) -> str:
    before, _, query = dsn.partition("?")
    return f"{before.rpartition('/')[0]}/{name}?{query}"


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A folder for servers of this test alone; not there yet."""
    return tmp_path / ".edgewise"


@pytest.fixture
def etc(tmp_path: Path) -> Path:
    """A copy of the shipped configuration, to be changed."""
    return Path(shutil.copytree(Path(__file__).parent.parent / "etc", tmp_path / "etc"))


@pytest.fixture(scope="session")
async def long_short_venue() -> AsyncIterator[SimulatedVenue]:
    """The simulator process of this test process, its accounts in long_short mode."""
    async with simulated_venue() as venue:
        yield venue


@pytest.fixture(scope="session")
async def netting_venue() -> AsyncIterator[SimulatedVenue]:
    """The same, its accounts in net mode."""
    async with simulated_venue("net") as venue:
        yield venue


@pytest.fixture
async def sim(long_short_venue: SimulatedVenue) -> Simulator:
    """A fresh account on a simulator where BTC is at 100,000 and nothing is wrong."""
    return await long_short_venue.account()


@pytest.fixture
async def net_sim(netting_venue: SimulatedVenue) -> Simulator:
    """The same for an account that nets."""
    return await netting_venue.account()
