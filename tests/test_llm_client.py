"""The model client against a real endpoint that misbehaves: it answers in time or says why not."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from decimal import Decimal
from pathlib import Path

import msgspec
import pytest
import structlog.testing

from engine.clock import SystemClock
from engine.config.llm import LlmConfig
from engine.config.loader import Secret, load
from engine.executor.asking import ChatMessage, Cut, Failure, ModelFailure, ModelReply, ModelRequest
from engine.executor.assemble import build_context
from engine.executor.decision import read_decision
from engine.executor.endpoint_breaker import EndpointBreaker
from engine.executor.llm import LlmClient
from engine.executor.prompt import PromptLibrary
from engine.executor.wire import answer_schema
from tests.executor_parts import BTC, ETH, KEY, RULES, SOL, Served, model_server, wakeup_of

ETC = Path(__file__).parent.parent / "etc"
WAKEUP = wakeup_of()
PROMPT = PromptLibrary().pair().render(build_context(WAKEUP, RULES), 100_000)
MESSAGES = (ChatMessage("system", PROMPT.system), ChatMessage("user", PROMPT.user))
SCHEMA = answer_schema([BTC, ETH, SOL])


@pytest.fixture
async def served() -> AsyncIterator[Served]:
    async with model_server() as server:
        yield server


@asynccontextmanager
async def client_of(config: LlmConfig) -> AsyncIterator[LlmClient]:
    client = LlmClient(config, SystemClock())
    try:
        yield client
    finally:
        await client.aclose()


def request(alias: str = "a", deadline_s: float = 10.0) -> ModelRequest:
    return ModelRequest(alias=alias, messages=MESSAGES, schema=SCHEMA, deadline_s=deadline_s)


async def ask(config: LlmConfig, deadline_s: float = 10.0) -> ModelReply | ModelFailure:
    async with client_of(config) as client:
        return await client.ask(request(deadline_s=deadline_s))


async def test_answer_comes_with_tokens_cost_reasoning_and_the_strict_schema(served: Served) -> None:
    reply = await ask(served.llm({"a": "rules-only-demo"}))
    assert isinstance(reply, ModelReply)
    assert reply.cut is None
    assert "not from a language model" in reply.reasoning
    assert read_decision(reply.text, WAKEUP, "a", RULES)[0].actions
    fresh = reply.tokens_in - reply.tokens_cached
    assert fresh > 0
    assert reply.tokens_cached > 0
    micro = fresh * Decimal(1) + reply.tokens_cached * Decimal("0.1") + reply.tokens_out * 2
    assert reply.cost_usd == micro / 1_000_000
    (body,) = served.bodies
    assert body["response_format"]["json_schema"]["strict"] is True  # type: ignore[index]
    assert body["max_tokens"] == 4096
    assert "temperature" not in body


@pytest.mark.parametrize(
    ("fault", "failure"),
    [
        ("status:429", Failure.RATE_LIMITED),
        ("status:500", Failure.SERVER_ERROR),
        ("status:503", Failure.SERVER_ERROR),
        ("status:401", Failure.NOT_ALLOWED),
        ("status:402", Failure.NOT_ALLOWED),
        ("status:403", Failure.NOT_ALLOWED),
        ("status:404", Failure.BAD_REQUEST),
        ("status:400", Failure.BAD_REQUEST),
        ("garbage", Failure.BAD_REPLY),
        ("other-json", Failure.BAD_REPLY),
        ("no-choices", Failure.BAD_REPLY),
        ("drop", Failure.UNREACHABLE),
    ],
)
async def test_every_fault_of_an_endpoint_has_its_name(served: Served, fault: str, failure: Failure) -> None:
    reply = await ask(served.llm({"a": f"rules-only-demo+{fault}"}))
    assert isinstance(reply, ModelFailure)
    assert reply.failure is failure
    assert reply.model == f"rules-only-demo+{fault}"


async def test_endpoint_that_is_not_there_is_unreachable() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        nowhere = Served(f"http://127.0.0.1:{taken.getsockname()[1]}/v1")
        reply = await ask(nowhere.llm({"a": "m"}))
    assert isinstance(reply, ModelFailure)
    assert reply.failure is Failure.UNREACHABLE


async def test_slow_answer_ends_at_the_deadline(served: Served) -> None:
    async with asyncio.timeout(5):
        reply = await ask(served.llm({"a": "rules-only-demo+slow:20"}, max_retries=3), deadline_s=0.3)
    assert isinstance(reply, ModelFailure)
    assert reply.failure is Failure.TIMEOUT
    assert len(served.bodies) == 1  # a try that ran out of time is not repeated


async def test_refusal_for_load_is_asked_again_within_the_deadline(served: Served) -> None:
    reply = await ask(served.llm({"a": "rules-only-demo+flaky:2"}, max_retries=2))
    assert isinstance(reply, ModelReply)
    assert len(served.bodies) == 3


async def test_structured_output_steps_down_once_and_is_remembered(served: Served) -> None:
    config = served.llm({"a": "rules-only-demo+no-schema"})
    async with client_of(config) as client:
        for _ in range(2):
            assert isinstance(await client.ask(request()), ModelReply)
    kinds = [body["response_format"]["type"] for body in served.bodies]  # type: ignore[index]
    assert kinds == ["json_schema", "json_object", "json_object"]


async def test_endpoint_without_any_structured_output_is_asked_for_text(served: Served) -> None:
    reply = await ask(served.llm({"a": "rules-only-demo+no-format"}))
    assert isinstance(reply, ModelReply)
    assert "response_format" not in served.bodies[-1]


async def test_configured_structured_output_is_the_only_one_tried(served: Served) -> None:
    await ask(served.llm({"a": "rules-only-demo"}, structured="json_object"))
    assert [body["response_format"] for body in served.bodies] == [{"type": "json_object"}]


async def test_cut_answer_says_so(served: Served) -> None:
    reply = await ask(served.llm({"a": "rules-only-demo+truncated"}))
    assert isinstance(reply, ModelReply)
    assert reply.cut is Cut.LENGTH


async def test_thinking_before_the_answer_is_reasoning_not_answer(served: Served) -> None:
    reply = await ask(served.llm({"a": "rules-only-demo+think"}))
    assert isinstance(reply, ModelReply)
    assert reply.text.startswith("{")


async def test_fallback_answers_when_the_first_cannot(served: Served) -> None:
    config = served.llm({"a": "rules-only-demo+status:500", "b": "rules-only-demo"}, fallbacks=("b",))
    reply = await ask(config)
    assert isinstance(reply, ModelReply)
    assert reply.alias == "b"


async def test_model_that_hangs_leaves_time_for_its_fallback(served: Served) -> None:
    config = served.llm({"a": "rules-only-demo+slow:30", "b": "rules-only-demo"}, fallbacks=("b",))
    reply = await ask(config, deadline_s=1.0)
    assert isinstance(reply, ModelReply), reply
    assert reply.alias == "b"


async def test_no_more_than_the_rate_are_asked_in_a_minute(served: Served) -> None:
    async with client_of(served.llm({"a": "rules-only-demo"}, requests_per_min=2.0)) as client:
        replies = [await client.ask(request(deadline_s=0.5)) for _ in range(3)]
    assert len(served.bodies) == 2
    refused = replies[2]
    assert isinstance(refused, ModelFailure)
    assert (refused.failure, "queue" in refused.detail) == (Failure.TIMEOUT, True)


async def test_failure_of_a_whole_chain_tells_of_each(served: Served) -> None:
    config = served.llm({"a": "x+status:500", "b": "x+garbage"}, fallbacks=("b",))
    reply = await ask(config)
    assert isinstance(reply, ModelFailure)
    assert reply.failure is Failure.BAD_REPLY
    assert "a: " in reply.detail
    assert "b: " in reply.detail


async def test_failing_provider_is_given_a_rest(served: Served) -> None:
    config = served.llm({"a": "rules-only-demo+status:500"}, breaker_failures=2)
    async with client_of(config) as client:
        outcomes = [await client.ask(request()) for _ in range(4)]
    found = [outcome.failure for outcome in outcomes if isinstance(outcome, ModelFailure)]
    assert found == [Failure.SERVER_ERROR] * 2 + [Failure.BREAKER_OPEN] * 2
    assert len(served.bodies) == 2


async def test_wrong_request_does_not_open_the_breaker(served: Served) -> None:
    config = served.llm({"a": "x+status:404", "b": "rules-only-demo"}, breaker_failures=1)
    async with client_of(config) as client:
        assert isinstance(await client.ask(request("a")), ModelFailure)
        assert isinstance(await client.ask(request("b")), ModelReply)


async def test_no_more_than_concurrency_are_asked_at_once(served: Served) -> None:
    config = served.llm({"a": "rules-only-demo+slow:1"}, concurrency=2)
    async with client_of(config) as client:
        outcomes = await asyncio.gather(*(client.ask(request(deadline_s=s)) for s in (10, 10, 0.2, 0.2)))
    assert [type(outcome) for outcome in outcomes] == [ModelReply] * 2 + [ModelFailure] * 2
    assert len(served.bodies) == 2


async def test_key_is_sent_and_never_shown(served: Served) -> None:
    config = served.llm({"a": "rules-only-demo+echo-key"})
    with structlog.testing.capture_logs() as logs:
        reply = await ask(config)
    assert served.authorization == [f"Bearer {KEY}"]
    assert isinstance(reply, ModelFailure)
    assert "***" in reply.detail
    assert KEY not in f"{reply} {logs} {config}"


async def test_without_a_key_nothing_is_sent(served: Served) -> None:
    reply = await ask(served.llm({"a": "rules-only-demo"}, api_key=Secret("")))
    assert isinstance(reply, ModelFailure)
    assert reply.failure is Failure.NOT_ALLOWED
    assert not served.bodies


def test_breaker_lets_one_through_after_its_pause() -> None:
    breaker = EndpointBreaker(failures=2, pause_s=60)
    assert [breaker.on_failure(0), breaker.on_failure(1)] == [False, True]
    assert [breaker.allows(30), breaker.allows(61), breaker.allows(62)] == [False, True, False]
    assert not breaker.on_failure(63)  # still given up, said once
    assert [breaker.allows(100), breaker.allows(123)] == [False, True]
    assert breaker.on_success()
    assert breaker.allows(124)


FIXED = {"messages", "model"}


@pytest.mark.parametrize(
    ("alias", "kind", "keys"),
    [
        ("gpt-5", "json_schema", {"max_completion_tokens", "reasoning_effort"}),
        ("deepseek-chat", "json_object", {"max_tokens", "temperature"}),
        ("qwen-max", "json_schema", {"max_tokens", "temperature", "enable_thinking"}),
        ("grok-4", "json_schema", {"max_completion_tokens"}),
        ("gemini-pro", "json_schema", {"max_tokens"}),
        ("claude-sonnet", "", {"max_tokens", "temperature"}),
        ("ollama-qwen", "json_schema", {"max_tokens", "temperature"}),
        ("vllm-local", "json_schema", {"max_tokens", "temperature"}),
        ("local", "json_schema", {"max_tokens", "temperature", "repeat_penalty"}),
        ("demo", "json_schema", {"max_tokens"}),
    ],
)
async def test_shipped_models_are_asked_in_the_words_of_their_vendor(
    served: Served, alias: str, kind: str, keys: set[str]
) -> None:
    """Vendors differ by configuration only; here each is answered by the same local server."""
    shipped = load(ETC / "llm.yaml", LlmConfig, {})
    providers = {
        name: msgspec.structs.replace(each, base_url=served.base_url, api_key=Secret(KEY))
        for name, each in shipped.providers.items()
    }
    config = msgspec.structs.replace(shipped, providers=providers)
    model = msgspec.structs.replace(config.models[alias], model_name="rules-only-demo")
    config = msgspec.structs.replace(config, models=config.models | {alias: model})
    async with client_of(config) as client:
        reply = await client.ask(request(alias))
    assert isinstance(reply, ModelReply), reply
    (body,) = served.bodies
    asked_kind = body.get("response_format", {})
    assert isinstance(asked_kind, dict)
    assert asked_kind.get("type", "") == kind
    assert set(body) - FIXED - {"response_format"} == keys
    assert reply.cost_usd == config.endpoint(alias).cost_usd(
        reply.tokens_in, reply.tokens_out, reply.tokens_cached
    )
