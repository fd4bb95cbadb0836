"""A configuration file becomes typed values, or one clear line for each thing that is wrong."""

from __future__ import annotations

import json
from decimal import Decimal
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Literal

import jsonschema
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Meta

from engine.config.loader import Duration, Secret, environment, load, load_located, schema
from engine.config.scalars import plain
from engine.config.tree import Problem, parse
from engine.core.errors import ConfigError


class Side(StrEnum):
    LONG = "long"
    SHORT = "short"


class Model(msgspec.Struct, frozen=True, kw_only=True):
    provider: Literal["openai", "deepseek", "qwen"]
    api_key: Secret = Secret("")
    timeout: Duration = Duration(60)


class Ema(msgspec.Struct, frozen=True, tag="ema", tag_field="kind"):
    period: Annotated[int, Meta(ge=1)]


class Cross(msgspec.Struct, frozen=True, tag="cross", tag_field="kind"):
    fast: int
    slow: int

    def __post_init__(self) -> None:
        if self.fast >= self.slow:
            raise ValueError("fast must be below slow")


class Trader(msgspec.Struct, frozen=True, kw_only=True):
    name: Annotated[str, Meta(pattern="^[a-z-]{1,12}$")]
    model: Model
    balance: Annotated[Decimal, Meta(gt=0)] = Decimal(1000)
    sides: tuple[Side, ...] = (Side.LONG,)
    rules: list[Ema | Cross] = []
    params: dict[str, Decimal | str | bool] = {}
    pause: Duration | None = None


class File(msgspec.Struct, frozen=True, kw_only=True, rename={"log_level": "logLevel"}):
    """A file of this test."""

    port: Annotated[int, Meta(ge=1, le=65535)] = 8080
    log_level: str = "info"
    ratio: float = 0.5
    enabled: bool = True
    data: Path = Path("data")
    traders: Annotated[list[Trader], Meta(min_length=1)]


GOOD = """\
# yaml-language-server: $schema=./file.schema.json
x-model: &model
  provider: deepseek
  api_key: ${KEY}
port: ${PORT:-9000}
logLevel: "${LEVEL:-debug}"
ratio: 1
data: ~/here
traders:
  - name: alpha
    model: {<<: *model, timeout: 1m30s}
    balance: 1000.10
    sides: [long, short]
    rules: [{kind: ema, period: 20}, {kind: cross, fast: 5, slow: 9}]
    params: {width: 2.50, mode: tight, strict: true, cost: $$5}
  - name: beta
    model: {provider: qwen, api_key: "${KEY}", timeout: 250ms}
    balance: 0.1234567890123456789012345678
    pause: 15
"""


def written(folder: Path, text: str) -> Path:
    path = folder / "file.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_good_file_becomes_typed_values(tmp_path: Path) -> None:
    config = load(written(tmp_path, GOOD), File, {"KEY": "123456", "PORT": "7000"})
    alpha, beta = config.traders
    assert (config.port, config.log_level, config.ratio, config.data) == (7000, "debug", 1.0, Path("~/here"))
    assert alpha.model == Model(provider="deepseek", api_key=Secret("123456"), timeout=Duration(90))
    assert str(alpha.balance) == "1000.10"
    assert alpha.sides == (Side.LONG, Side.SHORT)
    assert alpha.rules == [Ema(20), Cross(5, 9)]
    assert alpha.params == {"width": Decimal("2.50"), "mode": "tight", "strict": True, "cost": "$5"}
    assert str(beta.balance) == "0.1234567890123456789012345678"
    assert (alpha.pause, beta.pause, beta.model.timeout) == (None, Duration(15), Duration(0.25))


def test_secret_shows_only_when_revealed() -> None:
    secret = Secret("hunter2")
    assert "hunter2" not in f"{secret} {secret!r} {Model(provider='qwen', api_key=secret)}"
    assert secret.reveal() == "hunter2"


TRADER = "traders: [{name: a, model: {provider: qwen}}]\n"


