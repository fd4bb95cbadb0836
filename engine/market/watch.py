"""All that is known about one symbol: its newest quotes, its live features, its timeframes, its detectors."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import ClassVar, Final

from msgspec.structs import astuple

from engine.config.market import MarketConfig, StreamSpec, parse_stream
from engine.config.market_rules import Rule
from engine.core.market import (
    PRICE_LIMIT,
    TRADES,
    BookTop,
    Candle,
    ChannelState,
    FeedStatus,
    FundingRate,
    IndexPrice,
    MarketEvent,
    MarkPrice,
    OpenInterest,
    PriceLimits,
    Side,
    Ticker,
    Trade,
)
from engine.core.times import NS_PER_S
from engine.market.candles import Aggregator
from engine.market.detectors import BandDetector, detector
from engine.market.frames import Frame
from engine.market.scorer import Recurrence
from engine.market.stream import (
    Basis,
    BookImbalance,
    Change,
    ChangeZ,
    Gauge,
    LiveFeature,
    TradeFlow,
    spread_bps,
)
from engine.market.trade_candles import TradeCandles

# which kinds of live features an event may move
_MOVES: Final[Mapping[type[MarketEvent], frozenset[str]]] = {
    Trade: frozenset({"change_pct", "change_z", "trade_flow"}),
    Ticker: frozenset({"change_pct", "change_z", "spread_bps"}),
    Candle: frozenset({"change_pct", "change_z"}),
    BookTop: frozenset({"spread_bps", "book_imbalance"}),
    MarkPrice: frozenset({"basis_bps"}),
    IndexPrice: frozenset(),  # the mark of the same moment may not have come yet; basis is read with it
    FundingRate: frozenset({"funding_rate"}),
    OpenInterest: frozenset({"oi_change_pct"}),
    PriceLimits: frozenset(),
    FeedStatus: frozenset(),
}
_SLOW: Final = ("funding_rate", "oi_change_pct")


class Binding:
    """A detector at work on this symbol. `feature` is the live feature it reads, None on a timeframe.

    `band` is the detector where its band does not move, so that a value is all it needs to know.
    """

    __slots__ = ("band", "detector", "feature", "reads", "recurrence", "rule")
    STATE: ClassVar[tuple[str, ...]] = ("detector", "recurrence")

    def __init__(self, rule: Rule, half_life_s: float, feature: LiveFeature | None) -> None:
        self.rule = rule
        self.reads = rule.feature
        self.detector = made = detector(rule)
        self.band = made if isinstance(made, BandDetector) and made.fixed else None
        self.recurrence = Recurrence(half_life_s)
        self.feature = feature


class Watch:
    """State of one symbol. `apply` takes what is no candle; candles go through the frames.

    Prices are quote units, open interest is contracts, times are the venue's unless their name says seen.
    """

    STATE: ClassVar[tuple[str, ...]] = (
        "_ts_told",
        "aggregators",
        "ask",
        "bid",
        "book",
        "frame_bindings",
        "frames",
        "funding_rate",
        "highest_buy",
        "index",
        "last",
        "live",
        "live_bindings",
        "lowest_sell",
        "mark",
        "newest",
        "open_24h",
        "open_interest",
        "reference_px",
        "stale",
        "trades",
        "ts_24h",
        "ts_funding",
        "ts_funding_seen",
        "ts_index",
        "ts_last",
        "ts_limits",
        "ts_mark",
        "ts_open_interest",
        "ts_price",
        "ts_quotes",
        "ts_reference",
        "volume_24h",
    )

    def __init__(self, symbol: str, config: MarketConfig, contract_value: float) -> None:
        self.symbol = symbol
        self.last: float | None = None
        self.bid: float | None = None
        self.book: BookTop | None = None
        self.ask: float | None = None
        self.mark: float | None = None
        self.index: float | None = None
        self.funding_rate: float | None = None
        self.ts_funding: int | None = None
        self.open_interest: float | None = None
        self.highest_buy: float | None = None
        self.lowest_sell: float | None = None
        self.volume_24h: float | None = None
        self.open_24h: float | None = None
        self.reference_px: float | None = None
        self.ts_reference = 0  # when received
        self._index_refers = config.reference.source == "index"
        self.ts_last = 0  # venue time of `last`
        # when received; 0: never
        self.ts_price = self.ts_quotes = self.ts_mark = self.ts_index = self.ts_24h = self.ts_limits = 0
        self.ts_funding_seen = self.ts_open_interest = 0
        self._ts_told = 0  # venue time of bid and ask
        self.newest = 0  # newest time that any event told
        self.stale: list[str] = []
        self._build_candles(config, contract_value)
        self._build_live(config)
        self._build_bindings(config)
        self._apply: dict[type[MarketEvent], Callable[..., None]] = {
            Trade: self._on_trade,
            Ticker: self._on_ticker,
            BookTop: self._on_book,
            MarkPrice: self._on_mark,
            IndexPrice: self._on_index,
            FundingRate: self._on_funding,
            OpenInterest: self._on_open_interest,
            PriceLimits: self._on_limits,
            FeedStatus: self._on_status,
        }

    def apply(self, event: MarketEvent) -> None:
        """Take in an event that is no candle."""
        self._apply[type(event)](event)

    def reopen(self) -> None:
        """The feed begins anew: silent channels and half a candle are of the former one.

        So are the prices that follow each other: an old mark or book must not pass for that of a new trade.
        """
        self.stale = []
        self.bid = self.ask = self.book = self.mark = self.index = self.highest_buy = self.lowest_sell = None
        self._ts_told = self.ts_quotes = self.ts_mark = self.ts_index = self.ts_limits = 0
        for frame in self.frames.values():
            frame.series.forming = None
        if self.trades is not None:
            self.trades.reset()

    def seen_price(self, ts: int, price: float, ts_recv: int) -> None:
        """A price of the venue's time `ts`; one that is older than the newest is left out."""
        if ts < self.ts_last:
            return
        self.last, self.ts_last, self.ts_price = price, ts, ts_recv or ts
        for feature in self._of_price:
            feature.add(ts, price)

    def seen(self, ts_event: int, ts_recv: int) -> None:
        """Some event told this time; the age of an edge is measured against the newest."""
        newest = ts_event if ts_event > ts_recv else ts_recv
        self.newest = max(self.newest, newest)

    def _on_trade(self, event: Trade) -> None:
        _, price, size, side, _, ts, ts_recv = astuple(event)
        self.seen(ts, ts_recv)
        self.seen_price(ts, price, ts_recv)
        bought = side is Side.BUY
        for flow in self._flows:
            flow.add(ts, size, bought=bought)

    def _on_ticker(self, event: Ticker) -> None:
        _, last, bid, ask, _, _, self.volume_24h, self.open_24h, ts, ts_recv = astuple(event)
        self.seen(ts, ts_recv)
        self.seen_price(ts, last, ts_recv)
        self.ts_24h = ts_recv or ts
        self._quotes(ts, self.ts_24h, bid, ask)

    def _on_book(self, event: BookTop) -> None:
        _, bids, asks, ts, ts_recv = astuple(event)
        self.seen(ts, ts_recv)
        self.book = event
        self._quotes(ts, ts_recv or ts, bids[0].price if bids else None, asks[0].price if asks else None)
        for imbalance in self._imbalances:
            imbalance.set(ts, event)

    def _quotes(self, ts: int, seen: int, bid: float | None, ask: float | None) -> None:
        if ts < self._ts_told:
            return
        self._ts_told, self.ts_quotes = ts, seen
        self.bid, self.ask = bid, ask
        for gauge in self._spreads:
            gauge.set(ts, spread_bps(bid, ask))

    def _on_mark(self, event: MarkPrice) -> None:
        _, price, ts, ts_recv = astuple(event)
        self.seen(ts, ts_recv)
        self.mark, self.ts_mark = price, ts_recv or ts
        for basis in self._bases:
            basis.set_mark(ts, price)

    def _on_index(self, event: IndexPrice) -> None:
        self.seen(event.ts_event, event.ts_recv)
        self.index, self.ts_index = event.price, event.ts_recv or event.ts_event
        if self._index_refers:
            self.refer(event.price, self.ts_index)
        for basis in self._bases:
            basis.set_index(event.ts_event, event.price)

    def refer(self, price: float, ts: int) -> None:
        """The price of the second source, as of `ts`."""
        self.reference_px, self.ts_reference = price, ts

    def _on_funding(self, event: FundingRate) -> None:
        self.seen(event.ts_event, event.ts_recv)
        self.funding_rate, self.ts_funding = event.rate, event.ts_funding
        self.ts_funding_seen = event.ts_recv or event.ts_event
        for gauge in self._fundings:
            gauge.set(event.ts_event, event.rate)

    def _on_open_interest(self, event: OpenInterest) -> None:
        self.seen(event.ts_event, event.ts_recv)
        self.open_interest = event.contracts
        self.ts_open_interest = event.ts_recv or event.ts_event
        for change in self._of_interest:
            change.add(event.ts_event, event.contracts)

    def _on_limits(self, event: PriceLimits) -> None:
        self.seen(event.ts_event, event.ts_recv)
        self.highest_buy, self.lowest_sell = event.highest_buy, event.lowest_sell
        self.ts_limits = event.ts_recv or event.ts_event

    def _on_status(self, event: FeedStatus) -> None:
        self.seen(event.ts_event, event.ts_recv)
        if event.state is ChannelState.LIVE:
            self.stale = [channel for channel in self.stale if channel != event.channel]
        elif event.channel not in self.stale:
            self.stale = sorted((*self.stale, event.channel))
        if event.state is ChannelState.STALE:
            if event.channel == PRICE_LIMIT:  # they follow the price: old ones say nothing
                self.highest_buy = self.lowest_sell = None
            elif event.channel == TRADES and self.trades is not None:
                self.trades.reset()  # some may be missing from now on: their candles come by REST

    def _build_candles(self, config: MarketConfig, contract_value: float) -> None:
        base, *longer = config.timeframes
        self.frames: dict[str, Frame] = {
            timeframe: Frame(self.symbol, timeframe, config) for timeframe in config.timeframes
        }
        self.base = self.frames[base]  # the shortest, of which the others are made
        self.aggregators = [Aggregator(base, timeframe) for timeframe in longer] if config.aggregate else []
        by_trades = config.candles == "trades"
        self.trades = TradeCandles(self.symbol, base, contract_value) if by_trades else None

    def _build_live(self, config: MarketConfig) -> None:
        specs = [parse_stream(text) for text in config.stream]
        self._kinds = {spec.name: spec.kind for spec in specs}
        max_age_ns = int(config.max_age * NS_PER_S)
        self.live = [_live_feature(spec, max_age_ns) for spec in specs]
        pairs = list(zip(specs, self.live, strict=True))
        self._of_price = [
            f for s, f in pairs if s.kind != "oi_change_pct" and isinstance(f, Change | ChangeZ)
        ]
        self._of_interest = [f for s, f in pairs if s.kind == "oi_change_pct" and isinstance(f, Change)]
        self._flows = [f for f in self.live if isinstance(f, TradeFlow)]
        self._bases = [f for f in self.live if isinstance(f, Basis)]
        gauges = [(s, f) for s, f in pairs if isinstance(f, Gauge)]
        self._spreads = [f for s, f in gauges if s.kind == "spread_bps"]
        self._fundings = [f for s, f in gauges if s.kind == "funding_rate"]
        self._imbalances = [f for f in self.live if isinstance(f, BookImbalance)]

    def _build_bindings(self, config: MarketConfig) -> None:
        features = {feature.name: feature for feature in self.live}
        half_life_s = config.scorer.rarity_half_life
        rules = [rule for rule in config.detectors if rule.watches(self.symbol)]
        self.frame_bindings: dict[str, list[Binding]] = {
            timeframe: [Binding(rule, half_life_s, None) for rule in rules if rule.timeframe == timeframe]
            for timeframe in config.timeframes
        }
        self.live_bindings = [
            Binding(rule, half_life_s, features[rule.feature]) for rule in rules if not rule.timeframe
        ]
        self.moved_by = {
            kind: tuple(b for b in self.live_bindings if self._kinds[b.rule.feature] in moved)
            for kind, moved in _MOVES.items()
        }


def _live_feature(spec: StreamSpec, max_age_ns: int) -> LiveFeature:
    match spec.kind:
        case "change_pct" | "oi_change_pct":
            return Change(spec.name, spec.window_s)
        case "change_z":
            return ChangeZ(spec.name, spec.window_s)
        case "trade_flow":
            return TradeFlow(spec.name, spec.window_s)
        case "book_imbalance":
            return BookImbalance(spec.name, spec.levels)
        case "basis_bps":
            return Basis(spec.name, max_age_ns)
        case _:
            return Gauge(spec.name)


def is_slow(feature: LiveFeature) -> bool:
    """Whether its source speaks rarely (funding every minute), so that an old value is not a stale one."""
    return feature.name.startswith(_SLOW)


def trends(frames: Iterable[Frame], without: str) -> list[int]:
    """Trends of all timeframes but one."""
    return [frame.trend for frame in frames if frame.timeframe != without]
