"""`edgewise trader`, `halt` and `resume`: orders of an operator to the running engine, with its answer."""

from __future__ import annotations

import asyncio
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from engine.cli.bus import ask
from engine.cli.startup import Etc, dsn_of, fail_clearly, settings_of

if TYPE_CHECKING:
    from engine.bus import Command
    from engine.config.settings import Settings
    from engine.journal.ports import RiskEvent
    from engine.redis_bus import RedisBus

app = typer.Typer(help="Pause, resume, close or flatten one trader.", no_args_is_help=True)
Trader = Annotated[str, typer.Argument(help="Id of the trader.")]
Reason = Annotated[str, typer.Option(help="Kept with the halt, and shown wherever it is.")]
_ETC: Final = Path("etc")
_ANSWER_S: Final = 15.0
_LOOK_S: Final = 0.1


@app.command()
def pause(trader: Trader, reason: Reason = "", etc: Etc = _ETC) -> None:
    """No new entries of the trader until it is resumed; its stops rest and closing passes.

    Its model is asked only while it holds something.
    """
    _order(etc, "pause", trader, reason)


@app.command(name="resume")
def resume_trader(trader: Trader, etc: Etc = _ETC) -> None:
    """End a pause, a halt or a cool-off of the trader, and let it look at once; losses are measured anew."""
    _order(etc, "resume", trader)


@app.command()
def close(trader: Trader, etc: Etc = _ETC) -> None:
    """Close all positions of the trader at market; it goes on trading."""
    _order(etc, "close", trader)


@app.command()
def flatten(trader: Trader, reason: Reason = "", etc: Etc = _ETC) -> None:
    """Close all positions of the trader at market and pause it."""
    _order(etc, "flatten", trader, reason)


def halt(reason: Reason = "", etc: Etc = _ETC) -> None:
    """No new entries of any trader until `edgewise resume`; stops rest and closing passes."""
    _order(etc, "halt", "", reason)


def resume(etc: Etc = _ETC) -> None:
    """End a halt or cool-off of the whole account; all look at once. Traders that were paused stay paused."""
    _order(etc, "resume_all", "")


def _order(etc: Path, name: str, trader_id: str, reason: str = "") -> None:
    import secrets

    from engine.bus import Command
    from engine.core.errors import ConfigError

    command = Command(command_id=secrets.token_hex(8), name=name, trader_id=trader_id, reason=reason)
    with fail_clearly():
        settings, dsn = settings_of(etc), dsn_of(etc)
    answer = ask(etc, lambda bus: _send(bus, dsn, settings, command))
    if answer is None:
        print(
            f"no answer within {_ANSWER_S:.0f} s: is the engine running? It will do it when it is back.",
            file=sys.stderr,
        )
        raise typer.Exit(1)
    with fail_clearly():
        if answer.kind != "command_applied":
            raise ConfigError(answer.detail)
    print(f"{trader_id}: {answer.detail}" if trader_id else answer.detail)


async def _send(bus: RedisBus, dsn: str, settings: Settings, command: Command) -> RiskEvent | None:
    """Publish the command and wait for the answer in the journal; None when there is none in time.

    Raises ConfigError when it would reach the engine of another account.
    """
    from engine.bus import COMMANDS
    from engine.clock import SystemClock
    from engine.journal.postgres.journal import PostgresJournal

    await _refuse_other_engine(bus, dsn, settings)
    clock = SystemClock()
    async with PostgresJournal(dsn, clock) as journal:
        await bus.publish(COMMANDS, command, trace_id=command.command_id)
        try:
            async with asyncio.timeout(_ANSWER_S):
                while (answer := await journal.risk_event(f"command:{command.command_id}")) is None:
                    await clock.sleep_real(_LOOK_S)
        except TimeoutError:
            return None
        return answer


async def _refuse_other_engine(bus: RedisBus, dsn: str, settings: Settings) -> None:
    """Raises ConfigError for a bus that is not the configured account's, nor of the database that answers."""
    from engine.bus_owner import claimed
    from engine.core.errors import ConfigError, StoreUnavailable
    from engine.journal.postgres.owner import belonging

    found, owner = await claimed(bus), None
    with suppress(StoreUnavailable):  # a halt is sent all the same
        owner = (await belonging(dsn)).owner
    if found.database_id and owner is not None and found.database_id != owner.database_id:
        raise ConfigError(
            f"Redis is that of a database of {found.environment}, and the database that is set is another one"
            f" of {owner.environment}: set EDGEWISE_REDIS_URL and EDGEWISE_POSTGRES_DSN of one engine"
        )
    of_demo = bus.env != settings.engine.env  # it was found running here, whatever is configured
    if found.account_id and found.account_id != settings.provider_id and not of_demo:
        raise ConfigError(
            f"the bus {bus.env!r} is that of account {found.account_id}, and the configuration is for "
            f"{settings.provider_id}: set the `env` of its engine (EDGEWISE_ENV)"
        )
