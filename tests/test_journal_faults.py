"""The journal's database under fire: migrations, lost connections, doubtful commits, nonsense, the lock."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from decimal import Decimal
from pathlib import Path

import asyncpg
import msgspec
import pytest

from engine.clock import SystemClock
from engine.core.cash import CashFlow, FlowKind
from engine.core.errors import ConfigError, InvariantBroken, StoreUnavailable
from engine.core.times import NS_PER_DAY
from engine.journal.ports import KeepState, KeptState, Validity
from engine.journal.postgres.journal import PostgresJournal
from engine.journal.postgres.migrate import Migration, migrate
from engine.journal.postgres.pool import Pool
from tests import journal_parts as parts
from tests.journal_parts import ACCOUNT, T0
from tests.postgres_proxy import proxied

FIRST = Migration(1, "0001_a.sql", "create table a (x int); select pg_sleep(0.2)")
SECOND = Migration(2, "0002_b.sql", "alter table a add y int")
FLOW = CashFlow(
    flow_id="f", trader_id="alice", account_id=ACCOUNT, kind=FlowKind.CAPITAL, amount=Decimal(1), ts=T0
)


async def applied(dsn: str) -> list[str]:
    connection = await asyncpg.connect(dsn)
    rows = await connection.fetch("select name from edgewise_migrations order by version")
    await connection.close()
    return [row["name"] for row in rows]


async def test_three_migrators_at_once_apply_each_file_once(empty_database: str) -> None:
    done = await asyncio.gather(*[migrate(empty_database, (FIRST, SECOND)) for _ in range(3)])
    assert sorted(done) == [[], [], ["0001_a.sql", "0002_b.sql"]]
    assert await applied(empty_database) == ["0001_a.sql", "0002_b.sql"]


async def test_edited_unknown_and_late_files_are_refused(empty_database: str) -> None:
    await migrate(empty_database, (FIRST, SECOND))
    edited = msgspec.structs.replace(SECOND, sql="alter table a add z int")
    with pytest.raises(ConfigError, match=r"0002_b.sql was changed"):
        await migrate(empty_database, (FIRST, edited))
    with pytest.raises(ConfigError, match=r"does not know"):
        await migrate(empty_database, (FIRST,))
    with pytest.raises(ConfigError, match=r"0000_z.sql is older"):
        await migrate(empty_database, (Migration(0, "0000_z.sql", ""), FIRST, SECOND))


async def test_failed_migration_leaves_nothing_behind(empty_database: str) -> None:
    broken = Migration(2, "0002_b.sql", "create table b (x int); select 1/0")
    with pytest.raises(asyncpg.DivisionByZeroError):
        await migrate(empty_database, (FIRST, broken))
    assert await applied(empty_database) == ["0001_a.sql"]
    assert await migrate(empty_database, (FIRST, SECOND)) == ["0002_b.sql"]


async def test_shipped_schema_is_applied_once(database: str) -> None:
    assert await migrate(database) == []


async def test_commit_that_nobody_confirmed_is_ours_when_tried_again(database: str, tmp_path: Path) -> None:
    order = parts.order(parts.intent(cycle_id=""))
    after, fill = parts.filled(order)
    async with proxied(database, tmp_path) as proxy, PostgresJournal(proxy.dsn, SystemClock()) as journal:
        await journal.record_traders([parts.TRADER])
        await journal.record_wakeup(parts.wakeup())
        assert await journal.insert_order(parts.order(parts.intent("another", "")))
        writes: tuple[Callable[[], Awaitable[bool]], ...] = (
            lambda: journal.record_cash_flow(FLOW),
            lambda: journal.record_cycle(parts.record()),
            lambda: journal.insert_order(order),
            lambda: journal.record_execution(after, fill),
            lambda: journal.record_funding([parts.funding()]),
        )
        for write in writes:
            proxy.swallow_commits = True
            with pytest.raises(StoreUnavailable):
                await write()
            proxy.swallow_commits = False
            assert await write()
            assert not await write()
        assert proxy.swallowed == len(writes)
    async with PostgresJournal(database, SystemClock()) as journal:
        assert (await journal.bookings(ACCOUNT)).fills == (fill,)
        assert (await journal.bookings(ACCOUNT)).cash_flows == (FLOW,)


async def test_what_an_earlier_life_wrote_is_not_ours_whatever_answer_was_lost(
    database: str, tmp_path: Path
) -> None:
    order = parts.order(parts.intent(cycle_id=""))
    later = msgspec.structs.replace(parts.record(), ts_started=parts.record().ts_started + 1)
    async with PostgresJournal(database, SystemClock()) as earlier:
        await earlier.record_traders([parts.TRADER])
        await earlier.record_wakeup(parts.wakeup())
        assert await earlier.record_cycle(parts.record())
        assert await earlier.insert_order(order)
    async with proxied(database, tmp_path) as proxy, PostgresJournal(proxy.dsn, SystemClock()) as journal:
        assert await journal.insert_order(parts.order(parts.intent("another", "")))
        writes: tuple[Callable[[], Awaitable[bool]], ...] = (
            lambda: journal.record_cycle(later),
            lambda: journal.insert_order(order),
        )
        for write in writes:
            proxy.swallow_commits = True
            with pytest.raises(StoreUnavailable):
                await write()
            proxy.swallow_commits = False
            assert not await write()
        assert proxy.swallowed == len(writes)


async def test_an_order_that_was_sent_is_not_new_again_whatever_answer_was_lost(
    database: str, tmp_path: Path
) -> None:
    order = parts.order(parts.intent(cycle_id=""))
    after, fill = parts.filled(order)
    async with proxied(database, tmp_path) as proxy, PostgresJournal(proxy.dsn, SystemClock()) as journal:
        await journal.record_traders([parts.TRADER])
        assert await journal.insert_order(order)
        assert await journal.record_execution(after, fill)
        proxy.swallow_commits = True
        with pytest.raises(StoreUnavailable):
            await journal.insert_order(order)
        proxy.swallow_commits = False
        assert not await journal.insert_order(order)


async def test_writers_of_the_same_booking_take_turns(database: str) -> None:
    order = parts.order(parts.intent(cycle_id=""))
    after, fill = parts.filled(order)
    clock, bill = SystemClock(), [parts.funding(), parts.funding("bob")]
    async with PostgresJournal(database, clock) as one, PostgresJournal(database, clock) as two:
        await one.insert_order(order)
        writers = (one, two, one, two)
        fills = await asyncio.gather(*[each.record_execution(after, fill) for each in writers])
        bills = await asyncio.gather(*[each.record_funding(bill) for each in writers])
        assert sorted(fills) == sorted(bills) == [False, False, False, True]
        bookings = await one.bookings(ACCOUNT)
    assert bookings.fills == (fill,)
    assert bookings.funding == tuple(bill)


@pytest.mark.parametrize(("later_ns", "validity"), [(0, Validity.IN_FORCE), (1, Validity.VOID)])
async def test_the_gate_waits_for_a_close_that_is_under_way(
    database: str, later_ns: int, validity: Validity
) -> None:
    answer = parts.record().decision
    closing = await asyncpg.connect(database)
    try:
        async with PostgresJournal(database, SystemClock()) as journal, asyncio.TaskGroup() as tasks:
            await journal.record_traders([parts.TRADER])
            await journal.record_wakeup(parts.wakeup())
            async with closing.transaction():
                await closing.execute(
                    "update decision_cycles set status = 'decided', ts_decided = $1",
                    answer.ts_decided + later_ns,
                )
                gate = tasks.create_task(journal.record_gate([parts.verdict()], answer=answer))
                waiting = "select count(*) from pg_locks where not granted"
                async with asyncio.timeout(10):
                    while not await closing.fetchval(waiting):
                        await asyncio.sleep(0.005)
                assert not gate.done()
            assert await gate is validity
            judged = await journal.verdicts_of([answer.cycle_id])
            assert judged == ((parts.verdict(),) if validity is Validity.IN_FORCE else ())
    finally:
        await closing.close()


async def test_journal_recovers_from_a_cut_connection(database: str, tmp_path: Path) -> None:
    async with proxied(database, tmp_path) as proxy, PostgresJournal(proxy.dsn, SystemClock()) as journal:
        assert await journal.record_cash_flow(FLOW)
        proxy.cut()
        async with asyncio.timeout(10):
            while True:
                try:
                    assert not await journal.record_cash_flow(FLOW)
                    break
                except StoreUnavailable:
                    continue


async def test_server_that_holds_a_lock_too_long_is_unavailable(database: str) -> None:
    blocker = await asyncpg.connect(database)
    async with PostgresJournal(database, SystemClock()) as journal:
        async with blocker.transaction():
            await blocker.execute("lock table cash_flows")
            with pytest.raises(StoreUnavailable):
                await journal.record_cash_flow(FLOW)
        assert await journal.record_cash_flow(FLOW)
    await blocker.close()


async def test_killed_connection_leaves_no_half_transaction(database: str) -> None:
    blocker = await asyncpg.connect(database)
    order = parts.order(parts.intent(cycle_id=""))
    after, fill = parts.filled(order)
    async with PostgresJournal(database, SystemClock()) as journal:
        await journal.insert_order(order)
        async with blocker.transaction():
            await blocker.execute("lock table order_events")  # the last table that an execution writes
            async with asyncio.TaskGroup() as tasks:
                write = tasks.create_task(_unavailable(journal.record_execution(after, fill)), name="write")
                while not await blocker.fetchval(
                    "select count(pg_terminate_backend(pid)) from pg_stat_activity"
                    " where wait_event_type = 'Lock' and datname = current_database()"
                ):
                    await asyncio.sleep(0.01)
                await write
        assert await journal.order(order.client_order_id) == order
        assert (await journal.bookings(ACCOUNT)).fills == ()
        assert await journal.record_execution(after, fill)
    await blocker.close()


async def test_terminated_sessions_are_an_outage_whatever_the_driver_calls_them(database: str) -> None:
    killer = await asyncpg.connect(database)
    outages = 0
    async with PostgresJournal(database, SystemClock()) as journal, asyncio.timeout(20):

        async def write(name: str) -> None:
            nonlocal outages
            number = 0
            while outages < 200:
                number += 1
                try:
                    await journal.record_gate((), [parts.intent(f"{name}{number}", "")])
                except StoreUnavailable:
                    outages += 1

        async with asyncio.TaskGroup() as tasks:
            for name in "abcd":
                tasks.create_task(write(name), name=name)
            while outages < 200:
                await killer.execute(
                    "select pg_terminate_backend(pid) from pg_stat_activity"
                    " where application_name = 'edgewise' and datname = current_database()"
                )
        await journal.record_gate((), [parts.intent(cycle_id="")])
    await killer.close()


async def _unavailable(write: Awaitable[bool]) -> None:
    with pytest.raises(StoreUnavailable):
        await write


async def test_text_that_postgres_does_not_take_closes_a_cycle(database: str) -> None:
    action = msgspec.structs.replace(parts.record().decision.actions[0], justification="a\0b")
    decision = msgspec.structs.replace(parts.record().decision, actions=(action,))
    strange = msgspec.structs.replace(parts.record(), decision=decision, answer="\0 \ud800", error="\0")
    async with PostgresJournal(database, SystemClock()) as journal:
        await journal.record_traders([parts.TRADER])
        await journal.record_wakeup(parts.wakeup())
        assert await journal.record_cycle(strange)
        assert (await journal.recent_cycles("alice", 1))[0].error == "\ufffd"


NONSENSE = {
    "side": "update order_intents set side = 'hold'",
    "a buy that opens a short": "update order_intents set position_side = 'short'",
    "no size": "update order_intents set contracts = 0",
    "negative stop": "update order_intents set stop_loss = -1",
    "unknown state": "update trader_orders set state = 'LOST'",
    "overfill": "update trader_orders set filled = contracts + 1",
    "fill without size": "update trader_fills set contracts = 0",
    "fill of no order": "update trader_fills set client_order_id = 'nobody'",
    "order of no intent": "update trader_orders set client_order_id = 'nobody'",
    "intent of no cycle": "update order_intents set cycle_id = 'nobody'",
    "signal that was not": "update cycle_signals set signal_id = 'nobody'",
    "refusal without a reason": "update decision_validations set approved = false",
    "profit from nowhere": "update closed_trades set net = net + 1",
}


async def test_of_a_gate_that_is_refused_nothing_is_there(database: str) -> None:
    async with PostgresJournal(database, SystemClock()) as journal:
        await journal.record_traders([parts.TRADER])
        state = KeptState(KeepState.TRADER, "alice", b"state", T0)
        with pytest.raises(InvariantBroken):  # there is no such cycle
            await journal.record_gate([parts.verdict()], [parts.intent(cycle_id="")], [state])
        assert await journal.pending_intents(ACCOUNT, T0) == ()
        assert await journal.load_states(KeepState.TRADER) == {}


@pytest.mark.parametrize("sql", NONSENSE.values(), ids=NONSENSE.keys())
async def test_nonsense_is_refused(database: str, sql: str) -> None:
    async with PostgresJournal(database, SystemClock()) as journal:
        await journal.record_traders([parts.TRADER])
        await journal.record_wakeup(parts.wakeup())
        await journal.record_gate([parts.verdict()])
        for of in (parts.intent(), parts.close_intent()):
            await journal.record_execution(*parts.filled(parts.order(of)))
        await journal.record_position(parts.view(), [parts.closed()])
    connection = await asyncpg.connect(database)
    try:
        with pytest.raises(asyncpg.IntegrityConstraintViolationError):
            await connection.execute(sql)
    finally:
        await connection.close()


async def test_cause_of_a_fill_can_be_followed_to_its_signal(database: str) -> None:
    async with PostgresJournal(database, SystemClock()) as journal:
        await journal.record_traders([parts.TRADER])
        await journal.record_wakeup(parts.wakeup())  # the signal was not journalled before: taken from it
        await journal.record_execution(*parts.filled(parts.order(parts.intent())))
    connection = await asyncpg.connect(database)
    chain = await connection.fetchval(
        "select s.detector from trader_fills join trader_orders using (client_order_id)"
        " join order_intents using (client_order_id) join decision_cycles using (cycle_id)"
        " join cycle_signals using (cycle_id) join signals s using (signal_id)"
    )
    await connection.close()
    assert chain == "rsi"


async def test_rejected_row_says_which_rule_it_breaks(database: str) -> None:
    order, fill = parts.filled(parts.order(parts.intent(cycle_id="")))
    async with PostgresJournal(database, SystemClock()) as journal:
        with pytest.raises(InvariantBroken, match="trader_fills_contracts_check"):
            await journal.record_execution(order, msgspec.structs.replace(fill, contracts=Decimal(0)))
        assert await journal.order(order.client_order_id) is None


async def test_month_of_any_time_is_made_before_its_first_row(database: str) -> None:
    days = (-400, 0, 60, 900)
    views = [parts.view(T0 + day * NS_PER_DAY) for day in days]
    clock = SystemClock()
    async with PostgresJournal(database, clock) as journal, PostgresJournal(database, clock) as other:
        await asyncio.gather(journal.record_performance(views), other.record_performance(views))
    connection = await asyncpg.connect(database)
    assert await connection.fetchval("select count(*) from trader_performance") == len(days)
    await connection.close()


async def test_second_engine_stands_by_until_the_first_is_gone(database: str) -> None:
    first, second = PostgresJournal(database, SystemClock()), PostgresJournal(database, SystemClock())
    taken = asyncio.Event()

    async def stand_by() -> None:
        async with second.account_lock(ACCOUNT):
            taken.set()

    async with asyncio.TaskGroup() as tasks, asyncio.timeout(20):
        async with first.account_lock(ACCOUNT), second.account_lock("another account"):
            tasks.create_task(stand_by(), name="standby")
            await asyncio.sleep(0.7)  # longer than the standby waits between two looks
            assert not taken.is_set()
        await taken.wait()


async def test_traders_that_run_or_hold_something_on_another_account_are_named(database: str) -> None:
    async with (
        PostgresJournal(database, SystemClock()) as first,
        PostgresJournal(database, SystemClock()) as second,
    ):
        await first.record_traders([parts.TRADER])
        async with first.account_lock(ACCOUNT):
            assert await second.traders_elsewhere("another account", ["alice", "bob"]) == {"alice": ACCOUNT}
            assert await second.traders_elsewhere("another account", ["bob"]) == {}
            assert await first.traders_elsewhere(ACCOUNT, ["alice"]) == {}
        while await second.traders_elsewhere(
            "another account", ["alice"]
        ):  # the server frees it a moment later
            await asyncio.sleep(0.01)
        await first.record_position(parts.view(T0, parts.position()), [])
        assert await second.traders_elsewhere("another account", ["alice"]) == {"alice": ACCOUNT}
        await first.record_position(parts.view(T0), [])
        order = parts.order(parts.intent(cycle_id=""))
        await first.record_gate((), [order.intent])
        await first.insert_order(order)
        assert await second.traders_elsewhere("another account", ["alice"]) == {"alice": ACCOUNT}


async def test_engine_that_lost_its_account_is_told(database: str, tmp_path: Path) -> None:
    second, taken = PostgresJournal(database, SystemClock()), asyncio.Event()

    async def stand_by() -> None:
        async with second.account_lock(ACCOUNT):
            taken.set()
            await asyncio.Event().wait()

    async with proxied(database, tmp_path) as proxy, asyncio.TaskGroup() as tasks, asyncio.timeout(20):
        first = PostgresJournal(proxy.dsn, SystemClock())
        with pytest.RaisesGroup(StoreUnavailable):
            async with first.account_lock(ACCOUNT):
                waiting = tasks.create_task(stand_by(), name="standby")
                proxy.refuses = True
                proxy.cut()
                await taken.wait()
                proxy.refuses = False
                await first.lost()
                await asyncio.Event().wait()
        waiting.cancel()


async def test_a_slow_query_is_named_without_its_values(
    database: str, capsys: pytest.CaptureFixture[str]
) -> None:
    async with Pool(database, slow_s=0.2) as pool, Pool(database, slow_s=2.0) as patient:
        await pool.fetch("select 1, $1::text", "quick")
        await pool.fetch("select pg_sleep(0.3), $1::text", "a secret")
        await patient.fetch("select pg_sleep(0.4), $1::text", "a secret")
    said = capsys.readouterr().out
    assert said.count("query was slow") == 1
    assert "pg_sleep(0.3)" in said
    assert "a secret" not in said
