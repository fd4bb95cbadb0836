"""Orders and fills as OKX tells them: bytes to records, records to execution reports. Pure.

https://www.okx.com/docs-v5/en/#order-book-trading-trade-ws-order-channel and the REST pages beside it; REST
and socket share the record. Three things differ from what their names say: `avgPx` of an unfilled order is
"0" on the socket and "" in REST; `fillPx`, `fillSz` and `tradeId` are of *this* update on the socket and of
the newest fill in REST; a liquidation's trade id is "0" on the socket and negative in the fills.

What the journal keeps of an order is OKX's own row, so the rows of orders, fills and acknowledgements stay
with what was read from them. They name an account's orders, never its keys.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Final, TypeVar

import msgspec

from engine.core.errors import CodecError, Defect
from engine.core.market import Side
from engine.core.orders import ExecutionReport, OrderState, Purpose, VenueFill
from engine.exchange.okx.account_wire import Rows, position_side, read_rows
from engine.exchange.okx.numbers import decimal, ms_to_ns, or_zero, required

_STATES: Final = {
    "live": OrderState.NEW,
    "partially_filled": OrderState.PARTIALLY_FILLED,
    "filled": OrderState.FILLED,
    "canceled": OrderState.CANCELED,
    "mmp_canceled": OrderState.CANCELED,
}
_LIQUIDATIONS: Final = frozenset({"full_liquidation", "partial_liquidation", "adl"})
_LIQUIDATION_BILLS: Final = frozenset({*map(str, range(100, 108)), *map(str, range(125, 129))})
_CANCEL_REASONS: Final = {
    "0": "cancelled by the venue",
    "1": "cancelled on request",
    "2": "cancelled: reduce-only, or too little margin",
    "3": "cancelled: risk of liquidation",
    "6": "cancelled: auto-deleveraging",
    "9": "cancelled: balance after funding",
    "13": "fill-or-kill could not be filled whole",
    "14": "immediate-or-cancel remainder",
    "15": "price beyond the venue's limit",
    "17": "position closed meanwhile",
    "20": "dead man's switch",
    "21": "position closed meanwhile",
    "22": "reduce-only order displaced by a better one",
    "23": "reduce-only order displaced by a better one",
    "31": "post-only would have taken",
    "32": "self-trade prevention",
    "33": "matched too many orders",
}
_LONGEST_ROW: Final = 8192  # bytes; an order with all that OKX lists of it is a quarter of that


class Spoken(msgspec.Struct, frozen=True, kw_only=True):
    """A record that keeps the row of which it was read."""

    raw: msgspec.Raw = msgspec.Raw()


R = TypeVar("R", bound=Spoken)


def as_said(record: Spoken) -> bytes:
    """The venue's row, cut where it is longer than any that is known."""
    return bytes(memoryview(record.raw)[:_LONGEST_ROW])


_rows: Final = msgspec.json.Decoder(Rows[msgspec.Raw])


def _spoken(decoder: msgspec.json.Decoder[R], rows: list[msgspec.Raw]) -> list[R]:
    """Raises CodecError."""
    try:
        return [msgspec.structs.replace(decoder.decode(row), raw=row) for row in rows]
    except (ValueError, RecursionError) as error:
        raise CodecError(f"unexpected row: {error}", b",".join(rows)) from error


class OrderRecord(Spoken, frozen=True):
    """One order, from channel `orders` or from trade/order and its lists."""

    instId: str
    ordId: str
    side: str
    state: str
    sz: str
    instType: str = ""
    clOrdId: str | None = None
    posSide: str | None = None
    px: str | None = None
    lastPx: str | None = None
    accFillSz: str | None = None
    avgPx: str | None = None
    fillPx: str | None = None
    fillSz: str | None = None
    fillTime: str | None = None
    tradeId: str | None = None
    fillFee: str | None = None
    execType: str | None = None
    category: str | None = None
    cancelSource: str | None = None
    algoId: str | None = None
    algoClOrdId: str | None = None
    reqId: str | None = None
    amendResult: str | None = None
    uTime: str | None = None
    cTime: str | None = None

    @property
    def swap(self) -> bool:
        return self.instType in {"SWAP", ""}

    @property
    def liquidation(self) -> bool:
        return self.category in _LIQUIDATIONS


_order: Final = msgspec.json.Decoder(OrderRecord)


def decode_orders(body: bytes) -> list[OrderRecord]:
    """Order records of a push or an answer, swaps only. Raises CodecError."""
    return [row for row in _spoken(_order, read_rows(_rows, body)) if row.swap]


class Origin(msgspec.Struct, frozen=True):
    """Whose order it is: the client id that its report carries, and what it was for if that can be told."""

    client_order_id: str
    category: Purpose | None


def known_state(text: str) -> bool:
    """False for a state that OKX did not have when this was written."""
    return text in _STATES


def report(record: OrderRecord, origin: Origin, ts_recv: int, *, pushed: bool) -> ExecutionReport:
    """What an order record says. `pushed`: it came on the socket, where fill fields are of this update.

    A state of the future counts as open: it keeps its exposure until the venue says more. Raises CodecError.
    """
    filled = or_zero(record.accFillSz)
    fallback = OrderState.PARTIALLY_FILLED if filled else OrderState.NEW
    state = _STATES.get(record.state, fallback)
    average = decimal(record.avgPx)
    cancel = record.cancelSource or ""
    answered = pushed and record.amendResult in {"0", "1", "-1"}
    ts_event = ms_to_ns(record.uTime or record.cTime)
    return ExecutionReport(
        client_order_id=origin.client_order_id,
        venue_order_id=record.ordId,
        symbol=record.instId,
        side=side(record.side),
        position_side=position_side(record.posSide),
        state=state,
        contracts=required(record.sz, "sz"),
        price=decimal(record.px) or None,
        filled=filled,
        average_price=average or None,
        fill=_fill(record, ts_event) if pushed else None,
        reason=_CANCEL_REASONS.get(cancel, "cancelled") if state is OrderState.CANCELED else "",
        reason_code=cancel,
        request_id=(record.reqId or "") if answered else "",
        amended=record.amendResult == "0" if answered else None,
        category=origin.category,
        ts_event=ts_event,
        ts_recv=ts_recv,
        raw=as_said(record),
    )


