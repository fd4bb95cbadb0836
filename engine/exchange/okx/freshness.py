"""How old each channel of each symbol is, in real seconds, and when it counts as silent. Pure.

A busy channel brings thousands of events a second, so only the first one after each look (`overdue`) is told
here; all that came until the next look counts as heard then. Ages are right to within the time of a look.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

Key = tuple[str, str]  # symbol, channel


class Pulse:
    """One channel of one symbol: when it was heard last, real seconds, and for how long it may be silent.

    `fresh`: it was heard since the last look, so that more of it need not be told until the next.
    """

    __slots__ = ("fresh", "heard_s", "limit_s", "live")

    def __init__(self, now_s: float, limit_s: float) -> None:
        self.heard_s = now_s
        self.limit_s = limit_s
        self.live: bool | None = None  # None: nothing came yet, and it is not overdue
        self.fresh = False

    def heard(self, now_s: float) -> bool:
        """Data came; True when the channel became live by it."""
        self.heard_s = now_s
        self.fresh = True
        if self.live:
            return False
        self.live = True
        return True


class Freshness:
    """Tells each change once. A channel is live with its first data and stale when it is silent too long."""

    def __init__(self, keys: Iterable[Key], limit_s: Callable[[str], float], now_s: float) -> None:
        self._pulses = {key: Pulse(now_s, limit_s(key[1])) for key in keys}

    def pulse(self, key: Key) -> Pulse | None:
        """Of a channel of a symbol; None for one that is not watched."""
        return self._pulses.get(key)

    def overdue(self, now_s: float) -> list[Key]:
        """Channels that became stale since the last call."""
        stale: list[Key] = []
        for key, pulse in self._pulses.items():
            if pulse.fresh:
                pulse.fresh = False
                pulse.heard_s = now_s
            elif pulse.live is not False and now_s - pulse.heard_s > pulse.limit_s:
                pulse.live = False
                stale.append(key)
        return stale

    def silence(self, key: Key) -> bool:
        """The channel will bring nothing (refused); True when that is news."""
        pulse = self._pulses.get(key)
        if pulse is None or pulse.live is False:
            return False
        pulse.live = pulse.fresh = False
        return True

    def ages_s(self, now_s: float) -> dict[Key, float]:
        """Seconds since the last data of every channel; since the start for those that brought none."""
        return {key: now_s - pulse.heard_s for key, pulse in self._pulses.items()}
