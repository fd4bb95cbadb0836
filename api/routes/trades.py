"""Closed trades and what their traders thought."""

from __future__ import annotations

from typing import Annotated, Final

import msgspec
from msgspec import Meta

from api.endpoint import MEDIUM_S, SHORT_S, Before, Endpoint, Id, Sources
from api.views import Trade, number, seconds, trade
from engine.bus import CLOSED_CYCLES, ORDERS
from engine.core.decisions import Act, Action
from engine.core.instruments import coin
from engine.core.market import exact
from engine.core.times import NS_PER_S
from engine.journal.postgres.reader import NEWEST, Page
from engine.journal.views import Conversation

_SUMMARY_CHARS: Final = 280


class ModelQuery(msgspec.Struct, frozen=True, kw_only=True):
    """A page, newest first."""

    limit: Annotated[int, Meta(ge=1, le=5000)] = 1000
    before: Before = NEWEST
    model: Annotated[Id, Meta(description="Of this model or trader only.")] = ""

    def page(self) -> Page:
        return Page(limit=self.limit, before=self.before, trader=self.model)


class ConversationsQuery(ModelQuery, frozen=True, kw_only=True):
    limit: Annotated[int, Meta(ge=1, le=500)] = 100


class Trades(msgspec.Struct, frozen=True, kw_only=True):
    trades: list[Trade]
    serverTime: int
    nextBefore: int | None  # pass back as `before` for the next page


async def trades(sources: Sources, query: ModelQuery) -> Trades:
    found = await sources.reader.closed_trades(query.page())
    return Trades(
        trades=[trade(row.trade) for row in found],
        serverTime=sources.server_time(),
        nextBefore=found[-1].seq if len(found) == query.limit else None,
    )


class Message(msgspec.Struct, frozen=True, kw_only=True):
    role: str
    content: str
    timestamp: int  # s


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """What a model wanted with one coin; unknown numbers are 0."""

    signal: str
    quantity: float
    leverage: float
    profit_target: float
    stop_loss: float
    risk_usd: float
    confidence: float
    invalidation_condition: str
    justification: str
    is_add: bool
    coin: str


class ConversationRow(msgspec.Struct, frozen=True, kw_only=True):
    """Both shapes that are in use, in one row: their keys are disjoint but for model_id."""

    id: str
    model_id: str
    messages: list[Message]
    skill: str
    run_id: str
    cycle_id: str
    timestamp: float
    inserted_at: float
    user_prompt: str
    llm_response: dict[str, Answer]
    cot_trace: str
    cot_trace_summary: str


class Conversations(msgspec.Struct, frozen=True, kw_only=True):
    conversations: list[ConversationRow]
    serverTime: int
    nextBefore: int | None


async def conversations(sources: Sources, query: ConversationsQuery) -> Conversations:
    found = await sources.reader.conversations(query.page())
    return Conversations(
        conversations=[_conversation(row) for row in found],
        serverTime=sources.server_time(),
        nextBefore=found[-1].seq if len(found) == query.limit else None,
    )


def conversation_id(trader_id: str, ts_ns: int) -> str:
    """`gpt-5_1761452318.485926`."""
    return f"{trader_id}_{seconds(ts_ns)}"


def _conversation(row: Conversation) -> ConversationRow:
    trace = row.reasoning or " ".join(action.justification for action in row.actions if action.justification)
    return ConversationRow(
        id=conversation_id(row.trader_id, row.ts_created),
        model_id=row.trader_id,
        messages=_messages(row),
        skill=row.decider,
        run_id=row.cycle_id,
        cycle_id=row.cycle_id,
        timestamp=seconds(row.ts_created),
        inserted_at=seconds(row.ts_decided),
        user_prompt=row.user_prompt,
        llm_response={coin(action.symbol): _answer(action, row.prices) for action in row.actions},
        cot_trace=trace,
        cot_trace_summary=trace[:_SUMMARY_CHARS],
    )


def _messages(row: Conversation) -> list[Message]:
    asked, said = row.ts_created // NS_PER_S, row.ts_decided // NS_PER_S
    parts = (
        ("system", row.system_prompt, asked),
        ("user", row.user_prompt, asked),
        ("assistant", row.answer, said),
    )
    return [Message(role=role, content=text, timestamp=at) for role, text, at in parts if text]


_SIGNALS: Final = {Act.REDUCE: Act.CLOSE, Act.MOVE_STOP: Act.HOLD}  # this wire knows four words


def _answer(action: Action, prices: dict[str, float]) -> Answer:
    price = action.entry_price or exact(prices.get(action.symbol, 0))
    size = action.notional_usd / price if action.notional_usd and price else None
    return Answer(
        signal=_SIGNALS.get(action.act, action.act).value,
        quantity=number(size),
        leverage=number(action.leverage),
        profit_target=number(action.take_profit),
        stop_loss=number(action.stop_loss),
        risk_usd=number(action.risk_usd),
        confidence=number(action.confidence),
        invalidation_condition=action.invalidation,
        justification=action.justification,
        is_add=False,
        coin=coin(action.symbol),
    )


ENDPOINTS = (
    Endpoint(
        path="/api/trades",
        summary="Closed trades, newest first",
        query=ModelQuery,
        answer=Trades,
        make=trades,
        ttl_s=SHORT_S,
        topics=frozenset({ORDERS.name}),
    ),
    Endpoint(
        path="/api/conversations",
        summary="What models were asked and answered, newest first",
        query=ConversationsQuery,
        answer=Conversations,
        make=conversations,
        ttl_s=MEDIUM_S,
        topics=frozenset({CLOSED_CYCLES.name}),
    ),
)
