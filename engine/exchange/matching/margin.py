"""What an account is worth, what it must hold back, and where it breaks. Nothing here changes anything.

Cross margin of one settlement currency (OKX futures mode), linear swaps:
    unrealised = contracts * ctVal * mark - cost
    initial margin = |contracts| * ctVal * mark / leverage
    maintenance = |contracts| * ctVal * mark * rate of the tier that the position is in (flat, not marginal)
    ratio = (cash + sum unrealised) / (sum maintenance + taker fee on the notional)
Isolated positions stand outside these sums: each has its own margin (|contracts| * ctVal * price / leverage
at its opening, and what was added) and its own ratio, (margin + unrealised) / (maintenance + taker fee). Cash
holds the margins of both kinds, so that cash + unrealised is the equity of the account.
"""

from decimal import Decimal

import msgspec

from engine.core.market import Side
from engine.exchange.matching.options import Tier
from engine.exchange.matching.records import Balance, VenueOrder, VenuePosition
from engine.exchange.matching.state import Account, Holding, Market, Step
from engine.exchange.matching.types import PosSide, TdMode
from engine.exchange.ports import PositionMode

ZERO = Decimal(0)


class Margins(msgspec.Struct, frozen=True, kw_only=True):
    """Sums over an account at the current marks, USDT."""

    unrealised: Decimal
    equity: Decimal
    notional: Decimal
    initial: Decimal
    maintenance: Decimal
    fee_allowance: Decimal  # taker fee of closing everything
    orders: Decimal
    isolated: Decimal  # margins of the isolated positions, and what these have made since
    isolated_unrealised: Decimal

    @property
    def cross_equity(self) -> Decimal:
        """What the cross positions answer with."""
        return self.equity - self.isolated - self.isolated_unrealised

    @property
    def ratio(self) -> Decimal | None:
        """Liquidation at or below 1; None without a position."""
        held = self.maintenance + self.fee_allowance
        return self.cross_equity / held if held else None

    @property
    def available(self) -> Decimal:
        """What can open new margin; below 0 when the account is short of it."""
        return self.cross_equity - self.initial - self.orders


def mark_of(market: Market, holding: Holding) -> Decimal:
    """Mark price, and without any price yet the price that the position was opened at."""
    mark = market.mark_price
    return mark if mark is not None else holding.cost / market.instrument.coins(holding.contracts)


def unrealised(market: Market, holding: Holding) -> Decimal:
    if not holding.contracts:
        return ZERO
    return market.instrument.notional(holding.contracts, mark_of(market, holding)) - holding.cost


def tier_of(step: Step, notional: Decimal) -> Tier:
    """The tier of a position of that notional."""
    for tier in step.options.tiers:
        if tier.max_notional is None or notional <= tier.max_notional:
            return tier
    return step.options.tiers[-1]


def closes(mode: PositionMode, order: VenueOrder) -> bool:
    """True for an order that may only reduce."""
    return order.reduce_only if mode is PositionMode.NET else is_exit(order.side, order.pos_side)


def is_exit(side: Side, pos_side: PosSide) -> bool:
    """In long/short mode: true for sell + long and buy + short."""
    return pos_side is (PosSide.LONG if side is Side.SELL else PosSide.SHORT)


def closable(account: Account, side: Side, symbol: str, td_mode: TdMode, pos_side: PosSide) -> Decimal:
    """Contracts of the position that an order of that side would close."""
    holding = account.holding(symbol, td_mode, pos_side)
    if holding is None or not holding.contracts or holding.exit_side is not side:
        return ZERO
    return abs(holding.contracts)


def pending_exits(account: Account, side: Side, symbol: str, td_mode: TdMode, pos_side: PosSide) -> Decimal:
    """Contracts that pending reducing orders of that side are about to close."""
    where = (side, symbol, td_mode, pos_side)
    return sum(
        (
            order.remaining
            for order in account.orders.values()
            if (order.side, order.symbol, order.td_mode, order.pos_side) == where
            and closes(account.position_mode, order)
        ),
        ZERO,
    )


def opening_margin(step: Step, symbol: str, leverage: Decimal, contracts: Decimal, price: Decimal) -> Decimal:
    """Initial margin and taker fee of `contracts` that open at `price`."""
    notional = step.state.market(symbol).instrument.notional(contracts, price)
    return notional / leverage + notional * step.options.fees.taker


def order_margin(step: Step, account: Account, order: VenueOrder) -> Decimal:
    """Held for a pending order: for the part that opens, at the worse of its price and mark."""
    if closes(account.position_mode, order):
        return ZERO
    opens = order.remaining
    if account.position_mode is PositionMode.NET:
        opens -= closable(account, order.side, order.symbol, order.td_mode, order.pos_side)
    market = step.state.market(order.symbol)
    price = order.price or market.mark_price or ZERO
    leverage = account.leverage(order.symbol, order.td_mode, order.pos_side)
    return opening_margin(step, order.symbol, leverage, opens, price) if opens > 0 else ZERO


