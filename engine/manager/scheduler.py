"""Who decides when: the rhythms of all traders in one calendar, and the budget they share. Sans I/O.

Signals and time go in, wakeups come out; nothing here reads a clock. Two orders do the work: a calendar says
which trader time changes next, the queues (one a model) hold the wakeups that are ready. A wakeup that the
budget lets wait stays in its queue; what waits longer goes first, and a signal counts as having waited up to
a minute longer than it has, by its salience. So nothing starves.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from decimal import Decimal
from typing import Final

import msgspec

from engine.config.scheduler import BudgetConfig, RhythmConfig
from engine.core.decisions import CycleMode
from engine.core.errors import CodecError
from engine.core.signals import Signal
from engine.manager.admission import UNSCHEDULED, Admission, MayAct, Rank, Seat, Served
from engine.manager.budget import ZERO, Budget, Shortage
from engine.manager.calendar import NUMBER, NUMBER_BITS, Calendar, Entry
from engine.manager.rhythm import Rhythm
from engine.manager.rhythm_state import Due, Refusal, RhythmState, rein_in
from engine.manager.stored_schedule import StoredSchedule

__all__ = ["Due", "Refusal", "Scheduler", "Shortage"]

_VERSION: Final = 1
_LONG: Final = CycleMode.LONG


class Scheduler:
    """Wakes traders. Calls must come with times that do not go back. `may_act`: engine.manager.admission.

    `refusals` counts by reason code since the process started: rhythm_state.Refusal and budget.Shortage.
    """

    def __init__(
        self, budget: Budget | None = None, may_act: MayAct = lambda trader_id, now_ns: True
    ) -> None:
        self.refusals: Counter[str] = Counter()
        self._budget = budget or Budget(BudgetConfig())
        self._seats: dict[str, Seat] = {}
        self._order: list[Seat] = []  # by number
        self._by_symbol: dict[str, list[Seat]] = {}
        self._calendar = Calendar()  # by the numbers of the seats
        self._admission = Admission(self._budget, self._order, may_act)
        self._changed: dict[str, None] = {}

    # -- traders

    def add(
        self, trader_id: str, config: RhythmConfig, symbols: Iterable[str], now_ns: int, *, model: str = ""
    ) -> None:
        """Take a trader in: it looks for the first time within its jitter, unless `restore` says otherwise.

        symbols: venue ids whose signals concern it. model: whose budget its wakeups need; "" needs none.
        Raises ValueError when the trader is there already.
        """
        if trader_id in self._seats:
            raise ValueError(f"trader {trader_id} is scheduled already")
        seat = Seat(len(self._order), Rhythm(trader_id, config, model, self.refusals))
        self._seats[trader_id] = seat
        self._order.append(seat)
        for symbol in dict.fromkeys(symbols):
            self._by_symbol.setdefault(symbol, []).append(seat)
        seat.rhythm.begin(now_ns)
        self._place(seat)

    @property
    def traders(self) -> tuple[str, ...]:
        """Ids, in the order in which they were added."""
        return tuple(self._seats)

    def rhythm(self, trader_id: str) -> RhythmState:
        """Where the trader is in its cycles; not to be changed. Raises KeyError for an unknown trader."""
        return self._seats[trader_id].rhythm.state

    # -- events

    def on_signal(self, signal: Signal, now_ns: int) -> tuple[str, ...]:
        """Show a signal to the traders of its symbol; returns those whose state is to be stored anew."""
        touched = []
        for seat in self._by_symbol.get(signal.symbol, ()):
            self._advance(seat, now_ns)
            if seat.rhythm.on_signal(signal, now_ns):
                touched.append(seat.rhythm.trader_id)
            if seat.rank is not None:
                self._admission.queue(seat, now_ns)
            self._place(seat)
        self._changed.update(dict.fromkeys(touched))
        return tuple(touched)

    def poll(self, now_ns: int) -> list[Due]:
        """The wakeups that are due and that the budget admits, in the order of their urgency.

        Publish them, then store the states of `take_changed`. A wakeup whose state was not stored is due
        again after a restart, with the same cycle id.
        """
        self._bound_calendar()
        timers, woken = list[Entry](), list[Due]()  # of those woken by nothing but their timer: nearly all
        served, waiting = list[Served](), list[Seat]()
        deadlines: defaultdict[int, list[int]] = defaultdict(list)
        for entry in self._take_due(now_ns):
            number = entry & NUMBER
            seat = self._order[number]
            if seat.at != entry >> NUMBER_BITS:
                continue
            due = None if seat.rhythm.model else seat.rhythm.take_timer(seat.at, now_ns)
            if due is None:
                self._advance_due(seat, now_ns, served, waiting)
                continue
            timers.append(entry)
            woken.append(due)
            if due.mode is _LONG:  # only the deadline concerns it while it thinks
                seat.at = due.deadline_ns
                deadlines[due.deadline_ns].append(number)
            else:
                self._place(seat)
        for deadline_ns, numbers in deadlines.items():
            self._calendar.enter_together(deadline_ns, numbers)
        for seat in (*waiting, *self._admission.admit(now_ns, served)):
            self._place(seat)
        for seat in waiting:
            if seat.rank is not None:
                self._admission.defer(seat, now_ns)
                self._changed[seat.rhythm.trader_id] = None
        if served:
            served += [(timer, due.trader_id, due) for timer, due in zip(timers, woken, strict=True)]
            served.sort(key=_urgency)
            woken = [due for _, _, due in served if due is not None]
            self._changed.update((trader_id, None) for _, trader_id, _ in served)
        else:
            self._changed.update((due.trader_id, None) for due in woken)
        return woken

    def on_closed(self, cycle_id: str, trader_id: str, now_ns: int, *, cost_usd: Decimal = ZERO) -> bool:
        """A decision is there, whatever it says. False for a cycle that was not under way any more.

        What it cost counts in any case, once.
        """
        seat = self._seats.get(trader_id)
        if seat is None:
            return False
        if seat.at <= now_ns:
            self._advance(seat, now_ns)
        closed = seat.rhythm.close(cycle_id, now_ns)
        if closed and seat.rhythm.model:
            self._release(cycle_id, now_ns)
        if cost_usd:
            self._budget.book(trader_id, cycle_id, cost_usd, now_ns)
        self._changed[trader_id] = None
        self._place(seat)
        return closed

    def wake(self, trader_id: str, now_ns: int) -> None:
        """An operator wants a decision now; nothing in a cool-off, nor for a trader that is not here."""
        seat = self._seats.get(trader_id)
        if seat is None:
            return
        self._advance(seat, now_ns)
        if not seat.rhythm.cool_off_until_ns:
            seat.rhythm.ask(now_ns)
            self._changed[trader_id] = None
        self._place(seat)

    def cool_off(self, now_ns: int, until_ns: int) -> None:
        """The account lost too much: no timer and no signal wakes anybody until then."""
        for trader_id, seat in self._seats.items():
            self._advance(seat, now_ns)
            seat.rhythm.cool_off(now_ns, max(until_ns, seat.rhythm.cool_off_until_ns))
            self._changed[trader_id] = None
            self._place(seat)

    def wake_all(self, now_ns: int) -> None:
        """An operator ends a cool-off, or wants everybody to look."""
        for trader_id, seat in self._seats.items():
            seat.rhythm.cool_off_until_ns = 0
            self.wake(trader_id, now_ns)

    def look_again(self, cycle_id: str, trader_id: str, now_ns: int) -> None:
        """A cycle was abandoned when the engine ended; its trader decides anew after the cooldown."""
        seat = self._seats.get(trader_id)
        if seat is None:
            return
        self._advance(seat, now_ns)
        seat.rhythm.look_again(cycle_id, now_ns)
        self._release(cycle_id, now_ns)
        self._changed[trader_id] = None
        self._place(seat)

    def next_due_ns(self) -> int | None:
        """When `poll` has something to do next; a time in the past means now, None means never."""
        times = []
        while (entry := self._calendar.first()) is not None:
            seat = self._order[entry & NUMBER]
            if seat.at == entry >> NUMBER_BITS:
                times.append(seat.at)
                break
            self._calendar.drop_first()
        if self._admission.try_again_ns is not None and self._admission.waiting:
            times.append(self._admission.try_again_ns)
        return min(times, default=None)

    # -- state

    def take_changed(self) -> tuple[str, ...]:
        """The traders whose state is to be stored anew, since the last call.

        What time alone changes is left out: it follows from the stored state.
        """
        changed = tuple(self._changed)
        self._changed.clear()
        return changed

    def state(self, trader_id: str) -> bytes:
        """All that the trader's scheduling depends on. Raises KeyError for an unknown trader."""
        rhythm, budget = self._seats[trader_id].rhythm, self._budget
        kept = StoredSchedule(
            version=_VERSION,
            rhythm=rhythm.state,
            spent=budget.spent(trader_id),
            paid_until_ns=budget.paid_until_ns,
        )
        return msgspec.msgpack.encode(kept)

    def restore(self, trader_id: str, state: bytes, now_ns: int) -> None:
        """Continue where `state` was taken. Raises CodecError for bytes that are no state of this version.

        A clock that has gone back since then keeps nobody waiting, nor do cycles that were longer.
        """
        seat = self._seats[trader_id]
        try:
            kept = msgspec.msgpack.decode(state, type=StoredSchedule)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise CodecError(f"state of trader {trader_id} does not decode: {error}", state) from error
        if kept.version != _VERSION:
            raise CodecError(f"state of trader {trader_id} has version {kept.version}", state)
        if (former := seat.rhythm.thinking) is not None:
            self._budget.release(former.cycle_id)
        rein_in(kept.rhythm, seat.rhythm.config, now_ns)
        seat.rhythm.restore(kept.rhythm)
        self._budget.restore(trader_id, kept.spent)
        self._budget.pay_until(kept.paid_until_ns, now_ns)
        if (thinking := kept.rhythm.thinking) is not None:
            self._budget.hold(thinking.cycle_id, seat.rhythm.model)
        self._place(seat)

    # -- the calendar

    def _take_due(self, now_ns: int) -> list[Entry]:
        """All that is due, earliest first. Of deadlines nearly all are void: the trader has answered."""
        due, missed = self._calendar.take_due(now_ns), list[Entry]()
        for at, numbers in self._calendar.take_together(now_ns):
            for number in numbers:
                seat = self._order[number]
                if seat.at == at:
                    missed.append(at << NUMBER_BITS | number)
        return sorted(due + missed) if missed else due

    def _advance(self, seat: Seat, now_ns: int) -> None:
        if seat.at > now_ns:
            return  # nothing happens before its time in the calendar
        before = seat.rhythm.thinking
        seat.rhythm.advance(now_ns)
        if before is not None and seat.rhythm.thinking is None:
            self._release(before.cycle_id, now_ns)

    def _release(self, cycle_id: str, now_ns: int) -> None:
        """A cycle is over, however it ended: somebody may have waited for its place."""
        self._budget.release(cycle_id)
        self._admission.try_again_ns = now_ns

    def _advance_due(self, seat: Seat, now_ns: int, served: list[Served], waiting: list[Seat]) -> None:
        """Let time pass for a trader whose entry is taken out, and wake it when it asks no model."""
        self._advance(seat, now_ns)
        seat.at = UNSCHEDULED
        rhythm = seat.rhythm
        if rhythm.model:
            self._admission.queue(seat, now_ns)
        elif (ready := rhythm.ready_ns()) is not None and ready <= now_ns:
            rank = seat.urgency(ready)
            served.append((rank, rhythm.trader_id, rhythm.take(ready, now_ns)))
        if seat.rank is None:
            self._place(seat)
        else:
            waiting.append(seat)

    def _place(self, seat: Seat) -> None:
        """Enter into the calendar when time concerns the trader next."""
        rhythm = seat.rhythm
        at = rhythm.next_change_ns()
        if seat.rank is None and rhythm.pending:
            ready = rhythm.ready_ns()
            if ready is not None and (at is None or ready < at):
                at = ready
        if at is None:
            seat.at = UNSCHEDULED
        elif at != seat.at:
            seat.at = at
            self._calendar.enter(at << NUMBER_BITS | seat.number)

    def _bound_calendar(self) -> None:
        """Drop void entries when there are many: the calendar stays bounded by the number of traders."""
        if len(self._calendar) <= 4 * len(self._seats) + 64:
            return
        placed = [seat for seat in self._seats.values() if seat.at != UNSCHEDULED]
        self._calendar = Calendar([seat.at << NUMBER_BITS | seat.number for seat in placed])


def _urgency(served: Served) -> Rank:
    return served[0]
