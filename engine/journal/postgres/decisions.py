"""Wakeups, cycles, verdicts, and what parts keep across a restart."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

import asyncpg
import msgspec

from engine.core.decisions import (
    CycleRecord,
    Decision,
    Verdict,
    Wakeup,
)
from engine.core.orders import OrderIntent
from engine.core.signals import Signal
from engine.journal.ports import KeepState, KeptState, TraderRecord, Validity
from engine.journal.postgres.answers import call_arrays, calls_of, cycle_of, storable
from engine.journal.postgres.doubt import Doubts
from engine.journal.postgres.partitions import Partitions
from engine.journal.postgres.pool import Pool
from engine.journal.postgres.rows import INTENT_COLUMNS, insert, intent_values, json_text, row_of

if TYPE_CHECKING:
    Connection = asyncpg.Connection[asyncpg.Record]

_SIGNAL_COLUMNS: Final = tuple(Signal.__struct_fields__)
_SIGNAL: Final = insert("signals", _SIGNAL_COLUMNS, "on conflict do nothing")
_CAUSE: Final = insert("cycle_signals", ("cycle_id", "signal_id", "ts_event"), "on conflict do nothing")
_OPEN_CYCLE: Final = """
insert into decision_cycles (cycle_id, trader_id, mode, status, wakeup, reasons, ts_created)
values ($1, $2, $3, 'pending', $4, $5, $6) on conflict do nothing
"""
_TALK_COLUMNS: Final = ("system_prompt", "user_prompt", "answer", "reasoning")
_QUESTION: Final = """
insert into llm_conversations (cycle_id, trader_id, ts, system_prompt, user_prompt, answer, reasoning)
select cycle_id, trader_id, $2, $3, $4, '', '' from decision_cycles
where cycle_id = $1 and status = 'pending' on conflict do nothing
"""
_MOST_ASKED: Final = 1000  # cycles that are open at once; beyond, the oldest is closed with its prompts again
# One statement: every round trip is waited for between a model's answer and its order. Nothing is added to a
# cycle that was closed before. Prompts that are there already come empty.
_CLOSE_CYCLE: Final = f"""
with closed as (
  update decision_cycles set status = $2, decider = $3, model = $4, prompt_version = $5, prompt_digest = $6,
    decisions = $7, prices = $8, refusal = $9, error = $10, tokens_in = $11, tokens_out = $12,
    tokens_cached = $13, cost_usd = $14, latency_ms = $15, ts_started = $16, ts_decided = $17
  where cycle_id = $1 and status = 'pending' returning cycle_id, trader_id, ts_decided
), talk as (
  insert into llm_conversations (cycle_id, trader_id, ts, {", ".join(_TALK_COLUMNS)})
  select cycle_id, trader_id, ts_decided, $18, $19, $20, $21 from closed
  where '' <> any(array[$18, $19, $20, $21])
  on conflict (cycle_id) do update set ts = excluded.ts, answer = excluded.answer,
    reasoning = excluded.reasoning,
    system_prompt = coalesce(nullif(excluded.system_prompt, ''), llm_conversations.system_prompt),
    user_prompt = coalesce(nullif(excluded.user_prompt, ''), llm_conversations.user_prompt)
), called as (
  {calls_of("closed", 22)}
)
select true from closed
"""  # noqa: S608 - names of ours
_VERDICT_COLUMNS: Final = ", ".join(Verdict.__struct_fields__)
# Every round trip is waited for between a decision and its order; rows come as JSON, of any number. An intent
# goes without its cycle where the journal has none: an order is never lost. The lock waits for a close that
# is under way, and sees what it wrote.
_GATE: Final = f"""
with answered as materialized (
  select status <> 'pending' as closed, ts_decided = $5 as ours
  from decision_cycles where cycle_id = $4 for share
), force as materialized (
  select true from answered where closed and ours union all select true where $4 = ''
), judged as (
  insert into decision_validations ({_VERDICT_COLUMNS})
  select {_VERDICT_COLUMNS} from json_populate_recordset(null::decision_validations, $1)
  where exists (select from force)
  on conflict do nothing
), intended as (
  insert into order_intents ({", ".join(INTENT_COLUMNS)}, client_order_id)
  select {
    ", ".join(
        "(select cycle_id from decision_cycles c where c.cycle_id = i.cycle_id)"
        if name == "cycle_id"
        else name
        for name in INTENT_COLUMNS
    )
}, client_order_id from json_populate_recordset(null::order_intents, $2) i
  where exists (select from force)
  on conflict do nothing
), kept as (
  insert into part_states (kind, trader_id, state, ts)
  select kind, trader_id, state, ts from json_populate_recordset(null::part_states, $3)
  where exists (select from force)
  on conflict (kind, trader_id) do update set state = excluded.state, ts = excluded.ts
)
select closed, ours from answered
"""  # noqa: S608 - names of ours
# No two answers begin and end at the same nanoseconds.
_CLOSED_BY: Final = (
    "select 1 from decision_cycles where cycle_id = $1 and ts_started = $2 and ts_decided = $3"
)
_NOTE: Final = insert("wakeup_notes", ("cycle_id", "n", "ts", "code", "subject"), "on conflict do nothing")
_TRADER: Final = """
insert into traders (trader_id, name, kind, model, account_id, config, ts_created, ts_updated)
values ($1, $2, $3, $4, $5, $6, $7, $7)
on conflict (trader_id) do update set name = excluded.name, kind = excluded.kind, model = excluded.model,
  account_id = excluded.account_id, config = excluded.config, ts_updated = excluded.ts_updated
