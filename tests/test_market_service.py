"""The market part at work: warm-up, order of writing, outages, gaps, coalesced snapshots."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from decimal import Decimal
from typing import TypeVar

import msgspec
import pytest

from engine.bus import SIGNALS, Message, Topic
from engine.clock import Clock, SimClock, SystemClock, cancelled, settle
from engine.config.market import MarketConfig
from engine.config.market_rules import Rule, ThresholdRule
from engine.core.errors import BusUnavailable, Rejected, StoreUnavailable, Unavailable
from engine.core.instruments import Instrument
from engine.core.market import Candle, ChannelState, FeedStatus, MarketEvent, MarkPrice
from engine.core.signals import Edge, MarketSnapshot, Signal
from engine.core.times import NS_PER_HOUR, NS_PER_MIN
from engine.journal.ports import FeatureRow, IntegrityEvent, KeepState
from engine.market.candles import Aggregator
from engine.market.outbox import SignalOutbox
from engine.market.pipeline import MarketPipeline
from engine.market.service import MarketService
from engine.memory_bus import MemoryBus
from tests.market_world import BTC, trades_of, walk

T = TypeVar("T")
RULES: tuple[Rule, ...] = (
    ThresholdRule(
        name="rsi", feature="rsi_14", timeframe="1m", upper=60, upper_release=55, lower=40, lower_release=45
    ),
)
CONFIG = MarketConfig(symbols=(BTC,), detectors=RULES, warm_up=100)
CANDLES = walk(33, 400, step=0.002)
WARM = 150


class ScriptedFeed:
    """A venue that has closed the first `closed` candles of CANDLES and sends what the test sends."""

    def __init__(self, closed: int = WARM) -> None:
        self.closed = closed
        self.failures: list[Exception] = []
        self.dead: frozenset[str] = frozenset()  # symbols of which it gives no candles
        self.asked: list[tuple[str, int]] = []
        self._events: asyncio.Queue[MarketEvent] = asyncio.Queue()

    async def run(self) -> None:
        await asyncio.Event().wait()

    def send(self, *events: MarketEvent) -> None:
        for event in events:
            self._events.put_nowait(event)

    def close(self, *indices: int) -> None:
        """The venue closes these candles and sends them."""
        self.closed = max(self.closed, indices[-1] + 1)
        self.send(*(CANDLES[index] for index in indices))

    async def events(self) -> AsyncIterator[Sequence[MarketEvent]]:
        while True:
            yield (await self._events.get(),)
            self._events.task_done()

    async def worked_through(self) -> None:
        await self._events.join()

    async def instruments(self) -> tuple[Instrument, ...]:
        one = Decimal("0.01")
        return (
            Instrument(symbol=BTC, base="BTC", tick_size=one, lot_size=one, min_size=one, contract_value=one),
        )

    async def candles(self, symbol: str, timeframe: str, limit: int) -> tuple[Candle, ...]:
        self.asked.append((timeframe, limit))
        if self.failures:
            raise self.failures.pop(0)
        if symbol in self.dead:
            raise Unavailable("away")
        made = CANDLES[: self.closed]
        if timeframe != "1m":
            aggregator = Aggregator("1m", timeframe)
            made = [longer for item in made for longer in aggregator.add(item)]
        return tuple(made[-limit:])


class KeptJournal:
    """A journal in memory that can be away."""

    def __init__(self) -> None:
        self.away = False
        self.states: dict[str, bytes] = {}
        self.signals: list[Signal] = []
        self.candles: list[Candle] = []
        self.features: list[FeatureRow] = []
        self.flaws: list[IntegrityEvent] = []

    async def record_features(self, rows: Sequence[FeatureRow]) -> None:
        self.features += rows

    async def record_integrity(self, events: Sequence[IntegrityEvent]) -> None:
        self.flaws += events

    async def record_signals(self, signals: Sequence[Signal]) -> None:
        if self.away:
            raise StoreUnavailable("away")
        self.signals += signals

    async def record_candles(self, candles: Sequence[Candle]) -> None:
        if self.away:
            raise StoreUnavailable("away")
        self.candles += candles

    async def save_state(self, kind: KeepState, trader_id: str, state: bytes, ts: int) -> None:
        assert kind is KeepState.MARKET
        if self.away:
            raise StoreUnavailable("away")
        self.states[trader_id] = state

    async def load_states(self, kind: KeepState) -> dict[str, bytes]:
        return dict(self.states)


class FlakyBus(MemoryBus):
    """A MemoryBus that can be away and remembers what it took."""

    def __init__(self, clock: Clock, journal: KeptJournal) -> None:
        super().__init__(clock)
        self.away = False
        self.signals: list[Signal] = []
        self.snapshots: list[MarketSnapshot] = []
        self._journal = journal

    async def publish_many(self, topic: Topic[T], bodies: Sequence[T], *, trace_id: str = "") -> None:
        if self.away:
            raise BusUnavailable("away")
        for body in bodies:
            if isinstance(body, Signal):
                assert body in self._journal.signals, "on the bus before it was in the journal"
                self.signals.append(body)
            elif isinstance(body, MarketSnapshot):
                self.snapshots.append(body)
        await super().publish_many(topic, bodies, trace_id=trace_id)


class World:
    """A running service with its surroundings."""

    def __init__(
        self, clock: Clock, config: MarketConfig = CONFIG, journal: KeptJournal | None = None
    ) -> None:
        self.clock = clock
        self.feed = ScriptedFeed()
        self.journal = journal or KeptJournal()
        self.bus = FlakyBus(clock, self.journal)
        self.service = MarketService(config, self.feed, self.bus, self.journal, clock)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        task = asyncio.create_task(self.service.run(), name="service")
        try:
            await self.until(lambda: self.service.warm.is_set() or task.done())
            yield
        finally:
            await cancelled(task)

    async def until(self, condition: Callable[[], bool]) -> None:
        """Let the world run until the condition holds; simulated time passes, real time only a little."""
        async with asyncio.timeout(20):
            while not condition():
                if isinstance(self.clock, SimClock):
                    await self.clock.advance(0.25)
                await asyncio.sleep(0.001)

    async def quiet(self) -> None:
        await self.feed.worked_through()
        await settle()


@pytest.fixture
def world() -> World:
    return World(SimClock(CANDLES[WARM].ts_open))


def cold(count: int, begin: int = 0) -> MarketPipeline:
    """A pipeline that saw the candles from `begin` to `count` and nothing else."""
    pipeline = MarketPipeline(CONFIG)
    pipeline.warm_up(BTC, "1m", CANDLES[begin:count])
    return pipeline


def expected(begin: int, end: int) -> list[str]:
    """Ids of the signals of the candles from `begin` to `end`."""
    pipeline = cold(begin, begin - CONFIG.warm_up)
    return [s.signal_id for item in CANDLES[begin:end] for s in pipeline.update(item)]


def base_features(pipeline: MarketPipeline) -> dict[str, float | None]:
    view = pipeline.snapshot(BTC, 0).view("1m")
    assert view is not None
    return view.features


async def test_warm_up_fetches_every_timeframe_and_fires_nothing(world: World) -> None:
    async with world.running():
        await world.until(lambda: len(world.bus.snapshots) > 0)
        assert sorted(world.feed.asked) == [("15m", 100), ("1m", 100), ("5m", 100)]
        view = world.bus.snapshots[0].view("15m")
        assert view is not None
        assert view.closes
        assert world.bus.signals == []


async def test_signals_are_journalled_then_published(world: World) -> None:
    async with world.running():
        world.feed.close(*range(WARM, 300))
        await world.until(lambda: len(world.bus.signals) == len(expected(WARM, 300)))
        assert [s.signal_id for s in world.bus.signals] == expected(WARM, 300)
        assert world.journal.signals == world.bus.signals


async def test_signals_reach_a_consumer_of_the_topic(world: World) -> None:
    seen: list[Signal] = []

    async def handle(message: Message[Signal]) -> None:
        seen.append(message.body)

    async with world.running():
        consumer = asyncio.create_task(world.bus.consume(SIGNALS, "manager", handle), name="consumer")
        world.feed.close(*range(WARM, 300))
        await world.until(lambda: len(seen) == len(expected(WARM, 300)))
        await cancelled(consumer)


async def test_closed_candles_of_all_timeframes_are_journalled(world: World) -> None:
    async with world.running():
        world.feed.close(*range(WARM, 180))
        await world.until(lambda: any(c == CANDLES[179] for c in world.journal.candles))
        assert {c.timeframe for c in world.journal.candles} == {"1m", "5m", "15m"}
        assert all(c.closed for c in world.journal.candles)


@pytest.mark.parametrize("who", ["journal", "bus"])
async def test_outage_never_blocks_the_feed_and_loses_no_signal(who: str) -> None:
    world = World(SystemClock())
    away = world.journal if who == "journal" else world.bus
    async with world.running():
        away.away = True
        world.feed.close(*range(WARM, 300))
        await world.quiet()
        assert world.service.events == 300 - WARM, "the feed was worked through meanwhile"
        assert world.bus.signals == []
        away.away = False
        await world.until(lambda: len(world.bus.signals) == len(expected(WARM, 300)))
        assert [s.signal_id for s in world.bus.signals] == expected(WARM, 300)


async def test_snapshot_lost_in_an_outage_follows_it_although_nothing_more_moves(world: World) -> None:
    async with world.running():
        world.bus.away = True
        world.feed.send(MarkPrice(BTC, 5.0, world.clock.now_ns()))
        await world.until(lambda: world.service.snapshots_lost > 2)
        world.bus.away = False
        await world.until(lambda: bool(world.bus.snapshots) and world.bus.snapshots[-1].mark == 5.0)


async def test_D9_gap_after_reconnect_is_backfilled_and_leaves_no_trace(world: World) -> None:
    async with world.running():
        world.feed.close(*range(WARM, 200))
        world.feed.close(*range(230, 260))
        await world.quiet()
        await world.until(lambda: world.service.pipeline.gap(BTC, "1m") is None)
        world.feed.close(*range(260, 300))
        await world.until(lambda: len(world.bus.signals) == len(expected(WARM, 300)))
        assert [s.signal_id for s in world.bus.signals] == expected(WARM, 300)
        assert base_features(world.service.pipeline) == base_features(cold(300, WARM - CONFIG.warm_up))
        await world.until(lambda: len(world.journal.flaws) >= 2)
        missed = (CANDLES[200].ts_open, CANDLES[230].ts_open)
        told = [(f.kind, (f.ts_from, f.ts_to)) for f in world.journal.flaws if f.timeframe == "1m"]
        assert told == [("gap", missed), ("repaired", missed)]
        await world.until(lambda: len(world.journal.features) == len(world.journal.candles))


async def killed_after(count: int) -> KeptJournal:
    """What a service leaves that saw the candles up to `count`, kept its state, saw more, and was killed."""
    world = World(SimClock(CANDLES[WARM].ts_open))
    async with world.running():
        world.feed.close(*range(WARM, count))
        await world.quiet()
        kept = world.service.pipeline.state(BTC)
        await world.until(lambda: world.journal.states.get(BTC) == kept)
        world.feed.close(*range(count, count + 7))  # after the state was kept
        await world.quiet()
        world.journal.states[BTC] = kept
    return world.journal


@pytest.mark.parametrize(
    ("closed", "failures", "asked"),
    [(200, 0, [20 + 5]), (206, 10, [20 + 5] * 11 + [21 + 5])],  # meanwhile more closed than a margin
    ids=["at once", "after an outage"],
)
async def test_restart_goes_on_exactly_where_the_candles_were(
    world: World, closed: int, failures: int, asked: list[int]
) -> None:
    async with world.running():  # one that nobody kills
        world.feed.close(*range(WARM, 300))
        await world.quiet()
        lived = world.service.snapshot(BTC)
    journal = await killed_after(180)
    world = World(SimClock(CANDLES[200].ts_open), journal=journal)
    world.feed.closed = closed
    world.feed.failures = [Unavailable("away")] * failures
    async with world.running():
        assert world.feed.asked == [("1m", limit) for limit in asked]
        world.feed.close(*range(closed, 300))
        await world.until(lambda: CANDLES[299] in world.journal.candles)
        assert world.service.snapshot(BTC).timeframes == lived.timeframes, "bit for bit"
        ids = [signal.signal_id for signal in journal.signals]
        assert set(ids) == set(expected(WARM, 300)), "told before or after the kill, none lost, none invented"


async def test_restart_after_more_than_a_warm_up_begins_with_the_venues_history() -> None:
    journal = await killed_after(180)
    world = World(SimClock(CANDLES[290].ts_open), journal=journal)
    world.feed.closed = 290
    async with world.running():
        assert sorted(world.feed.asked) == [("15m", 100), ("1m", 100), ("5m", 100)]
        assert base_features(world.service.pipeline) == base_features(cold(290, 190))


@pytest.mark.parametrize("state", [b"", b"\xff", b"\x92\xa1x\x90", "of another configuration"])
async def test_state_that_cannot_be_used_is_left_alone(state: bytes | str) -> None:
    journal = KeptJournal()
    if isinstance(state, str):
        config = msgspec.structs.replace(CONFIG, indicators=("rsi_7",), detectors=())
        state = MarketPipeline(config).state(BTC)
    journal.states[BTC] = state
    world = World(SimClock(CANDLES[WARM].ts_open), journal=journal)
    async with world.running():
        assert base_features(world.service.pipeline) == base_features(cold(WARM, WARM - CONFIG.warm_up))


async def test_state_is_kept_only_when_its_signals_have_arrived() -> None:
    world = World(SystemClock())
    async with world.running():
        await world.until(lambda: BTC in world.journal.states)
        world.bus.away = True
        world.feed.close(*range(WARM, 300))
        await world.quiet()
        waiting = asyncio.create_task(world.service.outbox.drained(), name="waiting")
        await settle()
        assert not waiting.done()
        world.bus.away = False
        await world.until(waiting.done)
        assert [s.signal_id for s in world.bus.signals] == expected(WARM, 300)


async def test_gap_that_the_venue_has_not_closed_yet_is_asked_for_again(world: World) -> None:
    async with world.running():
        world.feed.send(CANDLES[WARM + 2])  # told by the socket before REST knows it
        await world.until(lambda: len(world.feed.asked) > 4)
        assert world.service.snapshot(BTC).stale == ("candles 1m",)
        world.feed.closed = WARM + 3
        await world.until(lambda: world.service.pipeline.gap(BTC, "1m") is None)
        assert world.service.snapshot(BTC).stale == ()


async def test_gap_that_cannot_be_filled_holds_up_no_other() -> None:
    eth = "ETH-USDT-SWAP"
    world = World(SimClock(CANDLES[WARM].ts_open), msgspec.structs.replace(CONFIG, symbols=(eth, BTC)))
    async with world.running():
        world.feed.dead = frozenset({eth})
        world.feed.send(msgspec.structs.replace(CANDLES[WARM + 5], symbol=eth))
        world.feed.close(WARM + 5)
        await world.until(lambda: ("repaired", BTC) in [(f.kind, f.symbol) for f in world.journal.flaws])
        assert world.service.pipeline.gap(eth, "1m") is not None


async def test_D9_gap_is_filled_although_the_feed_falls_silent_before_it_can_be(world: World) -> None:
    assert isinstance(world.clock, SimClock)
    async with world.running():
        world.feed.close(*range(WARM, 200))
        await world.quiet()
        await world.clock.advance_to(CANDLES[211].ts_open)
        world.feed.failures = [Unavailable("away")] * 180  # half an hour
        world.feed.close(210)
        world.feed.closed = 240  # of the newer ones the feed brings nothing
        await world.clock.advance_to(CANDLES[240].ts_open)
        await world.until(lambda: world.service.pipeline.gap(BTC, "1m") is None)
        world.feed.close(*range(240, 300))
        await world.until(lambda: len(world.bus.signals) == len(expected(WARM, 300)))
        assert base_features(world.service.pipeline) == base_features(cold(300, WARM - CONFIG.warm_up))


async def test_gap_longer_than_the_warm_up_is_built_anew(world: World) -> None:
    async with world.running():
        world.feed.close(WARM + 200)
        await world.quiet()
        await world.until(lambda: world.service.pipeline.gap(BTC, "1m") is None)
        fresh = cold(WARM + 201, WARM + 201 - CONFIG.warm_up)
        assert base_features(world.service.pipeline) == base_features(fresh)


async def test_longest_candle_that_was_in_the_making_at_the_start_is_told_when_it_closes() -> None:
    config = msgspec.structs.replace(CONFIG, timeframes=("1m", "1h"), detectors=(), warm_up=50)
    noon = next(i for i in range(WARM, 300) if not (CANDLES[i].ts_open + NS_PER_MIN) % NS_PER_HOUR)
    world = World(SimClock(CANDLES[noon].ts_open), config)
    world.feed.closed = noon  # 59 of the hour's candles: more than a warm-up brings
    async with world.running():
        world.feed.close(noon)
        await world.until(lambda: [c.timeframe for c in world.journal.candles][-1:] == ["1h"])
    (*_, made) = await world.feed.candles(BTC, "1h", 1)
    hour = world.journal.candles[-1]
    assert (hour.ts_open, hour.open, hour.volume) == (made.ts_open, made.open, made.volume)
    assert hour.ts_open + NS_PER_HOUR == CANDLES[noon].ts_open + NS_PER_MIN


async def test_venue_that_is_away_at_the_start_is_waited_for(world: World) -> None:
    world.feed.failures = [Unavailable("busy"), Unavailable("busy")]
    async with world.running():
        assert world.service.warm.is_set()


async def test_market_that_ended_blinds_its_own_symbol_only(world: World) -> None:
    async with world.running():
        world.feed.failures = [Rejected("no such instrument", "51001")]
        world.feed.close(WARM + 5)
        await world.until(lambda: not world.feed.failures)
        assert world.service.snapshot(BTC).blind == ("candles 1m",)
        await world.until(lambda: world.service.pipeline.gap(BTC, "1m") is None)  # or it was a mistake


async def test_venue_that_refuses_at_the_start_ends_the_service(world: World) -> None:
    world.feed.failures = [Rejected("no such instrument", "51001")]
    with pytest.RaisesGroup(Rejected, flatten_subgroups=True):
        await world.service.run()


async def test_snapshots_are_coalesced_to_the_newest(world: World) -> None:
    async with world.running():
        await world.until(lambda: len(world.bus.snapshots) == 1)
        begin = world.clock.now_ns()
        for price in range(1, 1001):
            world.feed.send(MarkPrice(BTC, float(price), begin))
        await world.until(lambda: world.bus.snapshots[-1].mark == 1000.0)
        elapsed_s = (world.clock.now_ns() - begin) / 1e9
        assert len(world.bus.snapshots) - 1 <= 4 * elapsed_s + 1


async def test_symbol_without_news_has_no_snapshots(world: World) -> None:
    async with world.running():
        await world.until(lambda: len(world.bus.snapshots) == 1)
        assert isinstance(world.clock, SimClock)
        for _ in range(20):
            await world.clock.advance(0.25)
        assert len(world.bus.snapshots) == 1


async def test_silent_channel_shows_in_the_snapshot(world: World) -> None:
    async with world.running():
        world.feed.send(FeedStatus(BTC, "trades", ChannelState.STALE, world.clock.now_ns()))
        await world.until(lambda: bool(world.bus.snapshots) and world.bus.snapshots[-1].stale == ("trades",))


async def test_candles_of_trades_continue_the_venues_history() -> None:
    config = msgspec.structs.replace(CONFIG, candles="trades")
    world = World(SimClock(CANDLES[WARM].ts_open), config)
    async with world.running():
        world.feed.closed = WARM + 1  # the first candle of trades is not whole; REST has it by then
        world.feed.send(*trades_of(CANDLES[WARM : WARM + 40], 0.01))
        await world.quiet()
        await world.until(lambda: world.service.pipeline.gap(BTC, "1m") is None)
        assert isinstance(world.clock, SimClock)
        await world.clock.advance_to(CANDLES[WARM + 40].ts_open + NS_PER_MIN // 2)
        ids = expected(WARM, WARM + 40)
        await world.until(lambda: len(world.bus.signals) == len(ids))
        assert [s.signal_id for s in world.bus.signals] == ids


def signal(score: float, number: int) -> Signal:
    return Signal(
        signal_id=str(number),
        symbol=BTC,
        detector="d",
        feature="x",
        timeframe="",
        edge=Edge.UP,
        value=1.0,
        threshold=0.0,
        release=0.0,
        score=score,
        price=None,
        ts_event=number,
    )


async def test_full_outbox_drops_the_lowest_score_and_counts() -> None:
    outbox = SignalOutbox(capacity=3)
    outbox.put(signal(score, number) for number, score in enumerate((0.5, 0.1, 0.9, 0.1, 0.3)))
    assert [s.signal_id for s in await outbox.take(10)] == ["0", "2", "4"]
    assert (outbox.dropped, len(outbox)) == (2, 0)


async def test_outbox_gives_batches_in_order() -> None:
    outbox = SignalOutbox()
    outbox.put(signal(0.5, number) for number in range(5))
    assert [s.signal_id for s in await outbox.take(3)] == ["0", "1", "2"]
    assert [s.signal_id for s in await outbox.take(3)] == ["3", "4"]
    assert len(outbox) == 0
