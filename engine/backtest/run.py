"""Builds the engine's parts on simulated time and lets recordings run through them."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from decimal import Decimal
from typing import Final, get_args

import msgspec
import structlog

from engine.backtest.loop import SimLoop
from engine.backtest.market import ReplayedMarket
from engine.backtest.paced import PacedModel
from engine.clock import SimClock
from engine.config.loader import Duration
from engine.config.manager import TraderConfig
from engine.config.market import Timeframe, without_shorter
from engine.config.scheduler import RolloutConfig
from engine.config.settings import Settings
from engine.core.decisions import AccountView
from engine.core.errors import ConfigError
from engine.core.times import NS_PER_HOUR, NS_PER_MIN, NS_PER_S, timeframe_ns
from engine.exchange.matching.records import BalanceChanged, Event
from engine.exchange.matching.types import AccountSpec, TriggerType
from engine.exchange.paper.venue import PaperVenue
from engine.exchange.ports import PositionMode
from engine.exchange.simulator.recorded import Recording
from engine.executor.asking import ModelClient
from engine.jobs import Jobs
from engine.journal.in_memory.journal import MemoryJournal
from engine.memory_bus import MemoryBus
from engine.wiring.listing import InstrumentBook, restrict
from engine.wiring.parts import Parts, Surroundings, build_parts

log = structlog.get_logger()

_YOUNG: Final = 50_000  # objects between two collections
_SNAPSHOTS_PER_S: Final = 2_000  # of engine time; moments of a candle are a millisecond apart
_ENDING_S: Final = 60.0  # of engine time after the last moment, for what is under way


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a run leaves: all that was journalled, and the accounts as they ended."""

    journal: MemoryJournal
    views: tuple[AccountView, ...]
    settings: Settings
    start_ns: int
    end_ns: int
    moments: int
    balanced: bool
    prices: dict[str, tuple[tuple[int, float], ...]]  # a few closes of each symbol, for pictures


Progress = Callable[[float], None]


def run_backtest(
    settings: Settings,
    recordings: Sequence[Recording],
    model: ModelClient,
    progress: Progress = lambda _: None,
) -> Outcome:
    """Run to the end of the recordings. `progress` gets the played part, 0 to 1.

    The same settings and recordings give the same journal, byte for byte. Raises ConfigError when the
    configuration does not fit the recordings.
    """
    settings = prepared(settings, recordings)
    start_ns = max(recording.first_ns for recording in recordings)
    clock = SimClock(start_ns, real_second(settings))
    market = ReplayedMarket(recordings, settings.market.timeframes[0], clock)
    with _rarely_collected(), asyncio.Runner(loop_factory=lambda: SimLoop(clock, market)) as runner:
        return runner.run(_run(settings, market, model, clock, progress))


@contextmanager
def _rarely_collected() -> Iterator[None]:
    """What a run remembers is no garbage: to look through all of it as often as usual costs a sixth."""
    usual = gc.get_threshold()
    gc.set_threshold(_YOUNG, *usual[1:])
    try:
        yield
    finally:
        gc.set_threshold(*usual)


async def _run(
    settings: Settings,
    market: ReplayedMarket,
    model: ModelClient,
    clock: SimClock,
    progress: Progress,
) -> Outcome:
    listed = await market.instruments()
    settings = restrict(settings, listed, partly=True)
    venue, mode = _venue(settings, market, clock), PositionMode(settings.provider.okx.position_mode)
    journal = MemoryJournal()
    async with Jobs() as jobs:
        around = Surroundings(
            venue=venue,
            feed=market,
            journal=journal,
            bus=MemoryBus(clock),
            clock=clock,
            jobs=jobs,
            model=PacedModel(model, clock),
        )
        parts = await build_parts(settings, InstrumentBook(listed), mode, around)

        def on_events(events: list[Event]) -> None:
            venue.tell(events)
            if any(isinstance(event, BalanceChanged) and event.reason == "funding_fee" for event in events):
                since = clock.now_ns() - NS_PER_HOUR  # booked at once, before the position may be closed
                jobs.start("funding", lambda: parts.exchange.recovery.book_funding(since))

        market.on_events = on_events
        await _play(parts, market, clock, settings, progress)
        return Outcome(
            journal=journal,
            views=parts.accounts.views(),
            settings=settings,
            start_ns=market.start_ns,
            end_ns=clock.now_ns(),
            moments=market.moments,
            balanced=await _balanced(parts),
            prices={symbol: tuple(closes) for symbol, closes in market.closes.items()},
        )


