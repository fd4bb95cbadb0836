"""`edgewise stats`: three trades of two models worked out by hand, and every form a capture may come in."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest
from typer.testing import CliRunner

from engine.cli.main import app
from engine.core.errors import CodecError
from engine.journal.captures import cycles_of, trades_of
from engine.journal.recount import Analytics, recount
from engine.journal.tables import TraderTables

# 2 SOL bought at 100, sold at 110: gross 20, commissions 1 and 2, net 17, held 60 minutes.
# 0.5 BTC sold at 200, bought back at 210: gross -5, commissions 0.5 and 0.5, net -6, held 20 minutes.
# 1 SOL bought at 50, sold at 49: gross -1, commissions 0.25 and 0.75, net -2, held 100 minutes.
LONG: dict[str, Any] = {
    "id": "m_1",
    "model_id": "m",
    "symbol": "SOL",
    "side": "long",
    "trade_type": "long",
    "quantity": 2,
    "leverage": 1,
    "confidence": 0,
    "entry_price": 100,
    "entry_time": 1_760_000_000.0,
    "exit_price": 110,
    "exit_time": 1_760_003_600.0,
    "entry_commission_dollars": 1,
    "exit_commission_dollars": 2,
    "entry_closed_pnl": -1,
    "exit_closed_pnl": 18,
    "realized_gross_pnl": 20,
    "realized_net_pnl": 17,
    "total_commission_dollars": 3,
    "exit_plan": {},
    "entry_liquidation": None,
}
SHORT = LONG | {
    "id": "m_2",
    "symbol": "BTC",
    "side": "short",
    "trade_type": "short",
    "quantity": -0.5,
    "entry_price": 200,
    "entry_time": 1_760_003_600.0,
    "exit_price": 210,
    "exit_time": 1_760_004_800.0,
    "entry_commission_dollars": 0.5,
    "exit_commission_dollars": 0.5,
    "entry_closed_pnl": -0.5,
    "exit_closed_pnl": -5.5,
    "realized_gross_pnl": -5,
    "realized_net_pnl": -6,
    "total_commission_dollars": 1,
}
LOSS = LONG | {
    "id": "m_3",
    "quantity": 1,
    "entry_price": 50,
    "entry_time": 1_760_000_000.0,
    "exit_price": 49,
    "exit_time": 1_760_006_000.0,
    "entry_commission_dollars": 0.25,
    "exit_commission_dollars": 0.75,
    "entry_closed_pnl": -0.25,
    "exit_closed_pnl": -1.75,
    "realized_gross_pnl": -1,
    "realized_net_pnl": -2,
    "total_commission_dollars": 1,
}
TRADES = [LONG, SHORT, LOSS]
CONVERSATIONS = [
    {
        "id": f"m_{minute}",
        "model_id": "m",
        "timestamp": 1_760_000_000 + 60 * minute,
        "llm_response": said,
        "cot_trace": "…",
    }
    for minute, said in (
        (0, {"SOL": {"signal": "buy_to_enter", "confidence": 0.6, "leverage": 10}}),
        (2, {"SOL": {"signal": "hold", "confidence": "0.5"}, "BTC": {"signal": "hold", "confidence": 0.7}}),
        (5, {"BTC": {"signal": "sell_to_enter", "confidence": 0.8, "leverage": 20}}),
        (110, {"SOL": {"signal": "close_position", "confidence": 0.4}}),
    )
]


def of(value: object, conversations: object = ()) -> TraderTables:
    cycles = cycles_of(msgspec.json.encode(conversations)) if conversations else []
    (item,) = recount(trades_of(msgspec.json.encode(value)), cycles).analytics
    return item


def test_all_tables_of_three_trades_worked_out_by_hand() -> None:
    item = of({"trades": TRADES, "serverTime": 1})
    assert msgspec.structs.asdict(item.fee_pnl_moves_breakdown_table) == {
        "avg_gross_pnl": 4.666667,  # 14 / 3
        "avg_net_pnl": 3,
        "avg_taker_fee": 1.666667,
        "biggest_net_gain": 17,
        "biggest_net_loss": -6,
        "overall_pnl_with_fees": 9,
        "overall_pnl_without_fees": 14,
        "std_gross_pnl": 13.428825,  # √((46² + 29² + 17²) / 9 / 2) = √(541 / 3)
        "std_net_pnl": 12.288206,  # 14, -9, -5 from the mean: √(302 / 2)
        "std_taker_fee": 1.154701,  # 3, 1, 1: √(4 / 3)
        "total_fees_as_pct_of_pnl": 55.555556,
        "total_fees_paid": 5,
    }
    assert msgspec.structs.asdict(item.winners_losers_breakdown_table) == {
        "avg_losers_holding_period": 60,  # 20 and 100 minutes
        "avg_losers_net_pnl": -4,
        "avg_losers_notional": 75,  # 100 and 50
        "avg_winners_holding_period": 60,
        "avg_winners_net_pnl": 17,
        "avg_winners_notional": 200,
        "std_losers_holding_period": 56.568542,  # 80 / √2
        "std_losers_net_pnl": 2.828427,
        "std_losers_notional": 35.355339,
        "std_winners_holding_period": 0,
        "std_winners_net_pnl": 0,
        "std_winners_notional": 0,
        "win_rate": 33.333333,
    }
    assert msgspec.structs.asdict(item.longs_shorts_breakdown_table) == {
        "avg_longs_holding_period": 80,
        "avg_longs_net_pnl": 7.5,
        "avg_longs_notional": 125,
        "avg_shorts_holding_period": 20,
        "avg_shorts_net_pnl": -6,
        "avg_shorts_notional": 100,
        "long_short_trades_ratio": 0.666667,
        "num_long_trades": 2,
        "num_short_trades": 1,
        "std_longs_holding_period": 28.284271,  # 40 / √2
        "std_longs_net_pnl": 13.435029,  # 19 / √2
        "std_longs_notional": 106.066017,  # 150 / √2
        "std_shorts_holding_period": 0,
        "std_shorts_net_pnl": 0,
        "std_shorts_notional": 0,
    }
    assert msgspec.structs.asdict(item.overall_trades_overview_table) == {
        "avg_convo_leverage": 0,
        "avg_holding_period_mins": 60,
        "avg_size_of_trade_notional": 116.666667,
        "avg_size_of_trade_portfolio_pct": 0,
        "avg_stop_loss_distance_pct": 0,
        "avg_take_profit_distance_pct": 0,
        "median_convo_leverage": 0,
        "median_holding_period_mins": 60,
        "median_size_of_trade_notional": 100,
        "std_holding_period_mins": 40,
        "std_size_of_trade_notional": 76.376262,  # 250, 50 and 200 thirds from the mean: √(105000 / 9 / 2)
        "std_size_of_trade_portfolio_pct": 0,
        "total_trades": 3,
    }
    signals = item.signals_breakdown_table  # 100 minutes of two coins: 160 long, 20 short, 20 flat
    assert (signals.mins_long_combined, signals.mins_short_combined, signals.mins_flat_combined) == (
        160,
        20,
        20,
    )
    assert (signals.pct_mins_long_combined, signals.pct_mins_short_combined) == (80, 10)
    assert (signals.avg_leverage, signals.median_leverage, signals.total_signals) == (1, 1, 0)
    assert (item.id, item.model_id, item.last_trade_doc_id) == ("m", "m", "m_3")
    assert item.last_trade_exit_time == item.updated_at == 1_760_006_000


def test_conversations_give_signals_invocations_and_stated_leverage() -> None:
    item = of(TRADES, {"conversations": CONVERSATIONS})
    assert msgspec.structs.asdict(item.invocation_breakdown_table) == {
        "avg_invocation_break_mins": 36.666667,  # 2, 3 and 105
        "max_invocation_break_mins": 105,
        "min_invocation_break_mins": 2,
        "num_invocations": 4,
        "std_invocation_break_mins": 59.180515,  # √(3502.33…)
    }
    signals = item.signals_breakdown_table
    assert (signals.num_long_signals, signals.num_short_signals) == (1, 1)
    assert (signals.num_hold_signals, signals.num_close_signals, signals.total_signals) == (2, 1, 5)
    assert (signals.avg_confidence, signals.median_confidence, signals.hold_signal_pct) == (0.6, 0.6, 40)
    assert signals.mins_flat_combined == 40  # 110 minutes of two coins
    assert item.overall_trades_overview_table.avg_convo_leverage == 15
    assert item.last_convo_doc_id == "m_110"


@pytest.mark.parametrize(
    "form",
    [
        TRADES,
        {"data": {"page": [1], "trades": TRADES}, "serverTime": 1},
        {"result": TRADES, "status": "ok"},
        [
            {key: str(value) if isinstance(value, int | float) else value for key, value in t.items()}
            for t in TRADES
        ],
        [trade | {"more": {"that": ["nobody", "knows"]}, "quantity_usd": None} for trade in TRADES],
        [*TRADES, LONG],  # polled twice
        TRADES[::-1],
    ],
    ids=["bare", "wrapped twice", "another name", "strings", "more keys", "repeated", "another order"],
)
def test_forms_of_a_capture_give_the_same_tables(form: object) -> None:
    assert of(form) == of({"trades": TRADES})


@pytest.mark.parametrize(
    "missing",
    [
        ("realized_gross_pnl",),
        ("realized_net_pnl", "total_commission_dollars"),
        ("entry_closed_pnl", "exit_closed_pnl", "entry_commission_dollars", "exit_commission_dollars"),
        ("realized_net_pnl", "entry_closed_pnl", "exit_closed_pnl"),
        ("total_commission_dollars", "entry_commission_dollars", "exit_commission_dollars"),
        ("realized_gross_pnl", "leverage", "confidence", "exit_plan", "trade_type", "entry_liquidation"),
        ("side", "trade_type"),
        ("exit_price",),
    ],
    ids=" ".join,
)
def test_keys_that_others_imply_may_be_missing(missing: tuple[str, ...]) -> None:
    rows = [{key: value for key, value in trade.items() if key not in missing} for trade in TRADES]
    assert of(rows) == of(TRADES)


def test_net_is_taken_from_the_capture_where_it_is_not_gross_less_commissions() -> None:
    item = of([LONG | {"realized_net_pnl": 12.5}])  # funding, for one
    assert item.fee_pnl_moves_breakdown_table.avg_net_pnl == 12.5
    assert item.fee_pnl_moves_breakdown_table.total_fees_paid == 3


def test_human_times_are_read_where_the_others_are_missing() -> None:
    row = {key: value for key, value in LONG.items() if key not in {"entry_time", "exit_time"}}
    row |= {"entry_human_time": "2025-10-09 08:53:20.000000", "exit_human_time": "2025-10-09 09:53:20"}
    assert of([row]) == of([LONG])


@pytest.mark.parametrize(
    ("raw", "says"),
    [
        (b"{", "not JSON"),
        (b'{"serverTime": 1}', "no array of trades"),
        (b"[1]", "trades 1 is no object"),
        (
            msgspec.json.encode([LONG, SHORT | {"entry_price": "dear"}]),
            r"trades 2 \(m_2\): entry_price is no",
        ),
        (msgspec.json.encode([LONG | {"quantity": None}]), "quantity is missing"),
        (msgspec.json.encode([LONG | {"side": "up"}]), "side is neither"),
        (b'[{"quantity": 1, "entry_price": NaN}]', "not JSON"),
    ],
)
def test_what_cannot_be_read_is_named(raw: bytes, says: str) -> None:
    with pytest.raises(CodecError, match=says):
        trades_of(raw)


def test_errors_name_the_file_and_models_that_there_are(tmp_path: Path) -> None:
    trades = tmp_path / "trades.json"
    for text, says in (
        ("[{}]", f"{trades}: trades 1 (no id): quantity is missing\n"),
        ("{", f"{trades}: not JSON: Input data was truncated\n"),
        ("[]", "no trades\n"),
    ):
        trades.write_text(text)
        assert _run("--trades", str(trades))[1] == says
    trades.write_bytes(msgspec.json.encode(TRADES))
    assert _run("--trades", str(trades), "--model", "n") == (
        2,
        f"{trades}: no trade of 'n' (known: m)\n",
    )


def _run(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["stats", *arguments])
    return result.exit_code, result.output


def test_command_prints_tables_json_and_what_differs_from_a_capture(tmp_path: Path) -> None:
    trades, captured = tmp_path / "trades.json", tmp_path / "analytics.json"
    trades.write_bytes(msgspec.json.encode({"trades": [*TRADES, LONG | {"id": "n_1", "model_id": "n"}]}))
    code, table = _run("--trades", str(trades))
    assert code == 0
    assert "fee_pnl_moves_breakdown_table" in table
    code, as_json = _run("--trades", str(trades), "--json")
    found = msgspec.json.decode(as_json, type=Analytics)
    assert [item.model_id for item in found.analytics] == ["m", "n"]
    assert found.analytics[0] == of(TRADES)
    captured.write_text(as_json)
    assert _run("--trades", str(trades), "--against", str(captured)) == (0, "every figure is as captured\n")
    captured.write_text(as_json.replace('"avg_net_pnl":3.0', '"avg_net_pnl":4'))
    code, differ = _run("--trades", str(trades), "--against", str(captured), "--json")
    assert (code, msgspec.json.decode(differ)) == (
        1,
        [
            {
                "model_id": "m",
                "table": "fee_pnl_moves_breakdown_table",
                "key": "avg_net_pnl",
                "captured": 4.0,
                "computed": 3.0,
            }
        ],
    )
