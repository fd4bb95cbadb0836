"""From a decision to intents: what was wanted, sized, checked, rounded to what the venue takes. Sans I/O."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Final, NamedTuple, Protocol

import msgspec

from engine.clock import Clock
from engine.config.manager import CapitalConfig
from engine.core.decisions import AccountView, Act, Action, Check, Decision, PositionView, Verdict
from engine.core.instruments import Instrument
from engine.core.market import exact
from engine.core.orders import OrderIntent, OrderType, PositionSide, Purpose, StopMove
from engine.core.signals import MarketSnapshot
from engine.manager.entry import BPS, Entry
from engine.manager.risk import evaluate
from engine.manager.sizing import Room, Sized, size_entry
from engine.manager.stop_checks import StopProposal, evaluate_stop
from engine.manager.traders import Trader

ENTRY_LIVES_S: Final = 15.0  # real time from approval to the venue
_LARGEST: Final = Decimal(10) ** 15  # beyond it a number of a decision is no price and no amount
_FINEST: Final = -60  # decimal places; a quotient has 28 digits, and small ones begin late
_NOTHING: Final = Sized(contracts=Decimal(0), limited_by="no_price", detail="no price to size by")


class ExchangeView(Protocol):
    """What the manager may know of the exchange part."""

    def refusal(self, symbol: str) -> str:
        """Why an entry must wait; "" when it may go."""
        ...

    @property
    def taker_fee(self) -> Decimal:
        """What taking costs the account, as a fraction of notional."""
        ...

    def resume(self) -> None:
        """An operator ends a halt of the whole account."""
        ...


class Market(Protocol):
    """Newest snapshots and the venue's instruments, by symbol."""

    @property
    def snapshots(self) -> Mapping[str, MarketSnapshot]: ...

    @property
    def instruments(self) -> Mapping[str, Instrument]: ...


class Translated(NamedTuple):
    """What became of a decision: a verdict for each action, and what is to be sent."""

    verdicts: list[Verdict]
    intents: list[OrderIntent]
    moves: list[StopMove]


