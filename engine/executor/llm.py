"""Models over HTTP: any OpenAI-compatible endpoint. The only module that knows the `openai` package.

Retries are the SDK's alone (408, 409, 429, 5xx, lost connections; a completion has no effect but its
cost), and all of it ends at a deadline that is set outside the SDK, in real time.
"""

from __future__ import annotations

import asyncio
import logging
import re
from dataclasses import dataclass
from typing import Any, Final, Literal

import msgspec
import openai
import structlog
from aiolimiter import AsyncLimiter
from openai.types import CompletionUsage
from openai.types.chat import ChatCompletion, ChatCompletionMessage
from openai.types.chat.chat_completion import Choice

from engine.clock import Clock
from engine.config.llm import Endpoint, LlmConfig
from engine.executor.asking import Cut, Failure, ModelFailure, ModelReply, ModelRequest
from engine.executor.endpoint_breaker import EndpointBreaker
from engine.executor.wire import clean

log = structlog.get_logger()

Rung = Literal["json_schema", "json_object", "text"]
_LADDER: Final[tuple[Rung, ...]] = ("json_schema", "json_object", "text")
_LONGEST_ERROR: Final = 400
_LONGEST_ANSWER: Final = 100_000
_SDK_GRACE_S: Final = 5.0  # our deadline comes first; the SDK's own would start another try
_KEY_LIKE: Final = re.compile(r"\b(?:sk|xai|gsk|key|AIza)[-_A-Za-z0-9*]{8,}")
_THOUGHT: Final = re.compile(r"\s*<think(?:ing)?>(.*?)</think(?:ing)?>", re.DOTALL)
_REASONING_KEYS: Final = ("reasoning_content", "reasoning")
_KINDS: Final[tuple[tuple[type[openai.APIError], Failure], ...]] = (
    (openai.RateLimitError, Failure.RATE_LIMITED),
    (openai.AuthenticationError, Failure.NOT_ALLOWED),
    (openai.PermissionDeniedError, Failure.NOT_ALLOWED),
    (openai.InternalServerError, Failure.SERVER_ERROR),
    (openai.APIConnectionError, Failure.UNREACHABLE),  # its timeouts too: of an answer, ours comes first
    (openai.APIResponseValidationError, Failure.BAD_REPLY),
    (openai.APIStatusError, Failure.BAD_REQUEST),
)


@dataclass(frozen=True, slots=True)
class _Line:
    """What all models of one provider share."""

    client: openai.AsyncOpenAI
    slots: asyncio.Semaphore
    rate: AsyncLimiter
    breaker: EndpointBreaker


