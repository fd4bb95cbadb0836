"""Start everything, show it, stop everything; the exit code says whether the demo did what it promises."""

from __future__ import annotations

import asyncio
import os
import signal

import aiohttp
from rich.console import Console
from rich.table import Table

from engine.clock import Clock
from engine.demo.plan import (
    DemoOptions,
    choose_ports,
    next_epoch,
    prepare_home,
    processes,
    save_reached,
)
from engine.demo.screen import Screen
from engine.demo.watch import View, Watcher
from engine.embedded import EmbeddedServers, ServerAddresses, external_addresses
from engine.supervise import ProcessFailed, Supervisor

_NEEDED = ("frames", "signals", "decisions", "fills")
_QUIET_TRIES = 20


async def run_demo(options: DemoOptions, console: Console) -> int:
    """Run until the time is over or a signal comes. 0: it traded and the books balance (or was stopped)."""
    prepare_home(options)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    external = external_addresses(os.environ)
    if external is not None:
        return await _with_servers(options, console, external, stop)
    async with EmbeddedServers(options.home / "servers") as servers:
        async with asyncio.TaskGroup() as tasks:
            keeping = tasks.create_task(servers.run(), name="embedded servers")
            code = await _with_servers(options, console, servers.addresses, stop)
            keeping.cancel()
        return code


async def _with_servers(
    options: DemoOptions, console: Console, servers: ServerAddresses, stop: asyncio.Event
) -> int:
    ports, epoch = choose_ports(options), next_epoch(options)
    clock, failed, view = epoch.clock(), False, View()
    with Screen(console, ports, options.speed) as screen:
        try:
            async with Supervisor(clock, screen.on_state) as supervisor, aiohttp.ClientSession() as session:
                for spec in processes(options, ports, epoch, servers):
                    if not stop.is_set():
                        await supervisor.start(spec)
                screen.note(f"API on http://127.0.0.1:{ports.api}, logs in {options.home / 'logs'}")
                watcher = Watcher(session, f"http://127.0.0.1:{ports.api}")
                view = await _watch(options, clock, screen, watcher, stop)
        except* ProcessFailed as failures:
            failed = True
            for failure in failures.exceptions:
                console.print(str(failure), style="red", markup=False)
    if failed:
        return 1
    return _summary(console, view) if options.run_for_s else 0


async def _watch(
    options: DemoOptions, clock: Clock, screen: Screen, watcher: Watcher, stop: asyncio.Event
) -> View:
    """Look once a second; at the end until the books balance, or a little longer."""
    end_s = clock.real_s() + options.run_for_s if options.run_for_s else float("inf")
    view = View()
    while not stop.is_set() and clock.real_s() < end_s:
        view = await watcher.look()
        screen.show(view, clock.now_ns(), clock.real_s())
        save_reached(options, clock.now_ns())
        try:
            async with asyncio.timeout(min(1.0, max(0.0, end_s - clock.real_s()))):
                await stop.wait()
        except TimeoutError:
            continue
    for _ in range(_QUIET_TRIES):
        if stop.is_set() or (view.health and view.health.balanced):
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
