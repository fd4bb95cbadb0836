"""What the venue remembers: lists of orders, fills, algos and bills, read page by page.

Lists come newest first and are paged backwards only (`after` = oldest id seen), which is the one way that
means the same at every endpoint. https://www.okx.com/docs-v5/en/#overview-pagination (best practice page).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Final, TypeVar

import msgspec

from engine.core.cash import VenueFunding, VenueTransfer
from engine.core.errors import Rejected
from engine.core.orders import Order
from engine.core.times import NS_PER_DAY, NS_PER_MIN, NS_PER_MS, NS_PER_S
from engine.exchange.okx import account_wire, orders_wire
from engine.exchange.okx.account_wire import BillPage
from engine.exchange.okx.errors import is_gone
from engine.exchange.okx.orders_wire import AlgoRecord, FillRecord, OrderRecord
from engine.exchange.okx.rest import RestClient, readable

T = TypeVar("T")
B = TypeVar("B", VenueFunding, VenueTransfer)
_SWAPS: Final = {"instType": "SWAP"}
_PAGE: Final = 100
_RECENT_FILLS_NS: Final = 5 * NS_PER_DAY // 2  # trade/fills keeps 3 days, trade/fills-history 3 months
_RECENT_WEEK_NS: Final = 6 * NS_PER_DAY  # account/bills and trade/orders-history keep 7 days
_EARLIER_NS: Final = NS_PER_MIN
_SETTLING_NS: Final = 2 * NS_PER_MIN  # a funding bill comes up to a minute after its funding time
_VISIBLE_AFTER_NS: Final = 10 * NS_PER_S
_ALGO_KINDS: Final = ("conditional,oco", "move_order_stop")


class History:
    """Reads of one account. Everything raises Unavailable, Rejected or VenueMisconfigured."""

    def __init__(self, rest: RestClient) -> None:
        self._rest = rest

    async def open_orders(self) -> list[OrderRecord]:
        """Every resting swap order."""
        return await self._all("trade/orders-pending", _SWAPS, orders_wire.decode_orders, _order_id)

    async def order(self, order: Order) -> OrderRecord | None:
        """The venue's record of an order, its history included; None: no list of the venue has it."""
        query = {"instId": order.intent.symbol}
        query |= (
            {"ordId": order.venue_order_id} if order.venue_order_id else {"clOrdId": order.client_order_id}
        )
        try:
            body = await self._rest.get("trade/order", query, symbol=order.intent.symbol)
            rows = readable(orders_wire.decode_orders, body)
            if rows:
                return rows[0]
        except Rejected as error:
            if not is_gone(error.code):
                raise
        return await self._in_history(order)

    async def order_by_id(self, symbol: str, venue_order_id: str) -> OrderRecord | None:
        """The record of an order that is known by its venue id only."""
        query = {"instId": symbol, "ordId": venue_order_id}
        try:
            body = await self._rest.get("trade/order", query, symbol=symbol)
        except Rejected as error:
            if not is_gone(error.code):
                raise
            return None
        rows = readable(orders_wire.decode_orders, body)
        return rows[0] if rows else None

    def surely_gone(self, order: Order) -> bool:
        """True when an order that was taken had time enough to be seen."""
        newest = max(order.ts_acked, order.ts_sent, order.ts_updated)
        return self._rest.venue_ns() - self._rest.offset_ns - newest > _VISIBLE_AFTER_NS

    async def _in_history(self, order: Order) -> OrderRecord | None:
        created_ns = order.intent.ts_created + self._rest.offset_ns
        query = _SWAPS | {"instId": order.intent.symbol, "begin": _ms(created_ns - _EARLIER_NS)}
        endpoints = ["trade/orders-history"]
        if self._rest.venue_ns() - created_ns > _RECENT_WEEK_NS:
            endpoints.append("trade/orders-history-archive")
        for endpoint in endpoints:
            rows = await self._all(endpoint, query, orders_wire.decode_orders, _order_id)
            for row in rows:
                if row.ordId == order.venue_order_id or row.clOrdId == order.client_order_id:
                    return row
        return None

    async def fills(self, since_ns: int) -> list[FillRecord]:
        """Executions of swaps since a venue time, oldest first."""
        recent = self._rest.venue_ns() - since_ns < _RECENT_FILLS_NS
        endpoint = "trade/fills" if recent else "trade/fills-history"
        query = _SWAPS | ({"begin": _ms(since_ns)} if since_ns > 0 else {})
        rows = await self._all(endpoint, query, orders_wire.decode_fills, lambda row: row.billId)
        rows = [row for row in rows if row.ts_event >= since_ns - NS_PER_S]
        return sorted(rows, key=lambda row: (row.ts_event, len(row.billId), row.billId))

    async def algos(self) -> list[AlgoRecord]:
        """Every resting stop, target and trailing stop. The kinds are asked for together: a close waits."""
        try:
            async with asyncio.TaskGroup() as asking:
                asked = [
                    asking.create_task(self._algos(kinds), name=f"algos {kinds}") for kinds in _ALGO_KINDS
                ]
        except BaseExceptionGroup as failed:
            raise failed.exceptions[0] from None
        return [record for kind in asked for record in kind.result()]

    async def _algos(self, kinds: str) -> list[AlgoRecord]:
        query = _SWAPS | {"ordType": kinds}
        return await self._all(
            "trade/orders-algo-pending", query, orders_wire.decode_algos, lambda row: row.algoId
        )

    async def algo(self, client_id: str) -> AlgoRecord | None:
        """One algo in whatever state; None when the venue has forgotten it."""
        try:
            body = await self._rest.get("trade/order-algo", {"algoClOrdId": client_id})
        except Rejected:
            return None
        rows = readable(orders_wire.decode_algos, body)
        return rows[0] if rows else None

    async def funding(self, since_ns: int) -> list[VenueFunding]:
        """Funding charges since a venue time, oldest first, as the bills say: without a position side."""
        query = _SWAPS | {"type": account_wire.FUNDING_BILL}
        return await self._bills(query, since_ns, account_wire.decode_funding_bills)

    async def transfers(self, since_ns: int, currency: str) -> list[VenueTransfer]:
        """What moved the cash of a currency since a venue time by no trade and no funding, oldest first."""
        return await self._bills({"ccy": currency}, since_ns, account_wire.decode_transfer_bills)

    async def _bills(
        self, query: Mapping[str, str], since_ns: int, decode: Callable[[bytes], BillPage[B]]
    ) -> list[B]:
        recent = self._rest.venue_ns() - since_ns < _RECENT_WEEK_NS
        endpoint = "account/bills" if recent else "account/bills-archive"
        query = {**query, **({"begin": _ms(since_ns)} if since_ns > 0 else {})}
        found: dict[str, B] = {}
        after = ""
        while True:
            asked = {**query, **({"after": after} if after else {})}
            page = readable(decode, await self._rest.get(endpoint, asked))
            found |= {bill.bill_id: bill for bill in page.found if bill.bill_id not in found}
            if page.rows < _PAGE or page.cursor in {"", after}:
                break
            after = page.cursor
        return sorted(
            (bill for bill in found.values() if bill.ts_event >= since_ns),
            key=lambda bill: (bill.ts_event, len(bill.bill_id), bill.bill_id),
        )

    async def with_sides(self, charges: list[VenueFunding]) -> list[VenueFunding]:
        """Charges of a long_short account with the side that each was for, told from the rate's sign."""
        rates: dict[str, list[tuple[int, int]]] = {}
        told: list[VenueFunding] = []
        for charge in charges:
            if charge.position_side is None and charge.symbol not in rates:
                rates[charge.symbol] = await self._rates(charge.symbol)
            side = charge.position_side or account_wire.charged_side(
                charge, rates[charge.symbol], _SETTLING_NS
            )
            told.append(msgspec.structs.replace(charge, position_side=side))
        return told

    async def _rates(self, symbol: str) -> list[tuple[int, int]]:
        body = await self._rest.get(
            "public/funding-rate-history", {"instId": symbol, "limit": "100"}, symbol=symbol, private=False
        )
        return readable(account_wire.decode_funding_signs, body)

    async def _all(
        self,
        endpoint: str,
        query: Mapping[str, str],
        decode: Callable[[bytes], list[T]],
        cursor_of: Callable[[T], str],
    ) -> list[T]:
        """Every row of a list, newest first; a row that moved between pages counts once."""
        found: dict[str, T] = {}
        after = ""
        while True:
            asked = {**query, "limit": str(_PAGE), **({"after": after} if after else {})}
            rows = readable(decode, await self._rest.get(endpoint, asked))
            found |= {cursor_of(row): row for row in rows}
            cursor = cursor_of(rows[-1]) if rows else ""
            if len(rows) < _PAGE or cursor in {"", after}:
                return list(found.values())
            after = cursor


def _order_id(row: OrderRecord) -> str:
    return row.ordId


def _ms(ts_ns: int) -> str:
    return str(max(0, ts_ns) // NS_PER_MS)
