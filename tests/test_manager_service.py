"""The manager between bus and journal: wakes, decides what is allowed, and does nothing twice."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

import msgspec
import pytest

from engine.bus import (
    COMMANDS,
    DECISIONS,
    INTENTS,
    ORDERS,
    SIGNALS,
    SNAPSHOTS,
    TRANSFERS,
    WAKEUPS,
    Bus,
    Command,
    Message,
    OrderUpdate,
)
from engine.clock import SystemClock
from engine.config.manager import (
    AccountBreakerConfig,
    BreakerAction,
    CapitalConfig,
    ManagerConfig,
    MonitoringConfig,
    RiskConfig,
    StrategyConfig,
    TraderConfig,
)
from engine.config.market_sources import NewsSource
from engine.config.scheduler import RhythmConfig, RolloutConfig
from engine.config.settings import load_settings
from engine.config.values import Duration
from engine.core.books import Books
from engine.core.cash import CashFlow, FlowKind, Transfer
from engine.core.decisions import (
    Act,
    Action,
    CycleMode,
    CycleRecord,
    CycleStatus,
    Decision,
    Verdict,
    Wakeup,
)
from engine.core.instruments import Instrument
from engine.core.ledger import ClosedTrade
from engine.core.market import Side
from engine.core.orders import (
    UNATTRIBUTED,
    Fill,
    Order,
    OrderIntent,
    OrderState,
    PositionSide,
    Purpose,
)
from engine.core.signals import Edge, MarketSnapshot, Signal, signal_id
from engine.core.times import NEVER_NS, NS_PER_MIN
from engine.journal.in_memory.journal import MemoryJournal
from engine.journal.ports import Journal, KeepState, KeptState, RiskEvent, TraderRecord, Validity, account_key
from engine.manager.accounts import TraderAccounts
from engine.manager.breaker import Breaker
from engine.manager.context import ManagerContext, MarketView
from engine.manager.scheduler import Scheduler
from engine.manager.service import ManagerService
from engine.manager.traders import Trader
from engine.market.feed_entries import Found
from engine.market.news import NewsBoard
from engine.memory_bus import MemoryBus
from engine.wiring.traders import build_scheduler, build_traders
from tests.order_parts import intent_of
from tests.test_executor_prompt import trade
from tests.waiting import until

D = Decimal
BTC = "BTC-USDT-SWAP"
CLOCK = SystemClock()
TRADERS = ("a", "b", "c")
INSTRUMENT = Instrument(
    symbol=BTC,
    base="BTC",
    tick_size=D("0.1"),
    lot_size=D("0.01"),
    min_size=D("0.01"),
    contract_value=D("0.01"),
)


class Open:
    """An exchange part that takes everything."""

    def refusal(self, symbol: str) -> str:
        return ""

    @property
    def taker_fee(self) -> Decimal:
        return D("0.0005")

    def resume(self) -> None:
        """Nothing is halted."""


@dataclass
class World:
    service: ManagerService
    books: Books
    bus: Bus
    journal: Journal
    wakeups: list[Wakeup]
    intents: list[OrderIntent]

    async def decide(self, cycle_id: str, trader: str, *actions: Action) -> None:
        decision = Decision(
            cycle_id=cycle_id,
            trader_id=trader,
            decider="test",
            actions=actions,
            prices={BTC: 100_000.0},
            ts_decided=CLOCK.now_ns(),
        )
        if not await self.journal.is_open(cycle_id):
            await self.journal.record_wakeup(woken(cycle_id, trader))
        await self.journal.record_cycle(CycleRecord(decision=decision, status=CycleStatus.DECIDED))
        await self.bus.publish(DECISIONS, decision)

    async def show(self, price: float) -> None:
        """The market is at `price`."""
        now = CLOCK.now_ns()
        shown = MarketSnapshot(
            symbol=BTC, ts=now, last=price, bid=price - 1, ask=price, mark=price, ts_price=now, ts_mark=now
        )
        await self.bus.publish(SNAPSHOTS, shown)

    def hold(self, trader: str, contracts: str) -> None:
        """The trader has a long position."""
        hold(self.books, trader, contracts)


def woken(cycle_id: str, trader: str) -> Wakeup:
    """A wakeup of nobody's, so that a decision made up has a cycle."""
    account = TraderAccounts(Books("sim", TRADERS), CLOCK.now_ns).view(trader)
    return Wakeup(
        cycle_id=cycle_id,
        trader_id=trader,
        ts=CLOCK.now_ns(),
        mode=CycleMode.SHORT,
        reasons=(),
        account=account,
        market=(),
        deadline_ns=CLOCK.now_ns() + NS_PER_MIN,
    )


