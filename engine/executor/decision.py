"""From a model's answer to a Decision, or to a refusal that says why. Pure.

An answer is taken whole or refused whole: with one unreadable action nobody knows what the model meant by
the others. Limits of size and exposure are the risk gate's; here is refused what cannot be meant.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Final

import msgspec

from engine.config.manager import RiskConfig
from engine.core.decisions import Act, Action, Decision, PositionView, Wakeup
from engine.core.errors import ConfigError, DecisionRefused
from engine.core.instruments import coin, venue_symbol
from engine.core.market import exact
from engine.core.orders import PositionSide
from engine.executor.wire import WireAction, clean, raise_together, read_answer

_SMALLEST: Final = Decimal("1e-15")
_LARGEST: Final = Decimal("1e15")
_MOST_DIGITS: Final = 30
_FARTHEST_LIMIT: Final = Decimal("0.2")  # a limit price farther from the market is a slip of the pen
_CENT: Final = Decimal("0.01")
_LONGEST_TEXT: Final = 2000


class AnswerRules(msgspec.Struct, frozen=True, kw_only=True):
    """What an answer to one trader is measured by; `major_coins` are bare coins (BTC)."""

    limits: RiskConfig
    major_coins: frozenset[str]

    def max_leverage(self, symbol: str) -> Decimal:
        """Largest leverage that an entry in `symbol` may ask for."""
        major = coin(symbol) in self.major_coins
        return self.limits.major_coin_leverage if major else self.limits.altcoin_leverage


def shown_prices(wakeup: Wakeup) -> dict[str, float]:
    """The price of each symbol that the decider saw, where there is one."""
    return {view.symbol: price for view in wakeup.market if (price := view.price()) is not None}


def held(wakeup: Wakeup, decider: str, ts_decided: int, refusal: str = "") -> Decision:
    """The empty decision: hold everything. `refusal` says why, when it was not meant."""
    return Decision(
        cycle_id=wakeup.cycle_id,
        trader_id=wakeup.trader_id,
        decider=decider,
        actions=(),
        prices=shown_prices(wakeup),
        ts_decided=ts_decided,
        refusal=refusal,
    )


def read_decision(text: str, wakeup: Wakeup, decider: str, rules: AnswerRules) -> tuple[Decision, str]:
    """The decision in a model's answer, and the reasoning beside it. `ts_decided` is left 0.

    Raises DecisionRefused: code of the first problem, text of all of them, fit to be shown to the model.
    """
    answer = read_answer(text)
    problems: list[DecisionRefused] = []
    reader = _Reader(wakeup, rules, problems)
    actions = [reader.action(wire, f"decisions[{i}]") for i, wire in enumerate(answer.decisions)]
    raise_together(problems)
    decision = held(wakeup, decider, 0)
    found = tuple(action for action in actions if action is not None)
    return msgspec.structs.replace(decision, actions=found), answer.reasoning


class _Reader:
    """Reads the actions of one answer; what is wrong is added to `problems`."""

    def __init__(self, wakeup: Wakeup, rules: AnswerRules, problems: list[DecisionRefused]) -> None:
        self._wakeup = wakeup
        self._rules = rules
        self._problems = problems
        self._seen: set[str] = set()

    def action(self, wire: WireAction, where: str) -> Action | None:
        before = len(self._problems)
        symbol = self._symbol(wire, where)
        where = f"{where} ({symbol})"
        self._numbers(wire, where)
        if len(self._problems) > before:
            return None
        draft = Action(
            symbol=symbol,
            act=wire.act,
            confidence=self._confidence(wire, where),
            invalidation=clean(wire.invalidation_condition or "", _LONGEST_TEXT),
            justification=clean(wire.reasoning or "", _LONGEST_TEXT),
        )
        if wire.act.enters:
            draft = self._entry(wire, draft, where)
        elif wire.act is Act.REDUCE:
            draft = self._reduce(wire, draft, where)
        elif wire.act is Act.MOVE_STOP:
            draft = self._move_stop(wire, draft, where)
        return draft if len(self._problems) == before else None

    def _refuse(self, code: str, text: str) -> None:
        self._problems.append(DecisionRefused(code, text))

    def _symbol(self, wire: WireAction, where: str) -> str:
        known = [view.symbol for view in self._wakeup.market]
        known += [view.symbol for view in self._wakeup.account.positions if view.symbol not in known]
        try:
            symbol = venue_symbol(wire.symbol)
        except ConfigError:
            symbol = ""
        if symbol not in known:
            self._refuse(
                "unknown_symbol", f"{where}: unknown symbol {clean(wire.symbol, 60)!r}; known: {known}"
            )
            return clean(wire.symbol, 60)
        if symbol in self._seen:
            self._refuse("duplicate_symbol", f"{where}: {symbol} has two decisions")
        self._seen.add(symbol)
        return symbol

    def _numbers(self, wire: WireAction, where: str) -> None:
        """Every number that is given is finite, not negative, and of a size that the world has."""
        for name in wire.__struct_fields__:
            value = getattr(wire, name)
            if not isinstance(value, Decimal):
                continue
            if not value.is_finite():
                self._refuse("not_finite", f"{where}: {name} is not a finite number")
            elif value < 0:
                self._refuse("negative", f"{where}: {name} is negative")
            elif value and not (
                _SMALLEST <= value <= _LARGEST and len(value.as_tuple().digits) <= _MOST_DIGITS
            ):
                self._refuse("bad_number", f"{where}: {name} is out of this world")

    def _confidence(self, wire: WireAction, where: str) -> Decimal:
        """0..1 as it stands; above 1 it is a percentage. 1 is certainty."""
        value = wire.confidence
        if value is None:
            if wire.act.enters:
                self._refuse("confidence_missing", f"{where}: confidence is missing")
            return Decimal(0)
        if value > 100:  # noqa: PLR2004 - percent
            self._refuse("confidence_range", f"{where}: confidence {value} is above 100")
        return value if value <= 1 else value / 100

    def _price(self, symbol: str) -> Decimal | None:
        snapshot = self._wakeup.snapshot(symbol)
        price = snapshot.price() if snapshot else None
        return exact(price) if price else None

    def _entry(self, wire: WireAction, draft: Action, where: str) -> Action:
        price = self._price(draft.symbol)
        if price is None:
            self._refuse("no_price", f"{where}: no price is known, so nothing can be entered")
            return draft
        limit = wire.entry_price or None
        if limit is not None and abs(limit / price - 1) > _FARTHEST_LIMIT:
            self._refuse("entry_price_far", f"{where}: entry_price {limit} is far from the price {price}")
        self._exit_plan(wire, limit or price, where)
        return msgspec.structs.replace(
            draft,
            notional_usd=self._notional(wire, price, where),
            leverage=self._leverage(wire, draft.symbol, where),
            entry_price=limit,
            stop_loss=wire.stop_loss or None,
            take_profit=wire.take_profit or None,
            risk_usd=wire.risk_usd or None,
        )

    def _notional(self, wire: WireAction, price: Decimal, where: str) -> Decimal | None:
        """Dollars of the position; None lets code size it by the risk that is given."""
        if wire.position_size_usd:
            return wire.position_size_usd
        if wire.quantity:
            return wire.quantity * price
        if not (wire.risk_usd and wire.stop_loss):
            self._refuse("size_missing", f"{where}: position_size_usd must be above 0")
        return None

    def _leverage(self, wire: WireAction, symbol: str, where: str) -> Decimal:
        most = self._rules.max_leverage(symbol)
        if wire.leverage is None:
            self._refuse("leverage_missing", f"{where}: leverage is missing")
            return Decimal(1)
        if not 1 <= wire.leverage <= most:
            self._refuse("leverage_range", f"{where}: leverage {wire.leverage} is not within 1 and {most}")
            return Decimal(1)
        return wire.leverage.quantize(_CENT, "ROUND_DOWN").normalize() + Decimal(0)

    def _exit_plan(self, wire: WireAction, price: Decimal, where: str) -> None:
        """Stop and target are there where they must be, and on the right side of the entry."""
        sign = 1 if wire.act is Act.BUY_TO_ENTER else -1
        if wire.stop_loss:
            if (price - wire.stop_loss) * sign <= 0:
                side = "below" if sign > 0 else "above"
                self._refuse("stop_side", f"{where}: stop_loss {wire.stop_loss} must be {side} {price}")
        elif self._rules.limits.stop_loss_enabled:
            self._refuse("stop_missing", f"{where}: stop_loss is missing")
        if wire.take_profit:
            if (wire.take_profit - price) * sign <= 0:
                side = "above" if sign > 0 else "below"
                self._refuse("target_side", f"{where}: take_profit {wire.take_profit} must be {side} {price}")
        elif self._rules.limits.take_profit_enabled:
            self._refuse("target_missing", f"{where}: take_profit is missing")

    def _reduce(self, wire: WireAction, draft: Action, where: str) -> Action:
        fraction = wire.close_fraction
        if fraction is None or not 0 < fraction <= 1:
            self._refuse("close_fraction", f"{where}: close_fraction must be above 0 and at most 1")
            return draft
        act = Act.CLOSE if fraction == 1 else Act.REDUCE
        return msgspec.structs.replace(draft, act=act, close_fraction=fraction)

    def _move_stop(self, wire: WireAction, draft: Action, where: str) -> Action:
        position, price = self._wakeup.account.position(draft.symbol), self._price(draft.symbol)
        if position is None or price is None:
            self._refuse("no_position", f"{where}: there is no position whose stop could be moved")
        elif not wire.stop_loss:
            self._refuse("stop_missing", f"{where}: stop_loss is missing")
        elif (price - wire.stop_loss) * position.side.sign <= 0:
            side = "below" if position.side is PositionSide.LONG else "above"
            self._refuse("stop_side", f"{where}: stop_loss {wire.stop_loss} must be {side} {price}")
        elif self._loosens(wire.stop_loss, position):
            detail = f"stop_loss {wire.stop_loss} is farther than the present one, {position.stop_loss}"
            self._refuse("stop_loosened", f"{where}: {detail}; a stop only moves toward less risk")
        return msgspec.structs.replace(draft, stop_loss=wire.stop_loss or None)

    def _loosens(self, stop_loss: Decimal, position: PositionView) -> bool:
        """Whether the stop would move toward more risk, and may not."""
        if position.stop_loss is None or self._rules.limits.allow_stop_loosening:
            return False
        return (stop_loss - position.stop_loss) * position.side.sign < 0
