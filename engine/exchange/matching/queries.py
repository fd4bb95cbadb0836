"""The reading side of the venue core: of the present, newest first, changing nothing."""

from collections.abc import Iterable
from decimal import Decimal
from itertools import islice, takewhile

from engine.core.instruments import Instrument
from engine.exchange.matching import checks, margin
from engine.exchange.matching.options import Fees, MatchingOptions
from engine.exchange.matching.records import (
    Balance,
    Bill,
    ClosedPosition,
    VenueAlgo,
    VenueFill,
    VenueOrder,
    VenuePosition,
)
from engine.exchange.matching.state import Record, Step, VenueState
from engine.exchange.matching.types import AlgoType, OrderRequest, PosSide, TdMode, VenueRefusal
from engine.exchange.ports import PositionMode

ZERO = Decimal(0)
_ANY_PRICE = Decimal("Infinity")


class Queries:
    """What may be asked at any time. Every method raises VenueRefusal 50119 for an unknown account."""

    def __init__(self, state: VenueState, options: MatchingOptions) -> None:
        self._state = state
        self._options = options

    def accounts(self) -> tuple[str, ...]:
        return tuple(self._state.accounts)

    def symbols(self) -> tuple[str, ...]:
        """The listed swaps."""
        return tuple(self._state.markets)

    def position_mode(self, account: str) -> PositionMode:
        return self._state.account(account).position_mode

    def account_level(self, account: str) -> int:
        return self._state.account(account).level

    def leverage(
        self,
        account: str,
        symbol: str,
        td_mode: TdMode = TdMode.CROSS,
        pos_side: PosSide = PosSide.NET,
    ) -> Decimal:
        return self._state.account(account).leverage(symbol, td_mode, pos_side)

    def instruments(self) -> tuple[Instrument, ...]:
        """All that are listed."""
        return tuple(market.instrument for market in self._state.markets.values())

    def instrument(self, symbol: str) -> Instrument:
        """Raises VenueRefusal 51001."""
        return self._state.market(symbol).instrument

    def order(self, account: str, *, order_id: str = "", client_order_id: str = "") -> VenueOrder:
        """Any state; of a reused client id the newest. Raises VenueRefusal 51603."""
        order = self._state.account(account).order(order_id, client_order_id)
        if order is None:
            raise VenueRefusal("51603", "Order does not exist")
        return order

    def pending_orders(self, account: str) -> tuple[VenueOrder, ...]:
        return _newest_first(self._state.account(account).orders.values())

    def order_history(self, account: str) -> tuple[VenueOrder, ...]:
        """Those that ended, newest id first."""
        ended = self._state.account(account).done_orders.values()
        return tuple(sorted(ended, key=lambda order: int(order.order_id), reverse=True))

    def fills(self, account: str, since_ns: int = 0) -> tuple[VenueFill, ...]:
        """Those from `since_ns` on."""
        newest = reversed(self._state.account(account).fills)
        return self._bounded(takewhile(lambda fill: fill.ts >= since_ns, newest))

    def algo(self, account: str, *, algo_id: str = "", client_id: str = "") -> VenueAlgo:
        """Any state; of a reused client id the newest. Raises VenueRefusal 51603."""
        algo = self._state.account(account).algo(algo_id, client_id)
        if algo is None:
            raise VenueRefusal("51603", "Order does not exist")
        return algo

    def pending_algos(self, account: str) -> tuple[VenueAlgo, ...]:
        return _newest_first(self._state.account(account).algos.values())

    def algo_history(self, account: str) -> tuple[VenueAlgo, ...]:
        """Those that ended, newest id first."""
        ended = self._state.account(account).done_algos.values()
        return tuple(sorted(ended, key=lambda algo: int(algo.algo_id), reverse=True))

    def positions(self, account: str) -> tuple[VenuePosition, ...]:
        """The open ones."""
        owner = self._state.account(account)
        shown = sorted(owner.open_holdings(), key=lambda holding: holding.ts_created, reverse=True)
        step = self._step()
        total = margin.margins(step, owner) if shown else None
        return tuple(margin.position_of(step, owner, holding, total) for holding in shown)

    def net_contracts(self, account: str, symbol: str) -> Decimal:
        """What is held of a symbol, both sides together: negative when more is short."""
        held = self._state.account(account).open_holdings()
        return sum((holding.contracts for holding in held if holding.symbol == symbol), ZERO)

    def position_history(self, account: str) -> tuple[ClosedPosition, ...]:
        return self._bounded(reversed(self._state.account(account).closed))

    def balance(self, account: str) -> Balance:
        return margin.balance_of(self._step(), self._state.account(account))

    def bills(self, account: str, since_ns: int = 0) -> tuple[Bill, ...]:
        """Those from `since_ns` on."""
        newest = reversed(self._state.account(account).bills)
        return self._bounded(takewhile(lambda bill: bill.ts >= since_ns, newest))

    def max_size(self, account: str, symbol: str, price: Decimal | None = None) -> tuple[Decimal, Decimal]:
        """Contracts that could be bought and sold now with the margin there is, closing included.

        Without a price, at mark; 0 and 0 before there is one.
        """
        owner, market, step = self._state.account(account), self._state.market(symbol), self._step()
        mark = market.mark_price
        reference = max(price or ZERO, mark or ZERO)
        if not reference:
            return ZERO, ZERO
        per_contract = margin.opening_margin(step, symbol, owner.leverage(symbol), Decimal(1), reference)
        opens = max(margin.margins(step, owner).available, ZERO) / per_contract
        buy = sell = opens
        if owner.position_mode is PositionMode.NET:
            held = self.net_contracts(account, symbol)
            buy, sell = opens + max(-held, ZERO), opens + max(held, ZERO)
        return market.instrument.floor_size(buy), market.instrument.floor_size(sell)

    def margin_of(self, account: str, request: OrderRequest) -> tuple[Decimal, Decimal]:
        """Initial and maintenance margin that an order would add. Raises VenueRefusal as placing it would."""
        step, owner, market = self._step(), self._state.account(account), self._state.market(request.symbol)
        checked = checks.check_order(step, owner, request)
        price = max(checked.price or ZERO, market.mark_price or ZERO)
        value = market.instrument.notional(checked.size, price)
        leverage = owner.leverage(request.symbol, request.td_mode, request.pos_side)
        initial = margin.opening_margin(step, request.symbol, leverage, checked.size, price)
        return initial, value * margin.tier_of(step, value).maintenance_rate

    def available_margin(self, account: str) -> Decimal:
        """USDT that can open new margin."""
        return max(margin.margins(self._step(), self._state.account(account)).available, ZERO)

    @property
    def fees(self) -> Fees:
        """What it charges."""
        return self._options.fees

    def price_limits(self, symbol: str) -> tuple[Decimal, Decimal] | None:
        """Highest buy and lowest sell price that a limit order may have; None before there is a mark."""
        return checks.price_limits(self._step(), self._state.market(symbol))

    def mark_price(self, symbol: str) -> Decimal | None:
        """Mark; before the first one the last trade, else the middle of the book."""
        return self._state.market(symbol).mark_price

    def calm(self, symbol: str) -> tuple[Decimal, Decimal] | None:
        """Between which prices (both excluded) nothing happens to anybody in this market.

        None when it does not depend on the price alone: an order rests or travels, a stop trails, a switch is
        armed, or nothing is known yet. Errs toward less calm: half of the way to a liquidation counts.
        """
        state, step, market = self._state, self._step(), self._state.market(symbol)
        price = market.mark_price
        if price is None or state.travelling or state.undelivered:
            return None
        low, high = ZERO, _ANY_PRICE
        for account in state.accounts.values():
            if account.orders or account.cancel_all_ts:
                return None
            for algo in account.algos.values():
                request = algo.request
                if request.symbol != symbol:
                    continue
                if request.algo_type is AlgoType.MOVE_ORDER_STOP:
                    return None
                for level in (request.sl_trigger, request.tp_trigger, request.trigger_price):
                    if level is not None:
                        low, high = (max(low, level), high) if level <= price else (low, min(high, level))
            least, most = margin.safe_prices(step, account, symbol)
            low, high = max(low, least), min(high, most)
        return low, high

    def _step(self) -> Step:
        return Step(state=self._state, options=self._options, ts=self._state.now)

    def _bounded(self, newest_first: Iterable[Record]) -> tuple[Record, ...]:
        return tuple(islice(newest_first, self._options.history_limit))


def _newest_first(records: Iterable[Record]) -> tuple[Record, ...]:
    return tuple(records)[::-1]
