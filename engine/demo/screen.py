"""The demo in a terminal: a live page with rich, or plain lines where the output is no terminal."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping
from typing import Any, Final

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from engine.core.instruments import coin
from engine.core.times import iso
from engine.demo.plan import Ports
from engine.demo.watch import View
from engine.supervise import ProcessState, StateChange

_STATE_STYLE: Final = {
    ProcessState.READY: "green",
    ProcessState.STARTING: "yellow",
    ProcessState.RESTARTING: "yellow",
    ProcessState.DOWN: "red",
    ProcessState.STOPPED: "dim",
}
_PLAIN_EVERY_S: Final = 5.0
_DIGITS: Final = 5  # of a position's size


class Screen:
    """Shows state changes at once and a View whenever it is given one."""

    def __init__(self, console: Console, ports: Ports, speed: float) -> None:
        self._console = console
        self._ports = ports
        self._speed = speed
        self._states: dict[str, StateChange] = {}
        self._notes: deque[str] = deque(maxlen=6)
        self._live = (
            Live(console=console, refresh_per_second=4, screen=False) if console.is_terminal else None
        )
        self._next_plain_s = 0.0
        self._view = View()

    def __enter__(self) -> Screen:
        if self._live:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live:
            self._live.stop()

    def on_state(self, change: StateChange) -> None:
        """A child came to a new state."""
        self._states[change.name] = change
        detail = f" (exit code {change.exit_code})" if change.exit_code is not None else ""
        self.note(f"{change.name} {change.state}{detail}")

    def note(self, text: str) -> None:
        """One line about something that happened."""
        self._notes.append(text)
        if self._live is None:
            self._console.print(text, highlight=False)

    def show(self, view: View, now_ns: int, real_s: float) -> None:
        """Draw the newest view; plain output gets one line every five seconds."""
        self._view = view
        if self._live:
            self._live.update(self._page(now_ns))
        elif real_s >= self._next_plain_s and view.health:
            self._next_plain_s = real_s + _PLAIN_EVERY_S
            counts = " ".join(f"{name}={count}" for name, count in view.health.counts.items())
            books = "balance" if view.health.balanced else f"{view.health.books}"
            self._console.print(f"{iso(now_ns)[:19]} {counts} books={books}", highlight=False)

    def _page(self, now_ns: int) -> RenderableType:
        view = self._view
        base = f"http://127.0.0.1:{self._ports.api}"
        head = Text.assemble(
            ("edgewise demo ", "bold"),
            f"{iso(now_ns)[:19]} UTC, {self._speed:g} times real time\n",
            (f"{base}/  {base}/api/health  ", "cyan"),
            (f"metrics http://127.0.0.1:{self._ports.metrics}/metrics\n", "cyan"),
            ("`model-demo` asks rules-only-demo: rules, no language model, ", "dim"),
            ("unless EDGEWISE_LLM_BASE_URL names a real one.", "dim"),
        )
        return Group(  # what matters most comes first: a low terminal cuts off the end
            Panel(head),
            self._counts(view),
            self._traders(view),
            self._columns(self._events(view), self._trades(view)),
            self._columns(self._processes(), self._prices(view)),
            Text("\n".join(self._notes), style="dim"),
        )

    @staticmethod
    def _counts(view: View) -> Text:
        """What has happened since the start, in one line."""
        if view.health is None:
            return Text()
        balanced = view.health.balanced
        return Text.assemble(
            *((f" {name} {count:,} ", "dim") for name, count in view.health.counts.items()),
            (f" books {'balance' if balanced else 'differ'}", "green" if balanced else "red"),
        )

    @staticmethod
    def _columns(left: RenderableType, right: RenderableType) -> Table:
        grid = Table.grid(expand=True, padding=(0, 1))
        grid.add_column(ratio=1)
        grid.add_column(ratio=1)
        grid.add_row(left, right)
        return grid

    def _processes(self) -> Table:
        table = Table("process", "state", "restarts", title="processes", expand=True)
        for name, change in self._states.items():
            state = Text(change.state, style=_STATE_STYLE[change.state])
            table.add_row(name, state, str(change.restarts))
        if health := self._view.health:
            for name, state_text in health.connections.items():
                style = "green" if state_text in {"live", "up", "ready"} else "yellow"
                table.add_row(f"  {name}", Text(state_text, style=style), "")
        return table

    @staticmethod
    def _prices(view: View) -> Table:
        table = Table("symbol", "price", title="prices", expand=True)
        for symbol, row in sorted(view.prices.items()):
            table.add_row(symbol, f"{row['price']:,.6g}")
        return table

    @staticmethod
    def _traders(view: View) -> Table:
        table = Table(
            "trader", "equity", "return", "trades", "won", "positions", title="traders", expand=True
        )
        held = {row["model_id"]: row["positions"] for row in view.positions}
        for row in sorted(view.leaderboard, key=lambda row: -row["equity"]):
            style = "green" if row["return_pct"] >= 0 else "red"
            table.add_row(
                row["id"],
                f"{row['equity']:,.2f}",
                Text(f"{row['return_pct']:+.2f} %", style=style),
                str(row["num_trades"]),
                str(row["num_wins"]),
                _positions(held.get(row["id"], {})),
            )
        return table

    @staticmethod
    def _events(view: View) -> Table:
        table = Table("signal", "edge", "score", title="newest signals", expand=True)
        for row in view.signals[:6]:
            table.add_row(f"{coin(row['symbol'])} {row['detector']}", row["edge"], f"{row['score']:.2f}")
        return table

    @staticmethod
    def _trades(view: View) -> Table:
        table = Table("closed trade", "side", "net", title="newest trades", expand=True)
        for row in view.trades[:6]:
            net = row["realized_net_pnl"]
            style = "green" if net >= 0 else "red"
            table.add_row(f"{row['model_id']} {row['symbol']}", row["side"], Text(f"{net:+.2f}", style=style))
        return table


def _positions(positions: Mapping[str, Mapping[str, Any]]) -> Text:
    text = Text()
    for symbol, row in positions.items():
        pnl = row["unrealized_pnl"]
        text.append(f"{symbol} {_signed(row['quantity'])} ", style="bold" if row["quantity"] > 0 else "")
        text.append(f"({pnl:+.2f}) ", style="green" if pnl >= 0 else "red")
    return text


def _signed(coins: float) -> str:
    """As many digits as tell sizes apart, and never an exponent."""
    magnitude = math.floor(math.log10(abs(coins))) if coins else 0
    text = f"{coins:+,.{max(0, _DIGITS - 1 - magnitude)}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text