class Translator:
    """Turns decisions into verdicts and intents for one venue account."""

    def __init__(
        self,
        account_id: str,
        capital: CapitalConfig,
        market: Market,
        exchange: ExchangeView,
        room: Callable[[str, Trader], Room],
        clock: Clock,
    ) -> None:
        self._account_id = account_id
        self._major_coins = frozenset(capital.major_coins)
        self._market = market
        self._exchange = exchange
        self._room = room
        self._clock = clock

    def translate(self, decision: Decision, trader: Trader, account: Callable[[], AccountView]) -> Translated:
        """Verdicts and what was approved, in the order of the actions; each sees those before it."""
        verdicts: list[Verdict] = []
        intents: list[OrderIntent] = []
        moves: list[StopMove] = []
        for action in decision.actions:
            if action.act is Act.HOLD:
                continue
            intent: OrderIntent | None = None
            if not _readable(action):
                verdict = self._verdict(decision, action, "malformed", ())
            elif action.act is Act.MOVE_STOP:
                verdict, move = self._move_stop(decision, action, trader, account())
                moves += [move] if move is not None else []
            elif action.act.enters:
                verdict, intent = self._enter(decision, action, trader, account())
            else:
                verdict, intent = self._reduce(decision, action, trader, account())
            verdicts.append(verdict)
            if intent is not None:
                intents.append(intent)
                trader.on_intent(intent)
        return Translated(verdicts, intents, moves)

    # -- entries

    def _enter(
        self, decision: Decision, action: Action, trader: Trader, account: AccountView
    ) -> tuple[Verdict, OrderIntent | None]:
        entry = self.proposal(decision, action, trader, account)
        if entry is None:
            return self._verdict(decision, action, "symbol_unknown", ()), None
        reason, checks = evaluate(entry)
        verdict = self._verdict(decision, action, reason, checks)
        return verdict, None if reason else self._entry_intent(decision, entry, trader)

    def proposal(
        self, decision: Decision, action: Action, trader: Trader, account: AccountView
    ) -> Entry | None:
        """What an entry would become, with all that the gate looks at; None for an unknown symbol."""
        instrument = self._market.instruments.get(action.symbol)
        if instrument is None:
            return None
        snapshot = self._market.snapshots.get(action.symbol)
        price = self._entry_price(action, snapshot, instrument, trader)
        action = _on_tick(action, instrument)
        room = self._room(action.symbol, trader)
        room = msgspec.structs.replace(room, taker_fee=self._exchange.taker_fee)
        sized = _NOTHING
        if price is not None and price > 0:
            sized = size_entry(action, account, instrument, price, trader.limits, room)
        now, second = self._clock.now_ns(), self._clock.engine_ns(1.0)
        state, why = trader.trading_state(now)
        referred = snapshot is not None and snapshot.reference_px is not None
        return Entry(
            intent_id=_intent_id(decision, action),
            action=action,
            account=account,
            snapshot=snapshot,
            instrument=instrument,
            limits=trader.limits,
            sized=sized,
            room=room,
            price=price,
            rests=_rests(trader, action),
            shown_price=_decimal(decision.prices.get(action.symbol)),
            trading_state=state,
            state_reason=why,
            venue_refusal=self._exchange.refusal(action.symbol),
            allowed=trader.allowed,
            major_coins=self._major_coins,
            pending_symbols=frozenset(intent.symbol for intent in trader.under_way.values()),
            known_intents=trader.known_intents,
            cooldown_until=trader.cooldown_until.get(action.symbol, 0),
            entries_last_hour=trader.entries_since(now),
            price_age_s=(now - (snapshot.ts_price if snapshot else 0)) / second,
            reference_age_s=(now - snapshot.ts_reference) / second if snapshot and referred else None,
            now_ns=now,
        )

    def _entry_price(
        self, action: Action, snapshot: MarketSnapshot | None, instrument: Instrument, trader: Trader
    ) -> Decimal | None:
        """Where the entry would fill: its limit, or the far side of the book."""
        if action.entry_price is not None and _rests(trader, action):
            return instrument.round_price(action.entry_price)
        if snapshot is None:
            return None
        quote = snapshot.ask if action.act is Act.BUY_TO_ENTER else snapshot.bid
        quote = quote if quote is not None else snapshot.price()
        return None if quote is None else instrument.round_price(exact(quote))

    def _entry_intent(self, decision: Decision, entry: Entry, trader: Trader) -> OrderIntent:
        side, action, price = entry.side, entry.action, entry.entry_price
        order_type, limit = _style(trader, entry)
        risk = None
        if action.stop_loss is not None:
            risk = entry.instrument.coins(entry.sized.contracts) * abs(price - action.stop_loss)
        now = self._clock.now_ns()
        return OrderIntent(
            intent_id=entry.intent_id,
            cycle_id=decision.cycle_id,
            trader_id=trader.trader_id,
            account_id=self._account_id,
            symbol=action.symbol,
            side=side.entry_side,
            position_side=side,
            purpose=Purpose.ENTRY,
            order_type=order_type,
            contracts=entry.sized.contracts,
            price=limit,
            leverage=action.leverage,
            stop_loss=action.stop_loss,
            take_profit=action.take_profit,
            decision_price=_decimal(decision.prices.get(action.symbol)),
            confidence=action.confidence,
            risk_usd=risk,
            invalidation=action.invalidation,
            ts_created=now,
            ts_expires=now + self._clock.engine_ns(ENTRY_LIVES_S),
        )

    # -- reducing

    def _reduce(
        self, decision: Decision, action: Action, trader: Trader, account: AccountView
    ) -> tuple[Verdict, OrderIntent | None]:
        held = account.position(action.symbol)
        if held is None:
            return self._verdict(decision, action, "nothing_to_close", ()), None
        instrument = self._market.instruments[action.symbol]
        contracts = held.contracts
        if action.act is Act.REDUCE:
            contracts = instrument.floor_size(held.contracts * min(action.close_fraction, Decimal(1)))
        check = Check("reduces", passed=True, detail=f"{contracts} of {held.contracts}")
        if contracts < instrument.min_size:
            return self._verdict(decision, action, "too_small", (check,)), None
        shown = decision.prices.get(action.symbol)
        intent = self.exit_intent(_intent_id(decision, action), trader.trader_id, held, contracts)
        intent = msgspec.structs.replace(intent, cycle_id=decision.cycle_id, decision_price=_decimal(shown))
        return self._verdict(decision, action, "", (check,)), intent

    def _move_stop(
        self, decision: Decision, action: Action, trader: Trader, account: AccountView
    ) -> tuple[Verdict, StopMove | None]:
        held, instrument = account.position(action.symbol), self._market.instruments.get(action.symbol)
        if held is None or instrument is None:
            return self._verdict(decision, action, "nothing_to_protect", ()), None
        snapshot = self._market.snapshots.get(action.symbol)
        price = snapshot.price() if snapshot else None
        nearer = instrument.price_above if held.side is PositionSide.LONG else instrument.price_below
        proposal = StopProposal(
            position=held,
            stop_loss=None if action.stop_loss is None else nearer(action.stop_loss),
            mark=_decimal(price),
            equity=account.equity,
            limits=trader.limits,
        )
        reason, checks = evaluate_stop(proposal)
        verdict = self._verdict(decision, action, reason, checks)
        if reason or proposal.stop_loss is None:
            return verdict, None
        move = self.stop_move(_intent_id(decision, action), trader.trader_id, held, proposal.stop_loss)
        return verdict, msgspec.structs.replace(move, cycle_id=decision.cycle_id)

    def stop_move(self, move_id: str, trader_id: str, held: PositionView, stop_loss: Decimal) -> StopMove:
        """Where the stop of one's own position belongs from now on; `stop_loss` is on the tick."""
        return StopMove(
            move_id=move_id,
            cycle_id="",
            trader_id=trader_id,
            account_id=self._account_id,
            symbol=held.symbol,
            position_side=held.side,
            entry_client_order_id=held.entry_client_order_id,
            stop_loss=stop_loss,
            ts_created=self._clock.now_ns(),
        )

    def exit_intent(
        self, intent_id: str, trader_id: str, held: PositionView, contracts: Decimal
    ) -> OrderIntent:
        """A market order that closes (a part of) one's own position; it never expires."""
        return OrderIntent(
            intent_id=intent_id,
            cycle_id="",
            trader_id=trader_id,
            account_id=self._account_id,
            symbol=held.symbol,
            side=held.side.exit_side,
            position_side=held.side,
            purpose=Purpose.EXIT,
            order_type=OrderType.MARKET,
            contracts=contracts,
            leverage=held.leverage,
            ts_created=self._clock.now_ns(),
        )

    def _verdict(self, decision: Decision, action: Action, reason: str, checks: tuple[Check, ...]) -> Verdict:
        return Verdict(
            cycle_id=decision.cycle_id,
            trader_id=decision.trader_id,
            symbol=action.symbol,
            act=action.act,
            approved=not reason,
            reason=reason,
            checks=checks,
            ts=self._clock.now_ns(),
        )


