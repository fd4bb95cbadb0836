"""Differences that no execution explains: the fills that explain them, priced by the account's cash."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import ROUND_HALF_EVEN, Decimal
from typing import Final, NamedTuple

from engine.core.books import Difference
from engine.core.market import Side
from engine.core.orders import ZERO, ExecutionReport, OrderState, Purpose, VenueFill

_PRICE_STEP: Final = Decimal("1e-12")
_PLAUSIBLE: Final = 2  # times or parts of the price it was entered at
_EXPLAINED: Final = Decimal("0.02")  # of what was traded: fees, slippage and penalties that the prices hide


class Unexplained(NamedTuple):
    """A holding that differs. `entered_at` is what its holders paid, 0 when nobody held."""

    difference: Difference
    contract_value: Decimal
    entered_at: Decimal
    mark: Decimal | None  # now, if known

    @property
    def coins(self) -> Decimal:
        """Signed coins that were traded unseen."""
        return (self.difference.venue - self.difference.books) * self.contract_value


def explaining_fills(
    found: Sequence[Unexplained], cash_difference: Decimal, ts_newest: int, now_ns: int
) -> tuple[ExecutionReport, ...]:
    """What must have happened at the venue for its account to be as it is; empty when that cannot be told.

    With q signed coins traded at price p, fee included, cash minus cost moves by -q*p. So the cash tells p
    when one holding differs. When several do, it tells whether all of them were traded near their marks: what
    is left of it is shared by their values. Nothing is told by a price that is nowhere near the one that was
    entered at, or by cash that the marks do not explain. Named after the state of the books (`ts_newest`:
    their newest fill), so it is the same after a restart.
    """
    if not found:
        return ()
    prices = _one(found[0], cash_difference) if len(found) == 1 else _several(found, cash_difference)
    if not prices:
        return ()
    return tuple(
        _report(each.difference, price, (ts_newest, now_ns))
        for each, price in zip(found, prices, strict=True)
    )


def _one(each: Unexplained, cash_difference: Decimal) -> list[Decimal]:
    price = (-cash_difference / each.coins).quantize(_PRICE_STEP, ROUND_HALF_EVEN)
    plausible = each.entered_at / _PLAUSIBLE <= price <= each.entered_at * _PLAUSIBLE
    return [price] if plausible else []


def _several(found: Sequence[Unexplained], cash_difference: Decimal) -> list[Decimal]:
    guesses = [each.mark or each.entered_at for each in found]
    values = [each.coins * price for each, price in zip(found, guesses, strict=True)]
    traded, left = sum(map(abs, values), ZERO), cash_difference + sum(values, ZERO)
    if not all(guesses) or abs(left) > traded * _EXPLAINED:
        return []
    return [
        (price - left * abs(value) / traded / each.coins).quantize(_PRICE_STEP, ROUND_HALF_EVEN)
        for each, price, value in zip(found, guesses, values, strict=True)
    ]


def _report(difference: Difference, price: Decimal, times: tuple[int, int]) -> ExecutionReport:
    newest, now = times
    signed = difference.venue - difference.books
    side, contracts = Side.BUY if signed > 0 else Side.SELL, abs(signed)
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
