"""The configuration as a whole: what ships is right, and a mistake is one line that says what to do."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from engine.config.settings import load_settings
from engine.core.errors import ConfigError
from engine.wiring.deciders import check_deciders

ETC = Path(__file__).parent.parent / "etc"


def change(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


def test_what_ships_loads_and_sends_nothing_by_default() -> None:
    settings = load_settings(ETC, {})
    assert settings.provider_id == "okx_demo"
    assert settings.provider.okx.demo
    assert [settings.exchange.providers[name].may_trade for name in ("okx_demo", "okx_live")] == [
        False,
        False,
    ]
    assert settings.exchange.providers["okx_simulator"].may_trade
    assert sum(settings.manager.capital(trader) for trader in settings.manager.traders) == 90_000


def test_a_secret_is_never_shown() -> None:
    settings = load_settings(
        ETC, {"OKX_API_KEY": "k3y", "OKX_API_SECRET": "s3cret", "OKX_API_PASSPHRASE": "p4ss"}
    )
    shown = repr(settings)
    assert "k3y" not in shown
    assert "s3cret" not in shown
    assert "p4ss" not in shown


MISTAKES = {
    "wrong key": ("manager.yaml", "max_positions: 3", "max_position: 3", "did you mean 'max_positions'?"),
    "dangling model": ("manager.yaml", "model: demo", "model: dmeo", "unknown model 'dmeo'"),
    "unwatched symbol": (
        "manager.yaml",
        "[SOL, DOGE, XRP,",
        "[SOL, DOGE, LINK,",
        "'LINK' is not among",
    ),
    "unwatched symbol of a rollout": (
        "manager.yaml",
        "    model: demo",
        "    rollout: {symbols: {LINK: 5}}\n    model: demo",
        "'LINK' is not among",
    ),
    "model of the budget": (
        "manager.yaml",
        "  # model_concurrency: { gpt-5: 4 }",
        "  model_concurrency: { gpt5: 4 }",
        "unknown model 'gpt5', did you mean 'gpt-5'?",
    ),
    "no time of day": (
        "manager.yaml",
        "    model: demo",
        '    rollout: {hours: [{begin: "24:00", end: "06:00", weight: 0}]}\n    model: demo',
        "rollout.hours[0].begin: ",
    ),
    "too much": ("manager.yaml", "allocation_pct: 25", "allocation_pct: 95", "adds up to 170, more than 100"),
    "who decides": ("manager.yaml", "    model: demo", "    name2: demo", "unknown key 'name2'"),
    "unknown provider": ("exchange.yaml", "-okx_demo}", "-okx_dmo}", "unknown provider 'okx_dmo'"),
    "switch": (
        "exchange.yaml",
        "      region:",
        "      cancel_all_after: 5s\n      region:",
        "from 10s to 2m",
    ),
    "tag": ("exchange.yaml", "      region:", "      order_tag: my-tag\n      region:", "letters and digits"),
    "channel": (
        "exchange.yaml",
        "      region:",
        "      stale_after: {mark_price: 10s}\n      region:",
        "did you mean 'mark-price'",
    ),
    "indicator": ("market.yaml", "  - rsi_14", "  - rsx_14", "$.indicators[3]: no indicator 'rsx_14'"),
    "stream": ("market.yaml", "  - basis_bps", "  - basis_bsp", "did you mean 'basis_bps'?"),
    "feature of a detector": (
        "market.yaml",
        "feature: change_pct_15m, thr",
        "feature: change_pct_16m, thr",
        "$.detectors[1]: detector move_15m: no 'change_pct_16m'",
    ),
    "timeframes": ("market.yaml", "[1m, 5m, 15m]", "[1m, 15m, 5m]", "$.timeframes: from short to long"),
    "no duration": ("manager.yaml", "grace: 20s", "grace: 20 apples", "expected a duration such as"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_named_with_file_line_and_remedy(etc: Path, name: str) -> None:
    file, old, new, remedy = MISTAKES[name]
    change(etc / file, old, new)
    with pytest.raises(ConfigError) as refused:
        load_settings(etc, {})
    line = next(line for line in str(refused.value).splitlines() if remedy in line)
    path, number, column, _ = line.split(":", 3)
    assert path == str(etc / file)
    assert number.isdigit()
    assert column.isdigit()


def test_a_mistake_in_what_many_share_is_told_once(etc: Path) -> None:
    change(etc / "manager.yaml", "max_spread_bps: 20", "max_spread_bps: wide")
    with pytest.raises(
        ConfigError, match=r"traders\[0\].risk_params.max_spread_bps: expected a number"
    ) as refused:
        load_settings(etc, {})
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("name: buy_and_hold", "name: buy_n_hold", "$.traders[4].strategy: trader buynhold-btc: no strategy"),
        (
            "{ timeframe: 5m }",
            "{ timefrme: 5m }",
            "$.traders[1].strategy: trader trend-alts: strategy ema_trend",
        ),
    ],
)
def test_what_a_trader_names_wrongly_has_its_place(etc: Path, old: str, new: str, says: str) -> None:
    change(etc / "manager.yaml", old, new)
    with pytest.raises(ConfigError) as refused:
        check_deciders(load_settings(etc, {}))
    path, line, column, rest = str(refused.value).split(":", 3)
    assert (path, line.isdigit(), column.isdigit()) == (str(etc / "manager.yaml"), True, True)
    assert rest.strip().startswith(says)


def test_interval_of_the_environment_is_the_long_cycle() -> None:
    for env, seconds in (({}, 720.0), ({"AI_TRADE_INTERVAL": "1800"}, 1800.0)):
        traders = load_settings(ETC, env).manager.traders
        assert {trader.rhythm.long_cycle for trader in traders} == {seconds}


def test_engine_time_runs_faster_only_where_no_money_is() -> None:
    fast = {"EDGEWISE_SPEED": "10", "EDGEWISE_EXCHANGE": "okx_live"}
    with pytest.raises(ConfigError, match="only on the local simulator"):
        load_settings(ETC, fast)
    assert load_settings(ETC, fast | {"EDGEWISE_EXCHANGE": "okx_simulator"}).engine.clock.speed == 10


def edgewise(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "engine.cli.main", *words],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def test_config_check_says_what_is_configured_and_exits_with_2_for_a_mistake(etc: Path) -> None:
    good = edgewise("config", "check", "--dir", str(etc))
    assert (good.returncode, good.stderr) == (0, "")
    assert "orders are not sent" in good.stdout
    change(etc / "manager.yaml", "max_positions: 3", "max_position: 3")
    bad = edgewise("config", "check", "--etc", str(etc))
    assert bad.returncode == 2
    assert "Traceback" not in bad.stderr
    assert f"{etc / 'manager.yaml'}:" in bad.stderr


@pytest.mark.parametrize("file", ["engine", "market", "exchange", "executor", "manager", "llm"])
def test_each_file_has_a_schema_for_editors(file: str) -> None:
    shown = edgewise("config", "schema", file)
    assert shown.returncode == 0, shown.stderr
    assert '"properties"' in shown.stdout


def test_help_lists_every_command() -> None:
    shown = edgewise("--help")
    for command in ("demo", "engine", "api", "simulator", "model-server", "config", "db", "bus", "prompt"):
        assert command in shown.stdout
