"""Shadow and canary traders beside the live ones."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from api.endpoint import MEDIUM_S, Endpoint, Id, Sources
from engine.bus import CLOSED_CYCLES, ORDERS
from engine.core.times import NS_PER_HOUR
from engine.journal.twins import Twins


class ShadowQuery(msgspec.Struct, frozen=True, kw_only=True):
    hours: Annotated[int, Meta(ge=1, le=87_600, description="How far back, in hours of engine time.")] = 168
    trader: Annotated[Id, Meta(description="Only this trader, by its live id.")] = ""
    against: Annotated[Id, Meta(description="Beside this live trader, not its own twin.")] = ""


class Shadows(msgspec.Struct, frozen=True, kw_only=True):
    shadows: list[Twins]
    serverTime: int


async def shadows(sources: Sources, query: ShadowQuery) -> Shadows:
    now_ns = sources.clock.now_ns()
    found = await sources.reader.twins(
        now_ns - query.hours * NS_PER_HOUR, now_ns, query.trader, query.against
    )
    return Shadows(shadows=found, serverTime=sources.server_time())


ENDPOINTS = (
    Endpoint(
        path="/api/shadow",
        summary="Paper traders beside the live ones: decisions, trades, money, slippage, wakeups",
        query=ShadowQuery,
        answer=Shadows,
        make=shadows,
        ttl_s=MEDIUM_S,
        topics=frozenset({ORDERS.name, CLOSED_CYCLES.name}),
    ),
)
