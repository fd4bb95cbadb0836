"""llm.yaml and executor.yaml: ours and nof0's load, mistakes are named."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import pytest

from engine.config.executor import ExecutorConfig
from engine.config.llm import RECORDED, LlmConfig
from engine.config.loader import load
from engine.config.manager import RiskConfig
from engine.config.settings import load_settings
from engine.core.errors import ConfigError

ETC = Path(__file__).parent.parent / "etc"

NOF0_LLM = """\
base_url: "https://gateway.example/v1"
api_key: "${GATEWAY_KEY}"
default_model: "gpt-5"
timeout: "60s"
max_retries: 3
log_level: "info"
models:
  gpt-5:
    provider: "openai"
    model_name: "openai/gpt-5"
    temperature: 0.7
    max_completion_tokens: 4096
  deepseek-chat:
    provider: "deepseek"
    model_name: "deepseek/deepseek-chat-v3.1"
    temperature: 0.6
    max_completion_tokens: 2048
"""
NOF0_EXECUTOR = """\
major_coin_leverage: 20
altcoin_leverage: 10
min_confidence: 75
min_risk_reward: 3.0
max_positions: 4
decision_interval: 3m
decision_timeout: 60s
max_concurrent_decisions: 1
"""


def llm(tmp_path: Path, text: str, **env: str) -> LlmConfig:
    (tmp_path / "llm.yaml").write_text(text)
    return load(tmp_path / "llm.yaml", LlmConfig, env)


def test_file_of_nof0_loads_and_its_keys_reach_every_model(tmp_path: Path) -> None:
    config = llm(tmp_path, NOF0_LLM, GATEWAY_KEY="sk-secret")
    endpoint = config.endpoint("deepseek-chat")
    assert endpoint.provider.base_url == "https://gateway.example/v1"
    assert endpoint.provider.api_key.reveal() == "sk-secret"
    assert (endpoint.timeout_s, endpoint.max_retries, endpoint.model.temperature) == (60.0, 3, 0.6)
    assert endpoint.length_key == "max_tokens"
    assert config.endpoint("gpt-5").length_key == "max_completion_tokens"
    assert "sk-secret" not in repr(config)


def test_own_files_load_without_any_variable() -> None:
    config = load(ETC / "llm.yaml", LlmConfig, {})
    assert config.default_model == "demo"
    vendors = {"openai", "deepseek", "qwen", "xai", "gemini", "anthropic", "ollama", "vllm", "demo"}
    assert vendors <= {config.endpoint(alias).name for alias in config.models}
    assert float(load(ETC / "executor.yaml", ExecutorConfig, {}).decision_timeout) == 60


def test_demo_is_pointed_elsewhere_by_two_variables() -> None:
    env = {"EDGEWISE_LLM_BASE_URL": "https://models.example/v1", "EDGEWISE_LLM_API_KEY": "k"}
    endpoint = load(ETC / "llm.yaml", LlmConfig, env).endpoint("demo")
    assert (endpoint.provider.base_url, endpoint.provider.api_key.reveal()) == (
        "https://models.example/v1",
        "k",
    )


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ('default_model: "gpt-5"', "default_model: gpt5", "no model 'gpt5', did you mean 'gpt-5'?"),
        ("temperature: 0.7", "temprature: 0.7", "unknown key 'temprature', did you mean 'temperature'?"),
        ("temperature: 0.7", "temperature: 7", "temperature"),
        ("temperature: 0.7", "fallbacks: [deepseek]", "did you mean 'deepseek-chat'?"),
        ('base_url: "https://gateway.example/v1"', "", "no provider 'openai'"),
        ("${GATEWAY_KEY}", "${NOT_SET}", "NOT_SET"),
    ],
)
def test_mistake_is_named(tmp_path: Path, before: str, after: str, said: str) -> None:
    with pytest.raises(ConfigError) as error:
        llm(tmp_path, NOF0_LLM.replace(before, after, 1), GATEWAY_KEY="k")
    assert said in str(error.value)


def test_unknown_alias_is_named_with_the_nearest() -> None:
    with pytest.raises(ConfigError, match=r"did you mean 'demo'\?"):
        load(ETC / "llm.yaml", LlmConfig, {}).endpoint("demoo")


def test_cached_tokens_cost_their_own_price(tmp_path: Path) -> None:
    text = NOF0_LLM.replace(
        "temperature: 0.7", "price_in: 1.25\n    price_cached_in: 0.125\n    price_out: 10"
    )
    endpoint = llm(tmp_path, text, GATEWAY_KEY="k").endpoint("gpt-5")
    assert endpoint.cost_usd(1_000_000, 100_000, 400_000) == Decimal("0.75") + Decimal("0.05") + 1


def test_limits_of_the_executor_bound_every_trader(tmp_path: Path) -> None:
    (tmp_path / "executor.yaml").write_text(NOF0_EXECUTOR)
    config = load(tmp_path / "executor.yaml", ExecutorConfig, {})
    loose = RiskConfig(max_positions=9, major_coin_leverage=Decimal(50), altcoin_leverage=Decimal(3))
    tight = config.tighten(loose)
    assert (tight.major_coin_leverage, tight.altcoin_leverage) == (Decimal(20), Decimal(3))
    assert (tight.min_confidence, tight.min_risk_reward_ratio) == (Decimal(75), Decimal(3))
    assert tight.max_positions == 4
    assert ExecutorConfig().tighten(loose) == loose


def test_alias_of_recorded_answers_is_always_there_and_cannot_be_taken(tmp_path: Path) -> None:
    folder = tmp_path / "etc"
    folder.mkdir()
    for path in ETC.glob("*.yaml"):
        text = path.read_text().replace("model: demo #", "model: recorded #")
        (folder / path.name).write_text(text)
    (trader,) = (each for each in load_settings(folder, {}).manager.traders if each.model)
    assert trader.model == RECORDED
    with (folder / "llm.yaml").open("a") as file:
        file.write("\n  recorded: { provider: demo, model_name: x }\n")
    with pytest.raises(ConfigError, match="the name is taken"):
        load_settings(folder, {})
