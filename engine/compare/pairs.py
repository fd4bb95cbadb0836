"""Which execution of one run is which of the other. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from decimal import Decimal
from itertools import groupby

import msgspec

from engine.core.errors import InvariantBroken
from engine.core.market import Side
from engine.core.orders import ZERO, Fill


class Execution(msgspec.Struct, frozen=True, kw_only=True):
    """What an order came to: `ts` of its first fill, `price` the mean over all of them."""

    order: str
    trader_id: str
    symbol: str
    side: Side
    purpose: str
    contracts: Decimal
    price: Decimal
    ts: int


class Pair(msgspec.Struct, frozen=True):
    """The same execution in both runs; one of them None: it has no partner."""

    backtest: Execution | None
    live: Execution | None

    @property
    def either(self) -> Execution:
        found = self.backtest or self.live
        if found is None:
            raise InvariantBroken("a pair of no execution at all")
        return found


def executions(fills: Iterable[Fill]) -> tuple[Execution, ...]:
    """One an order, in the order of their first fills."""
    orders: dict[str, list[Fill]] = {}
    for fill in sorted(fills, key=lambda each: (each.ts_event, each.fill_id)):
        orders.setdefault(fill.client_order_id, []).append(fill)
    return tuple(_execution(each) for each in orders.values())


def _execution(fills: Sequence[Fill]) -> Execution:
    first, contracts = fills[0], sum((fill.contracts for fill in fills), ZERO)
    return Execution(
        order=first.client_order_id,
        trader_id=first.trader_id,
        symbol=first.symbol,
        side=first.side,
        purpose=first.purpose.value,
        contracts=contracts,
        price=sum((fill.contracts * fill.price for fill in fills), ZERO) / contracts,
        ts=first.ts_event,
    )


def paired(backtest: Iterable[Execution], live: Iterable[Execution], within_ns: int) -> list[Pair]:
    """Pairs of one trader, symbol, side and purpose, in the order of their times.

    Each side keeps its order, and partners are at most `within_ns` apart: one execution that only one run
    has does not shift all after it.
    """
    mine, theirs = _by_kind(backtest), _by_kind(live)
    pairs: list[Pair] = []
    for kind in {**mine, **theirs}:
        pairs += _in_order(mine.get(kind, []), theirs.get(kind, []), within_ns)
    return sorted(pairs, key=lambda pair: (pair.either.ts, pair.either.trader_id, pair.either.symbol))


def _by_kind(found: Iterable[Execution]) -> dict[tuple[str, ...], list[Execution]]:
    def kind(each: Execution) -> tuple[str, ...]:
        return each.trader_id, each.symbol, each.side.value, each.purpose

    ordered = sorted(found, key=lambda each: (kind(each), each.ts))
    return {key: list(group) for key, group in groupby(ordered, kind)}


def _in_order(mine: list[Execution], theirs: list[Execution], within_ns: int) -> list[Pair]:
    pairs: list[Pair] = []
    one = other = 0
    while one < len(mine) and other < len(theirs):
        apart = theirs[other].ts - mine[one].ts
        if abs(apart) <= within_ns:
            pairs.append(Pair(mine[one], theirs[other]))
        else:
            pairs.append(Pair(mine[one], None) if apart > 0 else Pair(None, theirs[other]))
        one += apart >= -within_ns
        other += apart <= within_ns
    pairs += [Pair(each, None) for each in mine[one:]]
    return pairs + [Pair(None, each) for each in theirs[other:]]
