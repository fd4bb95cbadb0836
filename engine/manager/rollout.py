"""Live or on paper: the switch of shadow and canary traders. A pure function of the wakeup's id.

The draw is by cycle and symbol, so that a replay, a restart and a second look give the same answer, and a
weight of 20 sends one wakeup in five to the market whatever else happens.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Final

import msgspec

from engine.config.scheduler import RolloutConfig
from engine.core.decisions import Check, Decision, Verdict
from engine.core.instruments import coin
from engine.core.times import NS_PER_DAY, NS_PER_MIN, NS_PER_MS

ON_PAPER: Final = "on_paper"  # reason of entries that the rollout keeps off the market
_SCALE: Final = 2**64
_WHOLE: Final = 100.0


def weight(config: RolloutConfig, symbol: str, ts_ns: int) -> float:
    """Percentage of the trader's wakeups that may trade `symbol` live at this time of the UTC day."""
    minute = ts_ns % NS_PER_DAY // NS_PER_MIN
    by_symbol = config.symbols.get(coin(symbol), config.symbols.get(symbol, config.weight))
    by_hour = next((each.weight for each in config.hours if each.holds(minute)), _WHOLE)
    return by_symbol * by_hour / _WHOLE


def on_paper(config: RolloutConfig, cycle_id: str, symbols: Iterable[str]) -> tuple[str, ...]:
    """The symbols that the cycle may not enter live; its time of day is in its id."""
    if config.live:
        return ()
    ts_ns = int(cycle_id.rpartition("-")[2]) * NS_PER_MS
    return tuple(symbol for symbol in symbols if _draw(cycle_id, symbol) >= weight(config, symbol, ts_ns))


def paper_part(config: RolloutConfig, decision: Decision) -> Decision:
    """Its entries that are on paper only, and all that leaves or protects what may be open there."""
    paper = on_paper(config, decision.cycle_id, {action.symbol for action in decision.actions})
    kept = tuple(action for action in decision.actions if not action.act.enters or action.symbol in paper)
    return msgspec.structs.replace(decision, actions=kept)


def live_part(config: RolloutConfig, decision: Decision, now_ns: int) -> tuple[Decision, list[Verdict]]:
    """Without the entries that are on paper only, and a verdict on each; what is open may always be left."""
    paper = on_paper(config, decision.cycle_id, {action.symbol for action in decision.actions})
    barred = [action for action in decision.actions if action.act.enters and action.symbol in paper]
    if not barred:
        return decision, []
    check = Check(ON_PAPER, False, "the rollout weight of this symbol and hour keeps it off the market")
    verdicts = [
        Verdict(
            cycle_id=decision.cycle_id,
            trader_id=decision.trader_id,
            symbol=action.symbol,
            act=action.act,
            approved=False,
            reason=check.name,
            checks=(check,),
            ts=now_ns,
        )
        for action in barred
    ]
    live = tuple(action for action in decision.actions if action not in barred)
    return msgspec.structs.replace(decision, actions=live), verdicts


def _draw(cycle_id: str, symbol: str) -> float:
    """0 to 100, evenly spread."""
    digest = hashlib.blake2b(f"{cycle_id}|{symbol}".encode(), digest_size=8).digest()
    return int.from_bytes(digest) / _SCALE * _WHOLE
