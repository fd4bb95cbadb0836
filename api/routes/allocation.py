"""How the account's capital is shared between traders, and how it has moved."""

from __future__ import annotations

from decimal import Decimal

import msgspec

from api.endpoint import SHORT_S, Endpoint, RowsQuery, Sources
from engine.bus import ORDERS, TRANSFERS
from engine.core.paper import PAPER
from engine.journal.views_records import CapitalMove


class Share(msgspec.Struct, frozen=True, kw_only=True):
    """What a trader was given, net of what was taken, and what it has; `allocation_pct` is configured.

    `equity` is null while nothing was measured or a position has no price.
    """

    trader_id: str
    account_id: str
    allocation_pct: float
    capital: Decimal
    equity: Decimal | None


class Allocations(msgspec.Struct, frozen=True, kw_only=True):
    """`moves` are start capital, deposits, withdrawals and rebalances, newest first; negative left."""

    traders: list[Share]
    moves: list[CapitalMove]
    serverTime: int
    nextBefore: int | None  # pass back as `before` for the next page; null on the last one


async def allocations(sources: Sources, query: RowsQuery) -> Allocations:
    newest = await sources.reader.newest_performance()
    moves = await sources.reader.capital_moves(query.page())
    shares = [
        Share(
            trader_id=row.trader_id,
            account_id=row.account_id,
            allocation_pct=row.config.get("allocation_pct", 0),
            capital=row.capital,
            equity=newest[row.trader_id].view.equity if row.trader_id in newest else None,
        )
        for row in await sources.reader.traders()
        if query.trader in {"", row.trader_id} and not row.trader_id.endswith(PAPER)  # no money lies there
    ]
    return Allocations(
        traders=shares,
        moves=moves,
        serverTime=sources.server_time(),
        nextBefore=moves[-1].seq if len(moves) == query.limit else None,
    )


ENDPOINTS = (
    Endpoint(
        path="/api/allocations",
        summary="Capital of the traders, and how it has moved between them",
        query=RowsQuery,
        answer=Allocations,
        make=allocations,
        ttl_s=SHORT_S,
        topics=frozenset({TRANSFERS.name, ORDERS.name}),
    ),
)
