"""How old each channel of each symbol is, in real seconds, and when it counts as silent. Pure.

A busy channel brings thousands of events a second, so only the first one after each look (`overdue`) is told
here; all that came until the next look counts as heard then. Ages are right to within the time of a look.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

Key = tuple[str, str]  # symbol, channel


class _Channel:
    __slots__ = ("heard_s", "limit_s", "live")

    def __init__(self, now_s: float, limit_s: float) -> None:
        self.heard_s = now_s
        self.limit_s = limit_s
        self.live: bool | None = None  # None: nothing came yet, and it is not overdue


class Freshness:
    """Tells each change once. A channel is live with its first data and stale when it is silent too long.

    `fresh` are the symbols heard since the last look, by channel: data of these need not be told.
    """

    def __init__(self, keys: Iterable[Key], limit_s: Callable[[str], float], now_s: float) -> None:
        self._channels = {key: _Channel(now_s, limit_s(key[1])) for key in keys}
        self.fresh: dict[str, set[str]] = {channel: set() for _, channel in self._channels}

    def heard(self, key: Key, now_s: float) -> bool:
        """Data came; True when the channel became live by it. Unknown channels are ignored."""
        channel = self._channels.get(key)
        if channel is None:
            return False
        channel.heard_s = now_s
        self.fresh[key[1]].add(key[0])
        if channel.live:
            return False
        channel.live = True
        return True

    def overdue(self, now_s: float) -> list[Key]:
        """Channels that became stale since the last call."""
        for name, symbols in self.fresh.items():
            for symbol in symbols:
                self._channels[symbol, name].heard_s = now_s
            symbols.clear()
        stale = [
            key
            for key, channel in self._channels.items()
            if channel.live is not False and now_s - channel.heard_s > channel.limit_s
        ]
        for key in stale:
            self._channels[key].live = False
        return stale

    def silence(self, key: Key) -> bool:
        """The channel will bring nothing (refused); True when that is news."""
        channel = self._channels.get(key)
        if channel is None or channel.live is False:
            return False
        channel.live = False
        self.fresh[key[1]].discard(key[0])
        return True

    def ages_s(self, now_s: float) -> dict[Key, float]:
        """Seconds since the last data of every channel; since the start for those that brought none."""
        return {key: now_s - channel.heard_s for key, channel in self._channels.items()}
