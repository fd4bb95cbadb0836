"""A trader is reminded of its own trades; a memory server that is dead or talks nonsense stops nobody."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, cast

import msgspec
import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st

from engine.clock import SystemClock
from engine.config.executor import LettaConfig, MemoryConfig
from engine.config.loader import Duration, Secret
from engine.core.decisions import Act, Action, CycleRecord, CycleStatus
from engine.core.ledger import ClosedTrade
from engine.core.memory import CoreBlock, CoreLabel, Episode, MemoryQuery, choose, merged
from engine.core.orders import PositionSide, Purpose
from engine.executor.assemble import Past, build_context
from engine.executor.decision import held
from engine.executor.letta import LettaAway, LettaClient, LettaMemory
from engine.executor.memory import LocalMemory, NotesOfThen, core_text, query_of
from engine.executor.prompt import PromptLibrary
from engine.executor.write_back import WriteBack
from engine.journal.in_memory.journal import MemoryJournal
from engine.journal.ports import Journal, KeepState, KeptCycle
from engine.journal.postgres.journal import PostgresJournal
from tests import journal_parts as parts
from tests.executor_parts import BTC, ETH, RULES, CycleJournal, flat, wakeup_of

QUERY = MemoryQuery(trader_id="alice", symbols=(BTC,), words=("rsi",), until_ns=2**62, limit=4)
CONFIG = MemoryConfig(principles="Be patient.", red_lines="No revenge.")


@pytest.fixture(params=["memory", "postgres"])
async def journal(request: pytest.FixtureRequest, database: str) -> AsyncIterator[Journal]:
    if request.param == "memory":
        yield MemoryJournal()
        return
    async with PostgresJournal(database, SystemClock()) as store:
        yield store


async def close_a_trade(journal: Journal) -> None:
    """Alice buys for a reason, and closes in another cycle for another."""
    await journal.record_traders([parts.TRADER])
    for cycle_id, act, why in (
        ("alice-1", Act.BUY_TO_ENTER, "RSI left oversold"),
        ("alice-2", Act.CLOSE, "momentum faded"),
    ):
        await journal.record_wakeup(parts.wakeup(cycle_id))
        record = parts.record(cycle_id)
        action = Action(symbol=BTC, act=act, justification=why)
        decision = msgspec.structs.replace(record.decision, actions=(action,))
        assert await journal.record_cycle(msgspec.structs.replace(record, decision=decision))
    for of in (parts.intent(), msgspec.structs.replace(parts.close_intent(), cycle_id="alice-2")):
        await journal.record_gate((), [of])
        await journal.record_execution(*parts.filled(parts.order(of)))
    trade = parts.closed()
    assert (trade.entry_cycle_id, trade.symbol) == ("alice-1", BTC)
    for _ in range(2):
        await journal.record_position(parts.view(), [trade])


async def test_closed_trade_is_remembered_once_with_the_reasons_of_both_ends(journal: Journal) -> None:
    await close_a_trade(journal)
    (episode,) = await journal.episodes(QUERY)
    trade: ClosedTrade = parts.closed()
    assert (episode.thesis, episode.close_reason) == ("RSI left oversold", "momentum faded")
    assert (episode.net, episode.exit, episode.invalidation) == (
        trade.net,
        trade.exit_purpose,
        trade.exit_plan,
    )
    assert await journal.episodes_after("alice", "", 10) == (episode,)
    assert await journal.episodes_after("alice", episode.trade_id, 10) == ()


async def test_what_ended_later_is_not_remembered_yet(journal: Journal) -> None:
    await close_a_trade(journal)
    earlier = msgspec.structs.replace(QUERY, until_ns=parts.closed().ts_exit - 1)
    assert await journal.episodes(earlier) == ()
    assert await journal.episodes(msgspec.structs.replace(QUERY, trader_id="bob")) == ()


async def test_core_memory_is_the_general_one_until_a_trader_has_its_own(journal: Journal) -> None:
    await close_a_trade(journal)
    memory = LocalMemory(journal, CONFIG)
    assert [block.text for block in (await memory.recall(QUERY)).core] == ["Be patient.", "No revenge."]
    await journal.set_core_block("alice", CoreBlock(label=CoreLabel.PRINCIPLES, text="Be quick."), 1)
    await journal.set_core_block("alice", CoreBlock(label=CoreLabel.RED_LINES, text=""), 2)
    recalled = await memory.recall(QUERY)
    assert [block.text for block in recalled.core] == ["Be quick."]
    assert len(recalled.episodes) == 1


def episode(n: int, symbol: str = BTC, thesis: str = "") -> Episode:
    trade = parts.closed()
    shared = {name: getattr(trade, name) for name in Episode.__struct_fields__ if hasattr(trade, name)}
    shared |= {"trade_id": f"t{n:03}", "symbol": symbol, "ts_exit": n}
    return Episode(**shared, exit=Purpose.STOP, thesis=thesis)


def test_recall_is_half_what_is_alike_and_half_what_is_new() -> None:
    past = [episode(n, ETH) for n in range(100)]
    past[3] = episode(3, BTC, "RSI oversold")
    past[7] = episode(7, BTC)
    past[9] = episode(9, ETH, "rsi")
    assert [each.ts_exit for each in choose(past, QUERY)] == [99, 98, 7, 3]


@given(st.lists(st.tuples(st.sampled_from([BTC, ETH]), st.sampled_from(["", "rsi", "up"])), max_size=30))
def test_recall_is_bounded_without_repeats_and_newest_first(drawn: list[tuple[str, str]]) -> None:
    past = [episode(n, symbol, thesis) for n, (symbol, thesis) in enumerate(drawn)]
    chosen = choose(past, QUERY)
    assert len(chosen) == min(len(past), QUERY.limit)
    times = [each.ts_exit for each in chosen]
    assert times == sorted(set(times), reverse=True)


def test_memory_reaches_the_prompt_rules_as_rules_and_trades_as_data() -> None:
    wakeup = flat(wakeup_of())
    past = episode(1, BTC, "a memorable thesis")
    recalled = msgspec.structs.replace(
        _recalled(), core=(CoreBlock(label=CoreLabel.RED_LINES, text="No revenge."),), episodes=(past,)
    )
    context = build_context(wakeup, RULES, Past(recalled=recalled))
    prompt = PromptLibrary().pair().render(context, 20_000, core_text(recalled.core))
    assert "### Red lines\nNo revenge." in prompt.system
    assert "a memorable thesis" in prompt.user
    assert '"memory":"local"' in prompt.user
    query = query_of(wakeup, 5)
    assert (query.symbols, query.words) == ((BTC,), ("rsi",))


def _recalled() -> Any:
    from engine.executor.memory import Recalled

    return Recalled(source="local")


class Letta:
    """A server with Letta's route; `answer` makes the reply, `asked` are requests with their session."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self.answer: Callable[[], web.Response] = lambda: said(
            "- BTC longs on RSI lost twice\n- keep stops wide"
        )
        self.hang = asyncio.Event()
        self.hang.set()

    async def chat(self, request: web.Request) -> web.Response:
        self.asked.append((request.headers["x-letta-chat-key"], await request.json()))
        await self.hang.wait()
        return self.answer()


