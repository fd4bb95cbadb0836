"""Start everything, show it, stop everything; the exit code says whether the demo did what it promises."""

from __future__ import annotations

import asyncio
import os
import signal
from contextlib import AsyncExitStack

import aiohttp
from rich.console import Console
from rich.table import Table

from engine.clock import Clock
from engine.demo.plan import (
    DemoOptions,
    Ports,
    choose_ports,
    next_epoch,
    prepare_home,
    processes,
    save_reached,
)
from engine.demo.screen import Screen
from engine.demo.watch import View, Watcher
from engine.embedded import EmbeddedServers, ServerAddresses, external_addresses
from engine.log import configure
from engine.supervise import ProcessFailed, Supervisor

_NEEDED = ("frames", "signals", "decisions", "fills")
_QUIET_TRIES = 20


async def run_demo(options: DemoOptions, console: Console) -> int:
    """Run until the time is over or a signal comes. 0: it traded and the books balance (or was stopped)."""
    ports = choose_ports(options)
    prepare_home(options)
    clock = next_epoch(options).clock()
    with (options.home / "logs" / "demo.log").open("ab") as out:
        configure(clock, "info", "demo", out)
        demo = asyncio.ensure_future(_demo(options, ports, console))
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, demo.cancel)
        try:
            return await demo
        except asyncio.CancelledError:
            console.print("stopped")
            return 0


async def _demo(options: DemoOptions, ports: Ports, console: Console) -> int:
    failures: list[str] = []
    view = View()
    try:
        async with AsyncExitStack() as stack:
            servers = external_addresses(os.environ)
            if servers is None:
                embedded = await stack.enter_async_context(EmbeddedServers(options.home / "servers"))
                servers = embedded.addresses
                keeping = await stack.enter_async_context(asyncio.TaskGroup())
                keeper = keeping.create_task(embedded.run(), name="embedded servers")
                stack.callback(keeper.cancel)
            view = await _with_servers(options, console, servers, ports)
    except* ProcessFailed as group:
        failures = [str(failure) for failure in group.exceptions]
    for failure in failures:
        console.print(failure, style="red", markup=False)
    if failures:
        return 1
    return _summary(console, view)


async def _with_servers(
    options: DemoOptions, console: Console, servers: ServerAddresses, ports: Ports
) -> View:
    """Start the processes in order, then watch them until the time is over."""
    epoch = next_epoch(options)
    clock = epoch.clock()
    with Screen(console, ports, options.speed) as screen:
        async with Supervisor(clock, screen.on_state) as supervisor, aiohttp.ClientSession() as session:
            for spec in processes(options, ports, epoch, servers):
                await supervisor.start(spec)
            screen.note(f"API on http://127.0.0.1:{ports.api}, logs in {options.home / 'logs'}")
            watcher = Watcher(session, f"http://127.0.0.1:{ports.api}")
            return await _watch(options, clock, screen, watcher)


async def _watch(options: DemoOptions, clock: Clock, screen: Screen, watcher: Watcher) -> View:
    """Look once a second; at the end until the books balance, or a little longer."""
    end_s = clock.real_s() + options.run_for_s if options.run_for_s else float("inf")
    view = View()
    while clock.real_s() < end_s:
        view = await watcher.look()
        screen.show(view, clock.now_ns(), clock.real_s())
        save_reached(options, clock.now_ns())
        await clock.sleep_real(min(1.0, max(0.0, end_s - clock.real_s())))
    for _ in range(_QUIET_TRIES):
        if view.health and view.health.balanced:
            break
        await clock.sleep_real(0.5)
        view = await watcher.look()
    save_reached(options, clock.now_ns())
    return view


def _summary(console: Console, view: View) -> int:
    """Print what happened; 0 only if all of it did."""
    counts = view.health.counts if view.health else {}
    balanced = view.health.balanced if view.health else False
    table = Table("what", "count", title="demo summary")
    for name, count in counts.items():
        table.add_row(name, f"{count:,}")
    table.add_row("closed trades", str(sum(row["num_trades"] for row in view.leaderboard)))
    table.add_row("books", "balance" if balanced else "DIFFER")
    console.print(table)
    for row in sorted(view.leaderboard, key=lambda row: -row["equity"]):
        console.print(f"{row['id']:<20} equity {row['equity']:>12,.2f}  return {row['return_pct']:+.2f} %")
    missing = [name for name in _NEEDED if not counts.get(name)]
    if missing:
        console.print(f"nothing happened in: {', '.join(missing)}", style="red")
    return 0 if balanced and not missing else 1
