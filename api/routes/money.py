"""Venue accounts and their sum, and what thinking costs."""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated

import msgspec
from msgspec import Meta

from api.endpoint import MEDIUM_S, Endpoint, NoQuery, Sources
from api.views import millis, number, percent
from engine.bus import CLOSED_CYCLES, ORDERS
from engine.core.decisions import AccountView
from engine.core.paper import PAPER
from engine.core.times import NS_PER_DAY
from engine.journal.views_market import BalanceRow, CostRow
from engine.journal.views_records import CheckRow

_ZERO = Decimal(0)


class Balance(msgspec.Struct, frozen=True, kw_only=True):
    """A venue account at `timestamp` (ms); `cash` is without unrealised profit."""

    account_id: str
    cash: float
    equity: float
    available: float
    timestamp: int


class Balances(msgspec.Struct, frozen=True, kw_only=True):
    balances: list[Balance]
    serverTime: int


class AccountSummary(msgspec.Struct, frozen=True, kw_only=True):
    """All traders together, beside what the venue says. Dollars; fees and funding negative when paid.

    `equity` is null while a position of some trader has no price. `balanced` is null until the books were
    compared.
    """

    traders: int
    capital: float
    equity: float | None
    cash: float
    margin_used: float
    margin_used_pct: float | None
    realised: float
    unrealised: float | None
    fees: float
    funding: float
    return_pct: float | None
    open_positions: int
    venue_equity: float | None
    reserve: float | None
    balanced: bool | None
    serverTime: int


class CostsQuery(msgspec.Struct, frozen=True, kw_only=True):
    days: Annotated[int, Meta(ge=1, le=366, description="Of the last so many days.")] = 30


class Costs(msgspec.Struct, frozen=True, kw_only=True):
    """What models were asked and what they cost, by trader and model, the dearest first."""

    costs: list[CostRow]
    total_usd: Decimal
    days: int
    serverTime: int


async def balances(sources: Sources, _: NoQuery) -> Balances:
    rows = await sources.reader.balances()
    return Balances(balances=[_balance(row) for row in rows], serverTime=sources.server_time())


def _balance(row: BalanceRow) -> Balance:
    return Balance(
        account_id=row.account_id,
        cash=number(row.cash),
        equity=number(row.equity),
        available=number(row.available),
        timestamp=millis(row.ts),
    )


async def account_summary(sources: Sources, _: NoQuery) -> AccountSummary:
    newest = await sources.reader.newest_performance()
    views = [each.view for name, each in newest.items() if not name.endswith(PAPER)]  # no money lies there
    return _summary(views, await sources.reader.newest_checks(), sources.server_time())


def _summary(views: list[AccountView], checks: list[CheckRow], server_time: int) -> AccountSummary:
    capital = sum((view.capital for view in views), _ZERO)
    equity = _total([view.equity for view in views])
    margin = sum((view.margin_used for view in views), _ZERO)
    unrealised = _total([view.unrealised for view in views])
    return AccountSummary(
        traders=len(views),
        capital=number(capital),
        equity=None if equity is None else number(equity),
        cash=number(sum((view.cash for view in views), _ZERO)),
        margin_used=number(margin),
        margin_used_pct=None if not equity else percent(margin, equity),
        realised=number(sum((view.realised for view in views), _ZERO)),
        unrealised=None if unrealised is None else number(unrealised),
        fees=number(sum((view.fees for view in views), _ZERO)),
        funding=number(sum((view.funding for view in views), _ZERO)),
        return_pct=None if equity is None or not capital else number((equity / capital - 1) * 100),
        open_positions=sum(len(view.positions) for view in views),
        venue_equity=number(sum((check.venue_equity for check in checks), _ZERO)) if checks else None,
        reserve=number(sum((check.reserve for check in checks), _ZERO)) if checks else None,
        balanced=all(check.balanced for check in checks) if checks else None,
        serverTime=server_time,
    )


def _total(values: list[Decimal | None]) -> Decimal | None:
    """The sum; None while one of them is not known."""
    known = [value for value in values if value is not None]
    return sum(known, _ZERO) if len(known) == len(values) else None


async def costs(sources: Sources, query: CostsQuery) -> Costs:
    rows = await sources.reader.model_costs(sources.clock.now_ns() - query.days * NS_PER_DAY)
    total = sum((row.cost_usd for row in rows), _ZERO)
    return Costs(costs=rows, total_usd=total, days=query.days, serverTime=sources.server_time())


ENDPOINTS = (
    Endpoint(
        path="/api/balances",
        summary="The newest balance of each venue account",
        query=NoQuery,
        answer=Balances,
        make=balances,
    ),
    Endpoint(
        path="/api/account/summary",
        summary="All traders together",
        query=NoQuery,
        answer=AccountSummary,
        make=account_summary,
        topics=frozenset({ORDERS.name}),
    ),
    Endpoint(
        path="/api/costs",
        summary="What models were asked, and what it cost",
        query=CostsQuery,
        answer=Costs,
        make=costs,
        ttl_s=MEDIUM_S,
        topics=frozenset({CLOSED_CYCLES.name}),
    ),
)
