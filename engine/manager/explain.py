"""The gate as a dry run: what would become of a decision, with the numbers of every check. Sends nothing."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal

import msgspec

from engine.clock import Clock
from engine.config.manager import CapitalConfig
from engine.core.decisions import Act, Action, Check, Decision, Wakeup
from engine.core.instruments import USUAL_FEES, Instrument
from engine.core.market import exact
from engine.core.orders import ZERO, OrderIntent
from engine.core.signals import MarketSnapshot
from engine.manager.exposure import room_of
from engine.manager.risk import evaluate
from engine.manager.sizing import Room
from engine.manager.traders import Trader
from engine.manager.translate import Translator


class Explained(msgspec.Struct, frozen=True, kw_only=True):
    """One action: allowed or the code of the first refusal, every check, and the order that it would be."""

    symbol: str
    act: Act
    allowed: bool
    reason: str
    checks: tuple[Check, ...]
    intent: OrderIntent | None


class Terms(msgspec.Struct, frozen=True):
    """How the venue trades: its swaps, and what taking costs the account as a fraction of notional."""

    instruments: Mapping[str, Instrument]
    taker_fee: Decimal = USUAL_FEES.taker


class _Shown(msgspec.Struct, frozen=True):
    snapshots: dict[str, MarketSnapshot]
    instruments: Mapping[str, Instrument]


class _Ready:
    """An exchange part that would take everything: whether it really would, only the engine knows."""

    def __init__(self, taker_fee: Decimal) -> None:
        self.taker_fee = taker_fee

    def refusal(self, symbol: str) -> str:
        return ""

    def resume(self) -> None:
        """Nothing is halted."""


def explain(
    decision: Decision,
    wakeup: Wakeup,
    trader: Trader,
    capital: CapitalConfig,
    terms: Terms,
    clock: Clock,
) -> tuple[Explained, ...]:
    """Each action on the account and the market of `wakeup`, in order; each sees those before it.

    Of the account-wide caps only this trader's own exposure is counted, and `total_equity_usd` is its
    equity: what other traders hold is not in a wakeup.
    """

    def room(symbol: str, who: Trader) -> Room:
        marks = {view.symbol: exact(price) for view in wakeup.market if (price := view.price())}
        values = {name: each.contract_value for name, each in terms.instruments.items()}
        used = who.exposure(marks, values)
        for held in wakeup.account.positions:
            used[held.symbol] = used.get(held.symbol, ZERO) + (held.notional or ZERO)
        left = room_of(capital, capital.total_equity_usd, used, symbol)
        return msgspec.structs.replace(left, pending_margin=who.pending_margin(marks, values))

    shown = _Shown({view.symbol: view for view in wakeup.market}, terms.instruments)
    translator = Translator("", capital, shown, _Ready(terms.taker_fee), room, clock)
    explained = []
    for action in decision.actions:
        if action.act is not Act.HOLD:
            explained.append(_explain(translator, decision, action, wakeup, trader))
    return tuple(explained)


def _explain(
    translator: Translator, decision: Decision, action: Action, wakeup: Wakeup, trader: Trader
) -> Explained:
    """Every check on the state before the action, then the action itself."""
    entry = translator.proposal(decision, action, trader, wakeup.account) if action.act.enters else None
    checks = evaluate(entry, all_checks=True)[1] if entry is not None else ()
    alone = msgspec.structs.replace(decision, actions=(action,))
    (verdict,), intents, _ = translator.translate(alone, trader, lambda: wakeup.account)
    return Explained(
        symbol=action.symbol,
        act=action.act,
        allowed=verdict.approved,
        reason=verdict.reason,
        checks=checks or verdict.checks,
        intent=intents[0] if intents else None,
    )