def _venue(settings: Settings, market: ReplayedMarket, clock: SimClock) -> PaperVenue:
    """An account with the capital of the configuration, in the market of the recordings."""
    okx = settings.provider.okx
    account = AccountSpec(
        account=settings.provider_id,
        balance=Decimal(settings.manager.manager.total_equity_usd),
        position_mode=PositionMode(okx.position_mode),
    )
    return PaperVenue(market.world.core, account, clock, TriggerType(okx.trigger_price))


async def _play(
    parts: Parts, market: ReplayedMarket, clock: SimClock, settings: Settings, progress: Progress
) -> None:
    await parts.exchange.start()
    await parts.manager.start()
    async with asyncio.TaskGroup() as tasks:
        running = [
            tasks.create_task(work, name=name)
            for name, work in (
                ("exchange", parts.exchange.run()),
                ("market", parts.market.run()),
                ("manager", parts.manager.run()),
                ("executor", parts.executor.run()),
                ("progress", _tell(market, clock, progress)),
            )
        ]
        await parts.market.warm.wait()
        if settings.market.candles == "venue" and market.candles_alone:
            market.take, market.moments_matter = parts.market.take, bool(settings.market.stream)
        await market.ended.wait()
        await clock.sleep(_ENDING_S)
        for task in running:
            task.cancel()
    progress(1.0)


async def _tell(market: ReplayedMarket, clock: SimClock, progress: Progress) -> None:
    whole = max(1, market.end_ns - market.start_ns)
    while True:
        progress(min(1.0, (clock.now_ns() - market.start_ns) / whole))
        await clock.doze_until(clock.now_ns() + whole // 200)


async def _balanced(parts: Parts) -> bool:
    check = await parts.exchange.auditor.look()
    return check is not None and check.balanced


def real_second(settings: Settings) -> int:
    """Engine seconds that count as a real one: what repeats every second repeats with every base candle."""
    return timeframe_ns(settings.market.timeframes[0]) // NS_PER_S


def prepared(settings: Settings, recordings: Sequence[Recording]) -> Settings:
    """The settings as they are run over recordings. Raises ConfigError when they do not fit them."""
    return _on_paper(_fitted(settings, recordings), recordings)


def _fitted(settings: Settings, recordings: Sequence[Recording]) -> Settings:
    """Without timeframes shorter than the longest candles that were recorded, and traders that name one."""
    period_ns = max(recording.period_ns for recording in recordings)
    known: tuple[Timeframe, ...] = get_args(Timeframe)
    recorded = next((name for name in known if timeframe_ns(name) == period_ns), None)
    if recorded is None:
        raise ConfigError(f"candles of {period_ns // NS_PER_MIN} minutes are none of {', '.join(known)}")
    market = without_shorter(settings.market, recorded)
    missing = set(known) - set(market.timeframes)
    traders = tuple(trader for trader in settings.manager.traders if not missing & _names(trader))
    if left_out := [trader.id for trader in settings.manager.traders if trader not in traders]:
        log.warning("traders left out: the recording has no candles so short", traders=left_out)
    if not traders:
        raise ConfigError(f"every trader decides on candles shorter than the {recorded} of the recording")
    return msgspec.structs.replace(settings.with_traders(traders), market=market)


def _names(trader: TraderConfig) -> set[str]:
    """What the parameters of a trader's strategy name."""
    return {str(value) for value in trader.strategy.params.values()} if trader.strategy else set()


def _on_paper(settings: Settings, recordings: Sequence[Recording]) -> Settings:
    """The same traders, wholly live, on a paper account that may trade, watching what was recorded.

    A price is as fresh as the recording can make it: features live for two of its periods at least, and
    traders get a snapshot of every moment. Of a candle several come in a few milliseconds, and nobody is to
    decide on the first of them when it has ended.
    """
    provider = msgspec.structs.replace(settings.provider, trading_enabled=True)
    providers = {**settings.exchange.providers, settings.provider_id: provider}
    period_s = max(recording.period_ns for recording in recordings) / NS_PER_S
    max_age = Duration(max(settings.market.max_age, 2 * period_s))
    traders = tuple(
        msgspec.structs.replace(trader, rollout=RolloutConfig()) for trader in settings.manager.traders
    )
    return msgspec.structs.replace(
        settings.with_traders(traders),
        exchange=msgspec.structs.replace(settings.exchange, providers=providers),
        market=msgspec.structs.replace(
            settings.market,
            max_age=max_age,
            aggregate=True,  # the candles of a recording are of one length
            keep_every=Duration(0),
            snapshots_per_s=_SNAPSHOTS_PER_S * real_second(settings),
        ),
    )