class LlmClient:
    """Asks the models of `llm.yaml`. Make it inside the event loop, and close it."""

    def __init__(self, config: LlmConfig, clock: Clock) -> None:
        self._config = config
        self._clock = clock
        self._lines: dict[str, _Line] = {}
        self._rungs: dict[tuple[str, str], int] = {}  # (base_url, model) → first rung that works
        level = "WARNING" if config.log_level == "warn" else config.log_level.upper()
        logging.getLogger("openai").setLevel(level)

    async def aclose(self) -> None:
        """Close all connections."""
        for line in self._lines.values():
            await line.client.close()
        self._lines.clear()

    async def ask(self, request: ModelRequest) -> ModelReply | ModelFailure:
        """The answer of the alias or of one of its fallbacks, within the deadline.

        One that hangs gets at most half of the time that is left while there is another to ask.
        """
        ends_s = self._clock.real_s() + request.deadline_s
        failure = ModelFailure(failure=Failure.TIMEOUT, detail="no time was left to ask")
        told: list[str] = []
        chain = self._config.chain(request.alias)
        for endpoint in chain:
            left_s = ends_s - self._clock.real_s()
            if left_s <= 0:
                break
            share_s = left_s if endpoint is chain[-1] else left_s / 2
            outcome = await self._ask_one(endpoint, request, min(share_s, endpoint.timeout_s))
            if isinstance(outcome, ModelReply):
                return outcome
            failure = outcome
            told.append(f"{endpoint.alias}: {outcome.detail}")
            log.warning("model failed", alias=endpoint.alias, failure=outcome.failure, detail=outcome.detail)
        return msgspec.structs.replace(failure, detail="; ".join(told) or failure.detail)

    async def _ask_one(
        self, endpoint: Endpoint, request: ModelRequest, limit_s: float
    ) -> ModelReply | ModelFailure:
        """One endpoint, its retries included, in `limit_s`."""
        name = endpoint.model.model_name
        if not endpoint.provider.api_key:
            detail = f"provider {endpoint.name} has no api_key"
            return ModelFailure(failure=Failure.NOT_ALLOWED, detail=detail, model=name)
        line = self._line(endpoint)
        if not line.breaker.allows(self._clock.real_s()):
            detail = f"provider {endpoint.name} is given a rest after failing too often"
            return ModelFailure(failure=Failure.BREAKER_OPEN, detail=detail, model=name)
        asked = False
        try:
            async with asyncio.timeout(limit_s), line.slots:
                await line.rate.acquire()
                asked = True
                reply = await self._climb(line, endpoint, request, limit_s)
        except TimeoutError:
            detail = f"no answer in {limit_s:.1f} s" if asked else "the own queue was too long"
            failure = ModelFailure(failure=Failure.TIMEOUT, detail=detail, model=name)
        except (openai.OpenAIError, ValueError) as error:
            detail = _redacted(_told(error), endpoint)
            failure = ModelFailure(failure=_kind(error), detail=detail, model=name)
        else:
            if line.breaker.on_success():
                log.info("provider answers again", provider=endpoint.name)
            return reply
        self._count_failure(line, endpoint, failure, asked=asked)
        return failure

    def _count_failure(self, line: _Line, endpoint: Endpoint, failure: ModelFailure, *, asked: bool) -> None:
        """A request that the endpoint refused as wrong, or never saw, does not speak against it."""
        if not asked or failure.failure is Failure.BAD_REQUEST:
            return
        if line.breaker.on_failure(self._clock.real_s()):
            pause_s = endpoint.provider.breaker_pause
            log.warning("provider is given a rest", provider=endpoint.name, pause_s=float(pause_s))

    async def _climb(
        self, line: _Line, endpoint: Endpoint, request: ModelRequest, limit_s: float
    ) -> ModelReply:
        """Ask with the strictest structured output that the endpoint takes, and remember which it was."""
        began_s = self._clock.real_s()
        key = (endpoint.provider.base_url, endpoint.model.model_name)
        rungs = _LADDER if endpoint.structured == "auto" else (endpoint.structured,)
        first = self._rungs.get(key, 0) if endpoint.structured == "auto" else 0
        client = line.client.with_options(max_retries=endpoint.max_retries, timeout=limit_s + _SDK_GRACE_S)
        for i, rung in enumerate(rungs[first:], first):
            try:
                completion = await client.chat.completions.create(**_body(endpoint, request, rung))
            except (openai.BadRequestError, openai.UnprocessableEntityError) as error:
                if i == len(rungs) - 1:
                    raise
                log.info(
                    "structured output refused", alias=endpoint.alias, kind=rung, status=error.status_code
                )
                continue
            latency_ms = round((self._clock.real_s() - began_s) * 1000)
            reply = _reply(completion, endpoint, latency_ms)
            self._rungs[key] = i
            log.info(
                "model answered",
                alias=endpoint.alias,
                latency_ms=latency_ms,
                structured=rung,
                tokens_in=reply.tokens_in,
                tokens_out=reply.tokens_out,
            )
            return reply
        raise AssertionError("the last rung returns or raises")

    def _line(self, endpoint: Endpoint) -> _Line:
        line = self._lines.get(endpoint.name)
        if line is None:
            provider = endpoint.provider
            client = openai.AsyncOpenAI(
                api_key=provider.api_key.reveal(),
                base_url=provider.base_url,
                http_client=openai.DefaultAioHttpClient(),
            )
            client.organization = client.project = None  # of the environment: no business of other vendors
            line = _Line(
                client=client,
                slots=asyncio.Semaphore(provider.concurrency),
                rate=AsyncLimiter(provider.requests_per_min, 60),
                breaker=EndpointBreaker(provider.breaker_failures, provider.breaker_pause),
            )
            self._lines[endpoint.name] = line
        return line