def hold(books: Books, trader: str, contracts: str) -> None:
    fill = Fill(
        fill_id=f"fill of {trader}",
        client_order_id=f"order of {trader}",
        venue_order_id="1",
        trader_id=trader,
        account_id="sim",
        symbol=BTC,
        side=Side.BUY,
        position_side=PositionSide.LONG,
        purpose=Purpose.ENTRY,
        contracts=D(contracts),
        price=D(100_000),
        contract_value=D("0.01"),
        fee=D(0),
        maker=False,
        ts_event=1,
    )
    books.apply_fill(fill)


def entry(notional: str = "5000") -> Action:
    return Action(
        symbol=BTC,
        act=Act.BUY_TO_ENTER,
        notional_usd=D(notional),
        leverage=D(5),
        stop_loss=D(99_000),
        take_profit=D(103_000),
        confidence=D("0.9"),
    )


@asynccontextmanager
async def world(
    journal: Journal,
    *,
    symbol_cap_pct: int = 200,
    rollout: RolloutConfig | None = None,
    cooldown_s: float = 60,
    grace_s: float = 0,
    bus: Bus | None = None,
    breaker_action: BreakerAction = BreakerAction.REDUCE_ONLY,
    capital: CapitalConfig | None = None,
) -> AsyncIterator[World]:
    """A manager with three traders of 10,000 each; the price of BTC is 100,000."""
    rhythm = RhythmConfig(
        grace=Duration(grace_s), jitter=Duration(0), min_salience=0.3, cooldown=Duration(cooldown_s)
    )
    configs = tuple(
        TraderConfig(
            id=name,
            strategy=StrategyConfig(name="x"),
            allocation_pct=D(30),
            rhythm=rhythm,
            rollout=rollout or RolloutConfig(),
            risk_params=RiskConfig(
                max_position_size_usd=D(50_000),
                risk_per_trade_pct=D(100),
                breaker_action=breaker_action,
            ),
        )
        for name in TRADERS
    )
    config = ManagerConfig(
        traders=configs,
        manager=capital or CapitalConfig(max_symbol_exposure_pct=D(symbol_cap_pct)),
        monitoring=MonitoringConfig(update_interval=Duration(0.1)),
    )
    books = Books("sim", TRADERS)
    await journal.record_traders(
        [
            TraderRecord(
                trader_id=name, name=name, kind="strategy", model="x", account_id="sim", config=b"{}", ts=1
            )
            for name in TRADERS
        ]
    )
    for name in TRADERS:
        flow = CashFlow(
            flow_id=name, trader_id=name, account_id="sim", kind=FlowKind.CAPITAL, amount=D(10_000), ts=1
        )
        books.apply_cash(flow)
    bus, scheduler, now = bus or MemoryBus(CLOCK), Scheduler(), CLOCK.now_ns()
    for name in TRADERS:
        scheduler.add(name, rhythm, (BTC,), now)
    accounts = TraderAccounts(books, CLOCK.now_ns)
    news = NewsBoard(symbols=(BTC,))
    news.add(NewsSource(name="wire", url="http://x"), [Found(title="BTC is quiet")], now)
    view = MarketView({}, {BTC: INSTRUMENT}, news)
    states = await journal.load_states(KeepState.BREAKER)
    breaker = Breaker(config.manager.breaker, states.get(account_key("sim"), b""))
    context = ManagerContext(
        config=config,
        books=books,
        accounts=accounts,
        market=view,
        exchange=Open(),
        scheduler=scheduler,
        bus=bus,
        journal=journal,
        clock=CLOCK,
        breaker=breaker,
    )
    traders = {
        each.id: Trader(each, (BTC,), Breaker(each.risk_params, states.get(each.id, b"")), breaker)
        for each in configs
    }
    service = ManagerService(context, traders)
    made = World(service, books, bus, journal, [], [])

    async def on_wakeup(message: Message[Wakeup]) -> None:
        made.wakeups.append(message.body)

    async def on_intent(message: Message[OrderIntent]) -> None:
        made.intents.append(message.body)

    await service.start()
    running = [
        asyncio.create_task(service.run()),
        asyncio.create_task(bus.consume(WAKEUPS, "test", on_wakeup)),
        asyncio.create_task(bus.consume(INTENTS, "test", on_intent)),
    ]
    try:
        await asyncio.sleep(0)
        while BTC not in view.snapshots:
            await made.show(1e5)
            await asyncio.sleep(0.01)
        yield made
    finally:
        for task in running:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task


