"""Frame to signal, without any I/O: candles, indicators, detectors and scores of all watched symbols.

Single-threaded and deterministic: the same events in the same order give the same signals, bit for bit.
Nothing reads a clock; time comes with the events.
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Mapping, Sequence
from enum import Enum, auto
from typing import Final

import msgspec

from engine.config.market import MarketConfig
from engine.core.market import Candle, MarketEvent, Trade
from engine.core.signals import MarketSnapshot, Signal
from engine.core.times import NS_PER_S
from engine.market.evaluation import Evaluation
from engine.market.frames import Frame
from engine.market.records import ClosedCandle, Gap
from engine.market.snapshot import snapshot
from engine.market.state import freeze, shape, thaw
from engine.market.watch import Watch

_NONE: Final[tuple[Signal, ...]] = ()
_MAX_CLOSED: Final = 50_000


class _Mode(Enum):
    LIVE = auto()  # crossings become signals
    SILENT = auto()  # detectors follow, nobody is told
    PASS = auto()  # detectors are not asked


class MarketPipeline:
    """All symbols of one configuration.

    `contract_values` are coins a contract, needed where candles are made of trades (1 if absent).
    """

    def __init__(self, config: MarketConfig, contract_values: Mapping[str, float] | None = None) -> None:
        self._config = config
        self._evaluation = Evaluation(config.scorer)
        self._max_age_ns = int(config.max_age * NS_PER_S)
        self._contract_values = dict(contract_values or {})
        self._watches = {symbol: self._blank(symbol) for symbol in config.symbols}
        self._base = config.timeframes[0]
        self._fingerprint = _fingerprint(config, self._blank(config.symbols[0]))
        self._closed: deque[ClosedCandle] = deque(maxlen=_MAX_CLOSED)
        self._gaps: list[Gap] = []
        self.moved: dict[str, None] = {}  # symbols of which something was heard since `take_moved`
        self.ignored = 0  # events of symbols and timeframes that are not watched

    def set_contract_values(self, contract_values: Mapping[str, float]) -> None:
        """Coins a contract, for candles made of trades; before the first trade."""
        self._contract_values.update(contract_values)
        for symbol, watch in self._watches.items():
            if watch.trades is not None and symbol in contract_values:
                watch.trades.contract_value = contract_values[symbol]

    def update_all(self, events: Sequence[MarketEvent]) -> Sequence[Signal]:
        """Take in events, oldest first; return the signals that they make, in order."""
        signals: list[Signal] = []
        for event in events:
            made = self.update(event)
            if made:
                signals += made
        return signals or _NONE

    def update(self, event: MarketEvent) -> Sequence[Signal]:
        """Take in one event; return the signals that it makes, in order."""
        watch = self._watches.get(event.symbol)
        if watch is None:
            self.ignored += 1
            return _NONE
        self.moved[watch.symbol] = None
        if type(event) is Candle:
            return self._on_candle(watch, event)
        watch.apply(event)
        signals: list[Signal] = []
        if watch.trades is not None and type(event) is Trade:
            for candle in watch.trades.add(event):
                signals += self._series(watch, watch.base, candle)
        if moved := watch.moved_by[type(event)]:
            signals += self._evaluation.live(watch, moved, event.ts_event)
        return signals or _NONE

    def refer(self, symbol: str, price: float, ts_ns: int) -> None:
        """A price of another source than the feed (engine.market.reference)."""
        self._watches[symbol].refer(price, ts_ns)

    def advance(self, now_ns: int) -> Sequence[Signal]:
        """Close the candles made of trades that ended by `now_ns` less the grace; else nothing to do."""
        ts = now_ns - int(self._config.trade_grace * NS_PER_S)
        signals: list[Signal] = []
        for watch in self._watches.values():
            for candle in watch.trades.advance(ts) if watch.trades is not None else ():
                signals += self._series(watch, watch.base, candle)
        return signals or _NONE

    def warm_up(self, symbol: str, timeframe: str, candles: Sequence[Candle]) -> Sequence[Signal]:
        """Begin a timeframe anew with the venue's history (its newest closed candles).

        The first time the detectors follow silently. Later (a gap too long to fill) they look only at the
        end, so that what they had said and what holds now differ by signals. The base is to come last.
        """
        watch = self._watches[symbol]
        frame = watch.frames[timeframe]
        first = frame.series.last_open is None
        frame.reset()
        if timeframe == self._base:
            for aggregator in watch.aggregators:
                aggregator.reset()
        mode = _Mode.SILENT if first else _Mode.PASS
        signals: list[Signal] = []
        for candle in frame.series.rebuild(candles):
            signals += self._close(watch, frame, candle, mode)
        if not first and frame.ts_close is not None:
            signals += self._evaluation.closed(watch, frame, frame.ts_close)
        return signals or _NONE

    def backfill(self, symbol: str, timeframe: str, candles: Sequence[Candle]) -> Sequence[Signal]:
        """Give the candles that a Gap asked for; all that waited behind it is worked through in order."""
        watch = self._watches[symbol]
        frame = watch.frames[timeframe]
        return self._close_all(watch, frame, frame.series.fill(candles))

    def skip_gap(self, symbol: str, timeframe: str) -> Sequence[Signal]:
        """Go on without the candles that a Gap asked for; a recording has no more."""
        watch = self._watches[symbol]
        frame = watch.frames[timeframe]
        return self._close_all(watch, frame, frame.series.skip())

    def gap(self, symbol: str, timeframe: str) -> Gap | None:
        """What a timeframe waits for right now."""
        return self._watches[symbol].frames[timeframe].series.gap

    def take_gaps(self) -> Sequence[Gap]:
        """Gaps that were found since the last call, each once."""
        if not self._gaps:
            return ()
        gaps, self._gaps = self._gaps, []
        return gaps

    def take_closed(self) -> Sequence[ClosedCandle]:
        """Candles that were closed since the last call, in order; of more than 50,000 the oldest go."""
        closed = tuple(self._closed)
        self._closed.clear()
        return closed

    def take_moved(self) -> Sequence[str]:
        """Symbols of which something was heard since the last call."""
        moved = tuple(self.moved)
        self.moved.clear()
        return moved

    def snapshot(self, symbol: str, now_ns: int) -> MarketSnapshot:
        """What may be known about the symbol at `now_ns`."""
        known = snapshot(self._watches[symbol], now_ns, self._max_age_ns)
        if not self._config.forming:
            return known
        views = [
            msgspec.structs.replace(view, forming=self.forming(symbol, view.timeframe))
            for view in known.timeframes
        ]
        return msgspec.structs.replace(known, timeframes=tuple(views))

    def forming(self, symbol: str, timeframe: str) -> dict[str, float | None] | None:
        """Features as if the candle in the making were closed; None while there is none. Changes nothing."""
        watch = self._watches[symbol]
        frame, base = watch.frames[timeframe], watch.base
        newest = watch.trades.forming if watch.trades is not None else base.series.forming
        if frame is not base and watch.aggregators:
            by = next(a for a in watch.aggregators if a.timeframe == timeframe)
            newest = None if newest is None else by.peek(newest)
        elif frame is not base:
            newest = frame.series.forming
        return None if newest is None else frame.forming(newest)

    def state(self, symbol: str) -> bytes:
        """All that `restore` needs to go on bit for bit with the symbol."""
        return msgspec.msgpack.encode((self._fingerprint, freeze(self._watches[symbol])))

    def restore(self, symbol: str, state: bytes) -> bool:
        """Go on where `state` was taken.

        False, and nothing changes, when it is of another configuration or version, or no state at all.
        """
        watch = self._blank(symbol)
        try:
            fingerprint, body = msgspec.msgpack.decode(state)
            if fingerprint != self._fingerprint:
                return False
            thaw(watch, body)
        except (msgspec.DecodeError, ValueError, TypeError, LookupError, AttributeError):
            return False
        self._watches[symbol] = watch
        return True

    def reopen(self, symbol: str) -> None:
        """The feed begins anew after a restart: what it was in the middle of telling is forgotten."""
        self._watches[symbol].reopen()

    def missing(self, symbol: str, timeframe: str, now_ns: int) -> int | None:
        """How many candles have closed by `now_ns` since the newest one; None before the first."""
        series = self._watches[symbol].frames[timeframe].series
        if series.last_open is None:
            return None
        return max(0, (now_ns - series.last_open) // series.step_ns - 1)

    def catch_up(
        self, symbol: str, timeframe: str, candles: Sequence[Candle], now_ns: int
    ) -> Sequence[Signal] | None:
        """Work through the venue's newest closed candles after a restart; their edges are not fresh.

        None, and nothing changes, when they do not reach back to the newest that was seen.
        """
        watch = self._watches[symbol]
        frame = watch.frames[timeframe]
        last, closed = frame.series.last_open, sorted((c for c in candles if c.closed), key=_opened)
        if last is None or not closed or closed[0].ts_open > last + frame.series.step_ns:
            return None
        watch.seen(now_ns, 0)
        signals: list[Signal] = []
        for candle in closed:
            if candle.ts_open > last:
                signals += self._series(watch, frame, candle)
        return signals or _NONE

    def _blank(self, symbol: str) -> Watch:
        return Watch(symbol, self._config, self._contract_values.get(symbol, 1.0))

    def _on_candle(self, watch: Watch, candle: Candle) -> Sequence[Signal]:
        frame = watch.frames.get(candle.timeframe)
        made = frame is not watch.base and watch.aggregators
        if frame is None or made or watch.trades is not None:
            self.ignored += 1
            return _NONE
        watch.seen(candle.ts_event, candle.ts_recv)
        return self._series(watch, frame, candle)

    def _series(self, watch: Watch, frame: Frame, candle: Candle) -> Sequence[Signal]:
        """One candle of the feed or of our making through the order of its series."""
        series = frame.series
        waited = bool(series.held)
        passed = series.accept(candle)
        if len(passed) == 1:
            return self._close(watch, frame, candle, _Mode.LIVE)
        if series.held and not waited and (gap := series.gap) is not None:
            self._gaps.append(gap)
        return self._close_all(watch, frame, passed)

    def _close_all(self, watch: Watch, frame: Frame, candles: Sequence[Candle]) -> Sequence[Signal]:
        signals: list[Signal] = []
        for candle in candles:
            signals += self._close(watch, frame, candle, _Mode.LIVE)
        return signals or _NONE

    def _close(self, watch: Watch, frame: Frame, candle: Candle, mode: _Mode) -> Sequence[Signal]:
        """The next closed candle of a timeframe, and of the longer ones that it completes."""
        frame.absorb(candle)
        self._closed.append(ClosedCandle(candle, frame.features))
        ts = candle.ts_open + frame.series.step_ns
        watch.seen(ts, candle.ts_recv)
        watch.seen_price(ts, candle.close, candle.ts_recv)
        signals: list[Signal] = []
        if mode is not _Mode.PASS:
            signals += self._evaluation.closed(watch, frame, ts)
            if live := watch.moved_by[Candle]:
                signals += self._evaluation.live(watch, live, ts)
        if mode is _Mode.SILENT:
            signals.clear()
        if frame is watch.base:
            for aggregator in watch.aggregators:
                for longer in aggregator.add(candle):
                    made = self._series(watch, watch.frames[aggregator.timeframe], longer)
                    signals += () if mode is _Mode.SILENT else made
        return signals


def _opened(candle: Candle) -> int:
    return candle.ts_open


def _fingerprint(config: MarketConfig, watch: Watch) -> str:
    """Of what gives the state of a symbol its shape and meaning."""
    shaping = (
        *(config.timeframes, config.candles, config.aggregate, config.closes, config.indicators),
        *(config.stream, config.detectors, config.scorer, config.reference.source, shape(watch)),
    )
    return hashlib.sha256(msgspec.json.encode(shaping, enc_hook=float)).hexdigest()
