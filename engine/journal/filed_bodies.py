"""The bodies of decision files: everything that belongs to a cycle, or to the end of the trade it opened."""

from __future__ import annotations

from contextlib import suppress

import msgspec

from engine.core.decisions import Wakeup
from engine.core.errors import CodecError
from engine.core.ledger import ClosedTrade
from engine.journal.decision_files import RecordKind
from engine.journal.postgres.answers import AnswerTables
from engine.journal.postgres.filing import Due, FilingTables
from engine.journal.postgres.reader import JournalReader
from engine.journal.views_records import CycleChain


class CycleBody(msgspec.Struct, frozen=True, kw_only=True):
    """A cycle as it was. `wakeup` is what it was asked with: account and market to the last number.

    `chain`: signals, prompts with their digest, answer, reasoning, checks with their numbers, intents,
    orders, fills, trades so far. None where the journal has it no more, or of another version.
    """

    wakeup: Wakeup | None
    chain: CycleChain | None


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """How the trade that a cycle opened has ended."""

    trade: ClosedTrade


class Bodies:
    """Makes them from the journal. Raises StoreUnavailable."""

    def __init__(self, tables: FilingTables, answers: AnswerTables, reader: JournalReader) -> None:
        self._tables, self._answers, self._reader = tables, answers, reader

    async def describe(self, due: Due) -> bytes | None:
        """See engine.journal.filing.Filing."""
        if due.kind is RecordKind.OUTCOME:
            trade = await self._tables.trade(due.subject)
            return msgspec.json.encode(Outcome(trade=trade)) if trade else None
        kept = chain = None
        with suppress(CodecError, msgspec.ValidationError):  # written by another version
            kept = await self._answers.cycle(due.cycle_id)
        with suppress(msgspec.ValidationError):
            chain = await self._reader.chain(due.cycle_id)
        return msgspec.json.encode(CycleBody(wakeup=kept.wakeup if kept else None, chain=chain))