async def test_every_trader_is_woken_once_with_what_it_may_see() -> None:
    journal = MemoryJournal()
    async with world(journal) as now:
        await until(lambda: len(now.wakeups) == 3)
        assert {wakeup.trader_id for wakeup in now.wakeups} == set(TRADERS)
        assert all(wakeup.account.equity == 10_000 for wakeup in now.wakeups)
        assert {item.title for wakeup in now.wakeups for item in wakeup.news} == {"BTC is quiet"}
        assert set(await journal.open_cycles("sim")) == {wakeup.cycle_id for wakeup in now.wakeups}
        for wakeup in now.wakeups:
            await now.decide(wakeup.cycle_id, wakeup.trader_id)
        ts = CLOCK.now_ns()
        signal = Signal(
            signal_id=signal_id(BTC, "rsi", Edge.UP, ts),
            symbol=BTC,
            detector="rsi",
            feature="rsi_14",
            timeframe="1m",
            edge=Edge.UP,
            value=80.0,
            threshold=70.0,
            release=60.0,
            score=0.95,
            price=1e5,
            ts_event=ts,
        )
        await until(lambda: not now.service.traders["a"].under_way)
        for _ in range(3):
            await now.bus.publish(SIGNALS, signal)
        await until(lambda: len(now.wakeups) == 6)
        reasons = [reason.signal for wakeup in now.wakeups[3:] for reason in wakeup.reasons]
        assert [each.signal_id for each in reasons if each] == [signal.signal_id] * 3


async def test_A3_a_decision_delivered_twice_is_one_intent() -> None:
    """The intent's id, and so the order's, is that of the decision."""
    journal = MemoryJournal()
    async with world(journal) as now:
        await now.decide("a-1", "a", entry())
        await until(lambda: bool(now.intents))
        await now.decide("a-1", "a", entry())
        await now.decide("b-1", "b", entry())
        await until(lambda: any(intent.trader_id == "b" for intent in now.intents))
        assert len({intent.client_order_id for intent in now.intents}) == 2
        assert len(await journal.pending_intents("sim", 0)) == 2


async def test_concurrent_entries_never_overshoot_the_account() -> None:
    """R5: 40 % of 30,000 in one symbol; what is under way counts in full."""
    async with world(MemoryJournal(), symbol_cap_pct=40) as now:
        for trader in TRADERS:
            await now.decide(f"{trader}-1", trader, entry("9000"))
        await until(lambda: now.service.refusals.total() + len(now.intents) == 3)
        granted = sum(intent.contracts * D(1_000) for intent in now.intents)
        assert 0 < granted <= 12_000


async def test_flatten_closes_ones_own_position_and_stops_entries() -> None:
    """S5-14: another trader's position in the same symbol is not touched."""
    async with world(MemoryJournal()) as now:
        now.hold("a", "2")
        now.hold("b", "3")
        await now.bus.publish(COMMANDS, Command(command_id="c1", name="flatten", trader_id="a"))
        await until(lambda: bool(now.intents))
        (close,) = now.intents
        assert (close.trader_id, close.purpose, close.contracts) == ("a", Purpose.EXIT, D(2))
        await now.decide("a-1", "a", entry())
        await until(lambda: now.service.refusals["trading_state"] == 1)
        close_again = Action(symbol=BTC, act=Act.CLOSE, confidence=D(1))
        await now.decide("a-2", "a", close_again)  # R2: a close passes in every state
        await until(lambda: len(now.intents) == 2)


async def test_P5_who_was_liquidated_opens_nothing_until_an_operator_has_looked() -> None:
    journal = MemoryJournal()
    async with world(journal) as now:
        intent = intent_of(
            "x7", trader_id=UNATTRIBUTED, side=Side.SELL, purpose=Purpose.LIQUIDATION, contracts=D(2)
        )
        liquidation = Order(client_order_id="x7", intent=intent, state=OrderState.FILLED, filled=D(2))
        await now.bus.publish(ORDERS, OrderUpdate(order=liquidation, traders=("a",)))
        while "a" not in await journal.load_states(KeepState.BREAKER):
            await asyncio.sleep(0.01)
        await now.decide("a-1", "a", entry())
        await until(lambda: now.service.refusals["trading_state"] == 1)
        await now.decide("b-1", "b", entry())
        await until(lambda: [intent.trader_id for intent in now.intents] == ["b"])


