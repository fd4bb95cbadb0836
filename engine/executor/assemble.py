"""From a wakeup and the past to the context of a prompt. The same input gives the same bytes."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from decimal import ROUND_HALF_EVEN, Decimal
from decimal import Context as Arithmetic
from typing import Final, overload

import msgspec

from engine.core.decisions import AccountView, CycleRecord, PositionView, Verdict, WakeReason, Wakeup
from engine.core.ledger import ClosedTrade
from engine.core.market import NewsItem
from engine.core.memory import Episode
from engine.core.orders import PositionSide
from engine.core.signals import MarketSnapshot, TimeframeView
from engine.core.times import NS_PER_S, to_datetime
from engine.executor.context import (
    Account,
    Context,
    Frame,
    Limits,
    Market,
    News,
    PastAction,
    PastDecision,
    Position,
    Reason,
    RememberedTrade,
    SideResult,
    Trade,
)
from engine.executor.decision import AnswerRules
from engine.executor.memory import Recalled

_DIGITS: Final = 6  # significant, of indicators
_MONEY: Final = Decimal("0.01")
_LONGEST_TEXT: Final = 160
_TWELVE: Final = Arithmetic(prec=12)


class Past(msgspec.Struct, frozen=True, kw_only=True):
    """What went before a wakeup; `cycles` and `trades` newest first, `verdicts` those of the cycles."""

    cycles: tuple[CycleRecord, ...] = ()
    trades: tuple[ClosedTrade, ...] = ()
    verdicts: tuple[Verdict, ...] = ()
    recalled: Recalled = Recalled()


_NO_PAST: Final = Past()


def build_context(wakeup: Wakeup, rules: AnswerRules, past: Past = _NO_PAST) -> Context:
    """The whole context of a wakeup. The same input, the same context."""
    trades, recalled = past.trades, past.recalled
    outcomes = _outcomes(past, wakeup)
    return Context(
        trader=wakeup.trader_id,
        now=to_datetime(wakeup.ts).strftime("%Y-%m-%dT%H:%M:%SZ"),
        mode=wakeup.mode,
        woken_by=tuple(_reason(reason, wakeup.ts) for reason in wakeup.reasons),
        limits=_limits(rules, wakeup.taker_fee),
        account=_account(wakeup.account),
        positions=tuple(_position(view, wakeup.ts) for view in _ordered(wakeup.account.positions)),
        market=tuple(
            _market(view, wakeup.ts, rules) for view in sorted(wakeup.market, key=lambda view: view.symbol)
        ),
        sides=tuple(_side(side, trades) for side in PositionSide),
        closed_trades=tuple(_trade(trade, wakeup.ts) for trade in trades),
        recent_decisions=tuple(_past(record, wakeup.ts, outcomes) for record in past.cycles),
        news=tuple(_news(item, wakeup.ts) for item in wakeup.news),
        memory="; ".join(text for text in (recalled.source, recalled.missing) if text),
        remembered_trades=tuple(_remembered(episode, wakeup.ts) for episode in recalled.episodes),
        notes=recalled.notes,
    )


def _ordered(positions: Iterable[PositionView]) -> list[PositionView]:
    return sorted(positions, key=lambda view: (view.symbol, view.side))


def _limits(rules: AnswerRules, taker_fee: Decimal) -> Limits:
    risk = rules.limits
    return Limits(
        max_positions=risk.max_positions,
        max_position_size_usd=risk.max_position_size_usd,
        max_margin_usage_pct=risk.max_margin_usage_pct,
        risk_per_trade_pct=risk.risk_per_trade_pct,
        max_stop_distance_pct=risk.max_stop_distance_pct,
        min_risk_reward_ratio=risk.min_risk_reward_ratio,
        min_confidence_pct=risk.min_confidence,
        stop_loss_required=risk.stop_loss_enabled,
        take_profit_required=risk.take_profit_enabled,
        stop_may_loosen=risk.allow_stop_loosening,
        fee_pct_round_trip=_exact(2 * 100 * taker_fee),
    )


def _account(view: AccountView) -> Account:
    gain = None
    if view.equity is not None and view.capital > 0:
        gain = _money((view.equity / view.capital - 1) * 100)
    return Account(
        capital=_money(view.capital),
        cash=_money(view.cash),
        equity=_money(view.equity),
        available=_money(view.available),
        margin_used=_money(view.margin_used),
        realised=_money(view.realised),
        unrealised=_money(view.unrealised),
        fees=_money(view.fees),
        funding=_money(view.funding),
        return_pct=gain,
    )


def _position(view: PositionView, now_ns: int) -> Position:
    roe = None
    if view.unrealised is not None and view.margin > 0:
        roe = _money(view.unrealised / view.margin * 100)
    return Position(
        symbol=view.symbol,
        side=view.side,
        coins=_exact(view.coins),
        notional_usd=_money(view.notional),
        leverage=_exact(view.leverage),
        entry_price=_exact(view.entry_price),
        price=_exact(view.mark_price),
        unrealised=_money(view.unrealised),
        return_on_margin_pct=roe,
        fees=_money(view.fees),
        funding=_money(view.funding),
        liquidation_price=_exact(view.liquidation_price),
        stop_loss=_exact(view.stop_loss),
        take_profit=_exact(view.take_profit),
        invalidation_condition=view.invalidation,
        confidence=_exact(view.confidence),
        held_s=(now_ns - view.ts_opened) // NS_PER_S,
    )


def _market(view: MarketSnapshot, now_ns: int, rules: AnswerRules) -> Market:
    seen = view.ts_mark if view.mark is not None and view.ts_mark else view.ts_price
    return Market(
        symbol=view.symbol,
        max_leverage=_exact(rules.max_leverage(view.symbol)),
        price=_price(view.price()),
        price_age_s=_age(now_ns, seen),
        bid=_price(view.bid),
        ask=_price(view.ask),
        quote_age_s=_age(now_ns, view.ts_quotes),
        last=_price(view.last),
        last_age_s=_age(now_ns, view.ts_price),
        index=_price(view.index),
        index_age_s=_age(now_ns, view.ts_index),
        reference_price=_price(view.reference_px),
        reference_age_s=_age(now_ns, view.ts_reference),
        change_24h_pct=_rounded(view.change_24h_pct),
        volume_24h_coins=_rounded(view.volume_24h),
        funding_rate=_rounded(view.funding_rate),
        funding_age_s=_age(now_ns, view.ts_funding_seen),
        funding_in_s=None if view.ts_funding is None else (view.ts_funding - now_ns) // NS_PER_S,
        open_interest=_rounded(view.open_interest),
        open_interest_age_s=_age(now_ns, view.ts_open_interest),
        silent_channels=tuple(sorted(view.blind)),
        live={name: _rounded(value) for name, value in sorted(view.live.items())},
        frames=tuple(_frame(frame, now_ns) for frame in view.timeframes),
    )


def _frame(view: TimeframeView, now_ns: int) -> Frame:
    features = {name: _rounded(value) for name, value in sorted(view.features.items())}
    return Frame(
        timeframe=view.timeframe,
        age_s=(now_ns - view.ts_close) // NS_PER_S,
        warming_up=any(value is None for value in features.values()),
        features=features,
        closes=tuple(float(f"{close:.12g}") for close in view.closes if math.isfinite(close)),
    )


def _reason(reason: WakeReason, now_ns: int) -> Reason:
    age_s = round((now_ns - reason.ts) / NS_PER_S, 1)
    signal = reason.signal
    if signal is None:
        return Reason(kind=reason.kind, age_s=age_s)
    return Reason(
        kind=reason.kind,
        age_s=age_s,
        symbol=signal.symbol,
        what=f"{signal.detector}: {signal.feature} {signal.timeframe}".strip(),
        edge=signal.edge,
        value=_rounded(signal.value),
        threshold=_rounded(signal.threshold),
        salience=round(signal.score, 2),
    )


def _trade(trade: ClosedTrade, now_ns: int) -> Trade:
    return Trade(
        symbol=trade.symbol,
        side=trade.side,
        ended_s_ago=(now_ns - trade.ts_exit) // NS_PER_S,
        held_s=(trade.ts_exit - trade.ts_entry) // NS_PER_S,
        notional_usd=_money(trade.coins * trade.entry_price),
        leverage=_exact(trade.leverage),
        entry_price=_exact(trade.entry_price),
        exit_price=_exact(trade.exit_price),
        exit=trade.exit_purpose,
        net=_money(trade.net),
    )


def _side(side: PositionSide, trades: Sequence[ClosedTrade]) -> SideResult:
    nets = [trade.net for trade in trades if trade.side is side]
    wins = sum(1 for net in nets if net > 0)
    return SideResult(side=side, trades=len(nets), wins=wins, net=_money(sum(nets, Decimal(0))))


def _outcomes(past: Past, wakeup: Wakeup) -> dict[tuple[str, str], str]:
    """By cycle and symbol: what became of the action; the end of a trade says more than its verdict."""
    found = {}
    for verdict in past.verdicts:
        if verdict.ts <= wakeup.ts:
            found[verdict.cycle_id, verdict.symbol] = "allowed" if verdict.approved else verdict.reason
    for trade in past.trades:
        ended = f"closed by {trade.exit_purpose}, net {_money(trade.net)}"
        found[trade.entry_cycle_id, trade.symbol] = ended
    return found


def _remembered(episode: Episode, now_ns: int) -> RememberedTrade:
    return RememberedTrade(
        symbol=episode.symbol,
        side=episode.side,
        ended_s_ago=(now_ns - episode.ts_exit) // NS_PER_S,
        held_s=(episode.ts_exit - episode.ts_entry) // NS_PER_S,
        net=_money(episode.net),
        exit=episode.exit,
        why=episode.thesis[:_LONGEST_TEXT],
        invalidation_condition=episode.invalidation[:_LONGEST_TEXT],
        closed_because=episode.close_reason[:_LONGEST_TEXT],
    )


def _news(item: NewsItem, now_ns: int) -> News:
    return News(
        source=item.source,
        title=item.title[:_LONGEST_TEXT],
        age_s=(now_ns - item.ts_published) // NS_PER_S,
        symbols=item.symbols,
        sentiment=_rounded(item.sentiment),
    )


def _past(record: CycleRecord, now_ns: int, outcomes: Mapping[tuple[str, str], str]) -> PastDecision:
    decision = record.decision
    actions = tuple(
        PastAction(
            symbol=action.symbol,
            signal=action.act,
            size_usd=_money(action.notional_usd),
            confidence=_exact(action.confidence),
            why=action.justification[:_LONGEST_TEXT],
            outcome=outcomes.get((decision.cycle_id, action.symbol)),
        )
        for action in decision.actions
    )
    age_s = (now_ns - decision.ts_decided) // NS_PER_S
    return PastDecision(age_s=age_s, status=record.status, refused=decision.refusal, actions=actions)


def _age(now_ns: int, seen_ns: int) -> float | None:
    return round((now_ns - seen_ns) / NS_PER_S, 1) if seen_ns else None


def _price(value: float | None) -> float | None:
    """To twelve significant digits: all of a price, none of the noise of binary fractions."""
    return float(f"{value:.12g}") if value is not None and math.isfinite(value) else None


def _rounded(value: float | None) -> float | None:
    """To six significant digits; what is no number is unknown."""
    if value is None or not math.isfinite(value):
        return None
    return float(f"{value:.{_DIGITS}g}")


@overload
def _money(value: Decimal) -> Decimal: ...
@overload
def _money(value: None) -> None: ...
@overload
def _money(value: Decimal | None) -> Decimal | None: ...
def _money(value: Decimal | None) -> Decimal | None:
    """To the cent."""
    return None if value is None else value.quantize(_MONEY, ROUND_HALF_EVEN)


@overload
def _exact(value: Decimal) -> Decimal: ...
@overload
def _exact(value: None) -> None: ...
@overload
def _exact(value: Decimal | None) -> Decimal | None: ...
def _exact(value: Decimal | None) -> Decimal | None:
    """To twelve significant digits, without an exponent or trailing zeros: equal values, equal bytes."""
    if value is None:
        return None
    return Decimal(f"{_TWELVE.plus(value).normalize():f}")
