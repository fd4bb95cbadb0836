"""What is known about when one trader looks, and what comes of it: the words of engine.manager.rhythm."""

from __future__ import annotations

from enum import StrEnum
from typing import Final

import msgspec

from engine.config.scheduler import RhythmConfig
from engine.core.decisions import CycleMode, WakeNote, WakeReason
from engine.core.times import NS_PER_S

OLDER: Final = "older"  # code of a note that stands for as many as its subject says, until its time
_MAX_NOTES: Final = 64


class Refusal(StrEnum):
    """Why a signal did not wake a trader; the codes of the budget are in engine.manager.budget.Shortage."""

    DUPLICATE = "duplicate"
    STALE = "stale"  # told too late: older than what is remembered
    BELOW_SALIENCE = "below-salience"
    COOL_OFF = "cool-off"  # after a loss of the account
    TRADING_STATE = "trading-state"  # may not enter, and has nothing that it could close
    COOLDOWN = "cooldown"
    FULL = "full"  # the pending wakeup has MAX_REASONS already
    MERGED = "thinking-merged"  # not lost: it is in the pending wakeup
    EXPIRED = "expired"  # a cycle without an answer at its deadline


class Thinking(msgspec.Struct, frozen=True, gc=False):
    """The cycle that is under way."""

    cycle_id: str
    deadline_ns: int


class Due(msgspec.Struct, frozen=True, gc=False):
    """A trader is to decide now. `notes`: what was refused or merged since its last wakeup, oldest first.

    `cycle_id` follows from the time at which the wakeup was due: the same state gives the same id.
    """

    trader_id: str
    cycle_id: str
    mode: CycleMode
    reasons: tuple[WakeReason, ...]
    deadline_ns: int
    notes: tuple[WakeNote, ...] = ()


class RhythmState(msgspec.Struct, kw_only=True, gc=False):
    """All that must survive a restart. Times are engine nanoseconds, 0 is none."""

    mode: CycleMode = CycleMode.LONG
    timer_ns: int = 0
    woken_ns: int = 0
    cooldown_until_ns: int = 0
    quiet_since_ns: int = 0
    cool_off_until_ns: int = 0
    thinking: Thinking | None = None
    pending: list[WakeReason] = []
    ripe_ns: int = 0  # when the window of the pending reasons closes
    urgent: bool = False  # the pending wakeup does not wait for the cooldown
    deferred: bool = False  # it was told to wait for the budget
    open: dict[str, int] = {}  # excursion → since
    seen: dict[str, int] = {}  # ids of signals that were looked at → when
    notes: list[WakeNote] = []


def rein_in(state: RhythmState, config: RhythmConfig, now_ns: int) -> None:
    """Let nothing lie further ahead than the rules put it now: clock and rules may have changed meanwhile."""
    cycle_s = config.short_cycle if state.mode is CycleMode.SHORT else config.long_cycle
    state.timer_ns = min(state.timer_ns, now_ns + duration_ns(cycle_s))
    state.cooldown_until_ns = min(state.cooldown_until_ns, now_ns + duration_ns(config.cooldown))
    state.ripe_ns = min(state.ripe_ns, now_ns + duration_ns(config.grace))
    state.quiet_since_ns = min(state.quiet_since_ns, now_ns)
    state.open = {excursion: min(since, now_ns) for excursion, since in state.open.items()}
    if state.thinking is not None:
        deadline_ns = min(state.thinking.deadline_ns, now_ns + duration_ns(config.max_thinking))
        state.thinking = Thinking(state.thinking.cycle_id, deadline_ns)


def add_note(notes: list[WakeNote], note: WakeNote) -> None:
    """Rule for full: the oldest go, and the first note counts them."""
    notes.append(note)
    if len(notes) > _MAX_NOTES:
        first, second = notes[:2]
        gone = int(first.subject) if first.code == OLDER else 1
        notes[:2] = [WakeNote(second.ts, OLDER, str(gone + 1))]


def duration_ns(seconds: float) -> int:
    """A duration of the configuration in nanoseconds."""
    return int(seconds * NS_PER_S)
