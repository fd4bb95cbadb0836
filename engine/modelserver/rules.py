"""The rules that answer: they read the data block of edgewise's prompt and nothing else."""

from __future__ import annotations

import re
from collections.abc import Sequence
from decimal import Decimal
from typing import Any, Final

import msgspec

from engine.core.market import exact
from engine.executor.budget import find_block
from engine.executor.context import Context, Frame, Market, Position
from engine.executor.wire import WireAction

MODEL: Final = "rules-only-demo"
NOTICE: Final = f"{MODEL}: this answer comes from fixed rules, not from a language model."

_PROPOSALS: Final = re.compile(r"<proposals>\n(.*?)\n</proposals>", re.DOTALL)
_ENCODER: Final = msgspec.json.Encoder(decimal_format="number")
_ENTER_VOTES: Final = 3
_STOP_ATR: Final = 2.5
_LEAST_STOP: Final = 0.003  # of the price: a stop inside the noise only costs fees
_SIZE_PCT: Final = 30  # notional in percent of equity
_REWARD: Final = 2
_FEES: Final = Decimal("0.001")  # of the notional, in and out
_HELD_AT_LEAST_S: Final = 300


class RulesAnswer(msgspec.Struct, frozen=True):
    """An answer in the wire schema, and the thought that goes with it."""

    content: str
    thought: str


def answer(messages: Sequence[str]) -> RulesAnswer:
    """The answer to the newest message that carries a data block; without one, an empty decision.

    As the judge of an ensemble it takes the first proposal that does something.
    """
    if messages and (proposals := _PROPOSALS.search(messages[-1])) is not None:
        return _choice(proposals[1].splitlines())
    context = next((found for text in reversed(messages) if (found := find_block(text)) is not None), None)
    if context is None:
        thought = f"{NOTICE} There is no data block in the prompt, so there is nothing to decide."
        return RulesAnswer(_wire(thought, []), thought)
    actions = [_judge_position(view, context) for view in context.positions]
    held = {view.symbol for view in context.positions}
    flat = [_judge_flat(market, context) for market in context.market if market.symbol not in held]
    entries = [action for action in flat if action.signal != "hold"]
    room = context.limits.max_positions - len(context.positions)
    if entries and room > 0:  # one entry an answer: the most agreed upon, then by name
        best = min(entries, key=lambda action: (-(action.confidence or 0), action.symbol))
        actions.append(best)
    wanted = [action for action in actions if action.signal != "hold"]
    summary = "; ".join(f"{action.signal} {action.symbol}" for action in wanted) or "hold everything"
    thought = f"{NOTICE} Moving averages, MACD and RSI of {len(context.market)} symbols say: {summary}."
    return RulesAnswer(_wire(thought, actions), thought)


def _choice(proposals: Sequence[str]) -> RulesAnswer:
    acting = (i for i, line in enumerate(proposals, 1) if '"decisions":[{' in line)
    choice = next(acting, 0)
    thought = f"{NOTICE} It takes the first proposal that does something: {choice or 'there is none'}."
    return RulesAnswer(_ENCODER.encode({"reasoning": thought, "choice": choice}).decode(), thought)


def _wire(reasoning: str, actions: Sequence[WireAction]) -> str:
    """All fields of the schema, unknown ones null."""
    return _ENCODER.encode(
        {"reasoning": reasoning, "decisions": [_fields(action) for action in actions]}
    ).decode()


def _fields(action: WireAction) -> dict[str, Any]:
    fields = msgspec.structs.asdict(action)
    del fields["quantity"], fields["is_add"]
    return fields


def _votes(market: Market) -> int:
    """How many signs point up, less those that point down, over the two shortest timeframes."""
    return sum(_frame_votes(frame) for frame in market.frames[:2])


def _frame_votes(frame: Frame) -> int:
    votes = 0
    fast, slow, hist = (frame.features.get(name) for name in ("ema_12", "ema_26", "macd_hist"))
    if fast is not None and slow is not None:
        votes += (fast > slow) - (fast < slow)
    if hist is not None:
        votes += (hist > 0) - (hist < 0)
    return votes


def _judge_position(view: Position, context: Context) -> WireAction:
    market = next((each for each in context.market if each.symbol == view.symbol), None)
    sign = view.side.sign
    against = market is not None and _votes(market) * sign <= -_ENTER_VOTES
    if against and view.held_s >= _HELD_AT_LEAST_S:
        return WireAction(
            symbol=view.symbol,
            signal="close_position",
            reasoning=f"Rule: averages and MACD turned against the {view.side}.",
            confidence=Decimal("0.7"),
        )
    if (stop := _break_even(view)) is not None:
        return WireAction(
            symbol=view.symbol,
            signal="move_stop",
            stop_loss=stop,
            reasoning="Rule: it has gained what it risked, so it may not lose any more.",
            confidence=Decimal("0.7"),
            invalidation_condition=view.invalidation_condition,
        )
    return WireAction(
        symbol=view.symbol,
        signal="hold",
        reasoning="Rule: nothing speaks against the position.",
        confidence=Decimal("0.6"),
        invalidation_condition=view.invalidation_condition,
    )


def _break_even(view: Position) -> Decimal | None:
    """Where the stop pays for the fees, once the price is as far beyond the entry as the stop was behind."""
    if view.price is None or view.stop_loss is None:
        return None
    sign = view.side.sign
    risk, gain = (view.entry_price - view.stop_loss) * sign, (view.price - view.entry_price) * sign
    if risk <= 0 or gain < risk:
        return None
    return _number(float(view.entry_price * (1 + sign * _FEES)))


def _judge_flat(market: Market, context: Context) -> WireAction:
    hold = WireAction(symbol=market.symbol, signal="hold", reasoning="Rule: no agreement.")
    price, equity = market.price, context.account.equity
    votes, frame = _votes(market), market.frames[0] if market.frames else None
    if price is None or equity is None or equity <= 0 or frame is None or market.silent_channels:
        return hold
    rsi, atr = frame.features.get("rsi_14"), frame.features.get("atr_14")
    if abs(votes) < _ENTER_VOTES or rsi is None or atr is None:
        return hold
    sign = 1 if votes > 0 else -1
    if (rsi if sign > 0 else 100 - rsi) > 75:  # noqa: PLR2004 - late
        return hold
    distance = max(_STOP_ATR * atr, _LEAST_STOP * price)
    size = min(equity * _SIZE_PCT / 100, context.limits.max_position_size_usd)
    reward = max(Decimal(_REWARD), context.limits.min_risk_reward_ratio * Decimal("1.1"))
    return WireAction(
        symbol=market.symbol,
        signal="buy_to_enter" if sign > 0 else "sell_to_enter",
        reasoning=f"Rule: {abs(votes)} of 4 signs point {'up' if sign > 0 else 'down'}, RSI {rsi:.0f}.",
        leverage=min(Decimal(3), market.max_leverage),
        position_size_usd=size.quantize(Decimal("0.01")),
        stop_loss=_number(price - sign * distance),
        take_profit=_number(price + sign * distance * float(reward)),
        risk_usd=(size * exact(distance / price)).quantize(Decimal("0.01")),
        confidence=max(Decimal("0.45") + Decimal(abs(votes)) / 10, context.limits.min_confidence_pct / 100),
        invalidation_condition="averages and MACD of the two shortest timeframes point the other way",
    )


def _number(value: float) -> Decimal:
    return Decimal(f"{value:.10g}")
