"""When one trader looks at the market. Sans I/O: a state, and what signals and time do to it.

The rules:
- A trader looks once per cycle: the long one, or the short one while something is going on.
- An UP, DOWN or SPIKE edge of at least `min_salience` begins the short cycle and wakes the trader after the
  grace window, which opens with the first edge and merges all that come within it into one wakeup. A timer
  that fires in the window joins it.
- While the trader thinks, edges collect in one pending wakeup. After its decision comes the cooldown: an edge
  in it does not wake (the timer of the short cycle will look), unless it is urgent. What was collected while
  thinking waits until the cooldown is over, and edges in the cooldown join it.
- Excursions end with RECOVERED, or when they have lasted `longest_short` (the new normal). A cross, which no
  RECOVERED follows, begins none. When none is open and no edge came for `stable_for`, the long cycle is back.
- An edge is looked at once, whatever delivers it again, and not at all when it is told later than
  `signal_ttl`, for which its id is remembered. A refused edge is counted and noted with its reason.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from typing import Final

from engine.config.scheduler import RhythmConfig
from engine.core.decisions import CycleMode, WakeKind, WakeNote, WakeReason
from engine.core.signals import Edge, Signal
from engine.core.times import NS_PER_HOUR, NS_PER_MIN, NS_PER_MS, NS_PER_S
from engine.manager.rhythm_state import Due, Refusal, RhythmState, Thinking

MAX_REASONS: Final = 64
_MAX_SEEN: Final = 256
_MAX_OPEN: Final = 256
_MAX_NOTES: Final = 64


class Rhythm:
    """The state machine of one trader. Let time pass with `advance` before any other event at that time."""

    __slots__ = (
        "_cooldown_ns",
        "_early_ns",
        "_long_ns",
        "_refusals",
        "_short_ns",
        "_thinking_ns",
        "_ttl_ns",
        "config",
        "model",
        "state",
        "trader_id",
    )

    def __init__(self, trader_id: str, config: RhythmConfig, model: str, refusals: Counter[str]) -> None:
        self.trader_id = trader_id
        self.config = config
        self.model = model
        self.state = RhythmState()
        self._refusals = refusals
        self._early_ns = 0
        self._cooldown_ns, self._thinking_ns = _ns(config.cooldown), _ns(config.max_thinking)
        self._long_ns = _ns(config.long_cycle)
        self._ttl_ns = _ns(config.signal_ttl)
        self._short_ns = _ns(min(config.short_cycle, config.long_cycle))

    def begin(self, now_ns: int) -> None:
        """First look within `jitter` from now, at a moment that follows from the trader's id."""
        share = int.from_bytes(hashlib.blake2b(self.trader_id.encode(), digest_size=8).digest()) / 2**64
        jitter_ns = _ns(self.config.jitter)
        # Late at the start and early afterwards by the rest, so that the spread does not close again.
        self._early_ns = jitter_ns - int(share * jitter_ns)
        self.state.timer_ns = now_ns + int(share * jitter_ns)

    # -- events

    def on_signal(self, signal: Signal, now_ns: int) -> bool:
        """Look at a signal; False when the state is the same as before, but for a note."""
        state = self.state
        if signal.signal_id in state.seen:
            self._refusals[Refusal.DUPLICATE] += 1
            return False
        if now_ns - signal.ts_event > self._ttl_ns:
            self._refuse(Refusal.STALE, signal.signal_id, now_ns)
            return False
        if signal.edge is Edge.RECOVERED:
            self._remember(signal, now_ns)
            if state.open.pop(_excursion(signal), None) is not None:
                state.quiet_since_ns = now_ns
            return True
        if signal.score < self.config.min_salience:
            self._refuse(Refusal.BELOW_SALIENCE, signal.signal_id, now_ns)
            return False
        self._remember(signal, now_ns)
        self._excite(signal, now_ns)
        refusal = self._refusal(signal, now_ns)
        if refusal is not None:
            self._refuse(refusal, signal.signal_id, now_ns)
            return True
        if state.thinking is not None:
            self._refuse(Refusal.MERGED, signal.signal_id, now_ns)
        self._collect(WakeReason(WakeKind.SIGNAL, now_ns, signal), now_ns + _ns(self.config.grace))
        state.urgent = state.urgent or signal.score >= self.config.urgent_salience
        return True

    def ask(self, now_ns: int) -> None:
        """An operator wants a decision now; pauses and cooldowns do not matter, a running cycle does."""
        self.state.paused, self.state.paused_until_ns = False, 0
        if len(self.state.pending) < MAX_REASONS:
            self._collect(WakeReason(WakeKind.OPERATOR, now_ns), now_ns)
        self.state.ripe_ns, self.state.urgent = now_ns, True
        if self.state.timer_ns <= now_ns:
            self.state.timer_ns = 0  # overdue; this wakeup looks for it

    def look_again(self, cycle_id: str, now_ns: int) -> None:
        """The engine ended in the middle of a cycle: its trader looks again, under another id.

        If the state is from before that wakeup, what woke it is still pending.
        """
        ts = int(cycle_id.rpartition("-")[2]) * NS_PER_MS
        self.state.woken_ns = max(self.state.woken_ns, ts)
        if self.close(cycle_id, now_ns) and not self.state.pending:
            self._collect(WakeReason(WakeKind.START, now_ns), now_ns)

    def pause(self, now_ns: int, until_ns: int) -> None:
        """Wake no more, until `until_ns` (0: until `ask`). What is pending is refused; thinking goes on."""
        self._drop_pending(Refusal.COOL_OFF if until_ns else Refusal.PAUSED, now_ns)
        self.state.paused, self.state.paused_until_ns = True, until_ns

    def close(self, cycle_id: str, now_ns: int) -> bool:
        """The decision is there. False for a cycle that is not under way (expired, delivered again)."""
        state = self.state
        if state.thinking is None or state.thinking.cycle_id != cycle_id:
            return False
        state.thinking = None
        state.cooldown_until_ns = now_ns + self._cooldown_ns
        return True

    def take(self, ready_ns: int, now_ns: int) -> Due:
        """Wake the trader with all that is pending, when `ready_ns()` has come."""
        state = self.state
        # Ids have milliseconds; two wakeups of a trader never share one.
        ts = ready_ns
        if ts // NS_PER_MS <= state.woken_ns // NS_PER_MS:
            ts = (state.woken_ns // NS_PER_MS + 1) * NS_PER_MS
        cycle_id, deadline_ns = f"{self.trader_id}-{ts // NS_PER_MS}", now_ns + self._thinking_ns
        due = Due(
            trader_id=self.trader_id,
            cycle_id=cycle_id,
            mode=state.mode,
            reasons=tuple(state.pending),
            deadline_ns=deadline_ns,
            notes=tuple(state.notes),
        )
        state.thinking = Thinking(cycle_id, deadline_ns)
        state.pending.clear()
        state.notes.clear()
        state.urgent = state.deferred = False
        state.woken_ns = ts
        next_ns = ts + self._cycle_ns()  # from when it was due: small delays do not add up
        state.timer_ns = next_ns if next_ns > now_ns else now_ns + self._cycle_ns()
        return due

    def defer(self, code: str, now_ns: int) -> None:
        """The budget lets the wakeup wait; counted once, however often it is asked."""
        if not self.state.deferred:
            self.state.deferred = True
            self._refuse(code, self.trader_id, now_ns)

    def give_up(self, code: str, now_ns: int) -> None:
        """The budget refuses the wakeup: its reasons are gone, the next timer looks again."""
        self._drop_pending(code, now_ns)
        self.state.timer_ns = now_ns + self._cycle_ns()

    # -- time

    def ready_ns(self) -> int | None:
        """When the pending wakeup may go out; None when there is none, or something is in its way."""
        state = self.state
        if not state.pending or state.thinking is not None or state.paused:
            return None
        if state.urgent or state.ripe_ns > state.cooldown_until_ns:
            return state.ripe_ns
        return state.cooldown_until_ns

    def bonus_ns(self) -> int:
        """How much longer than it has the pending wakeup counts as having waited, by what it is about."""
        bonus_ns = 0
        for reason in self.state.pending:
            if reason.kind is WakeKind.OPERATOR:
                bonus_ns = NS_PER_HOUR
            elif reason.signal is not None:
                bonus_ns = max(bonus_ns, int(reason.signal.score * NS_PER_MIN))
        return bonus_ns

    def next_change_ns(self) -> int | None:
        """When time alone changes the state next; None when it does not."""
        state, at = self.state, None
        if state.thinking is not None:
            at = state.thinking.deadline_ns
        elif state.paused:
            at = state.paused_until_ns or None
        elif state.timer_ns:
            at = state.timer_ns if state.timer_ns > state.cooldown_until_ns else state.cooldown_until_ns
        if state.mode is CycleMode.SHORT:
            calm = self._calm_ns()
            at = calm if at is None or calm < at else at
        return at

    def advance(self, now_ns: int) -> None:
        """Let everything happen that was due until now, each at its own time."""
        while (at := self.next_change_ns()) is not None and at <= now_ns:
            self._change(at)

    def _change(self, at: int) -> None:
        state = self.state
        if state.thinking is not None and state.thinking.deadline_ns <= at:
            self._refuse(Refusal.EXPIRED, state.thinking.cycle_id, at)
            self.close(state.thinking.cycle_id, at)
        elif state.mode is CycleMode.SHORT and self._calm_ns() <= at:
            self._calm_down(at)
        elif state.paused and state.paused_until_ns:
            state.paused, state.paused_until_ns = False, 0
            state.timer_ns = at
        else:
            kind = WakeKind.LONG_TIMER if state.mode is CycleMode.LONG else WakeKind.SHORT_TIMER
            state.timer_ns = 0  # the wakeup sets it again
            if len(state.pending) < MAX_REASONS:
                self._collect(WakeReason(kind if state.woken_ns else WakeKind.START, at), at)

    def _excite(self, signal: Signal, now_ns: int) -> None:
        state = self.state
        if signal.recovers:
            if len(state.open) >= _MAX_OPEN:
                del state.open[next(iter(state.open))]
            state.open[_excursion(signal)] = now_ns
        state.quiet_since_ns = now_ns
        if state.mode is CycleMode.LONG:
            state.mode = CycleMode.SHORT
            if state.timer_ns:
                state.timer_ns = min(state.timer_ns, now_ns + self._cycle_ns())

    def _calm_ns(self) -> int:
        """When the short cycle may end, or the oldest excursion is the new normal."""
        state = self.state
        if state.open:
            return min(state.open.values()) + _ns(self.config.longest_short)
        return state.quiet_since_ns + _ns(self.config.stable_for)

    def _calm_down(self, at: int) -> None:
        state = self.state
        if state.open:
            normal_ns = at - _ns(self.config.longest_short)
            state.open = {key: since for key, since in state.open.items() if since > normal_ns}
            if not state.open:
                state.quiet_since_ns = at
            return
        state.mode = CycleMode.LONG
        if state.timer_ns and state.woken_ns:
            state.timer_ns = max(at, state.woken_ns + self._cycle_ns())

    def _cycle_ns(self) -> int:
        cycle_ns = self._short_ns if self.state.mode is CycleMode.SHORT else self._long_ns
        return cycle_ns - min(self._early_ns, cycle_ns // 2) if self._early_ns else cycle_ns

    # -- bookkeeping

    def _refusal(self, signal: Signal, now_ns: int) -> Refusal | None:
        state = self.state
        if state.paused:
            return Refusal.COOL_OFF if state.paused_until_ns else Refusal.PAUSED
        if len(state.pending) >= MAX_REASONS:
            return Refusal.FULL
        cooling = state.thinking is None and now_ns < state.cooldown_until_ns
        if cooling and signal.score < self.config.urgent_salience and not state.pending:
            return Refusal.COOLDOWN
        return None

    def _collect(self, reason: WakeReason, ripe_ns: int) -> None:
        if not self.state.pending:
            self.state.ripe_ns = ripe_ns
        self.state.pending.append(reason)

    def _remember(self, signal: Signal, now_ns: int) -> None:
        """Its id for as long as it could wake. Rule for full: the oldest goes."""
        seen = self.state.seen
        while seen and (len(seen) >= _MAX_SEEN or now_ns - next(iter(seen.values())) > self._ttl_ns):
            del seen[next(iter(seen))]
        seen[signal.signal_id] = now_ns

    def _refuse(self, code: str, subject: str, now_ns: int) -> None:
        self._refusals[code] += 1
        notes = self.state.notes
        if len(notes) >= _MAX_NOTES:
            del notes[0]
        notes.append(WakeNote(now_ns, str(code), subject))

    def _drop_pending(self, code: str, now_ns: int) -> None:
        for reason in self.state.pending:
            self._refuse(code, reason.signal.signal_id if reason.signal else reason.kind, now_ns)
        self.state.pending = []
        self.state.urgent = self.state.deferred = False


def _excursion(signal: Signal) -> str:
    return f"{signal.symbol}|{signal.detector}|{signal.timeframe}"


def _ns(seconds: float) -> int:
    return int(seconds * NS_PER_S)
