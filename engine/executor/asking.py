"""What is asked of a model and what comes back: the port between the decider and the model's client."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from decimal import Decimal
from enum import StrEnum
from typing import Literal, Protocol

import msgspec

from engine.core.decisions import ModelCall, Wakeup


class ChatMessage(msgspec.Struct, frozen=True):
    """One message of a conversation."""

    role: Literal["system", "user", "assistant"]
    content: str


class ModelRequest(msgspec.Struct, frozen=True, kw_only=True):
    """One question. `schema` is the JSON Schema of the answer; `deadline_s` counts real seconds from now.

    `wakeup` is what it is asked for; None where no trader asks.
    """

    alias: str
    messages: tuple[ChatMessage, ...]
    schema: bytes
    deadline_s: float
    wakeup: Wakeup | None = None


def question_digest(messages: Sequence[ChatMessage]) -> str:
    """Names a question: sha256 over its messages. The same question to any model has the same digest."""
    return hashlib.sha256(msgspec.json.encode(messages)).hexdigest()


class Cut(StrEnum):
    """Why a reply is not whole."""

    LENGTH = "truncated"
    FILTER = "model_refused"


class ModelReply(msgspec.Struct, frozen=True, kw_only=True):
    """A model's answer. `alias` is who answered: the one that was asked, or one of its fallbacks."""

    alias: str
    model: str  # the name the endpoint was asked for
    text: str
    reasoning: str
    cut: Cut | None
    tokens_in: int
    tokens_out: int
    tokens_cached: int
    cost_usd: Decimal
    latency_ms: int


class Failure(StrEnum):
    """Why there is no answer."""

    TIMEOUT = "timeout"
    BREAKER_OPEN = "breaker_open"  # it failed too often; nothing was asked
    RATE_LIMITED = "rate_limited"
    UNREACHABLE = "unreachable"
    SERVER_ERROR = "server_error"
    BAD_REQUEST = "bad_request"
    NOT_ALLOWED = "not_allowed"  # no key, a wrong key, no credit
    BAD_REPLY = "bad_reply"  # something came that is no chat completion
    NOT_RECORDED = "not_recorded"  # a recorded model was asked what nobody was asked before


class ModelFailure(msgspec.Struct, frozen=True, kw_only=True):
    """No model of the chain answered. `failure` is the last one's, `detail` tells of all of them."""

    failure: Failure
    detail: str
    model: str = ""


def call_record(
    request: ModelRequest, outcome: ModelReply | ModelFailure, ts_asked: int = 0, ts_answered: int = 0
) -> ModelCall:
    """What the journal keeps of a question and its answer; the times are engine time."""
    digest = question_digest(request.messages)
    if isinstance(outcome, ModelFailure):
        return ModelCall(
            digest=digest,
            asked=request.alias,
            alias=request.alias,
            model=outcome.model,
            failure=outcome.failure.value,
            detail=outcome.detail,
            ts_asked=ts_asked,
            ts_answered=ts_answered,
        )
    return ModelCall(
        digest=digest,
        asked=request.alias,
        alias=outcome.alias,
        model=outcome.model,
        answer=outcome.text,
        reasoning=outcome.reasoning,
        cut=outcome.cut.value if outcome.cut else "",
        tokens_in=outcome.tokens_in,
        tokens_out=outcome.tokens_out,
        tokens_cached=outcome.tokens_cached,
        cost_usd=outcome.cost_usd,
        latency_ms=outcome.latency_ms,
        ts_asked=ts_asked,
        ts_answered=ts_answered,
    )


class ModelClient(Protocol):
    """Asks models. Never raises for what an endpoint does or fails to do."""

    async def ask(self, request: ModelRequest) -> ModelReply | ModelFailure:
        """The answer of the alias or of one of its fallbacks, within the deadline."""
        ...
