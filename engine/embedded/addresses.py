"""Where the servers are, for the process that owns them and for those it starts."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final
from urllib.parse import quote, unquote, urlsplit

import msgspec

from engine.core.errors import ConfigError
from engine.embedded.folder import Passwords, write_private

DATABASE: Final = "edgewise"
OWNER: Final = "edgewise"
READER: Final = "edgewise_api"
ADDRESSES_FILE: Final = "addresses.json"


class ServerAddresses(msgspec.Struct, frozen=True):
    """Addresses of the database and the bus; they hold passwords and are never logged.

    postgres_dsn: owner of the database, may write. postgres_ro_dsn: may read every table and nothing else.
    redis_url: may do everything. redis_api_url: may read every key, may write keys `api:*` only.
    """

    postgres_dsn: str
    postgres_ro_dsn: str
    redis_url: str
    redis_api_url: str

    def __repr__(self) -> str:
        return "ServerAddresses(***)"

    def environment(self) -> dict[str, str]:
        """The variables through which a child process is told (`external_addresses` reads them)."""
        return {
            "EDGEWISE_POSTGRES_DSN": self.postgres_dsn,
            "EDGEWISE_POSTGRES_RO_DSN": self.postgres_ro_dsn,
            "EDGEWISE_REDIS_URL": self.redis_url,
            "EDGEWISE_REDIS_API_URL": self.redis_api_url,
        }


def external_addresses(env: Mapping[str, str]) -> ServerAddresses | None:
    """Addresses set by the operator; None when neither server is set, and embedded ones serve.

    The address of a reader defaults to that of the writer. Raises ConfigError when only one server is set.
    """
    postgres, redis = env.get("EDGEWISE_POSTGRES_DSN", ""), env.get("EDGEWISE_REDIS_URL", "")
    if not postgres and not redis:
        return None
    if not postgres or not redis:
        missing = "EDGEWISE_REDIS_URL" if postgres else "EDGEWISE_POSTGRES_DSN"
        raise ConfigError(f"{missing} is not set: external servers are set both or neither")
    return ServerAddresses(
        postgres_dsn=postgres,
        postgres_ro_dsn=env.get("EDGEWISE_POSTGRES_RO_DSN") or postgres,
        redis_url=redis,
        redis_api_url=env.get("EDGEWISE_REDIS_API_URL") or redis,
    )


def embedded_addresses(postgres_sockets: Path, valkey_socket: Path, passwords: Passwords) -> ServerAddresses:
    """Addresses of the embedded pair over their unix sockets."""

    def dsn(user: str, password: str) -> str:
        return f"postgresql://{user}:{password}@/{DATABASE}?host={quote(str(postgres_sockets), safe='')}"

    def url(user: str, password: str) -> str:
        return f"unix://{user}:{password}@{quote(str(valkey_socket))}?db=0"

    return ServerAddresses(
        postgres_dsn=dsn(OWNER, passwords.postgres_owner),
        postgres_ro_dsn=dsn(READER, passwords.postgres_reader),
        redis_url=url(OWNER, passwords.valkey_owner),
        redis_api_url=url(READER, passwords.valkey_reader),
    )


def publish_addresses(folder: Path, addresses: ServerAddresses) -> None:
    """Leave the addresses in the folder, for its owner's eyes, so that other commands find the servers."""
    write_private(folder / ADDRESSES_FILE, msgspec.json.encode(addresses))


def known_addresses(folder: Path) -> ServerAddresses | None:
    """Addresses that the servers of `folder` had when they last started; None before the first start."""
    try:
        return msgspec.json.decode((folder / ADDRESSES_FILE).read_bytes(), type=ServerAddresses)
    except FileNotFoundError:
        return None


def running_addresses(folder: Path) -> ServerAddresses | None:
    """`known_addresses` while the servers run, as far as the bus's socket tells; None otherwise."""
    found = known_addresses(folder)
    if found is None or not Path(unquote(urlsplit(found.redis_url).path)).exists():
        return None
    return found
