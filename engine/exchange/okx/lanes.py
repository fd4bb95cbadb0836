"""What happens to each data frame of a public channel: decoded, checked, noted as heard, passed on."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable, Iterable
from typing import Any, Final

from engine.core.market import Trade
from engine.exchange.okx.market_rows import read
from engine.exchange.okx.market_wire import Codec, Events

_REMEMBERED_TRADES: Final = 256
_REMEMBERED_DELAYS: Final = 4096  # until somebody takes them; the oldest go


class Lane:
    """One channel, whose events go to `put`.

    `heard` is told of data of a symbol that is not in `fresh`; `check` may leave events out.
    """

    def __init__(
        self,
        codec: Codec,
        put: Callable[[Events], None],
        fresh: set[str],
        heard: Callable[[str, int], None],
        check: Callable[[Events], Events] | None = None,
    ) -> None:
        self._decode: Callable[[bytes], Any] = codec.decode
        self._events: Callable[[Any, int], Events] = codec.events
        self._put, self._check = put, check
        self._fresh, self._heard = fresh, heard
        self.pushes = 0

    def take(self, frame: bytes, ts_recv: int) -> None:
        """One frame, received at `ts_recv`. Raises CodecError."""
        self.pushes += 1
        try:
            push = self._decode(frame)
        except (ValueError, RecursionError):
            push = read(self._decode, frame)
        events = self._events(push, ts_recv)
        for event in events:
            if event.symbol not in self._fresh:
                self._heard(event.symbol, ts_recv)
        self._put(events if self._check is None else self._check(events))


class NewTrades:
    """Leaves out trades that were told before: OKX sends the newest one again after each subscription.

    Of the others it keeps how long they took from the venue's time to ours.
    """

    def __init__(self, symbols: Iterable[str]) -> None:
        self._seen = {symbol: OrderedDict[str, None]() for symbol in symbols}
        self._delays_ns: deque[int] = deque(maxlen=_REMEMBERED_DELAYS)

    def check(self, events: Events) -> Events:
        """The new ones."""
        new: Events = []
        for event in events:
            if not isinstance(event, Trade):
                continue
            seen = self._seen.get(event.symbol)
            if seen is None or event.trade_id in seen:
                continue
            seen[event.trade_id] = None
            if len(seen) > _REMEMBERED_TRADES:
                seen.popitem(last=False)
            self._delays_ns.append(event.ts_recv - event.ts_event)
            new.append(event)
        return new

    def take_delays_ns(self) -> list[int]:
        """Of the newest trades since the last call."""
        taken = list(self._delays_ns)
        self._delays_ns.clear()
        return taken
