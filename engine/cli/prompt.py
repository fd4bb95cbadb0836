"""`edgewise prompt`: what a model trader would be sent."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from engine.cli.output import print_json
from engine.cli.startup import Etc, Json, dsn_of, fail_clearly, settings_of
from engine.core.words import counted

if TYPE_CHECKING:
    from engine.config.manager import TraderConfig
    from engine.config.settings import Settings
    from engine.core.decisions import Wakeup
    from engine.executor.model import ModelDecider
    from engine.executor.prompt import Prompt
    from engine.journal.ports import Journal

app = typer.Typer(help="Look at the prompts of model traders.", no_args_is_help=True)


@app.command()
def render(
    trader: Annotated[str, typer.Option(help="Id of the trader; the first with a model if not given.")] = "",
    wakeup: Annotated[
        Path | None, typer.Option(help="A wakeup as JSON, as the journal keeps it; else a made-up one.")
    ] = None,
    cycle: Annotated[
        str, typer.Option(help="A cycle of the journal, with its past and memory; `newest` for the last one.")
    ] = "",
    etc: Etc = Path("etc"),
    as_json: Json = False,
) -> None:
    """Show exactly what would be sent for a wakeup: system and user prompt, version, digest, tokens."""
    with fail_clearly():
        prompt = asyncio.run(_prompt(etc, trader, wakeup, cycle))
        _show(prompt, as_json=as_json)


@app.command()
def names(etc: Etc = Path("etc")) -> None:
    """List the templates that `prompt_template` and `executor_prompt_template` of a trader may name."""
    from engine.executor.prompt import PromptLibrary

    with fail_clearly():
        library = PromptLibrary(settings_of(etc).executor.prompts)
        for kind in ("system", "user"):
            print(f"{kind}: {', '.join(library.names(kind))}")


@app.command()
def answers(
    out: Annotated[Path, typer.Argument(help="File to write, one recorded call a line.")],
    trader: Annotated[str, typer.Option(help="Id of one trader; all if not given.")] = "",
    etc: Etc = Path("etc"),
) -> None:
    """Write the model calls of the journal to a file, for `model: recorded` and for backtests."""
    with fail_clearly():
        count = asyncio.run(_write_answers(etc, trader, out))
    print(f"{counted(count, 'answer')} written to {out}")


async def _write_answers(etc: Path, trader_id: str, path: Path) -> int:
    from engine.clock import SystemClock
    from engine.executor.recorded import write_answers
    from engine.journal.postgres.journal import PostgresJournal

    async with PostgresJournal(dsn_of(etc), SystemClock()) as journal:
        return await write_answers(journal.answered_calls(trader_id), path)


async def _prompt(etc: Path, trader_id: str, path: Path | None, cycle: str) -> Prompt:
    from engine.clock import SystemClock
    from engine.core.errors import ConfigError
    from engine.journal.in_memory.journal import MemoryJournal
    from engine.journal.postgres.journal import PostgresJournal

    settings = settings_of(etc)
    trader = _model_trader(settings, trader_id)
    if not cycle:
        decider = _decider(settings, trader, MemoryJournal())
        return await decider.prompt(_wakeup(path, trader.id, settings.symbols(trader)))
    async with PostgresJournal(dsn_of(etc), SystemClock()) as journal:
        if cycle == "newest":
            newest = await journal.recent_cycles(trader.id, 1)
            cycle = newest[0].decision.cycle_id if newest else cycle
        kept = await journal.cycle(cycle)
        if kept is None or kept.wakeup.trader_id != trader.id:
            raise ConfigError(f"the journal has no cycle {cycle!r} of {trader.id}")
        return await _decider(settings, trader, journal).prompt(kept.wakeup)


def _model_trader(settings: Settings, trader_id: str) -> TraderConfig:
    """The trader with its model; of an ensemble its first model."""
    import msgspec

    from engine.core.errors import ConfigError

    models = [each for each in settings.manager.traders if each.models]
    chosen = next((each for each in models if trader_id in {"", each.id}), None)
    if chosen is None:
        known = ", ".join(each.id for each in models) or "none"
        raise ConfigError(f"no trader {trader_id!r} with a model; known: {known}")
    if chosen.ensemble is None:
        return chosen
    member = next((each for each in chosen.ensemble.members if each.model), None)
    if member is None:
        raise ConfigError(f"{chosen.id}: its members ask no model")
    template = member.prompt_template or chosen.prompt_template
    return msgspec.structs.replace(chosen, model=member.model, prompt_template=template, ensemble=None)


def _decider(settings: Settings, trader: TraderConfig, journal: Journal) -> ModelDecider:
    from engine.clock import SimClock
    from engine.executor.model import ModelDecider
    from engine.executor.recorded import CycleAnswers, RecordedModel
    from engine.wiring.deciders import build_deciders

    nobody = RecordedModel(CycleAnswers(()))
    decider = build_deciders(settings.with_traders([trader]), nobody, journal, SimClock())[trader.id]
    assert isinstance(decider, ModelDecider)  # noqa: S101 - it has a model
    return decider


def _wakeup(path: Path | None, trader_id: str, symbols: tuple[str, ...]) -> Wakeup:
    import msgspec

    from engine.core.decisions import Wakeup
    from engine.core.errors import ConfigError
    from engine.executor.sample import sample_wakeup

    if path is None:
        return sample_wakeup(trader_id, symbols)
    try:
        return msgspec.json.decode(path.read_bytes(), type=Wakeup)
    except (OSError, msgspec.MsgspecError) as error:
        raise ConfigError(f"{path} is no wakeup: {error}") from error


def _show(prompt: Prompt, *, as_json: bool) -> None:

    if as_json:
        print_json(prompt)
        return
    print(f"===== system =====\n{prompt.system}\n\n===== user =====\n{prompt.user}\n")
    print(f"===== {prompt.version} · at most {prompt.tokens} tokens · sha256 {prompt.digest} =====")
