"""Which balances of an account are worth a row."""

from __future__ import annotations

from decimal import Decimal

import msgspec


class BalanceSnapshot(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """The venue's account in its settlement currency; `equity` includes unrealised profit."""

    account_id: str
    ts: int
    cash: Decimal
    equity: Decimal
    available: Decimal


class Compression:
    """Skips a balance whose equity has hardly moved since the last one that was kept.

    Only if the change is below `min_abs_usd` *and* below `min_relative` (a share of the kept equity) is it
    skipped: whichever is reached keeps it, so that a large move is never lost, nor many small ones together.
    """

    def __init__(self, min_abs_usd: Decimal = Decimal(1), min_relative: Decimal = Decimal("0.0001")) -> None:
        self._min_abs_usd, self._min_relative = min_abs_usd, min_relative
        self._kept: dict[str, Decimal] = {}  # account → equity of its last row

    def keeps(self, snapshot: BalanceSnapshot) -> bool:
        """Whether to write it; then it is what the next ones are compared with."""
        before = self._kept.get(snapshot.account_id)
        if before is not None:
            change = abs(snapshot.equity - before)
            if change < self._min_abs_usd and change < self._min_relative * abs(before):
                return False
        self._kept[snapshot.account_id] = snapshot.equity
        return True
