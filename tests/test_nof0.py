"""A folder of nof0's YAML: loads as it is, its keys reach what they name, the rest is said."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.app import make_clock, serve
from engine.config.settings import load_settings
from engine.core.errors import ConfigError

FOLDER = Path(__file__).parent / "fixtures" / "nof0"
SAMPLE = Path(__file__).parents[2] / "shared" / "nof0_etc"


def test_a_folder_of_nof0_loads_without_any_variable() -> None:
    settings = load_settings(FOLDER, {})
    engine, trader = settings.engine, settings.manager.traders[0]
    assert (engine.name, engine.log_level, engine.api.port) == ("nof0", "debug", 8899)
    assert (engine.servers.postgres_dsn, engine.servers.redis_url) == ("", "")
    assert settings.manager.capital(trader) == 450
    assert settings.executor.tighten(trader.risk_params).altcoin_leverage == 4
    assert settings.executor.tighten(trader.risk_params).min_confidence == 60
    assert settings.provider.local
    assert settings.provider.may_trade


def test_its_variables_reach_the_servers() -> None:
    env = {
        "Postgres__DataSource": "postgres://u@db/x",
        "Cache__0__Host": "cache:6380",
        "Cache__0__Pass": "a/b",
        "Cache__0__Tls": "true",
        "GATEWAY_KEY": "k",
        "HYPER_KEY": "h",
    }
    settings = load_settings(FOLDER, env)
    assert settings.engine.servers.postgres_dsn == "postgres://u@db/x"
    assert settings.engine.servers.redis_url == "rediss://:a%2Fb@cache:6380/0"
    assert not any("is not set" in remark for remark in settings.remarks)


def test_its_thresholds_of_slow_queries_hold() -> None:
    slow = load_settings(FOLDER, {}).engine.slow_log
    assert (slow.sql, slow.redis) == (0.1, 5.0)  # milliseconds of the file, and nof0's default


def test_what_does_nothing_here_is_said() -> None:
    remarks = "\n".join(load_settings(FOLDER, {}).remarks)
    for key in (
        "DataPath",
        "MaxOpen",
        "TTL",
        "state_storage_backend",
        "market_provider",
        "provider hyper: type hyperliquid cannot trade yet",
        "provider paper: trades on the simulator",
        "GATEWAY_KEY is not set",
    ):
        assert key in remarks, key


async def test_hyperliquid_is_refused_at_run_time_with_one_line(tmp_path: Path) -> None:
    for file in FOLDER.iterdir():
        text = file.read_text().replace("default: paper", "default: hyper")
        (tmp_path / file.name).write_text(
            text.replace("exchange_provider: paper", "exchange_provider: hyper")
        )
    settings = load_settings(tmp_path, {})
    with pytest.raises(ConfigError, match="'hyper': type hyperliquid cannot trade yet") as refused:
        await serve(settings, make_clock(settings))
    assert "\n" not in str(refused.value)


@pytest.mark.skipif(not SAMPLE.is_dir(), reason="the sample is not beside this clone")
def test_the_sample_of_nof0_loads_unchanged() -> None:
    settings = load_settings(SAMPLE, {})
    (trader,) = settings.manager.traders
    assert (trader.id, trader.model) == ("trader_aggressive_short", "deepseek-chat")
