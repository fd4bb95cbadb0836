"""Rows of the public channels as OKX writes them, and their typed decoders. Prices are float.

A decoder checks types and ranges while it reads, in C, so that nothing behind it has to. Rows leave out the
symbol, which the frame's `arg` names; their readers (engine.exchange.okx.market_readers) rely on the order of
the fields.
"""

from __future__ import annotations

from typing import Annotated, Generic, TypeVar

import msgspec

from engine.core.market import Amount, Levels, Price, Side
from engine.exchange.okx.numbers import LAST_MS

T = TypeVar("T")
Real = Annotated[float, msgspec.Meta(gt=-1e18, lt=1e18)]
Millis = Annotated[int, msgspec.Meta(ge=0, le=LAST_MS)]


class Push(msgspec.Struct, Generic[T], gc=False):
    """A data frame or an answer of REST: both have `data`."""

    data: list[T]


class Arg(msgspec.Struct, frozen=True, gc=False):
    """What a frame of `books` is about."""

    instId: str = ""


class BookPush(msgspec.Struct, gc=False):
    """A frame of `books`; `action` tells snapshot from update."""

    data: list[BookRow]
    arg: Arg = Arg()
    action: str = ""


class TradeRow(msgspec.Struct, gc=False):
    px: Price
    sz: Price
    side: Side
    tradeId: str
    ts: Millis


class TickerRow(msgspec.Struct, gc=False):
    """A quote of 0 says, like "", that there is none."""

    last: Price
    ts: Millis
    bidPx: Amount | None = None
    askPx: Amount | None = None
    bidSz: Amount | None = None
    askSz: Amount | None = None
    volCcy24h: Real | None = None
    open24h: Amount | None = None


class MarkRow(msgspec.Struct, gc=False):
    markPx: Price
    ts: Millis


class IndexRow(msgspec.Struct, gc=False):
    idxPx: Price
    ts: Millis


class FundingRow(msgspec.Struct, gc=False):
    fundingRate: Real
    fundingTime: Millis
    ts: Millis | None = None  # absent before 2024


class InterestRow(msgspec.Struct, gc=False):
    oi: Real
    ts: Millis
    oiCcy: Real | None = None


class LimitRow(msgspec.Struct, gc=False):
    """`enabled` is false, and both prices are "", while the venue limits nothing."""

    ts: Millis
    buyLmt: Price | None = None
    sellLmt: Price | None = None


class TopRow(msgspec.Struct, gc=False):
    """What OKX writes behind price and contracts of a level (0, orders) is not read."""

    asks: Levels
    bids: Levels
    ts: Millis


class BookRow(TopRow, gc=False):
    seqId: int | None = None
    prevSeqId: int | None = None


class BookMessage(msgspec.Struct, frozen=True, gc=False):
    """One frame of `books`. `previous` is -1 for a snapshot and None where the channel has no chain."""

    symbol: str
    snapshot: bool
    bids: Levels
    asks: Levels
    sequence: int | None
    previous: int | None
    ts_event: int


class Bar(msgspec.Struct, array_like=True, gc=False):
    """`[ts, open, high, low, close, contracts, coins, quote, confirm]`; confirm is 1 when it is closed."""

    ts: Millis
    open: Price
    high: Price
    low: Price
    close: Price
    contracts: msgspec.Raw
    coins: Real | None
    quote: msgspec.Raw
    confirm: int
