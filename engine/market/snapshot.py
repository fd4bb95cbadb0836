"""What may be known about a symbol, for traders and the API: nothing invented, everything with its age."""

from __future__ import annotations

from typing import Final

from engine.core.signals import SHOWN_LEVELS, MarketSnapshot
from engine.market.stream import LiveFeature
from engine.market.watch import Watch, is_slow

_SLOW_FACTOR: Final = 10  # sources that speak once a minute may be this much older


def snapshot(watch: Watch, now: int, max_age_ns: int) -> MarketSnapshot:
    """The symbol at `now`.

    Live features whose source is older than `max_age_ns` (funding and open interest: ten times that) are
    unknown. `stale` also names the timeframes that wait for missing candles. Changes nothing.
    """
    change = (watch.last / watch.open_24h - 1.0) * 100.0 if watch.last and watch.open_24h else None
    book = watch.book
    views = (frame.view() for frame in watch.frames.values())
    gaps = [f"candles {frame.timeframe}" for frame in watch.frames.values() if frame.series.held]
    return MarketSnapshot(
        symbol=watch.symbol,
        ts=now,
        last=watch.last,
        bid=watch.bid,
        ask=watch.ask,
        bids=() if book is None else book.bids[:SHOWN_LEVELS],
        asks=() if book is None else book.asks[:SHOWN_LEVELS],
        mark=watch.mark,
        index=watch.index,
        funding_rate=watch.funding_rate,
        ts_funding=watch.ts_funding,
        open_interest=watch.open_interest,
        highest_buy=watch.highest_buy,
        lowest_sell=watch.lowest_sell,
        volume_24h=watch.volume_24h,
        change_24h_pct=change,
        ts_price=watch.ts_price,
        ts_quotes=watch.ts_quotes,
        ts_book=0 if book is None else book.ts_recv or book.ts_event,
        ts_mark=watch.ts_mark,
        ts_index=watch.ts_index,
        ts_limits=watch.ts_limits,
        ts_24h=watch.ts_24h,
        ts_funding_seen=watch.ts_funding_seen,
        ts_open_interest=watch.ts_open_interest,
        reference_px=watch.reference_px,
        ts_reference=watch.ts_reference,
        live={feature.name: _known(feature, now, max_age_ns) for feature in watch.live},
        ts_live={feature.name: feature.ts for feature in watch.live if feature.ts},
        timeframes=tuple(view for view in views if view is not None),
        stale=(*watch.stale, *gaps),
    )


def _known(feature: LiveFeature, now: int, max_age_ns: int) -> float | None:
    limit = max_age_ns * _SLOW_FACTOR if is_slow(feature) else max_age_ns
    return feature.value(now) if now - feature.ts <= limit else None
