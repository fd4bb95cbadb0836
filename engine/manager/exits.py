"""What open positions need between decisions: stops that follow the price, and an end in time. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Final

from engine.config.manager import RiskConfig
from engine.core.decisions import AccountView, PositionView
from engine.core.instruments import Instrument
from engine.core.orders import PositionSide
from engine.core.times import NS_PER_S

_STEP: Final = Decimal("0.1")  # of the trailing distance: smaller moves are not worth a request


def trailed_stop(
    held: PositionView, limits: RiskConfig, instrument: Instrument, mark: Decimal
) -> Decimal | None:
    """Where a trailing stop belongs now; None while it stays. It only ever moves toward less risk."""
    distance = mark * limits.trailing_stop_pct / 100
    if not distance or held.stop_loss is None:
        return None
    sign = held.side.sign
    to_tick = instrument.price_below if held.side is PositionSide.LONG else instrument.price_above
    stop = to_tick(mark - sign * distance)
    gained = (stop - held.stop_loss) * sign
    return stop if gained >= distance * _STEP else None


def trailed(
    account: AccountView,
    limits: RiskConfig,
    instruments: Mapping[str, Instrument],
    marks: Mapping[str, Decimal],
) -> Iterator[tuple[PositionView, Decimal]]:
    """Positions of an account whose stop belongs elsewhere, and where."""
    for held in account.positions:
        mark, instrument = marks.get(held.symbol), instruments.get(held.symbol)
        if mark is not None and instrument is not None:
            stop = trailed_stop(held, limits, instrument, mark)
            if stop is not None:
                yield held, stop


def overdue(account: AccountView, limits: RiskConfig, now_ns: int) -> tuple[PositionView, ...]:
    """Positions that have been held for longer than they may."""
    if limits.max_holding is None:
        return ()
    oldest = now_ns - int(limits.max_holding * NS_PER_S)
    return tuple(held for held in account.positions if held.ts_opened <= oldest)
