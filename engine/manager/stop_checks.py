"""The gate before a stop is moved: toward less risk, unless the trader may loosen. Fail closed. Pure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from typing import Final

from engine.config.manager import RiskConfig
from engine.core.decisions import Check, PositionView


@dataclass(frozen=True, slots=True, kw_only=True)
class StopProposal:
    """A new stop for an open position, on the tick; `mark` is what triggers it."""

    position: PositionView
    stop_loss: Decimal | None
    mark: Decimal | None
    equity: Decimal | None
    limits: RiskConfig

    @property
    def loosened_by(self) -> Decimal:
        """How far the stop would move away from the price; negative is toward less risk."""
        before = self.position.stop_loss
        if before is None or self.stop_loss is None:
            return Decimal(0)
        return (before - self.stop_loss) * self.position.side.sign


def evaluate_stop(proposal: StopProposal) -> tuple[str, tuple[Check, ...]]:
    """Reason code of the first refusal ("" when approved) and every check that was made."""
    checks: list[Check] = []
    for name, check in _CHECKS:
        passed, detail = check(proposal)
        checks.append(Check(name, passed, detail))
        if not passed:
            return name, tuple(checks)
    return "", tuple(checks)


def _given(proposal: StopProposal) -> tuple[bool, str]:
    return bool(proposal.stop_loss), f"stop_loss {proposal.stop_loss}"


def _priced(proposal: StopProposal) -> tuple[bool, str]:
    return bool(proposal.mark) and proposal.equity is not None, f"mark {proposal.mark}"


def _side(proposal: StopProposal) -> tuple[bool, str]:
    """On the losing side of the mark, or it would fire at once; and not too far."""
    stop, mark = proposal.stop_loss or Decimal(0), proposal.mark or Decimal(1)
    distance_pct = (mark - stop) / mark * 100 * proposal.position.side.sign
    most = proposal.limits.max_stop_distance_pct
    return 0 < distance_pct <= most, f"{distance_pct:.3f} % on the losing side, at most {most} %"


def _loosened(proposal: StopProposal) -> tuple[bool, str]:
    allowed = proposal.limits.allow_stop_loosening
    detail = f"{proposal.loosened_by} away from {proposal.position.stop_loss}"
    return proposal.loosened_by <= 0 or allowed, detail


def _risk(proposal: StopProposal) -> tuple[bool, str]:
    """A looser stop loses no more, from the entry, than an entry might."""
    held, stop = proposal.position, proposal.stop_loss or Decimal(0)
    lost = held.coins * (held.entry_price - stop) * held.side.sign
    most = (proposal.equity or Decimal(0)) * proposal.limits.risk_per_trade_pct / 100
    return lost <= most or proposal.loosened_by <= 0, f"{lost:.2f} USD of at most {most:.2f}"


_CHECKS: Final[tuple[tuple[str, Callable[[StopProposal], tuple[bool, str]]], ...]] = (
    ("stop_missing", _given),
    ("price_not_fresh", _priced),
    ("stop_side", _side),
    ("stop_loosened", _loosened),
    ("risk_too_high", _risk),
)
STOP_REASONS: Final = tuple(name for name, _ in _CHECKS)
