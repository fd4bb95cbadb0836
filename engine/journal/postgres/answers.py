"""What models were asked and what they answered, kept so that a cycle can be replayed."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from decimal import Decimal
from typing import Final

import asyncpg
import msgspec

from engine.core.decisions import (
    Act,
    Action,
    Check,
    CycleRecord,
    CycleStatus,
    Decision,
    ModelCall,
    Verdict,
    Wakeup,
)
from engine.core.errors import CodecError
from engine.journal.ports import KeptCycle
from engine.journal.postgres.pool import Pool

_CALL_COLUMNS: Final = tuple(ModelCall.__struct_fields__)
_TEXTS: Final = frozenset({"asked", "alias", "model", "answer", "reasoning", "cut", "failure", "detail"})
_ARRAYS: Final = {str: "text[]", int: "bigint[]", Decimal: "numeric[]"}
_PAGE: Final = 500
_BY_DIGEST: Final = """
select * from llm_calls where digest = $1 and failure = '' order by (asked = $2) desc, seq desc limit 1
"""
_AFTER: Final = """
select * from llm_calls where seq > $1 and ($2 = '' or trader_id = $2) and failure = ''
order by seq limit $3
"""
_CYCLE: Final = """
select c.*, t.system_prompt, t.user_prompt, t.answer, t.reasoning from decision_cycles c
left join llm_conversations t using (cycle_id) where cycle_id = $1
"""
_VERDICTS: Final = """
select * from decision_validations where cycle_id = any($1) and starts_with(cycle_id, trader_id || '-')
order by ts, cycle_id, symbol"""


def storable(text: str) -> str:
    """Postgres takes no NUL and no lone surrogate in a text; a model may well send one."""
    return text.replace("\0", "\N{REPLACEMENT CHARACTER}").encode("utf-8", "replace").decode()


def calls_of(closed: str, first: int) -> str:
    """The insert of all calls of the cycle in the table `closed`, as part of a statement.

    Its parameters are the columns of `call_arrays`, from number `first` on.
    """
    fields = enumerate(msgspec.structs.fields(ModelCall), first)
    arrays = ", ".join(f"${number}::{_ARRAYS[field.type]}" for number, field in fields)
    names = ", ".join(_CALL_COLUMNS)
    return f"""insert into llm_calls (cycle_id, trader_id, ts, n, {names})
      select cycle_id, trader_id, ts_decided, nth - 1, {names}
      from {closed}, unnest({arrays}) with ordinality as calls ({names}, nth)
      on conflict do nothing"""  # noqa: S608 - names of ours


def call_arrays(calls: Sequence[ModelCall]) -> list[list[object]]:
    """One array for each column, as `calls_of` takes them."""
    return [
        [storable(getattr(call, name)) if name in _TEXTS else getattr(call, name) for call in calls]
        for name in _CALL_COLUMNS
    ]


class AnswerTables:
    """Part of PostgresJournal; see engine.journal.ports.Journal for what each method promises."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def recorded_call(self, digest: str, alias: str) -> ModelCall | None:
        rows = await self._pool.fetch(_BY_DIGEST, digest, alias)
        return _call_of(rows[0]) if rows else None

    async def verdicts_of(self, cycle_ids: Sequence[str]) -> tuple[Verdict, ...]:
        return tuple(_verdict_of(row) for row in await self._pool.fetch(_VERDICTS, list(cycle_ids)))

    async def answered_calls(self, trader_id: str = "") -> AsyncIterator[ModelCall]:
        """Every call that was answered, oldest first; of one trader when it is named."""
        seq = 0
        while rows := await self._pool.fetch(_AFTER, seq, trader_id, _PAGE):
            for row in rows:
                yield _call_of(row)
            seq = rows[-1]["seq"]

    async def cycle(self, cycle_id: str) -> KeptCycle | None:
        """A cycle with everything it was decided from. Raises CodecError for a wakeup of another version."""
        rows = await self._pool.fetch(_CYCLE, cycle_id)
        if not rows:
            return None
        row = rows[0]
        try:
            wakeup = msgspec.msgpack.decode(row["wakeup"], type=Wakeup)
        except msgspec.MsgspecError as error:
            raise CodecError(f"the wakeup of {cycle_id} is of another version: {error}") from error
        calls = await self._pool.fetch("select * from llm_calls where cycle_id = $1 order by n", cycle_id)
        texts = ("system_prompt", "user_prompt", "answer", "reasoning")
        return KeptCycle(
            wakeup=wakeup,
            record=msgspec.structs.replace(
                cycle_of(row),
                calls=tuple(_call_of(each) for each in calls),
                **{name: row[name] or "" for name in texts},
            ),
        )


def cycle_of(row: asyncpg.Record) -> CycleRecord:
    """A closed cycle without its prompts and answer."""
    decision = Decision(
        cycle_id=row["cycle_id"],
        trader_id=row["trader_id"],
        decider=row["decider"],
        actions=msgspec.json.decode(row["decisions"], type=tuple[Action, ...]),
        prices=msgspec.json.decode(row["prices"], type=dict[str, float]),
        ts_decided=row["ts_decided"],
        refusal=row["refusal"],
    )
    return CycleRecord(
        decision=decision,
        status=CycleStatus(row["status"]),
        model=row["model"],
        prompt_version=row["prompt_version"],
        prompt_digest=row["prompt_digest"],
        error=row["error"],
        tokens_in=row["tokens_in"],
        tokens_out=row["tokens_out"],
        tokens_cached=row["tokens_cached"],
        cost_usd=row["cost_usd"],
        latency_ms=row["latency_ms"],
        ts_started=row["ts_started"],
    )


def _call_of(row: asyncpg.Record) -> ModelCall:
    return ModelCall(**{name: row[name] for name in _CALL_COLUMNS})


def _verdict_of(row: asyncpg.Record) -> Verdict:
    return Verdict(
        cycle_id=row["cycle_id"],
        trader_id=row["trader_id"],
        symbol=row["symbol"],
        act=Act(row["act"]),
        approved=row["approved"],
        reason=row["reason"],
        checks=msgspec.json.decode(row["checks"], type=tuple[Check, ...]),
        ts=row["ts"],
    )
