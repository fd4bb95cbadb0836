"""The engine as a process: start by recovery, run every part beside the others, stop when told to.

A part that fails ends the process; whoever supervises it starts it again, and recovery does the rest.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from typing import Final, Protocol

import msgspec
import stamina.instrumentation
import structlog

from engine import build, garbage
from engine.bus_admin import watch_bus
from engine.bus_owner import ClaimKeeper
from engine.clock import Clock, ScaledClock, SystemClock
from engine.config.settings import Settings
from engine.core.errors import OutcomeUnknown, StoreUnavailable, Unavailable
from engine.core.instruments import Instrument
from engine.exchange.okx.venue import OkxVenue
from engine.exchange.ports import PositionMode
from engine.executor.asking import ModelClient
from engine.executor.llm import LlmClient
from engine.executor.recorded import WithRecorded
from engine.jobs import Jobs
from engine.journal.filed_bodies import Bodies
from engine.journal.filing import DECISIONS, Filing
from engine.journal.ports import RiskEvent
from engine.journal.postgres.journal import PostgresJournal
from engine.journal.postgres.reader import JournalReader
from engine.journal.upkeep import Upkeep
from engine.log import configure
from engine.market.news import NewsBoard
from engine.market.service import MarketService
from engine.market.sources import Sources
from engine.redis_bus import RedisBus
from engine.retry import patiently
from engine.telemetry.alerts import Alerts
from engine.telemetry.meters import Reported
from engine.telemetry.metrics import Health, Metrics, serve_metrics, watch_loop
from engine.telemetry.report import Reporter
from engine.telemetry.tracing import Tracing
from engine.wiring.deciders import recorded_answers
from engine.wiring.listing import InstrumentBook, restrict
from engine.wiring.outside import open_outside
from engine.wiring.parts import Parts, Surroundings, build_parts
from engine.wiring.shadow import build_paper

log = structlog.get_logger()

_MB: Final = 2**20
_WAIT_S: Final = 1.0
_AUDIT_EVERY_S: Final = 2.0


def run_engine(settings: Settings) -> None:
    """Run until SIGINT or SIGTERM. Raises ConfigError or VenueMisconfigured when it must not start."""
    clock = make_clock(settings)
    configure(clock, settings.engine.log_level, "engine")
    stamina.instrumentation.set_on_retry_hooks([])  # outages are logged once, where they are known
    asyncio.run(_until_stopped(settings, clock))


def make_clock(settings: Settings) -> Clock:
    """Wall time, or the scaled time that the configuration asks for."""
    config = settings.engine.clock
    if config.speed == 1 and not config.epoch_ns:
        return SystemClock()
    return ScaledClock(config.speed, config.epoch_ns, config.wall_epoch_ns)


async def _until_stopped(settings: Settings, clock: Clock) -> None:
    loop = asyncio.get_running_loop()
    engine = asyncio.ensure_future(serve(settings, clock))
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, engine.cancel)
    try:
        await engine
    except asyncio.CancelledError:
        log.info("engine stopped")


async def serve(settings: Settings, clock: Clock, model: ModelClient | None = None) -> None:
    """Build all parts, recover, then run them until cancelled.

    A key or an account that cannot work is refused before anything else is started. `model` answers in the
    place of the configured endpoints and of recorded answers.
    """
    async with AsyncExitStack() as stack:
        outside = await open_outside(settings, clock, stack)
        venue, journal, bus = outside.venue, outside.journal, outside.bus
        listed = await _listed(venue, clock)
        settings = restrict(settings, listed, partly=settings.provider.local)
        feed = outside.feed(settings, clock)
        stack.push_async_callback(feed.close)
        around = Surroundings(
            venue=venue,
            feed=feed,
            journal=journal,
            bus=bus,
            clock=clock,
            jobs=await stack.enter_async_context(Jobs()),
            model=model or _configured_model(settings, journal, stack, clock),
            news=NewsBoard(settings.market.news, settings.market.symbols),
        )
        mode = PositionMode(settings.provider.okx.position_mode)
        book = InstrumentBook(listed)
        paper_jobs = await stack.enter_async_context(Jobs())  # of its own: its orders may have the same ids
        paper = await build_paper(settings, book, mode, replace(around, jobs=paper_jobs))
        parts = await build_parts(settings, book, mode, replace(around, paper=paper))
        alerts = Alerts(settings.manager.monitoring, settings.provider_id, clock)
        journal.on_risk_event = alerts.take
        feed.on_listed = _Listing(book, venue, parts.market, journal, clock, around.jobs).take
        keepers = await _keepers(settings, journal, outside.postgres_dsn, stack, clock)
        keepers["bus owner"] = ClaimKeeper(bus, outside.bus_claim, clock)
        if paper is not None:
            parts.market.tap = paper.on_market
            keepers["paper"] = paper
        sources = Sources(settings.market, around.news, parts.market.pipeline.refer, clock)
        desk = paper.parts if paper else None
        reported = Reported(settings, clock, bus.cache, feed, venue, parts, journal.batches, desk)
        await _trace(settings, clock, parts, stack)
        await Engine(reported, journal, bus, sources, keepers, alerts).run()


def _configured_model(
    settings: Settings, journal: PostgresJournal, stack: AsyncExitStack, clock: Clock
) -> ModelClient:
    """The endpoints of llm.yaml, beside the answers of the past. Raises ConfigError."""
    llm = LlmClient(settings.llm, clock)
    stack.push_async_callback(llm.aclose)
    return WithRecorded(llm, recorded_answers(settings, journal))


async def _trace(settings: Settings, clock: Clock, parts: Parts, stack: AsyncExitStack) -> None:
    """Export what the parts do, where tracing is on, as long as the stack lives. Raises ConfigError."""
    config = settings.engine
    if config.tracing.otlp_endpoint:
        from engine.telemetry.otlp import exporting

        exporter = exporting(config.tracing, f"{config.name}-engine", config.env)
        Tracing(clock, await stack.enter_async_context(exporter)).watch(parts)


class Keeper(Protocol):
    """Looks after what is kept, beside the trading, until cancelled."""

    async def run(self) -> None: ...


async def _keepers(
    settings: Settings, journal: PostgresJournal, dsn: str, stack: AsyncExitStack, clock: Clock
) -> dict[str, Keeper]:
    """The months of the database, and the decision files when they are wanted."""
    config = settings.engine.journal
    keep_s, whole_s = msgspec.structs.asdict(config.keep), config.whole_performance
    keepers: dict[str, Keeper] = {
        "journal upkeep": Upkeep(journal.partitions, journal.thinning, clock, keep_s, whole_s)
    }
    if config.decisions_mb:
        reader = await stack.enter_async_context(JournalReader(dsn, slow_s=settings.engine.slow_log.sql))
        tables = journal.filing.of(settings.provider_id)
        bodies = Bodies(tables, journal, reader)
        folder, most = settings.home / DECISIONS, config.decisions_mb * _MB
        keepers["decision files"] = Filing(tables, bodies.describe, folder, most, clock)
    return keepers


async def _listed(venue: OkxVenue, clock: Clock) -> tuple[Instrument, ...]:
    """The venue's swaps; waits for a venue that is away."""
    while True:
        try:
            return await venue.instruments()
        except (Unavailable, OutcomeUnknown) as error:
            log.warning("venue is away, waiting", error=str(error))
            await clock.sleep_real(_WAIT_S)


