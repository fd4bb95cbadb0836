"""`edgewise replay`: a decision cycle gone through again."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from engine.cli.output import print_json
from engine.cli.startup import Etc, Json, dsn_of, fail_clearly, settings_of

if TYPE_CHECKING:
    from engine.executor.replay import Comparison


def replay(
    cycle: Annotated[str, typer.Argument(help="Id of the cycle; /api/decisions names them.")],
    etc: Etc = Path("etc"),
    as_json: Json = False,
) -> None:
    """Render a cycle's prompt again, give it the answers of then, and show both and the difference.

    Nobody is asked: the wakeup, the past and the model's answers come from the journal; templates, limits
    and code are today's. Exit code 0 when nothing differs, 1 when something does.
    """
    with fail_clearly():
        comparison = asyncio.run(_replay(etc, cycle))
    _show(comparison, as_json=as_json)
    if not comparison.same:
        raise typer.Exit(1)


async def _replay(etc: Path, cycle_id: str) -> Comparison:
    from engine.clock import SimClock
    from engine.core.errors import ConfigError
    from engine.executor.memory import NotesOfThen
    from engine.executor.recorded import CycleAnswers, RecordedModel
    from engine.executor.replay import replay
    from engine.journal.postgres.journal import PostgresJournal
    from engine.wiring.deciders import build_deciders

    settings = settings_of(etc)
    clock = SimClock()
    async with PostgresJournal(dsn_of(etc), clock) as journal:
        kept = await journal.cycle(cycle_id)
        if kept is None:
            raise ConfigError(f"the journal has no cycle {cycle_id!r}")
        traders = tuple(t for t in settings.manager.traders if t.id == kept.wakeup.trader_id)
        if not traders:
            raise ConfigError(f"{etc} has no trader {kept.wakeup.trader_id!r} any more")
        settings = settings.with_traders(traders)
        clock.set(kept.record.ts_started or kept.wakeup.ts)
        model = RecordedModel(CycleAnswers(kept.record.calls))
        notes = NotesOfThen(kept, journal, settings.executor.memory)
        deciders = build_deciders(settings, model, journal, clock, letta=notes)
        return await replay(kept, deciders[kept.wakeup.trader_id])


def _show(comparison: Comparison, *, as_json: bool) -> None:

    if as_json:
        print_json(comparison)
        return
    print(f"cycle {comparison.cycle_id} of {comparison.trader_id}")
    for name in ("prompt", "answer", "decision"):
        was, now = getattr(comparison.was, name), getattr(comparison.now, name)
        print(f"\n===== {name} then =====\n{was or '(none)'}")
        print(f"\n===== {name} now =====\n{'(the same)' if was == now else now or '(none)'}")
    print(f"\n===== difference =====\n{comparison.difference or 'none'}")
