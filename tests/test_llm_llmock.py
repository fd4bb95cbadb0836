"""The model client graded by llmock, which breaks answers on purpose and watches every retry."""

from __future__ import annotations

import asyncio
import json
import socket
import sys
import urllib.request
from collections.abc import AsyncIterator
from importlib.util import find_spec
from typing import Any

import pytest

from engine.clock import SystemClock
from engine.config.llm import LlmConfig, LlmModelConfig, LlmProviderConfig
from engine.config.loader import Secret
from engine.executor.asking import ChatMessage, Failure, ModelFailure, ModelReply, ModelRequest
from engine.executor.llm import LlmClient
from engine.executor.wire import answer_schema
from tests.executor_parts import BTC

pytestmark = pytest.mark.skipif(find_spec("llmock") is None, reason="llmock is not installed")


@pytest.fixture(scope="module")
async def url() -> AsyncIterator[str]:
    """Root of a running llmock."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = ("-c", "from llmock.cli import app; app()", "serve", "-p", str(port), "--log-level", "error")
    process = await asyncio.create_subprocess_exec(
        sys.executable, *command, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL
    )
    root = f"http://127.0.0.1:{port}"
    try:
        async with asyncio.timeout(60):
            while not await _serves(root):
                await asyncio.sleep(0.05)
        yield root
    finally:
        process.terminate()
        await process.wait()


async def _serves(root: str) -> bool:
    try:
        await told(root, "/health")
    except OSError:
        return False
    return True


async def told(root: str, path: str, body: object = None) -> Any:
    """An answer of llmock's own interface."""

    def call() -> Any:
        data = None if body is None else json.dumps(body).encode()
        asked = urllib.request.Request(root + path, data, {"content-type": "application/json"})  # noqa: S310
        with urllib.request.urlopen(asked, timeout=5) as response:  # noqa: S310 - the address is ours
            return json.loads(response.read())

    return await asyncio.to_thread(call)


def fail(status: int, times: int, retry_after: float | None = None) -> dict[str, object]:
    return {"type": "fail", "status": status, "times": times, "retry_after": retry_after}


@pytest.mark.parametrize(
    ("fault", "failure"),
    [
        (fail(429, 1, retry_after=1), None),
        (fail(429, 2), None),
        (fail(500, 2), None),
        (fail(503, 1, retry_after=1), None),
        (fail(529, 1), None),
        (fail(503, 9), Failure.SERVER_ERROR),
        (fail(400, 9), Failure.BAD_REQUEST),
        (fail(401, 1), Failure.NOT_ALLOWED),
        (fail(403, 1), Failure.NOT_ALLOWED),
        (fail(404, 1), Failure.BAD_REQUEST),
        ({"type": "delay", "seconds": 5}, Failure.TIMEOUT),
    ],
    ids=lambda value: f"{value['type']}-{value.get('status', '')}" if isinstance(value, dict) else None,
)
async def test_llmock_finds_nothing_wrong_with_the_client(
    url: str, fault: dict[str, object], failure: Failure | None
) -> None:
    await told(url, "/_llmock/reset", {})
    await told(url, "/_llmock/scenario", {"behaviors": [fault]})
    provider = LlmProviderConfig(base_url=f"{url}/v1", api_key=Secret("k"), max_retries=2)
    model = LlmModelConfig(provider="mock", model_name="gpt-4o")
    client = LlmClient(LlmConfig(providers={"mock": provider}, models={"a": model}), SystemClock())
    question = (ChatMessage("user", f"decide {fault}"),)
    deadline_s = 1.0 if failure is Failure.TIMEOUT else 20.0
    asked = ModelRequest(alias="a", messages=question, schema=answer_schema([BTC]), deadline_s=deadline_s)
    try:
        reply = await client.ask(asked)
    finally:
        await client.aclose()
    verdict = await told(url, "/_llmock/verdict")
    assert verdict["findings"] == []
    if failure is None:
        assert isinstance(reply, ModelReply), reply
    else:
        assert isinstance(reply, ModelFailure)
        assert reply.failure is failure
