"""`edgewise simulator`."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Final

from engine.cli import simulator_options as options
from engine.cli.startup import fail_clearly

if TYPE_CHECKING:
    from engine.clock import Clock
    from engine.exchange.simulator.build import Plan
    from engine.exchange.simulator.server import Server
    from engine.exchange.simulator.venue import Venue

_ACCOUNT: Final = "demo-key:demo-secret:demo-pass:100000"


def simulator(
    port: options.Port = 8640,
    certificate: options.Certificate = None,
    seed: options.Seed = 1,
    symbol: options.Symbols = None,
    replay: options.Replay = None,
    funding: options.Funding = None,
    loop: options.Loop = False,
    manual: options.Manual = False,
    account: options.Accounts = None,
    position_mode: options.PositionMode = "long_short",
    environment: options.Environment = "",
    vip: options.Vip = False,
    state: options.State = None,
    speed: options.Speed = 1.0,
    epoch: options.Epoch = 0,
    wall_epoch: options.WallEpoch = 0,
    latency_ms: options.LatencyMs = 0,
    faults: options.Faults = None,
    list_faults: options.ListFaults = False,
    no_rate_limit: options.NoRateLimit = False,
) -> None:
    """Serve OKX's protocol on this machine: REST and WebSockets, accounts, a market, no money.

    While it runs, POST /sim/faults begins a fault ({"kind": "drop_after", "path": "trade/order"}), GET shows
    those that wait, DELETE ends them all; /sim/state counts what came in.
    """
    from engine.exchange.simulator.build import Plan

    if list_faults:
        _list_faults()
        return
    plan = Plan(
        accounts=tuple(account or (_ACCOUNT,)),
        market="manual" if manual else "recorded" if replay else "generated",
        symbols=tuple(symbol or ()),
        seed=seed,
        recording=replay,
        funding=funding,
        loop=loop,
        folder=state,
        position_mode=position_mode,
        rate_limits=not no_rate_limit,
        latency_ms=latency_ms,
        environment=environment,
        vip=vip,
    )
    with fail_clearly("warning"):
        _run(plan, _clock(speed, epoch, wall_epoch), port, faults, certificate)


def _list_faults() -> None:
    from engine.exchange.simulator.faults import MEANINGS

    for fault, meaning in MEANINGS.items():
        print(f"{fault.value:<16}{meaning}")


def _clock(speed: float, epoch: int, wall_epoch: int) -> Clock:
    from engine.clock import ScaledClock, SystemClock

    clock = SystemClock()
    if epoch or speed != 1.0:
        return ScaledClock(speed, epoch or clock.now_ns(), wall_epoch or clock.now_ns())
    return clock


def _run(plan: Plan, clock: Clock, port: int, faults: Path | None, certificate: Path | None) -> None:
    """Serve until SIGINT or SIGTERM. Raises ConfigError."""
    from engine.exchange.simulator.build import build
    from engine.exchange.simulator.faults import read_faults
    from engine.exchange.simulator.server import Server

    venue = build(plan, clock)
    wanted = read_faults(faults, os.environ) if faults else ()
    server = Server(venue, port, faults=wanted, certificate=certificate)
    if plan.accounts == (_ACCOUNT,):
        print("account key demo-key, secret demo-secret, passphrase demo-pass, 100,000 USDT", flush=True)
    asyncio.run(_serve(venue, server, "s" if certificate else ""))


async def _serve(venue: Venue, server: Server, tls: str) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with server.running():
        print(f"REST    http{tls}://127.0.0.1:{server.port}", flush=True)
        print(f"sockets ws{tls}://127.0.0.1:{server.port}/ws/v5/public, /private, /business", flush=True)
        markets = ", ".join(each.instrument.symbol for each in venue.world.source.listings)
        print(f"markets {markets} ({venue.world.source.status()})", flush=True)
        print("simulator ready", flush=True)
        await stop.wait()
