"""`edgewise bus`: what is on the bus, who is behind, what was given up."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from engine.cli.output import print_json, wide_console
from engine.cli.startup import Etc, Json, fail_clearly, own_servers, settings_of

if TYPE_CHECKING:
    from engine.bus import Topic
    from engine.config.settings import Settings
    from engine.redis_bus import RedisBus

R = TypeVar("R")
app = typer.Typer()
_ETC = Path("etc")
_NOT_FOUND = 1
_BODY_WIDTH = 60


@app.callback(invoke_without_command=True)
def bus(context: typer.Context) -> None:
    """Show topics, groups, lag and dead letters of the bus; requeue a dead letter."""
    if context.invoked_subcommand is None:
        show()


@app.command()
def show(etc: Etc = _ETC, as_json: Json = False) -> None:
    """Topics with their length, groups with what they have not acknowledged or not seen, dead letters."""
    from rich.table import Table

    from engine.bus_admin import overview

    infos = ask(etc, overview)
    if as_json:
        print_json(infos)
        return
    table = Table("topic", "messages", "dead", "group", "consumers", "pending", "lag")
    for info in infos:
        dead = f"[red]{info.dead}[/]" if info.dead else "0"
        name = info.topic if info.durable else f"{info.topic} (live)"
        first = (name, f"{info.messages:,}", dead)
        if not info.groups:
            table.add_row(*first, "-", "", "", "")
        for group in info.groups:
            lag = "?" if group.lag is None else f"{group.lag:,}"
            table.add_row(*first, group.name, str(group.consumers), f"{group.pending:,}", lag)
            first = ("", "", "")
    wide_console().print(table)


@app.command()
def dead(
    topic: Annotated[str, typer.Argument(help="Only this topic.")] = "",
    etc: Etc = _ETC,
    as_json: Json = False,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="Newest letters of each topic.")] = 50,
) -> None:
    """Messages that their group could not handle, newest first, with the error."""
    from textwrap import shorten

    from rich.markup import escape
    from rich.table import Table

    from engine.bus import TOPICS
    from engine.bus_admin import DeadMessage, dead_messages
    from engine.core.times import iso

    topics = (_topic(topic),) if topic else TOPICS

    async def every(bus: RedisBus) -> list[DeadMessage]:
        return [letter for each in topics for letter in await dead_messages(bus, each, limit)]

    letters = ask(etc, every)
    if as_json:
        print_json(letters)
        return
    table = Table("topic", "letter", "group", "at", "trace", "error", "body")
    for letter in letters:
        body = shorten(letter.body, _BODY_WIDTH)
        row = (letter.topic, letter.id, letter.group, iso(letter.ts), letter.trace_id, letter.error, body)
        table.add_row(*(escape(cell) for cell in row))
    wide_console().print(table if letters else "no dead letters")


@app.command()
def requeue(
    topic: Annotated[str, typer.Argument(help="Topic of the letter.")],
    letter: Annotated[str, typer.Argument(help="Id of the letter, as `edgewise bus dead` shows it.")],
    etc: Etc = _ETC,
    as_json: Json = False,
) -> None:
    """Publish one dead letter again. Groups that have handled the message do nothing the second time."""

    from engine.bus_admin import requeue as put_back

    chosen = _topic(topic)
    message_id = ask(etc, lambda bus: put_back(bus, chosen, letter))
    if as_json:
        print_json({"topic": topic, "letter": letter, "message_id": message_id})
    elif message_id is not None:
        print(f"letter {letter} is message {message_id} of {topic} now")
    if message_id is None:
        print(f"no dead letter {letter} in {topic}", file=sys.stderr)
        sys.exit(_NOT_FOUND)


@app.command()
def clear(
    etc: Etc = _ETC,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Forget all messages and cached values of edgewise in this Redis, of every `env`.

    For a Redis that belongs to another database. The journal has all that matters; stop every engine first.
    """
    from engine.bus_owner import claimed
    from engine.bus_owner import clear as forget

    whose = ask(etc, claimed)
    print(f"belongs to database {whose.database_id or 'of nobody'} {whose.environment}".rstrip())
    if not yes and not typer.confirm("Forget all of it?"):
        raise typer.Exit(1)
    print(f"{ask(etc, forget):,} keys are gone; the next engine claims this Redis")


def _topic(name: str) -> Topic[Any]:
    from engine.bus import TOPICS

    for topic in TOPICS:
        if topic.name == name:
            return topic
    raise typer.BadParameter(f"{name!r} is no topic; there are {', '.join(topic.name for topic in TOPICS)}")


def ask(etc: Path, question: Callable[[RedisBus], Awaitable[R]]) -> R:
    """Put a question to the configured bus. Errors of ours end the process with their text."""
    from engine.clock import SystemClock
    from engine.redis_bus import RedisBus

    with fail_clearly():
        settings = settings_of(etc)
        url, env = _redis_of(settings)

        async def asked() -> R:
            bus = RedisBus(url, env, SystemClock())
            try:
                return await question(bus)
            finally:
                await bus.aclose()

        return asyncio.run(asked())


def _redis_of(settings: Settings) -> tuple[str, str]:
    """Address and environment: as configured, else of a running engine or demo. Raises ConfigError."""
    config = settings.engine
    if config.servers.redis_url:
        return config.servers.redis_url, config.env
    found, env = own_servers(settings, "EDGEWISE_REDIS_URL")
    return found.redis_url, env