@pytest.mark.parametrize(
    ("text", "errors"),
    [
        ("port: 99999\n" + TRADER, ["1:7: $.port: 99999 must be at most 65535"]),
        ("port: '80'\n" + TRADER, ["1:7: $.port: expected a whole number, got '80'"]),
        ("logLevel: 7\n" + TRADER, ["1:11: $.logLevel: expected text, got '7'; put it in quotes"]),
        ("enabled: yes\n" + TRADER, ["1:10: $.enabled: expected true or false, got 'yes'"]),
        ("ratio: .nan\n" + TRADER, ["1:8: $.ratio: expected a number, got '.nan'"]),
        ("prot: 1\n" + TRADER, ["1:1: $: unknown key 'prot', did you mean 'port'?"]),
        (
            "zzz: 1\n" + TRADER,
            ["1:1: $: unknown key 'zzz' (known: data, enabled, logLevel, port, ratio, traders)"],
        ),
        ("port: 1\nport: 2\n" + TRADER, ["2:1: $: key 'port' stands twice"]),
        ("port: 1\n", ["1:1: $: key 'traders' is missing"]),
        ("", ["1:1: $: key 'traders' is missing"]),
        ("- 1\n", ["1:1: $: expected a mapping (File), got a list"]),
        ("traders: []\n", ["1:10: $.traders: expected at least 1 items, got 0"]),
        (
            "port: ${NOPE}\n" + TRADER,
            ["1:7: $.port: environment variable NOPE is not set; set it, or add it to .env"],
        ),
        (
            "port: ${NOPE:?choose a port}\n" + TRADER,
            ["1:7: $.port: environment variable NOPE is not set: choose a port"],
        ),
        ("port: ${EMPTY?}\n" + TRADER, ["1:7: $.port: expected a whole number, got nothing"]),
        ("port: {a: 1\n", ["2:1: $: expected ',' or '}', but got '<stream end>'"]),
        ("port: !!python/name:os.system\n" + TRADER, ["1:7: $.port: expected a whole number, got ''"]),
        ("logLevel: &a [*a]\n" + TRADER, ["1:11: $.logLevel[0]: the alias contains itself"]),
        (
            "traders:\n- name: A!\n  model: {provider: deepsek, timeout: 3 weeks}\n  balance: -1\n",
            [
                "2:9: $.traders[0].name: 'A!' does not match ^[a-z-]{1,12}$",
                "3:21: $.traders[0].model.provider: 'deepsek' is not one of 'openai', 'deepseek', 'qwen',"
                " did you mean 'deepseek'?",
                "3:39: $.traders[0].model.timeout: expected a duration such as 15s, 3m or 1h, got '3 weeks'",
                "4:12: $.traders[0].balance: -1 must be above 0",
            ],
        ),
        (
            "traders: [{name: a, model: {provider: qwen}, rules: [{kind: cross, fast: 9, slow: 5}]}]\n",
            ["1:54: $.traders[0].rules[0]: fast must be below slow"],
        ),
        (
            "traders: [{name: a, model: {provider: qwen}, rules: [{kind: rsi}], sides: [up]}]\n",
            [
                "1:54: $.traders[0].rules[0]: key 'kind' is 'rsi', expected one of 'ema', 'cross'",
                "1:76: $.traders[0].sides[0]: 'up' is not one of 'long', 'short'",
            ],
        ),
    ],
)
def test_every_error_is_one_line_with_its_place(tmp_path: Path, text: str, errors: list[str]) -> None:
    path = written(tmp_path, text)
    with pytest.raises(ConfigError) as caught:
        load(path, File, {"EMPTY": ""})
    assert str(caught.value).splitlines() == [f"{path}:{error}" for error in errors]


def test_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none\.yaml: cannot be read: No such file"):
        load(tmp_path / "none.yaml", File, {})


def test_value_of_a_variable_is_not_shown(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load(written(tmp_path, "port: ${KEY}\n" + TRADER), File, {"KEY": "hunter2"})
    assert "hunter2" not in str(caught.value)


def test_problem_found_later_knows_its_place(tmp_path: Path) -> None:
    located = load_located(written(tmp_path, GOOD), File, {"KEY": "k"})
    line = located.problem(("traders", 1, "model", "provider"), "no such model")
    assert line == f"{located.path}:17:23: $.traders[1].model.provider: no such model"
    assert ":16:5: " in located.problem(("traders", 1, "sides"), "left out")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("A=1\n# no\n\nexport B='x # y'\nC=\"a b\" # note\nD= plain # note\nE=\n", "1|x # y|a b|plain||"),
        ("A=1\nZ=file\n", "1|||||over"),
    ],
)
def test_dotenv_fills_what_the_environment_lacks(tmp_path: Path, text: str, expected: str) -> None:
    (tmp_path / ".env").write_text(text)
    env = environment({"Z": "over"} if "Z=" in text else {}, tmp_path / ".env")
    assert "|".join(env.get(name, "") for name in "ABCDEZ") == expected
    assert environment({"A": "1"}, tmp_path / "none") == {"A": "1"}


def test_broken_dotenv_line_is_named(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("A=1\nnonsense\n")
    with pytest.raises(ConfigError, match=r"\.env:2:1: expected NAME=value"):
        environment({}, tmp_path / ".env")


def test_schema_agrees_with_the_loader(tmp_path: Path) -> None:
    document = schema(File)
    jsonschema.Draft202012Validator.check_schema(document)
    validator = jsonschema.Draft202012Validator(json.loads(json.dumps(document)))
    problems: list[Problem] = []
    # What the editor sees: variables stand there as text, `<<` is merged.
    data = plain(parse(GOOD.replace("$", "$$"), {}, problems))
    assert problems == []
    validator.validate(data)
    for bad in ({**data, "prot": 1}, {**data, "port": 0}, {"port": 1}, {**data, "traders": []}):
        assert not validator.is_valid(bad)


@given(
    st.decimals(allow_nan=False, allow_infinity=False, min_value=Decimal("1e-30"), max_value=Decimal("1e30"))
)
def test_decimal_is_the_text_of_the_file(tmp_path_factory: pytest.TempPathFactory, number: Decimal) -> None:
    path = written(tmp_path_factory.getbasetemp(), f"{TRADER[:-3]}, balance: {number}}}]\n")
    assert load(path, File, {}).traders[0].balance == number


@given(
    st.recursive(st.text() | st.integers() | st.none(), lambda x: st.lists(x) | st.dictionaries(st.text(), x))
)
def test_any_document_loads_or_is_refused_in_lines(
    tmp_path_factory: pytest.TempPathFactory, document: Any
) -> None:
    path = written(tmp_path_factory.getbasetemp(), json.dumps(document, ensure_ascii=True))
    with pytest.raises(ConfigError) as caught:
        load(path, File, {})
    assert all(line.startswith(f"{path}:") for line in str(caught.value).split("\n"))


@given(st.text(alphabet="ab:-{}[]&*!|>%@\"'#,?$ \n\t<", max_size=40))
def test_no_text_breaks_the_loader(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    with pytest.raises(ConfigError):
        load(written(tmp_path_factory.getbasetemp(), text), File, {})
