"""The six tables of each model, from trades and conversations that somebody captured."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

import msgspec

from engine.core.times import NS_PER_S
from engine.journal.captures import CapturedCycle, CapturedTrade, rows_of
from engine.journal.stats import Minutes, Statistics
from engine.journal.tables import Tables, TraderTables

_S_PER_MIN: Final = 60.0
_HIDDEN: Final = ("signals_breakdown_table", "invocation_breakdown_table")  # what trades do not tell
_HIDDEN_KEYS: Final = ("avg_convo_leverage", "median_convo_leverage")
_UNKNOWN: Final = "std_taker_fee"  # whose formula at nof1 nobody knows
_LAST_PLACE: Final = 1.5e-6  # of six: the captured figures are rounded, and so are ours


class Analytics(msgspec.Struct, frozen=True):
    """The answer of `/api/analytics`, without its time."""

    analytics: tuple[TraderTables, ...]


class Difference(msgspec.Struct, frozen=True):
    """A figure that is not what a capture of `/api/analytics` has; None where the capture lacks the key."""

    model_id: str
    table: str
    key: str
    captured: float | None
    computed: float


def recount(trades: Sequence[CapturedTrade], cycles: Sequence[CapturedCycle] = ()) -> Analytics:
    """Tables of every model that occurs, by name.

    Minutes run from the first to the last invocation, as nof1's add up; without conversations from the
    first entry to the last exit. Flat is what no trade of a coin covers.
    """
    models = sorted({trade.model_id for trade in trades} | {cycle.model_id for cycle in cycles})
    return Analytics(
        tuple(
            _of_model(
                model,
                [trade for trade in trades if trade.model_id == model],
                sorted((cycle for cycle in cycles if cycle.model_id == model), key=lambda c: c.timestamp_s),
            )
            for model in models
        )
    )


def _of_model(model: str, trades: Sequence[CapturedTrade], cycles: Sequence[CapturedCycle]) -> TraderTables:
    statistics = Statistics()
    for trade in trades:
        statistics.add_trade(trade.figures)
    for cycle in cycles:
        statistics.add_invocation(round(cycle.timestamp_s * NS_PER_S))
        for signal in cycle.signals:
            statistics.add_signal(signal)
    coins = {trade.symbol for trade in trades} | {coin for cycle in cycles for coin in cycle.coins}
    spans = [(cycle.timestamp_s, cycle.timestamp_s) for cycle in cycles]
    spans = spans or [(trade.entry_s, trade.exit_s) for trade in trades]
    alive_s = max(end for _, end in spans) - min(start for start, _ in spans)
    last_trade = max(trades, key=lambda trade: trade.exit_s, default=None)
    exit_s, said_s = last_trade.exit_s if last_trade else 0, cycles[-1].timestamp_s if cycles else 0
    tables = statistics.tables(Minutes(alive_mins=alive_s / _S_PER_MIN, coins=len(coins)))
    return TraderTables(
        id=model,
        model_id=model,
        updated_at=max(exit_s, said_s),
        last_trade_exit_time=exit_s,
        last_trade_doc_id=last_trade.trade_id if last_trade else "",
        last_convo_doc_id=cycles[-1].convo_id if cycles else "",
        last_convo_timestamp=said_s,
        **msgspec.structs.asdict(tables),
    )


def differences(ours: Analytics, captured: bytes, *, with_conversations: bool) -> list[Difference]:
    """Where a capture of `/api/analytics` says otherwise, by more than its last place.

    Only what the trades tell is compared (with_conversations: what both tell), of models that both have.
    Raises CodecError.
    """
    theirs = {row.text("model_id"): row for row in rows_of(captured, "analytics")}
    return [
        Difference(item.model_id, table, key, captured_value, computed)
        for item in ours.analytics
        if item.model_id in theirs
        for table, key, computed in _figures(item, with_conversations=with_conversations)
        if (captured_value := theirs[item.model_id].inner(table).maybe(key)) is None
        or abs(captured_value - computed) > _LAST_PLACE
    ]


def _figures(item: TraderTables, *, with_conversations: bool) -> Iterator[tuple[str, str, float]]:
    for table in Tables.__struct_fields__:
        if with_conversations or table not in _HIDDEN:
            for key, value in msgspec.structs.asdict(getattr(item, table)).items():
                if key != _UNKNOWN and (with_conversations or key not in _HIDDEN_KEYS):
                    yield table, key, value
