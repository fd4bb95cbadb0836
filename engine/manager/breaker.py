"""Trading state of a trader, or of all: what trips it, and when it may trade again. Sans I/O."""

from __future__ import annotations

from decimal import Decimal
from enum import StrEnum
from typing import Final, Protocol

import msgspec

from engine.config.manager import BreakerAction
from engine.core.times import NS_PER_DAY, NS_PER_S

ACCOUNT: Final = "*"  # in place of a trader id: all of the account
_LOSSES: Final = frozenset({"drawdown", "daily_loss"})


class TradingState(StrEnum):
    ENABLED = "enabled"
    REDUCE_ONLY = "reduce_only"  # closes pass, entries wait
    HALTED = "halted"  # until an operator resumes; closes still pass


class BreakerLimits(Protocol):
    """The keys that a breaker reads, of RiskConfig or AccountBreakerConfig; 0 in a row: not watched."""

    @property
    def max_daily_loss_pct(self) -> Decimal: ...
    @property
    def max_drawdown_pct(self) -> Decimal: ...
    @property
    def max_losses_in_row(self) -> int: ...
    @property
    def max_model_failures(self) -> int: ...
    @property
    def max_order_rejects(self) -> int: ...
    @property
    def breaker_action(self) -> BreakerAction: ...
    @property
    def cool_off(self) -> float: ...


class BreakerState(msgspec.Struct, kw_only=True):
    """What survives a restart. Equities in quote currency, times in engine nanoseconds."""

    day: int = -1  # number of the day of day_equity, counted from the reset time
    day_equity: Decimal = Decimal(0)
    peak_equity: Decimal = Decimal(0)
    tripped_until: int = 0
    reason: str = ""
    halted: str = ""  # a reason that only an operator takes away
    losses_since: int = 0  # closed trades before it do not count any more
    failed: list[str] = []  # cycles in a row without a decision
    rejected: list[str] = []  # entries in a row that the venue did not take
    capital: Decimal | None = None  # put in, when equity was last seen


class Tripped(msgspec.Struct, frozen=True):
    """A limit was crossed: worth a risk event, and `action` is to be taken."""

    reason: str
    detail: str
    action: BreakerAction


class Breaker:
    """Watches equity, unrealised profit included, and what fails in a row.

    `reset_s`: seconds after 00:00 UTC of engine time at which the day of the daily loss begins. A daily loss
    holds entries back until the next day, and at least for the cool-off; all else for the cool-off.
    """

    def __init__(self, limits: BreakerLimits, state: bytes = b"", *, reset_s: int = 0) -> None:
        self._limits = limits
        self._reset_ns = reset_s * NS_PER_S
        self._state = msgspec.msgpack.decode(state, type=BreakerState) if state else BreakerState()

    def state(self) -> bytes:
        """Everything to continue exactly where it stopped."""
        return msgspec.msgpack.encode(self._state)

    def trading_state(self, now_ns: int) -> tuple[TradingState, str]:
        """The state and its reason."""
        if self._state.halted:
            return TradingState.HALTED, self._state.halted
        if now_ns < self._state.tripped_until:
            return TradingState.REDUCE_ONLY, self._state.reason
        return TradingState.ENABLED, ""

    @property
    def loss_until(self) -> int:
        """When the cool-off after a loss ends, 0 after anything else; in the past when there is none."""
        return self._state.tripped_until if self._state.reason in _LOSSES else 0

    @property
    def losses_since(self) -> int:
        """Closed trades count toward a loss streak from this time on."""
        return self._state.losses_since

    def drawdown(self, equity: Decimal) -> Decimal:
        """Share of the highest equity that is lost, 0..1; 0 before any equity is known."""
        peak = max(self._state.peak_equity, equity)
        return (peak - equity) / peak if peak > 0 else Decimal(0)

    def halt(self, reason: str) -> None:
        """No entries until `resume`, whatever the equity."""
        self._state.halted = reason or "halted by operator"

    def resume(self, now_ns: int) -> None:
        """End a halt and a cool-off; everything is measured anew, or it would trip again at once."""
        self._state = BreakerState(losses_since=now_ns)

    def on_equity(self, equity: Decimal, now_ns: int, capital: Decimal | None = None) -> Tripped | None:
        """Take the newest equity; Tripped at the moment when a limit is crossed, not again while it lasts.

        `capital`, where given, is what was put in so far: money moved is neither profit nor loss.
        """
        state = self._state
        if capital is not None:
            self._on_capital(capital)
        day = (now_ns - self._reset_ns) // NS_PER_DAY
        if day != state.day:
            state.day, state.day_equity = day, equity
        state.peak_equity = max(state.peak_equity, equity)
        if not state.peak_equity:
            return None
        for reason, start, limit_pct in (
            ("daily_loss", state.day_equity, self._limits.max_daily_loss_pct),
            ("drawdown", state.peak_equity, self._limits.max_drawdown_pct),
        ):
            lost_pct = (start - equity) / start * 100 if start > 0 else Decimal(100)
            if lost_pct >= limit_pct:
                return self._trip(
                    reason, f"lost {lost_pct:.2f} % of {start:.2f}, limit {limit_pct} %", now_ns
                )
        return None

    def _on_capital(self, capital: Decimal) -> None:
        state = self._state
        moved = capital - state.capital if state.capital is not None else Decimal(0)
        state.capital = capital
        if moved and state.day_equity:
            state.day_equity += moved
        if moved and state.peak_equity:
            state.peak_equity += moved

    def on_losses(self, in_row: int, now_ns: int) -> Tripped | None:
        """The newest closed trades since `losses_since`, this many, were all losses."""
        return self._count("loss_streak", in_row, self._limits.max_losses_in_row, now_ns)

    def on_decision(self, cycle_id: str, now_ns: int, *, failed: bool) -> Tripped | None:
        """A decision came, or it could not be had; told again, it counts once."""
        most = self._limits.max_model_failures
        in_row = _in_row(self._state.failed, cycle_id, most, failed=failed)
        return self._count("model_failures", in_row, most, now_ns)

    def on_entry(self, client_order_id: str, now_ns: int, *, rejected: bool) -> Tripped | None:
        """The venue took an entry, or did not; told again, it counts once."""
        most = self._limits.max_order_rejects
        in_row = _in_row(self._state.rejected, client_order_id, most, failed=rejected)
        return self._count("order_rejects", in_row, most, now_ns)

    def _count(self, reason: str, count: int, most: int, now_ns: int) -> Tripped | None:
        if not most or count < most:
            return None
        return self._trip(reason, f"{count} in a row, limit {most}", now_ns)

    def _trip(self, reason: str, detail: str, now_ns: int) -> Tripped | None:
        state = self._state
        if state.halted or now_ns < state.tripped_until:
            return None
        action = self._limits.breaker_action
        until = now_ns + int(self._limits.cool_off * NS_PER_S)
        if reason == "daily_loss":
            until = max(until, (state.day + 1) * NS_PER_DAY + self._reset_ns)
        # Afterwards, loss is measured from where the trader starts again.
        self._state = BreakerState(
            tripped_until=until,
            reason=reason,
            halted=f"{reason}: {detail}" if action is BreakerAction.HALT else "",
            losses_since=now_ns,
            capital=state.capital,
        )
        return Tripped(reason, detail, action)


def _in_row(names: list[str], name: str, most: int, *, failed: bool) -> int:
    """How many failed in a row, with `name`; nothing is remembered of what is not watched."""
    if not failed or not most:
        names.clear()
    elif name not in names:
        names.append(name)
    return len(names)
