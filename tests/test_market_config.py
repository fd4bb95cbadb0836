"""market.yaml: the shipped file says what the code assumes, and mistakes are told where they are."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.config.loader import load
from engine.config.market import MarketConfig, parse_indicator, parse_stream
from engine.core.errors import ConfigError

ETC = Path(__file__).parent.parent / "etc"
RULE = "detectors: [{kind: threshold, name: r, feature: rsi_14, timeframe: 5m, upper: 70, upper_release: 60"


def read(tmp_path: Path, text: str) -> MarketConfig:
    path = tmp_path / "market.yaml"
    path.write_text(text)
    return load(path, MarketConfig, {})


def test_shipped_file_equals_the_defaults() -> None:
    assert load(ETC / "market.yaml", MarketConfig, {}) == MarketConfig()


def test_file_of_nof0_loads_unchanged(tmp_path: Path) -> None:
    config = read(
        tmp_path,
        "default: testnet\n"
        "providers:\n"
        "  testnet: {type: hyperliquid, testnet: true, timeout: 8s, http_timeout: 10s, max_retries: 3}\n",
    )
    provider = config.provider()
    assert provider is not None
    assert (provider.type, provider.testnet, provider.timeout) == ("hyperliquid", True, 8.0)
    assert config.symbols == MarketConfig().symbols


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("symbls: [X]", "did you mean 'symbols'"),
        ("symbols: [A, A]", "symbols: one stands twice"),
        ("timeframes: [5m, 1m]", "from short to long"),
        ("timeframes: [3m, 5m]", "multiple of the first"),
        ("timeframes: [7m]", "'7m' is not one of"),
        ("indicators: [rsy_14]", "did you mean 'rsi'"),
        ("indicators: [rsi_14, rsi_14]", "two give the same feature"),
        ("indicators: [macd_26_12_9]", "market.yaml:1:14: $.indicators[0]: 'macd_26_12_9': the fast period"),
        ("indicators: [ema_2.5]", "2.5 is no period"),
        ("indicators: [sma_20, sma_2001]", "$.indicators[1]: 'sma_2001': a period is at most 2000"),
        ("indicators: [realised_vol_1]", "at least 2 returns"),
        ("max_age: 0s", "max_age: must be above 0"),
        ("keep_every: 10ms", "at least 1s, or 0s"),
        ("stream: [book_imbalance_10]", "at most 5 levels"),
        ("stream: [change_pct]", "needs a window"),
        ("stream: [spread_bps_5]", "takes no number"),
        ("stream: [spred_bps]", "did you mean 'spread_bps'"),
        ("default: x\nproviders: {y: {type: okx}}", "no provider 'x'"),
        ("warm_up: 10", "at least 50"),
        ("snapshots_per_s: 10", "at most 4"),
        (RULE + ", lower: 30}]", "lower with lower_release"),
        (RULE.replace("60", "75") + "}]", "upper_release must be below upper"),
        (RULE.replace("rsi_14", "rsi_15") + "}]", "did you mean 'rsi_14'"),
        (RULE.replace("5m", "1h") + "}]", "no timeframe '1h'"),
        (RULE + ", symbols: [BTC-USDT-SWP]}]", "did you mean 'BTC-USDT-SWAP'"),
        (RULE.replace("threshold", "treshold") + "}]", "'treshold', expected one of"),
        (RULE + "}, " + RULE[12:] + "}]", "a name stands twice"),
        ("scorer: {distance: 0, rarity: 0, volume: 0, agreement: 0}", "must be above 0"),
        ("scorer: {freshness: 0s}", "must be above 0"),
        ("news: {sources: [{name: a, url: 'http://a', symbols: [BTC-USDT-SWP]}]}", "did you mean 'BTC-USDT"),
        ("timeframes: [5m]", "detector rsi_1m: no timeframe '1m' in `timeframes`; it is one of the defaults"),
        ("news: {keywords: {BTC: ['']}}", "in every headline"),
        ("reference: {source: http, url: 'http://a/{base}{qote}'}", "not {qote}"),
        ("reference: {source: http, url: 'http://a/{base}', field: data..x}", "path to the price"),
    ],
)
def test_mistake_is_told(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read(tmp_path, text)
    assert says in str(caught.value)


def test_names_of_indicators_and_features() -> None:
    assert parse_indicator("macd").outputs == ("macd", "macd_signal", "macd_hist")
    assert parse_indicator("macd_5_35_5").outputs == ("macd_5_35_5", "macd_signal_5_35_5", "macd_hist_5_35_5")
    spec = parse_indicator("bb_20_2.5")
    assert (spec.parameters, spec.outputs[0]) == ((20.0, 2.5), "bb_upper_20_2.5")
    assert parse_indicator("bb_20").parameters == (20.0, 2)
    assert parse_stream("change_pct_15m").window_s == 900
    assert parse_stream("book_imbalance").levels == 5


def test_nof0_sample_when_it_is_there() -> None:
    sample = Path(__file__).parent.parent.parent / "shared" / "nof0_etc" / "market.yaml"
    if not sample.exists():
        pytest.skip("the sample is not on this machine")
    assert load(sample, MarketConfig, {}).provider() is not None