async def test_a_restart_abandons_what_was_being_thought_about() -> None:
    journal = MemoryJournal()
    async with world(journal) as now:
        await until(lambda: len(now.wakeups) == 3)
    async with world(journal):
        assert await journal.open_cycles("sim") == () or set(await journal.open_cycles("sim")).isdisjoint(
            wakeup.cycle_id for wakeup in now.wakeups
        )
        (newest, *_) = await journal.recent_cycles("a", 5)
        assert newest.status is CycleStatus.ABANDONED


async def test_B2_what_redis_lost_is_ended_from_the_journal() -> None:
    """A wakeup that nobody got closes its cycle; an exit of whose end nobody told closes again."""
    journal = MemoryJournal()
    async with world(journal) as now:
        await until(lambda: len(now.wakeups) == 3)
        lost = msgspec.structs.replace(now.wakeups[0], cycle_id="a-1", trader_id="a", deadline_ns=1)
        await journal.record_wakeup(lost)
        intent = intent_of("exit", side=Side.SELL, purpose=Purpose.EXIT, contracts=D(2))
        now.service.traders["a"].take_up(intent)
        await until(lambda: not now.service.traders["a"].closing)
        while "a-1" in await journal.open_cycles("sim"):
            await asyncio.sleep(0.01)
        (closed,) = [each for each in await journal.recent_cycles("a", 5) if each.decision.cycle_id == "a-1"]
        assert (closed.status, closed.decision.refusal) == (CycleStatus.ABANDONED, "answer_lost")
        assert {each.cycle_id for each in now.wakeups} <= set(await journal.open_cycles("sim"))


async def test_shadow_decides_and_is_journalled_and_enters_nothing_live() -> None:
    async with world(MemoryJournal(), rollout=RolloutConfig(weight=0)) as now:
        await until(lambda: len(now.wakeups) == 3)
        assert {wakeup.on_paper for wakeup in now.wakeups} == {(BTC,)}
        now.hold("b", "3")
        await now.decide(now.wakeups[0].cycle_id, now.wakeups[0].trader_id, entry())
        await until(lambda: now.service.refusals["on_paper"] == 1)
        await now.decide("b-7", "b", Action(symbol=BTC, act=Act.CLOSE, confidence=D(1)))
        await until(lambda: bool(now.intents))
        assert [intent.purpose for intent in now.intents] == [Purpose.EXIT]


async def command(now: World, journal: MemoryJournal, name: str, trader: str = "") -> RiskEvent:
    """Order something and wait for the answer."""
    number = f"{name} {trader} {len(journal.risk_events)}"
    await now.bus.publish(COMMANDS, Command(command_id=number, name=name, trader_id=trader))
    await until(lambda: any(event.event_id == f"command:{number}" for event in journal.risk_events))
    answer = await journal.risk_event(f"command:{number}")
    assert answer is not None
    return answer


async def test_every_command_is_answered_and_journalled() -> None:
    journal = MemoryJournal()
    async with world(journal) as now:
        now.hold("a", "2")
        told = [
            await command(now, journal, *words)
            for words in (("pause", "b"), ("close", "a"), ("close", "nobody"), ("dance", "a"), ("halt",))
        ]
        assert [answer.kind for answer in told] == [
            "command_applied",
            "command_applied",
            "command_refused",
            "command_refused",
            "command_applied",
        ]
        assert told[1].detail == "closing 1 position at market"
        assert "no trader 'nobody'" in told[2].detail
        assert [intent.purpose for intent in now.intents] == [Purpose.EXIT]


async def test_R2_halt_stops_every_trader_outlives_a_restart_and_resume_ends_it() -> None:
    journal = MemoryJournal()
    async with world(journal) as now:
        await command(now, journal, "pause", "b")
        await command(now, journal, "halt")
    async with world(journal) as now:
        await now.decide("a-100", "a", entry())
        await until(lambda: now.service.refusals["trading_state"] == 1)
        await command(now, journal, "resume_all")
        await now.decide("a-101", "a", entry())
        await until(lambda: len(now.intents) == 1)
        await now.decide("b-100", "b", entry())  # paused by itself, and still is
        await until(lambda: now.service.refusals["trading_state"] == 2)
        await command(now, journal, "resume", "b")
        await now.decide("b-101", "b", entry())
        await until(lambda: len(now.intents) == 2)


