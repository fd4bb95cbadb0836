"""Which wakeups that are ready go out: the queues before the budget, one a model. Sans I/O."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from typing import Final

from engine.manager.budget import Budget, Shortage
from engine.manager.calendar import NUMBER, NUMBER_BITS, Entry
from engine.manager.rhythm import Rhythm
from engine.manager.rhythm_state import Due, Refusal

Rank = Entry  # with the time at which a wakeup was ready, less its bonus
MayAct = Callable[[str, int], bool]  # (trader id, engine time)
Served = tuple[Rank, str, Due | None]  # a trader and its wakeup, unless that was refused

UNSCHEDULED: Final = -1


class Seat:
    """A trader's place in the calendar and in its model's queue. Other entries of it than these are void."""

    __slots__ = ("at", "number", "rank", "rhythm")

    def __init__(self, number: int, rhythm: Rhythm) -> None:
        self.number = number
        self.rhythm = rhythm
        self.at = UNSCHEDULED
        self.rank: Rank | None = None

    def urgency(self, ready_ns: int) -> Rank:
        """Of its wakeup that was ready then; the smallest goes first."""
        return (ready_ns - self.rhythm.bonus_ns()) << NUMBER_BITS | self.number


class Admission:
    """Wakeups that ask a model wait here for the budget; `seats` are all traders by their number.

    `may_act`: whether a trader could do anything with an answer at this time; a model that could not is not
    asked. A decider without a model costs nothing and never comes here.

    `try_again_ns`: when the budget may have room for those that wait; None when only an answer makes room.
    """

    def __init__(self, budget: Budget, seats: list[Seat], may_act: MayAct) -> None:
        self.try_again_ns: int | None = None
        self._budget = budget
        self._seats = seats
        self._may_act = may_act
        self._queues: dict[str, list[Rank]] = {}  # by model
        self._short: dict[str, Shortage] = {}  # by model: what its queue waited for last

    @property
    def waiting(self) -> bool:
        """Whether anything is in a queue."""
        return any(self._queues.values())

    def queue(self, seat: Seat, now_ns: int) -> None:
        """Enter a ready wakeup into its queue, or move it up there when it has become more urgent."""
        ready = seat.rhythm.ready_ns()
        if ready is None or ready > now_ns:
            return
        rank = seat.urgency(ready)
        if rank != seat.rank:
            seat.rank = rank
            heapq.heappush(self._queues.setdefault(seat.rhythm.model, []), rank)

    def admit(self, now_ns: int, served: list[Served]) -> list[Seat]:
        """Empty the queues as far as the budget allows; the most urgent head of all queues goes first.

        Adds to `served`, in this order; returns the traders that have left their queue.
        """
        left: list[Seat] = []
        open_queues = {model: queue for model, queue in self._queues.items() if queue}
        self.try_again_ns = None
        while open_queues:
            if len(open_queues) > 1:
                model = min(open_queues, key=lambda each: open_queues[each][0])
            else:
                (model,) = open_queues
            queue = open_queues[model]
            seat = self._seats[queue[0] & NUMBER]
            if seat.rank == queue[0]:
                ready = seat.rhythm.ready_ns()
                if ready is not None and ready <= now_ns and not self._serve(seat, ready, now_ns, served):
                    del open_queues[model]
                    continue
                seat.rank = None
                left.append(seat)
            heapq.heappop(queue)
            if not queue:
                del open_queues[model]
        return left

    def defer(self, seat: Seat, now_ns: int) -> None:
        """Say of a wakeup that was queued just now what it waits for, wherever in its queue it is."""
        seat.rhythm.defer(self._short[seat.rhythm.model], now_ns)

    def _serve(self, seat: Seat, ready_ns: int, now_ns: int, served: list[Served]) -> bool:
        """Wake the trader, or refuse the wakeup; False when it has to wait for the budget."""
        rhythm, due = seat.rhythm, None
        shortage = self._budget.shortage(rhythm.trader_id, rhythm.model, now_ns)
        if shortage is not None and shortage.passes_soon:
            self._short[rhythm.model] = shortage
            if shortage is Shortage.RATE:
                self.try_again_ns = self._budget.next_request_ns
            return False
        if shortage is not None:
            rhythm.give_up(shortage, now_ns)
        elif not self._may_act(rhythm.trader_id, now_ns):
            rhythm.give_up(Refusal.TRADING_STATE, now_ns)
        else:
            due = rhythm.take(ready_ns, now_ns)
            self._budget.take(due.cycle_id, rhythm.model, now_ns)
        served.append((seat.rank or 0, rhythm.trader_id, due))
        return True
