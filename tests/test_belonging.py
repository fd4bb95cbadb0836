"""Whose a database, an account's name and a Redis are: claimed by the first engine, refused to all others."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec
import pytest
import redis.asyncio as redis
from typer.testing import CliRunner

from engine.bus import SIGNALS, Message
from engine.bus_owner import BusClaim, ClaimKeeper, claim, claimed
from engine.cli.main import app
from engine.clock import SystemClock
from engine.config.exchange import OkxConfig
from engine.config.providers import ProviderConfig
from engine.config.settings import Settings, load_settings
from engine.core.errors import ConfigError
from engine.core.signals import Signal
from engine.journal.postgres.journal import PostgresJournal
from engine.journal.postgres.migrate import migrate, shipped
from engine.journal.postgres.owner import Belonging, OwnerTables, belonging
from engine.journal.postgres.pool import Pool
from engine.redis_bus import RedisBus
from engine.wiring.belonging import refuse_foreign, wrong_folder, wrong_past
from engine.wiring.outside import Outside, open_outside
from tests.exchange_world import CLOCK, SimulatedVenue, Simulator
from tests.fixtures.okx.scripted import ok, scripted
from tests.journal_parts import SIGNAL, T0
from tests.test_engine_refusal import GOOD, refused
from tests.valkey_process import Valkey

ETC = Path(__file__).parent.parent / "etc"
OURS = BusClaim(database_id="d1", environment="okx-demo-global", account_id="okx_demo")


@pytest.mark.parametrize(
    ("okx", "environment"),
    [
        (OkxConfig(), "okx-demo-global"),
        (OkxConfig(environment="live", region="eea"), "okx-live-eea"),
        (OkxConfig(environment="live", rest_url="https://aws.okx.com"), "okx-live-global"),
        (OkxConfig(rest_url="http://simulator:8640"), "okx-demo-simulator"),
        (OkxConfig(rest_url="http://127.0.0.1:8640"), "simulator"),
    ],
)
def test_an_environment_is_whose_prices_and_money_it_is(okx: OkxConfig, environment: str) -> None:
    assert ProviderConfig(type="okx", okx=okx).environment == environment


# -- the database


def settings(name: str, sim: Simulator | None = None, **environment: str) -> Settings:
    """The shipped configuration for one account; its traders' ids begin with its name."""
    if sim is not None:
        environment |= {
            "EDGEWISE_SIMULATOR_URL": sim.url,
            "EDGEWISE_SIMULATOR_WS": sim.url.replace("http", "ws"),
            "EDGEWISE_SIMULATOR_KEY": sim.keys[0],
            "EDGEWISE_SIMULATOR_SECRET": sim.keys[1],
            "EDGEWISE_SIMULATOR_PASSPHRASE": sim.keys[2],
        }
    loaded = load_settings(ETC, {"EDGEWISE_EXCHANGE": "okx_simulator" if sim else name, **environment})
    traders = tuple(
        msgspec.structs.replace(trader, id=f"{name}-{trader.id}") for trader in loaded.manager.traders
    )
    exchange = loaded.exchange
    if sim is not None:
        providers = {**exchange.providers, name: exchange.providers["okx_simulator"]}
        exchange = msgspec.structs.replace(exchange, default=name, providers=providers)
    return msgspec.structs.replace(loaded.with_traders(traders), exchange=exchange)


@pytest.mark.parametrize(
    ("accounts", "words"),
    [
        ((), ""),
        (("okx_demo",), "the database has traders of okx_demo (okx-demo-global), and okx_live is okx-live"),
        (("okx_demo", "okx_live"), ""),  # it went on from demo trading before: its books are here
        (("a name that no file has",), ""),
    ],
)
def test_a_database_of_an_older_version_is_told_by_its_traders(accounts: tuple[str, ...], words: str) -> None:
    problem = wrong_past(accounts, settings("okx_live"))
    assert problem.startswith(words)
    assert bool(problem) == bool(words)


async def test_a_database_of_the_former_release_is_claimed_by_the_first_engine(empty_database: str) -> None:
    await migrate(empty_database, tuple(each for each in shipped() if each.version < 100))
    async with Pool(empty_database) as pool:
        await pool.execute("insert into initial_equities (amount, ts) values (5, 1)")
        await pool.execute("insert into traders values ('a', 'a', 'model', 'x', 'okx_demo', '{}', 1, 1)")
        sql = "insert into traders values ('a.paper', 'a', 'model', 'x', 'okx_demo.paper', '{}', 1, 1)"
        await pool.execute(sql)
        assert await belonging(empty_database) == Belonging(traded=("okx_demo",))
        with pytest.raises(ConfigError, match="the database has traders of okx_demo"):
            await refuse_foreign(settings("okx_live"), "", empty_database)
        await refuse_foreign(settings("okx_demo"), "77", empty_database)
        await migrate(empty_database)
        tables = OwnerTables(pool)
        claims = await asyncio.gather(*(tables.claim(f"environment {n}", T0 + n) for n in range(5)))
    (owner,) = set(claims)  # whoever was first, all are told the same
    assert (await belonging(empty_database)).owner == owner


