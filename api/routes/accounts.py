"""The traders' accounts: equity over time, open positions, leaderboard, start values."""

from __future__ import annotations

import asyncio
from decimal import Decimal
from typing import Annotated, Final
from uuid import NAMESPACE_URL, uuid5

import msgspec
from msgspec import Meta

from api.cache import Price
from api.endpoint import MEDIUM_S, SHORT_S, Endpoint, NoQuery, Sources
from api.routes.market import live_prices
from api.views import Position, markers, number, percent, position, seconds
from engine.bus import ORDERS
from engine.core.decisions import AccountView, PositionView
from engine.core.instruments import coin
from engine.core.market import exact
from engine.core.times import NS_PER_HOUR
from engine.journal.views import OpenPosition, Performance, TraderRow, TradeTotals

_MOST_POSITIONS: Final = 10_000
_CENTS: Final = 2


class TotalsQuery(msgspec.Struct, frozen=True, kw_only=True):
    last_hourly_marker: Annotated[int, Meta(ge=0, le=1_000_000)] = msgspec.field(
        name="lastHourlyMarker", default=0
    )


class AccountTotal(msgspec.Struct, frozen=True, kw_only=True):
    id: str
    model_id: str
    timestamp: float
    dollar_equity: float
    realized_pnl: float  # after fees and funding
    total_unrealized_pnl: float
    cum_pnl_pct: float
    sharpe_ratio: float | None
    since_inception_hourly_marker: int
    since_inception_minute_marker: int
    positions: dict[str, Position]


class AccountTotals(msgspec.Struct, frozen=True, kw_only=True):
    accountTotals: list[AccountTotal]
    lastHourlyMarkerRead: int
    serverTime: int


async def account_totals(sources: Sources, query: TotalsQuery) -> AccountTotals:
    """Rows whose hour since the first trader's inception is the marker's or later."""
    traders = await sources.reader.traders()
    inception = min((trader.ts_inception for trader in traders), default=0)
    since = inception + query.last_hourly_marker * NS_PER_HOUR
    points = await sources.reader.performance_since(since, sources.clock.now_ns(), len(traders))
    # Thousands of accounts take a while: not in the loop that answers everybody else.
    rows = await asyncio.to_thread(lambda: [_total(point, inception) for point in points])
    read = max((row.since_inception_hourly_marker for row in rows), default=query.last_hourly_marker)
    return AccountTotals(accountTotals=rows, lastHourlyMarkerRead=read, serverTime=sources.server_time())


def _total(point: Performance, inception: int) -> AccountTotal:
    view = point.view
    equity = _equity(view)
    hours, minutes = markers(point.ts, inception)
    return AccountTotal(
        id=f"{point.trader_id}_{minutes}",
        model_id=point.trader_id,
        timestamp=seconds(point.ts),
        dollar_equity=number(equity),
        realized_pnl=number(view.cash - view.capital),
        total_unrealized_pnl=number(view.unrealised),
        cum_pnl_pct=percent(equity - view.capital, view.capital),
        sharpe_ratio=point.sharpe,
        since_inception_hourly_marker=hours,
        since_inception_minute_marker=minutes,
        positions={coin(held.symbol): position(held) for held in view.positions},
    )


def _equity(view: AccountView) -> Decimal:
    """Equity; cash while a position has no price."""
    return view.cash if view.equity is None else view.equity


class PositionsQuery(msgspec.Struct, frozen=True, kw_only=True):
    limit: Annotated[int, Meta(ge=1, le=10_000, description="At most so many traders.")] = 1000


class HeldPositions(msgspec.Struct, frozen=True, kw_only=True):
    model_id: str
    positions: dict[str, Position]


class Positions(msgspec.Struct, frozen=True, kw_only=True):
    accountTotals: list[HeldPositions]
    serverTime: int


async def positions(sources: Sources, query: PositionsQuery) -> Positions:
    """What each trader holds, at the newest prices."""
    traders = await sources.reader.traders()
    held = await sources.reader.open_positions(_MOST_POSITIONS)
    prices = await _marks(sources, held)
    newest = await sources.reader.newest_performance() if held else {}
    by_trader: dict[str, dict[str, Position]] = {trader.trader_id: {} for trader in traders}
    for row in held:
        name = coin(row.view.symbol)
        view = _liquidated(row.view, newest.get(row.trader_id))
        by_trader[row.trader_id][name] = position(_marked(view, prices.get(name)))
    rows = [HeldPositions(model_id=trader_id, positions=found) for trader_id, found in by_trader.items()]
    return Positions(accountTotals=rows[: query.limit], serverTime=sources.server_time())