def said(content: object, **more: object) -> web.Response:
    return web.json_response({"choices": [{"message": {"role": "assistant", "content": content} | more}]})


@asynccontextmanager
async def letta_server() -> AsyncIterator[tuple[Letta, LettaConfig]]:
    letta, app = Letta(), web.Application()
    app.router.add_post("/v1/chat/completions", letta.chat)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    url = f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
    try:
        yield letta, LettaConfig(base_url=url, api_key=Secret("sk-letta"), timeout=Duration(5))
    finally:
        letta.hang.set()
        await runner.cleanup()


def memory_of(config: LettaConfig, journal: object | None = None) -> LettaMemory:
    chosen = cast(Journal, journal or CycleJournal())
    return LettaMemory(LettaClient(config, SystemClock()), chosen, CONFIG)


async def test_letta_is_asked_for_notes_in_the_traders_session() -> None:
    async with letta_server() as (letta, config):
        recalled = await memory_of(config).recall(QUERY)
    assert recalled.notes == ("BTC longs on RSI lost twice", "keep stops wide")
    assert recalled.missing == ""
    ((session, body),) = letta.asked
    assert (session, body["model"]) == ("edgewise-alice", "edgewise-alice")
    (message,) = body["messages"]
    assert BTC in message["content"]
    assert "Only recall" in message["content"]


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (lambda: web.Response(status=500), "500"),
        (lambda: web.Response(text="<html>"), "no chat completion"),
        (lambda: web.json_response({"choices": []}), "no chat completion"),
        (lambda: said(None), "no text"),
        (lambda: said("ok", tool_calls=[{"function": {"name": "Bash"}}]), "no text"),
    ],
)
async def test_letta_that_talks_nonsense_leaves_memory_empty_and_says_so(
    answer: Callable[[], web.Response], why: str
) -> None:
    async with letta_server() as (letta, config):
        letta.answer = answer
        recalled = await memory_of(config).recall(QUERY)
    assert recalled.notes == ()
    assert why in recalled.missing
    assert [block.text for block in recalled.core] == ["Be patient.", "No revenge."]
    context = build_context(wakeup_of(), RULES, Past(recalled=recalled))
    assert context.memory.startswith("letta; no notes: ")