async def opened(stack: AsyncExitStack, chosen: Settings) -> Outside:
    async with asyncio.timeout(20):
        return await open_outside(chosen, CLOCK, stack)


async def test_accounts_of_one_environment_share_a_database_and_a_redis(
    long_short_venue: SimulatedVenue, database: str, redis_url: str, tmp_path: Path
) -> None:
    servers = {
        "EDGEWISE_POSTGRES_DSN": database,
        "EDGEWISE_REDIS_URL": redis_url,
        "EDGEWISE_HOME": str(tmp_path),
    }
    main, sub = await long_short_venue.account(), await long_short_venue.account()
    async with AsyncExitStack() as stack:
        await opened(stack, settings("main", main, **servers, EDGEWISE_ENV="one"))
        async with AsyncExitStack() as second:
            with pytest.raises(ConfigError, match="the bus 'one' of this Redis is that of account main"):
                await opened(second, settings("sub", sub, **servers, EDGEWISE_ENV="one"))
        await opened(stack, settings("sub", sub, **servers, EDGEWISE_ENV="two"))
        async with AsyncExitStack() as second:  # it is told at once, and does not stand by for the first
            with pytest.raises(ConfigError, match="the bus 'two' of this Redis is that of account sub"):
                await opened(second, settings("main", main, **servers, EDGEWISE_ENV="two"))
        found = await belonging(database)
    assert found.owner is not None
    assert found.owner.environment == "simulator"
    assert [account.account_id for account in found.accounts] == ["main", "sub"]
    assert wrong_folder(settings("main", main, **servers)) == ""
    theirs = wrong_folder(settings("okx_live", None, **servers))
    assert "has decision files and more of simulator, and okx_live is okx-live-global: set a f" in theirs
    assert len({account.uid for account in found.accounts}) == 2
    # The same account again, as after a kill -9: nothing is in its way. Another one under its name, and the
    # same one under another name, are refused.
    async with AsyncExitStack() as stack:
        await opened(stack, settings("main", main, **servers, EDGEWISE_ENV="one"))
    for name, sim, words in (
        ("main", sub, "this database has the books of account"),
        ("other", main, "which this database knows as main: keep that name"),
    ):
        async with AsyncExitStack() as stack:
            with pytest.raises(ConfigError, match=words):
                await opened(
                    stack, settings(name, sim, **servers, EDGEWISE_ENV="one" if name == "main" else "x")
                )


async def test_another_environment_is_refused_in_one_line_before_anything_is_written(
    database: str, redis_url: str, tmp_path: Path
) -> None:
    async with PostgresJournal(database, SystemClock()) as journal:
        owner = await journal.ownership.claim("okx-live-global", T0)
    servers = {
        "EDGEWISE_POSTGRES_DSN": database,
        "EDGEWISE_REDIS_URL": redis_url,
        "EDGEWISE_HOME": str(tmp_path),
    }
    async with scripted() as server:
        server.answers["GET account/config"] = ok(GOOD)
        server.answers["GET account/trade-fee"] = ok()
        code, last = await refused(server, ETC, **servers)
    assert (code, last.startswith("the database belongs to okx-live-global, and okx_simulator is sim")) == (
        2,
        True,
    )
    assert "EDGEWISE_POSTGRES_DSN" in last
    assert (await belonging(database)).owner == owner
    async with redis.from_url(redis_url) as client:
        assert await client.dbsize() == 0


def run(*words: str, **environment: str) -> str:
    done = CliRunner().invoke(app, [*words, "--etc", str(ETC)], env=environment)
    assert done.exit_code == 0, done.output
    return done.output


def test_an_operator_sees_whose_the_stores_are_and_may_hand_them_over(
    empty_database: str, redis_url: str, tmp_path: Path
) -> None:
    servers = {
        "EDGEWISE_POSTGRES_DSN": empty_database,
        "EDGEWISE_REDIS_URL": redis_url,
        "EDGEWISE_HOME": str(tmp_path),
    }
    global_, eea = servers | {"OKX_REGION": "global"}, servers | {"OKX_REGION": "eea"}
    assert "belongs to nobody yet" in run("db", "status", **servers)
    run("db", "claim", "--yes", **global_)
    assert "belongs to okx-demo-global since" in run("db", "status", **servers)
    before = asyncio.run(belonging(empty_database)).owner
    assert before is not None
    run("db", "claim", "--yes", **global_)
    assert asyncio.run(belonging(empty_database)).owner == before, "it was theirs already"
    run("db", "claim", "--yes", **eea)
    after = asyncio.run(belonging(empty_database)).owner
    assert after is not None
    assert after.environment == "okx-demo-eea"
    assert after.database_id != before.database_id, "what a Redis holds is of the former time"