"""
_RECENT: Final = """
select * from decision_cycles where trader_id = $1 and status <> 'pending'
  and seq < coalesce((select seq from decision_cycles where cycle_id = $3), 9223372036854775807)
order by seq desc limit $2
"""
_OPEN: Final = """
select cycle_id from decision_cycles join traders using (trader_id)
where status = 'pending' and account_id = $1 order by seq
"""
_STATE: Final = """
insert into part_states (kind, trader_id, state, ts) values ($1, $2, $3, $4)
on conflict (kind, trader_id) do update set state = excluded.state, ts = excluded.ts
"""


class DecisionTables:
    """Part of PostgresJournal; see engine.journal.ports.Journal for what each method promises."""

    def __init__(self, pool: Pool, partitions: Partitions) -> None:
        self._pool, self._doubts, self.partitions = pool, Doubts(pool), partitions
        self._asked: dict[str, tuple[str, str]] = {}  # open cycle → its prompts, which are written

    async def record_traders(self, traders: Sequence[TraderRecord]) -> None:
        rows = [
            (t.trader_id, t.name, t.kind, t.model, t.account_id, t.config.decode(), t.ts) for t in traders
        ]
        await self._pool.execute_many(_TRADER, rows)

    async def record_wakeup(self, wakeup: Wakeup) -> None:
        signals = [reason.signal for reason in wakeup.reasons if reason.signal is not None]
        await self.partitions.ensure("signals", (signal.ts_event for signal in signals))
        async with self._pool.transaction() as connection:
            await connection.executemany(_SIGNAL, [row_of(signal, _SIGNAL_COLUMNS) for signal in signals])
            await connection.execute(
                _OPEN_CYCLE,
                wakeup.cycle_id,
                wakeup.trader_id,
                wakeup.mode.value,
                msgspec.msgpack.encode(wakeup),
                json_text(wakeup.reasons),
                wakeup.ts,
            )
            await connection.executemany(
                _CAUSE, [(wakeup.cycle_id, signal.signal_id, signal.ts_event) for signal in signals]
            )
            await connection.executemany(
                _NOTE,
                [
                    (wakeup.cycle_id, n, note.ts, note.code, note.subject)
                    for n, note in enumerate(wakeup.notes)
                ],
            )

    async def record_question(self, cycle_id: str, system_prompt: str, user_prompt: str, ts: int) -> None:
        texts = storable(system_prompt), storable(user_prompt)
        if (await self._pool.execute(_QUESTION, cycle_id, ts, *texts)).endswith(" 1"):
            self._asked[cycle_id] = (system_prompt, user_prompt)
            if len(self._asked) > _MOST_ASKED:
                del self._asked[next(iter(self._asked))]

    async def record_cycle(self, record: CycleRecord) -> bool:
        name = record.decision.cycle_id
        if self._asked.get(name) == (record.system_prompt, record.user_prompt):
            values = _closing(msgspec.structs.replace(record, system_prompt="", user_prompt=""))
        else:
            values = _closing(record)

        async def close() -> bool:
            return bool(await self._pool.fetch(_CLOSE_CYCLE, *values))

        async def ours() -> bool:
            decided = (record.ts_started, record.decision.ts_decided)
            return bool(await self._pool.fetch(_CLOSED_BY, name, *decided))

        new = await self._doubts.stated_once(("cycle", name), close, ours)
        self._asked.pop(name, None)
        return new

    async def record_gate(
        self,
        verdicts: Sequence[Verdict],
        intents: Sequence[OrderIntent] = (),
        states: Sequence[KeptState] = (),
        answer: Decision | None = None,
    ) -> Validity:
        if not (verdicts or intents or states or answer):
            return Validity.IN_FORCE
        orders = [
            dict(zip(INTENT_COLUMNS, intent_values(intent), strict=True))
            | {"client_order_id": intent.client_order_id}
            for intent in intents
        ]
        kept = [
            {"kind": each.kind, "trader_id": each.trader_id, "state": f"\\x{each.state.hex()}", "ts": each.ts}
            for each in states
        ]
        whose = ("", 0) if answer is None else (answer.cycle_id, answer.ts_decided)
        rows = await self._pool.fetch(_GATE, json_text(verdicts), json_text(orders), json_text(kept), *whose)
        if answer is None:
            return Validity.IN_FORCE
        if not rows or (rows[0]["closed"] and not rows[0]["ours"]):
            return Validity.VOID
        return Validity.IN_FORCE if rows[0]["closed"] else Validity.OPEN

    async def open_cycles(self, account_id: str) -> tuple[str, ...]:
        return tuple(str(row["cycle_id"]) for row in await self._pool.fetch(_OPEN, account_id))

    async def is_open(self, cycle_id: str) -> bool:
        sql = "select 1 from decision_cycles where cycle_id = $1 and status = 'pending'"
        return bool(await self._pool.fetch(sql, cycle_id))

    async def recent_cycles(self, trader_id: str, limit: int, before: str = "") -> tuple[CycleRecord, ...]:
        rows = await self._pool.fetch(_RECENT, trader_id, limit, before)
        return tuple(cycle_of(row) for row in rows)

    async def save_state(self, kind: KeepState, trader_id: str, state: bytes, ts: int) -> None:
        await self._pool.execute_many(_STATE, [(kind.value, trader_id, state, ts)])

    async def load_states(self, kind: KeepState) -> dict[str, bytes]:
        sql = "select trader_id, state from part_states where kind = $1"
        return {str(row["trader_id"]): bytes(row["state"]) for row in await self._pool.fetch(sql, kind.value)}


def _closing(record: CycleRecord) -> tuple[object, ...]:
    """What `_CLOSE_CYCLE` is given."""
    decision = record.decision
    return (
        decision.cycle_id,
        record.status.value,
        decision.decider,
        record.model,
        record.prompt_version,
        record.prompt_digest,
        json_text(decision.actions),
        json_text(decision.prices),
        storable(decision.refusal),
        storable(record.error),
        record.tokens_in,
        record.tokens_out,
        record.tokens_cached,
        record.cost_usd,
        record.latency_ms,
        record.ts_started,
        decision.ts_decided,
        *(storable(getattr(record, name)) for name in _TALK_COLUMNS),
        *call_arrays(record.calls),
    )
