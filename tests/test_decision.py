"""A model's answer becomes a decision only when it cannot be misread (scenario A1)."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.config.manager import RiskConfig
from engine.core.decisions import Act, Action, Decision
from engine.core.errors import DecisionRefused
from engine.core.instruments import coin
from engine.core.orders import PositionSide
from engine.executor.decision import AnswerRules, read_decision
from engine.executor.wire import answer_schema
from tests.executor_parts import BTC, ETH, RULES, SOL, wakeup_of

WAKEUP = wakeup_of()  # BTC 90 000, ETH 3 000 held short, SOL 150
LONG = {
    "symbol": "BTC",
    "signal": "buy_to_enter",
    "leverage": 5,
    "position_size_usd": 2000,
    "stop_loss": 89000,
    "take_profit": 93000,
    "confidence": 0.7,
}


def read(text: str, rules: AnswerRules = RULES) -> Decision:
    return read_decision(text, WAKEUP, "demo", rules)[0]


def one(**changes: Any) -> str:
    fields = {key: value for key, value in (LONG | changes).items() if value is not ...}
    return json.dumps({"reasoning": "r", "decisions": [fields]})


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "empty"),
        ("  \n", "empty"),
        ("I would buy BTC now.", "not_json"),
        (f"Here you are: {one()}", "not_json"),
        (f"{one()} Good luck!", "not_json"),
        (f"```json\n{one()}\n```", "fenced"),
        (one()[:-20], "truncated"),
        (one()[:-2], "truncated"),
        ("null", "not_json"),
        ("42", "not_json"),
        ("[0.1, 0.2]", "not_an_answer"),
        ("{}", "not_an_answer"),
        ('{"decisions": {}}', "not_an_answer"),
        ('{"decisions": [], "actions": []}', "not_an_answer"),
        ('{"decisions": [], "leverage": 5}', "unknown_field"),
        ('{"decisions": [{"symbol": "BTC", "symbol": "ETH", "signal": "hold"}]}', "duplicate_key"),
        ('{"decisions": [{"symbol": "BTC", "coin": "ETH", "signal": "hold"}]}', "ambiguous"),
        ('{"BTC": {"coin": "ETH", "signal": "hold"}}', "ambiguous"),
        ("[" * 50_000, "not_json"),
        (one(stop_loss=...).replace("0.7", "NaN"), "not_finite"),
        (one().replace("89000", "Infinity"), "not_finite"),
        (one(stop_loss="NaN"), "not_finite"),
        (one(stop_loss="-Infinity"), "not_finite"),
        (one().replace("2000", "1" + "0" * 60), "bad_number"),
        (one().replace("2000", "1e300"), "bad_number"),
        (one(position_size_usd="0." + "1" * 5000), "bad_number"),
        (one(position_size_usd=-2000), "negative"),
        (one(leverage=-5), "negative"),
        (one(leverage=True), "wrong_type"),
        (one(leverage=[5]), "wrong_type"),
        (one(signal=["hold"]), "wrong_type"),
        (one(signal="yolo"), "wrong_enum"),
        (one(signal="BUY"), "wrong_enum"),
        (one(signal="sell"), "wrong_enum"),
        (one(signal=...), "missing_field"),
        (one(symbol=...), "missing_field"),
        (one(size=3), "unknown_field"),
        (one(symbol="NOSUCHCOIN"), "unknown_symbol"),
        (one(symbol="BTC'; DROP TABLE orders"), "unknown_symbol"),
        (one(leverage=500), "leverage_range"),
        (one(leverage=20.5), "leverage_range"),
        (one(symbol="SOL", leverage=11, stop_loss=140, take_profit=170), "leverage_range"),
        (one(leverage=0), "leverage_range"),
        (one(leverage=...), "leverage_missing"),
        (one(position_size_usd=0), "size_missing"),
        (one(position_size_usd=None), "size_missing"),
        (one(confidence=None), "confidence_missing"),
        (one(confidence=101), "confidence_range"),
        (one(stop_loss=None), "stop_missing"),
        (one(stop_loss=90000), "stop_side"),
        (one(stop_loss=91000), "stop_side"),
        (one(take_profit=89500), "target_side"),
        (one(signal="sell_to_enter"), "stop_side"),
        (one(signal="sell_to_enter", stop_loss=91000), "target_side"),
        (one(entry_price=10), "entry_price_far"),
        (one(signal="reduce_position"), "close_fraction"),
        (one(signal="reduce_position", close_fraction=1.5), "close_fraction"),
        (one(signal="move_stop"), "no_position"),
        (one(symbol="ETH", signal="move_stop", stop_loss=2900), "stop_side"),
        (one(symbol="ETH", signal="move_stop", stop_loss=3100), "stop_loosened"),
    ],
)
def test_A1_unreadable_answer_is_refused_with_its_reason(text: str, reason: str) -> None:
    with pytest.raises(DecisionRefused) as refused:
        read(text)
    assert refused.value.reason == reason
    assert len(str(refused.value)) < 2000


def test_one_bad_action_refuses_the_whole_answer_and_names_every_problem() -> None:
    good = dict(LONG)
    bad = LONG | {"symbol": "SOL", "leverage": 500, "stop_loss": 160, "take_profit": 170}
    with pytest.raises(DecisionRefused) as refused:
        read(json.dumps({"decisions": [good, bad, good]}))
    text = str(refused.value)
    assert "leverage 500" in text
    assert "stop_loss 160" in text
    assert "two decisions" in text


@pytest.mark.parametrize(
    "text",
    [
        one(),
        one(symbol="BTC-USDT-SWAP"),
        one(symbol="BTC/USDT:USDT", signal="open_long"),
        one(confidence=70),
        one(leverage="5", position_size_usd="2000"),
        json.dumps([LONG]),
        json.dumps(LONG),
        json.dumps({"actions": [LONG], "analysis": "r"}),
        json.dumps({"BTC": {key: value for key, value in LONG.items() if key != "symbol"}}),
        json.dumps(
            {
                "BTC": {
                    "trade_signal_args": {
                        "coin": "BTC",
                        "signal": "buy_to_enter",
                        "quantity": "0.0222222222222222222",
                        "leverage": 5,
                        "stop_loss": 89000,
                        "profit_target": 93000,
                        "confidence": 0.7,
                        "is_add": False,
                        "justification": "j",
                    }
                }
            }
        ),
    ],
)
def test_every_known_shape_is_the_same_entry(text: str) -> None:
    (action,) = read(text).actions
    assert action.act is Act.BUY_TO_ENTER
    assert action.symbol == BTC
    assert action.notional_usd is not None
    assert round(action.notional_usd) == 2000
    assert (action.leverage, action.confidence) == (Decimal(5), Decimal("0.7"))
    assert (action.stop_loss, action.take_profit) == (Decimal(89000), Decimal(93000))


def test_reducing_needs_no_plan_and_holding_no_numbers() -> None:
    decision = read(
        json.dumps(
            {
                "decisions": [
                    {"symbol": "ETH", "signal": "reduce_position", "close_fraction": 0.5},
                    {"symbol": "BTC", "signal": "hold", "leverage": 9, "reasoning": "wait\x00\ud800"},
                    {"symbol": "SOL", "signal": "close"},
                ]
            }
        )
    )
    reduce, hold, close = decision.actions
    assert (reduce.act, reduce.close_fraction) == (Act.REDUCE, Decimal("0.5"))
    assert (hold.act, hold.leverage, hold.justification) == (Act.HOLD, Decimal(1), "wait??")
    assert close.act is Act.CLOSE
    assert decision.prices == {BTC: 90_000.0, ETH: 3_000.0, SOL: 150.0}


def test_whole_fraction_closes_and_stop_moves_on_the_right_side() -> None:
    whole = read('{"decisions": [{"symbol": "ETH", "signal": "reduce_position", "close_fraction": 1}]}')
    moved = read('{"decisions": [{"symbol": "ETH", "signal": "move_stop", "stop_loss": 3010.5}]}')
    assert whole.actions[0].act is Act.CLOSE
    assert moved.actions[0].stop_loss == Decimal("3010.5")


def test_stop_moves_toward_more_risk_only_where_that_is_allowed() -> None:
    answer = '{"decisions": [{"symbol": "ETH", "signal": "move_stop", "stop_loss": 3100}]}'
    loose = AnswerRules(limits=RiskConfig(allow_stop_loosening=True), major_coins=RULES.major_coins)
    assert read(answer, loose).actions[0].stop_loss == Decimal(3100)
    with pytest.raises(DecisionRefused, match="farther than the present one"):
        read(answer)


def test_stop_may_be_left_out_only_where_the_trader_needs_none() -> None:
    lenient = AnswerRules(limits=RiskConfig(stop_loss_enabled=False), major_coins=RULES.major_coins)
    (action,) = read(one(stop_loss=None), lenient).actions
    assert action.stop_loss is None


def test_empty_list_holds_everything() -> None:
    assert read('{"reasoning": "nothing to do", "decisions": []}').actions == ()


numbers = st.one_of(
    st.none(),
    st.floats(),
    st.integers(),
    st.text(max_size=8),
    st.booleans(),
    st.sampled_from([0.5, 5, 50, 90000]),
)
actions = st.fixed_dictionaries(
    {
        "symbol": st.sampled_from(["BTC", "ETH", "SOL", "BTC-USDT-SWAP", "X", ""]),
        "signal": st.sampled_from([*Act, "open_short", "close", "yolo"]),
    },
    optional={
        name: numbers
        for name in (
            "leverage",
            "position_size_usd",
            "entry_price",
            "stop_loss",
            "take_profit",
            "risk_usd",
            "confidence",
            "close_fraction",
            "quantity",
        )
    },
)


@given(st.lists(actions, max_size=4))
def test_whatever_is_read_is_within_the_rules(items: list[dict[str, Any]]) -> None:
    try:
        decision = read(json.dumps({"decisions": items}))
    except DecisionRefused:
        return
    assert len({action.symbol for action in decision.actions}) == len(decision.actions)
    for action in decision.actions:
        assert action.symbol in {BTC, ETH, SOL}
        assert 0 <= action.confidence <= 1
        if action.act.enters:
            assert_sane_entry(action)


def assert_sane_entry(action: Action) -> None:
    price = Decimal(str({"BTC": 90_000, "ETH": 3_000, "SOL": 150}[coin(action.symbol)]))
    price = action.entry_price or price
    side = PositionSide.LONG if action.act is Act.BUY_TO_ENTER else PositionSide.SHORT
    assert 1 <= action.leverage <= RULES.max_leverage(action.symbol)
    assert action.stop_loss is not None
    assert (price - action.stop_loss) * side.sign > 0
    assert action.take_profit is None or (action.take_profit - price) * side.sign > 0
    assert action.notional_usd is None or action.notional_usd > 0
    assert action.notional_usd or action.risk_usd


@given(st.one_of(st.text(), st.recursive(st.none() | st.text() | st.floats(), st.lists).map(json.dumps)))
def test_no_text_breaks_the_reader(text: str) -> None:
    try:
        read(text)
    except DecisionRefused as refusal:
        refusal.reason.encode()
        str(refusal).encode()  # fit for the journal


@given(st.data())
def test_no_cut_or_spoilt_answer_trades_otherwise_than_it_was_written(data: st.DataObject) -> None:
    whole = one()
    start = data.draw(st.integers(0, len(whole) - 1))
    end = data.draw(st.integers(start, len(whole)))
    spoilt = whole[:start] + whole[end:]
    try:
        decision = read(spoilt)
    except DecisionRefused:
        return
    for action in decision.actions:
        if action.act.enters:
            assert_sane_entry(action)


def test_schema_takes_what_is_read_and_is_in_the_strict_subset() -> None:
    schema = json.loads(answer_schema([BTC, ETH, SOL]))
    full = dict.fromkeys(schema["properties"]["decisions"]["items"]["properties"])
    action = full | LONG | {"symbol": BTC}
    jsonschema.validate({"reasoning": "r", "decisions": [action]}, schema)
    assert read(json.dumps({"reasoning": "r", "decisions": [action]})).actions
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({"reasoning": "r", "decisions": [action | {"symbol": "X"}]}, schema)
    for node in (schema, schema["properties"]["decisions"]["items"]):
        assert node["additionalProperties"] is False
        assert node["required"] == list(node["properties"])
