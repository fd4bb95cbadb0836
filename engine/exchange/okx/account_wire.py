"""Balances, positions, fills' bills and settings of the account: bytes to Decimal structs. Pure.

The same records come from REST and from the private socket, so one decoder serves both: each reads the
`data` array of either. https://www.okx.com/docs-v5/en/#trading-account.
"""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal
from typing import Final, Generic, TypeVar

import msgspec

from engine.core.cash import VenueFunding, VenueTransfer
from engine.core.errors import CodecError
from engine.core.instruments import FeeTier
from engine.core.orders import ZERO, PositionSide
from engine.exchange.okx.numbers import decimal, ms_to_ns, or_zero, required
from engine.exchange.ports import VenueBalance, VenuePosition

T = TypeVar("T")
FUNDING_BILL: Final = "8"
_TRADE_BILL: Final = "2"


class Rows(msgspec.Struct, Generic[T]):
    """Anything with a `data` array: an answer or a push."""

    data: list[T]


def read_rows(decoder: msgspec.json.Decoder[Rows[T]], body: bytes) -> list[T]:
    """Rows of an answer or a push. Raises CodecError."""
    try:
        return decoder.decode(body).data
    except (ValueError, RecursionError) as error:
        raise CodecError(f"unexpected payload: {error}", body) from error


class _Detail(msgspec.Struct):
    ccy: str = ""
    cashBal: str | None = None
    eq: str | None = None
    availEq: str | None = None
    availBal: str | None = None
    uTime: str | None = None


class _Account(msgspec.Struct):
    uTime: str | None = None
    details: list[_Detail] = []


_accounts: Final = msgspec.json.Decoder(Rows[_Account])


def decode_balance(body: bytes, currency: str) -> VenueBalance | None:
    """The settlement currency of account/balance or of channel `account`; None when it is not in there.

    An event push lists changed currencies only, so None there means unchanged. Raises CodecError.
    """
    for account in read_rows(_accounts, body):
        for row in account.details:
            if row.ccy == currency and row.cashBal and row.eq:
                return VenueBalance(
                    currency=currency,
                    cash=required(row.cashBal, "cashBal"),
                    equity=required(row.eq, "eq"),
                    available=or_zero(row.availEq or row.availBal),
                    ts_event=ms_to_ns(row.uTime or account.uTime),
                )
    return None


class _Position(msgspec.Struct):
    instId: str
    instType: str = ""
    pos: str | None = None
    posSide: str = ""
    avgPx: str | None = None
    markPx: str | None = None
    upl: str | None = None
    lever: str | None = None
    liqPx: str | None = None
    imr: str | None = None
    margin: str | None = None
    uTime: str | None = None


_positions: Final = msgspec.json.Decoder(Rows[_Position])


def decode_positions(body: bytes) -> list[VenuePosition]:
    """Swap positions; one that was just closed has 0 contracts. Raises CodecError.

    OKX signs a net position and writes the short side of a long_short account as a positive number.
    """
    return [_position(row) for row in read_rows(_positions, body) if row.instType == "SWAP"]


def _position(row: _Position) -> VenuePosition:
    side = position_side(row.posSide)
    contracts = or_zero(row.pos)
    return VenuePosition(
        symbol=row.instId,
        position_side=side,
        contracts=-abs(contracts) if side is PositionSide.SHORT else contracts,
        average_price=or_zero(row.avgPx),
        mark_price=decimal(row.markPx),
        unrealised=decimal(row.upl),
        leverage=decimal(row.lever),
        liquidation_price=decimal(row.liqPx),
        margin=decimal(row.imr) or decimal(row.margin),
        ts_event=ms_to_ns(row.uTime),
    )


def position_side(text: str | None) -> PositionSide | None:
    """long and short are sides; net, "" and anything unheard of are None: the account nets."""
    return PositionSide(text) if text in {"long", "short"} else None


class _Bill(msgspec.Struct):
    billId: str
    type: str = ""
    instId: str = ""
    posSide: str | None = None
    balChg: str | None = None
    sz: str | None = None
    px: str | None = None
    ordId: str | None = None
    tradeId: str | None = None
    ts: str | None = None


_bills: Final = msgspec.json.Decoder(Rows[_Bill])


class BillPage(msgspec.Struct, Generic[T], frozen=True):
    """What was looked for in one page of bills, newest first, and the cursor to the next page; "" if none."""

    found: tuple[T, ...]
    rows: int
    cursor: str


