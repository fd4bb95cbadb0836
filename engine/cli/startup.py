"""What every command does first: settings, log, and errors that a person can act on."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from engine.core.errors import ConfigError, EdgewiseError, VenueMisconfigured

if TYPE_CHECKING:
    from engine.config.settings import Settings
    from engine.embedded import ServerAddresses

Etc = Annotated[Path, typer.Option("--etc", "--dir", help="Folder of the configuration.")]
Json = Annotated[bool, typer.Option("--json", help="One JSON document, for machines.")]
Verbose = Annotated[bool, typer.Option("--verbose", help="Show the engine's log.")]
MISCONFIGURED: Final = 2  # exit code: a file, a variable or an account must be changed


@contextmanager
def fail_clearly(log_level: str = "error") -> Iterator[None]:
    """Our own errors become their text and an exit code; anything else is a bug and shows its traceback.

    What is logged meanwhile goes to standard error; a command that serves configures its own log later.
    """
    from engine.clock import SystemClock
    from engine.log import configure

    configure(SystemClock(), log_level)
    try:
        yield
    except* (ConfigError, VenueMisconfigured) as group:
        _say(group)
        sys.exit(MISCONFIGURED)
    except* EdgewiseError as group:
        _say(group)
        sys.exit(1)


def _say(group: BaseExceptionGroup[EdgewiseError]) -> None:
    for error in group.exceptions:
        if isinstance(error, BaseExceptionGroup):
            _say(error)
        else:
            print(error, file=sys.stderr)


def settings_of(etc: Path) -> Settings:
    """The configuration in `etc`. Raises ConfigError."""
    from engine.config.settings import load_settings

    return load_settings(etc, os.environ)


def own_servers(settings: Settings, lacking: str) -> tuple[ServerAddresses, str]:
    """The embedded servers that run here, the engine's or else a demo's, and the environment they serve.

    Raises ConfigError when none does; `lacking` is what is looked for, and its variable.
    """
    from engine.embedded import running_addresses

    home = settings.home
    for folder, env in ((home, settings.engine.env), (home / "demo" / "servers", "demo")):
        if (found := running_addresses(folder)) is not None:
            return found, env
    raise ConfigError(
        f"no {lacking} is set, and no server of edgewise runs below {home}: "
        "set it, or start `edgewise engine` or `edgewise demo` here"
    )


def dsn_of(etc: Path) -> str:
    """The configured database, or the embedded one of a running engine or demo. Raises ConfigError."""
    settings = settings_of(etc)
    if dsn := settings.engine.servers.postgres_dsn:
        return dsn
    return own_servers(settings, "EDGEWISE_POSTGRES_DSN")[0].postgres_dsn
