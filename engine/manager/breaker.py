"""Trading state of one trader: what losses do to it, and when it may trade again. Sans I/O."""

from __future__ import annotations

from decimal import Decimal
from enum import StrEnum

import msgspec

from engine.config.manager import RiskConfig
from engine.core.times import NS_PER_DAY, NS_PER_S


class TradingState(StrEnum):
    ENABLED = "enabled"
    REDUCE_ONLY = "reduce_only"  # closes pass, entries wait
    HALTED = "halted"  # an operator stopped it; closes still pass


class BreakerState(msgspec.Struct, kw_only=True):
    """What survives a restart. Equities in quote currency, times in engine nanoseconds."""

    day: int = -1  # UTC day number of day_equity
    day_equity: Decimal = Decimal(0)
    peak_equity: Decimal = Decimal(0)
    tripped_until: int = 0
    reason: str = ""
    halted: str = ""  # an operator's reason


class Tripped(msgspec.Struct, frozen=True):
    """A limit was crossed: worth a risk event."""

    reason: str
    detail: str


class Breaker:
    """Watches equity, unrealised profit included. The day turns at 00:00 UTC of engine time."""

    def __init__(self, config: RiskConfig, state: bytes = b"") -> None:
        self._config = config
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

    def halt(self, reason: str) -> None:
        """No entries until `resume`, whatever the equity."""
        self._state.halted = reason or "halted by operator"

    def resume(self) -> None:
        """End a halt and a cool-off; the peak starts anew, or the drawdown would trip again at once."""
        self._state.halted, self._state.tripped_until, self._state.reason = "", 0, ""
        self._state.peak_equity = Decimal(0)
        self._state.day = -1

    def on_equity(self, equity: Decimal, now_ns: int) -> Tripped | None:
        """Take the newest equity; Tripped at the moment when a limit is crossed, not again while it lasts."""
        state = self._state
        day = now_ns // NS_PER_DAY
        if day != state.day:
            state.day, state.day_equity = day, equity
        state.peak_equity = max(state.peak_equity, equity)
        if now_ns < state.tripped_until or not state.peak_equity:
            return None
        for reason, start, limit_pct in (
            ("daily_loss", state.day_equity, self._config.max_daily_loss_pct),
            ("drawdown", state.peak_equity, self._config.max_drawdown_pct),
        ):
            lost_pct = (start - equity) / start * 100 if start > 0 else Decimal(100)
            if lost_pct >= limit_pct:
                return self._trip(
                    reason, f"lost {lost_pct:.2f} % of {start:.2f}, limit {limit_pct} %", now_ns
                )
        return None

    def _trip(self, reason: str, detail: str, now_ns: int) -> Tripped:
        self._state.tripped_until = now_ns + int(self._config.cool_off * NS_PER_S)
        self._state.reason = reason
        # After the cool-off, loss is measured from where the trader starts again.
        self._state.peak_equity = Decimal(0)
        self._state.day = -1
        return Tripped(reason, detail)
