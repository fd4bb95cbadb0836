"""What sockets are told of their accounts: at once, and balances and positions every five seconds too."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

from engine.exchange.matching.records import (
    AlgoChanged,
    BalanceChanged,
    Event,
    FillMade,
    OrderChanged,
    PositionChanged,
)
from engine.exchange.simulator import wire_account, wire_orders
from engine.exchange.simulator.subscriptions import Arg, Subscriber, frame
from engine.exchange.simulator.text import Row
from engine.exchange.simulator.world import World

_REGULAR_S: Final = 5.0
_PAGED: Final = frozenset(["account", "positions"])


class AccountPushes:
    """Pushes to the sockets in `sockets` that have logged in."""

    def __init__(self, world: World, sockets: set[Subscriber]) -> None:
        self._world = world
        self._sockets = sockets
        self._regular_s = 0.0

    def on_events(self, events: Sequence[Event], now_ns: int) -> None:
        """Tell each account's sockets what happened to it, in the order in which it did."""
        if not events or not any(socket.account for socket in self._sockets):
            return
        for event in events:
            match event:
                case OrderChanged(order, fill):
                    quote = self._world.quotes.get(order.symbol)
                    last = quote.price if quote else order.price or order.size
                    value = self._world.core.instrument(order.symbol).contract_value
                    row = wire_orders.order_push(order, fill, last, value)
                    self._tell("orders", order.account, order.symbol, row)
                case FillMade(fill) if not fill.trade_id.startswith("-"):
                    self._tell("fills", fill.account, fill.symbol, wire_orders.fill_push(fill))
                case AlgoChanged(algo):
                    channel = _algo_channel(algo.request.algo_type)
                    self._tell(channel, algo.account, algo.request.symbol, wire_orders.algo(algo))
                case PositionChanged(position):
                    row = wire_account.position(position)
                    self._tell("positions", position.account, position.symbol, row)
                case BalanceChanged(balance):
                    self._tell("account", balance.account, "", wire_account.balance(balance))
                case _:
                    continue
        self._tell_both(events, now_ns)

    def _tell_both(self, events: Sequence[Event], now_ns: int) -> None:
        """balance_and_position: one push for each account that these events touched."""
        for account in {socket.account for socket in self._sockets if socket.account}:
            balances = [e for e in events if isinstance(e, BalanceChanged) and e.balance.account == account]
            held = [e for e in events if isinstance(e, PositionChanged) and e.position.account == account]
            if not balances and not held:
                continue
            fills = [e.fill for e in events if isinstance(e, FillMade) and e.fill.account == account]
            reason = (held or balances)[-1].reason
            newest = {event.position.pos_id: event.position for event in held}
            balance = balances[-1].balance if balances else None
            row = wire_account.balance_and_position(reason, balance, newest.values(), fills, now_ns)
            self._tell("balance_and_position", account, "", row)

    def regular(self, now_s: float) -> None:
        """Repeat balances and positions to those who have not asked for events only."""
        if now_s - self._regular_s < _REGULAR_S:
            return
        self._regular_s = now_s
        for socket in tuple(self._sockets):
            for arg in tuple(socket.subscriptions.values()):
                quiet = '"updateInterval":"0"' in str(arg.get("extraParams", "")).replace(" ", "")
                if socket.account and arg["channel"] in _PAGED and not quiet:
                    socket.send(_frame(arg, socket.account, self._rows(arg, socket.account, 0), "snapshot"))

    def greet(self, socket: Subscriber, arg: Arg, now_ns: int) -> None:
        """What the venue sends first: the balance, all positions, waiting trailing stops; no orders."""
        if arg["channel"] in _FIRST:
            rows = self._rows(arg, socket.account, now_ns)
            if rows or arg["channel"] in _PAGED:
                socket.send(_frame(arg, socket.account, rows, "snapshot"))

    def _rows(self, arg: Arg, account: str, now_ns: int) -> list[Row]:
        return _FIRST[arg["channel"]](self._world, arg, account, now_ns)

    def _tell(self, channel: str, account: str, symbol: str, row: Row) -> None:
        for socket in tuple(self._sockets):
            if socket.account != account:
                continue
            for arg in tuple(socket.subscriptions.values()):
                if arg["channel"] == channel and _covers(arg, symbol):
                    socket.send(_frame(arg, account, [row], "event_update"))


def _frame(arg: Arg, account: str, rows: list[Row], event_type: str) -> str:
    """What goes out; the venue adds the account's number to the arg."""
    more: dict[str, Any] = {}
    if arg["channel"] in _PAGED:
        more = {"eventType": event_type}
        if event_type == "snapshot":
            more |= {"curPage": 1, "lastPage": True}
    return frame(arg | {"uid": wire_account.uid(account)}, rows, **more)


def _algo_channel(algo_type: str) -> str:
    return "algo-advance" if algo_type == "move_order_stop" else "orders-algo"


def _covers(arg: Arg, symbol: str) -> bool:
    """Whether a subscription is about this swap; "" is about no swap but about the money."""
    if not symbol:
        return arg.get("ccy", "USDT") in {"USDT", ""}
    family = str(arg.get("instFamily") or "")
    return (
        arg.get("instType", "ANY") in {"SWAP", "ANY"}
        and str(arg.get("instId") or symbol) == symbol
        and (not family or symbol == f"{family}-SWAP")
    )


def _balance(world: World, arg: Arg, account: str, now_ns: int) -> list[Row]:
    return [wire_account.balance(world.core.balance(account))] if _covers(arg, "") else []


def _positions(world: World, arg: Arg, account: str, now_ns: int) -> list[Row]:
    held = world.core.positions(account)
    return [wire_account.position(each) for each in held if _covers(arg, each.symbol)]


def _both(world: World, arg: Arg, account: str, now_ns: int) -> list[Row]:
    core = world.core
    held = core.positions(account)
    return [wire_account.balance_and_position("snapshot", core.balance(account), held, (), now_ns)]


def _trailing(world: World, arg: Arg, account: str, now_ns: int) -> list[Row]:
    return [
        wire_orders.algo(algo)
        for algo in world.core.pending_algos(account)
        if _algo_channel(algo.request.algo_type) == "algo-advance" and _covers(arg, algo.request.symbol)
    ]


_FIRST: Final[dict[str, Callable[[World, Arg, str, int], list[Row]]]] = {
    "account": _balance,
    "positions": _positions,
    "balance_and_position": _both,
    "algo-advance": _trailing,
}