def margins(step: Step, account: Account) -> Margins:
    upl = notional = crossed = initial = maintenance = own = own_upl = pending = ZERO
    for holding in account.holdings.values():
        if not holding.contracts:
            continue
        market = step.state.market(holding.symbol)
        signed = market.instrument.notional(holding.contracts, mark_of(market, holding))
        value, profit = abs(signed), signed - holding.cost
        upl += profit
        notional += value
        if holding.td_mode is TdMode.ISOLATED:
            own += holding.margin
            own_upl += profit
            continue
        crossed += value
        initial += value / account.leverage(holding.symbol)
        maintenance += value * tier_of(step, value).maintenance_rate
    for order in account.orders.values():
        pending += order_margin(step, account, order)
    return Margins(
        unrealised=upl,
        equity=account.cash + upl,
        notional=notional,
        initial=initial,
        maintenance=maintenance,
        fee_allowance=crossed * step.options.fees.taker,
        orders=pending,
        isolated=own,
        isolated_unrealised=own_upl,
    )


def own_ratio(step: Step, holding: Holding) -> Decimal | None:
    """Ratio of an open isolated position; liquidation at or below 1."""
    market = step.state.market(holding.symbol)
    value = abs(market.instrument.notional(holding.contracts, mark_of(market, holding)))
    held = value * (tier_of(step, value).maintenance_rate + step.options.fees.taker)
    return (holding.margin + unrealised(market, holding)) / held if held else None


def liquidation_price(step: Step, holding: Holding, total: Margins) -> Decimal | None:
    """Mark at which the account's ratio, or that of an isolated position, reaches 1, all else unchanged.

    None when no price does it.
    """
    market = step.state.market(holding.symbol)
    coins = market.instrument.coins(holding.contracts)
    value = abs(coins) * mark_of(market, holding)
    rate = tier_of(step, value).maintenance_rate + step.options.fees.taker
    others = total.maintenance + total.fee_allowance - value * rate
    free = total.cross_equity - others
    if holding.td_mode is TdMode.ISOLATED:
        free = holding.margin + unrealised(market, holding)
    sign = 1 if coins > 0 else -1
    price = (value - sign * free) / (abs(coins) * (1 - sign * rate))
    return price if price > 0 else None


def safe_prices(step: Step, account: Account, symbol: str) -> tuple[Decimal, Decimal]:
    """Marks of `symbol` (both excluded) that do not liquidate the account, each market moving by itself.

    Every position may lose its part of half of what the account has beyond its maintenance margin.
    """
    low, high = ZERO, Decimal("Infinity")
    held = tuple(account.open_holdings())
    if not held:
        return low, high
    total = margins(step, account)
    room = max(ZERO, total.equity - total.maintenance - total.fee_allowance) / 2 / len(held)
    for holding in held:
        if holding.symbol == symbol:
            market = step.state.market(symbol)
            mark, coins = mark_of(market, holding), market.instrument.coins(holding.contracts)
            if coins > 0:
                low = max(low, mark - room / coins)
            else:
                high = min(high, mark - room / coins)
    return low, high


def balance_of(step: Step, account: Account, total: Margins | None = None) -> Balance:
    """The account's money as shown; `total` where its margins are known already."""
    total = total or margins(step, account)
    return Balance(
        account=account.name,
        cash=account.cash,
        equity=total.equity,
        unrealised=total.unrealised,
        available=max(total.available, ZERO),
        order_margin=total.orders,
        isolated=total.isolated,
        isolated_unrealised=total.isolated_unrealised,
        initial_margin=total.initial,
        maintenance_margin=total.maintenance,
        margin_ratio=total.ratio,
        notional=total.notional,
        ts=step.ts,
    )


def position_of(
    step: Step, account: Account, holding: Holding, total: Margins | None = None
) -> VenuePosition:
    """The position as shown, a flat one too; `total` where the account's margins are known already."""
    market = step.state.market(holding.symbol)
    contracts, isolated = holding.contracts, holding.td_mode is TdMode.ISOLATED
    leverage = account.leverage(holding.symbol, holding.td_mode, holding.pos_side)
    coins = market.instrument.coins(contracts)
    signed = coins * mark_of(market, holding) if contracts else ZERO
    value, upl = abs(signed), signed - holding.cost if contracts else ZERO
    rate = step.options.fees.taker
    earned = holding.pnl + holding.fee + holding.funding
    total = total or margins(step, account)
    sign = 1 if contracts > 0 else -1
    exits = pending_exits(account, holding.exit_side, holding.symbol, holding.td_mode, holding.pos_side)
    return VenuePosition(
        account=account.name,
        pos_id=holding.pos_id,
        symbol=holding.symbol,
        td_mode=holding.td_mode,
        pos_side=holding.pos_side,
        contracts=contracts,
        available=max(abs(contracts) - exits, ZERO),
        average_price=holding.cost / coins if contracts else None,
        mark_price=market.mark_price,
        last_price=market.last,
        unrealised=upl,
        unrealised_ratio=upl * leverage / abs(holding.cost) if holding.cost else None,
        leverage=leverage,
        liquidation_price=liquidation_price(step, holding, total) if contracts else None,
        break_even_price=(holding.cost - earned) / (coins * (1 - sign * rate)) if contracts else None,
        notional=value,
        initial_margin=value / leverage,
        margin=holding.margin if isolated else None,
        maintenance_margin=value * tier_of(step, value).maintenance_rate,
        margin_ratio=(own_ratio(step, holding) if isolated else total.ratio) if contracts else None,
        trade_id=holding.trade_id,
        pnl=holding.pnl,
        fee=holding.fee,
        funding=holding.funding,
        realised=earned,
        ts_created=holding.ts_created,
        ts_updated=holding.ts_updated,
    )
