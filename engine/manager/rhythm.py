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
  RECOVERED, which wakes nobody, may come as late as it likes.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from typing import Final

from engine.config.scheduler import RhythmConfig
from engine.core.decisions import CycleMode, WakeKind, WakeNote, WakeReason
from engine.core.signals import Edge, Signal
from engine.core.times import NEVER_NS, NS_PER_HOUR, NS_PER_MIN, NS_PER_MS
from engine.manager.rhythm_state import Due, Refusal, RhythmState, Thinking, add_note, duration_ns

MAX_REASONS: Final = 64
_SHORT: Final = CycleMode.SHORT  # names of enumerations are slow to look up
_LONG_TIMER: Final = WakeKind.LONG_TIMER
_MAX_SEEN: Final = 256
_MAX_OPEN: Final = 256


class Rhythm:
    """The state machine of one trader. Let time pass with `advance` before any other event at that time.

    What must survive a restart is `state`; its fields are attributes here, as they are read very often.
    """

    __slots__ = (
        "_cooldown_ns",
        "_grace_ns",
        "_long_ns",
        "_longest_short_ns",
        "_refusals",
        "_short_ns",
        "_stable_ns",
        "_thinking_ns",
        "_ttl_ns",
        "config",
        "model",
        "trader_id",
        *RhythmState.__struct_fields__,
    )

    def __init__(self, trader_id: str, config: RhythmConfig, model: str, refusals: Counter[str]) -> None:
        self.trader_id = trader_id
        self.config = config
        self.model = model
        self._refusals = refusals
        self._cooldown_ns, self._thinking_ns = duration_ns(config.cooldown), duration_ns(config.max_thinking)
        self._grace_ns, self._ttl_ns = duration_ns(config.grace), duration_ns(config.signal_ttl)
        self._longest_short_ns = duration_ns(config.longest_short)
        self._long_ns, self._stable_ns = duration_ns(config.long_cycle), duration_ns(config.stable_for)
        self._short_ns = duration_ns(min(config.short_cycle, config.long_cycle))
        self.restore(RhythmState())

    def restore(self, state: RhythmState) -> None:
        """Continue from a state; it is the rhythm's from now on."""
        self.mode, self.timer_ns, self.woken_ns = state.mode, state.timer_ns, state.woken_ns
        self.cooldown_until_ns, self.quiet_since_ns = state.cooldown_until_ns, state.quiet_since_ns
        self.cool_off_until_ns, self.thinking = state.cool_off_until_ns, state.thinking
        self.pending, self.ripe_ns = state.pending, state.ripe_ns
        self.urgent, self.deferred = state.urgent, state.deferred
        self.open, self.seen, self.notes = state.open, state.seen, state.notes

    @property
    def state(self) -> RhythmState:
        """As of now; not to be changed, and to be kept only as bytes: its lists go on living."""
        return RhythmState(
            mode=self.mode,
            timer_ns=self.timer_ns,
            woken_ns=self.woken_ns,
            cooldown_until_ns=self.cooldown_until_ns,
            quiet_since_ns=self.quiet_since_ns,
            cool_off_until_ns=self.cool_off_until_ns,
            thinking=self.thinking,
            pending=self.pending,
            ripe_ns=self.ripe_ns,
            urgent=self.urgent,
            deferred=self.deferred,
            open=self.open,
            seen=self.seen,
            notes=self.notes,
        )

    def begin(self, now_ns: int) -> None:
        """First look within `jitter` from now, at a moment that follows from the trader's id."""
        share = int.from_bytes(hashlib.blake2b(self.trader_id.encode(), digest_size=8).digest()) / 2**64
        jitter_ns = duration_ns(self.config.jitter)
        # Late at the start and early afterwards by the rest, so that the spread does not close again.
        late_ns = int(share * jitter_ns)
        self._long_ns -= min(jitter_ns - late_ns, self._long_ns // 2)
        self._short_ns -= min(jitter_ns - late_ns, self._short_ns // 2)
        self.timer_ns = now_ns + late_ns

    # -- events

    def on_signal(self, signal: Signal, now_ns: int) -> bool:
        """Look at a signal; False when it was looked at before."""
        if signal.signal_id in self.seen:
            self._refusals[Refusal.DUPLICATE] += 1
            return False
        self._remember(signal, now_ns)
        if signal.edge is Edge.RECOVERED:
            if self.open.get(_excursion(signal), NEVER_NS) <= signal.ts_event:  # not one that began later
                del self.open[_excursion(signal)]
                self.quiet_since_ns = now_ns
            return True
        if now_ns - signal.ts_event > self._ttl_ns:
            self._refuse(Refusal.STALE, signal.signal_id, now_ns)
            return True
        if signal.score < self.config.min_salience:
            self._refuse(Refusal.BELOW_SALIENCE, signal.signal_id, now_ns)
            return True
        self._excite(signal, now_ns)
        refusal = self._refusal(signal, now_ns)
        if refusal is not None:
            self._refuse(refusal, signal.signal_id, now_ns)
            return True
        if self.thinking is not None:
            self._refuse(Refusal.MERGED, signal.signal_id, now_ns)
        self._collect(WakeReason(WakeKind.SIGNAL, now_ns, signal), now_ns + self._grace_ns)
        self.urgent = self.urgent or signal.score >= self.config.urgent_salience
        return True

    def ask(self, now_ns: int) -> None:
        """An operator wants a look now: cooldowns do not matter, a running cycle or a cool-off does."""
        if len(self.pending) < MAX_REASONS:
            self._collect(WakeReason(WakeKind.OPERATOR, now_ns), now_ns)
        self.ripe_ns, self.urgent = now_ns, True
        if self.timer_ns <= now_ns:
            self.timer_ns = 0  # overdue; this wakeup looks for it

    def look_again(self, cycle_id: str, now_ns: int) -> None:
        """The engine ended in the middle of a cycle: its trader looks again, under another id.

        If the state is from before that wakeup, what woke it is still pending.
        """
        ts = int(cycle_id.rpartition("-")[2]) * NS_PER_MS
        self.woken_ns = max(self.woken_ns, ts)
        if self.close(cycle_id, now_ns) and not self.pending:
            self._collect(WakeReason(WakeKind.START, now_ns), now_ns)

    def cool_off(self, now_ns: int, until_ns: int) -> None:
        """Wake no more until then. What is pending is refused; thinking goes on."""
        self._drop_pending(Refusal.COOL_OFF, now_ns)
        self.cool_off_until_ns = until_ns

    def close(self, cycle_id: str, now_ns: int) -> bool:
        """The decision is there. False for a cycle that is not under way (expired, delivered again)."""
        if self.thinking is None or self.thinking.cycle_id != cycle_id:
            return False
        self.thinking = None
        self.cooldown_until_ns = now_ns + self._cooldown_ns
        return True

    def take(self, ready_ns: int, now_ns: int) -> Due:
        """Wake the trader with all that is pending, when `ready_ns()` has come."""
        due = self._wake(tuple(self.pending), ready_ns, now_ns)
        self.pending.clear()
        self.urgent = self.deferred = False
        return due

    def take_timer(self, at: int, now_ns: int) -> Due | None:
        """Wake the trader if its timer, due at `at`, is all there is: `advance` and `take` in one step.

        None when there is more to it, and nothing has happened then.
        """
        if self.timer_ns != at or self.thinking is not None or self.pending or self.cool_off_until_ns:
            return None
        if self.cooldown_until_ns > at or (self.mode is _SHORT and self._calm_ns() <= now_ns):
            return None
        self.ripe_ns = at
        return self._wake((WakeReason(self._timer_kind(), at),), at, now_ns)

    def _wake(self, reasons: tuple[WakeReason, ...], ready_ns: int, now_ns: int) -> Due:
        # Ids have milliseconds; two wakeups of a trader never share one, not even when the clock went back.
        woken_ns, ms = ready_ns, ready_ns // NS_PER_MS
        if woken_ns - self.woken_ns < NS_PER_MS and ms <= self.woken_ns // NS_PER_MS:
            ms = self.woken_ns // NS_PER_MS + 1
            woken_ns = ms * NS_PER_MS
        cycle_id, deadline_ns = f"{self.trader_id}-{ms}", now_ns + self._thinking_ns
        cycle_ns = self._short_ns if self.mode is _SHORT else self._long_ns
        next_ns = ready_ns + cycle_ns  # from when it was due: small delays do not add up
        self.timer_ns = next_ns if next_ns > now_ns else now_ns + cycle_ns
        self.thinking = Thinking(cycle_id, deadline_ns)
        self.woken_ns = woken_ns
        notes: tuple[WakeNote, ...] = ()
        if self.notes:
            notes = tuple(self.notes)
            self.notes.clear()
        return Due(self.trader_id, cycle_id, self.mode, reasons, deadline_ns, notes)

    def defer(self, code: str, now_ns: int) -> None:
        """The budget lets the wakeup wait; counted once, also when a restart asks again."""
        if not self.deferred:
            self.deferred = True
            self._refuse(code, self.trader_id, now_ns)

    def give_up(self, code: str, now_ns: int) -> None:
        """The wakeup is not admitted: its reasons are gone, the next timer looks again."""
        self._drop_pending(code, now_ns)
        self.timer_ns = now_ns + self._cycle_ns()

    # -- time

    def ready_ns(self) -> int | None:
        """When the pending wakeup may go out; None when there is none, or something is in its way."""
        if not self.pending or self.thinking is not None or self.cool_off_until_ns:
            return None
        if self.urgent or self.ripe_ns > self.cooldown_until_ns:
            return self.ripe_ns
        return self.cooldown_until_ns

    def bonus_ns(self) -> int:
        """How much longer than it has the pending wakeup counts as having waited, by what it is about."""
        bonus_ns = 0
        for reason in self.pending:
            if reason.kind is WakeKind.OPERATOR:
                bonus_ns = NS_PER_HOUR
            elif reason.signal is not None:
                bonus_ns = max(bonus_ns, int(reason.signal.score * NS_PER_MIN))
        return bonus_ns

    def next_change_ns(self) -> int | None:
        """When time alone changes the state next; None when it does not."""
        thinking = self.thinking
        if thinking is not None:
            at = thinking.deadline_ns
        elif self.cool_off_until_ns:
            at = self.cool_off_until_ns
        else:
            at = self.timer_ns
            if at and self.cooldown_until_ns > at:
                at = self.cooldown_until_ns
        if self.mode is _SHORT:
            calm = self._calm_ns()
            at = calm if not at or calm < at else at
        return at or None

    def advance(self, now_ns: int) -> None:
        """Let everything happen that was due until now, each at its own time."""
        while (at := self.next_change_ns()) is not None and at <= now_ns:
            self._change(at)

    def _change(self, at: int) -> None:
        if self.thinking is not None and self.thinking.deadline_ns <= at:
            self._refuse(Refusal.EXPIRED, self.thinking.cycle_id, at)
            self.close(self.thinking.cycle_id, at)
        elif self.mode is _SHORT and self._calm_ns() <= at:
            self._calm_down(at)
        elif self.cool_off_until_ns:
            self.cool_off_until_ns = 0
            self.timer_ns = at
        else:
            self.timer_ns = 0  # the wakeup sets it again
            if len(self.pending) < MAX_REASONS:
                self._collect(WakeReason(self._timer_kind(), at), at)

    def _excite(self, signal: Signal, now_ns: int) -> None:
        if signal.recovers:
            if len(self.open) >= _MAX_OPEN:
                del self.open[next(iter(self.open))]
            self.open[_excursion(signal)] = signal.ts_event
        self.quiet_since_ns = now_ns
        if self.mode is not _SHORT:
            self.mode = CycleMode.SHORT
            if self.timer_ns:
                self.timer_ns = min(self.timer_ns, now_ns + self._cycle_ns())

    def _calm_ns(self) -> int:
        """When the short cycle may end, or the oldest excursion is the new normal."""
        if self.open:
            return min(self.open.values()) + self._longest_short_ns
        return self.quiet_since_ns + self._stable_ns

    def _calm_down(self, at: int) -> None:
        if self.open:
            self.open = {key: ts for key, ts in self.open.items() if ts + self._longest_short_ns > at}
            if not self.open:
                self.quiet_since_ns = at
            return
        self.mode = CycleMode.LONG
        if self.timer_ns and self.woken_ns:
            self.timer_ns = max(at, min(self.woken_ns, at) + self._cycle_ns())

    def _timer_kind(self) -> WakeKind:
        timer = WakeKind.SHORT_TIMER if self.mode is _SHORT else _LONG_TIMER
        return timer if self.woken_ns else WakeKind.START

    def _cycle_ns(self) -> int:
        return self._short_ns if self.mode is _SHORT else self._long_ns

    # -- bookkeeping

    def _refusal(self, signal: Signal, now_ns: int) -> Refusal | None:
        if self.cool_off_until_ns:
            return Refusal.COOL_OFF
        if len(self.pending) >= MAX_REASONS:
            return Refusal.FULL
        cooling = self.thinking is None and now_ns < self.cooldown_until_ns
        if cooling and signal.score < self.config.urgent_salience and not self.pending:
            return Refusal.COOLDOWN
        return None

    def _collect(self, reason: WakeReason, ripe_ns: int) -> None:
        if not self.pending:
            self.ripe_ns = ripe_ns
        self.pending.append(reason)

    def _remember(self, signal: Signal, now_ns: int) -> None:
        """Its id for as long as it could wake. Rule for full: the oldest goes."""
        seen = self.seen
        while seen and (len(seen) >= _MAX_SEEN or now_ns - next(iter(seen.values())) > self._ttl_ns):
            del seen[next(iter(seen))]
        seen[signal.signal_id] = now_ns

    def _refuse(self, code: str, subject: str, now_ns: int) -> None:
        self._refusals[code] += 1
        add_note(self.notes, WakeNote(now_ns, str(code), subject))

    def _drop_pending(self, code: str, now_ns: int) -> None:
        for reason in self.pending:
            self._refuse(code, reason.signal.signal_id if reason.signal else reason.kind, now_ns)
        self.pending = []
        self.urgent = self.deferred = False


def _excursion(signal: Signal) -> str:
    return f"{signal.symbol}|{signal.detector}|{signal.timeframe}"
