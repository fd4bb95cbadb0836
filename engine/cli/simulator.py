"""`edgewise simulator`."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from engine.cli.startup import fail_clearly

if TYPE_CHECKING:
    from engine.clock import Clock
    from engine.exchange.simulator.build import Plan
    from engine.exchange.simulator.server import Server
    from engine.exchange.simulator.venue import Venue

_ACCOUNT: Final = "demo-key:demo-secret:demo-pass:100000"


def simulator(
    port: Annotated[int, typer.Option(help="Port; 0 takes a free one.", min=0, max=65535)] = 8640,
    account: Annotated[
        list[str] | None,
        typer.Option(help="<key>:<secret>:<passphrase>:<USDT>, perhaps :read_only+trade; repeatable."),
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of the generated market.")] = 1,
    replay: Annotated[
        Path | None, typer.Option(help="Play this file, or the folder of `record`, instead.", exists=True)
    ] = None,
    funding: Annotated[
        Path | None, typer.Option(help="Funding rates for it: funding_ts_ms,funding_rate.", exists=True)
    ] = None,
    symbol: Annotated[
        list[str] | None,
        typer.Option(help="Markets to list; beside a recording's own, others are generated."),
    ] = None,
    loop: Annotated[bool, typer.Option("--loop", help="Start a recording over when it ends.")] = False,
    manual: Annotated[
        bool, typer.Option("--manual", help="The market moves by POST /sim/market only.")
    ] = False,
    speed: Annotated[float, typer.Option(help="Engine seconds a real second.", min=0.1, max=1000)] = 1.0,
    epoch: Annotated[int, typer.Option(help="Engine time (ns) at --wall-epoch; 0: wall time.")] = 0,
    wall_epoch: Annotated[int, typer.Option(help="Wall time (ns) at which engine time is --epoch.")] = 0,
    state: Annotated[Path | None, typer.Option(help="Folder that keeps the accounts.")] = None,
    position_mode: Annotated[str, typer.Option(help="long_short or net.")] = "long_short",
    vip: Annotated[bool, typer.Option("--vip", help="Accounts have the channels of high fee tiers.")] = False,
    certificate: Annotated[
        Path | None,
        typer.Option(help="PEM of certificate and key: speak TLS, for those who insist.", exists=True),
    ] = None,
    environment: Annotated[
        str, typer.Option(help="demo or live: keys are of it, requests for the other get 50101.")
    ] = "",
    latency_ms: Annotated[
        int, typer.Option(help="How long orders travel to the book, ms of engine time.", min=0, max=60_000)
    ] = 0,
    faults: Annotated[
        Path | None,
        typer.Option(help="Faults that come by themselves, in YAML.", exists=True, dir_okay=False),
    ] = None,
    list_faults: Annotated[
        bool, typer.Option("--list-faults", help="Name the kinds of faults and what each does; then end.")
    ] = False,
    no_rate_limit: Annotated[bool, typer.Option("--no-rate-limit", help="Answer any number.")] = False,
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
        market="recorded" if replay else "manual" if manual else "generated",
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
