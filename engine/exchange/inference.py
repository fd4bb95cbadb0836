"""A difference that no execution explains: the one fill that explains it, priced by the account's cash."""

from __future__ import annotations

from decimal import ROUND_HALF_EVEN, Decimal
from typing import Final

from engine.core.books import Comparison, Difference
from engine.core.market import Side
from engine.core.orders import ZERO, ExecutionReport, OrderState, Purpose, VenueFill

_PRICE_STEP: Final = Decimal("1e-12")
_PLAUSIBLE: Final = 2  # times or parts of the price it was entered at


def explaining_fill(
    comparison: Comparison, contract_value: Decimal, entered_at: Decimal, ts_newest: int, now_ns: int
) -> ExecutionReport | None:
    """What must have happened at the venue for its account to be as it is; None when that cannot be told.

    With q signed coins traded at price p, fee included, cash minus cost moves by -q*p, so the cash tells p
    when one holding differs. With several, or a price that is nowhere near `entered_at`, it tells nothing.
    Named after the state of the books (`ts_newest`: their newest fill), so it is the same after a restart.
    """
    if len(comparison.positions) != 1:
        return None
    (difference,) = comparison.positions
    contracts = difference.venue - difference.books
    price = (-comparison.cash_difference / (contracts * contract_value)).quantize(
        _PRICE_STEP, ROUND_HALF_EVEN
    )
    if not entered_at / _PLAUSIBLE <= price <= entered_at * _PLAUSIBLE:
        return None
    side = Side.BUY if contracts > 0 else Side.SELL
    return _report(difference, side, abs(contracts), price, (ts_newest, now_ns))


def _report(
    difference: Difference, side: Side, contracts: Decimal, price: Decimal, times: tuple[int, int]
) -> ExecutionReport:
    newest, now = times
    return ExecutionReport(
        client_order_id="",
        venue_order_id=f"inferred:{difference.symbol}:{difference.position_side or 'net'}:{newest}",
        symbol=difference.symbol,
        side=side,
        position_side=difference.position_side,
        state=OrderState.FILLED,
        contracts=contracts,
        filled=contracts,
        fill=VenueFill(
            trade_id="inferred", contracts=contracts, price=price, fee=ZERO, maker=False, ts_event=now
        ),
        category=Purpose.EXTERNAL,
        reason="no execution explains the venue's position",
        ts_event=now,
        ts_recv=now,
    )