def _intent_id(decision: Decision, action: Action) -> str:
    return f"{decision.cycle_id}:{action.symbol}:{action.act}"


def _rests(trader: Trader, action: Action) -> bool:
    """The entry waits in the book at its own price."""
    return trader.config.order_style == "limit" and action.entry_price is not None


def _style(trader: Trader, entry: Entry) -> tuple[OrderType, Decimal | None]:
    """Order type and price.

    `market_ioc` is a marketable limit with the configured slippage bound, within what the venue takes.
    """
    price, long = entry.entry_price, entry.side is PositionSide.LONG
    if entry.rests:
        return OrderType.LIMIT, price
    if trader.config.order_style != "market_ioc":
        return OrderType.MARKET, None
    bound = price * (1 + entry.side.sign * trader.config.market_ioc_slippage_bps / BPS)
    if (limit := entry.price_limit) is not None:
        bound = min(bound, limit) if long else max(bound, limit)
    instrument = entry.instrument
    return OrderType.IOC, instrument.price_below(bound) if long else instrument.price_above(bound)


def _readable(action: Action) -> bool:
    """Every number is one that a price or an amount can be."""
    given = (action.notional_usd, action.leverage, action.entry_price, action.stop_loss, action.take_profit)
    numbers = (*given, action.risk_usd, action.confidence, action.close_fraction)
    return all(number is None or _is_amount(number) for number in numbers)


def _is_amount(number: Decimal) -> bool:
    exponent = number.as_tuple().exponent
    return isinstance(exponent, int) and exponent >= _FINEST and 0 <= number <= _LARGEST


def _decimal(value: float | None) -> Decimal | None:
    return None if value is None else exact(value)


def _on_tick(action: Action, instrument: Instrument) -> Action:
    """Stop and target on the tick, rounded toward less risk: the stop nearer, the target nearer."""
    long = action.act is Act.BUY_TO_ENTER
    stop, target = action.stop_loss, action.take_profit
    if stop is None and target is None:
        return action
    nearer_stop = instrument.price_above if long else instrument.price_below
    nearer_target = instrument.price_below if long else instrument.price_above
    return msgspec.structs.replace(
        action,
        stop_loss=None if stop is None else nearer_stop(stop),
        take_profit=None if target is None else nearer_target(target),
    )