async def _marks(sources: Sources, held: list[OpenPosition]) -> dict[str, Price]:
    return await live_prices(sources) if held else {}


def _liquidated(view: PositionView, newest: Performance | None) -> PositionView:
    """With the liquidation price of the newest account: that of the last fill knew other prices, or none."""
    seen = newest.view.position(view.symbol) if newest else None
    if seen is None or (seen.side, seen.contracts) != (view.side, view.contracts):
        return view
    return msgspec.structs.replace(view, liquidation_price=seen.liquidation_price)


def _marked(view: PositionView, price: Price | None) -> PositionView:
    if price is None:
        return view
    mark = exact(price.price)
    return msgspec.structs.replace(
        view,
        mark_price=mark,
        notional=view.coins * mark,
        unrealised=view.side.sign * view.coins * (mark - view.entry_price),
    )


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    id: str
    num_trades: int
    sharpe: float
    win_dollars: float
    num_losses: int
    lose_dollars: float
    return_pct: float
    equity: float
    num_wins: int


class Leaderboard(msgspec.Struct, frozen=True, kw_only=True):
    leaderboard: list[Standing]


async def leaderboard(sources: Sources, _: NoQuery) -> Leaderboard:
    """All traders, the largest return first. Sharpe: of complete hours, not annualised; 0 where undefined."""
    reader = sources.reader
    newest, totals = await reader.newest_performance(), await reader.trade_totals()
    rows = [
        _standing(trader, newest.get(trader.trader_id), totals.get(trader.trader_id))
        for trader in await reader.traders()
    ]
    rows.sort(key=lambda row: (-row.return_pct, row.id))
    return Leaderboard(leaderboard=rows)


def _standing(trader: TraderRow, newest: Performance | None, totals: TradeTotals | None) -> Standing:
    equity = _equity(newest.view) if newest else trader.capital
    capital = newest.view.capital if newest else trader.capital
    return Standing(
        id=trader.trader_id,
        num_trades=totals.num_trades if totals else 0,
        sharpe=(newest.sharpe if newest else None) or 0,
        win_dollars=number(totals.win_dollars) if totals else 0,
        num_losses=totals.num_losses if totals else 0,
        lose_dollars=number(totals.lose_dollars) if totals else 0,
        return_pct=round(percent(equity - capital, capital), _CENTS),
        equity=number(equity),
        num_wins=totals.num_wins if totals else 0,
    )


class SinceInceptionValue(msgspec.Struct, frozen=True, kw_only=True):
    id: str
    nav_since_inception: float  # what it started with
    inception_date: float
    num_invocations: int
    model_id: str


class SinceInceptionValues(msgspec.Struct, frozen=True, kw_only=True):
    sinceInceptionValues: list[SinceInceptionValue]
    serverTime: int


async def since_inception(sources: Sources, _: NoQuery) -> SinceInceptionValues:
    """Start value and date of each trader."""
    rows = [
        SinceInceptionValue(
            id=str(uuid5(NAMESPACE_URL, f"edgewise:trader:{trader.trader_id}")),
            nav_since_inception=number(trader.capital),
            inception_date=seconds(trader.ts_inception),
            num_invocations=trader.invocations,
            model_id=trader.trader_id,
        )
        for trader in await sources.reader.traders()
    ]
    return SinceInceptionValues(sinceInceptionValues=rows, serverTime=sources.server_time())


ENDPOINTS = (
    Endpoint(
        path="/api/account-totals",
        summary="Equity of each trader over time",
        query=TotalsQuery,
        answer=AccountTotals,
        make=account_totals,
        ttl_s=SHORT_S,
        topics=frozenset({ORDERS.name}),
    ),
    Endpoint(
        path="/api/positions",
        summary="Open positions of each trader",
        query=PositionsQuery,
        answer=Positions,
        make=positions,
    ),
    Endpoint(
        path="/api/leaderboard",
        summary="All traders, the largest return first",
        query=NoQuery,
        answer=Leaderboard,
        make=leaderboard,
        ttl_s=SHORT_S,
        topics=frozenset({ORDERS.name}),
    ),
    Endpoint(
        path="/api/since-inception-values",
        summary="Start value and date of each trader",
        query=NoQuery,
        answer=SinceInceptionValues,
        make=since_inception,
        ttl_s=MEDIUM_S,
    ),
)
