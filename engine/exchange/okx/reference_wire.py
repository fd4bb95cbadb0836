"""What the venue lists and what time it has: answers and pushes to instruments. Pure.

https://www.okx.com/docs-v5/en/#public-data-rest-api-get-instruments
"""

from __future__ import annotations

from decimal import Decimal
from typing import Final

import msgspec

from engine.core.errors import CodecError
from engine.core.instruments import Instrument
from engine.exchange.okx.blanks import read
from engine.exchange.okx.market_rows import Push
from engine.exchange.okx.numbers import decimal, ns, required


class _Instrument(msgspec.Struct):
    instId: str
    instType: str = ""
    ctType: str = ""
    ctVal: str = ""
    ctMult: str = ""
    settleCcy: str = ""
    tickSz: str = ""
    lotSz: str = ""
    minSz: str = ""
    lever: str = ""
    maxLmtSz: str = ""
    maxMktSz: str = ""
    state: str = ""
    instIdCode: int | None = None


_instruments: Final = msgspec.json.Decoder(Push[_Instrument]).decode


def decode_instruments(frame: bytes) -> list[Instrument]:
    """Linear swaps in a push of `instruments`, or in the answer of public/instruments. Raises CodecError."""
    rows = read(_instruments, frame).data
    return [
        _instrument(row)
        for row in rows
        if row.instType == "SWAP" and row.ctType == "linear" and row.ctVal and row.tickSz and row.lotSz
    ]


def _instrument(row: _Instrument) -> Instrument:
    base, _, rest = row.instId.partition("-")
    return Instrument(
        symbol=row.instId,
        base=base,
        quote=rest.split("-", 1)[0] or row.settleCcy,
        settle=row.settleCcy,
        tick_size=required(row.tickSz, "tickSz"),
        lot_size=required(row.lotSz, "lotSz"),
        min_size=required(row.minSz, "minSz"),
        contract_value=required(row.ctVal, "ctVal") * (decimal(row.ctMult) or 1),
        max_leverage=decimal(row.lever) or Decimal(1),
        max_limit_size=decimal(row.maxLmtSz),
        max_market_size=decimal(row.maxMktSz),
        live=row.state == "live",
        inst_id_code=row.instIdCode,
    )


class _Time(msgspec.Struct):
    ts: int


_time: Final = msgspec.json.Decoder(Push[_Time], strict=False).decode


def decode_time(body: bytes) -> int:
    """Venue time of public/time in nanoseconds. Raises CodecError."""
    rows = read(_time, body).data
    if not rows:
        raise CodecError("public/time is empty", body)
    return ns(rows[0].ts)