def test_R2_a_halted_model_is_asked_only_about_what_it_holds() -> None:
    settings, account = load_settings(Path("etc"), {}), Breaker(AccountBreakerConfig())
    traders = build_traders(settings, {}, account)
    (model,) = (name for name, trader in traders.items() if trader.config.models)

    def woken(books: Books) -> set[str]:
        scheduler = build_scheduler(settings, traders, books, 0)
        return {due.trader_id for due in scheduler.poll(NS_PER_MIN)}

    flat, long = Books("sim", traders), Books("sim", traders)
    hold(long, model, "2")
    assert woken(flat) == set(traders)
    account.halt("enough")
    assert woken(flat) == traders.keys() - {model}
    assert woken(long) == set(traders)
    account.resume(0)
    assert woken(flat) == set(traders)


async def test_R4_an_unrealised_loss_flattens_the_trader_that_has_it() -> None:
    journal = MemoryJournal()
    async with world(journal, breaker_action=BreakerAction.FLATTEN) as now:
        now.hold("a", "40")  # 0.4 BTC, bought at 100,000
        await until(lambda: bool(journal.performance))
        await now.show(97_000.0)
        await until(lambda: bool(now.intents))
        (close,) = now.intents
        assert (close.trader_id, close.purpose, close.contracts) == ("a", Purpose.EXIT, D(40))
        assert {(event.trader_id, event.kind) for event in journal.risk_events} == {("a", "daily_loss")}
        await now.decide("a-1", "a", entry())
        await until(lambda: now.service.refusals["trading_state"] == 1)


async def cooling(journal: MemoryJournal) -> set[str]:
    """Traders whose stored schedule is in a cool-off."""
    states = await journal.load_states(KeepState.SCHEDULER)
    return {
        name for name, state in states.items() if msgspec.msgpack.decode(state)["rhythm"]["cool_off_until_ns"]
    }


async def test_account_that_lost_too_much_cools_off_over_a_restart_until_resumed() -> None:
    """The breaker of the account stops both timers of every trader, and keeps them stopped."""
    journal = MemoryJournal()
    async with world(journal) as now:
        now.hold("a", "30")  # 0.3 BTC at 100,000
        await until(lambda: bool(journal.performance))
        await now.show(70_000.0)  # 9,000 of 30,000 are gone
        async with asyncio.timeout(10):
            while await cooling(journal) != set(TRADERS):
                await asyncio.sleep(0.01)
    async with world(journal) as now:
        assert await cooling(journal) == set(TRADERS)
        assert now.wakeups == []
        await command(now, journal, "resume_all")
        await until(lambda: {wakeup.trader_id for wakeup in now.wakeups} == set(TRADERS))
        assert await cooling(journal) == set()


class Dying(MemoryJournal):
    """Once `dies_at` is set the engine gets no further than the write of that name, about the account."""

    dies_at = ""
    dead = False

    async def _write(self, name: str) -> None:
        if name == self.dies_at:
            self.dead = True
            await asyncio.Event().wait()

    async def record_risk_event(self, event: RiskEvent) -> None:
        if not event.trader_id:
            await self._write("risk event")
        await super().record_risk_event(event)

    async def save_state(self, kind: KeepState, trader_id: str, state: bytes, ts: int) -> None:
        if trader_id == account_key("sim") and msgspec.msgpack.decode(state)["reason"]:
            await self._write("breaker")
        await super().save_state(kind, trader_id, state, ts)

    async def record_gate(
        self,
        verdicts: Sequence[Verdict],
        intents: Sequence[OrderIntent] = (),
        states: Sequence[KeptState] = (),
        answer: Decision | None = None,
    ) -> Validity:
        await self._write("exits" if intents else "schedules")
        return await super().record_gate(verdicts, intents, states, answer)


def decided(cycle_id: str, *actions: Action) -> CycleRecord:
    decision = Decision(
        cycle_id=cycle_id,
        trader_id="a",
        decider="test",
        actions=actions,
        prices={BTC: 100_000.0},
        ts_decided=CLOCK.now_ns(),
    )
    return CycleRecord(decision=decision, status=CycleStatus.DECIDED)


async def test_a_decision_waits_for_its_way_into_the_journal() -> None:
    journal = MemoryJournal()
    async with world(journal) as now:
        record = decided("a-1", entry())
        await journal.record_wakeup(woken("a-1", "a"))
        await now.bus.publish(DECISIONS, record.decision)
        with pytest.raises(TimeoutError):
            await until(lambda: bool(now.intents), 0.2)
        assert await journal.pending_intents("sim", 0) == ()
        assert await journal.record_cycle(record)
        await until(lambda: len(now.intents) == 1)


