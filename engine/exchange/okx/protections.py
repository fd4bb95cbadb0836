"""Stops and targets that rest at OKX as algo orders.

https://www.okx.com/docs-v5/en/#order-book-trading-algo-trading. One attached to an entry becomes an algo of
its own when the entry has filled, with a new `algoId` and `algoClOrdId` = the attached client id.
"""

from __future__ import annotations

from typing import Final

import structlog

from engine.core.errors import Rejected
from engine.core.orders import ZERO
from engine.exchange.okx.account_wire import position_side
from engine.exchange.okx.errors import is_gone
from engine.exchange.okx.history import History
from engine.exchange.okx.numbers import decimal
from engine.exchange.okx.orders_wire import TRAILING, AlgoRecord
from engine.exchange.okx.origins import Origins
from engine.exchange.okx.requests_wire import TradeTerms, algo_body, amend_algo_body, cancel_algo_body
from engine.exchange.okx.rest import RestClient, understood
from engine.exchange.ports import Protection, ProtectionRequest

log = structlog.get_logger()

_REDUCE_ONLY_REFUSED: Final = frozenset({"51100", "51169", "51170", "51205"})
_BEING_CANCELLED: Final = "51410"


class Protections:
    """Places, changes and removes them; each method raises what the Venue port says."""

    def __init__(self, rest: RestClient, history: History, origins: Origins, terms: TradeTerms) -> None:
        self._rest, self._history, self._origins, self._terms = rest, history, origins, terms

    async def resting(self) -> tuple[Protection, ...]:
        """All that rest. One for a whole position (`closeFraction`) has no size of its own: 0 contracts."""
        records = await self._history.algos()
        return understood(lambda: tuple(map(self._known, records)))

    def _known(self, record: AlgoRecord) -> Protection:
        """Raises CodecError."""
        self._origins.learn(record)
        return Protection(
            client_id=record.algoClOrdId or "",
            venue_id=record.algoId,
            symbol=record.instId,
            position_side=position_side(record.posSide),
            contracts=decimal(record.sz) or ZERO,
            stop_loss=decimal(record.slTriggerPx) or decimal(record.moveTriggerPx),
            take_profit=decimal(record.tpTriggerPx),
            trailing=record.ordType == TRAILING,
        )

    async def place(self, request: ProtectionRequest, *, reduce_only: bool) -> Protection:
        """A stop, or stop and target in one. A venue that knows no reduce-only algo gets it without."""
        try:
            venue_id = await self._send(request, reduce_only=reduce_only)
        except Rejected as error:
            if not reduce_only or error.code not in _REDUCE_ONLY_REFUSED:
                raise
            log.warning("stop refused as reduce-only, sent without", symbol=request.symbol, code=error.code)
            venue_id = await self._send(request, reduce_only=False)
        return Protection(
            client_id=request.client_id,
            venue_id=venue_id,
            symbol=request.symbol,
            position_side=request.position_side,
            contracts=request.contracts,
            stop_loss=request.stop_loss,
            take_profit=request.take_profit,
            trailing=request.trailing is not None,
        )

    async def _send(self, request: ProtectionRequest, *, reduce_only: bool) -> str:
        body = algo_body(request, self._terms, reduce_only=reduce_only)
        return (await self._rest.trade("trade/order-algo", body, symbol=request.symbol)).algoId

    async def amend(self, protection: Protection, request: ProtectionRequest) -> None:
        if protection.trailing or request.trailing is not None:
            raise Rejected("a trailing stop cannot be changed: cancel it and place another")
        body = amend_algo_body(protection, request)
        await self._rest.trade("trade/amend-algos", body, symbol=protection.symbol)

    async def cancel(self, protection: Protection) -> bool:
        try:
            await self._rest.trade(
                "trade/cancel-algos", cancel_algo_body(protection), symbol=protection.symbol
            )
        except Rejected as error:
            if error.code == _BEING_CANCELLED:
                return True
            if is_gone(error.code):
                return False
            raise
        return True