async def test_dead_letta_is_left_alone_after_a_few_failures() -> None:
    async with letta_server() as (letta, config):
        letta.hang.clear()
        hasty = msgspec.structs.replace(config, timeout=Duration(0.05), breaker_failures=2)
        memory = memory_of(hasty)
        told = [(await memory.recall(QUERY)).missing for _ in range(4)]
        assert len(letta.asked) == 2
    assert "no answer in 0.05 s" in told[0]
    assert "left alone" in told[3]
    away = msgspec.structs.replace(config, base_url="http://127.0.0.1:9/v1", breaker_failures=1)
    assert "cannot be reached" in (await memory_of(away).recall(QUERY)).missing


async def test_cycle_gone_through_again_has_the_notes_of_then_and_asks_nobody() -> None:
    wakeup = flat(wakeup_of(trader_id="alice"))
    journal = MemoryJournal()
    for answer in (lambda: said("stops were too tight"), lambda: web.Response(status=500)):
        async with letta_server() as (letta, config):
            letta.answer = answer
            memory = LettaMemory(LettaClient(config, SystemClock()), journal, CONFIG)
            recalled = await memory.recall(query_of(wakeup, 5))
        context = build_context(wakeup, RULES, Past(recalled=recalled))
        prompt = PromptLibrary().pair().render(context, 20_000, core_text(recalled.core))
        record = CycleRecord(
            decision=held(wakeup, "m", 1), status=CycleStatus.DECIDED, user_prompt=prompt.user
        )
        kept = KeptCycle(wakeup=wakeup, record=record)
        assert await NotesOfThen(kept, journal, CONFIG).recall(query_of(wakeup, 5)) == recalled


async def test_notes_are_few_short_and_NONE_is_nothing() -> None:
    async with letta_server() as (letta, config):
        client = LettaClient(config, SystemClock())
        letta.answer = lambda: said("None.")
        assert await client.notes(QUERY) == ()
        letta.answer = lambda: said("\n".join(f"{n} {'x' * 500}\x00" for n in range(50)))
        notes = await client.notes(QUERY)
    assert 0 < len(notes) <= 8
    assert max(map(len, notes)) <= 300


async def test_results_are_told_in_order_and_once_across_a_restart(journal: Journal) -> None:
    await close_a_trade(journal)
    clock = SystemClock()
    async with letta_server() as (letta, config):
        letta.answer = lambda: web.Response(status=503)
        client = LettaClient(msgspec.structs.replace(config, breaker_failures=100), clock)
        await WriteBack(["alice"], client, journal, clock).step()
        assert len(letta.asked) == 1
        letta.answer = lambda: said("OK")
        for _ in range(2):  # a second life knows what the first one told
            await WriteBack(["alice"], client, journal, clock).step()
        assert len(letta.asked) == 2
        told = letta.asked[1][1]["messages"][0]["content"]
        assert "Entered because: RSI left oversold" in told
        assert "net result" in told
    assert (await journal.load_states(KeepState.MEMORY))["alice"].decode() == parts.closed().trade_id


async def test_key_of_the_memory_server_is_in_no_error() -> None:
    async with letta_server() as (letta, config):
        letta.answer = lambda: web.Response(status=401, text="wrong key sk-letta")
        with pytest.raises(LettaAway) as failed:
            await LettaClient(config, SystemClock()).notes(QUERY)
    assert "sk-letta" not in str(failed.value)


def test_own_blocks_stand_in_the_order_of_the_labels() -> None:
    own = [CoreBlock(label=label, text=label.value) for label in reversed(CoreLabel)]
    assert [block.label for block in merged((), own)] == list(CoreLabel)
    assert episode(1).side is PositionSide.LONG