async def test_a_decision_that_never_reaches_the_journal_is_given_up_and_forgotten() -> None:
    journal = MemoryJournal()
    async with world(journal) as now:
        record = decided("a-1", entry())
        await journal.record_wakeup(woken("a-1", "a"))
        await now.bus.publish(DECISIONS, record.decision)
        await now.decide("b-1", "b", entry())
        await until(lambda: bool(now.intents))
        assert [intent.trader_id for intent in now.intents] == ["b"]
        assert not await journal.record_cycle(record), "too late: the cycle is closed"
        await now.bus.publish(DECISIONS, record.decision)
        await now.decide("a-2", "a", entry())  # nothing of the first one counts as under way
        await until(lambda: len(now.intents) == 2)
        assert [intent.cycle_id for intent in now.intents] == ["b-1", "a-2"]
        assert [each.cycle_id for each in await journal.verdicts_of(["a-1"])] == []


@pytest.mark.parametrize("write", ["risk event", "exits", "breaker", "schedules"])
async def test_R4_a_breaker_finishes_after_a_restart_what_it_had_begun(
    write: str,
) -> None:
    journal = Dying()
    config = CapitalConfig(breaker=AccountBreakerConfig(breaker_action=BreakerAction.FLATTEN))
    async with world(journal, capital=config) as now:
        now.hold("a", "30")
        await until(lambda: bool(journal.performance))
        journal.dies_at = write
        await now.show(70_000.0)
        await until(lambda: journal.dead)
    journal.dies_at = ""
    async with world(journal, capital=config) as now:
        now.hold("a", "30")
        await now.show(70_000.0)
        await until(lambda: bool(now.intents))
        assert {(intent.trader_id, intent.purpose) for intent in now.intents} == {("a", Purpose.EXIT)}
        async with asyncio.timeout(10):
            while await cooling(journal) != set(TRADERS):
                await asyncio.sleep(0.01)
        assert ("", "daily_loss") in {(event.trader_id, event.kind) for event in journal.risk_events}
        await now.decide("b-1", "b", entry())
        await until(lambda: now.service.refusals["trading_state"] == 1)


class Lost(MemoryJournal):
    """Trader b's newest trades were all losses."""

    async def recent_trades(
        self, trader_id: str, limit: int, until_ns: int = NEVER_NS
    ) -> tuple[ClosedTrade, ...]:
        return tuple(trade(n, net="-1") for n in range(limit)) if trader_id == "b" else ()


async def test_R4_a_streak_that_nobody_looked_at_before_a_kill_counts_after_the_restart() -> None:
    journal = Lost()
    async with world(journal) as now:
        await until(lambda: bool(journal.risk_events))
        assert [(event.trader_id, event.kind) for event in journal.risk_events] == [("b", "loss_streak")]
        await now.decide("b-1", "b", entry())
        await until(lambda: now.service.refusals["trading_state"] == 1)


async def test_R5_entries_under_way_count_after_a_restart_too() -> None:
    journal = MemoryJournal()
    async with world(journal, symbol_cap_pct=40) as now:
        await now.decide("a-1", "a", entry("9000"))
        await until(lambda: len(now.intents) == 1)
    async with world(journal, symbol_cap_pct=40) as now:
        await until(lambda: bool(now.intents))  # whether the former life came to publish it, nobody knows
        assert now.intents == list(await journal.pending_intents("sim", 0))
        await now.decide("b-1", "b", entry("9000"))
        await until(lambda: len(now.intents) == 2)
        assert now.intents[1].contracts * 1000 <= 3_000, "12,000 less the 9,000 of a former life"
        await now.decide("a-2", "a", entry())
        await until(lambda: now.service.refusals["position_open"] == 1)


async def test_performance_moves_capital_at_each_interval() -> None:
    capital = CapitalConfig(allocation_strategy="performance_based", rebalance_interval=Duration(0.5))
    journal = MemoryJournal()
    async with world(journal, capital=capital) as now:
        moved: list[Transfer] = []

        async def on_transfer(message: Message[Transfer]) -> None:
            moved.append(message.body)

        listening = asyncio.create_task(now.bus.consume(TRANSFERS, "test", on_transfer))
        now.hold("a", "40")
        await until(lambda: bool(journal.performance))
        await now.show(100_500.0)
        await until(lambda: bool(moved))
        assert {each.taker for each in moved} == {"a"}
        assert {each.giver for each in moved} == {"b", "c"}
        listening.cancel()
