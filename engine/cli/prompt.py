"""`edgewise prompt`: what a model trader would be sent."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from engine.cli.db import dsn_of
from engine.cli.startup import fail_clearly, settings_of

if TYPE_CHECKING:
    from engine.config.settings import Settings
    from engine.core.decisions import Wakeup
    from engine.executor.prompt import Prompt

app = typer.Typer(help="Look at the prompts of model traders.", no_args_is_help=True)
Folder = Annotated[Path, typer.Option("--dir", help="Folder of the configuration.")]


@app.command()
def render(
    trader: Annotated[str, typer.Option(help="Id of the trader; the first with a model if not given.")] = "",
    wakeup: Annotated[
        Path | None, typer.Option(help="A wakeup as JSON, as the journal keeps it; else a made-up one.")
    ] = None,
    folder: Folder = Path("etc"),
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object instead of text.")] = False,
) -> None:
    """Show exactly what would be sent for a wakeup: system and user prompt, version, digest, tokens."""
    with fail_clearly():
        prompt = _prompt(settings_of(folder), trader, wakeup)
        _show(prompt, as_json=as_json)


@app.command()
def names(folder: Folder = Path("etc")) -> None:
    """List the templates that `prompt_template` and `executor_prompt_template` of a trader may name."""
    from engine.executor.prompt import PromptLibrary

    with fail_clearly():
        library = PromptLibrary(settings_of(folder).executor.prompts)
        for kind in ("system", "user"):
            print(f"{kind}: {', '.join(library.names(kind))}")


@app.command()
def answers(
    out: Annotated[Path, typer.Argument(help="File to write, one recorded call a line.")],
    trader: Annotated[str, typer.Option(help="Id of one trader; all if not given.")] = "",
    folder: Folder = Path("etc"),
) -> None:
    """Write the model calls of the journal to a file, for `model: recorded` and for backtests."""
    import asyncio

    with fail_clearly():
        count = asyncio.run(_write_answers(folder, trader, out))
    print(f"{count} answers written to {out}")


async def _write_answers(folder: Path, trader_id: str, path: Path) -> int:
    from engine.clock import SystemClock
    from engine.executor.recorded import write_answers
    from engine.journal.postgres_journal import PostgresJournal

    async with PostgresJournal(dsn_of(folder), SystemClock()) as journal:
        return await write_answers(journal.answered_calls(trader_id), path)


def _prompt(settings: Settings, trader_id: str, path: Path | None) -> Prompt:
    from engine.core.errors import ConfigError
    from engine.executor.assemble import build_context
    from engine.executor.decision import AnswerRules
    from engine.executor.prompt import PromptLibrary

    models = [each for each in settings.manager.traders if each.model]
    chosen = [each for each in models if trader_id in {"", each.id}]
    if not chosen:
        known = ", ".join(each.id for each in models) or "none"
        raise ConfigError(f"no trader {trader_id!r} with a model; known: {known}")
    config = chosen[0]
    rules = AnswerRules(
        limits=settings.executor.tighten(config.risk_params),
        major_coins=frozenset(settings.manager.manager.major_coins),
    )
    context = build_context(_wakeup(path, config.id, settings.symbols(config)), rules)
    pair = PromptLibrary(settings.executor.prompts).pair(
        config.prompt_template, config.executor_prompt_template
    )
    return pair.render(context, settings.executor.prompt_token_budget)


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
        raise ConfigError(f"{path}: is no wakeup: {error}") from error


def _show(prompt: Prompt, *, as_json: bool) -> None:
    import msgspec

    if as_json:
        print(msgspec.json.encode(prompt).decode())
        return
    print(f"===== system =====\n{prompt.system}\n\n===== user =====\n{prompt.user}\n")
    print(f"===== {prompt.version} · at most {prompt.tokens} tokens · sha256 {prompt.digest} =====")