def decode_transfer_bills(body: bytes) -> BillPage[VenueTransfer]:
    """What moved cash in a page of account/bills by no trade and no funding. Raises CodecError."""
    rows = read_rows(_bills, body)
    transfers = tuple(
        VenueTransfer(bill_id=row.billId, amount=or_zero(row.balChg), ts_event=ms_to_ns(row.ts))
        for row in rows
        if row.type not in {_TRADE_BILL, FUNDING_BILL}
        and not (row.ordId or row.tradeId)
        and or_zero(row.balChg)
    )
    return BillPage(transfers, len(rows), rows[-1].billId if rows else "")


def decode_funding_bills(body: bytes) -> BillPage[VenueFunding]:
    """A page of account/bills. OKX names no position side in it. Raises CodecError."""
    rows = read_rows(_bills, body)
    charges = tuple(
        VenueFunding(
            bill_id=row.billId,
            symbol=row.instId,
            position_side=position_side(row.posSide),
            amount=required(row.balChg, "balChg"),
            contracts=abs(or_zero(row.sz)),
            mark_price=decimal(row.px),
            ts_event=ms_to_ns(row.ts),
        )
        for row in rows
        if row.type == FUNDING_BILL and row.instId
    )
    return BillPage(charges, len(rows), rows[-1].billId if rows else "")


class _Rate(msgspec.Struct):
    fundingTime: str
    realizedRate: str | None = None
    fundingRate: str | None = None


_rates: Final = msgspec.json.Decoder(Rows[_Rate])


def decode_funding_rates(body: bytes) -> list[tuple[int, Decimal]]:
    """(funding time in ns, rate that was charged), newest first. Raises CodecError."""
    return [
        (ms_to_ns(row.fundingTime), or_zero(row.realizedRate or row.fundingRate))
        for row in read_rows(_rates, body)
    ]


def decode_funding_signs(body: bytes) -> list[tuple[int, int]]:
    """(funding time in ns, sign of the rate that was charged), newest first. Raises CodecError."""
    return [(ts, (rate > 0) - (rate < 0)) for ts, rate in decode_funding_rates(body)]


def charged_side(
    charge: VenueFunding, rates: Iterable[tuple[int, int]], slack_ns: int
) -> PositionSide | None:
    """Which side a charge is for: a long pays a positive rate and receives a negative one.

    `rates` are newest first. None when the charge or its rate is 0, or the rate is not among them.
    """
    for ts, sign in rates:
        if ts <= charge.ts_event + slack_ns:
            paid = charge.amount < ZERO
            if not sign or charge.amount == ZERO:
                return None
            return PositionSide.LONG if paid is (sign > 0) else PositionSide.SHORT
    return None


class AccountSettings(msgspec.Struct, frozen=True):
    """account/config, as far as the start-up check reads it."""

    acctLv: str = ""
    posMode: str = ""
    perm: str = ""
    uid: str = ""
    label: str = ""
    ip: str = ""


_settings: Final = msgspec.json.Decoder(Rows[AccountSettings])


def decode_settings(body: bytes) -> AccountSettings:
    """Settings of the account. Raises CodecError."""
    rows = read_rows(_settings, body)
    if not rows:
        raise CodecError("account/config is empty", body)
    return rows[0]


class _Fees(msgspec.Struct):
    level: str = ""
    maker: str | None = None
    taker: str | None = None
    makerU: str | None = None
    takerU: str | None = None
    feeGroup: list[_Fees] = []


_fees: Final = msgspec.json.Decoder(Rows[_Fees])


def decode_fees(body: bytes) -> FeeTier:
    """The dearest group of account/trade-fee for linear swaps. Raises CodecError.

    OKX writes a charge as a negative rate: "-0.0005".
    """
    rows = read_rows(_fees, body)
    if not rows:
        raise CodecError("account/trade-fee is empty", body)
    makers, takers = [], []
    for group in rows[0].feeGroup or rows[:1]:
        makers.append(required(group.makerU or group.maker, "maker"))
        takers.append(required(group.takerU or group.taker, "taker"))
    return FeeTier(rows[0].level, ZERO - min(makers), ZERO - min(takers))


class _Leverage(msgspec.Struct):
    lever: str = ""
    posSide: str = ""


_leverages: Final = msgspec.json.Decoder(Rows[_Leverage])


def decode_leverage(body: bytes) -> frozenset[str]:
    """Every leverage that account/leverage-info names, without trailing zeros. Raises CodecError."""
    found = (decimal(row.lever) for row in read_rows(_leverages, body))
    return frozenset(format(value.normalize(), "f") for value in found if value is not None)