def _body(endpoint: Endpoint, request: ModelRequest, rung: Rung) -> dict[str, Any]:
    """Arguments of the SDK's call; what is not configured is not sent."""
    model = endpoint.model
    body: dict[str, Any] = {
        "model": model.model_name,
        "messages": [{"role": each.role, "content": each.content} for each in request.messages],
        endpoint.length_key: model.max_completion_tokens,
    }
    for name in ("temperature", "top_p", "seed", "reasoning_effort"):
        if (value := getattr(model, name)) is not None:
            body[name] = value
    if model.extra_body:
        body["extra_body"] = model.extra_body
    if rung == "json_schema":
        schema = {"name": "decision", "strict": True, "schema": msgspec.json.decode(request.schema)}
        body["response_format"] = {"type": rung, "json_schema": schema}
    elif rung == "json_object":
        body["response_format"] = {"type": rung}
    return body


def _reply(completion: object, endpoint: Endpoint, latency_ms: int) -> ModelReply:
    """The SDK does not check what it parsed, so we do. Raises ValueError for what is no completion."""
    choices = completion.choices if isinstance(completion, ChatCompletion) else None
    choice = choices[0] if isinstance(choices, list) and choices else None
    message = choice.message if isinstance(choice, Choice) else None
    if choice is None or not isinstance(message, ChatCompletionMessage):
        raise ValueError("the reply is no chat completion")
    text, thought = _split(message)
    cut = None
    if choice.finish_reason == "length":
        cut = Cut.LENGTH
    elif choice.finish_reason == "content_filter" or _text(message.refusal):
        cut = Cut.FILTER
    tokens_in, tokens_out, cached = _tokens(completion)
    return ModelReply(
        alias=endpoint.alias,
        model=endpoint.model.model_name,
        text=clean(text or _text(message.refusal), _LONGEST_ANSWER),
        reasoning=clean(thought, _LONGEST_ANSWER),
        cut=cut,
        tokens_in=tokens_in,
        tokens_out=tokens_out,
        tokens_cached=cached,
        cost_usd=endpoint.cost_usd(tokens_in, tokens_out, cached),
        latency_ms=latency_ms,
    )


def _split(message: ChatCompletionMessage) -> tuple[str, str]:
    """Answer and reasoning: a field of its own (DeepSeek, vLLM, Qwen) or a leading <think> block (Ollama)."""
    extra = message.model_extra or {}
    thoughts = [value for key in _REASONING_KEYS if isinstance(value := extra.get(key), str)]
    text = _text(message.content)
    if (match := _THOUGHT.match(text)) is not None:
        thoughts.append(match[1])
        text = text[match.end() :]
    return text.strip(), "\n".join(thoughts[:1]).strip()


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _tokens(completion: object) -> tuple[int, int, int]:
    """Tokens in, out, and how many of those in came from the cache; 0 where the endpoint does not say."""
    usage = getattr(completion, "usage", None)
    if not isinstance(usage, CompletionUsage):
        return 0, 0, 0
    cached = getattr(usage.prompt_tokens_details, "cached_tokens", None)
    cached = cached or (usage.model_extra or {}).get("prompt_cache_hit_tokens")  # DeepSeek's
    counts = (usage.prompt_tokens, usage.completion_tokens, cached)
    tokens_in, tokens_out, tokens_cached = (n if isinstance(n, int) and n > 0 else 0 for n in counts)
    return tokens_in, tokens_out, min(tokens_cached, tokens_in)


def _kind(error: openai.OpenAIError | ValueError) -> Failure:
    if isinstance(error, openai.APIStatusError) and error.status_code == 402:  # noqa: PLR2004 - no credit
        return Failure.NOT_ALLOWED
    return next((kind for type_, kind in _KINDS if isinstance(error, type_)), Failure.BAD_REPLY)


def _told(error: Exception) -> str:
    """What happened; the SDK tells it of a lost connection only in the cause."""
    lost = isinstance(error, openai.APIConnectionError) and error.__cause__ is not None
    return str(error.__cause__ if lost else error) or type(error).__name__


def _redacted(text: str, endpoint: Endpoint) -> str:
    """An error's text without the key, which some endpoints repeat."""
    key = endpoint.provider.api_key.reveal()
    return _KEY_LIKE.sub("***", clean(text.replace(key, "***"), _LONGEST_ERROR))
