"""Traders, books and markets in memory: what the gate allows is booked as if the venue had filled it."""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal

from engine.clock import SimClock
from engine.config.manager import CapitalConfig, ManagerConfig, RiskConfig, StrategyConfig, TraderConfig
from engine.core.books import Books
from engine.core.cash import CashFlow, FlowKind
from engine.core.decisions import Action, Decision, Verdict
from engine.core.instruments import Instrument
from engine.core.market import Level
from engine.core.orders import ZERO, Fill, Order, OrderIntent, OrderState, StopMove
from engine.core.signals import MarketSnapshot
from engine.manager.accounts import TraderAccounts
from engine.manager.breaker import Breaker
from engine.manager.exposure import AccountCaps
from engine.manager.traders import Trader
from engine.manager.translate import Translator

D = Decimal
SECOND = 1_000_000_000
START = 1_700_000_000 * SECOND
PRICES = {"BTC-USDT-SWAP": 100_000.0, "DOGE-USDT-SWAP": 0.2}
INSTRUMENTS = {
    symbol: Instrument(
        symbol=symbol,
        base=symbol.split("-")[0],
        tick_size=tick,
        lot_size=D("0.01"),
        min_size=D("0.01"),
        contract_value=value,
        max_leverage=D(50),
        max_market_size=D(20_000),
    )
    for symbol, tick, value in (
        ("BTC-USDT-SWAP", D("0.1"), D("0.01")),
        ("DOGE-USDT-SWAP", D("0.00001"), D(1000)),
    )
}


class Open:
    """An exchange part that takes everything."""

    def refusal(self, symbol: str) -> str:
        return ""

    @property
    def taker_fee(self) -> Decimal:
        return D("0.0005")

    def resume(self) -> None:
        raise AssertionError


@dataclass
class Markets:
    snapshots: dict[str, MarketSnapshot] = field(default_factory=dict)
    instruments: dict[str, Instrument] = field(default_factory=lambda: dict(INSTRUMENTS))


class GateWorld:
    """`count` traders with 10,000 each on one account."""

    def __init__(self, limits: RiskConfig, capital: CapitalConfig | None = None, count: int = 1) -> None:
        self.clock = SimClock(START)
        names = [f"t{number}" for number in range(count)]
        configs = tuple(
            TraderConfig(
                id=name,
                strategy=StrategyConfig(name="x"),
                allocation_pct=D(100) / count,
                risk_params=limits,
            )
            for name in names
        )
        self.config = ManagerConfig(traders=configs, manager=capital or CapitalConfig())
        self.breaker = Breaker(self.config.manager.breaker)
        self.traders = {
            each.id: Trader(each, tuple(PRICES), Breaker(limits), self.breaker) for each in configs
        }
        self.books = Books("sim", names)
        for name in names:
            self.books.apply_cash(
                CashFlow(
                    flow_id=name,
                    trader_id=name,
                    account_id="sim",
                    kind=FlowKind.CAPITAL,
                    amount=D(10_000),
                    ts=START,
                )
            )
        self.accounts = TraderAccounts(self.books, self.clock.now_ns)
        self.market = Markets()
        for symbol, price in PRICES.items():
            self.price(symbol, price)
        caps = AccountCaps(self.config.manager, self.books, self.accounts.marks, INSTRUMENTS, self.traders)
        self.translator = Translator("sim", self.config.manager, self.market, Open(), caps.room, self.clock)
        self.moves: list[StopMove] = []
        self._cycles = 0

    def price(self, symbol: str, price: float) -> None:
        """The market is at `price` now, with a deep book."""
        now, half = self.clock.now_ns(), price * 0.0001
        self.market.snapshots[symbol] = MarketSnapshot(
            symbol=symbol,
            ts=now,
            last=price,
            bid=price - half,
            ask=price + half,
            bids=(Level(price - half, 1e6),),
            asks=(Level(price + half, 1e6),),
            mark=price,
            ts_price=now,
            ts_mark=now,
        )
        self.accounts.marks[symbol] = D(str(price))

    def decide(self, trader: str, *actions: Action) -> tuple[list[Verdict], list[OrderIntent]]:
        """Let a trader decide at the prices of now."""
        self._cycles += 1
        prices = {symbol: each.mark for symbol, each in self.market.snapshots.items() if each.mark}
        decision = Decision(
            cycle_id=f"{trader}-{self._cycles}",
            trader_id=trader,
            decider="fuzzer",
            actions=actions,
            prices=prices,
            ts_decided=self.clock.now_ns(),
        )
        verdicts, intents, self.moves = self.translator.translate(
            decision, self.traders[trader], lambda: self.accounts.view(trader)
        )
        return verdicts, intents

    def fill(self, intent: OrderIntent) -> None:
        """The venue fills all of it at the mark, with the usual fee."""
        price = intent.price or self.accounts.marks[intent.symbol]
        notional = INSTRUMENTS[intent.symbol].notional(intent.contracts, price)
        name = intent.client_order_id
        fill = Fill(
            fill_id=f"fill of {name}",
            client_order_id=name,
            venue_order_id=name,
            trader_id=intent.trader_id,
            account_id="sim",
            symbol=intent.symbol,
            side=intent.side,
            position_side=intent.position_side,
            purpose=intent.purpose,
            contracts=intent.contracts,
            price=price,
            contract_value=INSTRUMENTS[intent.symbol].contract_value,
            fee=-notional * D("0.0005"),
            maker=False,
            ts_event=self.clock.now_ns(),
        )
        self.books.apply_fill(fill, intent)
        self.finish(intent, OrderState.FILLED, intent.contracts)

    def finish(self, intent: OrderIntent, state: OrderState, filled: Decimal = ZERO) -> None:
        """The order is done."""
        order = Order(
            client_order_id=intent.client_order_id,
            intent=intent,
            state=state,
            filled=filled,
            claimed=filled,
            ts_updated=self.clock.now_ns(),
        )
        self.traders[intent.trader_id].on_order(order)

    def exposure(self, symbol: str = "") -> Decimal:
        """Notional held and under way, of all traders, in one symbol or in all."""
        total = D(0)
        for account in self.books.traders():
            held = account.positions.values()
            total += sum(
                (h.coins * self.accounts.marks[h.symbol] for h in held if symbol in {"", h.symbol}), D(0)
            )
        for trader in self.traders.values():
            for intent in trader.under_way.values():
                if symbol in {"", intent.symbol}:
                    price = intent.price or self.accounts.marks[intent.symbol]
                    total += INSTRUMENTS[intent.symbol].notional(intent.contracts, price)
        return total

    @property
    def equity(self) -> Decimal:
        return self.books.equity(self.accounts.marks) or D(0)