# -- Redis


async def test_a_bus_is_one_accounts_and_a_redis_one_databases(redis_url: str) -> None:
    bus, beside = RedisBus(redis_url, "dev", CLOCK), RedisBus(redis_url, "other", CLOCK)
    try:
        await claim(bus, OURS)
        await claim(bus, OURS)
        sub = msgspec.structs.replace(OURS, account_id="sub")
        with pytest.raises(
            ConfigError, match="that of account okx_demo: give the engine of sub another `env`"
        ):
            await claim(bus, sub)
        await claim(beside, sub)
        for foreign, words in (
            (msgspec.structs.replace(sub, database_id="d2"), "another database of okx-demo-global"),
            (BusClaim(database_id="d3", environment="simulator", account_id="x"), "a database of okx-demo-g"),
        ):
            for each in (bus, beside, RedisBus(redis_url, "third", CLOCK)):
                with pytest.raises(ConfigError, match=words):
                    await claim(each, foreign)
                if each.env == "third":
                    assert (await claimed(each)).account_id == "", "a refused engine takes no bus"
                    await each.aclose()
    finally:
        await bus.aclose()
        await beside.aclose()


async def test_a_redis_that_lost_its_data_is_claimed_again_by_the_first(redis_url: str) -> None:
    bus = RedisBus(redis_url, "dev", CLOCK)
    theirs = msgspec.structs.replace(OURS, database_id="d2")
    try:
        await claim(bus, OURS)
        async with redis.from_url(redis_url) as client, asyncio.timeout(30), asyncio.TaskGroup() as tasks:
            keeping = tasks.create_task(ClaimKeeper(bus, OURS, CLOCK, every_s=0.02).run(), name="keeper")
            await client.flushall()
            while await claimed(bus) != OURS:
                await asyncio.sleep(0.01)
            keeping.cancel()
            await client.flushall()
            await claim(bus, theirs)
        with pytest.raises(ConfigError, match="another database"):
            await ClaimKeeper(bus, OURS, CLOCK, every_s=0.01).run()
    finally:
        await bus.aclose()


async def test_what_edgewise_keeps_in_a_redis_can_be_forgotten(redis_url: str) -> None:
    bus = RedisBus(redis_url, "dev", CLOCK)
    try:
        await claim(bus, OURS)
        await bus.publish(SIGNALS, SIGNAL)
        await bus.cache.set_json("market:assets", b"[]")
        async with redis.from_url(redis_url) as client:
            await client.set("somebody else's", "1")
            said = await asyncio.to_thread(
                run,
                *("bus", "clear", "--yes"),
                EDGEWISE_POSTGRES_DSN="postgresql://nobody@127.0.0.1:1/none",
                EDGEWISE_REDIS_URL=redis_url,
            )
            assert "3 keys are gone" in said
            assert await client.keys() == [b"somebody else's"]
        assert await claimed(bus) == BusClaim()
    finally:
        await bus.aclose()


async def test_a_redis_that_is_away_at_the_start_is_claimed_before_its_first_message(
    long_short_venue: SimulatedVenue, database: str, tmp_path: Path
) -> None:
    """Recovery and the stops of what is held do not wait for it; a foreign one is found out all the same."""
    with TemporaryDirectory(dir="/tmp") as folder:  # a socket's path must be short
        valkey = Valkey(Path(folder))
        servers = {"EDGEWISE_POSTGRES_DSN": database, "EDGEWISE_REDIS_URL": valkey.url}
        chosen = settings("main", await long_short_venue.account(), **servers, EDGEWISE_HOME=str(tmp_path))
        async with AsyncExitStack() as stack:
            outside = await opened(stack, chosen)
            await outside.bus.cache.set_json("market:assets", b"[]")  # dropped
            valkey.start()
            try:
                await outside.bus.publish(SIGNALS, SIGNAL)
                assert await claimed(outside.bus) == outside.bus_claim
                assert valkey.client.get("market:assets") is None
            finally:
                valkey.kill()
        async with AsyncExitStack() as stack:
            outside = await opened(stack, chosen)
            valkey.start()
            try:
                valkey.client.hset("edgewise:owner", "database_id", "another one's")
                with pytest.raises(ConfigError, match="Redis holds messages and prices of another database"):
                    await outside.bus.publish(SIGNALS, SIGNAL)
                with pytest.raises(ConfigError, match="another database"):
                    await outside.bus.consume(SIGNALS, "g", _unheard)
                with pytest.raises(ConfigError, match="another database"):
                    await outside.bus.cache.set_json("market:assets", b"[]")
            finally:
                valkey.kill()
        valkey.client.close()


async def _unheard(message: Message[Signal]) -> None:
    raise AssertionError(f"heard {message.id}")