@dataclass(frozen=True, slots=True)
class _Listing:
    """Brings what the venue lists to all who size, round or value by it."""

    book: InstrumentBook
    venue: OkxVenue
    market: MarketService
    journal: PostgresJournal
    clock: Clock
    jobs: Jobs

    def take(self, found: Sequence[Instrument], whole: bool) -> None:
        """What the feed was told; see OkxMarketFeed.on_listed."""
        news = self.book.update(found, whole=whole)
        if not news:
            return
        log.info("instruments changed", symbols=[each.symbol for each in news])
        self.venue.note_listed(news)
        self.market.note_listed(news)
        now = self.clock.now_ns()
        self.jobs.start(
            f"instruments {now}", lambda: patiently(lambda: self.journal.record_instruments(news, now))
        )


class Engine:
    """The parts of one account beside each other, with the faces that an operator sees."""

    def __init__(
        self,
        of: Reported,
        journal: PostgresJournal,
        bus: RedisBus,
        sources: Sources,
        keepers: Mapping[str, Keeper],
        alerts: Alerts,
    ) -> None:
        self._settings, self._clock, self._parts = of.settings, of.clock, of.parts
        self._journal, self._bus, self._sources, self._keepers = journal, bus, sources, keepers
        self._alerts = alerts
        self.metrics = Metrics()
        self._reporter = Reporter(of, self.metrics)
        bus.on_dead = self._on_dead

    async def run(self) -> None:
        """Recover, then run until cancelled or until a part fails."""
        garbage.settle()
        config = self._settings.engine.metrics
        async with (
            serve_metrics(config.port, self.metrics.registry, host=config.host, health=self.health),
            asyncio.TaskGroup() as tasks,
        ):
            tasks.create_task(watch_loop(self.metrics, self._clock), name="loop lag")
            tasks.create_task(self._journal.batches.drain(), name="journal spool")
            tasks.create_task(watch_bus(self._bus, self.metrics, self._clock), name="bus metrics")
            await self._parts.exchange.start()
            await self._parts.manager.start()
            for name, work in (
                ("exchange", self._parts.exchange.run()),
                ("market", self._parts.market.run()),
                ("manager", self._parts.manager.run()),
                ("executor", self._parts.executor.run()),
                *((name, keeper.run()) for name, keeper in self._keepers.items()),
                ("memory", self._parts.write_back.run()),
                ("sources", self._sources.run()),
                ("alerts", self._alerts.run()),
                ("report", self._reporter.run()),
                ("account lock", self._hold_lock()),
            ):
                tasks.create_task(work, name=name)
            log.info("engine ready", account=self._settings.provider_id, build=build.described())
            print("engine ready", flush=True)  # noqa: T201 - a supervisor waits for this line

    def health(self) -> Health:
        """Ready when entries may be sent; the reason when not."""
        refusal = self._parts.exchange.refusal("")
        return Health(ok=not refusal, detail={"entries": refusal or "allowed"})

    def _on_dead(self, topic: str, message_id: str, error: str) -> None:
        """A message that no handler could take: nobody knows what it would have changed, so entries halt."""
        self.metrics.dead_letters(topic).inc()
        log.error("message given up; entries halted", topic=topic, message=message_id, error=error)
        self._parts.exchange.halt("dead_letter")
        self._alerts.take(
            RiskEvent(
                event_id=f"dead:{topic}:{message_id}",
                trader_id="",
                symbol="",
                kind="dead_letter",
                detail=f"message {message_id} of {topic}: {error}; entries halted",
                ts=self._clock.now_ns(),
            )
        )

    async def _hold_lock(self) -> None:
        """End the process when the account lock is lost: another engine may have it by now."""
        await self._journal.lost()
        raise StoreUnavailable("the account lock was lost with its database connection")
