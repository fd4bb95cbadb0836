"""Real servers for the tests: one pair a test process, a database a test."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from pathlib import Path
from uuid import uuid4

import asyncpg
import pytest
import redis
from hypothesis import settings

from engine.embedded import EmbeddedServers, ServerAddresses

settings.register_profile("edgewise", deadline=None, derandomize="CI" in os.environ, print_blob=True)
settings.load_profile("edgewise")


@pytest.fixture(scope="session")
async def embedded_servers(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[EmbeddedServers]:
    """The running pair, for tests that kill one of them; such a test has its own copy of nothing else."""
    async with EmbeddedServers(tmp_path_factory.mktemp("servers")) as servers:
        yield servers


@pytest.fixture(scope="session")
def servers(embedded_servers: EmbeddedServers) -> ServerAddresses:
    """Where this test process' Postgres and Valkey are."""
    return embedded_servers.addresses


@pytest.fixture
async def database(servers: ServerAddresses) -> AsyncIterator[str]:
    """Address of a database of this test alone, as its owner; empty."""
    name = f"test_{uuid4().hex}"
    owner = await asyncpg.connect(servers.postgres_dsn)
    try:
        await owner.execute(f"CREATE DATABASE {name}")
        yield _in_database(servers.postgres_dsn, name)
        await owner.execute(f"DROP DATABASE {name} WITH (FORCE)")
    finally:
        await owner.close()


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


def _in_database(dsn: str, name: str) -> str:
    before, _, query = dsn.partition("?")
    return f"{before.rpartition('/')[0]}/{name}?{query}"


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A folder for servers of this test alone; not there yet."""
    return tmp_path / ".edgewise"
