"""Traders, accounts and what is counted of them, as the reader gives them. Money and sizes are exact.

`ts` and `ts_*` are nanoseconds of engine time. `seq` is the order of writing; a page continues with the rows
before the smallest one it had.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import msgspec

from engine.core.decisions import AccountView, Action, PositionView
from engine.core.ledger import ClosedTrade
from engine.journal.stats import TradeFigures


class TraderRow(msgspec.Struct, frozen=True, kw_only=True):
    """A configured trader. `ts_inception` is when its capital came in, else when it was configured."""

    trader_id: str
    name: str
    kind: str
    model: str
    account_id: str
    config: dict[str, Any]  # as configured, without secrets
    capital: Decimal
    ts_inception: int
    invocations: int


class Performance(msgspec.Struct, frozen=True, kw_only=True):
    """A trader's account at `ts`. `sharpe` is that of its complete hours until then, not annualised."""

    trader_id: str
    ts: int
    sharpe: float | None
    view: AccountView


class OpenPosition(msgspec.Struct, frozen=True, kw_only=True):
    """An open position; its `view` has no price yet."""

    trader_id: str
    view: PositionView


class SequencedTrade(msgspec.Struct, frozen=True, kw_only=True):
    seq: int
    trade: ClosedTrade


class TradeTotals(msgspec.Struct, frozen=True, kw_only=True):
    """All closed trades of one trader; dollars after fees and funding, `lose_dollars` 0 or negative."""

    trader_id: str
    num_trades: int
    num_wins: int
    num_losses: int
    win_dollars: Decimal
    lose_dollars: Decimal


class Conversation(msgspec.Struct, frozen=True, kw_only=True):
    """A decision cycle that was answered, with what was asked and said."""

    seq: int
    cycle_id: str
    trader_id: str
    decider: str
    model: str
    prompt_version: str
    ts_created: int
    ts_decided: int
    system_prompt: str
    user_prompt: str
    answer: str
    reasoning: str
    actions: tuple[Action, ...]
    prices: dict[str, float]


class CountedTrade(TradeFigures, frozen=True, kw_only=True):
    """A closed trade as statistics count it."""

    seq: int
    trader_id: str
    trade_id: str
    ts_exit: int


class CountedCycle(msgspec.Struct, frozen=True, kw_only=True):
    """When a cycle began and what it wanted; nothing while it `is_open`."""

    seq: int
    cycle_id: str
    trader_id: str
    ts_created: int
    is_open: bool
    actions: tuple[Action, ...]


class JsonRows(msgspec.Struct, frozen=True, kw_only=True):
    """A page of rows as JSON: an array of `count`, the last of which has the sequence number `last`."""

    json: msgspec.Raw
    count: int
    last: int


class Counts(msgspec.Struct, frozen=True, kw_only=True):
    """How many rows there are of each kind, estimated where they are very many.

    `decisions` counts cycles that were decided.
    """

    signals: int
    cycles: dict[str, int]
    orders: int
    fills: int
    trades: int

    @property
    def decisions(self) -> int:
        return self.cycles.get("decided", 0)