def _fill(record: OrderRecord, ts_event: int) -> VenueFill | None:
    """The execution in a push. None when it has no id of its own: the fills in REST will have one."""
    contracts = decimal(record.fillSz)
    trade_id = record.tradeId or ""
    if not contracts or not trade_id or trade_id == "0" or trade_id.startswith("-"):
        return None
    return VenueFill(
        trade_id=trade_id,
        contracts=abs(contracts),
        price=required(record.fillPx, "fillPx"),
        fee=or_zero(record.fillFee),
        maker=record.execType == "M",
        ts_event=ms_to_ns(record.fillTime) or ts_event,
    )


def side(text: str) -> Side:
    """Raises CodecError for anything but buy and sell."""
    try:
        return Side(text)
    except ValueError as error:
        raise CodecError(f"{text[:40]!r} is no side", defect=Defect.VALUE) from error


class FillRecord(Spoken, frozen=True):
    """One execution of trade/fills or trade/fills-history."""

    instId: str
    ordId: str
    tradeId: str
    side: str
    fillSz: str
    fillPx: str
    instType: str = ""
    billId: str = ""
    clOrdId: str | None = None
    posSide: str | None = None
    execType: str | None = None
    fee: str | None = None
    subType: str | None = None
    fillTime: str | None = None
    ts: str | None = None

    @property
    def liquidation(self) -> bool:
        return self.subType in _LIQUIDATION_BILLS or self.tradeId.startswith("-")

    @property
    def contracts(self) -> Decimal:
        return abs(required(self.fillSz, "fillSz"))

    @property
    def ts_event(self) -> int:
        return ms_to_ns(self.fillTime or self.ts)


_fill_record: Final = msgspec.json.Decoder(FillRecord)


def decode_fills(body: bytes) -> list[FillRecord]:
    """A page of fills, newest first. Raises CodecError."""
    return _spoken(_fill_record, read_rows(_rows, body))


class OrderSums(msgspec.Struct, frozen=True):
    """What one fill cannot tell of its order: its size, and how much had filled with this fill."""

    contracts: Decimal
    filled: Decimal


def fill_report(record: FillRecord, origin: Origin, sums: OrderSums, ts_recv: int) -> ExecutionReport:
    """One execution as a report. Raises CodecError.

    A fill proves that the order was taken and filled in part; that it is whole, the sum of fills proves.
    """
    return ExecutionReport(
        client_order_id=origin.client_order_id,
        venue_order_id=record.ordId,
        symbol=record.instId,
        side=side(record.side),
        position_side=position_side(record.posSide),
        state=OrderState.PARTIALLY_FILLED,
        contracts=sums.contracts,
        filled=sums.filled,
        fill=VenueFill(
            trade_id=record.tradeId or record.billId,
            contracts=record.contracts,
            price=required(record.fillPx, "fillPx"),
            fee=or_zero(record.fee),
            maker=record.execType == "M",
            ts_event=record.ts_event,
        ),
        category=origin.category,
        ts_event=record.ts_event,
        ts_recv=ts_recv,
        raw=as_said(record),
    )


class Ack(Spoken, frozen=True):
    """What the venue answered for one order or algo. `sCode` is the verdict."""

    sCode: str = "0"
    sMsg: str = ""
    subCode: str | None = None
    ordId: str = ""
    algoId: str = ""
    clOrdId: str | None = None
    ts: str | None = None

    @property
    def message(self) -> str:
        return f"{self.sMsg} ({self.sCode}_{self.subCode})" if self.subCode else self.sMsg


_ack: Final = msgspec.json.Decoder(Ack)


def decode_acks(body: bytes) -> list[Ack]:
    """Acknowledgements of an order, cancel, amend or algo request. Raises CodecError."""
    return _spoken(_ack, read_rows(_rows, body))


_verdicts: Final = msgspec.json.Decoder(list[msgspec.Raw])


def decode_verdicts(data: bytes) -> list[Ack]:
    """Acknowledgements in the `data` of an operation's answer. Raises CodecError."""
    try:
        rows = _verdicts.decode(data) if data else []
    except (ValueError, RecursionError) as error:
        raise CodecError(f"unexpected verdicts: {error}", data) from error
    return _spoken(_ack, rows)


TRAILING: Final = "move_order_stop"


class AlgoRecord(msgspec.Struct, frozen=True):
    """One algo, from the pending list, trade/order-algo or channels orders-algo and algo-advance."""

    algoId: str
    instId: str
    side: str = ""
    ordType: str = ""
    instType: str = ""
    algoClOrdId: str | None = None
    posSide: str | None = None
    sz: str | None = None
    slTriggerPx: str | None = None
    tpTriggerPx: str | None = None
    moveTriggerPx: str | None = None
    actualSide: str | None = None
    state: str = ""
    ordId: str | None = None
    uTime: str | None = None


_algos: Final = msgspec.json.Decoder(Rows[AlgoRecord])


def decode_algos(body: bytes) -> list[AlgoRecord]:
    """Algo records of a push or an answer. Raises CodecError."""
    return read_rows(_algos, body)
