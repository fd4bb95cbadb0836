"""Builds links from the configuration: which socket carries which channel, and with what patience."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from importlib.util import find_spec

from engine.clock import Clock
from engine.config.exchange import OkxConfig, Transport
from engine.core.errors import VenueMisconfigured
from engine.exchange.okx.frames import Arg
from engine.exchange.okx.link import Link, LinkHandler, LinkPlan
from engine.exchange.okx.session import Rules
from engine.exchange.okx.socket import Connect, ConnectGate, WebsocketsConnect

PUBLIC = "public"
PRIVATE = "private"
BUSINESS = "business"


@dataclass(frozen=True, slots=True)
class Network:
    """How sockets are opened. One `gate` per process and address keeps to the venue's connection limit."""

    connect: Connect
    gate: ConnectGate

    @classmethod
    def of(cls, config: OkxConfig) -> Network:
        """The library that the configuration names, and a gate of its own."""
        return cls(connector(config.transport, config.proxy), ConnectGate())


def connector(transport: Transport, proxy: str = "") -> Connect:
    """How sockets are opened: `auto` takes picows where it is installed. Raises VenueMisconfigured."""
    installed = find_spec("picows") is not None
    if transport == "websockets" or (transport == "auto" and not installed):
        return WebsocketsConnect(proxy)
    if not installed:
        raise VenueMisconfigured("transport picows is not installed; remedy: pip install 'edgewise[fast]'")
    from engine.exchange.okx.fast_socket import PicowsConnect

    return PicowsConnect(proxy)


def build(
    config: OkxConfig,
    network: Network,
    clock: Clock,
    handler: LinkHandler,
) -> Callable[[str, tuple[Arg, ...], Callable[[], Awaitable[bytes]] | None], Link]:
    """A maker of links: socket (public, private, business), channels, and a login where it needs one."""
    hosts, patience = config.hosts, config.timeouts
    urls = {PUBLIC: hosts.public, PRIVATE: hosts.private, BUSINESS: hosts.business}

    def make(name: str, args: tuple[Arg, ...], login: Callable[[], Awaitable[bytes]] | None) -> Link:
        plan = LinkPlan(
            name=name,
            url=urls[name],
            args=args,
            rules=Rules(patience.silence, patience.pong, patience.ack),
            connect_s=patience.connect,
            backoff_first_s=patience.backoff_first,
            backoff_longest_s=patience.backoff_longest,
            login=login,
        )
        return Link(plan, handler, clock, network.connect, network.gate)

    return make
